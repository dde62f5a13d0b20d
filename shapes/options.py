"""The shape's options: how they are given, and the plan they make."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import Any

from shapes.plan import CHOICES, Level, PlanError, free, ladder, parse_timespan


def add_options(parser: ArgumentParser) -> None:
    """Give Locust's parser (and so its web form) the shape's options. Every default has the type the form returns."""
    option: Any = parser.add_argument  # Locust's own, which knows env_var and include_in_web_ui
    option(
        "--shape",
        choices=["ladder", "free"],
        default="ladder",
        env_var="TOKENSWARM_SHAPE",
        help="ladder: --levels one after the other, and Locust's own users, rate and run time do not count; free: they "
        "alone do (chosen by -u, -r or -t on the command line)",
    )
    option("--levels", default="10,50,100", env_var="TOKENSWARM_LEVELS", help="users of each level of the ladder")
    option("--ramp", default="20s", env_var="TOKENSWARM_RAMP", help="time within which a level's users are all there")
    option("--level-time", default="5m", env_var="TOKENSWARM_LEVEL_TIME", help="time of each level, its ramp included")
    option(
        "--system-prompt",
        choices=list(CHOICES),
        default="auto",
        env_var="TOKENSWARM_SYSTEM_PROMPT",
        help="ask without a system prompt, with one, or go through all levels first without and then with; "
        "auto: both on the ladder, off in the free shape",
    )
    option(
        "--drain-timeout",
        default="10m",
        env_var="TOKENSWARM_DRAIN_TIMEOUT",
        help="how long streams may go on after their level's time; those that still run are then cut, and missed",
    )
    option("--settle", default="5s", env_var="TOKENSWARM_SETTLE", help="pause after each level's last stream")


def is_free(options: Namespace) -> bool:
    """Whether -u, -r or -t stand on the command line."""
    return any(value is not None for value in (options.num_users, options.spawn_rate, options.run_time))


def choose_free_shape(options: Namespace) -> None:
    """At start-up: -u, -r or -t on the command line select the free shape, which reaches its users within --ramp
    unless -r says otherwise. Raises PlanError."""
    if is_free(options):
        options.shape = "free"
        options.num_users = 1 if options.num_users is None else options.num_users
        if options.spawn_rate is None:
            ramp_s = min(parse_timespan("--ramp", options.ramp), (options.run_time or 60.0) / 3)
            options.spawn_rate = options.num_users / ramp_s if ramp_s else options.num_users


def plan_of(options: Namespace) -> tuple[Level, ...]:
    """The plan that the options make. Raises PlanError."""
    if options.shape == "free":
        users = 1 if options.num_users is None else int(options.num_users)
        spawn_rate = 1.0 if options.spawn_rate is None else float(options.spawn_rate)
        return free(users, spawn_rate, options.run_time, options.system_prompt)
    ramp_s = parse_timespan("--ramp", options.ramp)
    level_time_s = parse_timespan("--level-time", options.level_time)
    return ladder(options.levels, options.system_prompt, ramp_s, level_time_s)


def pauses_of(options: Namespace) -> tuple[float, float]:
    """(drain timeout, settling time) in seconds. Raises PlanError."""
    drain_s = parse_timespan("--drain-timeout", options.drain_timeout)
    if drain_s <= 0:
        raise PlanError(f"--drain-timeout must be longer than 0, got {options.drain_timeout!r}.")
    return drain_s, parse_timespan("--settle", options.settle)
