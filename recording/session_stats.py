"""Counts of the sessions of a level, and histograms of its requests by turn and by uncached input tokens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf
from typing import Protocol

from tokenswarm.metrics.histogram import Histogram
from tokenswarm.metrics.linear_fit import LinearFit
from tokenswarm.metrics.timed_histogram import TimedHistogram
from tokenswarm.metrics.timeline import Outcome
from tokenswarm.recording.worker_report import RequestRow

#: Turns that have figures of their own: this one has those of all behind it too.
LAST_TURN = 16
#: Uncached input tokens up to here are counted together, and from here on by doublings.
FEWEST_UNCACHED = 64
#: Rows of a source that are remembered: synthetic sessions have no end of them, and none twice.
_MOST_ROWS = 100_000


@dataclass(slots=True)
class TurnStats:
    """The requests of one turn. prompts: ok requests whose input tokens are known, prompt_tokens of them together;
    usages: those whose usage says how many of these were cached, and their tokens."""

    requests: int = 0
    failures: int = 0
    prompts: int = 0
    prompt_tokens: int = 0
    usages: int = 0
    tokens_of_usages: int = 0
    cached_tokens: int = 0
    ttft_s: TimedHistogram = field(default_factory=TimedHistogram)
    e2e_s: TimedHistogram = field(default_factory=TimedHistogram)

    def add(self, row: RequestRow) -> None:
        """Count a request of the turn."""
        self.requests += 1
        self.failures += row.outcome.is_failure
        if row.outcome is not Outcome.OK:
            return
        if row.prompt_tokens is not None:
            self.prompts += 1
            self.prompt_tokens += row.prompt_tokens
            if row.cached_tokens is not None:
                self.usages += 1
                self.tokens_of_usages += row.prompt_tokens
                self.cached_tokens += row.cached_tokens
        if not row.has_latencies:
            return
        for histogram, duration_ns in ((self.ttft_s, row.ttft_ns), (self.e2e_s, row.e2e_ns)):
            if duration_ns is not None:
                histogram.record_at(round(duration_ns / 1000), row.sent_ns)


@dataclass(slots=True)
class UncachedStats:
    """TTFT by uncached input tokens. by_least: by the least number of each group; fit: of nanoseconds over tokens."""

    by_least: dict[int, TimedHistogram] = field(default_factory=dict)
    fit: LinearFit = field(default_factory=LinearFit)

    def add(self, row: RequestRow) -> None:
        """Count a request."""
        if not row.has_latencies or row.cached_tokens is None or not row.prompt_tokens or row.ttft_ns is None:
            return
        uncached = max(0, row.prompt_tokens - row.cached_tokens)
        least = 0 if uncached < FEWEST_UNCACHED else 1 << (uncached.bit_length() - 1)
        self.by_least.setdefault(least, TimedHistogram()).record_at(round(row.ttft_ns / 1000), row.sent_ns)
        self.fit.add(uncached, row.ttft_ns)


@dataclass(slots=True)
class DepthStats:
    """The requests of agents with so many agents above them. agents: that sent one; join_s: how long agents waited for
    sub-agents before a request, of requests that such a wait came before."""

    agents: int = 0
    requests: TurnStats = field(default_factory=TurnStats)
    join_s: TimedHistogram = field(default_factory=TimedHistogram)

    def add(self, row: RequestRow) -> None:
        """Count a request of the depth."""
        self.agents += row.turn == 1
        self.requests.add(row)
        if row.join_ns is not None:
            self.join_s.record_at(round(row.join_ns / 1000), row.sent_ns)


@dataclass(slots=True)
class _RunningAgent:
    """An agent under way: when its last turn was over, and the last one of the agents below it, the number of that
    turn, and whether it is to be sent again."""

    ended_ns: int
    turn: int = 0
    repeats: bool = False


@dataclass(slots=True)
class _Running:
    """A session under way: when its first turn was sent and its last one was over, how long its user waited for
    answers, how many requests were answered, and its agents by their names. waits_ns: when any of several agents
    waited, in order. is_over: it has been counted, and requests that were under way still end."""

    sent_ns: int
    ended_ns: int
    waited_ns: int = 0
    answered: int = 0
    is_over: bool = False
    agents: dict[str, _RunningAgent] = field(default_factory=dict)
    waits_ns: list[tuple[int, int]] = field(default_factory=list)

    def enter(self, row: RequestRow) -> tuple[bool, bool]:
        """Count a request. Returns whether it was out of order, and whether it was sent before what it had to wait
        for."""
        agent = self.agents.setdefault(row.agent, _RunningAgent(row.sent_ns))
        out_of_order = row.turn != agent.turn + (not agent.repeats)
        overlaps = row.sent_ns < agent.ended_ns
        agent.turn, agent.repeats = row.turn, row.outcome is Outcome.REFUSED_BY_LIMIT
        agent.ended_ns = max(agent.ended_ns, row.ended_ns)
        above = row.agent
        while "." in above:
            above = above.rpartition(".")[0]
            waiting = self.agents.setdefault(above, _RunningAgent(row.sent_ns))
            waiting.ended_ns = max(waiting.ended_ns, row.ended_ns)
        self.ended_ns = max(self.ended_ns, row.ended_ns)
        self._wait(row)
        self.answered += row.outcome is Outcome.OK
        return out_of_order, overlaps

    def is_complete(self, row: RequestRow) -> bool:
        """Whether all requests were answered. row: of the last one that ended."""
        if row.agent:
            return self.answered >= row.session_requests
        return row.outcome is Outcome.OK and row.turn >= row.session_turns

    def _wait(self, row: RequestRow) -> None:
        """Count the time of a request, unless another agent waited in it too. Requests come in the order in which they
        ended."""
        begin_ns, end_ns = row.sent_ns, row.sent_ns + (row.e2e_ns or 0)
        self.waited_ns += end_ns - begin_ns
        if not row.agent:
            return
        while self.waits_ns and self.waits_ns[-1][1] > begin_ns:
            other_begin_ns, other_end_ns = self.waits_ns.pop()
            self.waited_ns -= min(end_ns, other_end_ns) - max(begin_ns, other_begin_ns)
            begin_ns, end_ns = min(begin_ns, other_begin_ns), max(end_ns, other_end_ns)
        self.waits_ns.append((begin_ns, end_ns))


@dataclass(slots=True)
class SessionStats:
    """The sessions of one level, as their requests end. started, completed, failed, abandoned: sessions; overflowed:
    failed ones, by a request that is longer than the model's context; completed_turns: of the first agents of
    completed ones, and thought_s: what their duration is besides waiting. out_of_order, overlapping: requests.
    empty_answers: ok requests of turns before the last one whose answer had no visible text. turns and uncached: of
    requests of the hold; depths: of those in sessions with sub-agents, by how many agents are above theirs. is_dry:
    whether a user had no further session to begin; ran_dry_s: when the load ended for that, since the level began, inf
    where it did not; repeated: sessions of a row of the source that another one of the level was of."""

    started: int = 0
    completed: int = 0
    failed: int = 0
    overflowed: int = 0
    abandoned: int = 0
    completed_turns: int = 0
    out_of_order: int = 0
    overlapping: int = 0
    empty_answers: int = 0
    duration_s: TimedHistogram = field(default_factory=TimedHistogram)
    waited_s: TimedHistogram = field(default_factory=TimedHistogram)
    thought_s: Histogram = field(default_factory=Histogram)
    turns: dict[int, TurnStats] = field(default_factory=dict)
    uncached: UncachedStats = field(default_factory=UncachedStats)
    depths: dict[int, DepthStats] = field(default_factory=dict)
    ran_dry_s: float = inf
    is_dry: bool = False
    repeated: int = 0
    _rows_begun: set[str] = field(default_factory=set)
    _running: dict[str, _Running] = field(default_factory=dict)

    def end_dry(self, elapsed_s: float) -> None:
        """A user had no further session to begin, and the load ends now, so long after the level began, unless it has
        ended for that before."""
        if self.ran_dry_s == inf:
            self.ran_dry_s = max(0.0, elapsed_s)

    @property
    def unfinished(self) -> int:
        """Sessions whose last turn was neither answered nor abandoned, and has not failed; once the level is over, it
        has ended them."""
        return max(0, self.started - self.completed - self.failed - self.abandoned)

    def add(self, row: RequestRow, in_hold: bool) -> bool:
        """Count a request that has ended. Those of a session come in the order in which they ended. Returns whether its
        session has ended with it."""
        if in_hold:
            self.turns.setdefault(min(row.turn, LAST_TURN), TurnStats()).add(row)
            self.uncached.add(row)
            if row.agent:
                self.depths.setdefault(row.depth, DepthStats()).add(row)
        running = self._running.get(row.session) or self._begin(row)
        out_of_order, overlaps = running.enter(row)
        self.out_of_order += out_of_order
        self.overlapping += overlaps
        self.empty_answers += row.outcome is Outcome.OK and row.ttfvt_ns is None and row.turn < row.session_turns
        if running.is_over:
            return False
        if row.outcome.is_failure:
            self.failed += 1
            self.overflowed += row.outcome is Outcome.CONTEXT_OVERFLOW
        elif row.outcome is Outcome.ABANDONED:
            self.abandoned += 1
        elif running.is_complete(row):
            self._complete(running, row)
        elif row.outcome is not Outcome.CUT:
            return False
        running.is_over = True
        if not row.agent:
            del self._running[row.session]  # the others may have requests under way
        return True

    def _begin(self, row: RequestRow) -> _Running:
        self.started += 1
        self.repeated += row.prompt_id in self._rows_begun
        if row.prompt_id and len(self._rows_begun) < _MOST_ROWS:
            self._rows_begun.add(row.prompt_id)
        running = self._running[row.session] = _Running(row.sent_ns, row.sent_ns)
        return running

    def _complete(self, running: _Running, row: RequestRow) -> None:
        self.completed += 1
        first = running.agents.get(row.agent.partition(".")[0])
        self.completed_turns += first.turn if first else row.turn
        duration_ns = running.ended_ns - running.sent_ns
        self.duration_s.record_at(round(duration_ns / 1000), running.sent_ns)
        self.waited_s.record_at(round(running.waited_ns / 1000), running.sent_ns)
        self.thought_s.record(round((duration_ns - running.waited_ns) / 1000))


class _Level(Protocol):
    began_s: float
    sessions: SessionStats


def note_dry(levels: Mapping[int, _Level], dry_ns: Mapping[int, int | None]) -> None:
    """Users of these levels had no further session to begin. dry_ns: see Report."""
    for index, when_ns in dry_ns.items():
        found = levels[index].sessions
        found.is_dry = True
        if when_ns is not None:
            found.end_dry(when_ns / 1e9 - levels[index].began_s)
