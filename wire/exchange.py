"""One request and its response as it happens: what was sent when, what arrived when."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import Protocol

from gevent.event import Event

from tokenswarm.wire.arrival import Arrival
from tokenswarm.wire.errors import ServerBrokeProtocol, WireError
from tokenswarm.wire.http import ResponseParser, chunk_ends
from tokenswarm.wire.loop_pacer import LOOP_PACER

#: Of a document that is fetched whole, such as a page of metrics.
MOST_KEPT_BYTES = 8 * 2**20
_LINE_END, _BLANK_LINE = b"\r\n", b"\n\n"


class Source(Protocol):
    """What an exchange needs of its connection."""

    @property
    def watched(self) -> bool: ...

    def unwatch(self) -> None: ...

    def defer(self) -> None: ...

    def catch_up(self) -> None: ...

    def read_now(self) -> int: ...


class Receiver(Protocol):
    """Is called in the hub with what arrives, and must neither block nor raise."""

    def on_read(self, exchange: Exchange, arrival: Arrival) -> None:
        """Body bytes of one read, as they came or, after `defer`, a little later."""
        ...

    def on_batch(
        self, exchange: Exchange, bodies: Sequence[bytes], arrived_ns: Sequence[int], delays_ns: Sequence[int]
    ) -> int:
        """Body bytes of several reads, with the kernel's times. Process the first of them, as many as can be processed
        together, and return how many. The others come again, one by one or together."""
        ...


class Exchange:
    """A request under way. The hub's callback fills it; the user's greenlet waits for its end.

    sent_ns: just before the request's first byte was handed to a connected socket (perf_counter_ns).
    left_within_ns: how long after that the kernel had it at the latest: long where this process did not run in between.
    connect_ns: what connecting took, 0 on a kept-alive connection.
    headers_ns, ended_ns: arrival of the end of the head, and of the bytes (or the close) that ended the body.
    error: what stopped it early, None if nothing did.
    behind_ns: when so much was last read at once that the kernel's buffer may have been full, so that the server may
    have waited for this process until then. None if that never happened.
    tapped: whether each read of it was of one segment, or a packet tap knew when each of its segments came.
    end_is_noticed: whether the tap would notice its end soon, if it were left unread.
    received_segments: how many TCP segments its connection has received so far, None where that is not known.
    never_read: whether the server had surely closed the connection before it could have read the request.
    """

    def __init__(self, sent_ns: int, connect_ns: int, source: Source, receiver: Receiver | None = None) -> None:
        """Without a receiver, arrivals are kept for `wait`."""
        self._source = source
        self._receiver = receiver
        self.sent_ns = sent_ns
        self.connect_ns = connect_ns
        self.left_within_ns = 0
        self.headers_ns: int | None = None
        self.ended_ns: int | None = None
        self.error: WireError | None = None
        self.bytes_received = 0
        self.never_read = False
        self.tapped = False
        self.end_is_noticed: Callable[[], bool] = lambda: False
        self.received_segments: Callable[[], int | None] = lambda: None
        self.behind_ns: int | None = None
        self.response = ResponseParser()
        self.kept: list[Arrival] = []
        self._news = Event()

    @property
    def ended(self) -> bool:
        """Nothing more will arrive (deferred reads may still wait to be processed)."""
        return self.ended_ns is not None

    @property
    def watched(self) -> bool:
        """Whether each arrival is read, and so stamped, as it comes."""
        return self._source.watched

    @property
    def may_be_left_unread(self) -> bool:
        """Whether, after `unwatch`, a packet tap would have the times of all that comes, as long as the exchange is
        `tapped`, the end would be noticed soon, and so many streams are under way that this is worth it."""
        return self.tapped and LOOP_PACER.has_many_streams and self.end_is_noticed()

    def unwatch(self) -> None:
        """From now on leave what comes with the kernel, and read it now and then: ten times a second at first, later
        twice, or where a packet tap notices the end, once. The kernel stamps the last of it: the times of the last
        output and of the end stay exact, those in between are known from a packet tap alone, as long as the exchange
        is `tapped`."""
        self._source.unwatch()

    def defer(self) -> None:
        """From now on read as before, but hand over several reads at a time, within 0.6 s, or when they may be the
        last. That costs less than handing over each (see read_batch)."""
        self._source.defer()

    def wait(self, timeout_s: float) -> list[Arrival]:
        """Sleep until the exchange is over, `wake` is called, or the time is up; then return all arrivals that were
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
        """Process all that has arrived, also what the hub has not read yet."""
        self._source.read_now()

    def wake(self) -> None:
        """Wake the greenlet in `wait`."""
        self._news.set()

    # The connection's side.

    def on_read(self, data: bytes, arrived_ns: int, delay_ns: int, kernel: bool, earliest_ns: int) -> None:
        """Bytes of one read, with the times of an Arrival. Raises ServerBrokeProtocol if they are not a response."""
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
                self._receiver.on_read(self, arrival)
        if response.complete:
            self.finish(arrived_ns)
        elif response.broken is not None:
            raise response.broken

    def on_batch(self, reads: Sequence[bytes], arrived_ns: Sequence[int], delays_ns: Sequence[int]) -> int:
        """Of several reads with the kernel's times, process the first ones together, as many as can be. Returns how
        many; 0 after the end."""
        bodies = self.response.whole_chunks(reads) if self._receiver is not None else ()
        if not bodies:
            return 0
        assert self._receiver is not None
        taken = self._receiver.on_batch(self, bodies, arrived_ns, delays_ns)
        self.bytes_received += sum(map(len, reads[:taken]))
        return taken

    def on_segments(self, data: bytes, ends: Sequence[int], arrived_ns: Sequence[int], read_ns: int) -> int:
        """Of the bytes of several segments that were read together, with the offsets behind each and the kernel's
        times, process the first ones together, as many as can be. Returns how many bytes; 0 after the end."""
        bodies = self.response.leading_chunks(data) if self._receiver is not None else ()
        if not bodies:
            return 0
        assert self._receiver is not None
        ends_of_chunks = chunk_ends(bodies)
        times_ns = _times_of_chunks(bodies, ends_of_chunks, ends, arrived_ns)
        if not times_ns:
            return 0
        delays_ns = [read_ns - time_ns for time_ns in times_ns]
        taken = self._receiver.on_batch(self, bodies[: len(times_ns)], times_ns, delays_ns)
        taken_bytes = ends_of_chunks[taken - 1] if taken else 0
        self.bytes_received += taken_bytes
        return taken_bytes

    def finish(self, ended_ns: int, error: WireError | None = None) -> None:
        """Nothing more will come."""
        if self.ended_ns is None:
            self.ended_ns = ended_ns
            self.error = error
            self._receiver = None  # it refers to this exchange: a cycle would be garbage for long
            self.response.close()
            self._news.set()


def _times_of_chunks(
    bodies: Sequence[bytes], ends_of_chunks: list[int], ends: Sequence[int], arrived_ns: Sequence[int]
) -> Sequence[int]:
    """When the events in each of the first chunks had come: as far as no chunk of several events came in parts."""
    if ends_of_chunks == ends[: len(ends_of_chunks)]:
        return arrived_ns[: len(ends_of_chunks)]
    times_ns: list[int] = []
    for body, end in zip(bodies, ends_of_chunks, strict=True):
        last = bisect_left(ends, end - len(_LINE_END))  # the chunk's own line end may come in the next segment
        begin = end - len(_LINE_END) - len(body)
        if last and ends[last - 1] > begin and body.count(_BLANK_LINE) > 1:
            break
        times_ns.append(arrived_ns[last])
    return times_ns
