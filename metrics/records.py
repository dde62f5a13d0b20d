"""What a worker tells of the requests that ended on it."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec

from metrics.health import CoreUse, WorkerHealth
from metrics.histogram import Histogram
from metrics.stage import Phase, Place


class RequestRow(msgspec.Struct, frozen=True, array_like=True):
    """One request, told in the run's own time: the row of requests.csv, and all that the ledger needs of it.

    scheduled_ns, sent_ns, ended_ns: since the run began. The other times are durations from sent_ns.
    tokens_by_part: output tokens that arrived in the stage's hold, and in the whole level.
    """

    worker: int
    number: int
    user: str
    stage: int
    phase: str
    outcome: str
    scheduled_ns: int
    sent_ns: int
    ended_ns: int
    connect_ns: int
    output_tokens: int
    output_tokens_source: str
    output_events: int
    output_arrivals: int
    tokens_by_part: dict[str, float]
    stamps: str
    reads: int
    reads_with_kernel_time: int
    gaps_measured: bool = True
    status: int | None = None
    headers_ns: int | None = None
    ttft_ns: int | None = None
    ttfvt_ns: int | None = None
    tpot_ns: float | None = None
    token_rate: float | None = None
    e2e_ns: int | None = None
    duration_ns: int | None = None
    prompt_tokens: int | None = None
    prompt_tokens_source: str = ""
    gap_max_ns: int | None = None
    client_delay_max_ns: int | None = None
    finish_reason: str | None = None
    error: str | None = None

    @property
    def id(self) -> str:
        """Unique in the run."""
        return f"{self.worker}-{self.number}"


@dataclass(slots=True)
class Report:
    """What ended on a worker since its last report, and its state now.

    number: 1, 2, 3, … without a gap, so that a lost or repeated report is noticed. fired: requests ended so far.
    output_events: events with output so far, those of running requests included.
    tokens_by_window: output tokens by (stage, window of the stage).
    """

    worker: int
    number: int
    fired: int
    in_flight: int
    output_events: int
    rows: list[RequestRow] = field(default_factory=list)
    tokens_by_window: dict[tuple[int, int], float] = field(default_factory=dict)
    gaps: dict[Place, Histogram] = field(default_factory=dict)
    delays: dict[Place, Histogram] = field(default_factory=dict)
    health: WorkerHealth = field(default_factory=WorkerHealth)

    def encode(self) -> bytes:
        """The report as bytes to send."""
        return msgspec.msgpack.encode(
            (
                self.worker,
                self.number,
                self.fired,
                self.in_flight,
                self.output_events,
                self.rows,
                [(*place, tokens) for place, tokens in self.tokens_by_window.items()],
                _encoded(self.gaps),
                _encoded(self.delays),
                _encoded(self.health.loop_lag),
                [(*place, *use) for place, use in self.health.core_use.items()],
            )
        )

    @classmethod
    def decode(cls, encoded: bytes) -> Report:
        """The inverse of `encode`. Raises ValueError for bytes that are no report."""
        try:
            worker, number, fired, in_flight, events, rows, windows, gaps, delays, lags, uses = _decode(encoded)
        except msgspec.MsgspecError as error:
            raise ValueError(f"these bytes are no report: {error}") from None
        return cls(
            worker,
            number,
            fired,
            in_flight,
            events,
            rows,
            {(stage, window): tokens for stage, window, tokens in windows},
            _decoded(gaps),
            _decoded(delays),
            WorkerHealth(_decoded(lags), {(stage, phase): CoreUse(cpu, wall) for stage, phase, cpu, wall in uses}),
        )


_EncodedHistogram = tuple[int, Phase, bytes, int]


def _encoded(histograms: dict[Place, Histogram]) -> list[_EncodedHistogram]:
    return [(*place, *histogram.encode()) for place, histogram in histograms.items()]


def _decoded(encoded: list[_EncodedHistogram]) -> dict[Place, Histogram]:
    return {(stage, phase): Histogram.decode((payload, total)) for stage, phase, payload, total in encoded}


_Encoded = tuple[
    int,
    int,
    int,
    int,
    int,
    list[RequestRow],
    list[tuple[int, int, float]],
    list[_EncodedHistogram],
    list[_EncodedHistogram],
    list[_EncodedHistogram],
    list[tuple[int, Phase, float, float]],
]
_decode = msgspec.msgpack.Decoder(_Encoded).decode
