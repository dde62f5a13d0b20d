"""Checks of the messages that Locust's workers send, made before Locust acts on them. Pure.

Locust's master trusts what it receives: a number of users that is a text ends the shape, an error in one message ends
the greenlet that reads all others, and the number of exceptions that are kept is unlimited.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, Any, Literal

import msgspec

#: Longest name of a request, a method or an error, in characters.
_NAME_CHARACTERS = 1_000
#: Longest text of an exception and of its traceback, in characters; the rest is cut off.
MESSAGE_CHARACTERS = 1_000
TRACEBACK_CHARACTERS = 10_000
#: How many log lines of a worker are kept, and how many characters of a line. Locust's worker keeps 500 lines.
LOG_LINES = 500
LOG_LINE_CHARACTERS = 2_000
#: Most users of one class on one worker.
_MOST_USERS = 1_000_000
#: Most entries of one report's tables.
_MOST_ENTRIES = 10_000


class BadMessage(ValueError):
    """A message differs from what Locust's worker sends; the text says what was expected and what was received."""


_Name = Annotated[str, msgspec.Meta(max_length=_NAME_CHARACTERS)]
_Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
#: By response time in milliseconds, or by second.
_Counts = Annotated[dict[float, _Count], msgspec.Meta(max_length=_MOST_ENTRIES)]
_Milliseconds = Annotated[float, msgspec.Meta(ge=0, le=1e12)]
_Seconds = Annotated[float, msgspec.Meta(ge=0, le=1e12)]
_State = Literal["ready", "spawning", "running", "cleanup", "stopping", "stopped"]


class _Heartbeat(msgspec.Struct):
    state: _State
    current_cpu_usage: Annotated[float, msgspec.Meta(ge=0, le=1e6)]
    current_memory_usage: _Count = 0
    user_classes_count: dict[str, Any] | None = None


class _Entry(msgspec.Struct):
    name: _Name
    method: _Name | None
    start_time: _Seconds
    num_requests: _Count
    num_none_requests: _Count
    num_failures: _Count
    total_response_time: _Milliseconds
    max_response_time: _Milliseconds
    total_content_length: _Count
    response_times: _Counts
    num_reqs_per_sec: _Counts
    num_fail_per_sec: _Counts
    last_request_timestamp: _Seconds | None = None
    min_response_time: _Milliseconds | None = None


class _Error(msgspec.Struct):
    name: _Name
    method: _Name | None
    error: str
    occurrences: _Count
    first_seen: _Seconds | None = None
    last_seen: _Seconds | None = None


class _Stats(msgspec.Struct):
    stats: Annotated[list[_Entry], msgspec.Meta(max_length=_MOST_ENTRIES)]
    stats_total: _Entry
    errors: Annotated[dict[str, _Error], msgspec.Meta(max_length=_MOST_ENTRIES)]
    user_classes_count: dict[str, Any]
    user_count: _Count = 0


class _Spawned(msgspec.Struct):
    user_classes_count: dict[str, Any]
    user_count: _Count = 0


class _Exception(msgspec.Struct):
    msg: str
    traceback: str


class _Logs(msgspec.Struct):
    worker_id: str
    logs: list[str]


class _Locustfile(msgspec.Struct):
    version: Annotated[str, msgspec.Meta(min_length=1, max_length=100)]


#: The form of the data of Locust's messages. Its other messages carry none.
_DATA: dict[str, type[msgspec.Struct]] = {
    "heartbeat": _Heartbeat,
    "stats": _Stats,
    "spawning_complete": _Spawned,
    "exception": _Exception,
    "logs": _Logs,
    "locustfile": _Locustfile,
}
_WITHOUT_DATA = {"client_stopped", "spawning", "quit"}
LOCUSTS_KINDS = {*_DATA, *_WITHOUT_DATA, "client_ready"}


def checked_data(kind: str, data: Any, node: str, user_classes: Collection[str]) -> Any:
    """The data that Locust may act on, with long texts cut. node: the sender's name; user_classes: the names of the
    locustfile's user classes. Messages that are not Locust's are returned unchanged. Raises BadMessage."""
    if kind == "client_ready":
        if data != -1 and not (isinstance(data, str) and 0 < len(data) <= 100):
            raise BadMessage(f"expected Locust's version, got {str(data)[:100]!r}")
        return data
    if kind in _WITHOUT_DATA:
        return None
    if (expected := _DATA.get(kind)) is None:
        return data
    try:
        message = msgspec.convert(data, expected)
    except msgspec.ValidationError as error:
        raise BadMessage(str(error)) from None
    return _checked(message, data, node, user_classes)


def _checked(message: msgspec.Struct, data: Any, node: str, user_classes: Collection[str]) -> Any:
    if isinstance(message, _Stats | _Spawned | _Heartbeat):
        check_user_counts(message.user_classes_count or {}, user_classes)
    elif isinstance(message, _Exception):
        return {"msg": message.msg[:MESSAGE_CHARACTERS], "traceback": message.traceback[:TRACEBACK_CHARACTERS]}
    elif isinstance(message, _Logs):
        if message.worker_id != node:
            raise BadMessage(f"logs of {message.worker_id[:100]!r} came from {node!r}")
        return {"worker_id": node, "logs": [line[:LOG_LINE_CHARACTERS] for line in message.logs[-LOG_LINES:]]}
    return data


def check_user_counts(counts: dict[str, Any], user_classes: Collection[str]) -> None:
    """Raises BadMessage unless these are numbers of users by the names of their classes."""
    for name, count in counts.items():
        if name not in user_classes:
            raise BadMessage(f"users of class {str(name)[:100]!r}, which is not in the locustfile")
        if type(count) is not int or not 0 <= count <= _MOST_USERS:
            raise BadMessage(f"expected a number of users of {name}, got {str(count)[:100]!r}")
