"""When requests are due: the same times in every process, each of them sent by one worker."""

from __future__ import annotations

import tracemalloc
from math import inf, sqrt

import numpy as np
import pytest

from tokenswarm.shapes.arrival_process import ArrivalProcess, Constant, Gamma, Poisson, Weibull
from tokenswarm.shapes.arrival_schedule import (
    ArrivalCount,
    DueArrival,
    DueTimes,
    GeneratedSchedule,
    RecordedSchedule,
    arrivals,
)
from tokenswarm.shapes.rate_schedule import RatePoint, RateSchedule
from tokenswarm.shapes.splits import Splits
from tokenswarm.shapes.worker_arrivals import WorkerArrivals

RAMPS = RateSchedule((RatePoint(0, 5), RatePoint(60, 20), RatePoint(120, 5)))


def test_a_constant_rate_has_as_many_arrivals_as_its_time_says() -> None:
    found = list(arrivals(GeneratedSchedule(Constant(), RateSchedule.constant(100), seed=1, duration_s=60)))
    assert len(found) == 6000
    assert found[:3] == [DueArrival(0, 0.0), DueArrival(1, 0.01), DueArrival(2, 0.02)]
    assert found[-1].due_s < 60


@pytest.mark.parametrize(("process", "variance"), [(Poisson(), 1.0), (Gamma(0.5), 2.0), (Weibull(0.6), 3.1)])
def test_a_ramp_has_the_rate_of_each_of_its_moments(process: ArrivalProcess, variance: float) -> None:
    """variance: of the gaps at a rate of 1, which is that of the counts to their mean."""
    counts = sum(
        np.histogram([due_s for _, due_s in arrivals(GeneratedSchedule(process, RAMPS, seed, 180))], 6, (0, 180))[0]
        for seed in range(60)
    )
    for n, count in enumerate(counts):
        expected = 60 * (RAMPS.expected(30.0 * n + 30) - RAMPS.expected(30.0 * n))
        assert count == pytest.approx(expected, abs=4 * sqrt(variance * expected))


@pytest.mark.parametrize(
    ("most", "duration_s", "number"), [(5, inf, 5), (50_000, 10.0, 1000), (0, 1.0, 0), (100, 1.0, 100)]
)
def test_a_schedule_ends_with_its_time_or_its_number(most: int, duration_s: float, number: int) -> None:
    schedule = GeneratedSchedule(Constant(), RateSchedule.constant(100), 1, duration_s, most)
    assert len(list(arrivals(schedule))) == number


def test_an_infinite_rate_has_all_its_arrivals_at_once() -> None:
    schedule = GeneratedSchedule(Poisson(), RateSchedule.constant(inf), 1, 60, most=500)
    assert [due_s for _, due_s in arrivals(schedule)] == [0.0] * 500


def test_recorded_times_are_due_as_they_were() -> None:
    schedule = RecordedSchedule(np.array([0.5, 0.5, 2.0, 9.0]), duration_s=9.0)
    assert list(arrivals(schedule)) == [DueArrival(0, 0.5), DueArrival(1, 0.5), DueArrival(2, 2.0)]


@pytest.mark.parametrize("most", [None, 7000])
def test_arrivals_before_a_time_are_counted(most: int | None) -> None:
    schedule = GeneratedSchedule(Poisson(), RateSchedule.constant(100), 3, 90.0, most)
    due_s = np.array([arrival.due_s for arrival in arrivals(schedule)])
    count = ArrivalCount(schedule)
    for time_s in (0.0, 0.1, 0.1, 40.9, float(due_s[5000]), 89.0, 1000.0):
        assert count.before(time_s) == (due_s < time_s).sum()


def test_times_are_found_by_number_and_forgotten() -> None:
    schedule = GeneratedSchedule(Poisson(), RateSchedule.constant(100), 3, most=20_000)
    due_s = [arrival.due_s for arrival in arrivals(schedule)]
    times = DueTimes(schedule)
    for forgotten, number in ((0, 0), (4_000, 9_000), (4_000, 4_096), (4_095, 4_095), (4_096, 4_096), (9_000, 19_999)):
        times.forget(forgotten)
        assert times.due_s(number) == due_s[number]
    assert times.due_s(20_000) is None


def test_a_worker_that_joins_late_passes_over_millions_of_arrivals_at_once() -> None:
    schedule = GeneratedSchedule(Poisson(), RateSchedule.constant(1000), seed=1, most=5_000_000)
    tracemalloc.start()
    joined = WorkerArrivals(schedule, 1)
    joined.splits = Splits.among([0]).followed_by(4_000_001, [0, 1])
    found = joined.peek()
    joined.take()
    following = joined.peek()
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found is not None and following is not None
    assert (found.number, following.number) == (4_000_001, 4_000_003)
    assert peak_bytes < 2_000_000


def test_two_million_arrivals_need_no_memory() -> None:
    schedule = GeneratedSchedule(Poisson(), RAMPS, seed=1, most=2_000_000)
    tracemalloc.start()
    number = sum(len(times) for times in schedule.blocks())
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert number == 2_000_000
    assert peak_bytes < 2_000_000
