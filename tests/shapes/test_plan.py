"""Plans: which levels a run goes through."""

from __future__ import annotations

from math import inf

import pytest

from tokenswarm.shapes.plan import PlanError, PlannedLevel, free, ladder, parse_levels


def test_a_ladder_takes_every_level_without_the_system_prompt_and_then_every_level_with_it() -> None:
    plan = ladder("10, 50,100", "both", 20.0, 300.0)
    assert [(level.index, level.system_prompt, level.users) for level in plan] == [
        (0, "off", 10),
        (1, "off", 50),
        (2, "off", 100),
        (3, "on", 10),
        (4, "on", 50),
        (5, "on", 100),
    ]
    assert {(level.ramp_s, level.level_time_s) for level in plan} == {(20.0, 300.0)}


@pytest.mark.parametrize(("system_prompt", "modes"), [("off", ["off"]), ("on", ["on"]), ("auto", ["off", "on"])])
def test_a_ladder_goes_through_the_modes_asked_for_and_both_if_none_is(system_prompt: str, modes: list[str]) -> None:
    assert [level.system_prompt for level in ladder("5", system_prompt, 1.0, 2.0)] == modes


def test_a_ladders_levels_stay_in_the_order_given() -> None:
    assert [level.users for level in ladder("100,1,10", "off", 1.0, 2.0)] == [100, 1, 10]


@pytest.mark.parametrize(("users", "ramp_s", "rate"), [(10, 20.0, 0.5), (100, 20.0, 5.0), (50, 0.0, 50.0)])
def test_a_level_is_reached_within_its_ramp(users: int, ramp_s: float, rate: float) -> None:
    assert PlannedLevel(0, "off", users, ramp_s, 300.0).spawn_rate == rate


@pytest.mark.parametrize("level_time_s", [20.0, 19.0])
def test_a_level_that_would_not_hold_is_refused(level_time_s: float) -> None:
    with pytest.raises(PlanError) as refused:
        ladder("10", "off", 20.0, level_time_s)
    assert str(refused.value) == (
        f"--level-time ({level_time_s:g}s) must be longer than --ramp (20s): a level holds after its ramp."
    )


def test_the_free_shape_is_one_level_as_locust_was_told() -> None:
    assert free(30, 2.0, 60.0, "auto") == (PlannedLevel(0, "off", 30, 15.0, 60.0),)


def test_the_free_shape_without_a_run_time_has_no_end() -> None:
    (level,) = free(30, 2.0, None, "on")
    assert (level.system_prompt, level.level_time_s) == ("on", inf)


def test_the_free_shape_gives_each_of_both_modes_the_run_time() -> None:
    assert free(1, 1.0, 60.0, "both") == (PlannedLevel(0, "off", 1, 1.0, 60.0), PlannedLevel(1, "on", 1, 1.0, 60.0))


@pytest.mark.parametrize(
    ("users", "rate", "run_time_s", "mode", "sentence"),
    [
        (0, 1.0, None, "off", "--users takes 1 to 1,000,000 users, got 0."),
        (1, 0.0, None, "off", "--spawn-rate must be more than 0 users a second, got 0."),
        (1, inf, None, "off", "--spawn-rate must be more than 0 users a second, got inf."),
        (
            *(1, 1.0, None, "both"),
            "--system-prompt both needs an end for its first half: give --run-time, the time of each half.",
        ),
        (
            *(30, 2.0, 15.0, "off"),
            "--run-time (15s) must be longer than the ramp: 30 users at 2 a second take 15s.",
        ),
        *(
            (
                *(1, 1.0, 0.0, mode),
                "--run-time must be longer than 0 s: give the time that the run is to take, or leave -t out for a run "
                "that goes on until it is stopped.",
            )
            for mode in ("off", "both")
        ),
        (1, 1.0, None, "maybe", "--system-prompt takes one of auto, off, on, both, got 'maybe'."),
    ],
)
def test_a_free_shape_that_makes_no_sense_is_refused_in_a_sentence(
    users: int, rate: float, run_time_s: float | None, mode: str, sentence: str
) -> None:
    with pytest.raises(PlanError) as refused:
        free(users, rate, run_time_s, mode)
    assert str(refused.value) == sentence


@pytest.mark.parametrize("text", ["", "10,", "ten", "10;50", "-5", "1.5", "١٠", "10 50"])
def test_levels_that_cannot_be_read_are_told_with_what_was_expected(text: str) -> None:
    with pytest.raises(PlanError) as refused:
        parse_levels(text)
    assert str(refused.value) == f"--levels takes numbers of users like 10,50,100, got {text!r}."


@pytest.mark.parametrize("text", ["0", "10,0", "00"])
def test_levels_without_users_are_told_with_the_least_and_what_came(text: str) -> None:
    with pytest.raises(PlanError, match=f"at least 1, .* got {text!r}"):
        parse_levels(text)


def test_a_level_given_twice_is_refused() -> None:
    with pytest.raises(PlanError, match="--levels names a number of users twice .'10,50,10'."):
        parse_levels("10,50,10")


@pytest.mark.parametrize("text", ["1000001", "10,99999999999999999999", "9" * 5000])
def test_more_users_than_locust_can_list_are_refused(text: str) -> None:
    """A mistyped number of users filled the memory before the first of them was spawned."""
    with pytest.raises(PlanError):
        parse_levels(text)
    with pytest.raises(PlanError):
        free(1_000_001, 1.0, None, "off")
    assert parse_levels("1000000") == (1_000_000,)
