"""Connections that are kept alive for requests of a process that come when they are due."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

import gevent
from gevent.pool import Group

from tokenswarm.wire import StreamClient, WireError

#: Requests that are due within so long are a burst: few answers are short enough for one to use another's connection.
_BURST_S = 0.25


class ConnectionPool:
    """Clients to one server, each for one request at a time. The one that came free last is taken first, so that as few
    as possible are in use. Spare ones are connected ahead, so that a request that is due need not wait for that."""

    def __init__(
        self,
        new_client: Callable[[], StreamClient],
        spares: int = 0,
        most: Callable[[], int | None] = lambda: None,
    ) -> None:
        """spares: so many are kept free, as long as there are no more than `most` in all, as it is now (None: no
        limit)."""
        self._new_client = new_client
        self._spares = self._fewest_spares = spares
        #: When the requests are due that are expected and have not come yet, in their order.
        self._expected_s: deque[float] = deque()
        self._most = most
        self._made = 0
        self._is_closed = False
        self._idle: list[StreamClient] = []
        self._connecting = Group()

    def take(self, due_s: float | None = None) -> StreamClient:
        """A client that nobody else uses; a new one, which has yet to connect, where none is free. due_s: when the
        request was due, if it was expected."""
        expected_s = self._expected_s
        while due_s is not None and expected_s and expected_s[0] <= due_s:
            if expected_s.popleft() == due_s:
                break
        return self._idle.pop() if self._idle else self._make()

    def expect(self, due_s: float) -> None:
        """A request will be due then, in seconds of any one clock, and none before that is not expected yet. Each of
        the largest burst that is expected has a spare one."""
        self._expected_s.append(due_s)
        self._spares = max(self._fewest_spares, _largest_burst(self._expected_s))
        self.connect_spares()

    def connect_spares(self) -> None:
        """Begin to connect those that are missing."""
        most = self._most()
        while len(self._idle) + len(self._connecting) < self._spares and (most is None or self._made < most):
            self._connecting.start(gevent.Greenlet(self._connect, self._make()))

    def give_back(self, client: StreamClient) -> None:
        """The client's request has ended. It is free when its server has had a moment to close the connection: the
        caller waits, and not the request that takes it next."""
        client.settle()
        if self._is_closed:
            client.close()
        else:
            self._idle.append(client)

    def close(self) -> None:
        """Close the connections of all free clients, and of those in use when they are given back."""
        self._is_closed = True
        self._connecting.kill()
        for client in self._idle:
            client.close()
        self._idle.clear()

    def _make(self) -> StreamClient:
        self._made += 1
        return self._new_client()

    def _connect(self, client: StreamClient) -> None:
        """A server that cannot be reached is the next request's to report."""
        try:
            client.connect()
        except WireError:
            self._made -= 1
        else:
            self._idle.insert(0, client)


def _largest_burst(due_s: Iterable[float]) -> int:
    """The most requests that are due within 250 ms, of these in the order of time."""
    burst: deque[float] = deque()
    largest = 0
    for one_s in due_s:
        burst.append(one_s)
        while burst[0] < one_s - _BURST_S:
            burst.popleft()
        largest = max(largest, len(burst))
    return largest
