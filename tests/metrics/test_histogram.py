"""The histogram's promises: its error, its sums, its merges and its encoding."""

from __future__ import annotations

import random
from bisect import bisect_left, bisect_right
from collections.abc import Callable

import numpy as np
import pytest
from hdrh.histogram import HdrHistogram
from hypothesis import example, given
from hypothesis import strategies as st

from tokenswarm.metrics.buckets import EXPOSED
from tokenswarm.metrics.histogram import Histogram, as_recorded

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
    histogram.record_many(np.array(units, dtype=np.int64))
    return histogram


def filled_one_by_one(units: list[int]) -> Histogram:
    histogram = Histogram()
    for value in units:
        histogram.record(value)
    return histogram


def contents(histogram: Histogram) -> tuple[object, ...]:
    """Every count and every other number that a histogram holds."""
    return bytes(histogram._allocated_counts()), histogram.count, histogram.sum, histogram.encode()


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
@pytest.mark.parametrize("unit", [1e-6, 1e-3])
def test_values_are_given_as_their_histogram_reads_them_back(name: str, unit: float) -> None:
    units = drawn(name, 500)
    histogram = filled(units, unit)
    given = np.sort(as_recorded(np.array(units) * unit, unit))
    assert given.tolist() == [histogram.value_at_rank(rank) for rank in range(1, 501)]


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


# Where the arithmetic could go wrong: the ends of the range, and the first and last value of buckets of every width.
powers_of_two = st.builds(lambda power, off: 2**power + off, st.integers(0, 62), st.integers(-1, 1))
bucket_edges = st.builds(
    lambda bits, place, off: ((1024 + place) << bits) + off,
    st.integers(0, 27),
    st.integers(0, 1023),
    st.integers(-1, 1),
)
ends = st.sampled_from([-(2**63), -1, 0, 1, HIGHEST_UNITS - 1, HIGHEST_UNITS, HIGHEST_UNITS + 1, 2**63 - 1])
values_in_units = st.one_of(ends, powers_of_two, bucket_edges, st.integers(0, HIGHEST_UNITS), st.integers(-(10**6), -1))


@pytest.mark.slow
@given(st.lists(values_in_units, max_size=40), st.lists(values_in_units, max_size=5))
@example([2**power + off for power in range(63) for off in (-1, 0, 1)], [])
@example([0], [-5])
@example([*range(600)] * 2, [5, 600])  # more than are noted one by one
@example([], [])
def test_values_recorded_at_once_leave_what_they_would_one_by_one(first: list[int], then: list[int]) -> None:
    at_once, one_by_one = filled(first), filled_one_by_one(first)
    assert contents(at_once) == contents(one_by_one)
    at_once.record_many(np.array(then, dtype=np.int64))
    for value in then:
        one_by_one.record(value)
    assert contents(at_once) == contents(one_by_one)


def test_a_histogram_that_was_sent_or_merged_goes_on_counting_many_at_once() -> None:
    at_once, one_by_one = (Histogram.decode(filled([3, 70_000]).encode()) for _ in range(2))
    at_once.record_many(np.array([0, 70_001, 2048], dtype=np.int64))
    for value in (0, 70_001, 2048):
        one_by_one.record(value)
    assert contents(at_once) == contents(one_by_one)
    merged = filled([9])
    merged.add(at_once)
    merged.record_many(np.array([9, 9], dtype=np.int64))
    assert merged.encode() == filled([3, 70_000, 0, 70_001, 2048, 9, 9, 9]).encode()


def test_recording_many_leaves_the_callers_values_as_they_were() -> None:
    values = np.array([-5, 3, 10**15], dtype=np.int64)
    Histogram().record_many(values)
    assert values.tolist() == [-5, 3, 10**15]


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


@pytest.mark.parametrize("count", [1, 255, 256, 65_535, 65_536, 2**32 - 1, 2**32, 10**15])
def test_counts_of_any_size_survive_sending(count: int) -> None:
    histogram = filled([7, 90_000, HIGHEST_UNITS])
    histogram.record(90_000, count)
    assert contents(Histogram.decode(histogram.encode())) == contents(histogram)


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_values_are_counted_where_the_library_of_hdrhistogram_counts_them(name: str) -> None:
    units = drawn(name, 500)
    library = HdrHistogram(1, HIGHEST_UNITS, 3)
    for value in units:
        library.record_value(value)
    assert np.trim_zeros(np.frombuffer(library.counts, dtype=np.int64), "b").tolist() == (
        np.trim_zeros(filled(units)._allocated_counts(), "b").tolist()
    )


def test_histograms_of_different_units_are_not_merged() -> None:
    with pytest.raises(ValueError, match="cannot merge a histogram of unit 0.001 into one of unit 1e-06"):
        Histogram(1e-6).add(Histogram(1e-3))


def test_a_unit_survives_sending() -> None:
    rates = filled([48_500], unit=1e-3)
    sent = Histogram.decode(rates.encode(), unit=1e-3)
    assert sent.value_at_rank(1) == pytest.approx(48.5, rel=0.0005)
    rates.add(sent)
    assert (rates.count, rates.sum) == (2, pytest.approx(97.0))


@pytest.mark.parametrize(
    "payload", [b"", b"no histogram", b"\x01\xff\xff\x01", b"\x08\x00", filled([5]).encode()[0][:-1]]
)
def test_bytes_that_are_no_histogram_are_refused(payload: bytes) -> None:
    with pytest.raises(ValueError, match="these bytes are no encoded histogram"):
        Histogram.decode((payload, 0))


@pytest.mark.parametrize("metric", EXPOSED)
@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_counts_at_or_below_a_bound_miss_no_value_there_and_hold_none_a_bucket_above(name: str, metric: str) -> None:
    """A bucket is at most 1/1,024 of its lower edge wide: so far above a bound a value may still count at it."""
    bounds, values = EXPOSED[metric], sorted(drawn(name, 1000))
    counts = filled(values).counts_at_or_below(bounds)
    for bound, count in zip(bounds, counts, strict=True):
        units = round(bound * 1e6)
        assert bisect_right(values, units) <= count <= bisect_left(values, max(units + 1, units * (1 + 1 / 1024)))


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_counts_at_or_below_equal_a_count_by_hand_of_the_buckets_lower_edges(
    name: str, lower_edge: Callable[[int], int]
) -> None:
    values = drawn(name, 400)
    ascending = sorted({bound for bounds in EXPOSED.values() for bound in bounds})
    assert filled(values).counts_at_or_below(ascending) == [
        sum(lower_edge(value) <= round(bound * 1e6) for value in values) for bound in ascending
    ]


@pytest.mark.slow
@pytest.mark.parametrize("metric", EXPOSED)
def test_a_value_on_a_bound_lies_at_it_and_one_a_bucket_above_does_not(
    metric: str, lower_edge: Callable[[int], int]
) -> None:
    """A bucket above may be a few units on, as all its values count where its lower edge lies."""
    unit = 1e-3 if metric == "request_token_rate" else 1e-6
    for bound in EXPOSED[metric]:
        units = round(bound / unit)
        following = next(above for above in range(units + 1, 2 * units) if lower_edge(above) > units)
        assert filled([units], unit).counts_at_or_below([bound]) == [1], bound
        assert filled([following], unit).counts_at_or_below([bound]) == [0], bound


def test_a_bound_lies_at_whole_units_even_where_its_float_does_not() -> None:
    """0.000493 / 1e-6 is a little less than 493."""
    for units in range(1, 2048):
        bound = float(f"{units}e-6")
        assert filled([units, units + 1]).counts_at_or_below([bound]) == [1], bound


@pytest.mark.parametrize(("units", "bound"), [(500_000, 0.5), (100_000, 0.1), (250_000, 0.25), (300_000, 0.3)])
def test_a_round_latency_counts_at_its_own_le(units: int, bound: float) -> None:
    histogram = filled([units - units // 500, units, units, units + units // 500])
    assert histogram.counts_at_or_below([bound]) == [3]
