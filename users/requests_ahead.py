"""Requests that are made before they are due."""

from __future__ import annotations

from collections.abc import Callable

from tokenswarm.shapes.arrival_schedule import DueArrival
from tokenswarm.shapes.worker_arrivals import WorkerArrivals

#: As many of a replay may be due at once: longer bursts are made as they are sent.
_MOST_AHEAD = 256
#: Those that are due later than so long after the next one are not made yet: long prompts take memory.
_AHEAD_S = 10.0
#: Sends the prepared request for an arrival, which was due at that time on perf_counter_ns; returns when it has ended.
SendRequest = Callable[[DueArrival, int], None]
#: Makes all of the request for an arrival that can be made before it is due.
Prepare = Callable[[DueArrival], SendRequest]


class RequestsAhead:
    """The requests of one worker that were prepared and not sent.

    Where a request belongs to its arrival, up to 256 of 10 seconds are prepared: traces have bursts, and long prompts.
    Else one, which is sent for whichever arrival is next: what is drawn from a supply of prompts or sessions is not
    left over.
    """

    def __init__(self, arrivals: WorkerArrivals, prepare: Prepare, *, own_requests: bool) -> None:
        self._arrivals = arrivals
        self._prepare = prepare
        self._own_requests = own_requests
        #: By the number of the arrival that it was prepared for, in order; and when that is due.
        self._prepared: dict[int, tuple[float, SendRequest]] = {}

    def has(self, arrival: DueArrival) -> bool:
        """Whether the request for this arrival, the next one, is prepared. Requests of earlier arrivals, which became
        another worker's, are dropped."""
        if not self._own_requests:
            return bool(self._prepared)
        for number in [number for number in self._prepared if number < arrival.number]:
            del self._prepared[number]
        return arrival.number in self._prepared

    def next_behind(self) -> DueArrival | None:
        """The next arrival behind those whose requests are prepared (at least one is), if its request may be prepared
        too; None for none."""
        if not self._own_requests or len(self._prepared) >= _MOST_AHEAD:
            return None
        later = self._arrivals.after(max(self._prepared))
        first_s, _ = next(iter(self._prepared.values()))
        return later if later is not None and later.due_s - first_s <= _AHEAD_S else None

    def prepare(self, arrival: DueArrival) -> None:
        """Prepare the request for this arrival."""
        self._prepared[arrival.number] = arrival.due_s, self._prepare(arrival)

    def take(self, arrival: DueArrival) -> SendRequest:
        """The request for this arrival, which is sent now."""
        if self._own_requests:
            return self._prepared.pop(arrival.number)[1]
        return self._prepared.popitem()[1][1]
