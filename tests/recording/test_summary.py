"""What summary.json says of books made by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from tests.run_fixtures import issues_of, kinds_of
from tokenswarm.metrics.client_health import ErrorSpread, SelfCheck
from tokenswarm.metrics.level import Level, Phase
from tokenswarm.metrics.objectives import Objectives
from tokenswarm.metrics.timeline import Outcome, Timeline
from tokenswarm.metrics.token_counts import TokenSource
from tokenswarm.recording.aggregator import Aggregator
from tokenswarm.recording.recorder import Recorder
from tokenswarm.recording.server_samples import ServerSamples
from tokenswarm.recording.summary import capacities, level_summary, worker_summaries
from tokenswarm.recording.task_errors import TaskErrors
from tokenswarm.recording.validity import validity_issues
from tokenswarm.recording.worker_report import Report
from tokenswarm.run_folder.hardware_figures import HardwareFigures
from tokenswarm.run_folder.load_audit import LoadAudit
from tokenswarm.run_folder.open_loop_figures import OpenLoopFigures
from tokenswarm.run_folder.schema import (
    Capacity,
    Figures,
    IssueKind,
    LevelSummary,
    RequestAccounting,
    ServerFigures,
    Status,
    Summary,
    Validity,
)
from tokenswarm.run_folder.summary_csv import summary_rows
from tokenswarm.run_folder.warm_up_summary import WarmUpSummary
from tokenswarm.run_folder.worker_events import WorkerEvent, WorkerEventKind

MakeBooks = Callable[..., Aggregator]
MakeTimeline = Callable[..., Timeline]


def summed_up(aggregator: Aggregator) -> LevelSummary:
    return level_summary(aggregator.levels[0], 999.0, aggregator.objectives)


@pytest.fixture
def busy(books: MakeBooks, timeline: MakeTimeline) -> Aggregator:
    """A hold of 10 s in a level of 12 s. Good: 30 tokens. Slow: 20 tokens, all in the hold. Failed: 10 tokens. Cut: 8
    tokens, half of them in the drain. In the ramp: 4 tokens, one of which came in the hold."""
    return books(
        [
            timeline((3.1, 3.2, 3.3), tokens=30),
            timeline((3.5, 3.6), tokens=20),
            timeline((3.1, 3.2), tokens=10, outcome=Outcome.TRUNCATED),
            timeline((11.9, 12.1), sent_s=11.8, tokens=8, outcome=Outcome.CUT),
            timeline((1.1, 1.2, 1.3, 2.5), sent_s=1.0),
        ],
        slo="ttft=200ms",
    )


def test_rates_are_amounts_over_the_parts_seconds(busy: Aggregator) -> None:
    level = summed_up(busy)
    assert (level.hold.seconds, level.whole.seconds) == (10.0, 12.0)
    assert (level.hold.requests, level.whole.requests) == (4, 5)
    assert (level.hold.output_tokens, level.whole.output_tokens) == (pytest.approx(65.0), pytest.approx(68.0))
    assert (level.hold.token_rate, level.whole.token_rate) == (pytest.approx(6.5), pytest.approx(68 / 12))
    assert (level.hold.good_token_rate, level.whole.good_token_rate) == (pytest.approx(5.5), pytest.approx(58 / 12))
    assert (level.hold.request_rate, level.whole.request_rate) == (pytest.approx(0.2), pytest.approx(3 / 12))


def test_outcomes_and_failures_are_counted_and_a_cut_is_none(busy: Aggregator) -> None:
    hold = summed_up(busy).hold
    assert (hold.outcomes, hold.failures) == ({"ok": 2, "truncated": 1, "cut": 1}, 1)
    assert hold.output_tokens_sources == {"usage": 2}


def test_goodput_is_of_all_requests_sent_failures_included(busy: Aggregator) -> None:
    hold = summed_up(busy).hold
    assert hold.goodput is not None
    assert (hold.goodput.requests_per_s, hold.goodput.fraction) == (0.1, 0.25)


def test_tokens_within_objectives_are_those_that_arrived_in_the_part(
    busy: Aggregator, books: MakeBooks, timeline: MakeTimeline
) -> None:
    """One of the ramp's request too; of a stream that ends in the drain, what came before it: never more than the token
    rate of the same hold."""
    assert summed_up(busy).hold.goodput.tokens_per_s == pytest.approx(3.1)
    late = summed_up(books([timeline((11.9, 12.1, 12.2, 12.3), sent_s=11.8, tokens=400)], slo="ttft=200ms")).hold
    assert late.goodput.tokens_per_s == pytest.approx(late.token_rate) == pytest.approx(10.0)


def test_without_objectives_there_is_no_goodput(books: MakeBooks, timeline: MakeTimeline) -> None:
    assert summed_up(books([timeline()])).hold.goodput is None


def test_a_part_without_length_has_no_rates(
    books: MakeBooks, timeline: MakeTimeline, a_level: Callable[..., Level]
) -> None:
    aggregator = books([timeline(sent_s=0.5)], slo="ttft=1s", level=a_level(ramp_s=2.0, level_time_s=1.0))
    hold = summed_up(aggregator).hold
    assert (hold.seconds, hold.token_rate, hold.good_token_rate, hold.request_rate, hold.goodput) == (
        *(0.0, None, None, None, None),
    )


def test_a_hold_without_requests_has_rates_of_nothing_and_no_fraction(books: MakeBooks) -> None:
    hold = summed_up(books([], slo="ttft=1s")).hold
    assert (hold.requests, hold.token_rate, hold.request_rate) == (0, 0.0, 0.0)
    assert hold.goodput is not None
    assert (hold.goodput.requests_per_s, hold.goodput.fraction) == (0.0, None)
    assert (hold.ttft_s.count, hold.ttft_s.mean, hold.ttft_s.p50) == (0, None, None)


def test_distributions_are_in_seconds_and_tokens_a_second(busy: Aggregator) -> None:
    hold = summed_up(busy).hold
    assert (hold.ttft_s.count, hold.ttft_s.mean) == (2, pytest.approx(0.3))
    assert (hold.ttft_s.min, hold.ttft_s.max) == (pytest.approx(0.1, rel=5e-4), pytest.approx(0.5, rel=5e-4))
    assert hold.ttft_s.p50 is not None
    assert (hold.ttft_s.p50.value, hold.ttft_s.p50.certified) == (pytest.approx(0.1, rel=5e-4), False)
    assert hold.request_token_rate.mean == pytest.approx((29 / 0.2 + 19 / 0.1) / 2)
    assert (hold.gap_s.count, hold.gap_s.mean) == (3, pytest.approx(0.1))


def test_a_level_tells_what_it_was_and_whether_it_lasted(busy: Aggregator) -> None:
    level = summed_up(busy)
    assert (level.index, level.system_prompt, level.level, level.users, level.complete) == (0, "off", "10", 10, True)


def test_a_run_stamped_by_the_kernel_with_one_token_source_is_valid(books: MakeBooks, timeline: MakeTimeline) -> None:
    assert kinds_of(books([timeline(), timeline()])) == []


def test_figures_without_any_kernel_time_are_suspect(books: MakeBooks, timeline: MakeTimeline) -> None:
    (issue,) = issues_of(books([timeline(kernel=False)]))
    assert (issue.kind, issue.level) == (IssueKind.UNKNOWN_CLIENT_DELAY, 0)
    assert issue.values == {"reads_without_kernel_time": 4, "reads": 4}


def test_a_delay_that_reaches_into_the_results_is_a_reason_where_not_all_times_are_the_kernels(
    books: MakeBooks, timeline: MakeTimeline
) -> None:
    """TTFT and gaps are 100 ms: 5 % of each are 5 ms."""
    partly = {"kernel_stamps": 3}
    at_4_ms = books([timeline(delays_ns=[1_000, 1_000, 4_000_000], **partly)])
    at_6_ms = books([timeline(delays_ns=[1_000, 1_000, 6_000_000], **partly)])
    assert kinds_of(at_4_ms) == []
    issues = issues_of(at_6_ms)
    assert [issue.kind for issue in issues] == [IssueKind.CLIENT_DELAY] * 2  # of TTFT and of gaps
    for issue in issues:
        assert issue.values == {
            "reads_without_kernel_time": 1,
            "reads": 4,
            "delay_p99_s": pytest.approx(0.006, rel=0.001),
            "median_s": pytest.approx(0.1, rel=0.001),
        }


def test_a_long_delay_is_no_reason_where_every_time_is_the_kernels(books: MakeBooks, timeline: MakeTimeline) -> None:
    assert kinds_of(books([timeline(delays_ns=[90_000_000] * 4)])) == []


def test_a_level_that_mixed_token_counts_says_so(books: MakeBooks, timeline: MakeTimeline) -> None:
    aggregator = books([timeline(), timeline(source=TokenSource.EVENTS), timeline(source=TokenSource.EVENTS)])
    (issue,) = issues_of(aggregator)
    assert (issue.kind, issue.values) == (IssueKind.MIXED_TOKEN_SOURCES, {"events": 2, "usage": 1})


def test_levels_that_each_counted_tokens_in_one_way_but_not_in_the_same_are_suspect(
    timeline: MakeTimeline, report: Callable[..., Report], a_level: Callable[..., Level]
) -> None:
    """They stand side by side in the same table."""
    aggregator, stages = Aggregator(Objectives()), [a_level(0), a_level(1)]
    for each in stages:
        aggregator.begin_level(each, each.index * 20.0)
    answers = [timeline(), timeline(), *[timeline(level_index=1, source=TokenSource.TOKENIZER)] * 3]
    aggregator.apply(report(answers, stages))
    (issue,) = issues_of(aggregator)
    assert (issue.kind, issue.values) == (IssueKind.MIXED_TOKEN_SOURCES, {"tokenizer": 3, "usage": 2})


@pytest.mark.parametrize("delays_ns", [None, [90_000_000]])
def test_a_read_in_a_thousand_without_the_kernels_time_is_no_reason(
    delays_ns: list[int] | None, books: MakeBooks, timeline: MakeTimeline
) -> None:
    """Whatever the delay; from the first read above that share it is one."""
    changes: dict[str, Any] = {"reads": 2000, "delays_ns": delays_ns or []}
    assert kinds_of(books([timeline(kernel_stamps=1998, **changes)])) == []
    issues = issues_of(books([timeline(kernel_stamps=1997, **changes)]))
    kinds = [IssueKind.UNKNOWN_CLIENT_DELAY] if delays_ns is None else [IssueKind.CLIENT_DELAY] * 2
    assert [issue.kind for issue in issues] == kinds
    assert {issue.values["reads_without_kernel_time"] for issue in issues} == {3}


def test_the_share_of_reads_is_a_levels_and_not_a_requests(books: MakeBooks, timeline: MakeTimeline) -> None:
    first = timeline(reads=10, kernel_stamps=9, delays_ns=[90_000_000])
    others = timeline(reads=990, kernel_stamps=990, delays_ns=[90_000_000])
    assert kinds_of(books([first, others])) == []
    issues = issues_of(books([first, first, others]))
    counts = [(issue.values["reads_without_kernel_time"], issue.values["reads"]) for issue in issues]
    assert counts == [(2, 1010)] * 2


def test_a_hold_whose_slowest_requests_were_cut_is_suspect(busy: Aggregator) -> None:
    assert busy.levels[0].complete
    (issue,) = issues_of(busy)
    assert (issue.kind, issue.values) == (IssueKind.CANCELLED_IN_DRAIN, {"cancelled": 1, "requests": 4})


@pytest.mark.parametrize(
    ("cut_s", "stopped_s", "suspect", "complete"),
    [
        (17.2, None, True, True),  # by the drain timeout of 5 s
        (14.0, 14.0, False, False),  # by an interruption in the drain: no timeout was over
        (17.2, 18.0, True, True),  # by the timeout, before the interruption
        (8.0, None, False, True),  # in the hold: its worker left
    ],
)
def test_what_cut_a_request_decides_what_it_says_of_the_level(
    a_level: Callable[..., Level],
    report: Callable[..., Report],
    timeline: MakeTimeline,
    cut_s: float,
    stopped_s: float | None,
    suspect: bool,
    complete: bool,
) -> None:
    """Level of 12 s, drain timeout 5 s: one reason, and one only, whatever was cut and when it is looked at."""
    aggregator = Aggregator(Objectives(), drain_s=5.0)
    aggregator.begin_level(a_level(), 0.0)
    if stopped_s is not None:
        aggregator.stop(stopped_s, interrupted=True)
    cut = timeline((7.0,), sent_s=6.0, over_s=cut_s, outcome=Outcome.CUT)
    aggregator.apply(report([timeline(), cut], [a_level()]))
    aggregator.end_level(18.0)
    assert kinds_of(aggregator) == ([IssueKind.CANCELLED_IN_DRAIN] if suspect else [])
    assert aggregator.levels[0].complete is complete


def test_the_load_of_a_level_ends_when_the_run_is_stopped_however_long_its_streams_go_on(
    a_level: Callable[..., Level], timeline: MakeTimeline
) -> None:
    """Level of 12 s with a ramp of 2 s, stopped after 7 s; its last stream ends after 14 s."""
    aggregator, recorder = Aggregator(Objectives(), drain_s=30.0), Recorder(0)
    aggregator.begin_level(a_level(), 0.0)
    recorder.begin_level(a_level(), 0, 0)
    aggregator.stop(7.0, interrupted=True)
    recorder.stop(7 * 1_000_000_000)
    recorder.stop(9 * 1_000_000_000)
    recorder.record(timeline((6.5, 6.9, 7.1, 14.0), sent_s=6.0))
    aggregator.apply(recorder.take_report())
    aggregator.end_level(14.0)
    level = summed_up(aggregator)
    assert (level.complete, level.hold.seconds, level.whole.seconds) == (False, 5.0, 7.0)
    assert (level.hold.requests, level.hold.output_tokens, level.hold.outcomes) == (1, 2.0, {"ok": 1})
    assert [aggregator.levels[0].phase_at(when_s) for when_s in (6.9, 7.0)] == [Phase.HOLD, Phase.DRAIN]


@pytest.mark.parametrize("interrupted", [True, False])
def test_a_stop_after_the_level_is_over_changes_nothing(
    interrupted: bool, a_level: Callable[..., Level], timeline: MakeTimeline
) -> None:
    aggregator, recorder = Aggregator(Objectives(), drain_s=30.0), Recorder(0)
    aggregator.begin_level(a_level(), 0.0)
    recorder.begin_level(a_level(), 0, 0)
    aggregator.stop(13.0, interrupted=interrupted)
    recorder.stop(13 * 1_000_000_000)
    recorder.record(timeline((6.5, 11.9, 12.5, 14.0), sent_s=6.0))
    aggregator.apply(recorder.take_report())
    aggregator.end_level(14.0)
    level = summed_up(aggregator)
    assert (level.complete, level.hold.seconds, level.hold.output_tokens) == (True, 10.0, 2.0)


def test_the_end_of_a_plan_is_no_interruption(books: MakeBooks, timeline: MakeTimeline) -> None:
    """A free run has no end but its user's own."""
    aggregator = books([timeline((11.9, 12.1), sent_s=11.8, outcome=Outcome.CUT)])
    aggregator.levels[0].ended_s = None
    aggregator.stop(13.0, interrupted=False)
    aggregator.end_level(13.0)
    assert aggregator.levels[0].complete


def test_a_hold_in_which_nobody_asked_is_suspect(books: MakeBooks, timeline: MakeTimeline) -> None:
    """The ramp takes 2 s and the request 10.9 s: a level of 2 + 2 × 10.9 s has a request in its hold."""
    (issue,) = validity_issues(books([timeline((1.1, 11.9), sent_s=1.0)]), ServerSamples())
    assert (issue.kind, issue.values) == (IssueKind.NO_REQUEST_IN_HOLD, {"level_time_s": 24.0})
    assert issue.message.endswith(
        "it lasts; give a time of 24 s or more with --level-time, or with --run-time beside --users"
    )


def test_advice_for_a_hold_without_requests_fits_the_load(books: MakeBooks, timeline: MakeTimeline) -> None:
    """--level-time is refused beside a shape of the locustfile; a request of 0.2 s is no reason for a longer one."""
    shape = books([timeline((1.1, 11.9), sent_s=1.0)])
    shape.levels[0].level = replace(shape.levels[0].level, own_shape=True)
    (issue,) = [each for each in validity_issues(shape, ServerSamples()) if each.kind == IssueKind.NO_REQUEST_IN_HOLD]
    assert issue.message.endswith("it lasts; let the locustfile's shape have users for 24 s or more")
    short = books([timeline((1.1, 1.2), sent_s=1.0)])
    (issue,) = [each for each in validity_issues(short, ServerSamples()) if each.kind == IssueKind.NO_REQUEST_IN_HOLD]
    assert issue.message == (
        "no request was sent in the hold: users waited, or had ended; check the tasks and wait times of its users"
    )
    assert issue.values == {}
    short.task_errors = TaskErrors(1, "division by zero")
    (issue,) = [each for each in validity_issues(short, ServerSamples()) if each.kind == IssueKind.NO_REQUEST_IN_HOLD]
    assert "hold: users ended with an error of the locustfile;" in issue.message


def test_books_that_do_not_balance_are_told_by_who_keeps_them(books: MakeBooks, timeline: MakeTimeline) -> None:
    """The rows of requests.csv belong to them, which the aggregator does not know; see the defects of a recording."""
    aggregator = books([timeline()])
    aggregator.workers[0].ended = 3
    assert not aggregator.complete
    assert kinds_of(aggregator) == []


QUANTILE = {"value": float, "low": (float, None), "high": (float, None), "certified": bool}
DISTRIBUTION: dict[str, Any] = {
    "count": int,
    **dict.fromkeys(("mean", "min", "max"), (float, None)),
    **dict.fromkeys(("p50", "p90", "p95", "p99"), (QUANTILE, None)),
}
PROMPTS = {
    **dict.fromkeys(("requests", "repeated"), int),
    **dict.fromkeys(("repeated_share", "prompt_tokens_mean", "cached_share"), (float, None)),
    **dict.fromkeys(("expected_share_min", "expected_share_max"), (float, None)),
    **dict.fromkeys(("repeated_from_earlier_levels", "first_sent"), int),
    "first_sent_cached_share": (float, None),
}
LENGTHS = {
    **dict.fromkeys(("requests", "difference_p99", "difference_max"), int),
    **dict.fromkeys(("requested_mean", "actual_mean", "equal_share", "deviating_share"), float),
}
MEMBER = {
    "name": str,
    "requests": int,
    **dict.fromkeys(("share", "requested_share"), (float, None)),
    "outcomes": {str: int},
    "failures": int,
    "output_tokens": float,
    **dict.fromkeys(("token_rate", "request_rate"), (float, None)),
    **dict.fromkeys(("ttft_s", "tpot_s", "e2e_s"), DISTRIBUTION),
    "request_token_rate": DISTRIBUTION | dict.fromkeys(("p1", "p5", "p10"), (QUANTILE, None)),
}
FIGURES: dict[str, Any] = {
    "seconds": float,
    "requests": int,
    "outcomes": {str: int},
    "failures": int,
    "output_tokens": float,
    **dict.fromkeys(("token_rate", "good_token_rate", "request_rate"), (float, None)),
    "goodput": (
        {
            **dict.fromkeys(("requests_per_s", "tokens_per_s"), float),
            **dict.fromkeys(("fraction", "fraction_low", "fraction_high"), (float, None)),
        },
        None,
    ),
    "output_tokens_sources": {str: int},
    "stamps": {str: int},
    **dict.fromkeys(("requests_with_gaps", "requests_with_uncertain_ttft"), int),
    **dict.fromkeys(("ttft_s", "ttft_uncertainty_s", "ttfvt_s", "tpot_s", "gap_s", "e2e_s"), DISTRIBUTION),
    **dict.fromkeys(("lag_s", "ttft_scheduled_s", "e2e_scheduled_s"), (DISTRIBUTION, None)),
    "request_token_rate": DISTRIBUTION | dict.fromkeys(("p1", "p5", "p10"), (QUANTILE, None)),
    **dict.fromkeys(("connect_s", "client_delay_s", "loop_lag_s"), DISTRIBUTION),
    "server": (dict.fromkeys(ServerFigures.__struct_fields__, (float, None)), None),
    "prompts": PROMPTS,
    "retries": int,
    **dict.fromkeys(("requests_with_rejected_usage", "requests_without_tpot"), int),
    **dict.fromkeys(("outputs_per_arrival", "tokens_per_event"), (float, None)),
    "models": [MEMBER],
    "hosts": [MEMBER],
    "names": [MEMBER],
    "deviations": {str: int},
    **dict.fromkeys(("input_lengths", "output_lengths"), (LENGTHS, None)),
    "requests_not_judged": int,
}
LEVEL = {
    "index": int,
    "system_prompt": str,
    "level": str,
    "users": int,
    "complete": bool,
    "meets_objectives": (bool, None),
    "hold": FIGURES,
    "whole": FIGURES,
    "concurrency": ({"requested": int, **dict.fromkeys(("mean", "min", "short_share"), float)}, None),
    "open_loop": (dict.fromkeys(OpenLoopFigures.__struct_fields__, (float, int, bool, None)), None),
    "load_audit": (dict.fromkeys(LoadAudit.__struct_fields__, (str, float, bool, dict, None)), None),
    "think_time": (dict, None),
    "sessions": (dict, None),
    "cache_flushed": (bool, None),
    "hardware": (dict.fromkeys(HardwareFigures.__struct_fields__, (float, None)), None),
    "abandonment": (dict, None),
}
ISSUE = {"kind": str, "message": str, "level": (int, None), "worker": (int, None), "values": dict}
VALIDITY = {"verdict": str, "reasons": [str], "issues": [ISSUE]}
ERRORS = dict.fromkeys(("p50", "p99", "max"), float)
WORKER = {
    "worker": int,
    "requests": int,
    **dict.fromkeys(("cpu_utilization", "cpu_utilization_hold_max"), (float, None)),
    **dict.fromkeys(("loop_lag_p99_s", "client_delay_p99_s"), (float, None)),
    "self_check": (
        {"users": int, "answers": int, "ttft_error_s": ERRORS, "gap_error_s": (ERRORS, None)},
        None,
    ),
    "validity": VALIDITY,
}
SUMMARY = {
    "format": int,
    "status": str,
    "engine": str,
    "model": str,
    "host": str,
    "validity": VALIDITY,
    "accounting": {"ended": int, "recorded": int, "rows": int, "complete": bool, "unaccounted": int},
    "objectives": {str: float},
    "objective_share": float,
    "capacity": [{"system_prompt": str, "level": (str, None), "users": (int, None)}],
    "levels": [LEVEL],
    "workers": [WORKER],
    "hints": [str],
    "events": [{"time_s": float, "worker": int, "name": str, "event": str}],
    "prompts": PROMPTS,
    "warm_ups": [dict.fromkeys(WarmUpSummary.__struct_fields__, (int, str, float))],
    "hardware": ({"gpus": int, "name": str, "usd_per_gpu_hour": (float, None)}, None),
    "capacity_search": (dict, None),
}


def assert_laid_out(value: Any, layout: Any, place: str = "summary") -> None:
    """A type is that type, {str: T} and [T] hold any number of T, a tuple allows either, other keys are all there."""
    if isinstance(layout, tuple):
        if value is not None:
            assert_laid_out(value, layout[0], place)
    elif isinstance(layout, list):
        assert isinstance(value, list), place
        for index, inner in enumerate(value):
            assert_laid_out(inner, layout[0], f"{place}[{index}]")
    elif isinstance(layout, dict) and str in layout:
        for name, inner in value.items():
            assert_laid_out(inner, layout[str], f"{place}.{name}")
    elif isinstance(layout, dict):
        assert list(value) == list(layout), place
        for name, inner in value.items():
            assert_laid_out(inner, layout[name], f"{place}.{name}")
    else:
        assert type(value) is layout, f"{place} is {value!r}, not {layout.__name__}"


@pytest.mark.parametrize("slo", ["", "ttft=1s"])
def test_summary_json_has_the_documented_layout(slo: str, books: MakeBooks, timeline: MakeTimeline) -> None:
    aggregator = books(
        [timeline((3.1, 3.2 + n / 100)) for n in range(60)] + [timeline((), outcome=Outcome.TIMEOUT)], slo=slo
    )
    errors = ErrorSpread(0.00001, 0.0001, 0.0002)
    aggregator.enter_self_check(1, SelfCheck(5, 20, errors, errors))
    document = Summary(
        status=Status.FINISHED,
        engine="vllm",
        model="llama",
        host="http://gpu:8000",
        validity=Validity("valid"),
        accounting=RequestAccounting(61, 61, 61, complete=True),
        objectives=aggregator.objectives.bounds,
        objective_share=aggregator.objectives.share,
        capacity=(Capacity("off", "10", 10), Capacity("on", None, None)),
        levels=(summed_up(aggregator), summed_up(books([]))),
        workers=tuple(worker_summaries(aggregator)),
        events=(WorkerEvent(4.0, 1, "gpu-2_0a1b", WorkerEventKind.MISSING),),
    )
    assert [worker.worker for worker in document.workers] == [0, 1]
    assert_laid_out(json.loads(msgspec.json.encode(document)), SUMMARY)


def test_summary_csv_has_a_row_a_level_and_part_with_the_figures_of_summary_json(busy: Aggregator) -> None:
    level = summed_up(busy)
    rows = summary_rows([level])
    assert [(row["level_index"], row["level"], row["scope"], row["complete"]) for row in rows] == [
        (0, "10", "hold", True),
        (0, "10", "whole", True),
    ]
    for row, told in zip(rows, (level.hold, level.whole), strict=True):
        assert (row["seconds"], row["requests"], row["token_rate"]) == (told.seconds, told.requests, told.token_rate)
        assert (row["outcomes_ok"], row["outcomes_cut"]) == (told.outcomes["ok"], told.outcomes["cut"])
        assert (row["outcomes_timeout"], row["output_tokens_sources"], row["stamps"]) == (0, "usage", "kernel")
        assert told.goodput is not None
        assert row["goodput_fraction"] == told.goodput.fraction
        assert told.ttft_s.p95 is not None
        assert (row["ttft_s_p95"], row["ttft_s_p95_low"], row["ttft_s_p95_high"], row["ttft_s_p95_certified"]) == (
            *(told.ttft_s.p95.value, told.ttft_s.p95.low, None, False),
        )


def test_every_row_of_summary_csv_has_the_same_columns(busy: Aggregator, books: MakeBooks) -> None:
    nothing = level_summary(books([]).levels[0], 1.0, Objectives())
    assert len({tuple(row) for row in summary_rows([summed_up(busy), nothing])}) == 1


def test_every_figure_of_the_layout_is_in_a_row(busy: Aggregator) -> None:
    row = summary_rows([summed_up(busy)])[0]
    open_loop = {"lag_s", "ttft_scheduled_s", "e2e_scheduled_s"}  # in the rows of an open loop alone
    for name in (
        set(Figures.__struct_fields__) - open_loop - {"models", "hosts", "names"}
    ):  # which have rows of their own
        assert any(column == name or column.startswith(name + "_") for column in row), name


def level_of(
    users: int, met: bool | None, system_prompt: str, books: MakeBooks, a_level: Callable[..., Level]
) -> LevelSummary:
    aggregator = books([], level=a_level(users=users, system_prompt=system_prompt))
    return msgspec.structs.replace(summed_up(aggregator), meets_objectives=met)


@pytest.mark.parametrize(
    ("met", "largest"),
    [
        ({10: True, 50: True, 100: False}, 50),
        ({10: True, 50: True, 100: True}, 100),
        ({10: False, 50: False, 100: False}, None),
        ({10: True, 50: False, 100: True}, 10),  # the load did not decide what 50 users missed and 100 met
        ({100: False, 10: True, 50: True}, 50),  # levels may come in any order
    ],
)
def test_the_capacity_is_the_largest_level_up_to_which_all_meet_the_objectives(
    met: dict[int, bool], largest: int | None, books: MakeBooks, a_level: Callable[..., Level]
) -> None:
    levels = [level_of(users, of_level, "off", books, a_level) for users, of_level in met.items()]
    name = None if largest is None else str(largest)
    assert capacities(levels) == [Capacity("off", name, largest)]


def test_misses_that_come_together_make_the_interval_of_their_share_wider(
    books: MakeBooks, timeline: MakeTimeline
) -> None:
    late, good = [timeline((3.9,))] * 20, [timeline((3.1,))] * 80
    apart = [each for place in range(20) for each in (late[place], *good[4 * place : 4 * place + 4])]
    widths = []
    for requests in (apart, [*good, *late]):
        goodput = summed_up(books(requests, slo="ttft=200ms")).hold.goodput
        assert goodput is not None
        assert goodput.fraction == 0.8
        assert goodput.fraction_low is not None
        assert goodput.fraction_high is not None
        widths.append(goodput.fraction_high - goodput.fraction_low)
    assert widths[0] == pytest.approx(0.1556, abs=0.001)  # Wilson's, of 80 of 100
    assert widths[1] > 2 * widths[0]


def test_latencies_that_come_together_make_the_interval_of_a_percentile_wider(
    books: MakeBooks, timeline: MakeTimeline
) -> None:
    """200 requests of increasing latencies, and the same out of order."""
    rising = [timeline((3.1 + number / 1000,)) for number in range(200)]
    mixed = [rising[77 * number % 200] for number in range(200)]
    in_order, out_of_order = (summed_up(books(requests)).hold.ttft_s.p95 for requests in (rising, mixed))
    assert in_order is not None
    assert out_of_order is not None
    assert in_order.value == out_of_order.value
    assert (in_order.certified, out_of_order.certified) == (False, True)


def test_each_system_prompt_mode_has_its_own_capacity(books: MakeBooks, a_level: Callable[..., Level]) -> None:
    levels = [level_of(10, True, "off", books, a_level), level_of(10, False, "on", books, a_level)]
    assert capacities(levels) == [Capacity("off", "10", 10), Capacity("on", None, None)]
    assert capacities([level_of(10, None, "off", books, a_level)]) == []


@pytest.mark.parametrize(("late", "met"), [(5, True), (6, False)])
def test_a_level_meets_its_objectives_with_95_of_a_hundred_requests(
    late: int, met: bool, books: MakeBooks, timeline: MakeTimeline
) -> None:
    """Failures are no good requests: the last of the late ones is one."""
    slow = [timeline((3.9,))] * (late - 1) + [timeline((), outcome=Outcome.TIMEOUT)]
    requests = [timeline((3.1,))] * (100 - late)
    for place, each in enumerate(slow):
        requests.insert(15 * place, each)
    aggregator = books(requests, slo="ttft=200ms")
    level = summed_up(aggregator)
    assert level.meets_objectives is met
    assert level.hold.goodput is not None
    assert level.hold.goodput.fraction == (100 - late) / 100
    low, high = level.hold.goodput.fraction_low, level.hold.goodput.fraction_high
    assert low is not None
    assert high is not None
    assert 0.85 < low < (100 - late) / 100 < high < 0.99
    aggregator.levels[0].ended_s = 11.0
    assert summed_up(aggregator).meets_objectives is False  # cut short
