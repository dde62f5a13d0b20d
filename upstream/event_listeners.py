"""Errors of listeners to Locust's events.

A test in tests/upstream fails when Locust no longer has the defect and this can be removed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from traceback import format_exc
from typing import Any

import locust.log
from locust.event import EventHook
from locust.exception import InterruptTaskSet, RescheduleTask, RescheduleTaskImmediately, StopTest, StopUser

#: With which a listener ends the user that fires the event, or its task.
_CONTROL = (StopUser, StopTest, RescheduleTask, RescheduleTaskImmediately, InterruptTaskSet)
Listener = Callable[..., object]
FIRE_OF_LOCUST = EventHook.fire


def catch_failed_listeners(report: Callable[[EventHook, Listener, Exception | SystemExit], bool]) -> None:
    """Have errors of listeners reported, and those that end the program. report: returns whether it has; others are
    Locust's.

    Locust logs each with its traceback, and only in the exit code of the process where it was raised does it say that
    there was one: a run with workers ends as if there had been none.

    Upstream: https://github.com/locustio/locust/blob/2.47.0/locust/event.py#L41-L55
    """

    def fire(hook: EventHook, *, reverse: bool = False, **arguments: Any) -> None:
        for listener in hook._handlers[::-1] if reverse else hook._handlers.copy():
            try:
                listener(**arguments)
            except _CONTROL:
                raise
            except SystemExit as ended:
                if not report(hook, listener, ended):
                    raise
            except Exception as error:
                if not report(hook, listener, error):
                    logging.error("Uncaught exception in event handler: \n%s", format_exc())
                    locust.log.unhandled_greenlet_exception = True

    EventHook.fire = fire  # type: ignore[assignment, method-assign]
