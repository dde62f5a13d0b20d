"""Levels whose outputs came in lumps are suspect, with the numbers; those whose client was late are not for that."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.run_fixtures import issues_of
from tokenswarm.metrics.client_health import HealthMeter, WorkerHealth
from tokenswarm.metrics.level import Level, Phase
from tokenswarm.metrics.objectives import Objectives
from tokenswarm.metrics.timeline import Outcome, Timeline
from tokenswarm.metrics.timeline_builder import TimelineBuilder
from tokenswarm.recording.aggregator import Aggregator
from tokenswarm.recording.summary import level_summary
from tokenswarm.recording.worker_report import Report
from tokenswarm.run_folder.schema import IssueKind, ValidityIssue

MS = 1_000_000
MakeReport = Callable[..., Report]
MakeLevel = Callable[..., Level]


def answer(outputs: list[tuple[float, int]], tokens: int, deviations: dict[str, int] | None = None) -> Timeline:
    """Sent in the hold, at 3 s: outputs so many ms later, with so many bytes."""
    told = TimelineBuilder("0.1", 0, 3_000 * MS)
    for after_ms, size_bytes in outputs:
        told.output(round((3_000 + after_ms) * MS), True, None, size_bytes)
    told.usage(9, tokens)
    told.deviations = deviations or {}
    return told.finish(Outcome.OK, 4_500 * MS, bytes_received=100_000)


def bursts(at_once: int, apart_ms: float) -> list[tuple[float, int]]:
    return [(apart_ms * (1 + number // at_once), 4) for number in range(64)]


@pytest.fixture
def run(report: MakeReport, a_level: MakeLevel) -> Callable[..., Aggregator]:
    def made(*timelines: Timeline, lag_ms: float = 0.1) -> Aggregator:
        aggregator = Aggregator(Objectives())
        aggregator.begin_level(a_level(), 0.0)
        told, meter = report(timelines, [a_level()]), HealthMeter()
        for _ in range(100):
            meter.woke((0, Phase.HOLD), 0, round(lag_ms * MS), 0)
        told.health = WorkerHealth(meter.take().loop_lag, {})
        aggregator.apply(Report.decode(told.encode()))
        return aggregator

    return made


def lumps(aggregator: Aggregator) -> list[ValidityIssue]:
    kinds = {IssueKind.OUTPUT_BURSTS, IssueKind.MOST_TOKENS_AT_ONCE}
    return [issue for issue in issues_of(aggregator) if issue.kind in kinds]


@pytest.mark.parametrize(("at_once", "apart_ms"), [(16, 320.0), (4, 80.0), (2, 20.0), (8, 9.0)])
def test_outputs_in_bursts_are_a_reason_with_their_number_and_distance(
    run: Callable[..., Aggregator], at_once: int, apart_ms: float
) -> None:
    aggregator = run(*[answer(bursts(at_once, apart_ms), 64)] * 5)
    (issue,) = lumps(aggregator)
    assert (issue.kind, issue.level) == (IssueKind.OUTPUT_BURSTS, 0)
    assert issue.values["outputs_per_arrival"] == at_once
    assert issue.values["gap_p50_s"] == pytest.approx(apart_ms / 1e3, rel=0.01)
    whole = level_summary(aggregator.levels[0], 10.0, Objectives()).whole
    assert (whole.outputs_per_arrival, whole.tokens_per_event) == (at_once, 1.0)


@pytest.mark.parametrize(
    ("at_once", "apart_ms", "lag_ms"),
    [
        pytest.param(1, 20.0, 0.1, id="one by one"),
        pytest.param(2, 4.0, 0.1, id="within the client's own pace"),
        pytest.param(3, 20.0, 40.0, id="a client as late as that"),
    ],
)
def test_what_a_client_may_have_read_together_is_no_burst(
    run: Callable[..., Aggregator], at_once: int, apart_ms: float, lag_ms: float
) -> None:
    assert lumps(run(*[answer(bursts(at_once, apart_ms), 64)] * 5, lag_ms=lag_ms)) == []


BUNDLED_FIRST = [(1200.0, 360), *((1200.0 + 20 * place, 1) for place in range(1, 5))]
ONE_PACKET = [(900.0, 4)] * 30
BUNDLED_LAST = [(100.0, 3), (120.0, 3), (1300.0, 400)]


@pytest.mark.parametrize("outputs", [BUNDLED_FIRST, ONE_PACKET, BUNDLED_LAST])
def test_answers_whose_tokens_came_at_once_are_a_reason(
    run: Callable[..., Aggregator], outputs: list[tuple[float, int]]
) -> None:
    aggregator = run(*[answer(outputs, 64)] * 14)
    (issue,) = lumps(aggregator)
    assert (issue.kind, issue.values["responses"], issue.values["ok"]) == (IssueKind.MOST_TOKENS_AT_ONCE, 14, 14)
    assert issue.values["tokens_per_event"] == pytest.approx(64 / len(outputs))
    whole = level_summary(aggregator.levels[0], 10.0, Objectives()).whole
    assert (whole.requests_without_tpot, whole.tpot_s.count) == (14, 0)


@pytest.mark.parametrize(("lag_ms", "late"), [(0.1, False), (40.0, True)])
def test_answers_at_once_name_a_client_that_was_late_as_a_cause(
    run: Callable[..., Aggregator], lag_ms: float, late: bool
) -> None:
    (issue,) = lumps(run(*[answer(ONE_PACKET, 30)] * 14, lag_ms=lag_ms))
    assert issue.values["client_late_p99_s"] == pytest.approx(lag_ms / 1e3, rel=0.1)
    assert ("this machine" in issue.message) == late


def test_a_few_of_many_are_none(run: Callable[..., Aggregator]) -> None:
    steady = answer(bursts(1, 20.0), 64)
    assert lumps(run(*[steady] * 95, *[answer(ONE_PACKET, 64)] * 5)) == []


def test_deviations_are_counted_by_response(run: Callable[..., Aggregator]) -> None:
    aggregator = run(
        answer(bursts(1, 20.0), 64, {"missing_end": 1, "named_events": 5}),
        answer(bursts(1, 20.0), 64, {"named_events": 2}),
        answer(bursts(1, 20.0), 64),
    )
    whole = level_summary(aggregator.levels[0], 10.0, Objectives()).whole
    assert whole.deviations == {"missing_end": 1, "named_events": 2}
    assert issues_of(aggregator) == []
