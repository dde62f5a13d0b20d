"""Errors of listeners of a locustfile's own: counted with those of its tasks, and each listener's logged once."""

from __future__ import annotations

import logging
from typing import Any

from tokenswarm.recording.task_errors import listener_error_text
from tokenswarm.users.run_events import Listener

logger = logging.getLogger(__name__)


class ListenerErrors:
    """Of this process."""

    def __init__(self) -> None:
        self._logged: set[str] = set()

    def report(self, events: Any, listener: Listener, error: Exception) -> None:
        """Enter it in Locust's errors, which a worker sends to its master. events: Locust's."""
        name = getattr(listener, "__qualname__", type(listener).__qualname__)
        text = listener_error_text(name.replace("<locals>.", ""), "request_timed", error)
        if name not in self._logged:
            self._logged.add(name)
            logger.error("%s. Further errors of it are counted, and not logged", text)
        events.user_error.fire(user_instance=None, exception=RuntimeError(text), tb=error.__traceback__)


LISTENER_ERRORS = ListenerErrors()
