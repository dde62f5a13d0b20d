"""Servers whose capacity is known, on which a capacity search runs in virtual time."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from math import exp, log, sqrt
from statistics import NormalDist

import numpy as np

from tokenswarm.metrics.intervals import Series
from tokenswarm.shapes.capacity.probe_verdict import Decision, Stability, decide, look_times
from tokenswarm.shapes.capacity.search import CapacitySearch, ProbeOutcome, Verdict
from tokenswarm.shapes.capacity.search_range import SearchRange

TARGET = 0.95
_Z_OF_TARGET = NormalDist().inv_cdf(TARGET)


@dataclass
class LatencyServer:
    """A closed loop: each user sends `per_user` requests/s. log(TTFT / bound) is normal; its mean grows with
    `steepness` x log(load / capacity) and is such that exactly the target's share is good at the capacity. memory_s:
    after so long, the correlation of requests has fallen to 1/e; unsteady: standard deviation of the server's speed
    from probe to probe, as a share of it."""

    capacity: float
    seed: int
    per_user: float = 0.5
    spread: float = 0.3
    steepness: float = 3.0
    memory_s: float = 2.0
    unsteady: float = 0.0
    random: np.random.Generator = field(init=False)

    def __post_init__(self) -> None:
        self.random = np.random.default_rng(self.seed)

    def probe(self, load: float, longest_s: float) -> tuple[Series, Series]:
        """(when each request of the hold is sent, in seconds; its TTFT / the bound)"""
        rate = load * self.per_user
        count = max(1, round(rate * longest_s))
        sent_s = np.sort(self.random.uniform(0, longest_s, count))
        kept = exp(-1 / (rate * self.memory_s))
        noise = self.random.normal(size=count) * sqrt(1 - kept**2)
        noise[0] /= sqrt(1 - kept**2)
        from_mean = correlated(noise, kept)
        speed = self.unsteady * self.random.normal()
        mean = -_Z_OF_TARGET * self.spread + self.steepness * log(load / self.capacity) + speed
        return sent_s, np.exp(mean + self.spread * from_mean)


@dataclass
class CliffServer:
    """Every request is good up to the capacity, and none above."""

    capacity: float
    seed: int = 0

    def probe(self, load: float, longest_s: float) -> tuple[Series, Series]:
        sent_s = np.arange(0, longest_s, 2 / load)
        return sent_s, np.full(len(sent_s), 0.1 if load <= self.capacity else 10.0)


@dataclass
class QueueServer:
    """An open loop: Poisson arrivals, exponential services of 1 s mean in `slots`; a request is good if it waits no
    longer than bound_s. Near the capacity, waits of requests are strongly correlated."""

    slots: int
    bound_s: float
    seed: int
    random: np.random.Generator = field(init=False)

    def __post_init__(self) -> None:
        self.random = np.random.default_rng(self.seed)

    def share(self, rate: float) -> float:
        """Of good requests in the long run (Erlang C)."""
        if rate >= self.slots:
            return 0.0
        term = total = 1.0
        for number in range(1, self.slots):
            term *= rate / number
            total += term
        term *= rate / self.slots * self.slots / (self.slots - rate)
        return 1 - term / (total + term) * exp(-(self.slots - rate) * self.bound_s)

    @property
    def capacity(self) -> float:
        """The rate at which exactly the target's share is good."""
        low, high = 1e-3, float(self.slots)
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if self.share(middle) >= TARGET else (low, middle)
        return low

    def probe(self, load: float, longest_s: float) -> tuple[Series, Series]:
        filling_s = 20.0
        count = round(load * (longest_s + filling_s) * 1.3 + 100)
        arrived_s = np.cumsum(self.random.exponential(1 / load, count))
        takes_s = self.random.exponential(1.0, count)
        free_s = [0.0] * self.slots
        waited_s = np.empty(count)
        for place, (since_s, lasts_s) in enumerate(zip(arrived_s.tolist(), takes_s.tolist(), strict=True)):
            begins_s = max(since_s, heapq.heappop(free_s))
            waited_s[place] = begins_s - since_s
            heapq.heappush(free_s, begins_s + lasts_s)
        held = (arrived_s >= filling_s) & (arrived_s < filling_s + longest_s)
        return arrived_s[held] - filling_s, waited_s[held] / self.bound_s


def correlated(noise: Series, kept: float) -> Series:
    """Each value is `kept` x the one before it, plus its own noise."""
    size = 32
    blocks = np.zeros(-(-len(noise) // size) * size)
    blocks[: len(noise)] = noise
    powers = kept ** np.arange(size + 1)
    places = np.arange(size)
    within = blocks.reshape(-1, size) @ np.tril(powers[np.abs(places[:, None] - places)]).T
    before, state = np.empty(len(within)), 0.0
    for block, last in enumerate(within[:, -1].tolist()):
        before[block] = state
        state = powers[size] * state + last
    values: Series = (within + before[:, None] * powers[1:]).ravel()[: len(noise)]
    return values


Probe = Callable[[float, float], tuple[Series, Series]]


def run_probe(probe: Probe, load: float, longest_s: float) -> tuple[Decision, float]:
    """(what the probe came to, after how many seconds)"""
    sent_s, scores = probe(load, longest_s)
    times_s = look_times(longest_s)
    for time_s in times_s:
        known = scores[: np.searchsorted(sent_s, time_s)]
        found = decide(known, TARGET, Stability.STEADY, last=time_s == times_s[-1])
        if found.verdict is not None:
            return found, time_s
    raise AssertionError("the last look decides")


def run_search(probe: Probe, of: SearchRange, longest_s: float) -> tuple[CapacitySearch, list[float]]:
    """(the search when it is over, how long each probe took)"""
    search, lasted_s = CapacitySearch(of), []
    while (load := search.next_load()) is not None:
        found, time_s = run_probe(probe, load, longest_s)
        assert found.verdict is not None
        assert found.bounds is not None
        share, low, high = found.bounds.share, found.bounds.low, found.bounds.high
        search.record(ProbeOutcome(load, found.verdict, share >= TARGET, low, high))
        lasted_s.append(time_s)
    return search, lasted_s


def words(search: CapacitySearch) -> str:
    """The outcomes in order, for a failed assertion."""
    marks = {Verdict.PASS: "+", Verdict.FAIL: "-", Verdict.INCONCLUSIVE: "?"}
    return " ".join(f"{outcome.load:g}{marks[outcome.verdict]}" for outcome in search.outcomes)
