"""When Python searches for garbage in a process that sends requests.

A request leaves no reference cycle: its objects are freed when it ends, without a search. Python begins a search when
it has made some hundred objects more than it has freed. Where requests begin as others end, tens of thousands of new
objects come together before that, and the search through them takes 10 to 40 ms, in which no socket is read. So it is
done every few requests, and through everything seldom.
"""

from __future__ import annotations

import gc

#: Requests from one search through new objects to the next: that takes 0.1 ms.
_NEW_OBJECTS_EACH = 16
#: Requests from one search through all objects of a run to the next.
_ALL_OBJECTS_EACH = 8192
#: So many new objects begin a search without that: streams may go on for long without a new request.
_MOST_NEW_OBJECTS = 20_000
_NEVER = 1_000_000


class GarbageCollection:
    """Of one process."""

    def __init__(self) -> None:
        self._requests = 0
        self._usual: tuple[int, int, int] | None = None

    def begin_run(self) -> None:
        """What exists by now stays for the run, and is searched no more."""
        gc.collect()
        gc.freeze()
        self._requests = 0
        self._usual = self._usual or gc.get_threshold()
        gc.set_threshold(_MOST_NEW_OBJECTS, _NEVER, _NEVER)

    def end_run(self) -> None:
        """From now on as Python does."""
        gc.unfreeze()
        if self._usual is not None:
            gc.set_threshold(*self._usual)
            self._usual = None

    def request_begins(self) -> None:
        """A request is about to be made."""
        self._requests += 1
        if self._requests % _ALL_OBJECTS_EACH == 0:
            gc.collect()
        elif self._requests % _NEW_OBJECTS_EACH == 0:
            gc.collect(0)


GARBAGE_COLLECTION = GarbageCollection()
