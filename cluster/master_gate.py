"""What may reach Locust's master: messages of admitted workers, with contents that Locust can act on.

Locust counts whoever sends `client_ready` as a worker and gives it users, and believes what any client sends. Here a
worker is counted when it was admitted and has loaded what it needs. Until then, and of anybody else, nothing is acted
on.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

import gevent
from locust.rpc import Message
from locust.runners import STATE_INIT, MasterRunner

from metrics.dropped import DroppedMessages
from metrics.locust_messages import LOCUSTS_KINDS, BadMessage, checked_data
from metrics.protocol import JOIN, LEAVING, PING, READY, REFUSED, REPORT_KEY, TURNED_AWAY, Reports
from metrics.roster import Roster

logger = logging.getLogger(__name__)

#: Different exceptions, errors and names of requests that Locust's tables take. Their texts come from workers.
_MOST_EXCEPTIONS = 100
_MOST_ERRORS = 1_000
_MOST_NAMES = 1_000
#: What an admitted worker may send while it loads.
_OF_CANDIDATES = {JOIN, READY, REFUSED, PING, LEAVING}
#: What Locust's worker sends from its first moment on: dropped without a line in the log until it is admitted.
#: Where a stats message's report has the time at which it was sent.
_SENT_NS = Reports.__struct_fields__.index("sent_ns")
_ROUTINE = {"heartbeat", "stats", "logs", "quit", "client_stopped"}
#: Clients that have connected and were not admitted yet; they are dismissed where the master ends before that.
_MOST_WAITING = 256
_NOT_ADMITTED = "it was not admitted"


class MasterGate:
    """Stands before Locust's handler of messages. `dropped` counts what it does not let through; `listener` is the
    greenlet that handles a message now."""

    def __init__(
        self, runner: MasterRunner, roster: Roster, on_join: Callable[..., None], on_report: Callable[..., None]
    ) -> None:
        """on_join: listener of JOIN messages; on_report: of the reports in stats messages."""
        self.dropped = DroppedMessages(logger.error)
        self.listener: object | None = None
        self._runner, self._roster, self._on_join, self._on_report = runner, roster, on_join, on_report
        self._waiting: set[str] = set()
        self._handle = runner.handle_message
        runner.handle_message = self._handle_checked  # type: ignore[assignment, method-assign]
        check_stopped = runner.check_stopped

        def check_stopped_unless_idle() -> None:
            """Locust takes a master without workers for one whose run has stopped: it would never show `ready`."""
            if runner.clients or runner.state != STATE_INIT:
                check_stopped()

        runner.check_stopped = check_stopped_unless_idle  # type: ignore[method-assign]
        quit_runner = runner.quit

        def dismiss_and_quit() -> None:
            self._dismiss()
            quit_runner()

        runner.quit = dismiss_and_quit  # type: ignore[method-assign]

    def count(self, name: str, locust_version: str) -> None:
        """Have Locust count this worker: from now on it gets users."""
        self._handle(name, _message("client_ready", locust_version, name))

    def remove(self, name: str) -> None:
        """Have Locust give up this worker: its users go to others, and the run ends if it was the last one."""
        if name in self._runner.clients:
            self._handle(name, _message("quit", None, name))

    def _handle_checked(self, name: str, message: Any) -> None:
        self.listener = gevent.getcurrent()
        try:
            if self._passes(name, message):
                self._let_through(name, message)
        except (LookupError, TypeError, AttributeError, ValueError) as error:
            self.dropped.drop(name, f"a {message.type[:50]} message could not be handled", repr(error))
        finally:
            self.listener = None

    def _passes(self, name: str, message: Any) -> bool:
        """Whether Locust's handler takes this message; it is answered here where that is all it needs."""
        kind, roster = message.type, self._roster
        if kind == "heartbeat":
            roster.heard(name, time.perf_counter_ns() / 1e9)
        if kind == JOIN:
            self._waiting.discard(name)
            self._on_join(environment=self._runner.environment, msg=message)
            return False
        if name in roster.members or (kind == "quit" and name in self._runner.clients):
            return True
        if kind == "client_ready":
            self._acknowledge(name)
            return False
        if name not in roster.candidates:
            if kind == "locustfile":
                return True
            self._drop_strange(name, kind)
            return False
        if kind == "heartbeat":
            self._send("heartbeat", name)  # Locust answers those of workers that it counts
        elif kind == "quit":
            roster.leave(name, 0.0)
        return kind in _OF_CANDIDATES

    def _drop_strange(self, name: str, kind: str) -> None:
        if kind in _ROUTINE:
            self.dropped.counts[_NOT_ADMITTED] += 1
            return
        self.dropped.drop(name, _NOT_ADMITTED, kind)
        if kind == READY:  # it was silent for too long while it loaded
            self._send(TURNED_AWAY, name, {"reason": "it was not admitted, or was silent for too long since then"})

    def _let_through(self, name: str, message: Any) -> None:
        kind = message.type
        if kind not in LOCUSTS_KINDS and kind not in self._runner.custom_messages:
            self.dropped.drop(name, "messages of an unknown type", kind)
            return
        try:
            data = checked_data(kind, message.data, name, self._runner.user_classes_by_name)
        except BadMessage as error:
            self.dropped.drop(name, f"an invalid {kind} message", str(error))
            return
        if kind == "exception" and self._is_one_too_many(data):
            self.dropped.drop(name, f"more than {_MOST_EXCEPTIONS} different exceptions")
            return
        if kind == "stats":
            if self._is_repeated(name, data):
                self._on_report(client_id=name, data=data)  # acknowledged again, as the worker may not know
                return
            self._bound_tables(name, data)
        if kind == "heartbeat":
            self._take_users(name, data)
        self._handle(name, _message(kind, data, name))
        member, client = self._roster.members.get(name), self._runner.clients.get(name)
        if member is not None and client is not None:
            member.users = client.user_count

    def _is_repeated(self, name: str, data: dict[str, Any]) -> bool:
        """Whether this very message came before. Our reports are numbered, but Locust would add up its own part of the
        message each time. It may come out of order: what was sent first is not what was sent twice."""
        member, report = self._roster.members.get(name), data.get(REPORT_KEY)
        if member is None or not isinstance(report, list | tuple) or len(report) < _SENT_NS + 1:
            return False
        sent_ns = report[_SENT_NS]
        if not isinstance(sent_ns, int):
            return False
        if sent_ns in member.stats_sent_ns:
            self.dropped.drop(name, "a stats message that came before")
            return True
        member.stats_sent_ns.add(sent_ns)
        return False

    def _take_users(self, name: str, data: dict[str, Any]) -> None:
        client, member = self._runner.clients.get(name), self._roster.members.get(name)
        if client is None or member is None:
            return
        if (counts := data.get("user_classes_count")) is not None:
            client.user_classes_count = counts
        if member.leaving:
            client.state = data["state"]  # Locust would take one that was missing for a new worker, and give it users

    def _is_one_too_many(self, data: dict[str, Any]) -> bool:
        exceptions = self._runner.exceptions
        return len(exceptions) >= _MOST_EXCEPTIONS and hash(data["traceback"]) not in exceptions

    def _bound_tables(self, name: str, data: dict[str, Any]) -> None:
        """What has no place left in Locust's tables is left out of its lines; its totals still count it."""
        stats = self._runner.stats
        room = _MOST_ERRORS - len(stats.errors)
        if len(data["errors"]) > room:
            known = {key: error for key, error in data["errors"].items() if key in stats.errors}
            new = [(key, error) for key, error in data["errors"].items() if key not in stats.errors]
            data["errors"] = known | dict(new[: max(0, room)])
            self.dropped.drop(name, f"more than {_MOST_ERRORS:,} different errors in Locust's table")
        room = _MOST_NAMES - len(stats.entries)
        if len(data["stats"]) > room:
            keys = [(entry["name"], entry["method"]) for entry in data["stats"]]
            data["stats"] = [
                entry
                for place, (key, entry) in enumerate(zip(keys, data["stats"], strict=True))
                if key in stats.entries or place < room
            ]
            if len(data["stats"]) < len(keys):
                self.dropped.drop(name, f"more than {_MOST_NAMES:,} different requests in Locust's table")

    def _acknowledge(self, name: str) -> None:
        """Locust's worker waits for it before it loads anything. Its number comes once it is admitted."""
        if name not in self._roster.candidates and len(self._waiting) < _MOST_WAITING:
            self._waiting.add(name)
        self._send("ack", name)

    def _dismiss(self) -> None:
        """Locust tells the workers that it counts of its end; these wait for it too."""
        waiting = (*self._waiting, *self._roster.candidates)
        self._waiting.clear()
        for name in waiting:
            self._send("quit", name)

    def _send(self, kind: str, name: str, data: Any = None) -> None:
        try:
            self._runner.send_message(kind, data, name)
        except Exception as error:
            logger.warning("No %s message could be sent to worker %s: %r", kind, name, error)


def _message(kind: str, data: Any, name: str) -> Any:
    make: Any = Message  # it is not typed
    return make(kind, data, name)
