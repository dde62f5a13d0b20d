"""Past runs as a table in plain text, and which of them a list is to have. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from tokenswarm.command_line import TimespanError, parse_timespan
from tokenswarm.metrics.level import PROMPT, users_of
from tokenswarm.reports import units
from tokenswarm.reports.level_names import with_one_unit
from tokenswarm.reports.past_runs import PastRun
from tokenswarm.reports.text_grid import TextColumn, grid_lines
from tokenswarm.run_folder.reader import ReportError
from tokenswarm.run_folder.run_labels import tags_text
from tokenswarm.run_folder.schema import Status
from tokenswarm.sanitize import shortened

_DAYS = re.compile(r"(\d{1,5})d", re.ASCII)
_MOST_LOAD, _MOST_NAME, _MOST_HOST = 24, 30, 30
#: Columns that are left out, in this order, where the terminal is too narrow for all: the folder's name has the date
#: and the engine of most runs.
_OPTIONAL = ("started", "host", "engine")
HEADLINE_NOTE = "tokens/s and TTFT are of the level beside them, the one with the run's highest tokens/s."


@dataclass(frozen=True, slots=True)
class RunFilter:
    """Which runs a list has: those with all of the tags, of one of the engines and with one of the verdicts (empty:
    any), begun at `since` or later (None: at any time)."""

    tags: Mapping[str, str] = field(default_factory=dict)
    engines: Sequence[str] = ()
    verdicts: Sequence[str] = ()
    since: datetime | None = None

    def takes(self, run: PastRun) -> bool:
        """Whether the run is one of these."""
        return (
            all(run.tags.get(key) == value for key, value in self.tags.items())
            and (not self.engines or run.engine in self.engines)
            and (not self.verdicts or run.verdict in self.verdicts or run.status in self.verdicts)
            and (self.since is None or ((began := _began(run)) is not None and began >= self.since))
        )


def parse_since(text: str, now: datetime) -> datetime:
    """`2026-07-01`, `2026-07-01T12:00` (of this machine's time zone unless it names one), or a time before now: `7d`,
    `12h`. Raises ReportError."""
    try:
        if match := _DAYS.fullmatch(text.strip()):
            return now - timedelta(days=int(match[1]))
        if text.strip()[-1:].isalpha() and "T" not in text:
            return now - timedelta(seconds=parse_timespan("--since", text))
        return datetime.fromisoformat(text.strip()).astimezone()
    except (ValueError, OverflowError, TimespanError):
        raise ReportError(
            f"--since takes a date like 2026-07-01 or 2026-07-01T12:00, or a time before now like 12h or 7d, got "
            f"{text!r}."
        ) from None


def run_table(runs: Sequence[PastRun], width: int) -> str:
    """A row for each run, in lines of at most `width` characters as far as that can be; a sentence below for each that
    something is wrong with."""
    columns = _columns(runs)
    for head in _OPTIONAL:
        if max(map(len, grid_lines(columns))) > width:
            columns = [column for column in columns if column.head != head]
    lines = [line.rstrip() for line in grid_lines(columns)]
    notes = [f"{run.folder}: {run.note}" for run in runs if run.note]
    notes += [f"{run.folder}: complete it with {run.recover}" for run in runs if run.recover]
    explained = [HEADLINE_NOTE] if any(run.headline for run in runs) else []
    return "\n".join([*lines, *([""] if explained or notes else []), *explained, *notes])


def _columns(runs: Sequence[PastRun]) -> list[TextColumn]:
    figures = [run.headline for run in runs]
    has_names, has_tags = any(run.name for run in runs), any(run.tags for run in runs)
    return [
        TextColumn("run", [run.folder for run in runs], left=True),
        *([TextColumn("name", [shortened(run.name, _MOST_NAME) for run in runs], left=True)] if has_names else []),
        TextColumn("started", [_started(run) for run in runs], left=True),
        TextColumn("engine", [run.engine or units.UNDEFINED for run in runs], left=True),
        TextColumn("host", [_host(run) for run in runs], left=True),
        TextColumn("load", [_load(run) for run in runs], left=True),
        TextColumn("verdict", [_verdict(run) for run in runs], left=True),
        TextColumn("at", [_level(run) for run in runs]),
        TextColumn("tokens/s", [units.rate(each.token_rate if each else None) for each in figures]),
        TextColumn("TTFT p50", [units.duration(each.ttft_p50_s if each else None) for each in figures]),
        TextColumn("p95", [units.duration(each.ttft_p95_s if each else None) for each in figures]),
        *([TextColumn("tags", [tags_text(run.tags) for run in runs], left=True)] if has_tags else []),
    ]


def _began(run: PastRun) -> datetime | None:
    try:
        began = datetime.fromisoformat(run.started_at)
    except ValueError:
        return None
    return began if began.tzinfo else began.replace(tzinfo=UTC)


def _started(run: PastRun) -> str:
    began = _began(run)
    return units.UNDEFINED if began is None else f"{began.astimezone():%Y-%m-%d %H:%M}"


def _host(run: PastRun) -> str:
    return shortened(run.host.partition("://")[2] or run.host or units.UNDEFINED, _MOST_HOST)


def _load(run: PastRun) -> str:
    return shortened(", ".join(with_one_unit(run.levels)), _MOST_LOAD) if run.levels else units.UNDEFINED


def _verdict(run: PastRun) -> str:
    """With the status where the run did not come to its end."""
    if run.validity is None or run.status in (Status.FINISHED, run.validity):
        return run.verdict
    return f"{run.validity}, {run.status}"


def _level(run: PastRun) -> str:
    if run.headline is None:
        return units.UNDEFINED
    with_prompt = f" {PROMPT['on']}" if run.headline.system_prompt == "on" else ""
    return f"{users_of(run.headline.level)}{with_prompt}"
