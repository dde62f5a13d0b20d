"""How each server speaks: request bodies out, deltas in. No sockets, no clock.

`ENGINES` is the whole choice, by name; an engine is data where engines differ in data and code where they must.
"""

from engines.identify import Answer, Found, NotReady, identify
from engines.openai import OPENAI, VLLM
from engines.records import ChatRequest, Delta, Engine, EngineError, StreamBroken, StreamDecoder

ENGINES: dict[str, Engine] = {
    "openai": OPENAI,
    "vllm": VLLM,
}

__all__ = [
    "ENGINES",
    "Answer",
    "ChatRequest",
    "Delta",
    "Engine",
    "EngineError",
    "Found",
    "NotReady",
    "StreamBroken",
    "StreamDecoder",
    "identify",
]
