"""Requests that users left before the end, in words: a line for each level, and the columns of its table."""

from __future__ import annotations

from collections.abc import Sequence

from tokenswarm.reports import units
from tokenswarm.reports.level_names import level_name
from tokenswarm.run_folder.abandon_figures import AbandonFigures, WasteFigures
from tokenswarm.run_folder.schema import LevelSummary

HEADINGS = (
    *("level", "requests", "nobody was to leave", "users were to leave", "requested share", "abandoned"),
    *("measured share", "ended before"),
    *("left late p99", "server went on, each", "requests nobody waited for", "tokens nobody read", "of all", "result"),
)
_NONE_MEASURED = "none measured"
NOTE = (
    "Of each hold. Latencies and the share of good requests are of the requests that nobody was to leave: of the "
    "others only fast ones end. Abandoned requests are no failures. Ended before: the response was over before its "
    "user was to leave. The server went on: requests that it ran or queued and that nobody waited for any more, by its "
    "own metrics, times the length of the hold, for each abandoned request; tokens nobody read: those that it "
    "generated and that did not arrive here. Load of another client would be in both."
)


def with_abandonment(levels: Sequence[LevelSummary]) -> list[tuple[LevelSummary, AbandonFigures]]:
    """The levels whose users leave requests, with their figures."""
    return [(level, level.abandonment) for level in levels if level.abandonment is not None]


def abandon_lines(levels: Sequence[LevelSummary]) -> list[str]:
    """The heading and a line for each level whose users leave requests; none where none do."""
    found = with_abandonment(levels)
    if not found:
        return []
    first = found[0][1]
    heading = f"Abandoned requests (--abandon {units.set_share(first.requested_share)} after={first.after}):"
    return [heading, *(f"  {level_name(level)}: {_line(each)}" for level, each in found)]


def _line(found: AbandonFigures) -> str:
    parts = [
        f"{units.count(found.abandoned)} of {units.counted(found.requests, 'request')} "
        f"({units.percentage(found.share)}); drawn {units.count(found.drawn)}, of which "
        f"{units.count(found.ended_before)} ended before"
    ]
    if found.late_p99_s is not None:
        parts.append(f"users left {units.duration(found.late_p99_s)} late (p99)")
    parts.append(_waste_in_words(found))
    parts.append(
        "latencies and the share of good requests are of the "
        f"{units.count(found.requests - found.drawn)} that nobody was to leave"
    )
    return ("" if found.as_requested else "NOT AS REQUESTED: ") + "; ".join(parts)


def _waste_in_words(found: AbandonFigures) -> str:
    waste = found.waste
    if waste is None:
        return f"what the server went on to do is not known: {found.waste_note}"
    parts = []
    if waste.seconds_per_request is not None:
        took = f"for {units.duration(waste.seconds_per_request)} with each"
        parts.append(took if waste.seconds_per_request else "for no time that could be measured")
    if waste.tokens is not None:
        low, high = (units.count(round(end or 0.0)) for end in (waste.tokens_low, waste.tokens_high))
        parts.append(
            f"generating {low} to {high} tokens that nobody read ({units.percentage(waste.share)} of all)"
            if waste.tokens
            else f"with no tokens measured that nobody read (at most {high})"
        )
    return f"the server went on {', '.join(parts)}"


def abandon_cells(found: AbandonFigures) -> list[str]:
    """The cells of a level's row, but for its name."""
    waste = found.waste or WasteFigures(samples=0)
    return [
        *(units.count(found.requests), units.count(found.requests - found.drawn), units.count(found.drawn)),
        *(units.percentage(found.requested_share), units.count(found.abandoned), units.percentage(found.share)),
        *(units.count(found.ended_before), units.duration(found.late_p99_s)),
        _NONE_MEASURED if waste.seconds_per_request == 0 else units.duration(waste.seconds_per_request),
        _running_cell(waste),
        *(_tokens_cell(waste), units.percentage(waste.share)),
        "as requested" if found.as_requested else "NOT AS REQUESTED",
    ]


def _running_cell(waste: WasteFigures) -> str:
    """The mean with its interval, where that is known."""
    low, high = waste.running_mean_low, waste.running_mean_high
    text = units.rate(waste.running_mean)
    return text if low is None or high is None else f"{text} ({units.rate(low)} to {units.rate(high)})"


def _tokens_cell(waste: WasteFigures) -> str:
    if waste.tokens is None:
        return units.UNDEFINED
    low, high = (units.count(round(end or 0.0)) for end in (waste.tokens_low, waste.tokens_high))
    return f"{low} to {high}" if waste.tokens else f"{_NONE_MEASURED} (at most {high})"
