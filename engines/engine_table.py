"""Every engine, by the name that --engine takes. Adding one: docs/engines.md."""

from __future__ import annotations

from tokenswarm.engines.anthropic import ANTHROPIC
from tokenswarm.engines.bentoml import BENTOML
from tokenswarm.engines.engine_spec import EngineSpec
from tokenswarm.engines.koboldcpp import KOBOLDCPP
from tokenswarm.engines.llamacpp import LLAMACPP
from tokenswarm.engines.lmdeploy import LMDEPLOY, LMDEPLOY_0_4_0, LMDEPLOY_INTERACTIVE
from tokenswarm.engines.mlc import MLC, MLC_2024
from tokenswarm.engines.ollama import OLLAMA
from tokenswarm.engines.openai import OPENAI
from tokenswarm.engines.sglang import SGLANG
from tokenswarm.engines.tgi import TGI, TGI_2_0_4, TGI_GENERATE
from tokenswarm.engines.triton import TRITON, TRITON_BLS
from tokenswarm.engines.trtllm import TRTLLM
from tokenswarm.engines.vllm import VLLM, VLLM_0_4_2

ENGINES: dict[str, EngineSpec] = {
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
    "koboldcpp": KOBOLDCPP,
    "ollama": OLLAMA,
    "anthropic": ANTHROPIC,
}
#: Those that come with Tokenswarm: others are added by own_engines.py.
SHIPPED = frozenset(ENGINES)
