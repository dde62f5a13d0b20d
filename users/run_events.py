"""What code of a user's own can listen to."""

from __future__ import annotations

from collections.abc import Callable

from locust.exception import InterruptTaskSet, RescheduleTask, RescheduleTaskImmediately, StopTest, StopUser

from tokenswarm.metrics.timeline import Timeline

#: What Locust's own events let through: a listener ends the user with them, or its task.
_CONTROL = (StopUser, StopTest, RescheduleTask, RescheduleTaskImmediately, InterruptTaskSet)
Listener = Callable[..., object]


class RequestTimed:
    """Fired when a request has ended and is recorded, on the process where it ran, with `timeline`: its record. What a
    listener raises is counted, and makes the run's verdict suspect; while it works, the process sends and reads
    nothing."""

    def __init__(self) -> None:
        self._listeners: list[Listener] = []

    def add_listener(self, listener: Listener) -> Listener:
        """Have the listener called as `listener(timeline=…)`; it should take further keywords, too. Returns it, so
        that this is a decorator."""
        self._listeners.append(listener)
        return listener

    def remove_listener(self, listener: Listener) -> None:
        """Call it no more."""
        self._listeners.remove(listener)

    def fire(self, *, timeline: Timeline, on_error: Callable[[Listener, Exception], None]) -> None:
        """Called by Tokenswarm. on_error: called with each listener that fails, and what it raised."""
        for listener in tuple(self._listeners):
            try:
                listener(timeline=timeline)
            except _CONTROL:
                raise
            except Exception as error:
                on_error(listener, error)


class RunEvents:
    """Tokenswarm's events, beside Locust's own."""

    def __init__(self) -> None:
        self.request_timed = RequestTimed()


events = RunEvents()
