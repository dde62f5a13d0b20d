"""Counts and histograms of the requests to each of several models or hosts, in one scope of a level."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from tokenswarm.metrics.histogram import Histogram
from tokenswarm.metrics.mix import RunMix
from tokenswarm.recording.scope_stats import RATE_UNIT
from tokenswarm.recording.worker_report import RequestRow


@dataclass(slots=True)
class MemberStats:
    """Of one model or host. As ScopeStats, but only what is shown of each: four histograms."""

    requests: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    output_tokens: float = 0.0
    ttft_s: Histogram = field(default_factory=Histogram)
    tpot_s: Histogram = field(default_factory=Histogram)
    e2e_s: Histogram = field(default_factory=Histogram)
    request_token_rate: Histogram = field(default_factory=lambda: Histogram(RATE_UNIT))

    def add(self, row: RequestRow) -> None:
        """Count a request that was sent in the scope."""
        self.requests += 1
        self.outcomes[row.outcome] += 1
        if not row.has_latencies:
            return
        for histogram, duration_ns in (
            (self.ttft_s, row.ttft_ns),
            (self.tpot_s, row.tpot_ns),
            (self.e2e_s, row.e2e_ns),
        ):
            if duration_ns is not None:
                histogram.record(round(duration_ns / 1000))
        if row.token_rate is not None:
            self.request_token_rate.record(round(row.token_rate / RATE_UNIT))


class MixStats:
    """By model and by host, in the order of the run's mix; of what the run has only one of, the list is empty."""

    def __init__(self, mix: RunMix) -> None:
        self.models, self.hosts = (
            [MemberStats() for _ in members] if len(members) > 1 else [] for members in (mix.models, mix.hosts)
        )

    def add(self, row: RequestRow) -> None:
        """Count a request that was sent in the scope."""
        for member in self._of(row):
            member.add(row)

    def add_tokens(self, row: RequestRow, tokens: float) -> None:
        """Count tokens of a request that arrived in the scope, whenever it was sent."""
        for member in self._of(row):
            member.output_tokens += tokens

    def _of(self, row: RequestRow) -> list[MemberStats]:
        return [*self.models[row.model_index :][:1], *self.hosts[row.host_index :][:1]]
