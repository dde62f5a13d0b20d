"""Whole texts that the project prints, from inputs that stay the same: what `tests/golden/*.txt` hold.

Tests elsewhere assert values. Wording is checked here alone: `python -m tests.golden --update` writes the files again,
and the difference in the commit shows what changed.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.run_fixtures import make_books, make_level, make_timeline
from tests.run_folder.numbers import FORMAT_2, FORMAT_2_AGAIN
from tokenswarm.metrics.level import Arrivals, Level
from tokenswarm.metrics.timeline import Outcome, Timeline
from tokenswarm.recording.live_series import RequestRates
from tokenswarm.recording.progress import Progress, TimeLeft
from tokenswarm.recording.recovery import RecoveryError, recover
from tokenswarm.recording.summary import level_summary
from tokenswarm.reports.checks.check_report import check_lines, check_run
from tokenswarm.reports.checks.conditions import ConditionError, parse_conditions, parse_pass_conditions
from tokenswarm.reports.compare.comparison import RunComparison
from tokenswarm.reports.compare.comparison_text import comparison_markdown, comparison_table
from tokenswarm.reports.compare.gate_command import check_change
from tokenswarm.reports.markdown import run_markdown
from tokenswarm.reports.progress_line import plan_lines, progress_bar, progress_legend, progress_line
from tokenswarm.reports.session_table import SESSION_NOTE, session_lines, session_notes
from tokenswarm.reports.text_table import summary_table
from tokenswarm.reports.warnings import warnings_of
from tokenswarm.run_folder.reader import ReportError, load_results

GOLDEN = Path(__file__).parent
_CHECKS = "p95(ttft) > 30ms, failures > 0, rate < 10"
_CHANGES = "ttft_p50 > +1%, rate < -1%, failures > +1%"
_CONDITIONS = (
    *("p95(ttft) > 500", "p95(ttft) >", "ttft > 500ms", "speed < 1", "p99(user_rate) < 20", "rate < 20ms"),
    *("p95(ttft) <= 500ms", "failures > 200%", "failures > 0.01", "p95(ttft)@ > 1s", "p95(ttft) > 1s,", "!"),
    *("p95(foo) > 1s", "p96(ttft) > 1s", "p95(ttft > 1s", "p95(ttft) = 1s", "p95(ttft) 1s", "failures > -1"),
    *("p95(e2e) > 5s rate < 6", "rate@10/maybe < 5"),
)
_GATE_CONDITIONS = ("ttft_p95 > 500ms", "ttft_p95 > -5%", "rate < 5%", "max(ttft) > +5%", "p95(gap) > +5%", "suspect")

#: In the hold of the second of six levels.
HOLDING = Progress(
    elapsed_s=754.0,
    level_number=2,
    levels=6,
    users=50,
    users_target=50,
    system_prompt="off",
    phase="hold",
    tokens_per_s=2431.0,
    request_rates=RequestRates(None, 11.5, 11.0),
    ttft_p50_s=0.253,
    in_flight=48,
    failures=1,
    left=TimeLeft(600.0, 0.25),
)
_OPEN = replace(HOLDING, users=1, users_target=0, request_rates=RequestRates(12.0, 11.5, 11.0))
_PLAN = [(mode, users) for mode in ("off", "on") for users in ("10", "50", "100")]

Change = Callable[[dict[str, Any], dict[str, Any]], None]


def golden_texts(scratch: Path) -> dict[str, str]:
    """Every text by the name of its file. scratch: an empty folder."""
    results = load_results(FORMAT_2)
    again = load_results(FORMAT_2_AGAIN)
    comparison = RunComparison([results, again], ["first", "second"])
    checks = check_run(parse_conditions(_CHECKS), results)
    change = check_change(parse_conditions(_CHANGES, relative=True), [results], [again])
    return {
        "report_table.txt": summary_table(results),
        "report_table_80_columns.txt": summary_table(results, 80),
        "report_markdown.txt": run_markdown(results, checks),
        "check_lines.txt": "\n".join(check_lines(checks)),
        "comparison_table.txt": comparison_table(comparison),
        "comparison_markdown.txt": comparison_markdown(comparison),
        "gate_lines.txt": "\n".join(check_lines(change)),
        "condition_errors.txt": "\n".join(_condition_errors()),
        "warnings.txt": "\n".join(_warnings(scratch / "warnings")),
        "folder_errors.txt": "\n".join(_folder_errors(scratch / "errors")),
        "progress_line.txt": "\n".join(_progress_lines()),
        "session_tables.txt": "\n\n".join(_session_tables()),
    }


def _session_tables() -> Iterator[str]:
    """Of three sessions: one completed, one failed, one unfinished with an answer without visible text."""
    rows = [
        _turn("a", 1, 3.0, 0.2, prompt_tokens=1000, cached_tokens=0),
        _turn("b", 1, 3.5, 0.15, prompt_tokens=700, cached_tokens=0),
        _turn("a", 2, 6.0, 0.1, prompt_tokens=1500, cached_tokens=1000),
        _turn("b", 2, 7.0, 0.1, outcome=Outcome.HTTP_ERROR),
        _turn("c", 1, 9.0, 0.1, prompt_tokens=400, cached_tokens=0, first_visible_ns=None),
    ]
    level = make_level(users=3)
    aggregator = make_books(rows, level=level)
    found = [level_summary(aggregator.levels[0], 12.0, aggregator.objectives)]
    yield from ("\n".join(lines) for lines in session_lines(found))
    yield SESSION_NOTE
    yield from session_notes(found)


def _turn(session: str, turn: int, sent_s: float, ttft_s: float, **changes: Any) -> Timeline:
    place = {"session": session, "turn": turn, "session_turns": 2}
    return make_timeline((sent_s + ttft_s, sent_s + ttft_s + 0.5), sent_s=sent_s, over_s=sent_s + 1, **place, **changes)


def _condition_errors() -> Iterator[str]:
    for text in _CONDITIONS:
        yield from _error(parse_conditions, text)
    for text in _CONDITIONS[:1]:
        yield from _error(parse_pass_conditions, text)
    for text in _GATE_CONDITIONS:
        yield from _error(lambda text: parse_conditions(text, relative=True), text)


def _error(parse: Callable[[str], object], text: str) -> Iterator[str]:
    try:
        parse(text)
    except ConditionError as error:
        yield f"{error}\n"
    else:
        yield f"no error: {text}\n"


def _warnings(scratch: Path) -> Iterator[str]:
    """Of folders that are changed copies: a status, a lost request, a level cut short, a missing file."""
    changes: dict[str, Change] = {
        "interrupted": lambda _, summary: summary.update(status="interrupted"),
        "recovered": lambda _, summary: summary.update(status="recovered"),
        "failed": lambda _, summary: summary.update(status="failed"),
        "suspect": lambda _, summary: summary["validity"].update(verdict="suspect", reasons=["one", "two"]),
        "unaccounted": lambda _, summary: summary["books"].update(fired=149, balanced=False),
        "in flight": lambda _, summary: summary["books"].update(unaccounted=2, balanced=False),
        "not complete": lambda _, summary: summary["levels"][-1].update(complete=False),
        "not run": lambda _, summary: summary["levels"].pop(),
    }
    for name, change in changes.items():
        folder = _copy(scratch / name)
        run, summary = (json.loads((folder / file).read_text("utf-8")) for file in ("run.json", "summary.json"))
        change(run, summary)
        (folder / "summary.json").write_text(json.dumps(summary), "utf-8")
        yield from _warned(name, folder)
    folder = _copy(scratch / "requests.csv missing")
    (folder / "requests.csv").unlink()
    yield from _warned(folder.name, folder)


def _warned(name: str, folder: Path) -> Iterator[str]:
    yield from (f"{name}:", *(f"  {warning}" for warning in warnings_of(load_results(folder))), "")


def _folder_errors(scratch: Path) -> Iterator[str]:
    """Of `report` and `recover`."""
    runs = scratch / "runs"
    folder = _copy(runs / "20261129-131823-vllm")
    paths = [scratch / "nowhere", folder / "run.json", runs, scratch]
    unfinished = _copy(scratch / "no summary")
    (unfinished / "summary.json").unlink()
    newer = _copy(scratch / "newer")
    (newer / "summary.json").write_text('{"format": 99, "tokenswarm_version": "9.0"}')
    cut = _copy(scratch / "cut")
    (cut / "summary.json").write_text('{"format": 2, "status')
    for path in (*paths, unfinished, newer, cut):
        for name, read in (("report", load_results), ("recover", recover)):
            try:
                read(path)
            except (ReportError, RecoveryError) as error:
                yield f"{name}: {str(error).replace(str(scratch), 'RESULTS')}"


def _copy(folder: Path) -> Path:
    return shutil.copytree(FORMAT_2, folder)


def _progress_lines() -> Iterator[str]:
    yield from plan_lines(
        [Level(n, mode, users, int(users), 20.0, 300.0) for n, (mode, users) in enumerate(_PLAN)],
        5.0,
        {"system_prompt_tokens": 279, "system_prompt_counting": "estimate (words)"},
    )
    yield from _legends()
    for limited in (
        Level(0, "off", "2", 2, 1.0, requests=12),
        Level(0, "off", "2", 2, 1.0, 300.0, requests=1200),
        Level(0, "off", "2", 2, 1.0),
    ):
        yield plan_lines([limited], 5.0, {})[0]
    yield progress_line(replace(HOLDING, users=30, phase="ramp", ttft_p50_s=None))
    yield progress_line(HOLDING)
    yield progress_line(replace(HOLDING, users=3, phase="drain", in_flight=3))
    yield progress_line(replace(HOLDING, users=0, phase="drain", in_flight=0, tokens_per_s=None))
    yield progress_line(_OPEN)
    yield progress_bar(HOLDING, 120)
    yield progress_bar(_OPEN, 120)


def _legends() -> Iterator[str]:
    closed, arrivals = Level(0, "off", "50", 50, 20.0, 300.0), Arrivals("poisson", ((0.0, 5.0),), 5.0)
    for level in (closed, Level(0, "off", "5/s", level_time_s=60.0, arrivals=arrivals)):
        yield from (progress_legend([level], as_bar=as_bar) for as_bar in (False, True))
