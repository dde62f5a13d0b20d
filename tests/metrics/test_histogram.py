"""The histogram's promises: its error, its sums, its merges and its encoding."""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Callable

import pytest

from metrics.buckets import EXPOSED
from metrics.histogram import Histogram

HIGHEST_UNITS = 24 * 3600 * 1_000_000

DISTRIBUTIONS: dict[str, Callable[[random.Random], int]] = {
    "lognormal": lambda draw: round(draw.lognormvariate(11, 1.5)),
    "uniform": lambda draw: draw.randrange(1, 10_000_000),
    "constant": lambda draw: 123_457,
    "bimodal": lambda draw: round(draw.gauss(*draw.choice([(20_000, 500), (90_000_000, 1_000_000)]))),
    "down to single units": lambda draw: draw.randrange(0, 3000),
    "up to the end of the range": lambda draw: draw.randrange(HIGHEST_UNITS // 2, HIGHEST_UNITS + 1),
}


def drawn(name: str, size: int, seed: int = 1) -> list[int]:
    draw = random.Random(seed)
    return [DISTRIBUTIONS[name](draw) for _ in range(size)]


def filled(units: list[int], unit: float = 1e-6) -> Histogram:
    histogram = Histogram(unit)
    histogram.record_many(units)
    return histogram


def assert_within_the_stated_error(histogram: Histogram, units: list[int]) -> None:
    ascending = sorted(units)
    n = len(ascending)
    assert histogram.count == n
    for rank in {1, 2, (n + 1) // 2, n - n // 10, n - n // 100, n - 1, n}:
        exact = ascending[rank - 1] * histogram.unit
        assert abs(histogram.value_at_rank(rank) - exact) <= 0.0005 * exact + 1e-15
    assert histogram.minimum == histogram.value_at_rank(1)
    assert histogram.maximum == histogram.value_at_rank(n)


@pytest.mark.parametrize("unit", [1e-6, 1e-3])
@pytest.mark.parametrize("size", [2, 100, 3000])
@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_a_value_is_read_back_within_a_twentieth_of_a_percent(name: str, size: int, unit: float) -> None:
    units = drawn(name, size)
    assert_within_the_stated_error(filled(units, unit), units)


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_the_error_holds_after_merging_and_sending(name: str) -> None:
    here, there = drawn(name, 700), drawn(name, 500, seed=2)
    merged = filled(here)
    merged.add(Histogram.decode(filled(there).encode()))
    assert_within_the_stated_error(Histogram.decode(merged.encode()), here + there)


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_merged_histograms_equal_one_that_was_told_everything(name: str) -> None:
    values = drawn(name, 900)
    merged = Histogram()
    for part in (values[:10], [], values[10:500], values[500:]):
        merged.add(filled(part))
    at_once = filled(values)
    assert merged.encode() == at_once.encode()
    assert (merged.count, merged.sum, merged.mean) == (at_once.count, at_once.sum, at_once.mean)


def test_the_sum_is_of_the_values_and_not_of_their_buckets() -> None:
    histogram = filled([1_000_001, 2_000_003, 3_000_007])
    assert histogram.sum == 6_000_011 * 1e-6
    assert histogram.mean == pytest.approx(2.000003666666667)
    assert Histogram.decode(histogram.encode()).sum == histogram.sum


def test_a_value_recorded_several_times_counts_as_often() -> None:
    histogram = Histogram()
    histogram.record(250, count=4)
    assert (histogram.count, histogram.sum) == (4, pytest.approx(0.001))


def test_an_empty_histogram_has_counts_and_no_values() -> None:
    empty = Histogram()
    assert (empty.count, empty.sum, empty.mean, empty.minimum, empty.maximum) == (0, 0.0, None, None, None)
    assert empty.counts_at_or_below([0.1, 1.0]) == [0, 0]
    sent = Histogram.decode(empty.encode())
    sent.record(5)
    assert (sent.count, sent.value_at_rank(1)) == (1, pytest.approx(5e-6))


@pytest.mark.parametrize(
    ("units", "kept_units"),
    [(-5, 0), (0, 0), (HIGHEST_UNITS, HIGHEST_UNITS), (HIGHEST_UNITS + 1, HIGHEST_UNITS), (10**15, HIGHEST_UNITS)],
)
def test_a_value_out_of_range_is_recorded_as_the_ranges_end(units: int, kept_units: int) -> None:
    histogram = filled([units])
    assert histogram.count == 1
    assert histogram.value_at_rank(1) == pytest.approx(kept_units * 1e-6, rel=0.0005)
    assert histogram.sum == pytest.approx(kept_units * 1e-6)


def test_histograms_of_different_units_are_not_merged() -> None:
    with pytest.raises(ValueError, match="cannot merge a histogram of unit 0.001 into one of unit 1e-06"):
        Histogram(1e-6).add(Histogram(1e-3))


def test_a_unit_survives_sending() -> None:
    rates = filled([48_500], unit=1e-3)
    sent = Histogram.decode(rates.encode(), unit=1e-3)
    assert sent.value_at_rank(1) == pytest.approx(48.5, rel=0.0005)
    rates.add(sent)
    assert (rates.count, rates.sum) == (2, pytest.approx(97.0))


@pytest.mark.parametrize("payload", [b"", b"no histogram", b"HISTFAAA", filled([5]).encode()[0][:-9]])
def test_bytes_that_are_no_histogram_are_refused(payload: bytes) -> None:
    with pytest.raises(ValueError, match="these bytes are no encoded histogram"):
        Histogram.decode((payload, 0))


@pytest.mark.parametrize("metric", EXPOSED)
@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_counts_at_or_below_a_bound_are_exact_but_for_values_within_the_error_of_it(name: str, metric: str) -> None:
    bounds, values = EXPOSED[metric], sorted(drawn(name, 1000))
    counts = filled(values).counts_at_or_below(bounds)
    for bound, count in zip(bounds, counts, strict=True):
        bound_units = bound * 1e6
        assert bisect_right(values, bound_units * 0.9995) <= count <= bisect_right(values, bound_units * 1.0005)


def test_counts_at_or_below_equal_a_count_by_hand_of_the_values_as_read_back() -> None:
    histogram = filled(drawn("lognormal", 400))
    read_back = [histogram.value_at_rank(rank) for rank in range(1, 401)]
    bounds = EXPOSED["e2e_s"] + EXPOSED["ttft_s"]
    ascending = sorted(set(bounds))
    assert histogram.counts_at_or_below(ascending) == [
        sum(value <= bound for value in read_back) for bound in ascending
    ]


@pytest.mark.parametrize("metric", EXPOSED)
def test_a_small_value_on_a_bound_lies_at_it(metric: str) -> None:
    """Below 2,048 units a bucket holds one value, so that `le` is exact."""
    unit = 1e-3 if metric == "request_token_rate" else 1e-6
    for bound in EXPOSED[metric]:
        if (units := round(bound / unit)) < 2048:
            assert filled([units], unit).counts_at_or_below([bound]) == [1]
