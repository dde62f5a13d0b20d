"""KoboldCpp: its OpenAI-compatible chat endpoint.

Its server waits 350 ms before it looks for the first token, and looks for further ones every 20 ms. It has Ollama's
pages too, but names itself in `owned_by`.
"""

from __future__ import annotations

from tokenswarm.engines.detection import Detection, owned_by, version_at
from tokenswarm.engines.engine_metrics import NO_METRICS
from tokenswarm.engines.openai import OpenAICompatible

KOBOLDCPP = OpenAICompatible(
    name="koboldcpp",
    health_path="/api/extra/version",
    no_exact_length="its chat templates add stop sequences that end answers all the same: leave --ignore-eos out",
    detection=Detection(clues=(owned_by("koboldcpp"),), version=version_at("/api/extra/version", "version")),
    # /metrics does not exist, and /api/extra/perf has no counter of tokens.
    metrics=NO_METRICS,
)
