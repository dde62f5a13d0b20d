"""The options of an open loop, through Locust's own parser: which levels they make, and what excludes what."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

import pytest
from locust.argument_parser import get_empty_argument_parser, setup_parser_arguments

import tokenswarm.client.request_options
from tokenswarm.command_line import OptionErrors, PointedError, read_options
from tokenswarm.metrics.level import Arrivals, users_of
from tokenswarm.shapes.arrival_notation import ArrivalsError
from tokenswarm.shapes.plan import PlanError
from tokenswarm.shapes.shape_options import add_options, check_conflicts, choose_shape, load_plan_of

Plan = Callable[..., list[tuple[str, str, int, float, Arrivals | None]]]


def read(*arguments: str) -> Namespace:
    """Options as a run has them. Raises PlanError, OptionErrors."""
    parser = get_empty_argument_parser(default_config_files=[])
    setup_parser_arguments(parser)
    tokenswarm.client.request_options.add_options(parser)
    add_options(parser)
    given = read_options(parser, list(arguments))
    assert not given.errors
    check_conflicts(given.options, given.sources)
    choose_shape(given.options)
    return given.options


@pytest.fixture
def plan() -> Plan:
    def made(*arguments: str) -> list[tuple[str, str, int, float, Arrivals | None]]:
        return [
            (level.name, level.system_prompt, level.users, level.level_time_s, level.arrivals)
            for level in load_plan_of(read("--headless", *arguments)).levels
        ]

    return made


def test_each_rate_is_a_level(plan: Plan) -> None:
    arguments = ("--request-rate", "5,10.5", "--arrivals", "gamma:0.5", "--level-time", "30s", "--max-in-flight", "7")
    assert plan(*arguments, "--seed", "3") == [
        ("5/s", "off", 1, 30.0, Arrivals("gamma:0.5", ((0.0, 5.0),), 5.0, "3", 7)),
        ("10.5/s", "off", 1, 30.0, Arrivals("gamma:0.5", ((0.0, 10.5),), 10.5, "3", 7)),
    ]


def test_each_rate_of_sessions_is_a_level_with_think_times() -> None:
    levels = load_plan_of(read("--headless", "--session-rate", "0.5,2", "--think-time", "2s", "--warm-up", "9s")).levels
    assert [(level.name, level.warm_up) for level in levels] == [
        *(("0.5 sessions/s", True), ("0.5 sessions/s", False)),
        *(("2 sessions/s", True), ("2 sessions/s", False)),
    ]
    assert all(level.arrivals and level.arrivals.sessions and level.think_time for level in levels)
    assert [users_of(level.name) for level in levels[1:3]] == ["0.5 sessions/s", "2 sessions/s"]


def test_rates_under_both_modes(plan: Plan) -> None:
    found = plan("--rate", "5", "--system-prompt", "both")
    assert [(name, mode) for name, mode, *_ in found] == [("5/s", "off"), ("5/s", "on")]


def test_a_rate_schedule_is_one_level_with_its_mean_rate(plan: Plan) -> None:
    points = ((0.0, 0.0), (60.0, 20.0))
    assert plan("--rate-schedule", "0s:0 60s:20", "--level-time", "60s") == [
        ("schedule", "off", 1, 60.0, Arrivals("poisson", points, 10.0, "1"))
    ]


def test_a_rate_schedule_can_be_in_a_file(plan: Plan, tmp_path: Path) -> None:
    file = tmp_path / "schedule.json"
    file.write_text('[{"time_s": 0, "qps": 4}]')
    ((*_, arrivals),) = plan("--rate-schedule", str(file))
    assert arrivals is not None and arrivals.rates == ((0.0, 4.0),)


def test_a_file_of_times_says_how_long_its_level_is(plan: Plan, tmp_path: Path) -> None:
    file = tmp_path / "times.txt"
    file.write_text("0\n0.5\n2.5\n")
    ((name, _, _, level_time_s, arrivals),) = plan("--arrivals", str(file))
    assert arrivals is not None
    assert (name, level_time_s, arrivals.process, arrivals.mean_rate) == ("file", 3.0, str(file), 1.0)
    assert len(arrivals.file_sha256) == 64


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--rate", "5", "--levels", "7"], ["--levels", "--rate"]),
        (["--rate", "5", "--ramp", "7s"], ["--ramp", "--rate"]),
        (["--rate", "5", "-u", "7"], ["-u", "--rate"]),
        (["--rate", "5", "-t", "7s"], ["-t", "--rate"]),
        (["--session-rate", "5", "-u", "7"], ["-u", "--session-rate"]),
        (["--rate", "5", "--shape", "free"], ["--shape", "--rate"]),
        (["--arrivals", "./times.txt", "--level-time", "9s"], ["--level-time", "--arrivals FILE"]),
        (["--arrivals", "constant"], ["--arrivals", "--rate"]),
        (["--max-in-flight", "4"], ["--max-in-flight", "--rate"]),
        (["--rate", "5", "--worker"], ["--worker"]),
        (["--rate", "5", "--system-prompt-file", "x"], ["--system-prompt-file"]),
    ],
)
def test_options_of_a_closed_loop_are_refused(arguments: list[str], named: list[str]) -> None:
    with pytest.raises((PlanError, OptionErrors)) as refused:
        read("--headless", *arguments)
    assert all(name in str(refused.value) for name in named)


def test_a_shape_that_is_named_open_is_one() -> None:
    assert load_plan_of(read("--shape", "open", "--rate", "5")) == load_plan_of(read("--headless", "--rate", "5"))


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["--rate", "fast"], PointedError),
        (["--rate", "inf"], PlanError),
        (["--shape", "open"], PlanError),
        (["--rate", "5", "--rate-schedule", "0s:5"], PlanError),
        (["--rate", "5", "--arrivals", "./times.txt"], OptionErrors),
        (["--rate", "5", "--arrivals", "poison"], PointedError),
        (["--rate", "5", "--max-in-flight", "-1"], PlanError),
        (["--rate", "5", "--level-time", "0"], ValueError),
        (["--rate", "5", "--think-time", "2s"], PlanError),
        (["--rate", "5", "--session-rate", "2"], PlanError),
        (["--session-rate", "2", "--rate-schedule", "0s:5"], PlanError),
        (["--session-rate", "many"], PointedError),
        (["--session-rate", "inf"], PlanError),
        (["--session-rate", "2", "--requests", "9"], PlanError),
        (["--rate", "5", "--honour-retry-after"], PlanError),
        (["--session-rate", "5", "--random-start"], PlanError),
        (["--random-start", "--ramp", "0s"], PlanError),
        (["--arrivals", "/nowhere/times.txt"], ArrivalsError),
        (["--rate-schedule", "/nowhere/schedule.json"], PlanError),
        (["--rate-schedule", "0s:5 99s:7", "--level-time", "20s"], PlanError),
    ],
)
def test_an_open_loop_that_makes_no_plan_is_refused(arguments: list[str], error: type[Exception], plan: Plan) -> None:
    with pytest.raises(error):
        plan(*arguments)
