"""What the parts of the benchmark hand to one another: a load, a request as each side saw it, a process's cost."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.question import ANSWER_TOKENS_MAX
from tokenswarm.simulator.paced_log import Served

#: The paced server's answers.
ANSWER_TOKENS_MIN = 32
TOKENS_PER_S = 40
TTFT_MS = 200.0


@dataclass(frozen=True, slots=True)
class Pace:
    """How the paced server answers. in_step: whether the tokens of all streams are due together."""

    tokens_min: int = ANSWER_TOKENS_MIN
    tokens_max: int = ANSWER_TOKENS_MAX
    tokens_per_s: float = TOKENS_PER_S
    ttft_ms: float = TTFT_MS
    in_step: bool = False


USUAL_PACE = Pace()


@dataclass(frozen=True, slots=True)
class Load:
    """`users` send requests for ramp_s + hold_s; all are there after ramp_s. Last answers are read to the end."""

    users: int
    ramp_s: int
    hold_s: int

    @property
    def users_per_s(self) -> float:
        return self.users / self.ramp_s

    @property
    def sending_s(self) -> int:
        """For how long new requests are sent."""
        return self.ramp_s + self.hold_s

    @property
    def requests(self) -> int:
        """How many requests take about sending_s, for clients that are given a number of requests."""
        answer_s = TTFT_MS / 1000 + ((ANSWER_TOKENS_MIN + ANSWER_TOKENS_MAX) / 2 - 1) / TOKENS_PER_S
        return max(self.users, round(self.users * self.sending_s / answer_s))


@dataclass(frozen=True, slots=True)
class Seen:
    """A request as its client reports it. None: this client, or this request, has no such figure.

    sent_ns is on a clock of the client's own choice: only the order of requests is taken from it. usage_tokens: how
    long the server said that the answer was, of clients whose requests are known by that, and recorded as they ended.
    """

    request_id: str | None
    sent_ns: int | None
    ttft_ns: int | None
    gap_max_ns: int | None
    events: int | None
    ok: bool
    usage_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class ReadingCost:
    """What reading an event costs, in microseconds; below 1, `ratio` says that ours is cheaper than sseclient-py."""

    what: str
    events_a_read: int
    ours_us: float
    theirs_us: float

    @property
    def ratio(self) -> float:
        return self.ours_us / self.theirs_us


@dataclass(frozen=True, slots=True)
class Cost:
    """What a process took from start to end: user and system time, and the most memory it ever held."""

    exit_code: int
    cpu_s: float
    peak_bytes: int
    in_time: bool = True


@dataclass(frozen=True, slots=True)
class Run:
    """A client's run under one load.

    memory: what the client's process held when, pairs of CLOCK_MONOTONIC in ns and bytes. seen: None for a client that
    keeps no record. other_load: what else kept the two cores busy, in cores, None where the system does not say. reads:
    how often the client read its sockets, None where it does not count. counted: whether it was given a number of
    requests, rather than a time. sent_again: how many TCP segments the machine sent again meanwhile, None where the
    system does not say.
    """

    load: Load
    cost: Cost
    served: list[Served]
    seen: list[Seen] | None
    memory: list[tuple[int, int]]
    other_load: float | None
    reads: int | None = None
    counted: bool = False
    sent_again: int | None = None

    @property
    def sent_for_s(self) -> float:
        """For how long new requests came: what the client was given, or what the server saw where it got a number."""
        if not self.counted:
            return self.load.sending_s
        arrivals_ns = [request.wire_ns for request in self.served]
        return (max(arrivals_ns) - min(arrivals_ns)) / 1e9 if arrivals_ns else 0.0

    @property
    def tokens(self) -> int:
        return sum(request.tokens for request in self.served)
