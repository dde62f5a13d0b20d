"""The answer to a start from the page: whether a run begins, or why not."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import gevent
import msgspec
from flask import Response, jsonify
from locust.runners import STATE_CLEANUP, STATE_RUNNING, STATE_SPAWNING, STATE_STOPPING, Runner

from tokenswarm.web.form_words import StartError

#: Why no run can start in these states of Locust's.
BUSY = {
    STATE_SPAWNING: "A run is already in progress. Stop it first.",
    STATE_RUNNING: "A run is already in progress. Stop it first.",
    STATE_STOPPING: "The last run is still being stopped; try again in a moment.",
    STATE_CLEANUP: "The last run is still being stopped; try again in a moment.",
}
#: The answer waits so long for the run to begin or to be refused, and looks so often.
_LONGEST_START_S = 5.0
_POLL_S = 0.05


def is_starting(runner: Runner) -> bool:
    """Whether a run was requested and has not begun."""
    return runner.shape_greenlet is not None and runner.state not in BUSY


def wait_for_start(runner: Runner, is_refused: Callable[[], bool]) -> None:
    """Until the run that was requested has begun, or is refused and another can be requested: listeners of test_start
    may have changed what was checked. Not where that takes long: the page shows a later refusal too."""
    until = time.monotonic() + _LONGEST_START_S
    while time.monotonic() < until:
        if not (runner.shape_greenlet is not None if is_refused() else is_starting(runner)):
            return
        gevent.sleep(_POLL_S)


def message_of(errors: Sequence[StartError]) -> str:
    """The errors' sentences, one a line."""
    return "\n".join(error.text for error in errors)


def not_started(errors: Sequence[StartError], host: str | None) -> Response:
    """The answer where no run begins. Locust's form shows the message of no other status than 200."""
    listed = msgspec.to_builtins(errors)
    return jsonify({"success": False, "message": message_of(errors), "errors": listed, "host": host})
