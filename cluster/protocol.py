"""The messages that a master and its workers exchange inside Locust's own connection.

Locust has messages of its own beside these. Times are nanoseconds on a process's perf_counter: see cluster/clock.py.
"""

from __future__ import annotations

import secrets
from typing import Annotated

import msgspec

from tokenswarm.metrics.level import Level
from tokenswarm.recording.kept_requests import RecordPlan
from tokenswarm.shapes.splits import Splits

#: Name of the cluster of a master and the workers that it forks. Workers of other machines may join without a name.
FORKED = "forked-"
FORKED_CLUSTER = FORKED + secrets.token_hex(8)

JOIN, ADMITTED, REJECTED = "tokenswarm_join", "tokenswarm_admitted", "tokenswarm_rejected"
READY, DRAINING, USERS = "tokenswarm_ready", "tokenswarm_draining", "tokenswarm_users"
PING, PONG = "tokenswarm_ping", "tokenswarm_pong"
LEVEL, ACK = "tokenswarm_level", "tokenswarm_ack"
SENDING, SPLITS = "tokenswarm_sending", "tokenswarm_splits"
END, LEAVING, REFUSED = "tokenswarm_end", "tokenswarm_leaving", "tokenswarm_refused"
REPORT_KEY = "tokenswarm"


class WorkerRefused(ValueError):
    """A worker cannot take part in the run; the text is its reason."""


_Short = Annotated[str, msgspec.Meta(max_length=500)]


class Join(msgspec.Struct):
    """A worker requests to be admitted, before it loads anything."""

    build: _Short
    cluster: _Short
    sent_ns: int


class Ready(msgspec.Struct):
    """An admitted worker has loaded what a run needs: it can be given users. locust: Locust's version there."""

    locust: _Short


class UserCounts(msgspec.Struct):
    """How many users of each class a worker has, streams that are being drained included."""

    user_classes_count: dict[str, int]


class Leaving(msgspec.Struct):
    """A worker ends. unreported: requests that ended on it or were in flight, and that no acknowledged report holds."""

    unreported: int = 0


class Ping(msgspec.Struct):
    """A worker measures how far the master's clock is from its own."""

    sent_ns: int


class Refused(msgspec.Struct):
    """A worker cannot take part, for that reason."""

    reason: str


class MasterTimes(msgspec.Struct):
    """When a worker sent a message, on the worker's clock, and when the master received and answered it, on its own."""

    sent_ns: int
    received_ns: int
    answered_ns: int


class Admitted(MasterTimes, kw_only=True):
    """The worker may load what a run needs, and send READY then. index: its number in every file of the run;
    stop_timeout_s: the master's --stop-timeout."""

    index: int
    stop_timeout_s: float = 0.0


class Ack(MasterTimes, kw_only=True):
    """Reports up to `through` need not be sent again. entered: the last report that is in the run's statistics; it is
    less than `through` if the run had ended before the others were received."""

    run: int
    through: int
    entered: int


class LevelBegun(msgspec.Struct):
    """The level that requests belong to from now on. run: the run's id. Times on the master's perf_counter_ns. spool:
    the folder in which workers that the master forked keep what they have not reported, "" for none. record: what is
    kept of requests. share: how many of the level's requests the worker's users send, None for no limit."""

    run: int
    level: Level
    run_began_ns: int
    began_ns: int
    spool: str = ""
    record: RecordPlan = RecordPlan()
    share: int | None = None


class Sending(msgspec.Struct):
    """A worker sends the arrivals of an open-loop level that are its own. It says so all the time: see LevelSplitter.
    sent_ns: on its own clock."""

    run: int
    level: int
    sent_ns: int


class AnnouncedSplits(msgspec.Struct):
    """Which workers send which arrivals of an open-loop level, None before that is known. answers_ns: the sent_ns of
    the worker's message that this is the answer to; None where it is none."""

    run: int
    level: int
    splits: Splits | None
    answers_ns: int | None = None


class Reports(msgspec.Struct, array_like=True):
    """Our part of Locust's stats message: numbered reports up to `through`. last: it holds the final report. run is 0
    and level -1 for a worker that knows of none."""

    run: int
    level: int
    sent_ns: int
    through: int
    last: bool
    reports: list[bytes]
