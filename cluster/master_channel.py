"""A master's messages to its workers, and its listeners for theirs."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

import msgspec
from locust.runners import MasterRunner

from tokenswarm.cluster.dropped_messages import DroppedMessages
from tokenswarm.cluster.locust_messages import BadMessage

logger = logging.getLogger(__name__)


class MasterChannel:
    """Sends messages inside Locust's connection. `dropped` counts the received messages that were not acted on."""

    def __init__(self, runner: MasterRunner) -> None:
        self.runner = runner
        self.dropped = DroppedMessages(logger.error)

    @property
    def stop_timeout_s(self) -> float:
        """--stop-timeout. Locust's environment has the drain timeout while a run is in progress."""
        options = self.runner.environment.parsed_options
        assert options is not None
        return float(options.stop_timeout or 0.0)

    def send(self, kind: str, name: str, data: Any = None) -> None:
        """Send a message to a worker. One that cannot be sent is logged: a lost worker must not end the others' run."""
        try:
            self.runner.send_message(kind, data, name)
        except Exception as error:
            logger.warning("No %s message could be sent to worker %s: %r", kind, name, error)

    def listen(self, kind: str, listener: Callable[..., None]) -> None:
        """Have `listener` called with each message of this kind. Messages that it cannot decode are dropped."""
        self.runner.register_message(kind, self.checked(listener))

    def checked(self, listener: Callable[..., None]) -> Callable[..., None]:
        """The listener, for messages that it can decode; the others are dropped."""

        def listen(environment: Any, msg: Any, **_: Any) -> None:
            try:
                listener(environment=environment, msg=msg)
            except (msgspec.MsgspecError, BadMessage) as error:
                self.dropped.drop(msg.node_id, f"an invalid {msg.type} message", str(error))

        return listen


def times_of(sent_ns: int, received_ns: int) -> dict[str, int]:
    """The fields of a MasterTimes message that is sent now."""
    return {"sent_ns": sent_ns, "received_ns": received_ns, "answered_ns": time.perf_counter_ns()}
