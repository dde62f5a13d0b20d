"""One request and its response as it happens: what was sent when, what arrived when."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from gevent.event import Event

from wire.errors import WireError
from wire.http import ResponseParser
from wire.records import Arrival


class Source(Protocol):
    """What an exchange asks of its connection."""

    @property
    def watched(self) -> bool: ...

    def unwatch(self) -> None: ...


class Exchange:
    """A request under way. The hub's callback fills it; the user's greenlet waits for its end.

    sent_ns: just before the request's first byte was handed to a connected socket (perf_counter_ns).
    connect_ns: what connecting took, 0 on a kept-alive connection.
    headers_ns, ended_ns: arrival of the end of the head, and of the bytes (or the close) that ended the body.
    error: what stopped it early, None if nothing did.
    """

    def __init__(self, sent_ns: int, connect_ns: int, source: Source, deliver: Deliver | None = None) -> None:
        """`deliver` is handed each arrival in the hub, as it is read, and must neither block nor raise; without it,
        arrivals are kept for `wait`. It is the cheaper way: what is put aside has left the processor's cache by the
        time that somebody looks at it."""
        self._source = source
        self._deliver = deliver or _keep
        self.sent_ns = sent_ns
        self.connect_ns = connect_ns
        self.headers_ns: int | None = None
        self.ended_ns: int | None = None
        self.error: WireError | None = None
        self.bytes_received = 0
        self.response = ResponseParser()
        self.kept: list[Arrival] = []
        self._news = Event()

    @property
    def ended(self) -> bool:
        """Nothing more will arrive (some may still wait to be taken)."""
        return self.ended_ns is not None

    @property
    def watched(self) -> bool:
        """Whether each arrival is read, and so stamped, as it comes."""
        return self._source.watched

    def unwatch(self) -> None:
        """From now on let the kernel keep what comes, and read it ten times a second. The kernel stamps the last of it:
        the times of the last output and of the end stay true, those in between are not known."""
        self._source.unwatch()

    def wait(self, timeout_s: float) -> list[Arrival]:
        """Sleep until the exchange is over, somebody calls `wake`, or the time is up; then take all arrivals that were
        kept since the last call. Nothing else wakes the greenlet."""
        self._news.wait(timeout_s)
        if not self.ended:
            self._news.clear()
        arrivals, self.kept = self.kept, []
        return arrivals

    def wake(self) -> None:
        """Have the greenlet that waits look at what has come."""
        self._news.set()

    # The connection's side.

    def take(self, data: bytes, arrived_ns: int, delay_ns: int, kernel: bool, earliest_ns: int) -> None:
        """Bytes of one read, told as an Arrival is. Raises ServerBrokeProtocol if they are not a response."""
        self.bytes_received += len(data)
        response = self.response
        body = response.feed(data)
        if self.headers_ns is None and response.head_complete:
            self.headers_ns = arrived_ns
        if body:
            self._deliver(self, Arrival(arrived_ns, delay_ns, kernel, body, earliest_ns))
        if response.complete:
            self.finish(arrived_ns)

    def finish(self, ended_ns: int, error: WireError | None = None) -> None:
        """Nothing more will come."""
        if self.ended_ns is None:
            self.ended_ns = ended_ns
            self.error = error
            self._news.set()


Deliver = Callable[[Exchange, Arrival], None]


def _keep(exchange: Exchange, arrival: Arrival) -> None:
    exchange.kept.append(arrival)
