"""What may reach Locust's master: messages of admitted workers, with contents that Locust can act on.

Locust counts everybody who sends `client_ready` as a worker, gives it users and trusts what any client sends. Here a
worker is counted once it was admitted and has loaded what it needs. Messages of all other clients are not acted on.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import gevent
from locust.rpc import Message

from tokenswarm.cluster.locust_messages import LOCUSTS_KINDS, BadMessage, checked_data
from tokenswarm.cluster.master_channel import MasterChannel
from tokenswarm.cluster.membership import Membership
from tokenswarm.cluster.protocol import JOIN, LEAVING, PING, READY, REFUSED, REJECTED, REPORT_KEY, Reports
from tokenswarm.upstream.locust_internals import (
    WaitingLogFilter,
    before_quit,
    intercept_messages,
    keep_idle_master_ready,
)

#: Different exceptions, errors and names of requests that Locust's tables take. Their texts come from workers.
_MOST_EXCEPTIONS = 100
_MOST_ERRORS = 1_000
_MOST_NAMES = 1_000
#: What an admitted worker may send while it loads.
_OF_CANDIDATES = {JOIN, READY, REFUSED, PING, LEAVING}
#: Where a stats message's report has the time at which it was sent.
_SENT_NS = Reports.__struct_fields__.index("sent_ns")
#: What Locust's worker sends from its first moment on: dropped without a line in the log until it is admitted.
_ROUTINE = {"heartbeat", "stats", "logs", "quit", "client_stopped"}
#: Most clients that are connected and not admitted yet. They are dismissed if the master quits before that.
_MOST_WAITING = 256
_NOT_ADMITTED = "it was not admitted"
#: A worker of Tokenswarm's requests to be admitted as soon as it has connected.
_JOINS_WITHIN_S = 5.0
_PLAIN_LOCUST = (
    "it runs Locust without Tokenswarm; start it with its master's locustfile (locust -f PATH/TO/locustfile.py "
    "--worker)"
)


class MasterGate:
    """Checks each message before Locust's handler acts on it. `listener`: the greenlet that handles a message now."""

    def __init__(
        self,
        channel: MasterChannel,
        membership: Membership,
        on_join: Callable[..., None],
        on_report: Callable[..., None],
    ) -> None:
        """on_join: listener of JOIN messages; on_report: of the reports in stats messages."""
        self.listener: object | None = None
        self._channel, self._membership = channel, membership
        self._runner = runner = channel.runner
        self._dropped = channel.dropped
        self._on_join, self._on_report = channel.checked(on_join), on_report
        #: When each sent its first message.
        self._waiting: dict[str, float] = {}
        self._handle = intercept_messages(runner, self._handle_checked)
        keep_idle_master_ready(runner)
        before_quit(runner, self._dismiss)
        self._waiting_log = WaitingLogFilter()
        self._waiting_log.attach()

    def count(self, name: str, locust_version: str) -> None:
        """Have Locust count this worker: from now on it gets users."""
        self._handle(name, _message("client_ready", locust_version, name))

    def remove(self, name: str) -> None:
        """Have Locust remove this worker: its users go to others, and the run ends if it was the last one."""
        if name in self._runner.clients:
            self._handle(name, _message("quit", None, name))

    def _handle_checked(self, name: str, message: Any) -> None:
        self.listener = gevent.getcurrent()
        try:
            if self._passes(name, message):
                self._let_through(name, message)
        except (LookupError, TypeError, AttributeError, ValueError) as error:
            self._dropped.drop(name, f"a {message.type[:50]} message could not be handled", repr(error))
        finally:
            self.listener = None

    def _passes(self, name: str, message: Any) -> bool:
        """Whether Locust's handler may have this message. Messages that only need an answer are answered here."""
        kind, membership = message.type, self._membership
        if kind == "heartbeat":
            membership.heartbeat_received(name, _now_s())
        if kind == JOIN:
            self._waiting.pop(name, None)
            self._on_join(environment=self._runner.environment, msg=message)
            return False
        if name in membership.members or (kind == "quit" and name in self._runner.clients):
            return True
        if kind == "client_ready":
            self._acknowledge(name)
            return False
        if name not in membership.candidates:
            if kind == "locustfile":
                return True
            self._drop_strange(name, kind)
            return False
        if kind == "heartbeat":
            self._channel.send("heartbeat", name)  # Locust answers those of workers that it counts
        elif kind == "quit":
            membership.leave(name, 0.0)
        return kind in _OF_CANDIDATES

    def _drop_strange(self, name: str, kind: str) -> None:
        if kind in _ROUTINE:
            self._dropped.counts[_NOT_ADMITTED] += 1
            if name in self._waiting and _now_s() - self._waiting[name] >= _JOINS_WITHIN_S:
                self._dropped.name_useless(name, _PLAIN_LOCUST)
            return
        self._dropped.drop(name, _NOT_ADMITTED, kind)
        if kind == READY:  # it was silent for too long while it loaded
            self._channel.send(REJECTED, name, {"reason": "it was not admitted, or was silent for too long since then"})

    def _let_through(self, name: str, message: Any) -> None:
        kind = message.type
        if kind not in LOCUSTS_KINDS and kind not in self._runner.custom_messages:
            self._dropped.drop(name, "messages of an unknown type", kind)
            return
        try:
            data = checked_data(kind, message.data, name, self._runner.user_classes_by_name)
        except BadMessage as error:
            self._dropped.drop(name, f"an invalid {kind} message", str(error))
            return
        if kind == "exception" and self._is_one_too_many(data):
            self._dropped.drop(name, f"more than {_MOST_EXCEPTIONS} different exceptions")
            return
        if kind == "stats":
            if self._is_repeated(name, data):
                self._on_report(client_id=name, data=data)  # acknowledged again, as the worker may not know
                return
            self._bound_tables(name, data)
        if kind == "heartbeat":
            self._take_users(name, data)
        self._handle(name, _message(kind, data, name))
        member, client = self._membership.members.get(name), self._runner.clients.get(name)
        if member is not None and client is not None:
            member.users = client.user_count

    def _is_repeated(self, name: str, data: dict[str, Any]) -> bool:
        """Whether this message was received before. Our reports are numbered, but Locust would add its own part of the
        message each time. Messages may be received out of order: a late one is not a repeated one."""
        member, report = self._membership.members.get(name), data.get(REPORT_KEY)
        if member is None or not isinstance(report, list | tuple) or len(report) < _SENT_NS + 1:
            return False
        sent_ns = report[_SENT_NS]
        if not isinstance(sent_ns, int):
            return False
        if sent_ns in member.stats_sent_ns:
            self._dropped.drop(name, "a stats message that was received before")
            return True
        member.stats_sent_ns.add(sent_ns)
        return False

    def _take_users(self, name: str, data: dict[str, Any]) -> None:
        client, member = self._runner.clients.get(name), self._membership.members.get(name)
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
        """Leave out the entries for which Locust's tables have no space left; its totals still count them."""
        stats = self._runner.stats
        left = _MOST_ERRORS - len(stats.errors)
        if len(data["errors"]) > left:
            known = {key: error for key, error in data["errors"].items() if key in stats.errors}
            new = [(key, error) for key, error in data["errors"].items() if key not in stats.errors]
            data["errors"] = known | dict(new[: max(0, left)])
            self._dropped.drop(name, f"more than {_MOST_ERRORS:,} different errors in Locust's table")
        left = _MOST_NAMES - len(stats.entries)
        if len(data["stats"]) > left:
            keys = [(entry["name"], entry["method"]) for entry in data["stats"]]
            data["stats"] = [
                entry
                for place, (key, entry) in enumerate(zip(keys, data["stats"], strict=True))
                if key in stats.entries or place < left
            ]
            if len(data["stats"]) < len(keys):
                self._dropped.drop(name, f"more than {_MOST_NAMES:,} different requests in Locust's table")

    def _acknowledge(self, name: str) -> None:
        """Answer a worker of Locust's, which waits for it before it loads anything. Its index follows when it is
        admitted."""
        if name not in self._membership.candidates and len(self._waiting) < _MOST_WAITING:
            self._waiting.setdefault(name, _now_s())
        self._channel.send("ack", name)

    def _dismiss(self) -> None:
        """The master quits. Locust informs the workers that it counts; the others wait too."""
        self._waiting_log.stop()
        waiting = (*self._waiting, *self._membership.candidates)
        self._waiting.clear()
        for name in waiting:
            self._channel.send("quit", name)


def _now_s() -> float:
    return time.perf_counter_ns() / 1e9


def _message(kind: str, data: Any, name: str) -> Any:
    make: Any = Message  # it is not typed
    return make(kind, data, name)
