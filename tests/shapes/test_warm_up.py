"""--warm-up: what it says, and the load that it puts before each level."""

from __future__ import annotations

import pytest

from tests.shapes.test_request_limit import due_s, levels
from tokenswarm.command_line import OptionErrors
from tokenswarm.metrics.level import Arrivals
from tokenswarm.run_control.run_plan import level_of
from tokenswarm.shapes.plan import LoadPlan, PlanError
from tokenswarm.shapes.sequencer import LevelSequencer
from tokenswarm.shapes.warm_up import WarmUp, parse_warm_up


def test_a_number_alone_is_one_of_requests() -> None:
    assert [parse_warm_up(text) for text in ("30s", "1m30s", "50", "", "0", "0s")] == [
        WarmUp(seconds=30.0),
        WarmUp(seconds=90.0),
        WarmUp(requests=50),
        None,
        None,
        None,
    ]


@pytest.mark.parametrize("text", ["soon", "-5", "50 requests", "999999999999", "3x"])
def test_what_is_neither_is_refused(text: str) -> None:
    with pytest.raises(PlanError):
        parse_warm_up(text)


def test_each_level_of_users_has_one_before_it() -> None:
    found = levels("--levels", "2,4", "--system-prompt", "off", "--warm-up", "10s", "--requests", "99")
    assert [(level.index, level.users, level.warm_up, level.level_time_s, level.ramp_s) for level in found] == [
        (0, 2, True, 10.0, 10.0),
        (1, 2, False, 300.0, 20.0),
        (2, 4, True, 10.0, 10.0),
        (3, 4, False, 300.0, 20.0),
    ]
    assert [level.requests for level in found] == [None, 99, None, 99]


def test_a_number_of_requests_before_levels_of_users() -> None:
    warm_up, level = levels("-u", "3", "-t", "60s", "--warm-up", "7", "--think-time", "1s")
    assert (warm_up.requests, warm_up.users, level.requests) == (7, 3, None)
    assert level_of(warm_up).ends_with_requests and not level_of(level).ends_with_requests
    assert warm_up.think_time == level.think_time


@pytest.mark.parametrize(
    ("arguments", "rate"),
    [(("--rate", "10"), 10.0), (("--rate-schedule", "0s:8 20s:20"), 8.0), (("--rate-schedule", "0s:0 20s:20"), None)],
)
def test_an_open_loop_is_warmed_up_at_the_rate_that_it_begins_with(
    arguments: tuple[str, ...], rate: float | None
) -> None:
    warm_up, level = levels(*arguments, "--warm-up", "15s", "--arrivals", "constant", "--level-time", "40s")
    assert level.arrivals is not None
    rate = level.arrivals.mean_rate if rate is None else rate
    assert warm_up.arrivals == Arrivals("constant", ((0.0, rate),), rate, "1")
    assert (warm_up.level_time_s, level.level_time_s) == (15.0, 40.0)
    counted, _ = levels(*arguments, "--warm-up", "15")
    assert len(due_s(counted)) == 15


def test_requests_at_once_are_warmed_up_by_a_number_of_them() -> None:
    warm_up, level = levels("--rate", "inf", "--requests", "50", "--warm-up", "5")
    assert (len(due_s(warm_up)), len(due_s(level))) == (5, 50)
    with pytest.raises((PlanError, OptionErrors)):
        levels("--rate", "inf", "--requests", "50", "--warm-up", "5s")


def test_the_level_follows_without_a_pause() -> None:
    plan = LoadPlan(levels("-u", "3", "-t", "60s", "--warm-up", "10s"), drain_s=60.0, settle_s=5.0)
    walk = LevelSequencer(plan, 0.0)
    target = walk.advance(10.0, 3)
    assert target is not None and target.users == 0
    target = walk.advance(11.0, 0)
    assert target is not None and target.begins == plan.levels[1]
