"""What code of a user's own can listen to."""

from __future__ import annotations

from collections.abc import Callable

from locust.event import EventHook

from tokenswarm.metrics.timeline import Timeline


class RequestTimed(EventHook):
    """Fired when a request has ended and is recorded, on the process where it ran, with `timeline`: its record. What a
    listener raises is logged, and has no other effect; while it works, the process sends and reads nothing."""

    def add_listener(self, listener: Callable[..., object]) -> Callable[..., object]:
        """Have the listener called as `listener(timeline=…)`; it should take further keywords, too. Returns it, so
        that this is a decorator."""
        super().add_listener(listener)
        return listener

    def fire(self, *, timeline: Timeline) -> None:  # type: ignore[override]
        """Called by Tokenswarm."""
        super().fire(timeline=timeline)


class RunEvents:
    """Tokenswarm's events, beside Locust's own."""

    def __init__(self) -> None:
        self.request_timed = RequestTimed()


events = RunEvents()
