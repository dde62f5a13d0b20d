"""Phases of a level, and where a request's tokens are counted."""

from __future__ import annotations

from array import array
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenswarm.metrics.level import (
    SCOPES_OF_REQUEST,
    Level,
    Phase,
    RunningLevel,
    Scope,
    tokens_by_scope,
    tokens_by_window,
)
from tokenswarm.metrics.timeline import Outcome, Timeline

S = 1_000_000_000
WINDOW_NS = 5 * S
BEGUN = RunningLevel(Level(0, "off", "10", 10, 2.0, 12.0), run_began_ns=90 * S, began_ns=100 * S)

arrival_patterns = st.lists(st.integers(-7 * S, 40 * S), min_size=1, max_size=60, unique=True).map(sorted)
token_counts = st.integers(0, 5000)


def arrived(arrivals_ns: list[int], tokens: int) -> Timeline:
    """A request of so many tokens, its arrivals counted from the stage's beginning."""
    return Timeline(
        user="0.1",
        level_index=0,
        outcome=Outcome.OK,
        scheduled_ns=BEGUN.began_ns,
        sent_ns=BEGUN.began_ns,
        over_ns=BEGUN.began_ns,
        outputs_ns=array("q", [BEGUN.began_ns + arrived_ns for arrived_ns in arrivals_ns]),
        output_tokens=tokens,
    )


@pytest.mark.parametrize(
    ("elapsed_s", "phase"),
    [
        (0.0, Phase.RAMP),
        (1.999, Phase.RAMP),
        (2.0, Phase.HOLD),
        (11.999, Phase.HOLD),
        (12.0, Phase.DRAIN),
        (1e6, Phase.DRAIN),
    ],
)
def test_a_phase_begins_on_its_edge(elapsed_s: float, phase: Phase) -> None:
    assert BEGUN.level.phase_at(elapsed_s) is phase


def test_a_level_with_an_open_end_holds_for_ever() -> None:
    assert Level(0, "off", "1", 1, 0.0).phase_at(0.0) is Phase.HOLD
    assert Level(0, "off", "1", 1, 1.0).phase_at(1e9) is Phase.HOLD


@pytest.mark.parametrize(
    ("elapsed_ns", "phase", "hold", "whole"),
    [
        (-1, Phase.RAMP, 0.0, 1.0),
        (0, Phase.RAMP, 0.0, 1.0),
        (2 * S - 1, Phase.RAMP, 0.0, 1.0),
        (2 * S, Phase.HOLD, 1.0, 1.0),
        (12 * S - 1, Phase.HOLD, 1.0, 1.0),
        (12 * S, Phase.DRAIN, 0.0, 0.0),
        (3600 * S, Phase.DRAIN, 0.0, 0.0),
    ],
)
def test_a_token_is_in_the_parts_of_the_phase_that_it_arrived_in(
    elapsed_ns: int, phase: Phase, hold: float, whole: float
) -> None:
    assert BEGUN.phase_at(BEGUN.began_ns + elapsed_ns) is phase
    assert tokens_by_scope(arrived([elapsed_ns], tokens=1), BEGUN) == {Scope.HOLD: hold, Scope.WHOLE: whole}


def test_a_request_is_in_the_parts_of_the_phase_that_it_was_sent_in() -> None:
    """One that slipped out as the drain began is counted, but not among those of the hold."""
    assert SCOPES_OF_REQUEST == {
        Phase.WARM_UP: (),
        Phase.RAMP: (Scope.WHOLE,),
        Phase.HOLD: (Scope.HOLD, Scope.WHOLE),
        Phase.DRAIN: (Scope.WHOLE,),
    }
    assert list(SCOPES_OF_REQUEST) == list(Phase)


def test_all_tokens_after_the_ramp_are_the_holds_where_the_end_is_open() -> None:
    endless = BEGUN._replace(level=Level(0, "off", "10", 10, 2.0))
    told = tokens_by_scope(arrived([1 * S, 3 * S, 10**9 * S], tokens=3), endless)
    assert told == {Scope.HOLD: 2.0, Scope.WHOLE: 3.0}


def test_without_a_ramp_the_hold_begins_with_the_stage() -> None:
    at_once = BEGUN._replace(level=Level(0, "off", "10", 10, 0.0, 12.0))
    assert tokens_by_scope(arrived([0, 12 * S - 1, 12 * S], tokens=3), at_once) == {Scope.HOLD: 2.0, Scope.WHOLE: 2.0}


def test_tokens_are_counted_in_the_part_that_they_arrived_in() -> None:
    """Four arrivals of 2.5 tokens: one in the ramp, two in the hold, one in the drain."""
    told = tokens_by_scope(arrived([1 * S, 3 * S, 4 * S, 13 * S], tokens=10), BEGUN)
    assert told == {Scope.HOLD: 5.0, Scope.WHOLE: 7.5}


def test_tokens_are_counted_in_the_window_that_they_arrived_in() -> None:
    told = tokens_by_window(arrived([0, 5 * S - 1, 5 * S, 12 * S], tokens=8), BEGUN.began_ns, WINDOW_NS)
    assert told == {0: 4.0, 1: 2.0, 2: 2.0}
    assert {type(number) for number in told} == {int}


def test_what_arrived_before_the_stage_is_in_its_first_window() -> None:
    """Clocks of two machines are never quite the same."""
    told = tokens_by_window(arrived([-6 * S, -1, 0, 5 * S], tokens=8), BEGUN.began_ns, WINDOW_NS)
    assert told == {0: 6.0, 1: 2.0}


@given(arrival_patterns, token_counts)
def test_windows_sum_to_a_requests_tokens(arrivals_ns: list[int], tokens: int) -> None:
    told = tokens_by_window(arrived(arrivals_ns, tokens), BEGUN.began_ns, WINDOW_NS)
    assert sum(told.values()) == pytest.approx(tokens, rel=1e-12)
    assert set(told) == {max(0, arrived_ns // WINDOW_NS) for arrived_ns in arrivals_ns}


@given(arrival_patterns, token_counts)
def test_a_hold_is_within_its_whole_and_a_whole_within_the_request(arrivals_ns: list[int], tokens: int) -> None:
    told = tokens_by_scope(arrived(arrivals_ns, tokens), BEGUN)
    share = tokens / len(arrivals_ns)
    hold = sum(2 * S <= arrived_ns < 12 * S for arrived_ns in arrivals_ns)
    ramp = sum(arrived_ns < 2 * S for arrived_ns in arrivals_ns)
    assert told[Scope.HOLD] == pytest.approx(hold * share)
    assert told[Scope.WHOLE] == pytest.approx((ramp + hold) * share)


def test_a_request_without_arrivals_has_tokens_nowhere(timeline: Callable[..., Timeline]) -> None:
    nothing = timeline((), tokens=5, outcome=Outcome.EMPTY)
    assert tokens_by_window(nothing, 0, WINDOW_NS) == {}
    assert tokens_by_scope(nothing, BEGUN) == {Scope.HOLD: 0.0, Scope.WHOLE: 0.0}


def test_a_warm_up_has_one_phase_and_no_tokens() -> None:
    warming = BEGUN._replace(level=Level(0, "off", "10", 10, 2.0, 12.0, warm_up=True))
    at_s = [warming.level.phase_at(elapsed_s) for elapsed_s in (0.0, 5.0, 12.0)]
    assert at_s == [Phase.WARM_UP, Phase.WARM_UP, Phase.DRAIN]
    assert warming.phase_of(BEGUN.began_ns + 13 * S) is Phase.WARM_UP
    assert tokens_by_scope(arrived([1 * S, 3 * S], tokens=3), warming) == {}
