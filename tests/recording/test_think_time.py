"""Requested against actual think times: from the rows of requests to summary.json and the verdict."""

from __future__ import annotations

import pytest

from tests.run_fixtures import S, issues_of, make_timeline
from tokenswarm.metrics.level import Level, ThinkTime
from tokenswarm.metrics.objectives import Objectives
from tokenswarm.metrics.timeline import Outcome
from tokenswarm.recording.aggregator import Aggregator
from tokenswarm.recording.recorder import Recorder
from tokenswarm.recording.summary import level_summary
from tokenswarm.run_folder.schema import IssueKind
from tokenswarm.run_folder.summary_csv import summary_rows
from tokenswarm.run_folder.think_time_figures import ThinkTimeFigures

THINK_TIME = ThinkTime("exp(2s)", 2.0, "1")


def books_of(pauses_s: list[tuple[float | None, float]], user: str = "0.1") -> Aggregator:
    """Requests of one user, of a second each, with (requested, actual) pauses before them; each connects for 0.1 s."""
    level = Level(0, "off", "1", 1, level_time_s=60.0, think_time=THINK_TIME)
    aggregator, recorder = Aggregator(Objectives.parse("")), Recorder(0)
    aggregator.begin_level(level, 0.0)
    recorder.begin_level(level, 0, 0)
    ended_s = 0.0
    for think_s, actual_s in pauses_s:
        sent_s = ended_s + actual_s + 0.1
        ended_s = sent_s + 1.0
        think_ns = None if think_s is None else round(think_s * S)
        recorder.record(
            make_timeline(
                (sent_s + 0.5, ended_s),
                sent_s=sent_s,
                over_s=ended_s,
                user=user,
                connect_ns=S // 10,
                think_ns=think_ns,
                outcome=Outcome.OK,
            )
        )
    for report in recorder.take_reports():
        aggregator.apply(report)
    aggregator.close(60.0)
    return aggregator


def figures_of(aggregator: Aggregator) -> ThinkTimeFigures | None:
    return level_summary(aggregator.levels[0], 60.0, aggregator.objectives).think_time


def test_the_pauses_between_requests_are_set_beside_what_was_requested() -> None:
    aggregator = books_of([(None, 0.0), (2.0, 2.01), (1.0, 1.01), (None, 5.0), (3.0, 3.01)])
    found = figures_of(aggregator)
    assert found is not None
    assert (found.requested, found.requested_mean_s, found.pauses) == ("exp(2s)", 2.0, 3)
    assert (found.drawn_mean_s, found.actual_mean_s) == (2.0, pytest.approx(2.01))
    assert IssueKind.THINK_TIME not in [issue.kind for issue in issues_of(aggregator)]


def test_summary_csv_has_them_in_the_row_of_the_whole_level() -> None:
    hold, whole = summary_rows([level_summary(books_of([(None, 0.0), (2.0, 2.5)]).levels[0], 60.0, Objectives())])
    assert (hold["think_time_pauses"], whole["think_time_pauses"]) == (None, 1)
    assert whole["think_time_actual_mean_s"] == pytest.approx(2.5)


def test_pauses_that_are_too_long_make_the_run_suspect() -> None:
    (issue,) = [
        issue
        for issue in issues_of(books_of([(None, 0.0), (2.0, 2.5), (2.0, 2.5)]))
        if issue.kind == IssueKind.THINK_TIME
    ]
    assert issue.values == {"actual_mean_s": pytest.approx(2.5), "requested_mean_s": 2.0, "pauses": 2}


def test_without_a_second_request_there_is_no_pause() -> None:
    assert figures_of(books_of([(None, 0.0)])) == ThinkTimeFigures("exp(2s)", 2.0, 0)
