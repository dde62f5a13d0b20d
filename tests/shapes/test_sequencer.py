"""Going through a plan: what shall be at each moment. Time and the number of users are given."""

from __future__ import annotations

from math import inf

import pytest

from tokenswarm.shapes.plan import LoadPlan, PlannedLevel
from tokenswarm.shapes.sequencer import LevelSequencer, LoadTarget

FIRST = PlannedLevel(0, "off", 10, 20.0, 300.0)
SECOND = PlannedLevel(1, "on", 50, 20.0, 300.0)

FULL = LoadTarget(10, 0.5, "off")
GONE = LoadTarget(0, 10.0, "off")
NEXT = LoadTarget(50, 2.5, "on")
NEXT_BEGINS = LoadTarget(50, 2.5, "on", begins=SECOND)
NEXT_GONE = LoadTarget(0, 50.0, "on")

TWO_LEVELS = [
    # at, users there, target, and why
    (1000.0, 0, FULL, "the first level begins with the walk, and is not told of again"),
    (1010.0, 5, FULL, "in the ramp the target is the level's end, and Locust spreads the way there"),
    (1020.0, 10, FULL, "in the hold it stays"),
    (1299.9, 10, FULL, "to the end of the level's time"),
    (1300.0, 10, GONE, "when the time is up nobody shall be there"),
    (1301.0, 10, GONE, "users end their last streams"),
    (1355.0, 1, GONE, "however long it takes: the last one too"),
    (1356.0, 0, GONE, "the last has gone: settling begins"),
    (1360.9, 0, GONE, "and lasts as long as it shall"),
    (1361.0, 0, NEXT_BEGINS, "the next level begins"),
    (1362.0, 3, NEXT, "and is told of once"),
    (1660.9, 50, NEXT, "its time counts from its own beginning"),
    (1661.0, 50, NEXT_GONE, "and is up"),
    (1662.0, 0, NEXT_GONE, "all have gone at once"),
    (1666.9, 0, NEXT_GONE, "the last level settles too"),
    (1667.0, 0, None, "the plan is done"),
]


def test_two_levels_from_beginning_to_end() -> None:
    walk = LevelSequencer(LoadPlan((FIRST, SECOND), drain_s=60.0, settle_s=5.0), now_s=1000.0)
    for now_s, users, target, why in TWO_LEVELS:
        assert walk.advance(now_s, users) == target, why


def test_without_settling_time_the_next_level_begins_when_the_last_user_has_gone() -> None:
    walk = LevelSequencer(LoadPlan((FIRST, SECOND), drain_s=60.0, settle_s=0.0), now_s=0.0)
    assert [walk.advance(300.0, 10), walk.advance(301.0, 1), walk.advance(302.0, 0)] == [GONE, GONE, NEXT_BEGINS]


def test_users_whose_number_the_level_does_not_name_are_stopped_together() -> None:
    """Those of an own shape, and the arrival users of an open loop on several processes."""
    walk = LevelSequencer(LoadPlan((PlannedLevel(0, "off", 0, 0.0, 3.0),), drain_s=60.0, settle_s=0.0), now_s=0.0)
    assert [walk.advance(at_s, users) for at_s, users in ((3.0, 40), (3.5, 7))] == [LoadTarget(0, 40.0, "off")] * 2


def test_the_end_of_the_load_is_known_while_there_is_load() -> None:
    walk = LevelSequencer(LoadPlan((FIRST, SECOND), drain_s=60.0, settle_s=5.0), now_s=1000.0)
    assert walk.load_ends_s == 1300.0
    walk.advance(1300.0, 10)
    assert walk.load_ends_s == inf
    walk.advance(1356.0, 0)
    assert walk.load_ends_s == inf
    assert walk.advance(1361.0, 0) == NEXT_BEGINS
    assert walk.load_ends_s == 1661.0


def test_a_level_that_is_announced_late_lasts_as_long_as_others() -> None:
    walk = LevelSequencer(LoadPlan((FIRST, SECOND), drain_s=60.0, settle_s=0.0), now_s=0.0)
    assert [walk.advance(300.0, 10), walk.advance(302.0, 0)] == [GONE, NEXT_BEGINS]
    walk.begin_level(307.5)
    assert [walk.advance(607.0, 50), walk.advance(607.5, 50)] == [NEXT, NEXT_GONE]


def test_a_late_look_skips_no_state() -> None:
    """Locust may be busy for longer than a level: users are still told to go before others come."""
    walk = LevelSequencer(LoadPlan((FIRST, SECOND), drain_s=60.0, settle_s=5.0), now_s=0.0)
    assert walk.advance(10_000.0, 10) == GONE
    assert walk.advance(10_001.0, 0) == GONE
    assert walk.advance(20_000.0, 0) == NEXT_BEGINS
    assert walk.advance(20_299.0, 50) == NEXT


def test_a_drain_ends_ten_seconds_after_its_time_where_users_are_counted_still() -> None:
    """They were cut when it was up: a worker that still counts some is lost, and must not hold up the run."""
    walk = LevelSequencer(LoadPlan((FIRST, SECOND), drain_s=60.0, settle_s=5.0), now_s=0.0)
    assert walk.advance(301.0, 10) == GONE
    assert walk.advance(370.9, 3) == GONE
    assert walk.advance(371.0, 3) == GONE  # settling begins
    assert walk.advance(375.9, 3) == GONE
    assert walk.advance(376.0, 3) == NEXT_BEGINS
    assert walk.advance(377.0, 53) == NEXT


def test_a_drain_that_is_not_over_does_not_settle() -> None:
    """One look before its end and one at it: only from there the settling time counts."""
    walk = LevelSequencer(LoadPlan((FIRST, SECOND), drain_s=2.0, settle_s=5.0), now_s=0.0)
    assert [walk.advance(300.0, 10), walk.advance(311.9, 1), walk.advance(316.9, 1)] == [GONE, GONE, GONE]
    assert walk.advance(321.8, 1) == GONE
    assert walk.advance(321.9, 1) == NEXT_BEGINS


def test_a_plan_whose_last_users_are_lost_comes_to_its_end() -> None:
    walk = LevelSequencer(LoadPlan((FIRST,), drain_s=60.0, settle_s=0.0), now_s=0.0)
    assert [walk.advance(now_s, 2) for now_s in (300.0, 369.9, 370.0)] == [GONE, GONE, None]


def test_nobody_being_there_yet_ends_no_ramp() -> None:
    walk = LevelSequencer(LoadPlan((FIRST,), drain_s=60.0, settle_s=0.0), now_s=0.0)
    assert walk.advance(299.0, 0) == FULL


def test_a_level_with_an_open_end_goes_on() -> None:
    walk = LevelSequencer(LoadPlan((PlannedLevel(0, "off", 10, 20.0, inf),), drain_s=60.0, settle_s=0.0), now_s=0.0)
    assert walk.advance(1e9, 10) == FULL


def test_a_plan_that_is_done_stays_done() -> None:
    walk = LevelSequencer(LoadPlan((FIRST,), drain_s=60.0, settle_s=0.0), now_s=0.0)
    walk.advance(300.0, 0)
    walk.advance(301.0, 0)
    assert [walk.advance(302.0, 0), walk.advance(303.0, 0)] == [None, None]


@pytest.mark.parametrize(("now_s", "index"), [(299.0, 0), (311.0, 1)])
def test_the_walk_says_which_level_it_is_in(now_s: float, index: int) -> None:
    walk = LevelSequencer(LoadPlan((FIRST, SECOND), drain_s=60.0, settle_s=5.0), now_s=0.0)
    for moment_s in (299.0, 300.0, 301.0, 311.0):
        if moment_s <= now_s:
            walk.advance(moment_s, 0)
    assert walk.level.index == index


def test_a_level_whose_requests_have_ended_is_over() -> None:
    walk = LevelSequencer(LoadPlan((FIRST, SECOND), drain_s=60.0, settle_s=0.0), now_s=0.0)
    assert walk.advance(30.0, 10) == FULL
    assert walk.advance(31.0, 10, level_done=True) == GONE
    assert walk.advance(32.0, 0, level_done=True) == NEXT_BEGINS


def test_levels_behind_the_plan_follow_from_what_the_ones_before_came_to() -> None:
    probes = iter([SECOND, None])
    walk = LevelSequencer(LoadPlan((FIRST,), drain_s=60.0, settle_s=0.0), 0.0, lambda: next(probes))
    assert walk.advance(31.0, 10, level_done=True) == GONE
    assert walk.advance(32.0, 0) == NEXT_BEGINS
    assert walk.advance(33.0, 50) == NEXT
    assert walk.advance(40.0, 50, level_done=True) == NEXT_GONE
    assert walk.advance(41.0, 0) is None
