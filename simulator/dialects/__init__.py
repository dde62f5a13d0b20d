"""How each engine speaks, one module for each family, written from what is known of the servers alone.

Each module's head says what was not verified. What they all do alike stands in `requests`.
"""

from simulator.dialect import Dialect
from simulator.dialects.anthropic import Anthropic
from simulator.dialects.bentoml import Bentoml
from simulator.dialects.llamacpp import Llamacpp
from simulator.dialects.lmdeploy import Lmdeploy, Lmdeploy040, LmdeployInteractive
from simulator.dialects.mlc import Mlc, Mlc2024
from simulator.dialects.ollama import Ollama
from simulator.dialects.openai import Openai
from simulator.dialects.sglang import Sglang
from simulator.dialects.tgi import Tgi, Tgi204, TgiGenerate
from simulator.dialects.triton import Triton, TritonBls
from simulator.dialects.trtllm import Trtllm
from simulator.dialects.vllm import Vllm, Vllm042
from simulator.errors import SimulatorError

DIALECTS: dict[str, type[Dialect]] = {
    "openai": Openai,
    "vllm": Vllm,
    "vllm-0.4.2": Vllm042,
    "lmdeploy": Lmdeploy,
    "lmdeploy-0.4.0": Lmdeploy040,
    "lmdeploy-interactive": LmdeployInteractive,
    "mlc": Mlc,
    "mlc-2024": Mlc2024,
    "trtllm": Trtllm,
    "triton": Triton,
    "triton-bls": TritonBls,
    "tgi": Tgi,
    "tgi-2.0.4": Tgi204,
    "tgi-generate": TgiGenerate,
    "bentoml": Bentoml,
    "sglang": Sglang,
    "llamacpp": Llamacpp,
    "ollama": Ollama,
    "anthropic": Anthropic,
}


def dialect_named(name: str) -> type[Dialect]:
    """The dialect of that name; raises SimulatorError, naming those there are."""
    if name not in DIALECTS:
        raise SimulatorError(f"unknown dialect {name!r}: expected one of {', '.join(DIALECTS)}.")
    return DIALECTS[name]
