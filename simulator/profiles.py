"""Named speeds. A profile is data: adding one is adding an entry."""

from dataclasses import dataclass

from simulator.batching import Speed
from simulator.errors import SimulatorError


@dataclass(frozen=True, slots=True)
class Profile:
    """An engine's speed, its context length, how long its answers are when nothing cuts them, and its dialect."""

    speed: Speed
    dialect: str = "vllm"
    max_model_len: int = 8192
    answer_median_tokens: float = 180.0
    answer_sigma: float = 0.7

    def __post_init__(self) -> None:
        for name, low in (("max_model_len", 16), ("answer_median_tokens", 1)):
            if not low <= getattr(self, name) <= 1e9:
                raise SimulatorError(f"{name} must be from {low} to 1e+09, got {getattr(self, name):g}.")


PROFILES = {
    # Llama 3 8B in 16 bits on one A100 under vLLM: reading the weights bounds a small batch, and the cost of each
    # sequence a large one. About 750 tokens/s at 10 users and 2,400 at 100, with prompts and answers as in dolly.
    "default": Profile(Speed(step_ms=9.6, sequence_ms=0.27, prefill_tokens_per_s=12_000, prefill_ms=2.0, jitter=0.03)),
    # For tests: about a millisecond a token, however many users.
    "fast": Profile(Speed(step_ms=0.8, sequence_ms=0.002, prefill_tokens_per_s=1_000_000, prefill_ms=0.1)),
}


def profile_named(name: str) -> Profile:
    """The profile of that name; raises SimulatorError, naming those there are."""
    if name not in PROFILES:
        raise SimulatorError(f"unknown profile {name!r}: expected one of {', '.join(PROFILES)}.")
    return PROFILES[name]
