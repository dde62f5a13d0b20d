"""Requested against measured load, from requests that were sent as their schedule says and otherwise."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.run_fixtures import S, issues_of, make_level, make_reports, make_timeline
from tokenswarm.metrics.level import LEAD_S, Arrivals, Level
from tokenswarm.metrics.objectives import Objectives
from tokenswarm.metrics.timeline import Timeline
from tokenswarm.recording.aggregator import Aggregator
from tokenswarm.recording.summary import level_summary
from tokenswarm.run_folder.load_audit import GapAudit, LoadAudit
from tokenswarm.run_folder.schema import IssueKind
from tokenswarm.shapes.arrival_schedule import arrivals
from tokenswarm.shapes.level_arrivals import read_times, schedule_of

Send = Callable[[float], float]


def open_level(
    process: str = "poisson", rates: tuple[tuple[float, float], ...] = ((0.0, 20.0),), **how: object
) -> Level:
    mean = sum(rate for _, rate in rates) / len(rates)
    given = Arrivals(process, rates, mean, "1", **how)  # type: ignore[arg-type]
    return Level(0, "off", "20/s", level_time_s=60.0, arrivals=given)


def books_of(level: Level, send: Send = lambda due_s: due_s, ttft_s: float = 0.1, workers: int = 1) -> Aggregator:
    """A run in which each request was sent at send(when it was due)."""
    timelines: list[list[Timeline]] = [[] for _ in range(workers)]
    for due in arrivals(schedule_of(level)):
        sent_s = send(due.due_s)
        timelines[due.number % workers].append(
            make_timeline((sent_s + ttft_s, sent_s + 0.5), sent_s=sent_s, scheduled_ns=round(due.due_s * S))
        )
    aggregator = Aggregator(Objectives.parse(""))
    aggregator.begin_level(level, -LEAD_S)
    for worker, of_worker in enumerate(timelines):
        for report in make_reports(of_worker, [level], worker=worker):
            aggregator.apply(report)
    aggregator.close(61.0)
    return aggregator


def audit_of(aggregator: Aggregator) -> LoadAudit:
    level = aggregator.levels[0]
    audit = level_summary(level, 61.0, aggregator.objectives, None, aggregator.concurrency(level)).load_audit
    assert audit is not None
    return audit


def gaps_of(aggregator: Aggregator) -> GapAudit:
    gaps = audit_of(aggregator).gaps
    assert gaps is not None
    return gaps


@pytest.mark.parametrize("process", ["poisson", "gamma:0.3", "gamma:5", "weibull:0.5", "weibull:2"])
def test_what_is_sent_when_it_is_due_is_as_requested(process: str) -> None:
    aggregator = books_of(open_level(process))
    audit, gaps = audit_of(aggregator), gaps_of(aggregator)
    assert (audit.unit, audit.requested, audit.as_requested, audit.lag_max_s) == ("requests/s", 20.0, True, 0.0)
    assert gaps.chance is not None and gaps.chance > 0.001
    assert gaps.distance is not None and gaps.distance < 0.06
    assert gaps.dispersion == gaps.dispersion_requested
    assert gaps.as_requested is True
    assert issues_of(aggregator) == []


def test_a_rate_that_changes_is_judged_in_operational_time() -> None:
    gaps = gaps_of(books_of(open_level(rates=((0.0, 0.0), (60.0, 40.0)))))
    assert gaps.chance is not None and gaps.chance > 0.001
    assert gaps.dispersion == pytest.approx(1.0, abs=0.35)


@pytest.mark.slow
def test_workers_are_audited_together() -> None:
    assert audit_of(books_of(open_level(), workers=3)) == audit_of(books_of(open_level()))


def test_constant_arrivals_have_no_distribution_and_no_dispersion() -> None:
    gaps = gaps_of(books_of(open_level("constant")))
    assert (gaps.distance, gaps.chance, gaps.distance_tolerated, gaps.dispersion) == (None, None, 0.0, 0.0)


@pytest.mark.slow
def test_requests_that_leave_in_lumps_are_not_as_requested() -> None:
    """Each waits for the next quarter of a second: that matters where the TTFT is 0.1 s, and not where it is 10 s."""

    def in_lumps(due_s: float) -> float:
        return -(-due_s // 0.25) * 0.25

    noticed = books_of(open_level(), in_lumps)
    assert gaps_of(noticed).as_requested is False
    assert IssueKind.ARRIVAL_GAPS in [issue.kind for issue in issues_of(noticed)]
    slow = books_of(open_level(), in_lumps, ttft_s=10.0)
    assert (gaps_of(slow).tolerance_s, gaps_of(slow).as_requested) == (pytest.approx(0.5, rel=1e-3), True)
    assert issues_of(slow) == []


def test_gaps_of_a_file_are_named_without_its_path(tmp_path: Path) -> None:
    (file := tmp_path / "times.csv").write_text("".join(f"{0.05 * number}\n" for number in range(1200)))
    times, sha256 = read_times(str(file))
    given = Arrivals(str(file), (), len(times) / 60, "1", None, sha256)
    level = Level(0, "off", "file", level_time_s=60.0, arrivals=given)
    books = books_of(level, lambda due_s: -(-due_s // 0.25) * 0.25)
    (message,) = [issue.message for issue in issues_of(books) if issue.kind == IssueKind.ARRIVAL_GAPS]
    assert "are not those of the file of arrivals (Kolmogorov-Smirnov distance" in message


def test_a_limit_of_requests_in_flight_changes_gaps_on_purpose() -> None:
    limited = books_of(open_level(max_in_flight=4), lambda due_s: -(-due_s // 0.25) * 0.25)
    assert gaps_of(limited).as_requested is False
    assert issues_of(limited) == []


def test_a_rate_that_is_off_by_more_than_chance_makes_the_run_suspect() -> None:
    """The plan says 20/s where the schedule has 24."""
    level = open_level(rates=((0.0, 24.0),))
    books = books_of(level)
    books.levels[0].level = open_level()
    books.levels[0].audited = None
    assert audit_of(books).as_requested is False
    assert IssueKind.ARRIVAL_RATE in [issue.kind for issue in issues_of(books)]


def test_users_of_a_closed_loop() -> None:
    aggregator = Aggregator(Objectives())
    aggregator.begin_level(make_level(), 0.0)
    aggregator.levels[0].user_seconds = {second: 8.0 if second == 7 else 10.0 for second in range(2, 12)}
    aggregator.close(12.0)
    level = aggregator.levels[0]
    audit = level_summary(level, 12.0, aggregator.objectives, None, aggregator.concurrency(level)).load_audit
    assert audit == LoadAudit(unit="users", requested=10, measured=9.8, measured_min=8.0, as_requested=True)
