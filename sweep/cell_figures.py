"""The figures of a sweep's cells: its repeated runs pooled, a row for each level."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from signal import Signals

from tokenswarm.metrics import intervals
from tokenswarm.reports import units
from tokenswarm.reports.checks.conditions import Figure
from tokenswarm.reports.compare.comparability import reasons_unreliable, state_of
from tokenswarm.reports.compare.comparison import (
    GOODPUT,
    TOKEN_RATE,
    TTFT,
    Compared,
    ComparedLevel,
    ComparedServer,
    Entry,
    Standing,
)
from tokenswarm.reports.compare.comparison_text import entry_text, interval_text, spread_text
from tokenswarm.reports.html.run_page import PAGE
from tokenswarm.reports.stats.estimates import RunData
from tokenswarm.run_folder.reader import ReportError, load_results
from tokenswarm.sweep.manifest import Manifest, RunState, SweepRun

TTFT_P95 = Compared(Figure("ttft", "p95"), "TTFT, 95th percentile")
USER_RATE = Compared(Figure("user_rate", "p50"), "Token rate of one user, median", higher_is_better=True)
TPOT = Compared(Figure("tpot", "p50"), "TPOT, median")
FAILURES = Compared(Figure("failures"), "Failed requests", share=True)
FIGURES = (TTFT, TTFT_P95, TOKEN_RATE, USER_RATE, TPOT, FAILURES, GOODPUT)
_TOKENS = " tok/s"
VALID = "valid"


@dataclass(frozen=True, slots=True)
class CellRow:
    """A cell at one of its levels. level: None of a cell without figures, entries are then empty. runs: all of the
    cell; measured: how many of them have this level; verdict: `valid`, or what is wrong; reports: the pages of its
    runs, (address within the sweep's folder, repeat)."""

    runs: Sequence[SweepRun]
    level: ComparedLevel | None
    entries: Mapping[Compared, Entry]
    measured: int
    requests: int
    verdict: str
    reports: Sequence[tuple[str, str]]

    @property
    def cell(self) -> int:
        """Its number, from 1."""
        return self.runs[0].cell

    @property
    def values(self) -> Mapping[str, str]:
        """Of the options that vary."""
        return self.runs[0].values

    @property
    def name(self) -> str:
        """The cell by its values; its number where nothing varies."""
        return self.runs[0].name or f"cell {self.cell}"

    def text(self, compared: Compared) -> str:
        """The figure; a dash where there is none."""
        entry = self.entries.get(compared)
        return units.UNDEFINED if entry is None else entry_text(entry).removesuffix(_TOKENS)

    def interval(self, compared: Compared) -> str:
        """Its 95 % interval; `runs 98–102 ms`, the smallest and the largest run, where two runs have none; "" for
        neither."""
        entry = self.entries.get(compared)
        if entry is None:
            return ""
        if (found := interval_text(entry)) != units.UNDEFINED:
            return found.removesuffix(_TOKENS)
        spread = spread_text(entry)
        return "" if spread == units.UNDEFINED else f"runs {spread.removesuffix(_TOKENS)}"


def rows_of(manifest: Manifest, folder: Path) -> list[CellRow]:
    """The rows of all cells, in order. Raises ReportError where the journals of a finished run cannot be read."""
    return [row for runs in manifest.cells for row in _rows(runs, folder)]


def _rows(runs: Sequence[SweepRun], folder: Path) -> Iterator[CellRow]:
    found: list[RunData] = []
    lost: list[str] = []
    for run in runs:
        if run.state is RunState.FINISHED and run.folder is not None:
            try:
                found.append(RunData(load_results(folder / run.folder)))
            except ReportError as error:
                lost.append(f"run {run.repeat}: {error}")
    server = ComparedServer(
        runs[0].name,
        tuple(found),
        tuple(dict.fromkeys(reason for run in found for reason in reasons_unreliable(run.results))),
    )
    reports = [
        (f"{run.folder}/{PAGE}", str(run.repeat))
        for run in runs
        if run.folder is not None and (folder / run.folder / PAGE).is_file()
    ]
    verdict = "; ".join([_verdict(server, runs), *lost])
    levels = _levels(found)
    if not levels:
        yield CellRow(runs, None, {}, 0, 0, verdict, reports)
    for level in levels:
        measured = server.levels(level)
        yield CellRow(
            runs,
            level,
            _entries(server, level),
            len(measured),
            sum(each.hold.requests for _, each in measured),
            verdict,
            reports,
        )


def exit_text(code: int | None) -> str:
    """`exit code 3`, `ended by SIGTERM`, "" where it did not end."""
    if code is None:
        return ""
    if code < 0:
        with suppress(ValueError):
            return f"ended by {Signals(-code).name}"
    return f"exit code {code}"


def _levels(runs: Sequence[RunData]) -> list[ComparedLevel]:
    """Those that any run has, in the order in which they were run."""
    return list(
        dict.fromkeys(
            ComparedLevel(level.level, level.system_prompt, level.load, level.name)
            for run in runs
            for level in run.results.summary.levels
        )
    )


def _entries(server: ComparedServer, level: ComparedLevel) -> dict[Compared, Entry]:
    """The figures that any run has."""
    found = {}
    for compared in FIGURES:
        estimates = [run.estimate(each, compared.figure) for run, each in server.levels(level)]
        if known := [estimate for estimate in estimates if estimate is not None]:
            found[compared] = Entry(level, server, compared, intervals.pooled(known), None, Standing.BASE)
    return found


def _verdict(server: ComparedServer, runs: Sequence[SweepRun]) -> str:
    """Of the runs with figures, and what became of the others."""
    states = [state_of([run.results for run in server.runs]) or VALID] if server.runs else []
    for state in (RunState.FAILED, RunState.INTERRUPTED, RunState.RUNNING, RunState.PLANNED):
        which = [run for run in runs if run.state is state]
        if not which:
            continue
        codes = dict.fromkeys(exit_text(run.exit_code) for run in which if run.exit_code)
        code = f", {' or '.join(codes)}" if codes else ""
        word = "not run" if state is RunState.PLANNED else str(state)
        states.append(f"{units.counted(len(which), 'run')} {word}{code}" if server.runs else f"{word}{code}")
    return ", ".join(states)
