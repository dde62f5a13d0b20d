"""The messages that a master and its workers exchange inside Locust's own connection.

Locust adds its own; these are ours. Times in them are nanoseconds on a process's perf_counter: see metrics/clock.py.
"""

from __future__ import annotations

import secrets
from typing import Annotated

import msgspec

from metrics.stage import Stage

#: A cluster that a master made up for the workers that it forks; those of other machines have none.
FORKED = "forked-"
FORKED_CLUSTER = FORKED + secrets.token_hex(8)

JOIN, ADMITTED, TURNED_AWAY = "tokenswarm_join", "tokenswarm_admitted", "tokenswarm_turned_away"
READY, DRAINING, USERS = "tokenswarm_ready", "tokenswarm_draining", "tokenswarm_users"
PING, PONG = "tokenswarm_ping", "tokenswarm_pong"
STAGE, ACK = "tokenswarm_stage", "tokenswarm_ack"
END, LEAVING, REFUSED = "tokenswarm_end", "tokenswarm_leaving", "tokenswarm_refused"
REPORT_KEY = "tokenswarm"


class WorkerRefused(ValueError):
    """A worker cannot take part in the run; the text is its reason."""


_Short = Annotated[str, msgspec.Meta(max_length=500)]


class Join(msgspec.Struct):
    """A worker asks to be admitted, before it loads anything."""

    build: _Short
    cluster: _Short
    sent_ns: int


class Ready(msgspec.Struct):
    """An admitted worker has loaded what a run needs: it can be given users. locust: Locust's version there."""

    locust: _Short


class Users(msgspec.Struct):
    """A worker's users by their class, streams that are being drained included."""

    user_classes_count: dict[str, int]


class Leaving(msgspec.Struct):
    """A worker ends. unreported: requests that ended on it or were under way, and that no acknowledged report holds."""

    unreported: int = 0


class Ping(msgspec.Struct):
    sent_ns: int


class Refused(msgspec.Struct):
    """A worker cannot take part, for that reason."""

    reason: str


class Answer(msgspec.Struct):
    """A master's times of something that a worker sent."""

    sent_ns: int
    received_ns: int
    answered_ns: int


class Admitted(Answer, kw_only=True):
    """The worker may load what a run needs, and send READY then. index: its number in every file of the run;
    stop_timeout_s: the master's --stop-timeout."""

    index: int
    stop_timeout_s: float = 0.0


class Ack(Answer, kw_only=True):
    """Reports up to `through` need not be sent again. entered: the last report that is in the run's statistics; an
    earlier one than `through` where the run had ended without those that followed."""

    run: int
    through: int
    entered: int


class StageBegun(msgspec.Struct):
    """The stage that requests belong to from now on. Times on the master's perf_counter_ns. spool: the folder in which
    workers that the master forked keep what they have not reported, "" for none."""

    run: int
    stage: Stage
    run_began_ns: int
    began_ns: int
    spool: str = ""


class Reports(msgspec.Struct, array_like=True):
    """What travels in Locust's report: numbered reports up to `through`. `last`: nothing will follow them. run 0 and
    stage -1 are of a worker that knows of none."""

    run: int
    stage: int
    sent_ns: int
    through: int
    last: bool
    reports: list[bytes]
