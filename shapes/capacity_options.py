"""The options of a capacity search: the largest load that a server carries within the objectives of --slo."""

from __future__ import annotations

import re
from argparse import Namespace
from collections.abc import Iterator, Mapping
from dataclasses import replace
from math import isfinite

from tokenswarm.command_line import OptionAdder, collect_errors, parse_timespan
from tokenswarm.metrics.level import Arrivals
from tokenswarm.metrics.objectives import parse_share
from tokenswarm.shapes.capacity.search_range import SearchRange
from tokenswarm.shapes.plan import MOST_USERS, Mode, PlanError, PlannedLevel, SearchPlan, check_ramp, modes_of
from tokenswarm.shapes.rate_options import process_of

FIND_CAPACITY, BETWEEN, PRECISION = "--find-capacity", "--between", "--precision"
#: What options.shape says of a search.
CAPACITY = "capacity"
_OFF, USERS, RATE = "off", "users", "rate"
_DEFAULT_BETWEEN, _DEFAULT_PRECISION = "1:1000", "5%"
_BETWEEN = re.compile(r"(?P<low>\d+(?:\.\d+)?):(?P<high>\d+(?:\.\d+)?)", re.ASCII)
_PERCENT = re.compile(r"(?P<number>\d+(?:\.\d+)?)\s*(?P<percent>%?)", re.ASCII)
_PRECISIONS = (0.01, 1.0)
#: The search has loads of its own, and these options name some.
_OTHER_LOADS = (
    *("shape", "levels", "num_users", "spawn_rate", "run_time", "rate", "session_rate", "rate_schedule"),
    *("trace", "requests"),
)
_OF_USERS = ("ramp", "think_time", "wait_after_failure", "honour_retry_after", "random_start")
_OF_RATES = ("arrivals", "burstiness", "max_in_flight")


def add_options(option: OptionAdder) -> None:
    """Each has a field in the page's form."""
    option(
        FIND_CAPACITY,
        choices=[_OFF, USERS, RATE],
        default=_OFF,
        text="search for the largest load within --slo, instead of the levels of a shape: of users (closed loop), or "
        "a rate of requests (open loop); each probe takes --level-time at most (docs/capacity.md)",
    )
    option(
        BETWEEN,
        default=_DEFAULT_BETWEEN,
        metavar="MIN:MAX",
        text=f"with {FIND_CAPACITY}: the smallest and the largest load to probe",
    )
    option(
        PRECISION,
        default=_DEFAULT_PRECISION,
        text=f"with {FIND_CAPACITY}: the search stops when the smallest load that fails is at most so much above the "
        "largest that passes",
    )


def is_given(options: Namespace) -> bool:
    """Whether the command line selects a capacity search."""
    return options.find_capacity in (USERS, RATE) or options.shape == CAPACITY


def conflicts(options: Namespace, sources: Mapping[str, str]) -> Iterator[str]:
    """A sentence for each option that excludes another, or has no effect. sources: where each given option comes from,
    by its name."""
    if not is_given(options):
        for name in ("between", "precision"):
            if name in sources:
                yield f"{sources[name]} has no effect without {FIND_CAPACITY}: give {FIND_CAPACITY} users or rate."
        return
    for name in _OTHER_LOADS:
        if name in sources and not (name == "shape" and options.shape == CAPACITY):
            yield f"{sources[name]} has no effect with {FIND_CAPACITY}, which chooses the load: leave one of them out."
    idle, other = (_OF_RATES, RATE) if options.find_capacity == USERS else (_OF_USERS, USERS)
    for name in idle if options.find_capacity in (USERS, RATE) else ():
        if name in sources:
            yield (
                f"{sources[name]} has no effect with {FIND_CAPACITY} {options.find_capacity}: leave it out, or "
                f"search for {other}."
            )
    if options.worker:
        yield f"{FIND_CAPACITY} is an option of the master, and --worker takes none of a run: leave it out."


def search_plan_of(options: Namespace) -> SearchPlan:
    """Raises PlanError, TimespanError, PointedError, OptionErrors."""
    _check_choice(options.find_capacity)
    with collect_errors() as errors:
        errors.of(_check_objectives, options)
        loads = errors.of(_loads_of, options)
        precision = errors.of(_precision_of, options.precision)
        mode = errors.of(_mode_of, options.system_prompt)
        template = errors.of(_closed_probe if options.find_capacity == USERS else _open_probe, options)
    of = SearchRange(*loads, precision, whole=options.find_capacity == USERS)
    return SearchPlan(of, replace(template, system_prompt=mode))


def _check_choice(searched: str) -> None:
    if searched not in (USERS, RATE):
        raise PlanError(
            f"--shape {CAPACITY} searches for users (closed loop) or a rate (open loop): give {FIND_CAPACITY} users or "
            f"{FIND_CAPACITY} rate, got {searched!r}."
        )


def _check_objectives(options: Namespace) -> None:
    if not options.slo:
        raise PlanError(
            f"{FIND_CAPACITY} searches for the largest load within objectives: give them, like --slo ttft=500ms."
        )
    if parse_share(options.slo_share) >= 1.0:
        raise PlanError(
            f"--slo-share {options.slo_share} cannot be shown by any number of requests: give less with "
            f"{FIND_CAPACITY}, like 99%."
        )


def _loads_of(options: Namespace) -> tuple[float, float]:
    """The smallest and the largest."""
    whole = options.find_capacity == USERS
    match = _BETWEEN.fullmatch(options.between.strip())
    if not match:
        raise PlanError(f"{BETWEEN} takes the smallest and the largest load, like 1:1000, got {options.between!r}.")
    low, high = float(match["low"]), float(match["high"])
    if not (0 < low < high and isfinite(high)):
        raise PlanError(f"{BETWEEN} takes a smaller load above 0 and a larger one, like 1:1000, got {options.between}.")
    if whole and not (low.is_integer() and high.is_integer() and high <= MOST_USERS):
        raise PlanError(f"{BETWEEN} takes whole numbers of users up to {MOST_USERS:,}, got {options.between}.")
    return low, high


def _precision_of(text: str) -> float:
    match = _PERCENT.fullmatch(text.strip())
    precision = float(match["number"]) / (100 if match["percent"] else 1) if match else 0.0
    least, most = _PRECISIONS
    if not least <= precision <= most:
        raise PlanError(f"{PRECISION} takes a share like 5% or 0.05, from 1 % to 100 %, got {text!r}.")
    return precision


def _mode_of(system_prompt: str) -> Mode:
    modes = modes_of(system_prompt, auto="off")
    if len(modes) > 1:
        raise PlanError(f"{FIND_CAPACITY} is of one server state: give --system-prompt off or on, got {system_prompt}.")
    return modes[0]


def _closed_probe(options: Namespace) -> PlannedLevel:
    with collect_errors() as errors:
        ramp_s = errors.of(parse_timespan, "--ramp", options.ramp)
        level_time_s = errors.of(parse_timespan, "--level-time", options.level_time)
        if ramp_s is not None and level_time_s is not None:
            errors.of(check_ramp, ramp_s, level_time_s)
    return PlannedLevel(0, "off", 1, ramp_s, level_time_s, probe=True)


def _open_probe(options: Namespace) -> PlannedLevel:
    with collect_errors() as errors:
        if (most := options.max_in_flight) < 0:
            errors.add(PlanError(f"--max-in-flight takes a number of requests, or 0 for no limit, got {most}."))
        process = errors.of(process_of, options)
        level_time_s = errors.of(parse_timespan, "--level-time", options.level_time, above_zero=True)
    arrivals = Arrivals(process, (), 0.0, str(options.seed), most or None)
    return PlannedLevel(0, "off", 1, 0.0, level_time_s, arrivals, probe=True)
