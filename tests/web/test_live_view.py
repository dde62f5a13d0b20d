"""What a page receives with each of its polls."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from tests.run_fixtures import make_report, make_timeline
from tokenswarm.metrics.client_health import CoreUse, WorkerHealth
from tokenswarm.metrics.level import Arrivals, Level, Phase
from tokenswarm.metrics.objectives import Objectives
from tokenswarm.metrics.timeline import Outcome
from tokenswarm.recording.aggregator import Aggregator
from tokenswarm.recording.live_series import LiveSeries
from tokenswarm.recording.open_loop import open_loop_figures
from tokenswarm.recording.prometheus import LiveRun
from tokenswarm.recording.recorder import Recorder
from tokenswarm.recording.reported_counts import ReportedTotals
from tokenswarm.recording.worker_stats import WorkerStats
from tokenswarm.run_folder.schema import RunFacts, Status
from tokenswarm.web.live_view import LiveView, OpenLoopRow, level_row, progress

PLAN = [Level(0, "off", "10", 10, 2.0, 12.0), Level(1, "off", "50", 50, 2.0, 12.0)]


@pytest.fixture
def live(tmp_path: Path) -> LiveRun:
    run = LiveRun()
    run.aggregator = Aggregator(Objectives())
    run.aggregator.begin_level(PLAN[0], 0.0)
    run.facts = RunFacts("http://gpu", "vllm", "llama", "ladder", PLAN, {"prompts": "sample"}, {})
    run.folder = tmp_path / "20260701-a"
    run.now_s = lambda: 7.0
    return run


def test_before_any_run_there_is_none() -> None:
    assert LiveView(LiveRun()).document("", 0)["run"] is None


def test_a_page_that_knows_another_run_receives_all(live: LiveRun) -> None:
    view = LiveView(live, lambda: 0.0)
    first = view.document("", 0)
    assert [point[0] for point in first["points"]] == [0, 1]
    assert view.document("20260701-a", first["revision"])["points"] == []
    assert len(view.document("20260630-z", first["revision"])["points"]) == 2
    msgspec.json.encode(first)


def test_the_page_has_the_length_of_the_system_prompt_where_a_level_sends_one(live: LiveRun) -> None:
    counted = {"system_prompt_tokens": 1281, "system_prompt_counting": "tokenizer llama"}
    assert live.facts is not None
    live.facts = replace(live.facts, prompts=counted)
    assert LiveView(live, lambda: 0.0).document("", 0)["facts"]["system_prompt"] == ""
    live.facts = replace(live.facts, plan=[*PLAN, Level(2, "on", "10", 10, 2.0, 12.0)])
    found = LiveView(live, lambda: 0.0).document("", 0)["facts"]["system_prompt"]
    assert all(words in found for words in ("1,281", "tokenizer llama"))


def test_levels_are_over_running_or_planned(live: LiveRun) -> None:
    assert live.aggregator is not None
    view = LiveView(live, lambda: 0.0)
    assert [row.state for row in view.document("", 0)["levels"]] == ["running", "planned"]
    live.aggregator.begin_level(PLAN[1], 15.0)
    assert [row.state for row in view.document("", 0)["levels"]] == ["over", "running"]


@pytest.mark.parametrize(
    ("now_s", "phase", "phase_left_s", "left_s", "share"),
    [(1.0, "ramp", 1.0, 23.0, 1 / 24), (5.0, "hold", 7.0, 19.0, 5 / 24), (14.0, "drain", None, 12.0, 0.5)],
)
def test_where_the_plan_stands(
    live: LiveRun, now_s: float, phase: str, phase_left_s: float | None, left_s: float, share: float
) -> None:
    assert live.aggregator is not None
    shown = progress(PLAN, live.aggregator, now_s)
    assert (shown.index, shown.phase, shown.phase_left_s, shown.left_s) == (0, phase, phase_left_s, left_s)
    assert shown.share == pytest.approx(share)


def test_a_level_has_a_row_for_each_name_of_its_requests() -> None:
    level = PLAN[0]
    aggregator = Aggregator(Objectives())
    aggregator.begin_level(level, 0.0)
    named = [make_timeline(name="short"), make_timeline((), outcome=Outcome.TIMEOUT, name="long")]
    aggregator.apply(make_report(named, [level]))
    short, long = reversed(level_row(aggregator.levels[0], aggregator, LiveSeries(), 6.0).names)
    assert (short.name, short.requests, short.failures) == ("short", 1, 0)
    assert short.ttft_p50_s == pytest.approx(0.1, rel=1e-3)
    assert (long.name, long.requests, long.failures, long.ttft_p50_s) == ("long", 1, 1, None)


def test_an_open_end_has_no_time_left() -> None:
    aggregator = Aggregator(Objectives())
    endless = Level(0, "off", "10", 10, 2.0, None)
    aggregator.begin_level(endless, 0.0)
    shown = progress([endless], aggregator, 5.0)
    assert (shown.left_s, shown.share, shown.phase) == (None, None, "hold")
    assert not shown.ends_with_requests


@pytest.mark.parametrize(("level_time_s", "left_s"), [(None, None), (60.0, 55.0)])
def test_a_level_that_its_requests_end_is_not_shown_as_one_that_runs_until_it_is_stopped(
    level_time_s: float | None, left_s: float | None
) -> None:
    aggregator = Aggregator(Objectives())
    level = Level(0, "off", "10", 10, 2.0, level_time_s, requests=40)
    aggregator.begin_level(level, 0.0)
    shown = progress([level], aggregator, 5.0)
    assert (shown.ends_with_requests, shown.left_s) == (True, left_s)


def test_the_tile_of_tokens_and_the_workers_rates_are_those_of_the_seconds_that_were_reported(live: LiveRun) -> None:
    """280 tokens/s at each moment of a window: neither its unfinished last second nor one late report changes that."""
    assert live.aggregator is not None
    view = LiveView(live, lambda: float("inf"))
    live.aggregator.workers[0] = WorkerStats()
    for tenth in range(1, 65):
        live.series.enter_report(0, ReportedTotals(28 * tenth, 0, 0), tenth / 10)
        live.now_s = lambda tenth=tenth: tenth / 10  # type: ignore[misc]
        shown = view.document("", 0)
        assert shown["totals"]["tokens_per_s"] == pytest.approx(280.0)
        assert [row.tokens_per_s for row in shown["workers"]] == [pytest.approx(280.0)]
    live.status = Status.FINISHED
    over = view.document("", 0)
    assert over["totals"]["tokens_per_s"] is None  # the page then shows the last level's
    assert [row.tokens_per_s for row in over["workers"]] == [None]


def test_a_worker_that_is_idle_after_the_run_has_the_core_use_of_the_whole_run(live: LiveRun) -> None:
    assert live.aggregator is not None
    view = LiveView(live, lambda: float("inf"))
    live.aggregator.workers[0] = worker = WorkerStats()
    for use in (CoreUse(6.0, 8.0), CoreUse(0.2, 2.0)):
        worker.add_health(WorkerHealth(core_use={(0, Phase.HOLD): use}))
    assert [row.cpu_utilization for row in view.document("", 0)["workers"]] == [pytest.approx(0.1)]
    live.status = Status.FINISHED
    assert [row.cpu_utilization for row in view.document("", 0)["workers"]] == [pytest.approx(0.62)]


def open_level() -> Level:
    """Four requests a second for ten seconds."""
    return Level(0, "off", "4/s", level_time_s=10.0, arrivals=Arrivals("constant", ((0.0, 4.0),), 4.0))


def test_a_running_level_of_an_open_loop_has_the_rates_that_were_reported() -> None:
    aggregator, series = Aggregator(Objectives()), LiveSeries()
    aggregator.begin_level(open_level(), 0.0)
    assert level_row(aggregator.levels[0], aggregator, series, 1.0).open_loop == OpenLoopRow()
    series.enter_report(0, ReportedTotals(0, 0, 0), 1.5)  # when the level begins
    for second in range(2, 6):
        lasted_s = second - 1.5
        series.enter_report(0, ReportedTotals(0, 3 * lasted_s, 2 * lasted_s), float(second))
    row = level_row(aggregator.levels[0], aggregator, series, 6.0)
    assert (row.label, row.users) == ("4 requests/s", 0)
    assert row.open_loop == OpenLoopRow(offered_rate=4.0, sent_rate=3.0, completed_rate=2.0)


def test_a_level_of_an_open_loop_that_is_over_has_the_figures_of_its_summary() -> None:
    level = open_level()
    aggregator, recorder = Aggregator(Objectives()), Recorder(0)
    aggregator.begin_level(level, -level.lead_s)
    recorder.begin_level(level, 0, 0)
    for number in range(40):
        sent_s = number / 4 + 0.01
        recorder.record(
            make_timeline((sent_s + 0.1, sent_s + 0.5), sent_s=sent_s, scheduled_ns=round(number / 4 * 1e9))
        )
    for report in recorder.take_reports():
        aggregator.apply(report)
    aggregator.close(11.0)
    found = level_row(aggregator.levels[0], aggregator, LiveSeries(), 11.0).open_loop
    figures = open_loop_figures(aggregator.levels[0], 11.0)
    assert found is not None and figures is not None
    names = ("offered_rate", "sent_rate", "completed_rate", "in_flight_mean", "unstable")
    assert [getattr(found, name) for name in names] == [getattr(figures, name) for name in names]
    assert (found.offered_rate, found.sent_rate) == (4.0, 4.0)
    assert (found.lag_p99_s, found.ttft_scheduled_p99_s) == pytest.approx((0.01, 0.11), rel=1e-3)


def test_counts_of_the_run_are_as_old_as_the_tables_beside_them(live: LiveRun) -> None:
    assert live.aggregator is not None
    clock_s = 0.0
    view = LiveView(live, lambda: clock_s)
    live.aggregator.workers[0] = worker = WorkerStats()
    for clock_s, shown in ((0.0, 20), (2.0, 20), (6.0, 60)):
        worker.ended = live.aggregator.recorded = 20 + round(clock_s / 6 * 40)
        document = view.document("", 0)
        assert (document["totals"]["requests"], document["workers"][0].requests) == (shown, shown)


def test_the_verdict_of_a_run_that_is_over_is_the_last_one(live: LiveRun) -> None:
    """While a run goes on its verdict may be some seconds old: what its last report brought counts when it is over."""
    assert live.aggregator is not None
    view = LiveView(live, lambda: 0.0)
    assert view.document("", 0)["validity"].verdict == "valid"
    recorder = Recorder(0)
    recorder.begin_level(PLAN[0], 0, 0)
    recorder.record(make_timeline(outcome=Outcome.CLIENT_LIMIT))
    live.aggregator.apply(recorder.take_report())
    live.status = Status.INTERRUPTED
    shown = view.document("", 0)["validity"]
    assert (shown.verdict, [issue.kind for issue in shown.issues]) == ("suspect", ["client_limit"])
