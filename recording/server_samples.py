"""Server-side metrics while it was loaded: samples as they came, and figures of each part of a level.

Its own names are those of engines/; here a sample is a value by concept. What is known of a concept is in its name:
those that end in `_total`, `_sum` or `_count` only grow, and what matters is by how much.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import fmean
from typing import Any, NamedTuple

from tokenswarm.metrics.level import Scope
from tokenswarm.recording.aggregator import LevelStats
from tokenswarm.run_folder.schema import ServerFigures

#: Time between two samples. One more is taken where a level begins, its hold begins, or its hold ends.
INTERVAL_S = 5.0
#: A hold has at least so many samples, as other load on the server is found by three: the time between two is shorter
#: in a short hold, and at the beginning of one whose end is not planned, but never below this.
_SAMPLES_OF_HOLD = 5
SHORTEST_INTERVAL_S = 1.0
#: A sample that came this long after a scope's end still holds its counters' values at that end.
READ_WITHIN_S = 1.0


class ServerSample(NamedTuple):
    """One look at the server, `time_s` after the run began."""

    time_s: float
    level_index: int
    values: Mapping[str, float]


@dataclass(slots=True)
class ServerSamples:
    """A run's samples. `source` and `gpu_source` are where they come from, None where there is none; `note` says why.
    `failures` counts pages that could not be read. `latest` is the last sample, {} where there was none. `unread_s`: of
    levels whose last look found nothing to read, though the server had been read before: since when."""

    source: str | None = None
    gpu_source: str | None = None
    note: str | None = None
    #: Time between two samples of a level, None for the usual one.
    interval_s: float | None = None
    samples: list[ServerSample] = field(default_factory=list)
    failures: int = 0
    latest: Mapping[str, float] = field(default_factory=dict)
    unread_s: dict[int, float] = field(default_factory=dict)
    _tried_s: float = -INTERVAL_S

    def is_due(self, level: LevelStats, now_s: float) -> bool:
        """Whether it is time to look: a level or a part of it has begun since the last look, or time has passed."""
        hold_began_s, interval_s = level.began_s + level.level.ramp_s, self.interval_s or INTERVAL_S
        edges_s = [level.began_s, hold_began_s]
        if level.level.level_time_s is not None:
            hold_ends_s = level.began_s + level.level.level_time_s
            edges_s.append(hold_ends_s)
            if hold_began_s <= now_s < hold_ends_s:
                interval_s = min(interval_s, _spread(hold_ends_s - hold_began_s))
        elif now_s > hold_began_s:
            interval_s = min(interval_s, _spread(now_s - hold_began_s))
        return now_s - self._tried_s >= interval_s or any(self._tried_s < edge_s <= now_s for edge_s in edges_s)

    def tried(self, now_s: float) -> None:
        """A look begins."""
        self._tried_s = now_s

    def add(self, sample: ServerSample, failures: int) -> None:
        """A sample, and how many of the pages it read could not be."""
        self.failures += failures
        self.latest = sample.values
        if sample.values:
            self.samples.append(sample)
            self.unread_s.pop(sample.level_index, None)
        elif failures and self.samples:
            self.unread_s.setdefault(sample.level_index, sample.time_s)

    def within(self, began_s: float, ended_s: float) -> list[ServerSample]:
        """The samples of a span of the run."""
        return [sample for sample in self.samples if began_s <= sample.time_s <= ended_s]

    def figures(self, level: LevelStats, part: Scope, now_s: float) -> ServerFigures | None:
        """The figures of a scope of a level; None without a sample."""
        began_s = level.began_s + (level.level.ramp_s if part is Scope.HOLD else 0.0)
        return server_figures(self.samples, began_s, began_s + level.seconds(part, now_s))

    def facts(self) -> dict[str, Any]:
        """For run.json."""
        facts = {"source": self.source, "gpu_source": self.gpu_source, "samples": len(self.samples)}
        return facts | {"failures": self.failures, "note": self.note}


def server_figures(samples: Sequence[ServerSample], began_s: float, ended_s: float) -> ServerFigures | None:
    """The figures of a span of time; None where no sample lies in it."""
    inside = [sample for sample in samples if began_s <= sample.time_s <= ended_s]
    if not inside:
        return None
    span = [sample for sample in samples if began_s <= sample.time_s <= ended_s + READ_WITHIN_S]

    def mean(concept: str) -> float | None:
        return _mean_over_time([(each.time_s, each.values[concept]) for each in inside if concept in each.values])

    hits = _ratio(span, "prefix_cache_hits_total", "prefix_cache_queries_total")
    return ServerFigures(
        requests_running_mean=mean("requests_running"),
        requests_waiting_mean=mean("requests_waiting"),
        kv_cache_utilization_mean=mean("kv_cache_utilization"),
        prefix_cache_hit_ratio=mean("prefix_cache_hit_ratio") if hits is None else hits,
        gpu_utilization_mean=mean("gpu_utilization"),
        gpu_power_w_mean=_per_second(growth(span, "gpu_energy_joules_total")),
        ttft_s_mean=_ratio(span, "ttft_seconds_sum", "ttft_seconds_count"),
        output_token_rate=_per_second(growth(span, "output_tokens_total")),
    )


def _spread(seconds: float) -> float:
    """The time between two samples of a hold of this length."""
    return max(SHORTEST_INTERVAL_S, seconds / _SAMPLES_OF_HOLD)


def _mean_over_time(values: Sequence[tuple[float, float]]) -> float | None:
    """Of (time, value): each stands for the time that it is nearest to, as samples may be closer at the beginning."""
    if not values:
        return None
    times_s = [time_s for time_s, _ in values]
    edges_s = [times_s[0], *(fmean(pair) for pair in pairwise(times_s)), times_s[-1]]
    weights_s = [end_s - begin_s for begin_s, end_s in pairwise(edges_s)]
    return fmean((value for _, value in values), weights_s if sum(weights_s) > 0 else None)


def growth(span: Sequence[ServerSample], concept: str) -> tuple[float, float] | None:
    """(by how much a counter grew, in how many seconds); None where it is not known, or was set back in between."""
    values = [(sample.time_s, sample.values[concept]) for sample in span if concept in sample.values]
    if len(values) < 2 or any(later < earlier for (_, earlier), (_, later) in pairwise(values)):
        return None
    (first_s, first), (last_s, last) = values[0], values[-1]
    return (last - first, last_s - first_s) if last_s > first_s else None


def _per_second(grown: tuple[float, float] | None) -> float | None:
    return None if grown is None else grown[0] / grown[1]


def _ratio(span: Sequence[ServerSample], above: str, below: str) -> float | None:
    upper, lower = growth(span, above), growth(span, below)
    return upper[0] / lower[0] if upper and lower and lower[0] > 0 else None
