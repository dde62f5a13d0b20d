"""The load of an open-loop level as summary.json has it."""

from __future__ import annotations

import msgspec


class NotSent(msgspec.Struct, frozen=True, kw_only=True):
    """Requests that a worker owed and has not sent. worker: its number, None where no worker was there to send them;
    from_s, until_s: when the first and the last of them was due, seconds since the level began."""

    worker: int | None
    requests: int
    from_s: float
    until_s: float


class OpenLoopFigures(msgspec.Struct, frozen=True, kw_only=True):
    """The load of an open-loop level in its hold; rates are requests/s over it.

    requested_rate: mean of the plan; offered: requests that were due by the schedule; not_sent: due and never sent;
    not_sent_by_workers: which of them, where there are workers, also of a level that was cut short; sent_rate,
    completed_rate: sent, and ended ok, in the hold. in_flight_mean, in_flight_max: over the means of its seconds.
    in_flight_slope: requests in flight gained a second, with its 95 % interval, after the level has filled. unstable:
    whether the slope says that more arrive than are answered: latencies then grow with the level's length. None: not
    known, as the hold is too short, the level was cut short or the file of arrivals is gone. Where sessions arrive, all
    of this is of sessions: sent with their first turn, completed with the answer to their last one, in flight between.
    """

    requested_rate: float
    offered: int | None = None
    not_sent: int | None = None
    offered_rate: float | None = None
    sent_rate: float
    completed_rate: float
    in_flight_mean: float
    in_flight_max: float
    in_flight_slope: float | None = None
    in_flight_slope_low: float | None = None
    in_flight_slope_high: float | None = None
    unstable: bool | None = None
    not_sent_by_workers: tuple[NotSent, ...] = ()
