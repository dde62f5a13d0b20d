"""How each server speaks: request bodies out, deltas in. No sockets, no clock.

`ENGINES` is the whole choice, by name; an engine is data where engines differ in data and code where they must.
"""

from engines.openai import OPENAI, VLLM
from engines.records import ChatRequest, Delta, Engine, StreamBroken, StreamDecoder

ENGINES: dict[str, Engine] = {
    "openai": OPENAI,
    "vllm": VLLM,
}

__all__ = ["ENGINES", "ChatRequest", "Delta", "Engine", "StreamBroken", "StreamDecoder"]
