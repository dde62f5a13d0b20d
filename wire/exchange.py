"""One request and its response as it happens: what was sent when, what arrived when."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from gevent.event import Event

from wire.errors import ServerBrokeProtocol, WireError
from wire.http import ResponseParser
from wire.records import Arrival

#: Of a document that is fetched whole, such as a page of metrics.
MOST_KEPT_BYTES = 8 * 2**20


class Source(Protocol):
    """What an exchange asks of its connection."""

    @property
    def watched(self) -> bool: ...

    def unwatch(self) -> None: ...

    def put_aside(self) -> None: ...

    def catch_up(self) -> None: ...

    def read_now(self) -> int: ...


class Receiver(Protocol):
    """Is handed what arrives in the hub, and must neither block nor raise."""

    def take(self, exchange: Exchange, arrival: Arrival) -> None:
        """Body bytes of one read, as they came or, after `put_aside`, a little later."""
        ...

    def take_alike(
        self, exchange: Exchange, bodies: Sequence[bytes], arrived_ns: Sequence[int], delays_ns: Sequence[int]
    ) -> int:
        """Body bytes of several reads, with the kernel's times: take the first of them, as many as can be taken
        together, and say how many. The others come again, one by one or together."""
        ...


class Exchange:
    """A request under way. The hub's callback fills it; the user's greenlet waits for its end.

    sent_ns: just before the request's first byte was handed to a connected socket (perf_counter_ns).
    connect_ns: what connecting took, 0 on a kept-alive connection.
    headers_ns, ended_ns: arrival of the end of the head, and of the bytes (or the close) that ended the body.
    error: what stopped it early, None if nothing did.
    behind_ns: when so much was last read at once that the kernel may have had no room for more: the server may have
    waited for this process until then. None if it never did.
    never_read: whether the server had surely closed the connection before it could have read the request.
    """

    def __init__(self, sent_ns: int, connect_ns: int, source: Source, receiver: Receiver | None = None) -> None:
        """Without a receiver, arrivals are kept for `wait`."""
        self._source = source
        self._receiver = receiver
        self.sent_ns = sent_ns
        self.connect_ns = connect_ns
        self.headers_ns: int | None = None
        self.ended_ns: int | None = None
        self.error: WireError | None = None
        self.bytes_received = 0
        self.never_read = False
        self.behind_ns: int | None = None
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
        """From now on let the kernel keep what comes, and read it now and then: ten times a second at first, and later
        twice. The kernel stamps the last of it: the times of the last output and of the end stay true, those in between
        are not known."""
        self._source.unwatch()

    def put_aside(self) -> None:
        """From now on read as before, but hand over several reads at a time, within 0.6 s, or when they may be the
        last. Who looks at each at once fetches all that this takes into the processor's cache for every token."""
        self._source.put_aside()

    def wait(self, timeout_s: float) -> list[Arrival]:
        """Sleep until the exchange is over, somebody calls `wake`, or the time is up; then take all arrivals that were
        kept since the last call. Nothing else wakes the greenlet. When the time is up, what the kernel holds is read
        first: this process may have been stopped, and the response may have arrived meanwhile."""
        if self._news.wait(timeout_s):
            self._source.catch_up()
        else:
            self.read_now()
        if not self.ended:
            self._news.clear()
        arrivals, self.kept = self.kept, []
        return arrivals

    def read_now(self) -> None:
        """Take all that has arrived, also what the hub has not read yet."""
        self._source.read_now()

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
            arrival = Arrival(arrived_ns, delay_ns, kernel, body, earliest_ns)
            if self._receiver is None:
                if self.bytes_received > MOST_KEPT_BYTES:
                    raise ServerBrokeProtocol(f"the document is longer than {MOST_KEPT_BYTES} bytes")
                self.kept.append(arrival)
            else:
                self._receiver.take(self, arrival)
        if response.complete:
            self.finish(arrived_ns)
        elif response.broken is not None:
            raise response.broken

    def take_alike(self, reads: Sequence[bytes], arrived_ns: Sequence[int], delays_ns: Sequence[int]) -> int:
        """Of several reads with the kernel's times, take the first ones together, as many as can be; how many."""
        bodies = self.response.whole_chunks(reads) if self._receiver is not None else ()
        if not bodies:
            return 0
        assert self._receiver is not None
        taken = self._receiver.take_alike(self, bodies, arrived_ns, delays_ns)
        self.bytes_received += sum(map(len, reads[:taken]))
        return taken

    def finish(self, ended_ns: int, error: WireError | None = None) -> None:
        """Nothing more will come."""
        if self.ended_ns is None:
            self.ended_ns = ended_ns
            self.error = error
            self._receiver = None  # who holds this exchange: a ring of references would be garbage for long
            self.response.close()
            self._news.set()
