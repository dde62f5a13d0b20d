"""Which workers there are: admitted, taking part, missing, leaving. Pure: the caller passes the times."""

from __future__ import annotations

from dataclasses import dataclass, field

from tokenswarm.run_folder.worker_events import WorkerEvent, WorkerEventKind

#: The users of a worker count for so long after its last heartbeat. Each worker sends one every second.
USERS_KNOWN_S = 3.0
#: A worker without a heartbeat for so long is missing.
MISSING_AFTER_S = 5.0
#: The master waits for the final report of a worker unless it was silent for so long.
LOST_AFTER_S = 10.0
#: A worker that still loads may block its own event loop. After so long without a heartbeat it is no longer awaited.
CANDIDATE_LOST_AFTER_S = 60.0


@dataclass(slots=True)
class WorkerState:
    """A worker that was admitted. last_heartbeat_s: when its last heartbeat was received; users: how many it then had,
    streams that are being drained included; leaving: it is given no more users; entered: (run, number) of its last
    report that was entered; stats_sent_ns: when its stats messages that were entered were sent, on its own clock."""

    index: int
    name: str
    last_heartbeat_s: float
    missing: bool = False
    final_report: bool = False
    leaving: bool = False
    users: int = 0
    entered: tuple[int, int] = (0, 0)
    stats_sent_ns: set[int] = field(default_factory=set)


class Membership:
    """The workers by their name in Locust: `candidates` are admitted and still load what they need, `members` take
    part. Times are seconds on one clock of the caller's."""

    def __init__(self) -> None:
        self.candidates: dict[str, WorkerState] = {}
        self.members: dict[str, WorkerState] = {}
        self._absent: dict[str, WorkerState] = {}
        self._left_unreported: list[WorkerState] = []
        self.events: list[WorkerEvent] = []
        self._began_s: float | None = None

    def begin_run(self, now_s: float) -> None:
        """The present workers take part; a missing one takes part again after its next heartbeat."""
        self._absent |= {name: member for name, member in self.members.items() if member.missing}
        self.members = {name: member for name, member in self.members.items() if not member.missing}
        for member in (*self.members.values(), *self._absent.values()):
            member.final_report = False
        self._left_unreported = []
        self.events = []
        self._began_s = now_s

    def end_run(self) -> list[WorkerState]:
        """No event is recorded any more. Returns the lost workers: those whose final report was never received, and
        those that left without having reported everything."""
        silent = [member for member in self.members.values() if not member.final_report]
        lost = [*self._left_unreported, *silent]
        for member in lost:
            self._record(member, WorkerEventKind.LOST, member.last_heartbeat_s)
        self._began_s = None
        return lost

    def admit(self, name: str, index: int, now_s: float) -> None:
        """A worker may load what it needs."""
        self.candidates[name] = WorkerState(index, name, now_s)

    def join(self, name: str, index: int, now_s: float) -> None:
        """A worker takes part."""
        self.candidates.pop(name, None)
        member = self.members[name] = WorkerState(index, name, now_s)
        self._record(member, WorkerEventKind.JOINED, now_s)

    def heartbeat_received(self, name: str, now_s: float) -> None:
        """A heartbeat of a client, which may be none of the workers."""
        if (candidate := self.candidates.get(name)) is not None:
            candidate.last_heartbeat_s = now_s
        if (absent := self._absent.pop(name, None)) is not None:
            absent.missing = False
            self.members[name] = absent
            self._record(absent, WorkerEventKind.JOINED, now_s)
        if (member := self.members.get(name)) is None:
            return
        member.last_heartbeat_s = now_s
        if member.missing:
            member.missing = False
            self._record(member, WorkerEventKind.BACK, now_s)

    def watch(self, now_s: float) -> None:
        """Record which workers have gone silent."""
        self.forget_silent_candidates(now_s)
        for member in self.members.values():
            if not member.missing and now_s - member.last_heartbeat_s > MISSING_AFTER_S:
                member.missing = True
                self._record(member, WorkerEventKind.MISSING, now_s)

    def forget_silent_candidates(self, now_s: float) -> None:
        """Wait no longer for workers that still load and were silent for a minute."""
        since_s = now_s - CANDIDATE_LOST_AFTER_S
        self.candidates = {name: each for name, each in self.candidates.items() if each.last_heartbeat_s >= since_s}

    def leave(
        self, name: str, now_s: float, how: WorkerEventKind = WorkerEventKind.LEFT, *, unreported: bool = False
    ) -> None:
        """A worker has left, or is excluded. unreported: it could not report all its requests, and counts as lost."""
        self.candidates.pop(name, None)
        self._absent.pop(name, None)
        if (member := self.members.pop(name, None)) is not None:
            self._record(member, how, now_s)
            if unreported and not member.final_report and self._began_s is not None:
                self._left_unreported.append(member)

    def drain(self, name: str, now_s: float) -> None:
        """A worker is being stopped: it is given no more users, and leaves when its streams have ended."""
        if (member := self.members.get(name)) is not None and not member.leaving:
            member.leaving = True
            self._record(member, WorkerEventKind.LEAVING, now_s)

    def users(self, now_s: float) -> int:
        """How many users there are. Users of silent workers do not count, whatever their last heartbeat reported."""
        return sum(member.users for member in self.members.values() if now_s - member.last_heartbeat_s <= USERS_KNOWN_S)

    def awaited(self, now_s: float) -> list[str]:
        """The workers whose final report has not been received and can still be."""
        return [
            name
            for name, member in self.members.items()
            if not member.final_report and now_s - member.last_heartbeat_s <= LOST_AFTER_S
        ]

    @property
    def present(self) -> set[int]:
        """The workers that are there, by their index."""
        return {member.index for member in self.members.values() if not member.missing}

    @property
    def connected(self) -> int:
        return sum(not member.missing for member in self.members.values())

    @property
    def missing(self) -> int:
        return sum(member.missing for member in self.members.values())

    def since_began_s(self, when_s: float) -> float:
        """Seconds from the run's begin to `when_s`."""
        return 0.0 if self._began_s is None else when_s - self._began_s

    def _record(self, member: WorkerState, event: WorkerEventKind, when_s: float) -> None:
        if self._began_s is not None:
            time_s = round(self.since_began_s(when_s), 3)
            self.events.append(WorkerEvent(time_s, member.index, member.name, event))
