"""The run's own proof, from made-up reports: who is suspect, who needs more than a core, and in which words."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest
from msgspec.structs import replace

from tests.run_fixtures import issues_of, kinds_of
from tokenswarm.metrics.client_health import CoreUse, ErrorSpread, HealthMeter, SelfCheck, WorkerHealth
from tokenswarm.metrics.level import Level, LevelPhase, Phase
from tokenswarm.metrics.objectives import Objectives
from tokenswarm.metrics.timeline import Outcome, Timeline
from tokenswarm.metrics.timeline_builder import TimelineBuilder
from tokenswarm.metrics.token_counts import TokenSource
from tokenswarm.recording.aggregator import Aggregator
from tokenswarm.recording.core_hints import hints
from tokenswarm.recording.summary import level_summary, worker_summaries
from tokenswarm.recording.worker_report import Report
from tokenswarm.run_folder.length_figures import LengthFigures
from tokenswarm.run_folder.schema import IssueKind

MS = 1_000_000
RAMP, HOLD, DRAIN = ((0, phase) for phase in (Phase.RAMP, Phase.HOLD, Phase.DRAIN))
MakeTimeline = Callable[..., Timeline]
Run = Callable[..., Aggregator]


def health(lag_ms: float = 0.0, core_use: Mapping[LevelPhase, CoreUse] | None = None) -> WorkerHealth:
    """Every event of a hold was noticed so late."""
    meter = HealthMeter()
    for _ in range(100):
        meter.woke(HOLD, 0, round(lag_ms * MS), 0)
    return WorkerHealth(meter.take().loop_lag, dict(core_use or {HOLD: CoreUse(1.0, 10.0)}))


@pytest.fixture
def run(report: Callable[..., Report], timeline: MakeTimeline, a_level: Callable[..., Level]) -> Run:
    """A level of ten users whose TTFT and gaps were 100 ms, from what the workers fared like."""

    def made(
        *workers: WorkerHealth, kernel: bool = True, self_checks: Mapping[int, SelfCheck] | None = None
    ) -> Aggregator:
        aggregator = Aggregator(Objectives())
        aggregator.begin_level(a_level(), 0.0)
        for worker, check in (self_checks or {}).items():
            aggregator.enter_self_check(worker, check)
        for number, fared in enumerate(workers):
            told = report([timeline(kernel=kernel)] * 5, [a_level()], worker=number)
            told.health = fared
            aggregator.apply(Report.decode(told.encode()))
        return aggregator

    return made


def test_a_late_loop_makes_a_run_without_kernel_times_suspect(run: Run) -> None:
    """TTFT and gaps are 100 ms: 5 % of each are 5 ms."""
    assert kinds_of(run(health(lag_ms=4), kernel=False)) == []
    late = run(health(lag_ms=6), kernel=False)
    issues = issues_of(late)
    assert [issue.kind for issue in issues] == [IssueKind.CLIENT_DELAY] * 2  # of TTFT and of gaps
    assert [issue.values["delay_p99_s"] for issue in issues] == [pytest.approx(0.006, rel=0.001)] * 2
    (worker,) = worker_summaries(late)
    assert worker.validity is not None
    assert worker.validity.verdict == "suspect"
    assert worker.validity.issues == tuple(replace(issue, level=None) for issue in issues)


def test_a_late_loop_harms_no_times_of_the_kernel(run: Run) -> None:
    aggregator = run(health(lag_ms=60))
    assert kinds_of(aggregator) == []
    (worker,) = worker_summaries(aggregator)
    assert worker.validity.verdict == "valid"
    assert worker.loop_lag_p99_s == pytest.approx(0.06, rel=0.001)


def test_one_late_loop_among_several_is_enough_and_is_known(run: Run) -> None:
    aggregator = run(health(), health(lag_ms=60), health(), kernel=False)
    assert len(kinds_of(aggregator)) == 2
    assert [worker.validity.verdict for worker in worker_summaries(aggregator)] == ["valid", "suspect", "valid"]


@pytest.mark.slow
def test_first_outputs_that_may_have_come_much_earlier_make_a_run_suspect(
    report: Callable[..., Report], timeline: MakeTimeline, a_level: Callable[..., Level]
) -> None:
    """TTFT is 100 ms: 5 % of it are 5 ms, which significantly more than one request in a hundred decides."""

    def told(*bounds_ms: float) -> Aggregator:
        aggregator = Aggregator(Objectives())
        aggregator.begin_level(a_level(), 0.0)
        timelines = [timeline(ttft_uncertainty_ns=round(bound_ms * MS)) for bound_ms in bounds_ms]
        aggregator.apply(report(timelines, [a_level()]))
        return aggregator

    assert kinds_of(told(*[0.0] * 97, 5.1, 20, 20)) != []
    assert kinds_of(told(*[0.0] * 98, 5.1, 20)) == []  # two in a hundred may be one in a hundred
    assert kinds_of(told(*[0.0] * 97, 4.9, 4.9, 20)) == []
    assert kinds_of(told(*[0.0] * 3_920, *[20.0] * 80)) != []
    aggregator = told(*[0.0] * 96, 4.9, 5.1, 5.1, 20)
    (issue,) = issues_of(aggregator)
    assert issue.kind == IssueKind.UNCERTAIN_TTFT
    assert (issue.values["uncertain"], issue.values["first_outputs"]) == (3, 100)
    assert "came together" not in issue.message  # it was the machine
    assert "3 of 100 requests" in issue.message
    assert issue.values["max_s"] == pytest.approx(0.02, rel=0.001)
    whole = level_summary(aggregator.levels[0], 10.0, Objectives()).whole
    assert (whole.requests_with_uncertain_ttft, whole.ttft_uncertainty_s.count) == (4, 100)
    assert whole.ttft_uncertainty_s.max == pytest.approx(0.02, rel=0.001)


def test_one_uncertain_first_output_of_a_short_run_is_no_reason(
    report: Callable[..., Report], timeline: MakeTimeline, a_level: Callable[..., Level]
) -> None:
    for requests, late, suspect in ((27, 1, False), (5, 1, False), (27, 2, True)):
        aggregator = Aggregator(Objectives())
        aggregator.begin_level(a_level(), 0.0)
        bounds_ns = [0] * (requests - late) + [20 * MS] * late
        aggregator.apply(report([timeline(ttft_uncertainty_ns=bound_ns) for bound_ns in bounds_ns], [a_level()]))
        assert bool(kinds_of(aggregator)) is suspect, (requests, late)
        for issue in issues_of(aggregator):
            numbers = {"uncertain": 2, "first_outputs": 27, "max_s": 0.02, "median_s": 0.1}
            assert issue.values == pytest.approx(numbers, rel=0.001)


def test_token_counts_that_cannot_be_are_a_reason_and_no_rate(
    report: Callable[..., Report], timeline: MakeTimeline, a_level: Callable[..., Level]
) -> None:
    aggregator = Aggregator(Objectives())
    aggregator.begin_level(a_level(), 0.0)
    builder = TimelineBuilder("0.1", 0, 3_000 * MS, max_tokens=64)
    for arrived_ms in (3_100, 3_200, 3_300, 3_400):
        builder.output(arrived_ms * MS, visible=True, tokens=None)
    builder.usage(10, 1_000_000)
    impossible = builder.finish(Outcome.OK, 3_400 * MS, bytes_received=900)
    assert (impossible.output_tokens, impossible.output_tokens_source) == (4, TokenSource.EVENTS)
    assert impossible.output_tokens_rejected == 1_000_000
    aggregator.apply(report([timeline(source=TokenSource.EVENTS), impossible], [a_level()]))
    (issue,) = issues_of(aggregator)
    assert (issue.kind, issue.values) == (IssueKind.IMPOSSIBLE_TOKEN_COUNTS, {"responses": 1, "ok": 2})
    whole = level_summary(aggregator.levels[0], 10.0, Objectives()).whole
    assert (whole.output_tokens, whole.requests_with_rejected_usage) == (8, 1)
    assert whole.request_token_rate.max == pytest.approx(10, rel=0.01)


def spread(p99_ms: float) -> ErrorSpread:
    return ErrorSpread(p99_ms / 2000, p99_ms / 1000, p99_ms / 500)


def test_an_error_found_in_the_self_check_that_reaches_into_the_results_is_a_reason(run: Run) -> None:
    good, bad = SelfCheck(5, 20, spread(4.9), spread(4.9)), SelfCheck(5, 20, spread(5.1), None)
    aggregator = run(health(), health(), self_checks={0: good, 1: bad})
    (issue,) = issues_of(aggregator)
    assert (issue.kind, issue.worker) == (IssueKind.SELF_CHECK_ERROR, 1)
    assert issue.values["error_p99_s"] == pytest.approx(0.0051)
    first, second = worker_summaries(aggregator)
    assert (first.validity.verdict, second.validity.issues) == ("valid", (replace(issue, worker=None),))
    assert (first.self_check, second.self_check) == (good, bad)


def test_a_gap_error_is_held_against_gaps(run: Run) -> None:
    (issue,) = issues_of(run(health(), self_checks={0: SelfCheck(5, 20, spread(0.1), spread(7))}))
    assert (issue.kind, issue.worker, issue.values["error_p99_s"]) == (IssueKind.SELF_CHECK_ERROR, 0, 0.007)


def test_a_worker_that_fills_its_core_in_a_hold_is_named_with_what_to_do(run: Run) -> None:
    full = health(core_use={RAMP: CoreUse(1, 2), HOLD: CoreUse(9.7, 10)})
    found = hints(run(health(), full))
    assert list(found) == [1]
    assert "used 97% of a core in the hold of 10 users without system prompt" in found[1]
    assert "--processes -1" in found[1]


def test_without_kernel_times_a_full_core_is_told_to_be_late(run: Run) -> None:
    (hint,) = hints(run(health(core_use={HOLD: CoreUse(9.7, 10)}), kernel=False)).values()
    assert "in user space" in hint


@pytest.mark.parametrize(
    "core_use",
    [
        {RAMP: CoreUse(10, 10), HOLD: CoreUse(8.9, 10)},
        {DRAIN: CoreUse(10, 10), HOLD: CoreUse(5, 10)},
        {HOLD: CoreUse(2.9, 2.9)},
    ],
    ids=["in the ramp", "in the drain", "for less than three seconds"],
)
def test_a_core_that_is_full_elsewhere_is_no_matter(run: Run, core_use: dict[LevelPhase, CoreUse]) -> None:
    assert hints(run(health(core_use=core_use))) == {}


def test_a_loop_that_is_never_done_is_told_even_where_the_core_is_not_all_its_own(run: Run) -> None:
    """Stuck for 70 ms and again, it notices what comes meanwhile 70 to 10 ms late."""
    (hint,) = hints(run(health(lag_ms=70, core_use={HOLD: CoreUse(5, 10)}))).values()
    assert "half of all events more than 30.0 ms late" in hint


def test_what_a_worker_used_is_told_over_the_run_and_of_its_fullest_hold(run: Run) -> None:
    (worker,) = worker_summaries(run(health(core_use={RAMP: CoreUse(0.5, 2), HOLD: CoreUse(5.5, 10)})))
    assert (worker.worker, worker.requests) == (0, 5)
    assert worker.cpu_utilization == pytest.approx(0.5)
    assert worker.cpu_utilization_hold_max == pytest.approx(0.55)
    assert worker.client_delay_p99_s == pytest.approx(0.00002)


@pytest.mark.parametrize(("flushed", "kinds"), [(False, [IssueKind.CACHE_NOT_FLUSHED]), (True, []), (None, [])])
def test_a_cache_that_was_not_flushed_is_a_reason(
    a_level: Callable[..., Level], flushed: bool | None, kinds: list[IssueKind]
) -> None:
    aggregator = Aggregator(Objectives())
    aggregator.begin_level(a_level(cache_flushed=flushed), 0.0)
    assert kinds_of(aggregator) == kinds
    assert level_summary(aggregator.levels[0], 10.0, Objectives()).cache_flushed is flushed


def test_lengths_that_are_not_the_requested_ones_are_a_reason(
    report: Callable[..., Report], timeline: MakeTimeline, a_level: Callable[..., Level]
) -> None:
    def run_of(deviating: int, source: str = "usage") -> Aggregator:
        aggregator = Aggregator(Objectives())
        aggregator.begin_level(a_level(), 0.0)
        prompts = [1100] * deviating + [1024] * (100 - deviating)
        aggregator.apply(
            report(
                [
                    timeline(
                        input_tokens_requested=1024,
                        prompt_tokens=tokens,
                        prompt_tokens_source=source,
                        output_tokens_requested=4,
                    )
                    for tokens in prompts
                ],
                [a_level()],
            )
        )
        return aggregator

    assert kinds_of(run_of(1)) == []
    assert kinds_of(run_of(2, source="tokenizer")) == []
    aggregator = run_of(2)
    (issue,) = issues_of(aggregator)
    assert issue.kind == IssueKind.INPUT_LENGTHS
    assert issue.values == {"deviating": 2, "requests": 100, "requested_mean": 1024, "actual_mean": 1025.52}
    whole = level_summary(aggregator.levels[0], 10.0, Objectives()).whole
    assert whole.input_lengths == LengthFigures(100, 1024, 1025.52, 0.98, 76, 76, 0.02)
    assert whole.output_lengths is not None
    assert (whole.output_lengths.requests, whole.output_lengths.requested_mean) == (100, 4)
