"""The shape's options: how they are given, and the plan they make."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Mapping
from typing import Any

from options import collect_errors
from shapes.plan import CHOICES, Level, PlanError, free, ladder, parse_levels, parse_timespan


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


def check_conflicts(options: Namespace, sources: Mapping[str, str]) -> None:
    """At start-up: refuse options of which one would have no effect beside the other. sources: where each option that
    was given comes from, by its name. Raises PlanError, OptionErrors."""
    with collect_errors() as errors:
        for name, other, sentence in _conflicts(options, sources):
            errors.add(PlanError(f"{sources[name]} has no effect beside {other}: {sentence}."))
        if options.class_picker:
            errors.add(
                PlanError("--class-picker: the users follow from --system-prompt; choose there, off, on or both.")
            )


def _conflicts(options: Namespace, sources: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    """(option without effect, what it stands beside, what to do)."""
    free = [sources[name] for name in ("num_users", "spawn_rate", "run_time") if name in sources]
    ladder = "run the ladder (leave out -u, -r and -t), or one number of users (-u, -r, -t)"
    if "shape" in sources and options.shape == "free":
        free = free or [sources["shape"] + " free"]
    for name in ("levels", "level_time"):
        if name in sources and free:
            yield name, " and ".join(free), ladder
    if "shape" in sources and options.shape == "ladder" and free:
        yield "shape", " and ".join(free), ladder
    if "ramp" in sources and "spawn_rate" in sources:
        yield "ramp", sources["spawn_rate"], "give the rate of new users or the time until all are there"
    elif "ramp" in sources and free and not is_free(options):
        yield "ramp", free[0], "give -u, and all users are there within --ramp"
    plain = options.system_prompt == "off" or (options.system_prompt == "auto" and free)
    if "system_prompt_file" in sources and plain:
        beside = "--system-prompt off" if options.system_prompt == "off" else f"{free[0]} (--system-prompt auto is off)"
        yield "system_prompt_file", beside, "give --system-prompt on, or leave the file out"


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
    """The plan that the options make. Raises PlanError, OptionErrors."""
    if options.shape == "free":
        users = 1 if options.num_users is None else int(options.num_users)
        spawn_rate = 1.0 if options.spawn_rate is None else float(options.spawn_rate)
        return free(users, spawn_rate, options.run_time, options.system_prompt)
    with collect_errors() as errors:
        errors.of(parse_levels, options.levels)
        ramp_s = errors.of(parse_timespan, "--ramp", options.ramp)
        level_time_s = errors.of(parse_timespan, "--level-time", options.level_time)
    return ladder(options.levels, options.system_prompt, ramp_s, level_time_s)


def pauses_of(options: Namespace) -> tuple[float, float]:
    """(drain timeout, settling time) in seconds. Raises PlanError, OptionErrors."""
    with collect_errors() as errors:
        drain_s = errors.of(parse_timespan, "--drain-timeout", options.drain_timeout)
        if drain_s is not None and drain_s <= 0:
            errors.add(PlanError(f"--drain-timeout must be longer than 0, got {options.drain_timeout!r}."))
        settle_s = errors.of(parse_timespan, "--settle", options.settle)
    return drain_s, settle_s
