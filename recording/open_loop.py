"""Requests sent and ended over the time of an open-loop level: rates, requests in flight, what was not sent."""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil, floor, inf

from tokenswarm.metrics.backlog import BacklogGrowth, backlog_growth, filling_s
from tokenswarm.metrics.intervals import Series
from tokenswarm.metrics.level import Scope
from tokenswarm.recording.aggregator import LevelStats
from tokenswarm.run_folder.open_loop_figures import NotSent, OpenLoopFigures
from tokenswarm.shapes.level_arrivals import due_times_s

#: Sessions under way grow in number until the first ones end, however fast the server is: their backlog is judged where
#: the hold lasts so many times the p95 of what sessions last besides waiting.
_HOLD_OF_THOUGHT = 4


def open_loop_figures(level: LevelStats, until_s: float) -> OpenLoopFigures | None:
    """Of the hold as far as it lies before until_s of the run. None in a closed loop, and before a second is over."""
    arrivals = level.level.arrivals
    _, end_s = level.hold_s(until_s)
    if arrivals is None or level.due is None:
        return None
    at_once = arrivals.at_once  # such a level is as long as its requests take
    seconds = ceil(end_s) if at_once else floor(end_s + 1e-6)
    if seconds < 1:
        return None
    over_s = end_s if at_once else seconds
    flow = level.flow
    offered = level.due.before(end_s)
    in_flight = flow.in_flight(seconds)
    sent, completed = (sum(count[second] for second in range(seconds)) for count in (flow.sent, flow.completed))
    growth = _growth(level, in_flight, arriving=(offered or sent) / seconds)
    return OpenLoopFigures(
        requested_rate=round(arrivals.mean_rate, 6),
        offered=offered,
        not_sent=None if offered is None or not level.complete else max(0, offered - _begun(level, level.arrived)),
        offered_rate=None if offered is None else offered / end_s,
        sent_rate=sent / over_s,
        completed_rate=completed / over_s,
        in_flight_mean=float(in_flight.mean()),
        in_flight_max=float(in_flight.max()),
        in_flight_slope=growth.slope.value if growth else None,
        in_flight_slope_low=growth.slope.low if growth else None,
        in_flight_slope_high=growth.slope.high if growth else None,
        unstable=growth.is_unstable if growth else None,
        not_sent_by_workers=tuple(_not_sent(level, offered)) if offered and level.ended_s is not None else (),
    )


def _begun(level: LevelStats, requests: int) -> int:
    """Requests that were sent, with those whose end is not known. requests: those that have ended."""
    begun = (
        sum(level.splits.owed(worker, 0, level.arrivals_begun.get(worker, 0)) for worker in level.splits.workers_ever())
        if level.splits
        else 0
    )
    return max(begun, requests)


def _not_sent(level: LevelStats, offered: int) -> Iterator[NotSent]:
    """Of each worker: what it had not begun when others got its arrivals, or when the level was complete."""
    splits = level.splits
    if splits is None:
        return
    for worker in (*splits.workers_ever(), None):
        shares_last = worker in splits.workers or (worker is None and not splits.workers)
        if shares_last and not level.complete:
            continue  # the end of the run stopped it
        begun = 0 if worker is None else level.arrivals_begun.get(worker, 0)
        end = offered if shares_last else min(offered, splits.last_first)
        if (numbers := splits.range_owed(worker, begun, end)) is None:
            continue
        if (due_s := due_times_s(level.level, *numbers)) is not None:
            requests = splits.owed(worker, begun, end)
            yield NotSent(worker=worker, requests=requests, from_s=due_s[0], until_s=due_s[1])


def _growth(level: LevelStats, in_flight: Series, arriving: float) -> BacklogGrowth | None:
    """None while the level runs, as of its requests only those that have ended are known, where all requests are due at
    once, and where sessions think so long that the hold is over before as many end as begin. arriving: requests/s."""
    if level.ended_s is None or level.level.ends_with_requests:
        return None
    lasts_s = level.scopes[Scope.HOLD].e2e_s
    if level.level.arrivals is not None and level.level.arrivals.sessions:
        lasts_s = level.sessions.duration_s
        (thought_s,) = level.sessions.thought_s.values_at((0.95,)) or (inf,)
        if len(in_flight) < _HOLD_OF_THOUGHT * thought_s:
            return None
    p50_s, p95_s = lasts_s.values_at((0.5, 0.95)) or (0.0, 0.0)
    filling = filling_s(p50_s, p95_s, len(in_flight))
    return backlog_growth(in_flight[round(filling) :], 1.0, arriving)
