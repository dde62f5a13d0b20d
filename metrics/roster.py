"""Who takes part: workers that have joined, went missing, came back, left. Pure: its times are given by the caller."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import msgspec

#: Workers tell every second that they are there. Silent for so long, one is missing;
MISSING_AFTER_S = 5.0
#: and for so long, nobody waits for its last word any more.
LOST_AFTER_S = 10.0


class Happening(StrEnum):
    """What became of a worker in a run's course. MISSING: silent for 5 s. LOST: the run ended without its last word.
    EXPELLED: sent away, as its reports cannot be entered."""

    JOINED = "joined"
    MISSING = "missing"
    BACK = "back"
    LEFT = "left"
    LOST = "lost"
    EXPELLED = "expelled"


class WorkerEvent(msgspec.Struct, frozen=True):
    """A line of summary.json's `events`. time_s: since the run began; of a LOST worker, when it was last heard of."""

    time_s: float
    worker: int
    name: str
    event: Happening


@dataclass(slots=True)
class Member:
    """A worker that was let in. `heard_s` is when it last gave a sign of life."""

    index: int
    name: str
    heard_s: float
    missing: bool = False
    last_word: bool = False


class Roster:
    """The workers by their name in Locust. Times are seconds on any one clock of the caller's."""

    def __init__(self) -> None:
        self.members: dict[str, Member] = {}
        self.events: list[WorkerEvent] = []
        self._began_s: float | None = None

    def begin_run(self, now_s: float) -> None:
        """Those who are there take part; the missing are given up."""
        self.members = {name: member for name, member in self.members.items() if not member.missing}
        for member in self.members.values():
            member.last_word = False
        self.events = []
        self._began_s = now_s

    def end_run(self) -> list[Member]:
        """No event is noted any more. Those who have not said their last word come back, as lost."""
        lost = [member for member in self.members.values() if not member.last_word]
        for member in lost:
            self._note(member, Happening.LOST, member.heard_s)
        self._began_s = None
        return lost

    def join(self, name: str, index: int, now_s: float) -> None:
        """A worker is let in."""
        member = self.members[name] = Member(index, name, now_s)
        self._note(member, Happening.JOINED, now_s)

    def heard(self, name: str, now_s: float) -> None:
        """A sign of life of a worker, if it is one of ours."""
        if (member := self.members.get(name)) is None:
            return
        member.heard_s = now_s
        if member.missing:
            member.missing = False
            self._note(member, Happening.BACK, now_s)

    def watch(self, now_s: float) -> None:
        """Find out who has gone silent."""
        for member in self.members.values():
            if not member.missing and now_s - member.heard_s > MISSING_AFTER_S:
                member.missing = True
                self._note(member, Happening.MISSING, now_s)

    def leave(self, name: str, now_s: float, how: Happening = Happening.LEFT) -> None:
        """A worker has gone by its own decision, or is sent away."""
        if (member := self.members.pop(name, None)) is not None:
            self._note(member, how, now_s)

    def awaited(self, now_s: float) -> list[str]:
        """Whose last word is still to come."""
        return [
            name
            for name, member in self.members.items()
            if not member.last_word and now_s - member.heard_s <= LOST_AFTER_S
        ]

    @property
    def connected(self) -> int:
        return sum(not member.missing for member in self.members.values())

    @property
    def missing(self) -> int:
        return sum(member.missing for member in self.members.values())

    def since_began_s(self, when_s: float) -> float:
        """The run's own time."""
        return 0.0 if self._began_s is None else when_s - self._began_s

    def _note(self, member: Member, event: Happening, when_s: float) -> None:
        if self._began_s is not None:
            time_s = round(self.since_began_s(when_s), 3)
            self.events.append(WorkerEvent(time_s, member.index, member.name, event))
