"""Levels that end with a number of requests: how long they are, and what was not sent."""

from __future__ import annotations

import pytest

from tests.run_fixtures import issues_of, make_timeline
from tokenswarm.metrics.level import LEAD_S, Arrivals, Level, Phase
from tokenswarm.metrics.objectives import Objectives
from tokenswarm.recording.aggregator import Aggregator
from tokenswarm.recording.open_loop import open_loop_figures
from tokenswarm.recording.recorder import Recorder
from tokenswarm.recording.summary import level_summary
from tokenswarm.run_folder.schema import IssueKind
from tokenswarm.shapes.splits import Splits

CLOSED = Level(0, "off", "1", 1, level_time_s=60.0, requests=4)
ONCE = Level(0, "off", "inf/s", level_time_s=60.0, arrivals=Arrivals("at once", (), 4.0), requests=4)


def books_of(level: Level, sent_s: list[float], took_s: float = 1.0, until_s: float = 20.0) -> Aggregator:
    aggregator, recorder = Aggregator(Objectives.parse("")), Recorder(0)
    aggregator.begin_level(level, -LEAD_S if level.arrivals else 0.0)
    recorder.begin_level(level, 0, 0)
    for start_s in sent_s:
        recorder.record(make_timeline((start_s + 0.5, start_s + took_s), sent_s=start_s, over_s=start_s + took_s))
    for report in recorder.take_reports():
        aggregator.apply(report)
    aggregator.close(until_s)
    return aggregator


def test_a_level_is_as_long_as_its_requests_take() -> None:
    level = books_of(CLOSED, [0.0, 1.0, 2.0, 3.0]).levels[0]
    found = level_summary(level, 20.0, Objectives())
    assert level.finished_s == 4.0
    assert found.complete
    assert (found.hold.seconds, found.hold.request_rate, found.hold.requests) == (4.0, 1.0, 4)
    assert [level.phase_at(elapsed_s) for elapsed_s in (3.9, 4.1)] == [Phase.HOLD, Phase.DRAIN]


def test_a_level_whose_time_is_over_before_says_what_was_not_sent() -> None:
    aggregator = books_of(CLOSED, [0.0, 1.0, 2.0], until_s=61.0)
    assert aggregator.levels[0].finished_s is None
    assert level_summary(aggregator.levels[0], 61.0, Objectives()).hold.seconds == 60.0
    (issue,) = [issue for issue in issues_of(aggregator) if issue.kind == IssueKind.NOT_SENT]
    assert issue.values == {"not_sent": 1, "offered": 4}


@pytest.mark.parametrize("level", [CLOSED, ONCE], ids=["users", "at once"])
def test_a_level_does_not_wait_for_what_lost_workers_had_not_sent(level: Level) -> None:
    aggregator = Aggregator(Objectives.parse(""))
    aggregator.begin_level(level, -LEAD_S if level.arrivals else 0.0)
    stats = aggregator.levels[0]
    shares, splits = ({}, Splits.among([0, 1])) if level.arrivals else ({0: 2, 1: 2}, None)

    def present(*workers: int) -> None:
        stats.shares.note_present(workers, shares, level, splits)

    def record(worker: int, requests: int) -> None:
        recorder = Recorder(worker)
        recorder.begin_level(level, 0, 0)
        for _ in range(requests):
            recorder.record(make_timeline((0.5, 1.0), sent_s=0.0, over_s=1.0))
        aggregator.apply(recorder.take_report())

    record(worker=1, requests=1)
    present(0, 1)
    present()  # a master that stood still
    assert (stats.finished_s, stats.shares.lost_requests) == (None, 0)
    present(0, 2)
    assert (stats.finished_s, stats.shares.lost_requests) == (None, 1)
    record(worker=0, requests=2)
    assert stats.finished_s == 1.0
    present(0, 1)  # it only hung
    assert stats.finished_s is None


def test_a_level_that_is_stopped_is_not_complete() -> None:
    assert not level_summary(books_of(CLOSED, [0.0, 1.0]).levels[0], 20.0, Objectives()).complete


def test_the_rates_of_requests_at_once_are_of_the_time_that_they_take() -> None:
    aggregator = books_of(ONCE, [0.0] * 4, took_s=2.5)
    figures = open_loop_figures(aggregator.levels[0], 20.0)
    assert figures is not None
    assert (figures.offered, figures.not_sent, figures.unstable) == (4, 0, None)
    assert (figures.sent_rate, figures.completed_rate) == (pytest.approx(1.6), pytest.approx(1.6))


def test_a_process_begins_no_more_than_its_share() -> None:
    recorder = Recorder(0)
    recorder.begin_level(CLOSED, 0, 0, share=2)
    assert [recorder.takes_request(0) for _ in range(4)] == [True, True, False, False]
    recorder.begin_level(CLOSED, 0, 0, share=3)  # the same level again, as after a connection that broke
    assert [recorder.takes_request(0) for _ in range(2)] == [True, False]
    recorder.begin_level(Level(1, "off", "1", 1), 0, 0)
    assert all(recorder.takes_request(1) for _ in range(9))
