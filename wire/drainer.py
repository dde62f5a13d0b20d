"""Reads the connections that nobody watches, ten times a second, and has reads that were put aside looked at.

A stream that is watched costs the hub a wake-up a token; one that is not costs its part of a pass over all of them.
"""

from __future__ import annotations

from typing import Protocol

import gevent

#: How often. A stream's end is noticed no sooner, though its time is the kernel's.
INTERVAL_S = 0.1
_READS_IN_A_ROW = 32
#: gevent goes through what is due for milliseconds before it asks for arrivals; a sleep of no time would be due.
_PAUSE_S = 0.001


class Drained(Protocol):
    """A connection, as the drainer sees it."""

    def read_now(self) -> None:
        """Take what the kernel holds. Must neither block nor raise."""
        ...


class Drainer:
    """The connections to read, and the greenlet that reads them while there are any."""

    def __init__(self) -> None:
        self._connections: dict[Drained, None] = {}  # in the order they came: an ordered set
        self._greenlet: gevent.Greenlet[[], None] | None = None

    def add(self, connection: Drained) -> None:
        """Read it from now on."""
        self._connections[connection] = None
        if self._greenlet is None or self._greenlet.dead:
            self._greenlet = gevent.spawn(self._drain)

    def remove(self, connection: Drained) -> None:
        """Read it no more; nothing happens if it was not."""
        self._connections.pop(connection, None)

    def _drain(self) -> None:
        while self._connections:
            gevent.sleep(INTERVAL_S)
            for place, connection in enumerate(tuple(self._connections), start=1):
                if connection in self._connections:  # it may have ended while others were read
                    connection.read_now()
                if place % _READS_IN_A_ROW == 0:
                    gevent.sleep(_PAUSE_S)  # first tokens, which are watched for, must not wait for a whole pass


#: One to a process: it is filled after any fork, by the connections that are opened there.
DRAINER = Drainer()
