"""What tables say of sessions of several turns: how many there were, and their requests by turn and by uncached input
tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from tokenswarm.reports import units
from tokenswarm.reports.level_names import level_name
from tokenswarm.reports.text_grid import TextColumn, grid_lines
from tokenswarm.run_folder.schema import LevelSummary
from tokenswarm.run_folder.session_figures import (
    DepthFigures,
    GroupFigures,
    SessionFigures,
    TurnFigures,
    UncachedFigures,
)

_ABANDONED = "abandoned: ended by a turn that its user left; "
SESSION_NOTE = (
    "Sessions: those whose first turn was sent in the level, ramp included. Failed: ended by a failed turn; "
    f"{_ABANDONED}unfinished: ended by the level's end. Of the completed sessions: turns, the mean number of turns; "
    "duration, from the sending of the first turn to the end of the last one, think times included; waited, the sum "
    "over all turns of the time from sending to the last token. By turn: requests sent in the hold, without those of "
    "the ramp, so turn 1 may have fewer requests than there are sessions; cached and uncached: input tokens that the "
    "server found in its prefix cache and those that it did not (shown if the server reports cached tokens in `usage`)."
)
#: Where sessions have sub-agents.
AGENT_NOTE = (
    "Depth: agents above the request's own, 0 for the one that a session begins with. Join wait: from the end of an "
    "agent's request to that of its last sub-agent, before the agent's next request."
)
_PER_TOKENS = 1000


class SessionColumn(NamedTuple):
    """A column of figures of a level's sessions."""

    group: str
    head: str
    cell: Callable[[SessionFigures], str]


class TurnColumn(NamedTuple):
    """A column of figures of the requests of a turn, or of a depth."""

    group: str
    head: str
    cell: Callable[[GroupFigures], str]


class DepthColumn(NamedTuple):
    """A column of figures of the agents of a depth."""

    group: str
    head: str
    cell: Callable[[DepthFigures], str]


class SessionGrid(NamedTuple):
    """A table: the heads of the columns that say what a row is of, those of figures, and the cells of each row."""

    keys: tuple[str, ...]
    columns: Sequence[SessionColumn | TurnColumn | DepthColumn]
    rows: list[list[str]]


SESSION_COLUMNS = (
    SessionColumn("sessions", "started", lambda found: units.count(found.started)),
    SessionColumn("sessions", "completed", lambda found: units.count(found.completed)),
    SessionColumn("sessions", "failed", lambda found: units.count(found.failed)),
    SessionColumn("sessions", "abandoned", lambda found: units.count(found.abandoned) if found.abandoned else ""),
    SessionColumn("sessions", "unfinished", lambda found: units.count(found.unfinished)),
    SessionColumn("", "turns", lambda found: units.amount(found.turns_mean)),
    SessionColumn("duration", "p50", lambda found: units.quantile(found.duration_s.p50)),
    SessionColumn("duration", "p95", lambda found: units.quantile(found.duration_s.p95)),
    SessionColumn("waited", "p50", lambda found: units.quantile(found.waited_s.p50)),
    SessionColumn("waited", "p95", lambda found: units.quantile(found.waited_s.p95)),
)
TURN_COLUMNS = (
    TurnColumn("requests", "sent", lambda found: units.count(found.requests)),
    TurnColumn("requests", "failed", lambda found: units.count(found.failures)),
    TurnColumn("input tokens", "mean", lambda found: units.amount(found.prompt_tokens_mean)),
    TurnColumn("input tokens", "cached", lambda found: units.percentage(found.cached_share)),
    TurnColumn("input tokens", "uncached", lambda found: units.amount(found.uncached_tokens_mean)),
    TurnColumn("TTFT", "p50", lambda found: units.quantile(found.ttft_s.p50)),
    TurnColumn("TTFT", "p95", lambda found: units.quantile(found.ttft_s.p95)),
    TurnColumn("E2E", "p50", lambda found: units.quantile(found.e2e_s.p50)),
)
#: Of the agents of a depth, behind the columns of their requests.
JOIN_COLUMNS = (
    DepthColumn("agents", "begun", lambda found: units.count(found.agents)),
    DepthColumn("", "joins", lambda found: units.count(found.joins)),
    DepthColumn("join wait", "p50", lambda found: units.quantile(found.join_s.p50)),
    DepthColumn("join wait", "p95", lambda found: units.quantile(found.join_s.p95)),
)


def turn_name(found: TurnFigures) -> str:
    """`3`, or `16 and later`."""
    return f"{found.turn} and later" if found.and_later else str(found.turn)


def tokens_name(found: UncachedFigures) -> str:
    """`128 to 255`."""
    return f"{found.least_tokens:,} to {found.most_tokens:,}"


def with_sessions(levels: Sequence[LevelSummary]) -> list[tuple[LevelSummary, SessionFigures]]:
    """The levels that have sessions, with their figures."""
    return [(level, level.sessions) for level in levels if level.sessions is not None]


def session_columns(levels: Sequence[LevelSummary]) -> list[SessionColumn]:
    """Those of which a level has a value: in most runs users leave no session."""
    found = [sessions for _, sessions in with_sessions(levels)]
    return [column for column in SESSION_COLUMNS if any(column.cell(sessions) for sessions in found)]


def turn_columns(levels: Sequence[LevelSummary]) -> list[TurnColumn]:
    """Those of which a turn has a value: not every server says what was cached."""
    turns = [turn for _, sessions in with_sessions(levels) for turn in sessions.turns]
    return [column for column in TURN_COLUMNS if any(column.cell(turn) != units.UNDEFINED for turn in turns)]


def depth_rows(levels: Sequence[LevelSummary]) -> list[tuple[LevelSummary, list[str]]]:
    """For each level and depth of agents in it, the depth and the cells of its columns; none where sessions have no
    sub-agents."""
    columns = turn_columns(levels)
    return [
        (
            level,
            [
                str(depth.depth),
                *(column.cell(depth) for column in columns),
                *(column.cell(depth) for column in JOIN_COLUMNS),
            ],
        )
        for level, sessions in with_sessions(levels)
        for depth in sessions.depths
    ]


def session_grids(levels: Sequence[LevelSummary]) -> Iterator[SessionGrid]:
    """A table of the sessions of each level, and one of their requests by turn; nothing where there are none."""
    found = with_sessions(levels)
    if not found:
        return
    of_sessions = session_columns(levels)
    rows = [[level_name(level), *(column.cell(sessions) or "0" for column in of_sessions)] for level, sessions in found]
    yield SessionGrid(("level",), of_sessions, rows)
    columns = turn_columns(levels)
    by_turn = [
        [level_name(level), turn_name(turn), *(column.cell(turn) for column in columns)]
        for level, sessions in found
        for turn in sessions.turns
    ]
    if by_turn:
        yield SessionGrid(("level", "turn"), columns, by_turn)
    if by_depth := depth_rows(levels):
        rows = [[level_name(level), *cells] for level, cells in by_depth]
        yield SessionGrid(("level", "depth"), (*columns, *JOIN_COLUMNS), rows)


def session_note(levels: Sequence[LevelSummary]) -> str:
    """What the figures in these tables are."""
    abandons = any(sessions.abandoned for _, sessions in with_sessions(levels))
    text = SESSION_NOTE if abandons else SESSION_NOTE.replace(_ABANDONED, "")
    return f"{text} {AGENT_NOTE}" if depth_rows(levels) else text


def session_lines(levels: Sequence[LevelSummary]) -> Iterator[list[str]]:
    """The same tables in lines of text."""
    for grid in session_grids(levels):
        cells = list(zip(*grid.rows))
        keys = [TextColumn(head, found, left=True) for head, found in zip(grid.keys, cells)]
        of_figures = cells[len(keys) :]
        figures = [TextColumn(each.head, found, each.group) for each, found in zip(grid.columns, of_figures)]
        yield grid_lines([*keys, *figures])


def session_notes(levels: Sequence[LevelSummary]) -> list[str]:
    """Answers without text, and how TTFT grows with uncached input tokens, where that is known and it does."""
    found = []
    for level, sessions in with_sessions(levels):
        if sessions.empty_answers:
            found.append(
                f"{level_name(level)}: {units.counted(sessions.empty_answers, 'answer')} without visible text: with "
                "--answers own, later turns of their sessions carry an empty answer. Give more --max-tokens where "
                "reasoning takes them all."
            )
        if sessions.repeated:
            found.append(
                f"{level_name(level)}: {units.count(sessions.repeated)} of "
                f"{units.counted(sessions.started, 'session')} repeat a row of --prompts that an earlier one of the "
                "level was of, as the source has too few. Give more, or --session-supply once, which ends a level when "
                "the first user has none left."
            )
        if (slope_s := sessions.ttft_per_uncached_token_s or 0.0) > 0:  # below 0 it is chance
            found.append(
                f"{level_name(level)}: TTFT grows by {units.duration(slope_s * _PER_TOKENS)} with each {_PER_TOKENS:,} "
                f"more uncached input tokens (least squares over the requests of the hold{_range_of(sessions)})."
            )
    return found


def _range_of(sessions: SessionFigures) -> str:
    """Between which numbers of uncached tokens the slope was measured."""
    if not sessions.uncached:
        return ""
    least, most = sessions.uncached[0].least_tokens, sessions.uncached[-1].most_tokens
    return f", which had {least:,} to {most:,} of them"
