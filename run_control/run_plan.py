"""A run's options, parsed once into one frozen record."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from math import ceil, inf, isinf
from typing import Any

from locust import argument_parser

import tokenswarm.shapes.shape_options
from tokenswarm.command_line import collect_errors
from tokenswarm.metrics.level import Level, SystemPrompt
from tokenswarm.recording.recording_options import RecordingOptions
from tokenswarm.reports.checks.check_options import CheckOptions
from tokenswarm.reports.checks.run_checks import check_levels
from tokenswarm.reports.checks.scheduled_times import check_scheduled
from tokenswarm.shapes.plan import LoadPlan, PlanError, PlannedLevel
from tokenswarm.web.web_options import is_web_option


@dataclass(frozen=True, slots=True)
class RunPlan:
    """What the options say of a run, but for its requests (client/request_options.py). load: what the shape follows;
    levels: the same as they are recorded; checks: the conditions, each of which names a level of the plan."""

    shape: str
    load: LoadPlan
    levels: tuple[Level, ...]
    checks: CheckOptions
    recording: RecordingOptions

    @classmethod
    def of(cls, options: Namespace) -> RunPlan:
        """Check and convert. Raises OptionErrors with all that is wrong, or the only error itself: a PlanError,
        TimespanError, ConditionError, ReportError, ObjectiveError, RecordingOptionError."""
        with collect_errors() as errors:
            load = errors.of(tokenswarm.shapes.shape_options.load_plan_of, options)
            levels = tuple(map(level_of, load.levels)) if load else ()
            checks = errors.of(CheckOptions.of, options)
            if levels and checks:
                errors.of(
                    check_levels, checks, [(level.name, level.system_prompt) for level in levels if not level.warm_up]
                )
            recording = errors.of(RecordingOptions.of, options)
            if levels and checks and recording:
                open_loop = any(level.arrivals is not None for level in levels)
                errors.of(check_scheduled, checks.conditions, recording.objectives.bounds, open_loop=open_loop)
        return cls(options.shape, load, levels, checks, recording)

    @property
    def modes(self) -> Collection[SystemPrompt]:
        """The system-prompt modes of its levels."""
        return {level.system_prompt for level in self.levels}

    def check_workers(self, workers: int) -> None:
        """Whether so many processes can share the load. Raises PlanError."""
        limits = [level.arrivals.max_in_flight for level in self.levels if level.arrivals is not None]
        most = min((limit for limit in limits if limit is not None), default=workers)
        if most < workers:
            raise PlanError(
                f"--max-in-flight {most} cannot be divided among {workers} workers, each of which needs at least 1: "
                f"give {workers} or more, or use fewer workers."
            )

    @property
    def most_users(self) -> int:
        """Of its largest level: users, each with one request at a time. In an open loop, the limit of requests in
        flight, or as many as arrive in a second."""
        return max(map(_most_at_once, self._largest))

    def most_connections(self, seconds_per_session: Callable[[float], float]) -> int:
        """Of its largest level: one for each user; in an open loop, for each request or session under way.
        seconds_per_session: how long a session is under way, given the expected think time in seconds."""
        return max(_connections(level, seconds_per_session) for level in self._largest)

    @property
    def _largest(self) -> tuple[Level, ...]:
        """Its levels, the largest that a search may come to among them."""
        return self.levels if self.load.search is None else (*self.levels, level_of(self.load.search.largest))


def level_of(level: PlannedLevel) -> Level:
    """The shape's level as it is recorded."""
    level_time_s = None if isinf(level.level_time_s) else level.level_time_s
    users = 0 if level.arrivals else level.users
    return Level(
        level.index,
        level.system_prompt,
        level.name,
        users,
        level.ramp_s,
        level_time_s,
        arrivals=level.arrivals,
        think_time=level.think_time,
        requests=level.requests,
        warm_up=level.warm_up,
        after_failure=level.after_failure,
        random_start=level.random_start,
        probe=level.probe,
        own_users=level.own_users,
        own_shape=level.own_shape,
    )


def _most_at_once(level: Level) -> int:
    if level.arrivals is None:
        return max(1, level.users)
    return level.arrivals.max_in_flight or max(1, ceil(level.arrivals.mean_rate))


def _connections(level: Level, seconds_per_session: Callable[[float], float]) -> int:
    arrivals = level.arrivals
    if arrivals is None or not arrivals.sessions or arrivals.max_in_flight:
        return _most_at_once(level)
    seconds = seconds_per_session(level.think_time.mean_s if level.think_time else 0.0)
    longest_s = inf if level.level_time_s is None else level.level_time_s
    return max(1, ceil(arrivals.mean_rate * min(seconds, longest_s)))


#: A run's name and tags have keys of their own in run.json, which may change later.
_LABELS = {"name", "tag"}
_NEVER_RECORDED = {"client_key", *_LABELS}


def run_options(options: Namespace, defaults: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Tokenswarm's options with their current values, for run.json, and the names of those that are not at their
    default. defaults: of all options of the command line; what else the namespace holds is no option. Where a private
    key lies is nobody's business but this machine's."""
    locusts = argument_parser.default_args_dict()
    values = {
        name: value
        for name, value in vars(options).items()
        if name in defaults and name not in locusts and name not in _NEVER_RECORDED and not is_web_option(name)
    }
    return values, [name for name, value in values.items() if value != defaults[name]]
