"""How each server speaks: request bodies out, deltas in. No sockets, no clock.

`ENGINES` (engine_table.py) has every engine's spec by name; a spec holds the engine's dialect, how it is detected and
the names of its metrics. `identify` finds out which of them a server is.
"""

from tokenswarm.engines.body_merge import merged
from tokenswarm.engines.completions import completions_of
from tokenswarm.engines.context_overflow import is_context_overflow
from tokenswarm.engines.engine_spec import (
    EMPTY_BATCH,
    ChatRequest,
    Counts,
    Delta,
    EncodedImage,
    EngineSpec,
    StreamBroken,
    StreamDecoder,
    TokenBatch,
)
from tokenswarm.engines.engine_table import ENGINES
from tokenswarm.engines.errors import EngineError
from tokenswarm.engines.identify import (
    DetectedServer,
    NothingAnswers,
    NotReady,
    NotRecognised,
    PageForbidden,
    PageRefused,
    WebPageFound,
    identify,
    is_basic,
)
from tokenswarm.engines.openai import OpenAICompatible
from tokenswarm.engines.own_engines import load_engines_of_packages, register_engine
from tokenswarm.engines.responses import responses_of
from tokenswarm.engines.sampling_fields import SAMPLING_FLAGS, Sampling
from tokenswarm.engines.server_pages import GetResponse
from tokenswarm.engines.templates import LLAMA_3, ChatTemplate, TemplatedEngine, compile_template

__all__ = [
    "EMPTY_BATCH",
    "ENGINES",
    "LLAMA_3",
    "SAMPLING_FLAGS",
    "ChatRequest",
    "ChatTemplate",
    "Counts",
    "Delta",
    "DetectedServer",
    "EncodedImage",
    "EngineError",
    "EngineSpec",
    "GetResponse",
    "NotReady",
    "NotRecognised",
    "NothingAnswers",
    "OpenAICompatible",
    "PageForbidden",
    "PageRefused",
    "Sampling",
    "StreamBroken",
    "StreamDecoder",
    "TemplatedEngine",
    "TokenBatch",
    "WebPageFound",
    "compile_template",
    "completions_of",
    "identify",
    "is_basic",
    "is_context_overflow",
    "load_engines_of_packages",
    "merged",
    "register_engine",
    "responses_of",
]

if __name__ != "tokenswarm.engines":
    raise __import__("tokenswarm").bare_import(__name__)
