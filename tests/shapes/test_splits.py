"""Each arrival belongs to one worker, whoever joins or leaves."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenswarm.shapes.splits import SplitError, Splits

WORKERS = st.sets(st.integers(0, 9), max_size=4)


@st.composite
def changes(draw: st.DrawFn) -> Splits:
    splits = Splits.among(draw(WORKERS))
    first = 0
    for _ in range(draw(st.integers(0, 4))):
        first += draw(st.integers(0, 20))
        splits = splits.followed_by(first, draw(WORKERS))
    return splits


def test_arrivals_go_round() -> None:
    splits = Splits.among([4, 1, 7])
    assert [splits.owner(index) for index in range(6)] == [1, 4, 7, 1, 4, 7]


def test_a_new_split_holds_from_its_arrival_on() -> None:
    splits = Splits.among([0, 1]).followed_by(4, [0, 1, 2]).followed_by(7, [1])
    assert [splits.owner(index) for index in range(9)] == [0, 1, 0, 1, 1, 2, 0, 1, 1]


def test_a_split_at_the_same_arrival_replaces_the_last() -> None:
    assert Splits.among([0]).followed_by(5, [0, 1]).followed_by(5, [2]) == Splits.among([0]).followed_by(5, [2])


def test_a_split_cannot_change_what_may_be_sent() -> None:
    with pytest.raises(SplitError):
        Splits.among([0]).followed_by(5, [0, 1]).followed_by(4, [2])


def test_without_workers_arrivals_are_nobodys() -> None:
    assert Splits.among([]).owner(3) is None


def test_a_limit_is_divided_among_the_workers_of_a_split() -> None:
    splits = Splits.among([0, 1, 2]).followed_by(5, [0, 2])
    assert [splits.limit_of(worker, 5) for worker in range(4)] == [3, 2, 2, 0]


@given(changes(), st.integers(0, 100), st.integers(0, 100))
def test_the_numbers_that_a_worker_owes_are_the_first_and_the_last_that_it_owns(
    splits: Splits, first: int, end: int
) -> None:
    for worker in (*range(10), None):
        owned = [number for number in range(first, end) if splits.owner(number) == worker]
        assert splits.range_owed(worker, first, end) == ((owned[0], owned[-1]) if owned else None)
        assert splits.owed(worker, first, end) == len(owned)
        if worker is not None and owned:
            assert splits.next_owned(worker, first) == owned[0]
