"""The workers: admitted, taking part, missing, leaving. Pure: its times are given by the caller."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

import msgspec

#: Users of a worker count as there for so long after its last sign of life, which comes every second.
USERS_KNOWN_S = 3.0
#: Workers tell every second that they are there. Silent for so long, one is missing;
MISSING_AFTER_S = 5.0
#: and for so long, nobody waits for its final report any more.
LOST_AFTER_S = 10.0
#: A worker that is still loading may block its own loop for a while. Silent for so long, it is given up.
CANDIDATE_LOST_AFTER_S = 60.0


class Happening(StrEnum):
    """What became of a worker in a run's course. MISSING: silent for 5 s. LEAVING: told to stop, its streams end, and
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
    """A line of summary.json's `events`. time_s: since the run began; of a LOST worker, when it was last heard of."""

    time_s: float
    worker: int
    name: str
    event: Happening


@dataclass(slots=True)
class Member:
    """A worker that was admitted. `heard_s` is when it last gave a sign of life, `users` how many it then had, streams
    that are being drained included; `leaving`: it takes no users any more; `entered`: (run, number) of its last report
    that was entered; `stats_sent_ns`: when its stats messages that were entered were sent, by its own clock."""

    index: int
    name: str
    heard_s: float
    missing: bool = False
    last_word: bool = False
    leaving: bool = False
    users: int = 0
    entered: tuple[int, int] = (0, 0)
    stats_sent_ns: set[int] = field(default_factory=set)


class Roster:
    """The workers by their name in Locust: `candidates` are admitted and still load what they need, `members` take
    part. Times are seconds on any one clock of the caller's."""

    def __init__(self) -> None:
        self.candidates: dict[str, Member] = {}
        self.members: dict[str, Member] = {}
        self._absent: dict[str, Member] = {}
        self._left_unreported: list[Member] = []
        self.events: list[WorkerEvent] = []
        self._began_s: float | None = None

    def begin_run(self, now_s: float) -> None:
        """Those who are there take part; the missing do again once they are heard of."""
        self._absent |= {name: member for name, member in self.members.items() if member.missing}
        self.members = {name: member for name, member in self.members.items() if not member.missing}
        for member in (*self.members.values(), *self._absent.values()):
            member.last_word = False
        self._left_unreported = []
        self.events = []
        self._began_s = now_s

    def end_run(self) -> list[Member]:
        """No event is noted any more. Returns the lost: those whose final report never came, or that left without
        having reported all."""
        silent = [member for member in self.members.values() if not member.last_word]
        lost = [*self._left_unreported, *silent]
        for member in lost:
            self._note(member, Happening.LOST, member.heard_s)
        self._began_s = None
        return lost

    def admit(self, name: str, index: int, now_s: float) -> None:
        """A worker may load what it needs."""
        self.candidates[name] = Member(index, name, now_s)

    def join(self, name: str, index: int, now_s: float) -> None:
        """A worker takes part."""
        self.candidates.pop(name, None)
        member = self.members[name] = Member(index, name, now_s)
        self._note(member, Happening.JOINED, now_s)

    def heard(self, name: str, now_s: float) -> None:
        """A sign of life of a worker, if it is one of ours."""
        if (candidate := self.candidates.get(name)) is not None:
            candidate.heard_s = now_s
        if (absent := self._absent.pop(name, None)) is not None:
            absent.missing = False
            self.members[name] = absent
            self._note(absent, Happening.JOINED, now_s)
        if (member := self.members.get(name)) is None:
            return
        member.heard_s = now_s
        if member.missing:
            member.missing = False
            self._note(member, Happening.BACK, now_s)

    def watch(self, now_s: float) -> None:
        """Find out who has gone silent."""
        self.forget_silent_candidates(now_s)
        for member in self.members.values():
            if not member.missing and now_s - member.heard_s > MISSING_AFTER_S:
                member.missing = True
                self._note(member, Happening.MISSING, now_s)

    def forget_silent_candidates(self, now_s: float) -> None:
        """Nobody waits for those that are loading and were silent for a minute."""
        for name in [name for name, each in self.candidates.items() if now_s - each.heard_s > CANDIDATE_LOST_AFTER_S]:
            del self.candidates[name]

    def leave(self, name: str, now_s: float, how: Happening = Happening.LEFT, *, unreported: bool = False) -> None:
        """A worker has gone by its own decision, or is sent away. unreported: with requests that it could not report;
        it is lost then."""
        self.candidates.pop(name, None)
        self._absent.pop(name, None)
        if (member := self.members.pop(name, None)) is not None:
            self._note(member, how, now_s)
            if unreported and not member.last_word and self._began_s is not None:
                self._left_unreported.append(member)

    def drain(self, name: str, now_s: float) -> None:
        """A worker was told to stop: it takes no users any more, and leaves when its streams have ended."""
        if (member := self.members.get(name)) is not None and not member.leaving:
            member.leaving = True
            self._note(member, Happening.LEAVING, now_s)

    def users(self, now_s: float) -> int:
        """How many users there are: those of workers that are silent do not count, whatever was heard of them last."""
        return sum(member.users for member in self.members.values() if now_s - member.heard_s <= USERS_KNOWN_S)

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
