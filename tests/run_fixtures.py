"""Timelines, rows and books made by hand, with times that can be added up in the head."""

from __future__ import annotations

import signal
import tempfile
from array import array
from collections.abc import Callable, Sequence

import pytest

from tokenswarm.metrics.level import Level
from tokenswarm.metrics.objectives import Objectives
from tokenswarm.metrics.timeline import Outcome, Timeline
from tokenswarm.metrics.token_counts import TokenSource
from tokenswarm.recording.aggregator import Aggregator
from tokenswarm.recording.recorder import Recorder
from tokenswarm.recording.server_samples import ServerSamples
from tokenswarm.recording.validity import validity_issues
from tokenswarm.recording.worker_report import Report, RequestRow
from tokenswarm.run_folder.schema import ValidityIssue

S = 1_000_000_000


@pytest.fixture(autouse=True)
def temporary_folder_of_its_own(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers keep their spools there. It is made when it is asked for, as few tests do."""
    tmp_path_factory.getbasetemp()  # which asks for the default folder itself, once
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_get_default_tempdir", lambda: str(tmp_path_factory.mktemp("temporary")))


@pytest.fixture(autouse=True)
def the_test_runner_keeps_its_signal_handlers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signal, "signal", lambda number, handler: None)


def make_level(number: int = 0, users: int = 10, system_prompt: str = "off", **changes: object) -> Level:
    """Two seconds of ramp, then a hold to the twelfth."""
    facts: dict[str, object] = {"ramp_s": 2.0, "level_time_s": 12.0} | changes
    return Level(number, system_prompt, str(users), users, **facts)  # type: ignore[arg-type]


def make_timeline(
    arrivals_s: Sequence[float] = (3.1, 3.2, 3.3, 3.4),
    *,
    sent_s: float = 3.0,
    over_s: float | None = None,
    tokens: int | None = None,
    outcome: Outcome = Outcome.OK,
    level_index: int = 0,
    source: TokenSource = TokenSource.USAGE,
    delays_ns: Sequence[int] | None = None,
    kernel: bool = True,
    **changes: object,
) -> Timeline:
    """A request that sent at 3 s and got a token at each arrival, a read each, stamped by the kernel 20 µs before."""
    arrivals = array("q", [round(arrived_s * S) for arrived_s in arrivals_s])
    ended_ns = round(over_s * S) if over_s is not None else arrivals[-1] if arrivals else round(sent_s * S)
    facts: dict[str, object] = {
        "user": "0.1",
        "level_index": level_index,
        "outcome": outcome,
        "scheduled_ns": round(sent_s * S),
        "sent_ns": round(sent_s * S),
        "over_ns": ended_ns,
        "first_ns": arrivals[0] if arrivals else None,
        "first_visible_ns": arrivals[0] if arrivals else None,
        "last_ns": arrivals[-1] if arrivals else None,
        "end_ns": ended_ns if outcome is Outcome.OK else None,
        "outputs_ns": arrivals,
        "delays_ns": array("q", ([20_000] * len(arrivals) if kernel else []) if delays_ns is None else delays_ns),
        "reads": len(arrivals),
        "kernel_stamps": len(arrivals) if kernel else 0,
        "output_tokens": len(arrivals) if tokens is None else tokens,
        "output_tokens_source": source,
        "status": 200,
    }
    return Timeline(**(facts | changes))  # type: ignore[arg-type]


def make_row(*arguments: object, run_began_s: float = 0.0, **keywords: object) -> RequestRow:
    """The row that a recorder makes of such a timeline."""
    recorder = Recorder(worker=0)
    recorder.begin_level(make_level(int(keywords.get("level_index", 0))), round(run_began_s * S), 0)  # type: ignore[call-overload]
    return recorder.record(make_timeline(*arguments, **keywords))  # type: ignore[arg-type]


def make_report(timelines: Sequence[Timeline], levels: Sequence[Level], *, worker: int = 0) -> Report:
    """The only report of a worker, all of whose levels began with the run."""
    (report,) = make_reports(timelines, levels, worker=worker)
    return report


def make_reports(timelines: Sequence[Timeline], levels: Sequence[Level], *, worker: int = 0) -> list[Report]:
    """All reports of such a worker."""
    recorder = Recorder(worker)
    for level in levels:
        recorder.begin_level(level, 0, 0)
    for timeline in timelines:
        recorder.record(timeline)
    return recorder.take_reports()


def make_books(timelines: Sequence[Timeline], *, slo: str = "", level: Level | None = None) -> Aggregator:
    """A run of one level whose requests were these; it ends when its time is up."""
    level = level or make_level()
    aggregator = Aggregator(Objectives.parse(slo))
    aggregator.begin_level(level, 0.0)
    for report in make_reports(timelines, [level]):
        aggregator.apply(report)
    aggregator.end_level(level.level_time_s or 20.0)
    return aggregator


def issues_of(aggregator: Aggregator, server: ServerSamples | None = None) -> list[ValidityIssue]:
    """Why such a run would be suspect, the server's own metrics as given."""
    return validity_issues(aggregator, server or ServerSamples())


def kinds_of(aggregator: Aggregator, server: ServerSamples | None = None) -> list[str]:
    """The same by kind alone."""
    return [issue.kind for issue in issues_of(aggregator, server)]


def bucket_edge(units: int) -> int:
    """The lowest value, in whole units, that an HdrHistogram of three digits counts together with this one: 2,048
    buckets of one unit, then 1,024 each of 2, 4, 8, … units."""
    width_bits = max(0, units.bit_length() - 11)
    return units >> width_bits << width_bits


@pytest.fixture
def lower_edge() -> Callable[[int], int]:
    return bucket_edge


@pytest.fixture
def a_level() -> Callable[..., Level]:
    return make_level


@pytest.fixture
def timeline() -> Callable[..., Timeline]:
    return make_timeline


@pytest.fixture
def row() -> Callable[..., RequestRow]:
    return make_row


@pytest.fixture
def report() -> Callable[..., Report]:
    return make_report


@pytest.fixture
def books() -> Callable[..., Aggregator]:
    return make_books
