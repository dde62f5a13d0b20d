"""Whether two runs asked the same of their servers: only then is a difference between them the servers'. Pure.

Engines, hosts and versions may differ: they are what a comparison is of.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple

from reports import units
from reports.prompt_reuse import hit_ratio, hits_differ, level_name, reuse_of
from reports.results import Level, ReportError, Results

_UNKNOWN = "unknown"


class Unlike(NamedTuple):
    """A field in which two runs differ, and what each says of it."""

    field: str
    base: str
    new: str

    def __str__(self) -> str:
        return f"{self.field} ({self.base} and {self.new})"


def _option(name: str) -> Callable[[Results], str]:
    return lambda results: _told(results.run.options.get(name))


def _told(value: Any) -> str:
    return _UNKNOWN if value is None else "on" if value is True else "off" if value is False else str(value) or "none"


def _prompts(results: Results) -> str:
    facts = results.run.prompts
    return f"{facts.get('count', _UNKNOWN)} of {facts.get('source', _UNKNOWN)}, {_short(facts.get('fingerprint'))}"


def _system_prompt(results: Results) -> str:
    """Its fingerprint, which folders of format 1 do not tell; none where nobody was asked with one."""
    if not any(stage.system_prompt == "on" for stage in results.run.plan):
        return "none"
    return _short(results.run.prompts.get("system_prompt_fingerprint"))


def _short(fingerprint: Any) -> str:
    return str(fingerprint)[:12] if fingerprint else _UNKNOWN


def _levels(results: Results) -> str:
    stages = results.run.plan
    return " ".join(f"{stage.level}/{stage.system_prompt}" for stage in stages) or _UNKNOWN


def _level_times(results: Results) -> str:
    times = {(stage.ramp_s, stage.level_time_s) for stage in results.run.plan}
    return ", ".join(
        f"{ramp_s:g} s ramp of {'an open time' if level_time_s is None else f'{level_time_s:g} s'}"
        for ramp_s, level_time_s in sorted(times, key=lambda pair: (pair[0], pair[1] or 0.0))
    )


def _token_counts(results: Results) -> str:
    """Who counted output tokens: rates by usage and rates by events are not of one thing."""
    return " and ".join(
        sorted({name for level in results.summary.levels for name in level.whole.output_tokens_sources})
    )


#: What two runs must have in common, by the name that --allow takes.
FIELDS: dict[str, Callable[[Results], str]] = {
    "model": lambda results: _told(results.summary.model),
    "prompts": _prompts,
    "prompt_tokens": _option("prompt_tokens"),
    "prompt_reuse": reuse_of,
    "chat_template": lambda results: results.run.chat_template or "the server's own",
    "system_prompt": _system_prompt,
    "max_tokens": _option("max_tokens"),
    "ignore_eos": _option("ignore_eos"),
    "shape": lambda results: results.run.shape or _UNKNOWN,
    "levels": _levels,
    "level_time": _level_times,
    "token_counts": _token_counts,
}
#: The field of prefix-cache hits, which two runs have in common where they are about equal.
PREFIX_HITS = "prefix_hits"
#: All that --allow takes but SUSPECT.
FIELD_NAMES = (*FIELDS, PREFIX_HITS)
#: The field of --allow that lets runs pass whose own figures are in doubt.
SUSPECT = "suspect"


def differences(base: Results, new: Results, allowed: Collection[str] = ()) -> list[Unlike]:
    """The fields in which two runs differ, but for those that are allowed to."""
    found = [
        Unlike(name, told_base, told_new)
        for name, tell in FIELDS.items()
        if name not in allowed and (told_base := tell(base)) != (told_new := tell(new))
    ]
    if PREFIX_HITS not in allowed and (apart := _apart(base, new, "off")):
        found.append(Unlike(PREFIX_HITS, *(_hits(levels) for levels in zip(*apart, strict=True))))
    return found


def prefix_hit_notices(base: Results, new: Results) -> list[str]:
    """A sentence for each level with a system prompt at which the servers' prefix-cache hits differ: with one they may,
    as it is what a cache is for, but TTFT is then not of equal work."""
    return [
        f"PREFIX-CACHE HITS DIFFER at {level_name(two)}: {units.percentage(hit_ratio(one))} and "
        f"{units.percentage(hit_ratio(two))} of the prompt tokens came from the cache, so that a difference in TTFT "
        "may be the cache's."
        for one, two in _apart(base, new, "on")
    ]


def _apart(base: Results, new: Results, system_prompt: str) -> list[tuple[Level, Level]]:
    """The levels of a mode that both runs have, and whose hit ratios are too far apart."""
    reuse = "never" if reuse_of(base) == reuse_of(new) == "never" else "always"
    in_base = {(level.level, level.system_prompt): level for level in base.summary.levels}
    return [
        (found, level)
        for level in new.summary.levels
        if level.system_prompt == system_prompt
        and (found := in_base.get((level.level, level.system_prompt))) is not None
        and hits_differ(found, level, reuse)
    ]


def _hits(levels: Sequence[Level]) -> str:
    return ", ".join(f"{units.percentage(hit_ratio(level))} at {level.name} users" for level in levels)


def check_alike(runs: Sequence[Results], allowed: Collection[str] = ()) -> None:
    """Raises ReportError, naming each difference from the first run, where runs are not to be compared."""
    check_allowed(allowed)
    base, *others = runs
    for other in others:
        if found := differences(base, other, allowed):
            told = "; ".join(map(str, found))
            ways = " ".join(f"--allow {unlike.field}" for unlike in found)
            raise ReportError(
                f"{base.folder} and {other.folder} did not ask the same: they differ in {told}. "
                f"Repeat one of them, or say {ways} to compare them all the same."
            )


def check_allowed(allowed: Collection[str]) -> None:
    """Raises ReportError for a field that --allow does not know."""
    for name in allowed:
        if name not in FIELD_NAMES and name != SUSPECT:
            raise ReportError(f"--allow takes one of {', '.join([*FIELD_NAMES, SUSPECT])}, got {name!r}.")


def reasons_to_doubt(results: Results) -> list[str]:
    """Why the run's figures are not to be judged by: it is suspect, failed, did not end, or its books are open."""
    found = list(results.summary.validity.reasons) if results.summary.validity.verdict == "suspect" else []
    if results.summary.validity.verdict == "suspect" and not found:
        found.append("no reason was recorded")
    if results.status != "finished":
        found.append(f"the run is {results.status}")
    if not results.summary.books.balanced:
        found.append("its books do not balance")
    return found
