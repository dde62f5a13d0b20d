"""The run's own proof, from made-up reports: who is suspect, who needs more than a core, and in which words."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from metrics.health import CoreUse, ErrorSpread, HealthMeter, SelfCheck, WorkerHealth
from metrics.ledger import Ledger
from metrics.objectives import Objectives
from metrics.proof import hints
from metrics.records import Report
from metrics.stage import Phase, Place, Stage
from metrics.summary import level_summary, reasons_to_suspect, worker_summaries
from metrics.timeline import Outcome, Timeline, TimelineBuilder, TokenSource

MS = 1_000_000
RAMP, HOLD, DRAIN = ((0, phase) for phase in Phase)
MakeTimeline = Callable[..., Timeline]
Run = Callable[..., Ledger]


def health(lag_ms: float = 0.0, core_use: Mapping[Place, CoreUse] | None = None) -> WorkerHealth:
    """Every event of a hold was noticed so late."""
    meter = HealthMeter()
    for _ in range(100):
        meter.woke(HOLD, 0, round(lag_ms * MS), 0)
    return WorkerHealth(meter.take().loop_lag, dict(core_use or {HOLD: CoreUse(1.0, 10.0)}))


@pytest.fixture
def run(report: Callable[..., Report], timeline: MakeTimeline, stage: Callable[..., Stage]) -> Run:
    """A level of ten users whose TTFT and gaps were 100 ms, from what the workers fared like."""

    def made(*workers: WorkerHealth, kernel: bool = True, self_checks: Mapping[int, SelfCheck] | None = None) -> Ledger:
        ledger = Ledger(Objectives())
        ledger.begin_stage(stage(), 0.0)
        for worker, check in (self_checks or {}).items():
            ledger.enter_self_check(worker, check)
        for number, fared in enumerate(workers):
            told = report([timeline(kernel=kernel)] * 5, [stage()], worker=number)
            told.health = fared
            ledger.apply(Report.decode(told.encode()))
        return ledger

    return made


def test_a_late_loop_makes_a_run_without_kernel_times_suspect(run: Run) -> None:
    """TTFT and gaps are 100 ms: 5 % of each are 5 ms."""
    assert reasons_to_suspect(run(health(lag_ms=4), kernel=False)) == []
    late = run(health(lag_ms=6), kernel=False)
    reasons = [
        "20 of 20 reads without the kernel's receive time, and the lag of the client's own loop (p99 6.0 ms) is more "
        f"than 5% of the median {figure} (100.0 ms)"
        for figure in ("TTFT", "gap")
    ]
    assert reasons_to_suspect(late) == [f"10 users without system prompt: {reason}" for reason in reasons]
    (worker,) = worker_summaries(late)
    assert (worker.validity.verdict, worker.validity.reasons) == ("suspect", reasons)


def test_a_late_loop_harms_no_times_of_the_kernel(run: Run) -> None:
    ledger = run(health(lag_ms=60))
    assert reasons_to_suspect(ledger) == []
    (worker,) = worker_summaries(ledger)
    assert worker.validity.verdict == "valid"
    assert worker.loop_lag_p99_s == pytest.approx(0.06, rel=0.001)


def test_one_late_loop_among_several_is_enough_and_is_known(run: Run) -> None:
    ledger = run(health(), health(lag_ms=60), health(), kernel=False)
    assert len(reasons_to_suspect(ledger)) == 2
    assert [worker.validity.verdict for worker in worker_summaries(ledger)] == ["valid", "suspect", "valid"]


def test_first_outputs_that_may_have_come_much_earlier_make_a_run_suspect(
    report: Callable[..., Report], timeline: MakeTimeline, stage: Callable[..., Stage]
) -> None:
    """TTFT is 100 ms: 5 % of it are 5 ms, which significantly more than one request in a hundred decides."""

    def told(*bounds_ms: float) -> Ledger:
        ledger = Ledger(Objectives())
        ledger.begin_stage(stage(), 0.0)
        timelines = [timeline(ttft_uncertainty_ns=round(bound_ms * MS)) for bound_ms in bounds_ms]
        ledger.apply(report(timelines, [stage()]))
        return ledger

    assert reasons_to_suspect(told(*[0.0] * 97, 5.1, 20, 20)) != []
    assert reasons_to_suspect(told(*[0.0] * 98, 5.1, 20)) == []  # two in a hundred may be one in a hundred
    assert reasons_to_suspect(told(*[0.0] * 97, 4.9, 4.9, 20)) == []
    assert reasons_to_suspect(told(*[0.0] * 3_920, *[20.0] * 80)) != []
    ledger = told(*[0.0] * 96, 4.9, 5.1, 5.1, 20)
    (reason,) = reasons_to_suspect(ledger)
    assert reason.startswith("10 users without system prompt: 3 of 100 first outputs (3.0%)")
    assert "5% of the median TTFT (100.0 ms), by up to 20.0 ms" in reason
    whole = level_summary(ledger.levels[0], 10.0, Objectives()).whole
    assert (whole.requests_with_uncertain_ttft, whole.ttft_uncertainty_s.count) == (4, 100)
    assert whole.ttft_uncertainty_s.max == pytest.approx(0.02, rel=0.001)


def test_one_uncertain_first_output_of_a_short_run_is_no_reason(
    report: Callable[..., Report], timeline: MakeTimeline, stage: Callable[..., Stage]
) -> None:
    for requests, late, suspect in ((27, 1, False), (5, 1, False), (27, 2, True)):
        ledger = Ledger(Objectives())
        ledger.begin_stage(stage(), 0.0)
        bounds_ns = [0] * (requests - late) + [20 * MS] * late
        ledger.apply(report([timeline(ttft_uncertainty_ns=bound_ns) for bound_ns in bounds_ns], [stage()]))
        assert bool(reasons_to_suspect(ledger)) is suspect, (requests, late)


def test_token_counts_that_cannot_be_are_a_reason_and_no_rate(
    report: Callable[..., Report], timeline: MakeTimeline, stage: Callable[..., Stage]
) -> None:
    ledger = Ledger(Objectives())
    ledger.begin_stage(stage(), 0.0)
    builder = TimelineBuilder("0.1", 0, 3_000 * MS, max_tokens=64)
    for arrived_ms in (3_100, 3_200, 3_300, 3_400):
        builder.output(arrived_ms * MS, visible=True, tokens=None)
    builder.usage(10, 1_000_000)
    impossible = builder.finish(Outcome.OK, 3_400 * MS, bytes_received=900)
    assert (impossible.output_tokens, impossible.output_tokens_source) == (4, TokenSource.EVENTS)
    assert impossible.output_tokens_rejected == 1_000_000
    ledger.apply(report([timeline(source=TokenSource.EVENTS), impossible], [stage()]))
    assert reasons_to_suspect(ledger) == [
        "10 users without system prompt: for 1 of 2 answers the server reported more output tokens than --max-tokens "
        "or their bytes allow; these counts are not used"
    ]
    whole = level_summary(ledger.levels[0], 10.0, Objectives()).whole
    assert (whole.output_tokens, whole.requests_with_rejected_usage) == (8, 1)
    assert whole.request_token_rate.max == pytest.approx(10, rel=0.01)


def spread(p99_ms: float) -> ErrorSpread:
    return ErrorSpread(p99_ms / 2000, p99_ms / 1000, p99_ms / 500)


def test_an_error_found_in_the_self_check_that_reaches_into_the_results_is_a_reason(run: Run) -> None:
    good, bad = SelfCheck(5, 20, spread(4.9), spread(4.9)), SelfCheck(5, 20, spread(5.1), None)
    ledger = run(health(), health(), self_checks={0: good, 1: bad})
    reason = (
        "in the self-check before the load its TTFT error (p99 5.1 ms) was more than 5% of the median TTFT (100.0 ms)"
    )
    assert reasons_to_suspect(ledger) == [f"worker 1: {reason}"]
    first, second = worker_summaries(ledger)
    assert (first.validity.verdict, second.validity.reasons) == ("valid", [reason])
    assert (first.self_check, second.self_check) == (good, bad)


def test_a_gap_error_is_held_against_gaps(run: Run) -> None:
    (reason,) = reasons_to_suspect(run(health(), self_checks={0: SelfCheck(5, 20, spread(0.1), spread(7))}))
    assert reason == (
        "worker 0: in the self-check before the load its gap error (p99 7.0 ms) was more than 5% of the median gap "
        "(100.0 ms)"
    )


def test_a_worker_that_fills_its_core_in_a_hold_is_named_with_what_to_do(run: Run) -> None:
    full = health(core_use={RAMP: CoreUse(1, 2), HOLD: CoreUse(9.7, 10)})
    assert hints(run(health(), full)) == {
        1: "worker 1 used 97% of a core in the hold of 10 users without system prompt: give the load more processes "
        "(--processes -1: one a core) or more workers; times are the kernel's and still right, but its users asked "
        "again later than they could have"
    }


def test_without_kernel_times_a_full_core_is_told_to_be_late(run: Run) -> None:
    (hint,) = hints(run(health(core_use={HOLD: CoreUse(9.7, 10)}), kernel=False)).values()
    assert hint.endswith("or more workers; times are its own, and late")


@pytest.mark.parametrize(
    "core_use",
    [
        {RAMP: CoreUse(10, 10), HOLD: CoreUse(8.9, 10)},
        {DRAIN: CoreUse(10, 10), HOLD: CoreUse(5, 10)},
        {HOLD: CoreUse(2.9, 2.9)},
    ],
    ids=["in the ramp", "in the drain", "for less than three seconds"],
)
def test_a_core_that_is_full_elsewhere_is_no_matter(run: Run, core_use: dict[Place, CoreUse]) -> None:
    assert hints(run(health(core_use=core_use))) == {}


def test_a_loop_that_is_never_done_is_told_even_where_the_core_is_not_all_its_own(run: Run) -> None:
    """Stuck for 70 ms and again, it notices what comes meanwhile 70 to 10 ms late."""
    (hint,) = hints(run(health(lag_ms=70, core_use={HOLD: CoreUse(5, 10)}))).values()
    assert hint.startswith("worker 0 noticed half of all events more than 30.0 ms late: give the load more processes")


def test_what_a_worker_used_is_told_over_the_run_and_of_its_fullest_hold(run: Run) -> None:
    (worker,) = worker_summaries(run(health(core_use={RAMP: CoreUse(0.5, 2), HOLD: CoreUse(5.5, 10)})))
    assert (worker.worker, worker.requests) == (0, 5)
    assert worker.cpu_utilization == pytest.approx(0.5)
    assert worker.cpu_utilization_hold_max == pytest.approx(0.55)
    assert worker.client_delay_p99_s == pytest.approx(0.00002)
