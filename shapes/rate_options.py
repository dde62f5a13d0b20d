"""The options of an open loop: requests are sent when they are due, whatever became of the ones before."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator, Mapping
from math import floor, isinf
from pathlib import Path

from tokenswarm.command_line import OptionAdder, PointedError, collect_errors, parse_timespan, timespan_text
from tokenswarm.metrics.level import RATE_UNIT, SESSION_RATE_UNIT, Arrivals
from tokenswarm.prompts.traces.trace_records import TRACE
from tokenswarm.shapes.arrival_notation import (
    ARRIVALS,
    RATE,
    RATE_SCHEDULE,
    ArrivalsFile,
    parse_arrivals,
    parse_rate_schedule,
    parse_rates,
)
from tokenswarm.shapes.level_arrivals import read_times
from tokenswarm.shapes.plan import PlanError, PlannedLevel, modes_of
from tokenswarm.shapes.rate_schedule import RateSchedule
from tokenswarm.shapes.request_limit import REQUESTS
from tokenswarm.shapes.trace_options import replay_load

OPEN, BURSTINESS, SESSION_RATE = "open", "--burstiness", "--session-rate"
#: Options of a closed loop: which of them count follows from the number of users, which an open loop does not have.
_CLOSED = ("shape", "levels", "ramp", "num_users", "spawn_rate", "run_time", "wait_after_failure")


def add_options(option: OptionAdder) -> None:
    """Each has a field in the page's form."""
    option(
        RATE,
        aliases=["--request-rate"],
        text="open loop: requests a second, of each level, like 20 or 5,10,20; each level takes --level-time; "
        "inf: all of --requests at once (docs/load.md#when-requests-are-due)",
    )
    option(
        SESSION_RATE,
        text="open loop: sessions that begin a second, of each level, like 2 or 1,2,4; each sends its later turns on "
        "its own, when the turn before is answered and --think-time is over (docs/load.md#sessions-that-arrive)",
    )
    option(
        "--arrivals",
        default="poisson",
        text="open loop: when requests are due: poisson, constant, gamma:SHAPE, weibull:SHAPE, or a file with a time "
        "in seconds on each line, which takes the place of --rate and --level-time",
    )
    option(
        BURSTINESS,
        default=0.0,
        type=float,
        metavar="SHAPE",
        text="open loop: another way to write --arrivals gamma:SHAPE: below 1: requests in bursts, 1: as poisson, "
        "above 1: more even; 0: as --arrivals says",
        include_in_web_ui=False,
    )
    option(
        RATE_SCHEDULE,
        text='open loop: requests a second over the time of one level, like "0s:5 60s:20 120s:5", linear between the '
        "points; or the path of a file with that or JSON",
    )
    option(
        "--max-in-flight",
        default=0,
        type=int,
        text="open loop: most requests in flight (with --session-rate: sessions under way), divided among the workers; "
        "further requests wait in order, and the wait is part of their lag; 0: no limit",
    )


def is_open(options: Namespace) -> bool:
    """Whether the options are of an open loop."""
    says_when = options.rate or options.session_rate or options.rate_schedule or options.trace
    return bool(says_when or names_file(options.arrivals))


def conflicts(options: Namespace, sources: Mapping[str, str]) -> Iterator[str]:
    """A sentence for each option that excludes another, or has no effect. sources: where each given option comes from,
    by its name."""
    names = ("rate", "session_rate", "rate_schedule", "trace", "arrivals")
    given = [sources[name] for name in names if name in sources]
    if not is_open(options):
        for name in ("arrivals", "burstiness", "max_in_flight"):
            if name in sources:
                yield f"{sources[name]} has no effect without an open loop: give --rate or --rate-schedule."
        return
    cause = given[0] if given else RATE
    for name in _CLOSED:
        if name in sources and not (name == "shape" and options.shape == OPEN):
            yield f"{sources[name]} has no effect with {cause} (open loop): leave one of them out."
    if "arrivals" in sources and "burstiness" in sources:
        yield f"{sources['arrivals']} and {sources['burstiness']} both say how requests arrive: give one of them."
    if names_file(options.arrivals) and "level_time" in sources:
        yield f"{sources['level_time']} has no effect beside --arrivals FILE: the level ends with the file's last time."
    if options.worker:
        yield f"{cause} is an option of the master, and --worker takes none of a run: leave it out."


def open_levels(options: Namespace) -> tuple[PlannedLevel, ...]:
    """The levels of an open loop, without a limit of requests. Raises PlanError, PointedError, ArrivalsError,
    TimespanError, OptionErrors."""
    with collect_errors() as errors:
        if (most := options.max_in_flight) < 0:
            errors.add(PlanError(f"--max-in-flight takes a number of requests, or 0 for no limit, got {most}."))
        if conflict := _conflict(options):
            errors.add(PlanError(conflict))
        modes = errors.of(modes_of, options.system_prompt, auto="off")
        loads = errors.of(_loads_of, options)
    pairs = [(mode, *load) for mode in modes for load in loads]
    return tuple(
        PlannedLevel(index, mode, 1, 0.0, level_time_s, arrivals, name)
        for index, (mode, name, level_time_s, arrivals) in enumerate(pairs)
    )


def _conflict(options: Namespace) -> str:
    """Why the options do not say once when requests are due; empty where they do."""
    flags = ((RATE, options.rate), (SESSION_RATE, options.session_rate), (RATE_SCHEDULE, options.rate_schedule))
    given = [flag for flag, value in flags if value]
    given += [TRACE] if options.trace else []
    given += [ARRIVALS] if names_file(options.arrivals) else []
    if len(given) > 1:
        return f"{' and '.join(given)} each say when requests are due: give one of them."
    if not given:
        return f"{RATE} takes requests a second, like 20 or 5,10,20, got nothing: give it, or {RATE_SCHEDULE}."
    return ""


def names_file(arrivals: str) -> bool:
    """Whether --arrivals takes this text for the path of a file."""
    try:
        return isinstance(parse_arrivals(arrivals), ArrivalsFile)
    except PointedError:
        return False


def _loads_of(options: Namespace) -> list[tuple[str, float, Arrivals]]:
    """(name of the level, its time in seconds, its arrivals)."""
    if options.trace:
        return [replay_load(options)]
    seed, most = str(options.seed), options.max_in_flight or None
    if names_file(options.arrivals):
        times, sha256 = read_times(options.arrivals)
        level_time_s = floor(float(times[-1])) + 1.0
        rate = len(times) / level_time_s
        return [("file", level_time_s, Arrivals(options.arrivals, (), rate, seed, most, sha256))]
    with collect_errors() as errors:
        process = errors.of(process_of, options)
        level_time_s = errors.of(parse_timespan, "--level-time", options.level_time, above_zero=True)
        schedule = errors.of(_schedule_of, options.rate_schedule) if options.rate_schedule else None
        rates = errors.of(_rates_of, options) if options.rate or options.session_rate else ()
    if schedule is not None:
        last_s = schedule.points[-1].time_s
        if last_s > level_time_s:
            raise PlanError(
                f"--level-time ({timespan_text(level_time_s)}) ends before the last point of {RATE_SCHEDULE} "
                f"({timespan_text(last_s)}): give a longer one."
            )
        points = tuple((point.time_s, point.rate) for point in schedule.points)
        rate = schedule.expected(level_time_s) / level_time_s
        return [("schedule", level_time_s, Arrivals(process, points, rate, seed, most))]
    unit = SESSION_RATE_UNIT if options.session_rate else RATE_UNIT
    return [(f"{rate:g}{unit}", level_time_s, _arrivals_at(rate, process, options)) for rate in rates]


def _arrivals_at(rate: float, process: str, options: Namespace) -> Arrivals:
    seed, most = str(options.seed), options.max_in_flight or None
    if isinf(rate):
        return Arrivals("at once", (), float(options.requests), seed, most)
    return Arrivals(process, ((0.0, rate),), rate, seed, most, sessions=bool(options.session_rate))


def process_of(options: Namespace) -> str:
    """The arrival process as --arrivals names it. Raises PointedError."""
    process = f"gamma:{options.burstiness:g}" if options.burstiness else str(options.arrivals)
    parse_arrivals(process)
    return process


def _rates_of(options: Namespace) -> tuple[float, ...]:
    """Raises PointedError, PlanError."""
    if options.session_rate:
        return _session_rates_of(options)
    rates = parse_rates(options.rate)
    if any(map(isinf, rates)) and not options.requests:
        raise PlanError(f"{RATE} inf sends all requests at once: say how many with {REQUESTS}, like {REQUESTS} 100.")
    return rates


def _session_rates_of(options: Namespace) -> tuple[float, ...]:
    """Raises PointedError, PlanError."""
    rates = parse_rates(options.session_rate, SESSION_RATE)
    if any(map(isinf, rates)):
        raise PlanError(f"{SESSION_RATE} takes sessions a second, like 2 or 1,2,4, got inf: give numbers.")
    if options.requests:
        raise PlanError(
            f"{REQUESTS} counts requests, and {SESSION_RATE} begins sessions: leave {REQUESTS} out; the level ends "
            "with --level-time."
        )
    return rates


def schedule_names_file(text: str) -> bool:
    """Whether --rate-schedule takes this text for the path of a file."""
    return ":" not in text or text.startswith(("/", "./"))


def _schedule_of(text: str) -> RateSchedule:
    """Raises PointedError, ArrivalsError."""
    path = Path(text)
    if schedule_names_file(text):
        try:
            return parse_rate_schedule(path.read_text(), text)
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is no text"
            raise PlanError(f"{RATE_SCHEDULE}: the file {text} cannot be read: {reason}.") from None
    return parse_rate_schedule(text)
