"""The meter's arithmetic."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tokenswarm.metrics.level import Arrivals, Level, planned_length_s
from tokenswarm.metrics.objectives import Objectives
from tokenswarm.metrics.timeline import Outcome, Timeline
from tokenswarm.recording.aggregator import Aggregator
from tokenswarm.recording.live_series import RequestRates
from tokenswarm.recording.progress import Progress, ProgressMeter, TimeLeft
from tokenswarm.recording.recorder import Recorder
from tokenswarm.reports.progress_line import progress_bar, progress_line

S = 1_000_000_000


class Bench:
    """A aggregator, the recorder that feeds it and a meter that reads it; the level begins 10 s into the run."""

    def __init__(self, stage: Level) -> None:
        self.aggregator = Aggregator(Objectives())
        self.recorder = Recorder(worker=0)
        self.meter = ProgressMeter([Level(index, "on", str(index + 1), level_time_s=100.0) for index in range(3)])
        self.aggregator.begin_level(stage, 10.0)
        self.recorder.begin_level(stage, 0, 10 * S)

    def read(self, now_s: float) -> Progress:
        self.aggregator.apply(self.recorder.take_report())
        progress = self.meter.read(self.aggregator, 6, now_s)
        assert progress is not None
        return progress


@pytest.fixture
def bench(a_level: Callable[..., Level]) -> Bench:
    return Bench(a_level(1, users=50, system_prompt="on", level_time_s=100.0))


def test_there_is_no_progress_while_no_level_runs() -> None:
    assert ProgressMeter([Level(0, "off", "1")]).read(Aggregator(Objectives()), 0, 1.0) is None


def test_a_level_that_ended_before_its_open_end_leaves_nothing() -> None:
    """A locustfile's shape ended it."""
    plan = [Level(0, "off", "shape", own_shape=True)]
    aggregator, meter = Aggregator(Objectives()), ProgressMeter(plan)
    aggregator.begin_level(plan[0], 0.0)
    open_ended = meter.read(aggregator, 2, 3.0)
    aggregator.levels[0].level = Level(0, "off", "shape", own_shape=True, level_time_s=4.0)
    progress = meter.read(aggregator, 0, 8.0)
    assert open_ended is not None and open_ended.left is None
    assert progress is not None and progress.left == TimeLeft(0.0, 1.0)


def test_progress_says_where_the_run_stands(bench: Bench) -> None:
    bench.recorder.in_flight = 4
    progress = bench.read(11.0)
    assert progress == Progress(
        elapsed_s=11.0,
        level_number=2,
        levels=3,
        users=6,
        users_target=50,
        system_prompt="on",
        phase="ramp",
        tokens_per_s=None,
        request_rates=RequestRates(None, 4.0, 0.0),
        ttft_p50_s=None,
        in_flight=4,
        failures=0,
        left=TimeLeft(99.0 + 2 * 100.0, pytest.approx(1 - 299 / 300)),
    )
    assert [bench.read(now_s).phase for now_s in (12.0, 109.9, 110.0)] == ["hold", "hold", "drain"]


@pytest.mark.parametrize("arrivals", [None, Arrivals("constant", ((0.0, 2.0),), 2.0)])
def test_the_time_left_begins_with_the_length_of_the_plan(arrivals: Arrivals | None) -> None:
    """Pauses after levels, of which a warm-up has none, and leads of an open loop: both say how long the run takes."""
    plan = [
        Level(index, "off", str(index), level_time_s=20.0, arrivals=arrivals, warm_up=not index) for index in range(3)
    ]
    aggregator, meter = Aggregator(Objectives()), ProgressMeter(plan)
    aggregator.settle_s = 5.0
    aggregator.begin_level(plan[0], 0.0)
    progress = meter.read(aggregator, 1, 0.0)
    assert progress is not None
    assert progress.left == TimeLeft(planned_length_s(plan, 5.0), 0.0)


def test_the_pause_after_a_level_passes_when_its_last_stream_has_ended(
    timeline: Callable[..., Timeline], a_level: Callable[..., Level]
) -> None:
    """The level ends 110 s into the run, the stream at 113 s; two levels of 100 s are ahead."""
    bench = Bench(a_level(1, users=50, system_prompt="on", level_time_s=100.0))
    bench.aggregator.settle_s = 5.0
    bench.recorder.in_flight = 1
    assert [_left_s(bench, now_s) for now_s in (100.0, 111.0)] == [10 + 5 + 210, 5 + 210]
    bench.recorder.in_flight = 0
    bench.recorder.record(timeline((112.0, 113.0), sent_s=109.0, level_index=1))
    assert [_left_s(bench, now_s) for now_s in (113.0, 115.0, 130.0)] == [5 + 210, 3 + 210, 210]


def _left_s(bench: Bench, now_s: float) -> float:
    left = bench.read(now_s).left
    assert left is not None
    return left.seconds


def test_a_run_that_was_stopped_has_no_time_left(bench: Bench) -> None:
    bench.aggregator.stop(40.0, interrupted=True)
    progress = bench.read(41.0)
    assert (progress.phase, progress.left) == ("drain", None)


def test_a_level_of_an_own_shape_shows_its_users(a_level: Callable[..., Level]) -> None:
    progress = Bench(a_level(1, users=0, own_shape=True)).read(12.0)
    assert progress.counts_users
    assert "hold: 6 users" in progress_line(progress)
    assert "req/s" not in progress_line(progress)
    assert "6 users" in progress_bar(progress, 120)


def test_a_warm_up_has_the_number_of_its_level_and_is_none_itself() -> None:
    plan = [Level(index, "off", str(index // 2 + 1), 1, warm_up=index % 2 == 0, level_time_s=5.0) for index in range(4)]
    aggregator, meter = Aggregator(Objectives()), ProgressMeter(plan)
    shown = []
    for level in plan:
        aggregator.begin_level(level, 10.0 * level.index)
        progress = meter.read(aggregator, 1, 10.0 * level.index + 1.0)
        assert progress is not None
        shown.append((progress.level_number, progress.levels, progress.phase))
    assert shown == [(1, 2, "warm-up"), (1, 2, "hold"), (2, 2, "warm-up"), (2, 2, "hold")]
    assert "level 2/2" in progress_line(progress)


def test_the_rate_is_of_the_events_since_the_last_progress(bench: Bench) -> None:
    bench.recorder.saw_output(100)
    assert bench.read(15.0).tokens_per_s == 20.0  # since the level began, at 10 s
    bench.recorder.saw_output(300)
    assert bench.read(20.0).tokens_per_s == 60.0
    assert bench.read(25.0).tokens_per_s is None


def test_request_rates_are_of_the_time_since_the_last_progress(timeline: Callable[..., Timeline]) -> None:
    """Two requests a second are due from the level's beginning at 11.5 s on, to 14.5 s."""
    arrivals = Arrivals("constant", ((0.0, 2.0),), 2.0)
    bench = Bench(Level(0, "off", "2/s", level_time_s=3.0, arrivals=arrivals))
    assert bench.read(11.5).request_rates is None
    bench.recorder.record(timeline((12.1,), sent_s=12.0))
    bench.recorder.record(timeline((), sent_s=12.0, outcome=Outcome.REFUSED))
    bench.recorder.in_flight = 2
    assert bench.read(13.5).request_rates == RequestRates(2.0, 2.0, 0.5)
    bench.recorder.in_flight = 0
    for _ in range(2):
        bench.recorder.record(timeline((14.0,), sent_s=13.0))
    bench.aggregator.begin_level(Level(1, "off", "1/s", level_time_s=3.0, arrivals=arrivals), 15.0)
    assert bench.read(17.5).request_rates == RequestRates((2 + 2) / 4.0, 0.0, 0.5)


def test_an_event_counts_for_as_many_tokens_as_events_held_so_far(
    bench: Bench, timeline: Callable[..., Timeline]
) -> None:
    """One answer of 20 tokens in 4 events has ended; of the running ones only the events are known."""
    bench.recorder.record(timeline((13.1, 13.2, 13.3, 13.4), sent_s=13.0, tokens=20, level_index=1))
    bench.recorder.saw_output(4)
    bench.read(15.0)
    bench.recorder.saw_output(40)
    assert bench.read(20.0).tokens_per_s == 40 * 5 / 5.0


def test_the_median_ttft_is_of_requests_of_the_last_half_minute(
    bench: Bench, timeline: Callable[..., Timeline]
) -> None:
    for ttft_s in (0.1, 0.2, 0.4):
        bench.recorder.record(timeline((13.0 + ttft_s,), sent_s=13.0, level_index=1))
    assert bench.read(15.0).ttft_p50_s == 0.2
    bench.recorder.record(timeline((39.0,), sent_s=38.0, level_index=1))
    assert bench.read(38.9).ttft_p50_s == 0.2  # of four, the second
    assert bench.read(41.0).ttft_p50_s == 1.0  # the first window lies 30 s back
    assert bench.read(80.0).ttft_p50_s is None


def test_failures_are_since_the_run_began(bench: Bench, timeline: Callable[..., Timeline]) -> None:
    bench.recorder.record(timeline((), sent_s=13.0, outcome=Outcome.REFUSED, level_index=1))
    bench.recorder.record(timeline((13.5,), sent_s=13.0, outcome=Outcome.CUT, level_index=1))
    assert [bench.read(now_s).failures for now_s in (15.0, 90.0)] == [1, 1]
