"""Counts and histograms of the requests to each model, to each host, and of each name, in one scope of a level."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from tokenswarm.metrics.mix import RunMix
from tokenswarm.metrics.timed_histogram import TimedHistogram
from tokenswarm.metrics.timeline import Outcome
from tokenswarm.recording.scope_stats import RATE_UNIT
from tokenswarm.recording.worker_report import RequestRow

#: So many names of a run have figures of their own, of which each takes four histograms; what comes after is one more.
MOST_NAMES = 50
OTHER_NAMES = "(other names)"
#: Of requests of Tokenswarm's own users beside those of a locustfile.
DEFAULT_NAME = "chat"


class RunNames:
    """The names of a run's requests, in the order in which they came."""

    def __init__(self) -> None:
        self._known: set[str] = set()

    def counted_as(self, name: str) -> str:
        """The name under which requests of this one are counted; "" for those without."""
        if name and name not in self._known:
            if len(self._known) == MOST_NAMES:
                return OTHER_NAMES
            self._known.add(name)
        return name


@dataclass(slots=True)
class MemberStats:
    """Of one model, host or name. As ScopeStats, but only what is shown of each: four histograms."""

    requests: int = 0
    repeated: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    output_tokens: float = 0.0
    ttft_s: TimedHistogram = field(default_factory=TimedHistogram)
    tpot_s: TimedHistogram = field(default_factory=TimedHistogram)
    e2e_s: TimedHistogram = field(default_factory=TimedHistogram)
    request_token_rate: TimedHistogram = field(default_factory=lambda: TimedHistogram(RATE_UNIT))

    @property
    def failures(self) -> int:
        return sum(count for name, count in self.outcomes.items() if Outcome(name).is_failure)

    def add(self, row: RequestRow, *, repeats: bool = False) -> None:
        """Count a request that was sent in the scope. repeats: whether its text had been sent before in the run."""
        self.requests += 1
        self.repeated += repeats
        self.outcomes[row.outcome] += 1
        if not row.has_latencies:
            return
        for histogram, duration_ns in (
            (self.ttft_s, row.ttft_ns),
            (self.tpot_s, row.tpot_ns),
            (self.e2e_s, row.e2e_ns),
        ):
            if duration_ns is not None:
                histogram.record_at(round(duration_ns / 1000), row.sent_ns)
        if row.token_rate is not None:
            self.request_token_rate.record_at(round(row.token_rate / RATE_UNIT), row.sent_ns)


class MixStats:
    """By model and by host, in the order of the run's mix; of what the run has only one of, the list is empty. names:
    of the requests that have one."""

    def __init__(self, mix: RunMix) -> None:
        self.models, self.hosts = (
            [MemberStats() for _ in members] if len(members) > 1 else [] for members in (mix.models, mix.hosts)
        )
        self.names: dict[str, MemberStats] = {}

    def add(self, row: RequestRow, name: str = "", *, repeats: bool = False) -> None:
        """Count a request that was sent in the scope. name: that it is counted under; repeats: whether its text had
        been sent before in the run."""
        for member in self._of(row, name):
            member.add(row, repeats=repeats)

    def add_tokens(self, row: RequestRow, tokens: float, name: str = "") -> None:
        """Count tokens of a request that arrived in the scope, whenever it was sent. name: as for `add`."""
        for member in self._of(row, name):
            member.output_tokens += tokens

    def _of(self, row: RequestRow, name: str) -> list[MemberStats]:
        found = [*self.models[row.model_index :][:1], *self.hosts[row.host_index :][:1]]
        return [*found, self.names.setdefault(name, MemberStats())] if name else found
