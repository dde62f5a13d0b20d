"""Which load a capacity search probes next."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tokenswarm.shapes.capacity.search import MOST_PROBES, CapacitySearch, Conclusion, ProbeOutcome, Verdict
from tokenswarm.shapes.capacity.search_range import FEW_LOADS, SearchRange

PASS, FAIL, INCONCLUSIVE = Verdict.PASS, Verdict.FAIL, Verdict.INCONCLUSIVE


def searched(
    of: SearchRange, verdict: Callable[[float, int], Verdict], leans: Callable[[float], bool] = bool
) -> CapacitySearch:
    """verdict: of a load, probed for the n-th time; leans: whether one without a decision leans to good."""
    search = CapacitySearch(of)
    while (load := search.next_load()) is not None:
        found = verdict(load, search.probes_of(load) + 1)
        search.record(ProbeOutcome(load, found, leans_good=leans(load) if found is INCONCLUSIVE else found is PASS))
    return search


def loads(search: CapacitySearch) -> list[float]:
    return [outcome.load for outcome in search.outcomes]


def upto(capacity: float) -> Callable[[float, int], Verdict]:
    return lambda load, _: PASS if load <= capacity else FAIL


def test_the_load_doubles_then_halves_then_repeats_both_edges_in_turn() -> None:
    search = searched(SearchRange(1, 40), upto(21))
    assert loads(search) == [2, 4, 8, 16, 32, 23, 19, 21, 22, 21, 22]
    assert (search.best, search.failing, search.conclusion) == (21, 22, Conclusion.BRACKET)


def test_a_wide_range_grows_by_a_larger_factor() -> None:
    assert SearchRange(1, 40).factor == 2
    assert SearchRange(1, 1000).factor == 4
    assert loads(searched(SearchRange(1, 1000), upto(300)))[:6] == [4, 16, 64, 256, 1000, 506]


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("precision", [0.05, 0.2])
@pytest.mark.parametrize(("low", "high"), [(1, 1000), (1, 10), (50, 60), (3, 4), (2, 20)])
def test_every_capacity_is_found_with_few_loads(low: float, high: float, precision: float, whole: bool) -> None:
    of = SearchRange(low, high, precision, whole)
    for step in range(1, 100):
        capacity = low * (high / low) ** (step / 100)
        search = searched(of, upto(capacity))
        assert len(set(loads(search))) <= FEW_LOADS
        if search.conclusion is Conclusion.NO_FAIL or search.conclusion is Conclusion.NO_PASS:
            assert whole  # no other load lies between
            continue
        assert search.conclusion is Conclusion.BRACKET
        assert search.best is not None
        assert search.failing is not None
        assert search.best <= capacity < search.failing
        assert search.failing / search.best <= 1 + precision or (whole and search.failing - search.best == 1)
        assert search.probes_of(search.best) == search.probes_of(search.failing) == 2


def test_no_load_of_the_range_passes() -> None:
    search = searched(SearchRange(5, 100), upto(3))
    assert loads(search) == [10, 5]
    assert (search.best, search.failing, search.conclusion) == (None, 5, Conclusion.NO_PASS)


def test_no_load_of_the_range_fails() -> None:
    search = searched(SearchRange(5, 100), upto(300))
    assert loads(search) == [10, 20, 40, 80, 100]
    assert (search.best, search.failing, search.conclusion) == (100, None, Conclusion.NO_FAIL)


def test_a_load_without_a_decision_is_neither_a_pass_nor_a_fail() -> None:
    """The loads on both sides of it are probed, so that the bracket around it is as narrow as the precision."""
    search = searched(
        SearchRange(1, 1000), lambda load, _: INCONCLUSIVE if load == 91 else upto(91)(load, 1), leans=lambda _: False
    )
    assert loads(search) == [4, 16, 64, 256, 128, 91, 89, 93, 89, 93]
    assert (search.best, search.failing, search.inconclusive) == (89, 93, [91])
    assert search.conclusion is Conclusion.BRACKET


def test_loads_with_too_few_requests_for_a_decision_are_passed_over_on_the_way_up() -> None:
    search = searched(SearchRange(1, 1000), lambda load, _: INCONCLUSIVE if load < 20 else upto(91)(load, 1))
    assert loads(search)[:4] == [4, 16, 64, 256]
    assert (search.best, search.failing) == (91, 95)


def test_probes_without_any_decision_end_the_search_inconclusive() -> None:
    search = searched(SearchRange(1, 1000), lambda *_: INCONCLUSIVE)
    assert (search.best, search.failing, search.conclusion) == (None, None, Conclusion.INCONCLUSIVE)
    assert len(search.outcomes) <= FEW_LOADS


def test_an_edge_that_contradicts_itself_is_no_edge() -> None:
    """21 passes, and fails when it is repeated: the bracket is found again around it."""
    search = searched(SearchRange(1, 40), lambda load, time: FAIL if (load, time) == (21, 2) else upto(21)(load, 1))
    assert loads(search)[-6:] == [21, 22, 21, 20, 20, 22][-6:]
    assert (search.best, search.failing, search.contradicted) == (20, 22, [21])


def test_a_server_that_always_contradicts_itself_ends_the_search() -> None:
    search = searched(SearchRange(1, 1000), lambda load, time: PASS if (load < 100) == (time == 1) else FAIL)
    assert len(search.outcomes) <= MOST_PROBES
    assert search.contradicted


def test_a_search_that_is_stopped_keeps_the_bracket_so_far() -> None:
    search = CapacitySearch(SearchRange(1, 40))
    for load in (2, 4, 8, 16, 32):
        assert search.next_load() == load
        search.record(ProbeOutcome(load, upto(21)(load, 1), leans_good=load <= 21))
    assert (search.best, search.failing, search.conclusion) == (16, 32, Conclusion.UNFINISHED)
