"""A worker's messages to its master, and its listeners for the master's."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from locust.runners import WorkerRunner

logger = logging.getLogger(__name__)


class WorkerChannel:
    """Sends messages inside Locust's connection."""

    def __init__(self, runner: WorkerRunner) -> None:
        self.runner = runner

    def send(self, kind: str, data: Any = None) -> None:
        """Send a message to the master. One that cannot be sent is logged."""
        try:
            self.runner.send_message(kind, data)
        except Exception as error:  # Locust has tried for 9 s
            logger.warning("No %s message could be sent to the master: %r", kind, error)

    def listen(self, kind: str, listener: Callable[..., None], *, concurrent: bool = False) -> None:
        """Have `listener` called with each message of this kind. concurrent: in a greenlet of its own."""
        self.runner.register_message(kind, listener, concurrent)
