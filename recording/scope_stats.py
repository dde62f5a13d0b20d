"""Counts and histograms of one part of a level."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from tokenswarm.metrics.histogram import Histogram
from tokenswarm.metrics.lengths import LengthComparison
from tokenswarm.metrics.timed_histogram import TimedHistogram, TimeOrder
from tokenswarm.metrics.timeline import Outcome
from tokenswarm.metrics.token_counts import TokenSource
from tokenswarm.recording.prompts_sent import PromptStats
from tokenswarm.recording.worker_report import RequestRow

RATE_UNIT = 1e-3


@dataclass(slots=True)
class ScopeStats:
    """Counts and histograms of one part of a level. Latencies are of requests that were ok, that their users were not
    to leave, and that were sent in the part; tokens are those that arrived in it, whenever their request was sent.
    requests_not_judged: that their users were to leave, whatever became of them; good_requests_judged: of the others,
    those within all objectives."""

    requests: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    token_sources: Counter[str] = field(default_factory=Counter)
    stamps: Counter[str] = field(default_factory=Counter)
    reads: int = 0
    reads_with_kernel_time: int = 0
    requests_with_gaps: int = 0
    output_tokens: float = 0.0
    good_output_tokens: float = 0.0
    requests_within_objectives: int = 0
    requests_not_judged: int = 0
    good_requests_judged: int = 0
    #: How good each of the requests judged was, see score_number.
    judged: TimeOrder = field(default_factory=TimeOrder)
    tokens_within_objectives: float = 0.0
    ttft_s: TimedHistogram = field(default_factory=TimedHistogram)
    ttft_uncertainty_s: Histogram = field(default_factory=Histogram)
    requests_with_uncertain_ttft: int = 0
    retries: int = 0
    ttfvt_s: TimedHistogram = field(default_factory=TimedHistogram)
    tpot_s: TimedHistogram = field(default_factory=TimedHistogram)
    gap_s: Histogram = field(default_factory=Histogram)
    e2e_s: TimedHistogram = field(default_factory=TimedHistogram)
    #: Of an open loop: sent − scheduled of all requests, and times of the ok ones from scheduled instead of from sent.
    lag_s: TimedHistogram = field(default_factory=TimedHistogram)
    ttft_scheduled_s: TimedHistogram = field(default_factory=TimedHistogram)
    e2e_scheduled_s: TimedHistogram = field(default_factory=TimedHistogram)
    request_token_rate: TimedHistogram = field(default_factory=lambda: TimedHistogram(RATE_UNIT))
    connect_s: Histogram = field(default_factory=Histogram)
    client_delay_s: Histogram = field(default_factory=Histogram)
    loop_lag_s: Histogram = field(default_factory=Histogram)
    prompts: PromptStats = field(default_factory=PromptStats)
    requests_with_rejected_usage: int = 0
    requests_without_tpot: int = 0
    #: Outputs and their arrivals of the ok requests whose gaps were measured, and all events with output of ok ones.
    watched_outputs: int = 0
    watched_arrivals: int = 0
    output_events: int = 0
    tokens_of_ok: int = 0
    deviations: Counter[str] = field(default_factory=Counter)
    input_lengths: LengthComparison = field(default_factory=LengthComparison)
    output_lengths: LengthComparison = field(default_factory=LengthComparison)

    @property
    def requests_judged(self) -> int:
        """Requests that the share of good ones is of: those that nobody was to leave."""
        return self.requests - self.requests_not_judged

    @property
    def good_share(self) -> float | None:
        """Share (0 to 1) of these that were within all objectives; None where there are none."""
        return self.good_requests_judged / self.requests_judged if self.requests_judged else None

    def add(self, row: RequestRow, within_objectives: bool, score: int) -> None:
        """Count a request that was sent in this part; within_objectives: whether it met them all; score: how nearly,
        see score_number."""
        self.requests += 1
        self.requests_not_judged += row.abandons
        if not row.abandons:
            self.good_requests_judged += within_objectives
            self.judged.add(score, row.sent_ns)
        self.outcomes[row.outcome] += 1
        self.retries += row.retries
        if row.outcome is not Outcome.OK:
            return
        self.token_sources[row.output_tokens_source] += 1
        self.stamps[row.stamps] += 1
        self.reads += row.reads
        self.reads_with_kernel_time += row.reads_with_kernel_time
        self.requests_with_gaps += row.gaps_measured
        self.requests_with_uncertain_ttft += bool(row.ttft_uncertainty_ns)
        self.requests_with_rejected_usage += row.output_tokens_rejected is not None
        self.requests_without_tpot += row.output_tokens > 1 and row.tpot_ns is None
        self.output_events += row.output_events
        self.tokens_of_ok += row.output_tokens
        if row.gaps_measured:
            self.watched_outputs += row.output_events
            self.watched_arrivals += row.output_arrivals
        self.deviations.update(row.deviations.keys())
        self._add_lengths(row)
        if within_objectives:
            self.requests_within_objectives += 1
        if row.connect_ns:
            self.connect_s.record(round(row.connect_ns / 1000))
        if row.has_latencies:
            self._add_latencies(row)

    def _add_latencies(self, row: RequestRow) -> None:
        for histogram, duration_ns in (
            (self.ttft_s, row.ttft_ns),
            (self.ttfvt_s, row.ttfvt_ns),
            (self.tpot_s, row.tpot_ns),
            (self.e2e_s, row.e2e_ns),
        ):
            if duration_ns is not None:
                histogram.record_at(round(duration_ns / 1000), row.sent_ns)
        if row.ttft_uncertainty_ns is not None:
            self.ttft_uncertainty_s.record(round(row.ttft_uncertainty_ns / 1000))
        if row.token_rate is not None:
            self.request_token_rate.record_at(round(row.token_rate / RATE_UNIT), row.sent_ns)

    @property
    def outputs_per_arrival(self) -> float | None:
        """Outputs that arrived at once, in the mean; None where no arrivals were watched."""
        return self.watched_outputs / self.watched_arrivals if self.watched_arrivals else None

    @property
    def tokens_per_event(self) -> float | None:
        """Tokens of an event with output, in the mean of ok requests; None where there is none."""
        return self.tokens_of_ok / self.output_events if self.output_events else None

    def _add_lengths(self, row: RequestRow) -> None:
        """Compare the lengths with the requested ones, where the server says what they are."""
        requested, actual = row.input_tokens_requested, row.prompt_tokens
        if requested is not None and actual is not None and row.prompt_tokens_source == "usage":
            self.input_lengths.add(requested, actual)
        if row.output_tokens_requested is not None and row.output_tokens_source != TokenSource.EVENTS:
            self.output_lengths.add(row.output_tokens_requested, row.output_tokens)

    def add_scheduled(self, row: RequestRow) -> None:
        """Count the times from scheduled of a request that was due in this part of an open-loop level."""
        self.lag_s.record_at(max(0, round(row.lag_ns / 1000)), row.sent_ns)
        if row.has_latencies:
            for histogram, duration_ns in (
                (self.ttft_scheduled_s, row.ttft_scheduled_ns),
                (self.e2e_scheduled_s, row.e2e_scheduled_ns),
            ):
                if duration_ns is not None:
                    histogram.record_at(round(duration_ns / 1000), row.sent_ns)

    def add_tokens(self, tokens: float, outcome: Outcome, within_objectives: bool) -> None:
        """Count tokens of a request that arrived in this part; within_objectives: whether it met them all."""
        self.output_tokens += tokens
        if not outcome.is_failure:
            self.good_output_tokens += tokens
        if within_objectives:
            self.tokens_within_objectives += tokens
