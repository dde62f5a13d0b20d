"""How far the master's clock is from this worker's."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import msgspec

from tokenswarm.cluster.clock import ClockExchange, ClockOffset
from tokenswarm.cluster.protocol import PING, PONG, MasterTimes
from tokenswarm.cluster.worker_channel import WorkerChannel

#: How many exchanges are made when a worker joins; later ones come with its reports.
_PINGS = 8


class MasterClock:
    """Measures the offset when the worker joins, and with each of the master's acknowledgements. estimate: the offset
    of the master's clock, with its largest error; to_here_ns: what to add to a time of the master's to have this
    process's; on_shift: called when a better estimate has moved the master's times by so many nanoseconds here."""

    def __init__(self, channel: WorkerChannel) -> None:
        self.estimate = ClockOffset()
        self.to_here_ns = 0
        self.on_shift: Callable[[int], None] = lambda _: None
        self._channel = channel
        self._pings = 0
        channel.listen(PONG, self._on_pong)

    def begin(self) -> None:
        """The worker has joined."""
        self._ping()

    def add(self, times: MasterTimes) -> None:
        """An answer of the master was received now."""
        now_ns = time.perf_counter_ns()
        self.estimate.add(ClockExchange(times.sent_ns, times.received_ns, times.answered_ns, now_ns))
        to_here_ns = -(self.estimate.offset_ns or 0)
        shift_ns, self.to_here_ns = to_here_ns - self.to_here_ns, to_here_ns
        self.on_shift(shift_ns)

    def _ping(self) -> None:
        self._channel.send(PING, {"sent_ns": time.perf_counter_ns()})

    def _on_pong(self, environment: Any, msg: Any, **_: Any) -> None:
        self.add(msgspec.convert(msg.data, MasterTimes))
        self._pings += 1
        if self._pings < _PINGS:
            self._ping()
