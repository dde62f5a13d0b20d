"""Rates over time, and the exact time of each expected arrival."""

from __future__ import annotations

from math import inf, sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenswarm.shapes.rate_schedule import RatePoint, RateSchedule


def schedule_of(*points: tuple[float, float]) -> RateSchedule:
    return RateSchedule(tuple(RatePoint(*point) for point in points))


def times_of(schedule: RateSchedule, *expected: float) -> list[float]:
    found: list[float] = schedule.times_of(np.array(expected)).tolist()
    return found


def test_a_constant_rate_divides() -> None:
    assert times_of(RateSchedule.constant(4), 0, 1, 10) == [0, 0.25, 2.5]


def test_an_infinite_rate_is_all_at_once() -> None:
    assert times_of(RateSchedule.constant(inf), 0, 1, 1e6) == [0, 0, 0]


@pytest.mark.parametrize(("rate", "span_s"), [(20.0, 60.0), (0.5, 3600.0), (5000.0, 1.0)])
def test_the_nth_arrival_of_a_ramp_from_zero_is_at_the_root(rate: float, span_s: float) -> None:
    """sqrt(2·n·D/R) within D; the last rate holds behind."""
    ramp = schedule_of((0, 0), (span_s, rate))
    total = rate * span_s / 2
    for n in (0, 1, 7, total / 2, total):
        assert times_of(ramp, n) == [pytest.approx(sqrt(2 * n * span_s / rate), rel=1e-14)]
    assert times_of(ramp, total + rate) == [pytest.approx(span_s + 1)]


def test_a_ramp_down_is_the_mirror_of_a_ramp_up() -> None:
    up, down = schedule_of((0, 0), (10, 8)), schedule_of((0, 8), (10, 0))
    assert [10 - time_s for time_s in times_of(down, 39, 20, 1)] == pytest.approx(times_of(up, 1, 20, 39), rel=1e-9)


def test_behind_a_rate_of_zero_that_stays_nothing_arrives() -> None:
    assert times_of(schedule_of((0, 8), (10, 0)), 39.9, 40, 41)[1:] == [inf, inf]


def test_a_pause_has_no_arrival_and_what_is_due_comes_behind_it() -> None:
    pause = schedule_of((0, 2), (5, 2), (5, 0), (9, 0), (9, 4))
    assert times_of(pause, 9.5, 10, 11) == [4.75, 9, 9.25]
    assert [pause.expected(time_s) for time_s in (5, 7, 9, 10)] == [10, 10, 10, 14]


def test_a_jump_changes_the_rate_at_once() -> None:
    jump = schedule_of((0, 1), (10, 1), (10, 100))
    assert times_of(jump, 9, 10, 110) == [9, 10, 11]


@st.composite
def schedules(draw: st.DrawFn) -> RateSchedule:
    spans = draw(st.lists(st.floats(0.01, 1000), max_size=6))
    rates = draw(st.lists(st.floats(0, 1000), min_size=len(spans) + 1, max_size=len(spans) + 1))
    rates[-1] = max(rates[-1], 0.5)
    return schedule_of(*zip(np.cumsum([0.0, *spans]).tolist(), rates, strict=True))


def integral(schedule: RateSchedule, time_s: float) -> float:
    """Of the rate up to this time, by the midpoint rule, which is exact for straight pieces."""
    times = [point.time_s for point in schedule.points]
    rates = [point.rate for point in schedule.points]
    edges = np.unique(np.clip([*times, *np.linspace(0, time_s, 200), time_s], 0, time_s))
    middles = (edges[1:] + edges[:-1]) / 2
    return float((np.interp(middles, times, rates) * np.diff(edges)).sum())


@given(schedules(), st.floats(0, 1))
def test_arrivals_are_due_where_the_integral_of_the_rate_has_reached_them(schedule: RateSchedule, share: float) -> None:
    end_s = schedule.points[-1].time_s * 1.5 + 10
    expected = share * integral(schedule, end_s)
    (time_s,) = times_of(schedule, expected)
    assert integral(schedule, time_s) == pytest.approx(expected, rel=1e-9, abs=1e-9)
    assert schedule.expected(time_s) == pytest.approx(expected, rel=1e-9, abs=1e-9)


@given(schedules())
def test_later_arrivals_are_due_later(schedule: RateSchedule) -> None:
    total = schedule.expected(schedule.points[-1].time_s)
    knots = [schedule.expected(point.time_s) for point in schedule.points]
    expected = np.sort(np.concatenate([np.linspace(0, total + 10, 500), knots]))
    assert (np.diff(schedule.times_of(expected)) >= 0).all()
