"""Polls the streams that are past their first output: reads the unwatched ones, and has deferred reads processed.

A watched stream costs the hub a wake-up per token; an unwatched one costs its share of a pass over those that are due.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import gevent

#: From one pass to the next.
INTERVAL_S = 0.1
#: The longest time between two polls of a stream, in passes.
MOST_PASSES = 10
_POLLS_IN_A_ROW = 32
#: gevent runs what is due for milliseconds before it polls for arrivals; a sleep of no time would be due.
_PAUSE_S = 0.001


class Polled(Protocol):
    """A connection, as the deferred reader sees it."""

    def poll(self) -> int:
        """Do what is due. Must neither block nor raise. Returns in how many passes to call again, 1 to MOST_PASSES."""
        ...


class DeferredReader:
    """The connections to poll, and the greenlet that does it while there are any."""

    def __init__(self) -> None:
        self._due: list[dict[Polled, None]] = [{} for _ in range(MOST_PASSES + 1)]  # each pass takes its turn's
        self._turn_of: dict[Polled, int] = {}
        self._turn = 0
        self._greenlet: gevent.Greenlet[[], None] | None = None
        #: Called before some of the polls, now and then: what many of them need.
        self.before_polls: Callable[[], object] = _nothing

    def need_nothing(self) -> None:
        """Nothing is to be called before polls any more."""
        self.before_polls = _nothing

    def add(self, connection: Polled, passes: int = 1) -> None:
        """Poll it from now on, in so many passes first."""
        self._put(connection, passes)
        if self._greenlet is None or self._greenlet.dead:
            self._greenlet = gevent.spawn(self._poll_all)

    def remove(self, connection: Polled) -> None:
        """Poll it no more; nothing happens if it was not added."""
        if (turn := self._turn_of.pop(connection, None)) is not None:
            del self._due[turn][connection]

    def _put(self, connection: Polled, passes: int) -> None:
        turn = (self._turn + passes) % len(self._due)
        self._turn_of[connection] = turn
        self._due[turn][connection] = None

    def _poll_all(self) -> None:
        while self._turn_of:
            gevent.sleep(INTERVAL_S)
            self._turn = (self._turn + 1) % len(self._due)
            due = self._due[self._turn]
            for count, connection in enumerate(tuple(due)):
                if count % _POLLS_IN_A_ROW == 0:
                    if count:
                        gevent.sleep(_PAUSE_S)  # first tokens must not wait for a whole pass
                    self.before_polls()
                if connection in due:  # it may have ended while others were polled
                    passes = connection.poll()
                    if connection in due:
                        del due[connection]
                        self._put(connection, passes)


def _nothing() -> None:
    """Where polls need nothing."""


#: One per process; filled after any fork, by the connections that are opened there.
DEFERRED_READER = DeferredReader()
