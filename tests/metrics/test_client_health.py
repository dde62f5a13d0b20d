"""The loop's lag and the use of a core, from clocks read by hand."""

from __future__ import annotations

import pytest

from tokenswarm.metrics.client_health import LAG_SLEEP_S, CoreUse, HealthMeter
from tokenswarm.metrics.histogram import Histogram
from tokenswarm.metrics.level import Phase

MS = 1_000_000
HOLD = (0, Phase.HOLD)
SLEEP_NS = round(LAG_SLEEP_S * 1e9)


@pytest.fixture
def meter() -> HealthMeter:
    meter = HealthMeter()
    meter.start(1000 * MS, 400 * MS)
    return meter


def values_ms(histogram: Histogram) -> list[float]:
    return [round(histogram.value_at_rank(rank) * 1000, 2) for rank in range(1, histogram.count + 1)]


def test_a_sleep_that_ends_in_time_is_no_lag(meter: HealthMeter) -> None:
    meter.woke(HOLD, due_ns=1020 * MS, now_ns=1020 * MS, cpu_ns=401 * MS)
    assert values_ms(meter.take().loop_lag[HOLD]) == [0.0]


def test_a_stuck_loop_is_as_late_as_whatever_would_have_come_while_it_was_stuck(meter: HealthMeter) -> None:
    """Stuck for 100 ms: sleeps due after 0, 20, 40, … ms of it are 100, 80, 60, … ms late."""
    meter.woke(HOLD, due_ns=1020 * MS, now_ns=1120 * MS, cpu_ns=500 * MS)
    assert values_ms(meter.take().loop_lag[HOLD]) == pytest.approx([0, 20, 40, 60, 80, 100], rel=0.001)


def test_half_of_the_time_stuck_is_half_of_the_events_late(meter: HealthMeter) -> None:
    now_ns = 1000 * MS
    for _ in range(50):  # 400 ms stuck, then as long free
        now_ns += SLEEP_NS + 400 * MS
        meter.woke(HOLD, now_ns - 400 * MS, now_ns, 0)
        for _ in range(20):
            now_ns += SLEEP_NS
            meter.woke(HOLD, now_ns, now_ns, 0)
    lag = meter.take().loop_lag[HOLD]
    late = lag.count - lag.counts_at_or_below([0.001])[0]
    assert late / lag.count == pytest.approx(0.5, abs=0.03)
    assert lag.value_at_rank(round(0.75 * lag.count)) == pytest.approx(0.2, abs=0.02)


def test_the_use_of_the_core_is_cpu_time_over_the_time_that_it_was_taken_in(meter: HealthMeter) -> None:
    meter.woke(HOLD, 1020 * MS, 1020 * MS, 405 * MS)
    meter.woke(HOLD, 1040 * MS, 1100 * MS, 475 * MS)
    use = meter.take().core_use[HOLD]
    assert use == pytest.approx(CoreUse(cpu_s=0.075, wall_s=0.1))
    assert use.utilization == pytest.approx(0.75)


def test_each_place_has_its_own_and_each_report_what_is_new(meter: HealthMeter) -> None:
    meter.woke((0, Phase.DRAIN), 1020 * MS, 1020 * MS, 400 * MS)
    meter.woke((1, Phase.RAMP), 1040 * MS, 1040 * MS, 420 * MS)
    health = meter.take()
    assert [use.utilization for use in health.core_use.values()] == [0.0, pytest.approx(1.0)]
    assert [lag.count for lag in health.loop_lag.values()] == [1, 1]
    assert not meter.take().core_use


def test_no_time_is_no_use() -> None:
    assert CoreUse().utilization is None
