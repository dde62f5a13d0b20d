"""Numbers become text in one way."""

from __future__ import annotations

from datetime import datetime

import pytest

from tokenswarm.metrics.quantiles import Quantile
from tokenswarm.reports import units


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "–"),
        (float("nan"), "–"),
        (float("inf"), "–"),
        (0.0, "0 ms"),
        (0.0000123, "0.012 ms"),
        (0.000987, "0.987 ms"),
        (0.00123, "1.23 ms"),
        (0.009996, "10.0 ms"),
        (0.01234, "12.3 ms"),
        (0.09996, "100 ms"),
        (0.2534, "253 ms"),
        (0.9994, "999 ms"),
        (0.9996, "1.00 s"),
        (1.2449, "1.24 s"),
        (12.44, "12.4 s"),
        (99.96, "100 s"),
        (4321.0, "4,321 s"),
        (-0.0021, "-2.10 ms"),
    ],
)
def test_a_duration_has_three_digits_and_the_unit_that_suits_it(seconds: float | None, text: str) -> None:
    assert units.duration(seconds) == text


@pytest.mark.parametrize(
    ("per_s", "text"),
    [
        (None, "–"),
        (float("nan"), "–"),
        (0.0, "0"),
        (0.05, "0.050"),
        (0.9996, "1.00"),
        (2.431, "2.43"),
        (24.31, "24.3"),
        (243.1, "243"),
        (2431.4, "2,431"),
        (123456.7, "123,457"),
    ],
)
def test_a_rate_has_three_digits_or_all_before_the_point(per_s: float | None, text: str) -> None:
    assert units.rate(per_s) == text


@pytest.mark.parametrize(
    ("fraction", "text"),
    [
        (None, "–"),
        (0.0, "0 %"),
        (0.00001, "0.1 %"),
        (0.982, "98.2 %"),
        (0.99999, "99.9 %"),
        (1.0, "100 %"),
        (1.5, "150.0 %"),
    ],
)
def test_a_percentage_says_all_or_nothing_only_where_it_is(fraction: float | None, text: str) -> None:
    assert units.percentage(fraction) == text


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [
        (2410.0, 2460.0, "2,410–2,460"),
        (0.0, 90.3, "≤ 90.3"),
        (41.2, None, "≥ 41.2"),
        (None, None, "–"),
        (0.0, None, "–"),
    ],
)
def test_an_end_of_a_rate_s_interval_that_is_not_known_is_left_open(
    low: float | None, high: float | None, text: str
) -> None:
    assert units.rate_interval(low, high) == text


@pytest.mark.parametrize(
    ("figure", "text"),
    [
        (None, "–"),
        (Quantile(0.25, 0.24, 0.27, True), "240–270 ms"),
        (Quantile(1.0, 0.99, 1.02, True), "990 ms–1.02 s"),
        (Quantile(0.25, 0.24, None, False), "≥ 240 ms"),
        (Quantile(0.25, 0.0, 0.27, True), "≤ 270 ms"),
        (Quantile(0.25, 0.0, None, False), "–"),
    ],
)
def test_an_interval_names_a_shared_unit_once_and_an_open_end_as_open(figure: Quantile | None, text: str) -> None:
    assert units.interval(figure) == text


def test_only_a_percentile_that_is_not_certified_is_marked() -> None:
    assert units.quantile(Quantile(0.25, 0.24, 0.27, True)) == "250 ms"
    assert units.quantile(Quantile(0.25, 0.24, None, False)) == "250 ms*"
    assert units.rate_quantile(Quantile(48.5, 47.0, None, False)) == "48.5*"
    assert units.quantile(None) == units.rate_quantile(None) == "–"


@pytest.mark.parametrize(("elapsed_s", "text"), [(0.4, "0:00"), (5.9, "0:05"), (754, "12:34"), (3723, "1:02:03")])
def test_a_clock_shows_hours_only_once_there_are_any(elapsed_s: float, text: str) -> None:
    assert units.clock(elapsed_s) == text


@pytest.mark.parametrize("written", ["2024-06-05T14:03:59+00:00", "2024-06-05T16:03:59+02:00", "2024-06-05T14:03:59"])
def test_a_moment_is_told_in_utc(written: str) -> None:
    assert units.moment(datetime.fromisoformat(written)) == "2024-06-05 14:03 UTC"


def test_counts_have_their_thousands_set_apart_and_one_is_singular() -> None:
    assert units.count(12345) == "12,345"
    assert [units.counted(number, "failure") for number in (0, 1, 2000)] == [
        "0 failures",
        "1 failure",
        "2,000 failures",
    ]


def test_an_objective_reads_as_a_limit() -> None:
    assert units.objective("ttft_s", 0.5) == "ttft ≤ 500 ms"


def test_numbers_beside_an_axis_carry_no_empty_digits() -> None:
    assert [units.tick(value) for value in (0.0, 0.5, 2500.0, 30000.0)] == ["0", "0.5", "2,500", "30,000"]


def test_an_axis_is_in_the_unit_of_its_highest_value() -> None:
    assert units.duration_axis(0.5) == (1000.0, "ms")
    assert units.duration_axis(1.5) == (1.0, "s")


@pytest.mark.parametrize(
    ("mean", "requested", "text"),
    [(2.0, 2, "2"), (1.96, 2, "1.96"), (1.5, 2, "1.5"), (1.998, 2, "2.00"), (7.12, 10, "7.1"), (0.0, 2, "0")],
)
def test_a_mean_of_users_differs_in_words_where_it_differs_from_the_number_requested(
    mean: float, requested: int, text: str
) -> None:
    assert units.users_of(mean, requested) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(20.0, "20 s"), (90.0, "90 s"), (300.0, "5 min"), (5400.0, "1 h 30 min"), (10_800.0, "3 h"), (3601.0, "3601 s")],
)
def test_a_planned_time_is_written_as_it_would_be_set(seconds: float, text: str) -> None:
    assert units.planned_time(seconds) == text


@pytest.mark.parametrize(("elapsed_s", "text"), [(0, "0:00"), (59 * 60, "0:59"), (3600, "1:00"), (43_200, "12:00")])
def test_times_of_long_runs_are_hours_and_minutes(elapsed_s: float, text: str) -> None:
    assert units.hours(elapsed_s) == text
