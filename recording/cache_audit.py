"""When the share of prompt tokens that came from a prefix cache differs from the expected one. Pure."""

from __future__ import annotations

from tokenswarm.run_folder.prompt_figures import PromptFigures

#: Of the prompt tokens of a hold.
HITS_BOUND = 0.05
#: Two blocks of 16 tokens, the unit in which vLLM and most others cache.
FIXED_START_TOKENS = 32
#: Fewer requests than this say nothing of a share of 5 %.
FEWEST_REQUESTS = 20


def beyond_expected(share: float | None, prompts: PromptFigures) -> float:
    """How far a share of cached prompt tokens (None where it is not known) is above the expected one, or, as a negative
    number, below it; 0 where it is within the bounds, or nothing is expected."""
    least, most = prompts.expected_share_min, prompts.expected_share_max
    if share is None or least is None or most is None or prompts.requests < FEWEST_REQUESTS:
        return 0.0
    beyond = max(0.0, share - most) or min(0.0, share - least)
    tokens = abs(beyond) * (prompts.prompt_tokens_mean or 0.0)
    return beyond if abs(beyond) > HITS_BOUND and tokens > FIXED_START_TOKENS else 0.0
