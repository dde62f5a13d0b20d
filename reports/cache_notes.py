"""Expected against observed prefix-cache hits, in sentences and cells."""

from __future__ import annotations

from collections.abc import Sequence

from tokenswarm.reports import units
from tokenswarm.reports.level_names import level_name
from tokenswarm.run_folder.schema import LevelSummary

HEADINGS = (
    *("level", "requests", "prompt tokens, mean", "expected, at least", "expected, at most"),
    *(
        "by the usage of the responses",
        "by the server's metrics page",
        "repeated texts",
        "from earlier levels",
        "cache flushed before",
    ),
)
NOTE = (
    "Shares of the prompt tokens. Expected: the part of the prompt that this run had already sent to the same host "
    "since the last flush, in whole cache blocks of the engine's default size. 'At least' counts an earlier request "
    "only if its first token came before this request was sent; 'at most', if it came before this request's own first "
    "token. Repeated texts: requests whose text this run had sent before; from earlier levels: those of them whose "
    "text was first sent in another level. Fewer hits observed than expected: the cache is off, too small, or not "
    "shared by all replicas of the server. More: other clients sent the same prompts."
)


def with_cache_audit(levels: Sequence[LevelSummary]) -> list[LevelSummary]:
    """The levels of which it is known which hits to expect, or whose cache was to be flushed."""
    return [
        level
        for level in levels
        if level.hold.prompts.expected_share_max is not None or level.cache_flushed is not None
    ]


def cache_notes(levels: Sequence[LevelSummary]) -> list[str]:
    """A line for the levels of which it is known which hits to expect."""
    parts = [
        f"{level_name(level)} {expected_in_words(level)}, {observed_in_words(level)}"
        for level in levels
        if level.hold.prompts.expected_share_max is not None
    ]
    return [f"Prefix-cache hits, of the prompt tokens: {'; '.join(parts)}."] if parts else []


def expected_in_words(level: LevelSummary) -> str:
    """`expected 86.1 % to 87.0 %`."""
    prompts = level.hold.prompts
    least, most = (units.percentage(share) for share in (prompts.expected_share_min, prompts.expected_share_max))
    return f"expected {least}" if least == most else f"expected {least} to {most}"


def observed_in_words(level: LevelSummary) -> str:
    """`86.5 % by the usage of the responses, 87.0 % by the server's metrics page`."""
    shares = {
        "the usage of the responses": level.hold.prompts.cached_share,
        "the server's metrics page": _by_server(level),
    }
    known = [f"{units.percentage(share)} by {source}" for source, share in shares.items() if share is not None]
    return ", ".join(known) or "and the server does not report them"


def cache_cells(level: LevelSummary) -> list[str]:
    """The cells of a level's row, but for its name."""
    prompts = level.hold.prompts
    shares = prompts.expected_share_min, prompts.expected_share_max, prompts.cached_share, _by_server(level)
    flushed = {None: units.UNDEFINED, True: "yes", False: "REFUSED"}[level.cache_flushed]
    return [
        *(units.count(prompts.requests), units.amount(prompts.prompt_tokens_mean)),
        *map(units.percentage, shares),
        *(units.count(prompts.repeated), units.count(prompts.repeated_from_earlier_levels)),
        flushed,
    ]


def _by_server(level: LevelSummary) -> float | None:
    return level.hold.server.prefix_cache_hit_ratio if level.hold.server else None
