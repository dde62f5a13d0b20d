"""Whether a run's figures are its server's work or its prefix cache's: repeated prompts, and prefix-cache hits. Pure.

Two bounds decide what is reported. They are applied to the hold of each level.

- Repeats: more than REPEATS_BOUND of the requests sent a text that was sent before in the run.
- Hits: without a system prompt, more than HITS_BOUND of the prompt tokens came from the server's prefix cache. Where
  prompts cannot repeat (--prompt-reuse never), hits of up to FIXED_START_TOKENS tokens a request are left out: they
  are the fixed beginning that a chat template gives every request.
"""

from __future__ import annotations

from reports import units
from reports.results import Level, Results

#: Of the requests of a hold.
REPEATS_BOUND = 0.05
#: Of the prompt tokens of a hold.
HITS_BOUND = 0.05
#: Two blocks of 16 tokens, the unit in which vLLM and most others cache.
FIXED_START_TOKENS = 32

_MODES = {"off": "without system prompt", "on": "with system prompt"}


def reuse_of(results: Results) -> str:
    """The run's --prompt-reuse: never, run or always; always for a run of before the option."""
    return str(results.run.options.get("prompt_reuse") or results.run.prompts.get("reuse") or "always")


def hit_ratio(level: Level) -> float | None:
    """Prompt tokens of the hold that came from the prefix cache, 0 to 1: by the server's own metrics, else by the usage
    of its answers. None where the server reports neither."""
    hold = level.hold
    if hold.server is not None and hold.server.prefix_cache_hit_ratio is not None:
        return hold.server.prefix_cache_hit_ratio
    return hold.prompts.cached_share


def repeats_exceed(level: Level) -> bool:
    """Whether more prompts of the hold repeated than REPEATS_BOUND."""
    return (level.hold.prompts.repeated_share or 0.0) > REPEATS_BOUND


def hits_exceed(level: Level, reuse: str) -> bool:
    """Whether the hold has prefix-cache hits above the bounds, at a level without system prompt."""
    ratio = hit_ratio(level)
    if level.system_prompt == "on" or ratio is None or ratio <= HITS_BOUND:
        return False
    return not _is_fixed_start(ratio, level, reuse)


def hits_differ(base: Level, new: Level, reuse: str) -> bool:
    """Whether the hit ratios of two runs' same level are too far apart for their TTFTs to be compared: by more than
    HITS_BOUND, and by more than a chat template's beginning where prompts cannot repeat."""
    one, other = hit_ratio(base), hit_ratio(new)
    if one is None or other is None or abs(one - other) <= HITS_BOUND:
        return False
    return not _is_fixed_start(abs(one - other), new, reuse)


def _is_fixed_start(ratio: float, level: Level, reuse: str) -> bool:
    length = level.hold.prompts.prompt_tokens_mean
    return reuse == "never" and length is not None and ratio * length <= FIXED_START_TOKENS


def prompt_notices(results: Results) -> list[str]:
    """A sentence for repeats above their bound and one for hits above theirs, with the figures; none where neither."""
    levels, reuse = results.summary.levels, reuse_of(results)
    found = []
    if repeating := [level for level in levels if repeats_exceed(level)]:
        told = _list(repeating, {level.stage: level.hold.prompts.repeated_share for level in repeating})
        found.append(
            f"PROMPTS REPEAT: more than {units.percentage(REPEATS_BOUND)} of the requests sent a text that was sent "
            f"before in this run ({told}). A server that caches prefixes answers those sooner: TTFT is then partly its "
            f"cache's. This run had --prompt-reuse {reuse}; never is the default."
        )
    if hitting := [level for level in levels if hits_exceed(level, reuse)]:
        told = _list(hitting, {level.stage: hit_ratio(level) for level in hitting})
        why = (
            "no prompt was sent twice, so the server or a gateway puts a long text before each"
            if reuse == "never"
            else f"prompts were sent before, in this run or an earlier one (--prompt-reuse {reuse})"
        )
        found.append(
            f"PREFIX-CACHE HITS: without a system prompt, more than {units.percentage(HITS_BOUND)} of the prompt "
            f"tokens came from the server's prefix cache ({told}): {why}. TTFT is that of what was left to compute."
        )
    return found


def reuse_line(results: Results) -> str | None:
    """What a table's head says of prompts that may repeat; None where none can, and for runs of before the option."""
    reuse = results.run.options.get("prompt_reuse")
    if reuse not in ("run", "always"):
        return None
    share = results.summary.prompts.repeated_share
    told = "" if share is None else f"; {units.percentage(share)} of this run's requests repeated an earlier text"
    how = "drawn at random from the source, as it has them" if reuse == "always" else "unlike those of other runs"
    return f"Prompts may repeat (--prompt-reuse {reuse}): {how}{told}"


def level_name(level: Level) -> str:
    """`10 users without system prompt`."""
    return f"{level.name} users {_MODES[level.system_prompt]}"


def _list(levels: list[Level], shares: dict[int, float | None]) -> str:
    return ", ".join(f"{level_name(level)}: {units.percentage(shares[level.stage])}" for level in levels)
