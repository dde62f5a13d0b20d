"""How each engine speaks, one module for each family, written from what is known of the servers alone.

Each module's head says what was not verified. What they have in common is in `requests`.
"""

from tokenswarm.simulator.dialect import Dialect
from tokenswarm.simulator.dialects.anthropic import AnthropicDialect
from tokenswarm.simulator.dialects.bentoml import BentomlDialect
from tokenswarm.simulator.dialects.completions import CompletionsDialect
from tokenswarm.simulator.dialects.koboldcpp import KoboldcppDialect
from tokenswarm.simulator.dialects.llamacpp import LlamacppDialect
from tokenswarm.simulator.dialects.lmdeploy import Lmdeploy040Dialect, LmdeployDialect, LmdeployInteractiveDialect
from tokenswarm.simulator.dialects.mlc import Mlc2024Dialect, MlcDialect
from tokenswarm.simulator.dialects.ollama import OllamaDialect
from tokenswarm.simulator.dialects.openai import OpenaiDialect
from tokenswarm.simulator.dialects.responses import ResponsesDialect
from tokenswarm.simulator.dialects.sglang import SglangDialect
from tokenswarm.simulator.dialects.tgi import Tgi204Dialect, TgiDialect, TgiGenerateDialect
from tokenswarm.simulator.dialects.triton import TritonBlsDialect, TritonDialect
from tokenswarm.simulator.dialects.trtllm import TrtllmDialect
from tokenswarm.simulator.dialects.vllm import Vllm042Dialect, VllmDialect
from tokenswarm.simulator.errors import unknown_name

DIALECTS: dict[str, type[Dialect]] = {
    "openai": OpenaiDialect,
    "vllm": VllmDialect,
    "vllm-0.4.2": Vllm042Dialect,
    "lmdeploy": LmdeployDialect,
    "lmdeploy-0.4.0": Lmdeploy040Dialect,
    "lmdeploy-interactive": LmdeployInteractiveDialect,
    "mlc": MlcDialect,
    "mlc-2024": Mlc2024Dialect,
    "trtllm": TrtllmDialect,
    "triton": TritonDialect,
    "triton-bls": TritonBlsDialect,
    "tgi": TgiDialect,
    "tgi-2.0.4": Tgi204Dialect,
    "tgi-generate": TgiGenerateDialect,
    "bentoml": BentomlDialect,
    "sglang": SglangDialect,
    "llamacpp": LlamacppDialect,
    "koboldcpp": KoboldcppDialect,
    "ollama": OllamaDialect,
    "anthropic": AnthropicDialect,
}

_ENDPOINTS = {"completions": CompletionsDialect, "responses": ResponsesDialect}


def endpoints_of(dialect: Dialect) -> list[Dialect]:
    """The dialect, and the same engine at its other endpoints."""
    return [dialect, *(_ENDPOINTS[name](dialect) for name in dialect.traits.endpoints)]


def dialect_named(name: str) -> type[Dialect]:
    """The dialect of that name; raises SimulatorError, naming those there are."""
    if name not in DIALECTS:
        raise unknown_name("dialect", name, DIALECTS)
    return DIALECTS[name]
