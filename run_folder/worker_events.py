"""What happened to workers during a run."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class WorkerEventKind(StrEnum):
    """What happened to a worker during a run. MISSING: silent for 5 s. LEAVING: ordered to stop, its streams end, and
    its users are on other workers. LOST: the run ended without its final report. EXPELLED: sent away, as its reports
    cannot be entered."""

    JOINED = "joined"
    MISSING = "missing"
    BACK = "back"
    LEAVING = "leaving"
    LEFT = "left"
    LOST = "lost"
    EXPELLED = "expelled"


class WorkerEvent(msgspec.Struct, frozen=True):
    """A line of summary.json's `events`. time_s: since the run began; of a LOST worker, when its last message came."""

    time_s: float
    worker: int
    name: str
    event: WorkerEventKind
