"""Visits the streams that are past their first output: reads those that nobody watches, and has reads that were put
aside looked at.

A stream that is watched costs the hub a wake-up a token; one that is not costs its part of a pass over those whose turn
it is.
"""

from __future__ import annotations

from typing import Protocol

import gevent

#: From one pass to the next.
INTERVAL_S = 0.1
#: The longest that a stream can ask to be left alone for, in passes.
MOST_PASSES = 5
_VISITS_IN_A_ROW = 32
#: gevent goes through what is due for milliseconds before it asks for arrivals; a sleep of no time would be due.
_PAUSE_S = 0.001


class Drained(Protocol):
    """A connection, as the drainer sees it."""

    def visit(self) -> int:
        """Do what is due. Must neither block nor raise. In how many passes to come again, from 1 to MOST_PASSES."""
        ...


class Drainer:
    """The connections to visit, and the greenlet that does it while there are any."""

    def __init__(self) -> None:
        self._due: list[dict[Drained, None]] = [{} for _ in range(MOST_PASSES + 1)]  # each pass takes its turn's
        self._turn_of: dict[Drained, int] = {}
        self._turn = 0
        self._greenlet: gevent.Greenlet[[], None] | None = None

    def add(self, connection: Drained) -> None:
        """Visit it from now on."""
        self._put(connection, 1)
        if self._greenlet is None or self._greenlet.dead:
            self._greenlet = gevent.spawn(self._drain)

    def remove(self, connection: Drained) -> None:
        """Visit it no more; nothing happens if it was not."""
        if (turn := self._turn_of.pop(connection, None)) is not None:
            del self._due[turn][connection]

    def _put(self, connection: Drained, passes: int) -> None:
        turn = (self._turn + passes) % len(self._due)
        self._turn_of[connection] = turn
        self._due[turn][connection] = None

    def _drain(self) -> None:
        while self._turn_of:
            gevent.sleep(INTERVAL_S)
            self._turn = (self._turn + 1) % len(self._due)
            due = self._due[self._turn]
            for place, connection in enumerate(tuple(due), start=1):
                if connection in due:  # it may have ended while others were visited
                    passes = connection.visit()
                    if connection in due:
                        del due[connection]
                        self._put(connection, passes)
                if place % _VISITS_IN_A_ROW == 0:
                    gevent.sleep(_PAUSE_S)  # first tokens, which are watched for, must not wait for a whole pass


#: One to a process: it is filled after any fork, by the connections that are opened there.
DRAINER = Drainer()
