"""Whether a level's TTFT may be its server's prefix cache's: the bounds, and what a page says while the run goes on.

Both bounds are applied to the hold of a level.

- Repeats: more than REPEATS_BOUND of the requests sent a text that was sent before in the run.
- Hits: where it is known which hits to expect, they differ from these by more than HITS_BOUND of the prompt tokens
  and FIXED_START_TOKENS tokens a request. Elsewhere, without a system prompt, more than HITS_BOUND of the prompt
  tokens came from the server's prefix cache; where prompts cannot repeat (--prompt-reuse never), hits of up to
  FIXED_START_TOKENS tokens a request are left out: they are the fixed beginning that a chat template gives every
  request.
"""

from __future__ import annotations

from collections.abc import Iterator

from tokenswarm.metrics.level import Scope
from tokenswarm.recording.aggregator import Aggregator
from tokenswarm.recording.cache_audit import FEWEST_REQUESTS, FIXED_START_TOKENS, HITS_BOUND
from tokenswarm.recording.mix_stats import DEFAULT_NAME
from tokenswarm.recording.server_samples import ServerSamples
from tokenswarm.recording.validity import level_name
from tokenswarm.run_folder.prompt_figures import PromptFigures

#: Of the requests of a hold.
REPEATS_BOUND = 0.05
#: In place of a --prompt-reuse: code of a locustfile says what is sent.
OWN_REUSE = "own"


def repeats_exceed(prompts: PromptFigures) -> bool:
    """Whether more prompts repeated than REPEATS_BOUND."""
    return (prompts.repeated_share or 0.0) > REPEATS_BOUND


def hits_exceed(ratio: float | None, prompts: PromptFigures, system_prompt: str, reuse: str) -> bool:
    """Whether a hit ratio (0 to 1, None where it is not known) is above the bounds, where it is not known which hits to
    expect. system_prompt: "off" or "on"; with one, hits are what it is for. reuse: the run's --prompt-reuse. Of
    own code it is not known which requests continue a conversation, whose hits are as they should be."""
    if prompts.expected_share_max is not None or reuse == OWN_REUSE:
        return False
    if system_prompt == "on" or ratio is None or ratio <= HITS_BOUND:
        return False
    return not is_fixed_start(ratio, prompts, reuse)


def is_fixed_start(ratio: float, prompts: PromptFigures, reuse: str) -> bool:
    """Whether so many hits (a share of the prompt tokens) may be what a chat template puts before every prompt."""
    length = prompts.prompt_tokens_mean
    return reuse == "never" and length is not None and ratio * length <= FIXED_START_TOKENS


def live_notices(aggregator: Aggregator, server: ServerSamples, reuse: str, now_s: float) -> Iterator[str]:
    """A sentence for each level of a run under way whose repeats or hits are above their bounds."""
    for level in aggregator.levels.values():
        prompts = level.scopes[Scope.HOLD].prompts.figures()
        if prompts.requests < FEWEST_REQUESTS:
            continue
        if repeats_exceed(prompts):
            yield (
                f"{level_name(level)}: {prompts.repeated_share:.0%} of the requests sent a text that was sent before "
                "in this run; TTFT may be the server's prefix cache's"
            )
        if len(level.sessions.turns) > 1:  # later turns find what earlier ones sent
            continue
        seen = server.figures(level, Scope.HOLD, now_s)
        by_server = seen.prefix_cache_hit_ratio if seen else None
        ratio = prompts.cached_share if by_server is None else by_server
        what_is_sent = OWN_REUSE if set(level.mix[Scope.HOLD].names) - {DEFAULT_NAME} else reuse
        if hits_exceed(ratio, prompts, level.level.system_prompt, what_is_sent):
            yield f"{level_name(level)}: {ratio:.0%} of the prompt tokens came from the server's prefix cache"
