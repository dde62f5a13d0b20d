"""How each server speaks: request bodies out, deltas in. No sockets, no clock.

`ENGINES` is the whole choice, by name; an engine is data where engines differ in data and code where they must.
`identify` finds out which of them a server is.
"""

from engines.anthropic import ANTHROPIC
from engines.bentoml import BENTOML
from engines.identify import Answer, Found, ModelsRefused, NotReady, identify
from engines.lmdeploy import LMDEPLOY_INTERACTIVE
from engines.ollama import OLLAMA
from engines.openai import (
    LLAMACPP,
    LMDEPLOY,
    LMDEPLOY_0_4_0,
    MLC,
    MLC_2024,
    OPENAI,
    SGLANG,
    TGI,
    TGI_2_0_4,
    TRTLLM,
    VLLM,
    VLLM_0_4_2,
)
from engines.records import (
    NONE_ALIKE,
    Alike,
    ChatRequest,
    Counts,
    Delta,
    Engine,
    EngineError,
    StreamBroken,
    StreamDecoder,
    SystemPrompt,
)
from engines.templates import LLAMA_3, ChatTemplate, TemplatedEngine, compile_template
from engines.tgi import TGI_GENERATE
from engines.triton import TRITON, TRITON_BLS

ENGINES: dict[str, Engine] = {
    "openai": OPENAI,
    "vllm": VLLM,
    "vllm-0.4.2": VLLM_0_4_2,
    "lmdeploy": LMDEPLOY,
    "lmdeploy-0.4.0": LMDEPLOY_0_4_0,
    "lmdeploy-interactive": LMDEPLOY_INTERACTIVE,
    "mlc": MLC,
    "mlc-2024": MLC_2024,
    "trtllm": TRTLLM,
    "triton": TRITON,
    "triton-bls": TRITON_BLS,
    "tgi": TGI,
    "tgi-2.0.4": TGI_2_0_4,
    "tgi-generate": TGI_GENERATE,
    "bentoml": BENTOML,
    "sglang": SGLANG,
    "llamacpp": LLAMACPP,
    "ollama": OLLAMA,
    "anthropic": ANTHROPIC,
}

__all__ = [
    "ENGINES",
    "LLAMA_3",
    "NONE_ALIKE",
    "Alike",
    "Answer",
    "ChatRequest",
    "ChatTemplate",
    "Counts",
    "Delta",
    "Engine",
    "EngineError",
    "Found",
    "ModelsRefused",
    "NotReady",
    "StreamBroken",
    "StreamDecoder",
    "SystemPrompt",
    "TemplatedEngine",
    "compile_template",
    "identify",
]
