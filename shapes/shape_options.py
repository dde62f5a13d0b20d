"""The shape's options: how they are given, and the plan they make."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from tokenswarm.command_line import OptionAdder, collect_errors, parse_timespan
from tokenswarm.metrics.level import AfterFailure, ThinkTime
from tokenswarm.shapes import capacity_options, rate_options, trace_options
from tokenswarm.shapes.capacity_options import search_plan_of
from tokenswarm.shapes.plan import (
    CHOICES,
    OWN_SHAPE,
    OWN_USERS,
    LoadPlan,
    PlanError,
    PlannedLevel,
    check_ramp,
    free,
    ladder,
    own_shape_level,
    parse_levels,
)
from tokenswarm.shapes.request_limit import check_requests, limit_requests
from tokenswarm.shapes.think_time import think_time_of
from tokenswarm.shapes.warm_up import parse_warm_up, with_warm_ups


def add_options(parser: ArgumentParser) -> None:
    """Give Locust's parser (and so its web form) the shape's options. Every default has the type the form returns."""
    option = OptionAdder(parser)
    option(
        "--shape",
        choices=["ladder", "free", rate_options.OPEN, capacity_options.CAPACITY],
        default="ladder",
        text="ladder: the levels of --levels, one after the other; free: one level with the users, spawn rate and "
        "run time of -u, -r and -t (selected automatically where one of these is given); open: requests at the times "
        "of --rate, --rate-schedule, --arrivals or --trace, whether or not earlier ones have ended (selected "
        "automatically where one of these is given); capacity: a search for the largest load within --slo (selected "
        "by --find-capacity)",
    )
    option("--levels", default="10,50,100", text="users of each level of the ladder")
    option.time("--ramp", default="20s", text="time in which all users of a level are started")
    option.time("--level-time", default="5m", text="time of each level, its ramp included")
    option(
        "--system-prompt",
        choices=list(CHOICES),
        default="auto",
        text="off: requests have no system prompt; on: they have one; both: all levels first without and then with "
        "one; auto: both on the ladder, off in the free shape and in an open loop",
    )
    option.time(
        "--drain-timeout",
        default="10m",
        text="how long open streams may go on after their level's time; the rest are then cut, and are not "
        "included in latency figures",
    )
    option(
        "--requests",
        default=0,
        type=int,
        metavar="NUMBER",
        text="end each level when so many requests of it have ended, or with its time if that comes first "
        "(docs/load.md#a-number-of-requests); 0: no limit",
    )
    option(
        "--warm-up",
        metavar="TIME|NUMBER",
        text="load before each level that is not included in the results: a time like 30s, or a number of requests "
        "like 50 (docs/load.md#warm-up); empty: none",
    )
    _add_user_options(option)
    option.time("--settle", default="5s", text="pause after each level's last stream")
    rate_options.add_options(option)
    capacity_options.add_options(option)
    trace_options.add_options(option)


def _add_user_options(option: OptionAdder) -> None:
    """What users do between requests."""
    option(
        "--think-time",
        metavar="TIME",
        text="how long a user waits between the end of a request and its next one: a time like 2s, exp(2s), u(1s,3s) "
        "or ln(8s,p95=60s) (docs/load.md#think-time); empty: it sends the next one at once",
    )
    option.switch(
        "--random-start",
        text="have each user send its first request of a level at a random moment between its start and the end of the "
        "ramp, drawn by --seed, so that users do not move in step",
    )
    option.time(
        "--wait-after-failure",
        default="1s",
        text="how long a user waits after a failed request, if its think time is not longer "
        "(docs/load.md#after-a-failure)",
    )
    option.switch(
        "--honour-retry-after",
        text="after a 429 or 503 with a Retry-After header, have the user wait as long as that says; such requests are "
        "no failures, and are counted apart as refused_by_limit",
    )


def is_free(options: Namespace) -> bool:
    """Whether -u, -r or -t stand on the command line."""
    return any(value is not None for value in (options.num_users, options.spawn_rate, options.run_time))


def check_conflicts(options: Namespace, sources: Mapping[str, str]) -> None:
    """At start-up: refuse options of which one would have no effect beside the other. sources: where each option that
    was given comes from, by its name. Raises PlanError, OptionErrors."""
    with collect_errors() as errors:
        of_search = list(capacity_options.conflicts(options, sources))
        of_rates = [] if capacity_options.is_given(options) else rate_options.conflicts(options, sources)
        for sentence in (*of_search, *of_rates, *trace_options.conflicts(options, sources)):
            errors.add(PlanError(sentence))
        if of_search:
            return
        for name, other, sentence in _conflicts(options, sources):
            errors.add(PlanError(f"{sources[name]} has no effect beside {other}: {sentence}."))
        if options.class_picker:
            errors.add(
                PlanError(
                    "--class-picker: the page chooses no user classes: name those of a locustfile on the command line, "
                    "behind its options; of Tokenswarm's own, choose with --system-prompt off, on or both."
                )
            )


def _conflicts(options: Namespace, given: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    """(option without effect, what it stands beside, what to do)."""
    sources = given
    free = [sources[name] for name in ("num_users", "spawn_rate", "run_time") if name in sources]
    ladder = "run the ladder (leave out -u, -r and -t), or one number of users (-u, -r, -t)"
    if "shape" in sources and options.shape == "free":
        free = free or [sources["shape"] + " free"]
    if rate_options.is_open(options):  # rate_options.conflicts names these
        free, sources = [], {}
    for name in ("levels", "level_time"):
        if name in sources and free:
            yield name, " and ".join(free), ladder
    if "shape" in sources and options.shape == "ladder" and free:
        yield "shape", " and ".join(free), ladder
    if "ramp" in sources and "spawn_rate" in sources:
        yield "ramp", sources["spawn_rate"], "give the rate of new users or the time until all are there"
    elif "ramp" in sources and free and not is_free(options):
        yield "ramp", free[0], "give -u, and all users are there within --ramp"
    yield from _idle_system_prompt(options, given, free)


def _idle_system_prompt(
    options: Namespace, sources: Mapping[str, str], free: Sequence[str]
) -> Iterator[tuple[str, str, str]]:
    """The file of a system prompt that no request has. free: the options given that select the free shape."""
    if rate_options.is_open(options):
        names = ("rate", "session_rate", "rate_schedule", "trace")
        free = [next((sources[name] for name in names if name in sources), "--arrivals")]
    plain = options.system_prompt == "off" or (options.system_prompt == "auto" and free)
    if "system_prompt_file" in sources and plain:
        beside = "--system-prompt off" if options.system_prompt == "off" else f"{free[0]} (--system-prompt auto is off)"
        yield "system_prompt_file", beside, "give --system-prompt on, or leave the file out"


def choose_shape(options: Namespace) -> None:
    """At start-up: --rate, --rate-schedule and a file of arrivals select an open loop; -u, -r or -t on the command line
    the free shape, which reaches its users within --ramp unless -r says otherwise. Raises TimespanError."""
    if capacity_options.is_given(options):
        options.shape = capacity_options.CAPACITY
    elif rate_options.is_open(options):
        options.shape = rate_options.OPEN
    elif is_free(options):
        options.shape = "free"
        options.num_users = 1 if options.num_users is None else options.num_users
        if options.spawn_rate is None:
            ramp_s = min(parse_timespan("--ramp", options.ramp), (options.run_time or 60.0) / 3)
            options.spawn_rate = options.num_users / ramp_s if ramp_s else options.num_users


def load_plan_of(options: Namespace) -> LoadPlan:
    """The load that the options describe. Raises PlanError, TimespanError, OptionErrors, and for an open loop
    PointedError and ArrivalsError."""
    with collect_errors() as errors:
        levels = errors.of(_levels_of, options)
        think_time = errors.of(_think_time_of, options)
        after_failure = errors.of(_after_failure_of, options)
        drain_s = errors.of(parse_timespan, "--drain-timeout", options.drain_timeout, above_zero=True)
        settle_s = errors.of(parse_timespan, "--settle", options.settle)
        if options.random_start and levels:
            errors.of(_check_random_start, options, levels)
    changes = {"think_time": think_time, "after_failure": after_failure, "random_start": options.random_start}
    changes["own_users"] = bool(getattr(options, OWN_USERS, ()))
    search = search_plan_of(options) if options.shape == capacity_options.CAPACITY else None
    if search is not None:
        search = replace(search, template=replace(search.template, **changes))
    return LoadPlan(tuple(replace(level, **changes) for level in levels), drain_s, settle_s, search)


def _check_random_start(options: Namespace, levels: Sequence[PlannedLevel]) -> None:
    if options.shape == rate_options.OPEN:
        raise PlanError("--random-start has no effect in an open loop, which has no users that start: leave it out.")
    if not all(level.ramp_s for level in levels):
        raise PlanError("--random-start needs a ramp, in which users start: give --ramp, or a lower -r.")


def _think_time_of(options: Namespace) -> ThinkTime | None:
    if not options.think_time:
        return None
    if options.shape == rate_options.OPEN and not options.session_rate:
        raise PlanError(
            "--think-time has no effect in an open loop of single requests, which has no users that wait: leave it out."
        )
    return think_time_of(options.think_time, str(options.seed))


def _after_failure_of(options: Namespace) -> AfterFailure:
    wait_s = parse_timespan("--wait-after-failure", options.wait_after_failure)
    if options.honour_retry_after and options.shape == rate_options.OPEN:
        raise PlanError(
            "--honour-retry-after has no effect in an open loop, which has no users that wait: leave it out."
        )
    return AfterFailure(wait_s, options.honour_retry_after)


def _levels_of(options: Namespace) -> tuple[PlannedLevel, ...]:
    of_shape = rate_options.open_levels if options.shape == rate_options.OPEN else _closed_levels_of
    if options.shape == capacity_options.CAPACITY:
        of_shape = _first_probe
    with collect_errors() as errors:
        plain = errors.of(of_shape, options)
        warm_up = errors.of(parse_warm_up, options.warm_up)
        errors.of(check_requests, options.requests)
    return tuple(
        level if level.warm_up else limit_requests(level, options.requests) for level in with_warm_ups(plain, warm_up)
    )


def _first_probe(options: Namespace) -> tuple[PlannedLevel, ...]:
    search = search_plan_of(options)
    return (search.probe(0, search.range.first, 1),)


def _closed_levels_of(options: Namespace) -> tuple[PlannedLevel, ...]:
    # Users of a locustfile's own have system prompts of their own.
    alone = getattr(options, OWN_USERS, ()) and options.system_prompt == "auto"
    system_prompt = "off" if alone else options.system_prompt
    if own_shape := getattr(options, OWN_SHAPE, ""):
        return own_shape_level(own_shape, options.run_time, system_prompt)
    if options.shape == "free":
        users = 1 if options.num_users is None else int(options.num_users)
        spawn_rate = 1.0 if options.spawn_rate is None else float(options.spawn_rate)
        return free(users, spawn_rate, options.run_time, system_prompt)
    with collect_errors() as errors:
        errors.of(parse_levels, options.levels)
        ramp_s = errors.of(parse_timespan, "--ramp", options.ramp)
        level_time_s = errors.of(parse_timespan, "--level-time", options.level_time)
        if ramp_s is not None and level_time_s is not None:
            errors.of(check_ramp, ramp_s, level_time_s)
    return ladder(options.levels, system_prompt, ramp_s, level_time_s)
