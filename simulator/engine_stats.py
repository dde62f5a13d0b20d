"""What a server counts of its own work, for its own metrics page. Times are in seconds."""

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field

from tokenswarm.simulator.truth import TruthRow

# vLLM's own bounds, which the other engines' histograms resemble.
TTFT_BOUNDS_S = (
    *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75),
    *(1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0, 160.0, 640.0, 2560.0),
)
GAP_BOUNDS_S = (
    *(0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0),
)
E2E_BOUNDS_S = (
    *(0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0),
    *(120.0, 240.0, 480.0, 960.0, 1920.0, 7680.0),
)
TOKEN_BOUNDS = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0, 10_000.0)
REASONS = ("stop", "length", "abort", "error")


class CountHistogram:
    """Counts of values, by upper bound; the last count is of those above all bounds."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0
        self.last = 0.0

    def add(self, value: float, times: int = 1) -> None:
        self.counts[bisect_left(self.bounds, value)] += times
        self.sum += value * times
        self.last = value

    @property
    def count(self) -> int:
        return sum(self.counts)

    @property
    def mean(self) -> float:
        return self.sum / (self.count or 1)


class EngineStats:
    """What ended and how, and the latencies of what was answered.

    ttft_s: from a request's arrival to its first text. gap_s: between one token and the next. tpot_s: a request's mean
    gap. e2e_s: from arrival to end. Tokens are a request's, of its prompt and of what it was sent. `statuses` counts
    answered requests by HTTP status.
    """

    def __init__(self) -> None:
        self.ttft_s = CountHistogram(TTFT_BOUNDS_S)
        self.gap_s = CountHistogram(GAP_BOUNDS_S)
        self.tpot_s = CountHistogram(GAP_BOUNDS_S)
        self.e2e_s = CountHistogram(E2E_BOUNDS_S)
        self.input_tokens = CountHistogram(TOKEN_BOUNDS)
        self.output_tokens = CountHistogram(TOKEN_BOUNDS)
        self.ended = Counter(dict.fromkeys(REASONS, 0))
        self.statuses: Counter[int] = Counter({200: 0})

    def count(self, row: TruthRow, reason: str) -> None:
        """Count an ended request. reason: one of REASONS."""
        self.ended[reason] += 1
        self.input_tokens.add(row.prompt_tokens)
        self.output_tokens.add(row.tokens)
        self.e2e_s.add((row.t_done_ns - row.t_request_ns) / 1e9)
        if row.tokens > 1:
            self.tpot_s.add((row.t_last_ns - row.t_first_ns) / 1e9 / (row.tokens - 1))


@dataclass(frozen=True, slots=True)
class State:
    """The server at one moment, as its pages may show it. Token counts are since the start; `kv_usage` is 0 to 1."""

    ready: bool = True
    running: int = 0
    waiting: int = 0
    max_batch: int = 256
    steps: int = 0
    kv_usage: float = 0.0
    prompt_tokens: int = 0
    output_tokens: int = 0
    queried_tokens: int = 0
    hit_tokens: int = 0
    cache_block_tokens: int = 16
    cpu_s: float = 0.0
    stats: EngineStats = field(default_factory=EngineStats)

    @property
    def hit_rate(self) -> float:
        """Prompt tokens found in the prefix cache, of those looked up (0 to 1)."""
        return self.hit_tokens / (self.queried_tokens or 1)
