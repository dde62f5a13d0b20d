"""Sends requests when they are due, whatever became of the ones before: the loop of an open-loop user. No Locust."""

from __future__ import annotations

import time
from collections.abc import Callable
from math import inf
from typing import Protocol

import gevent
from gevent import Greenlet, GreenletExit
from gevent.event import Event

from tokenswarm.shapes.arrival_schedule import DueArrival
from tokenswarm.shapes.worker_arrivals import WorkerArrivals
from tokenswarm.users.precise_timer import PreciseTimer
from tokenswarm.users.requests_ahead import Prepare, RequestsAhead, SendRequest
from tokenswarm.wire.loop_pacer import LOOP_PACER

#: What a process takes from when it is to wake to the first byte of a request. What is left of it is spun away.
_LEAD_NS = 300_000
#: The same after a pause: what the first request needs is then not in the processor's cache.
_LEAD_AFTER_A_PAUSE, _PAUSE_NS = 3, 200_000_000
#: After a request was sent or prepared ahead, none is prepared for so long: server and other workers need the cores.
_QUIET_NS = 2_000_000
#: More than preparing a request takes.
_PREPARES_WITHIN_NS = 1_000_000
#: More than preparing a long request takes: so long before another one is due, none of those behind it is prepared.
_PREPARES_LATER_ONES_WITHIN_NS = 4_000_000


#: Work of a millisecond or two is not begun so long before a request is due; it is put off so often at most.
_NO_WORK_WITHIN_NS, _MOST_DELAYS = 2_000_000, 20
_AFTER_A_SEND_S = 0.001


def let_sends_go_first() -> None:
    """Before work of a millisecond or two that can wait: where a request of an open loop is due soon, until it is sent.
    No longer than some 50 ms, as there may always be another."""
    for _ in range(_MOST_DELAYS):
        left_ns = LOOP_PACER.due_ns - time.perf_counter_ns()
        if left_ns > _NO_WORK_WITHIN_NS:
            return
        gevent.sleep(max(0.0, left_ns / 1e9) + _AFTER_A_SEND_S)


class SendClock(Protocol):
    """now_ns: as time.perf_counter_ns. wait: until the event is set, or for so long, when it may be set too (None:
    without a limit). close: it is not used any more. lead_ns: a request is started so long before it is due, and waits
    for that itself."""

    lead_ns: int

    def now_ns(self) -> int: ...
    def wait(self, event: Event, seconds: float | None) -> None: ...
    def close(self) -> None: ...


class ProcessClock:
    """This process's own clock."""

    lead_ns = _LEAD_NS

    def __init__(self) -> None:
        self._timer = PreciseTimer()

    def now_ns(self) -> int:
        """See SendClock."""
        return time.perf_counter_ns()

    def wait(self, event: Event, seconds: float | None) -> None:
        """See SendClock."""
        if seconds is None:
            LOOP_PACER.due_ns = inf
            event.wait()
        else:
            LOOP_PACER.due_ns = time.perf_counter_ns() + seconds * 1e9
            self._timer.wait(event, seconds)

    def close(self) -> None:
        """See SendClock."""
        LOOP_PACER.due_ns = inf
        self._timer.close()


class ArrivalSender:
    """Sends each arrival at its time, or at once where that has passed. Nothing is left out before `stop`, and
    nothing is moved: what waits goes out in order.

    sent: how many requests were started; in_flight: how many of them have not ended.
    """

    def __init__(
        self,
        arrivals: WorkerArrivals,
        began_ns: Callable[[], int],
        prepare: Prepare,
        clock: SendClock | None = None,
        *,
        own_requests: bool = False,
    ) -> None:
        """began_ns: when the level began, on the clock; called for each arrival anew, as the estimate of another
        process's clock improves. own_requests: whether a request belongs to its arrival; else one that was prepared
        for an arrival that became another worker's is sent for the next one."""
        self._arrivals = arrivals
        self._began_ns = began_ns
        self._ahead = RequestsAhead(arrivals, prepare, own_requests=own_requests)
        self._clock = clock or ProcessClock()
        self._running: set[Greenlet[..., None]] = set()
        self._woken = Event()
        self._stopped_ns: int | None = None
        self._quiet_until_ns = self._last_due_ns = self._last_lead_ns = 0
        self.sent = self.in_flight = 0

    def run(self) -> None:
        """Send all arrivals, and return when their requests have ended. Where the caller's greenlet is killed, so are
        they."""
        try:
            self._send_all()
            gevent.joinall(tuple(self._running))
        except (GreenletExit, KeyboardInterrupt):
            gevent.killall(tuple(self._running))
            raise
        finally:
            self._clock.close()

    def wake(self) -> None:
        """What the arrivals say may have changed."""
        self._woken.set()

    def stop(self) -> None:
        """Send what is due by now, and nothing later. What waits for another request to end, or to be granted, is not
        sent any more."""
        if self._stopped_ns is None:
            self._stopped_ns = self._clock.now_ns()
            self._woken.set()

    def _send_all(self) -> None:
        while True:
            self._woken.clear()
            if (arrival := self._arrivals.peek()) is None:
                if self._stopped_ns is not None or self._arrivals.has_ended:
                    return
                self._clock.wait(self._woken, None)
                continue
            due_ns = self._began_ns() + round(arrival.due_s * 1e9)
            starts_ns = due_ns - self._lead_ns(due_ns)
            if self._prepares(arrival, starts_ns):
                continue
            now_ns = self._clock.now_ns()
            if self._stopped_ns is not None and (due_ns > self._stopped_ns or self._must_wait(due_ns)):
                return
            if starts_ns > now_ns:
                self._clock.wait(self._woken, (starts_ns - now_ns) / 1e9)
            elif self._must_wait(due_ns):
                self._clock.wait(self._woken, None)
            else:
                self._arrivals.take()
                self._last_lead_ns, self._last_due_ns = due_ns - starts_ns, due_ns
                self._start(self._ahead.take(arrival), arrival, due_ns)

    def _prepares(self, arrival: DueArrival, starts_ns: int) -> bool:
        """Prepare the next request, or with time to spare one behind it, or wait for the time to do so. Returns whether
        any of these was done. starts_ns: when the next request is to be started."""
        now_ns = self._clock.now_ns()
        wanted, within_ns = arrival, _PREPARES_WITHIN_NS
        if is_ready := self._ahead.has(arrival):
            within_ns = _PREPARES_LATER_ONES_WITHIN_NS
            if self._stopped_ns is not None or starts_ns <= max(now_ns, self._quiet_until_ns) + within_ns:
                return False
            if (later := self._ahead.next_behind()) is None:
                return False
            wanted = later
        if now_ns < self._quiet_until_ns and starts_ns > self._quiet_until_ns + within_ns:
            self._clock.wait(self._woken, (self._quiet_until_ns - now_ns) / 1e9)
            return True
        self._ahead.prepare(wanted)
        if is_ready:
            self._rest()
        return True  # the arrivals may have changed meanwhile

    def _lead_ns(self, due_ns: int) -> int:
        """How long before it is due the next request is to be started; those of one moment together."""
        if due_ns == self._last_due_ns:
            return self._last_lead_ns
        paused = due_ns - self._last_due_ns > _PAUSE_NS
        return self._clock.lead_ns * (_LEAD_AFTER_A_PAUSE if paused else 1)

    def _must_wait(self, due_ns: int) -> bool:
        """Whether an arrival that is due may not be sent yet."""
        most = self._arrivals.max_in_flight
        return due_ns >= self._arrivals.granted_until_ns or (most is not None and self.in_flight >= most)

    def _start(self, send: SendRequest, arrival: DueArrival, due_ns: int) -> None:
        request = Greenlet(self._run_request, send, arrival, due_ns)
        self._running.add(request)
        request.start()
        self.sent += 1
        self.in_flight += 1
        following = self._arrivals.peek()
        if following is None or following.due_s != arrival.due_s or not self._ahead.has(following):
            self._rest()  # the request is sent before others are made

    def _rest(self) -> None:
        """Let others run, arrivals be read, and for a while no request be prepared that is not due soon."""
        gevent.sleep(0)
        self._quiet_until_ns = self._clock.now_ns() + _QUIET_NS

    def _run_request(self, send: SendRequest, arrival: DueArrival, due_ns: int) -> None:
        try:
            send(arrival, due_ns)
        finally:
            self._running.discard(gevent.getcurrent())
            self.in_flight -= 1
            if self._arrivals.max_in_flight is not None:
                self._woken.set()
