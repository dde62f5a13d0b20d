"""Named speeds. A profile is data: adding one is adding an entry.

Ten are fitted to a published comparison, BentoML's "Benchmarking LLM Inference Backends" (June 2024): Llama 3 on an
A100 of 80 GB, 8B in 16 bits and 70B in 4 bits (AWQ; MLC's q4f16_1), behind a BentoML service, 10, 50 and 100 users
without pauses, five minutes each, prompts of 30 to 150 tokens from databricks-dolly, answers of 512 tokens at most.
Each one's comment has the published figures; everything else (the rates at 10 and 50 users, the times to the first
token in milliseconds) comes from the batching model and is no measurement of anybody's.

How long the answers were was not published. They are taken to be lognormal with a median of 105 tokens and sigma 0.7,
133 in the mean under the limit of 512. One published figure depends on it: TensorRT-LLM, whose 70B engine had 64
places, let 100 users wait more than 6 seconds, and 36 who queue for places that 700 tokens a second free wait that long
if answers are about that long.

Nothing is cached in these ten (`--cache-blocks 25000` for as much as the others have): of the article's engines vLLM
alone did, and with a short list of prompts, sent again and again, the rates would be the cache's.

The engines' versions then were other than those that the dialects speak by default; `--dialect bentoml` has the
article's front.
"""

from dataclasses import dataclass

from tokenswarm.simulator.batching import Speed
from tokenswarm.simulator.errors import SimulatorError, option_name, unknown_name


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
                value = getattr(self, name)
                raise SimulatorError(f"{option_name(name)} must be from {low} to 1e+09, got {value:g}.")


_ARTICLE_TOKENS = 105.0
_JITTER = 0.03

PROFILES = {
    # Llama 3 8B in 16 bits on one A100 under vLLM: reading the weights bounds a small batch, and the cost of each
    # sequence a large one. About 750 tokens/s at 10 users and 2,400 at 100, with prompts and answers as in dolly.
    "default": Profile(Speed(step_ms=9.6, sequence_ms=0.27, prefill_tokens_per_s=12_000, prefill_ms=2.0, jitter=0.03)),
    # For tests: about a millisecond a token, however many users.
    "fast": Profile(Speed(step_ms=0.8, sequence_ms=0.002, prefill_tokens_per_s=1_000_000, prefill_ms=0.1)),
    # 8B. Published: the lowest TTFT at all levels (at 10 users together with LMDeploy and MLC), 2,300 to 2,500 tokens/s
    # at 100 users. vLLM 0.4.2 computed prompts in steps of their own: newcomers were soon served, at the others' cost.
    "vllm-llama3-8b": Profile(
        Speed(
            step_ms=9.6,
            sequence_ms=0.2,
            prefill_tokens_per_s=12_000,
            prefill_ms=0.5,
            prefill_alone=True,
            cache_blocks=0,
            jitter=_JITTER,
        ),
        dialect="vllm",
        answer_median_tokens=_ARTICLE_TOKENS,
    ),
    # 8B. Published: up to 4,000 tokens/s at 100 users; TTFT as low as any at 10 users, and close behind vLLM's above.
    "lmdeploy-llama3-8b": Profile(
        Speed(
            step_ms=9.2, sequence_ms=0.062, prefill_tokens_per_s=12_000, prefill_ms=4.0, cache_blocks=0, jitter=_JITTER
        ),
        dialect="lmdeploy",
        answer_median_tokens=_ARTICLE_TOKENS,
    ),
    # 8B. Published: about 3,500 tokens/s at 100 users, about 3,100 after five minutes; TTFT as low as any at 10 users,
    # far above vLLM's at 50 and 100. Why was not published: here prompts wait until there are enough of them beside a
    # large batch, 80 sequences are in it at most, and steps become longer while it is full.
    "mlc-llama3-8b": Profile(
        Speed(
            step_ms=9.0,
            sequence_ms=0.1,
            prefill_tokens_per_s=12_000,
            prefill_ms=1.0,
            max_batch=80,
            prefill_ratio=0.1,
            prefill_patience=1000,
            slowdown=0.14,
            cache_blocks=0,
            jitter=_JITTER,
        ),
        dialect="mlc",
        answer_median_tokens=_ARTICLE_TOKENS,
    ),
    # 8B. Published: a rate like vLLM's; by omission, a TTFT above the three lowest.
    "trtllm-llama3-8b": Profile(
        Speed(
            step_ms=10.0, sequence_ms=0.23, prefill_tokens_per_s=12_000, prefill_ms=3.0, cache_blocks=0, jitter=_JITTER
        ),
        dialect="trtllm",
        answer_median_tokens=_ARTICLE_TOKENS,
    ),
    # 8B. Published: a rate like vLLM's; by omission, a TTFT above the three lowest. Prompts wait for others as its
    # defaults have it (waiting_served_ratio 0.3, max_waiting_tokens 20; 128 requests at once).
    "tgi-llama3-8b": Profile(
        Speed(
            step_ms=10.0,
            sequence_ms=0.23,
            prefill_tokens_per_s=12_000,
            prefill_ms=1.0,
            max_batch=128,
            prefill_alone=True,
            prefill_ratio=0.3,
            prefill_patience=20,
            cache_blocks=0,
            jitter=_JITTER,
        ),
        dialect="tgi",
        answer_median_tokens=_ARTICLE_TOKENS,
    ),
    # 70B. Published: low TTFT at all levels, a rate below LMDeploy's and TensorRT-LLM's. AWQ's prompts were slow then.
    "vllm-llama3-70b": Profile(
        Speed(
            step_ms=30.0,
            sequence_ms=0.8,
            prefill_tokens_per_s=750,
            prefill_ms=2.0,
            prefill_alone=True,
            cache_blocks=0,
            jitter=_JITTER,
        ),
        dialect="vllm",
        answer_median_tokens=_ARTICLE_TOKENS,
    ),
    # 70B. Published: up to 700 tokens/s at 100 users, and the lowest TTFT at all levels.
    "lmdeploy-llama3-70b": Profile(
        Speed(
            step_ms=22.0, sequence_ms=0.86, prefill_tokens_per_s=2_200, prefill_ms=2.0, cache_blocks=0, jitter=_JITTER
        ),
        dialect="lmdeploy",
        answer_median_tokens=_ARTICLE_TOKENS,
    ),
    # 70B. Published: no figure that is known here. The 8B profile's scheduling, at what 4 bits of 70B cost the others.
    "mlc-llama3-70b": Profile(
        Speed(
            step_ms=24.0,
            sequence_ms=1.0,
            prefill_tokens_per_s=1_500,
            prefill_ms=2.0,
            max_batch=80,
            prefill_ratio=0.1,
            prefill_patience=1000,
            slowdown=0.14,
            cache_blocks=0,
            jitter=_JITTER,
        ),
        dialect="mlc",
        answer_median_tokens=_ARTICLE_TOKENS,
    ),
    # 70B. Published: a rate similar to LMDeploy's; TTFT low at 10 users, above 6 s at 100, and the engine's 64 places.
    "trtllm-llama3-70b": Profile(
        Speed(
            step_ms=28.0,
            sequence_ms=0.48,
            prefill_tokens_per_s=1_500,
            prefill_ms=10.0,
            max_batch=64,
            cache_blocks=0,
            jitter=_JITTER,
        ),
        dialect="trtllm",
        answer_median_tokens=_ARTICLE_TOKENS,
    ),
    # 70B. Published: no figure that is known here. The 8B profile's scheduling, at what 4 bits of 70B cost the others.
    "tgi-llama3-70b": Profile(
        Speed(
            step_ms=30.0,
            sequence_ms=1.0,
            prefill_tokens_per_s=1_000,
            prefill_ms=2.0,
            max_batch=128,
            prefill_alone=True,
            prefill_ratio=0.3,
            prefill_patience=20,
            cache_blocks=0,
            jitter=_JITTER,
        ),
        dialect="tgi",
        answer_median_tokens=_ARTICLE_TOKENS,
    ),
}


def profile_named(name: str) -> Profile:
    """The profile of that name; raises SimulatorError, naming those there are."""
    if name not in PROFILES:
        raise unknown_name("profile", name, PROFILES)
    return PROFILES[name]
