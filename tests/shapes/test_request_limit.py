"""--requests: how many requests a level has, and when it ends."""

from __future__ import annotations

from math import inf
from pathlib import Path

import pytest

from tests.shapes.test_rate_options import read
from tokenswarm.command_line import OptionErrors, PointedError
from tokenswarm.run_control.run_plan import level_of
from tokenswarm.shapes.arrival_schedule import arrivals
from tokenswarm.shapes.level_arrivals import schedule_of
from tokenswarm.shapes.plan import PlanError, PlannedLevel
from tokenswarm.shapes.shape_options import load_plan_of


def levels(*arguments: str) -> tuple[PlannedLevel, ...]:
    return load_plan_of(read("--headless", *arguments)).levels


def due_s(level: PlannedLevel) -> list[float]:
    return [arrival.due_s for arrival in arrivals(schedule_of(level_of(level)))]


@pytest.mark.parametrize(
    "arguments",
    [
        ("--rate", "20", "--arrivals", "constant"),
        ("--rate", "20"),
        ("--rate", "7", "--arrivals", "weibull:0.4"),
        ("--rate", "20", "--burstiness", "0.5"),
        ("--rate-schedule", "0s:5 20s:20"),
    ],
)
def test_an_open_loop_has_exactly_so_many_and_ends_where_the_next_would_be_due(arguments: tuple[str, ...]) -> None:
    (level,) = levels(*arguments, "--requests", "150", "--level-time", "10m")
    (unlimited,) = levels(*arguments, "--level-time", "10m")
    found, all_s = due_s(level), due_s(unlimited)
    assert found == all_s[:150]
    assert level.level_time_s == all_s[150]
    assert level.arrivals is not None and unlimited.arrivals is not None
    if "--rate" in arguments:
        assert level.arrivals == unlimited.arrivals


def test_all_at_once() -> None:
    (level,) = levels("--request-rate", "inf", "--requests", "30", "--level-time", "2m")
    assert due_s(level) == [0.0] * 30
    assert (level.name, level.level_time_s, level.requests) == ("inf/s", 120.0, 30)
    assert level_of(level).ends_with_requests


def test_the_first_times_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "times.txt"
    file.write_text("0\n0.5\n2.5\n9\n")
    (level,) = levels("--arrivals", str(file), "--requests", "3")
    assert (due_s(level), level.level_time_s) == ([0.0, 0.5, 2.5], 3.0)
    assert level.arrivals is not None and level.arrivals.mean_rate == 1.0


def test_users_send_so_many_in_each_level() -> None:
    ladder = levels("--levels", "2,4", "--system-prompt", "off", "--requests", "50")
    assert [(level.requests, level.level_time_s) for level in ladder] == [(50, 300.0), (50, 300.0)]
    (free,) = levels("-u", "3", "--requests", "50")
    assert (free.requests, free.level_time_s) == (50, inf)
    assert not level_of(levels("--levels", "2")[0]).ends_with_requests


def test_another_name_of_gamma_arrivals() -> None:
    (level,) = levels("--rate", "5", "--burstiness", "0.5")
    assert level.arrivals is not None and level.arrivals.process == "gamma:0.5"


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["--rate", "1", "--requests", "1000", "--level-time", "5m"], PlanError),
        (["--rate", "inf"], PlanError),
        (["--rate", "5", "--requests", "-1"], PlanError),
        (["--levels", "5", "--requests", "-1"], PlanError),
        (["--rate-schedule", "0s:5 10s:0", "--requests", "26"], PlanError),
        (["--rate", "5", "--burstiness", "-2"], PointedError),
        (["--rate", "5", "--burstiness", "2", "--arrivals", "constant"], PlanError),
        (["--levels", "5", "--burstiness", "2"], PlanError),
    ],
)
def test_what_cannot_be_is_refused(arguments: list[str], error: type[Exception]) -> None:
    with pytest.raises((error, OptionErrors)):
        levels(*arguments)
