"""How often the rule for unstable levels is right, on levels of an open loop whose server is simulated: a queue with
Poisson arrivals and several slots, each of which works on one request at a time.

    python -m benchmarks.backlog [--seeds 200]
"""

from __future__ import annotations

import argparse
import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from math import log, sqrt

import numpy as np

from tokenswarm.metrics.backlog import BacklogGrowth, backlog_growth, filling_s
from tokenswarm.metrics.intervals import Series

LOADS = (0.5, 0.8, 0.9, 1.05, 1.2)


@dataclass(frozen=True, slots=True)
class Server:
    """slots: requests that it works on at once; service_s: how long one takes, in the mean; variation: of that,
    standard deviation / mean (lognormal)."""

    slots: int
    service_s: float
    variation: float


@dataclass(frozen=True, slots=True)
class SimulatedLevel:
    """arrived_s, ended_s: of each request that arrived in the hold, in seconds since it began."""

    hold_s: int
    arrived_s: Series
    ended_s: Series

    @property
    def in_flight(self) -> Series:
        """The mean of each second."""
        edges = np.arange(self.hold_s + 1, dtype=np.float64)
        return np.diff(_waited_since(self.arrived_s, edges) - _waited_since(self.ended_s, edges))

    @property
    def growth(self) -> BacklogGrowth | None:
        """As a run judges it."""
        ascending = np.sort(self.ended_s - self.arrived_s)
        p50_s, p95_s = (float(ascending[int(np.ceil(p * len(ascending))) - 1]) for p in (0.5, 0.95))
        first = round(filling_s(p50_s, p95_s, self.hold_s))
        return backlog_growth(self.in_flight[first:], 1.0, len(self.arrived_s) / self.hold_s)


#: What is judged: a server, and the hold's length in seconds.
CASES = (
    *((Server(20, 1.0, 0.5), 120), (Server(20, 1.0, 1.0), 120), (Server(100, 2.0, 0.7), 120)),
    *((Server(50, 5.0, 0.5), 300), (Server(50, 5.0, 1.0), 120), (Server(1, 0.1, 0.5), 60), (Server(20, 1.0, 0.5), 30)),
    *((Server(8, 2.0, 0.5), 60), (Server(20, 10.0, 0.5), 120)),
)


def simulated_level(server: Server, load: float, hold_s: int, seed: int) -> SimulatedLevel:
    """A level at this share of the server's capacity that begins with no request in flight."""
    random = np.random.default_rng(seed)
    rate = load * server.slots / server.service_s
    arrived_s = np.cumsum(random.exponential(1 / rate, round(rate * hold_s * 1.3 + 100)))
    arrived_s = arrived_s[arrived_s < hold_s]
    sigma = sqrt(log(1 + server.variation**2))
    takes_s = random.lognormal(log(server.service_s) - sigma**2 / 2, sigma, len(arrived_s))
    free_s = [0.0] * server.slots
    ended_s = np.empty(len(arrived_s))
    for place, (since_s, lasts_s) in enumerate(zip(arrived_s.tolist(), takes_s.tolist(), strict=True)):
        ended_s[place] = max(since_s, heapq.heappop(free_s)) + lasts_s
        heapq.heappush(free_s, float(ended_s[place]))
    return SimulatedLevel(hold_s, arrived_s, ended_s)


def unanswered_per_s(server: Server, load: float) -> float:
    """Offered − served, once all slots work; in requests/s."""
    return max(0.0, load - 1.0) * server.slots / server.service_s


def _waited_since(times_s: Series, at_s: Series) -> Series:
    """The sum of the times since each event that lies before, at each moment."""
    ascending = np.sort(times_s)
    before = np.searchsorted(ascending, at_s)
    sums = np.concatenate(([0.0], np.cumsum(ascending)))
    waited: Series = at_s * before - sums[before]
    return waited


def _lines(seeds: int) -> Iterator[str]:
    yield "| slots | service (s), variation | hold (s) | load | unstable | slope / (offered - served) |"
    yield "|---|---|---|---|---|---|"
    for server, hold_s in CASES:
        for load in LOADS:
            levels = [simulated_level(server, load, hold_s, seed).growth for seed in range(seeds)]
            found = [growth for growth in levels if growth is not None]
            unstable = sum(growth.is_unstable for growth in found)
            missing = unanswered_per_s(server, load)
            slope = float(np.mean([growth.slope.value for growth in found]))
            ratio = f"{slope / missing:.2f}" if missing else "-"
            yield (
                f"| {server.slots} | {server.service_s:g}, {server.variation:g} | {hold_s} | {load:.0%} "
                f"| {unstable} of {len(found)} | {ratio} |"
            )


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=200, help="levels of each case and load")
    for line in _lines(parser.parse_args().seeds):
        print(line, flush=True)


if __name__ == "__main__":
    main()
