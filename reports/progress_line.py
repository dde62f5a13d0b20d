"""What a terminal shows of a run before its figures: the plan as it begins, then a line every few seconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from tokenswarm.metrics.level import Level, Phase, planned_length_s
from tokenswarm.recording.live_series import RequestRates
from tokenswarm.recording.progress import Progress
from tokenswarm.reports import units
from tokenswarm.reports.level_names import levels_in_words, times_in_words
from tokenswarm.reports.system_prompt_note import system_prompt_length
from tokenswarm.sanitize import shortened

_LONGEST_PHASE = len("hold: 100/100 users")
#: Fields of both forms, with what they count.
_RATE_AND_TTFT = (
    "output tokens/s since the previous {form}",
    ("TTFT p50 of about the last 30 seconds of the level, its ramp included, of answers that have ended"),
)
_FAILED = "requests failed since the run began"
_LEFT = "time left, {without}"
#: Characters of the bar.
_BAR = 20
#: What the length of a plan leaves out.
WITHOUT_DRAINS = "not counting the time in which open streams end"
_BETWEEN_LEVELS = "the level is over"


def plan_lines(levels: Sequence[Level], settle_s: float, prompts: Mapping[str, Any]) -> tuple[str, ...]:
    """What the run goes through, and what the phases of a level are: lines without their ends. settle_s: the pause
    after each level; prompts: their facts in run.json."""
    search = "a capacity search; its first probe: " if any(level.probe for level in levels) else ""
    length = system_prompt_length(prompts, levels)
    plan = f"Plan: {search}{plan_in_words(levels, settle_s)}{f'; system prompt: {length}' if length else ''}"
    if any(level.arrivals is not None for level in levels):
        held = "A level has a hold (requests are sent when they are due; figures describe this time)"
    elif any(level.own_shape for level in levels):
        held = "The level has a hold (the locustfile's shape sets the users; figures describe this time)"
    else:
        held = "A level has a ramp (users are added), a hold (all users are there; figures describe this time)"
    return plan, f"{held} and a drain (no new requests; open streams end)"


def progress_legend(levels: Sequence[Level], *, as_bar: bool) -> str:
    """What stands in a progress line, field by field; as_bar: in a bar of a terminal. Without its line end."""
    is_open = any(level.arrivals is not None for level in levels)
    has_end = not any(level.probe or level.level_time_s is None for level in levels)
    number = "number of the probe" if any(level.probe for level in levels) else "level"
    form, since_began = "bar" if as_bar else "line", "time since the run began"
    if as_bar:
        begins = ["share of the planned time that is over" if has_end else since_began, f"{number} and its phase"]
        load = ["requests in flight" if is_open else "users"]
    elif is_open:
        begins = [since_began, number, "phase"]
        rates = "requests/s offered (due) / sent / completed since the previous line (by the last reports of workers)"
        load = [rates, "requests in flight"]
    else:
        begins = [since_began, number, "system prompt (off or on)"]
        load = ["phase and users (in a drain: those whose streams are open)"]
    fields = [*begins, *load, *_RATE_AND_TTFT, _FAILED, *([_LEFT] if has_end else [])]
    text = "; ".join(fields).format(form=form, without=WITHOUT_DRAINS)
    return f"Fields of {'the progress bar' if as_bar else 'progress lines'}: {text}"


def plan_in_words(levels: Sequence[Level], settle_s: float) -> str:
    """The levels and how long they take: `10, 50 users without system prompt; level time 5 min, of which ramp 20 s;
    10 min 10 s in all, not counting the time in which open streams end`. The time is left out where it depends on the
    server."""
    is_open_ended = any(level.ends_with_requests or level.probe for level in levels)
    lasts_s = None if is_open_ended else planned_length_s(levels, settle_s)
    pauses = f"pauses of {units.planned_time(settle_s)} included, " if settle_s else ""
    how_long = "" if lasts_s is None else f"; {units.length_of_time(lasts_s)} in all, {pauses}{WITHOUT_DRAINS}"
    return f"{levels_in_words(levels)}; level time {times_in_words(levels)}{_warm_up(levels)}{how_long}"


def _warm_up(levels: Sequence[Level]) -> str:
    """What the plan says of the warm-ups, which are all of one length."""
    warming = next((level for level in levels if level.warm_up), None)
    if warming is None:
        return ""
    how_long = (
        units.counted(warming.requests, "request")
        if warming.requests
        else units.planned_time(warming.level_time_s or 0.0)
    )
    when = "the first probe" if any(level.probe for level in levels) else "each level"
    return f"; before {when} a warm-up of {how_long}"


def progress_line(progress: Progress) -> str:
    """One line without a line end; fields keep their place from line to line as long as the numbers allow."""
    phase = _phase(progress)
    is_over = phase == _BETWEEN_LEVELS
    if is_over:  # rates would be those of the drain
        progress = replace(progress, tokens_per_s=None, request_rates=None, ttft_p50_s=None)
    figures = f"{units.rate(progress.tokens_per_s):>6} tok/s", f"TTFT p50 {units.duration(progress.ttft_p50_s):>7}"
    in_flight = f"{units.count(progress.in_flight):>3} in flight"
    of_level = (
        (f"prompt {progress.system_prompt:<3}", f"{phase:<{_LONGEST_PHASE}}")
        if progress.counts_users
        else (f"{phase:<5}", _rates(progress.request_rates), in_flight)
    )
    return "  ".join(
        (
            f"{units.clock(progress.elapsed_s):>5}",
            _level(progress),
            *of_level,
            *((" " * len(figure) for figure in figures) if is_over else figures),
            f"{units.count(progress.failures)} failed",
            *([f"{units.clock(progress.left.seconds)} left"] if progress.left else []),
        )
    )


def progress_bar(progress: Progress, width: int) -> str:
    """The same for a terminal of so many columns, with a bar of the plan's time that is over; where that is not known,
    with the time since the run began. The last column is left free."""
    share = None if progress.left is None else min(max(progress.left.share, 0.0), 1.0)
    done = round((share or 0.0) * _BAR)
    users = units.counted(progress.users, "user") if progress.counts_users else f"{progress.in_flight:,} in flight"
    parts = (
        units.clock(progress.elapsed_s) if share is None else f"[{'#' * done:-<{_BAR}}] {int(share * 100):>3} %",
        f"{_level(progress)} {progress.phase}",
        users,
        f"{units.rate(progress.tokens_per_s)} tok/s",
        f"TTFT p50 {units.duration(progress.ttft_p50_s)}",
        f"{units.count(progress.failures)} failed",
        f"{units.clock(progress.left.seconds)} left" if progress.left else "",
    )
    return shortened("  ".join(filter(None, parts)), max(1, width - 1))


def _level(progress: Progress) -> str:
    """Which level runs, and of how many; how many probes a search takes is not known."""
    if progress.searches:
        return f"probe {progress.level_number}"
    return f"level {progress.level_number}/{progress.levels}"


def _rates(rates: RequestRates | None) -> str:
    """Of an open loop: offered, sent and completed."""
    offered, sent, completed = map(units.rate, rates or (None, None, None))
    return f"{offered:>4}/{sent:>4}/{completed:>4} req/s"


def _phase(progress: Progress) -> str:
    """The phase of the level, and its users: in the drain, those whose streams are still open."""
    if not progress.counts_users:
        return str(progress.phase) if progress.phase != Phase.DRAIN or progress.in_flight else _BETWEEN_LEVELS
    there = units.count(progress.users)
    if progress.users_target:
        there += f"/{units.count(progress.users_target)}"
    if progress.phase != Phase.DRAIN:
        plural = "s" if progress.users_target or progress.users != 1 else ""
        return f"{progress.phase}: {there} user{plural}"
    return f"drain: {there} busy" if progress.users else _BETWEEN_LEVELS
