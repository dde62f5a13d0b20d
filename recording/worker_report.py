"""What a worker tells of the requests that ended on it."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from typing import Annotated

import msgspec

from metrics.concurrency import Second
from metrics.health import CoreUse, WorkerHealth
from metrics.histogram import Histogram
from metrics.stage import Part, Phase, Place
from metrics.timeline import Outcome

# What comes over the network is checked as it is decoded: no number may be more than the books can take.
_MOST = 2**60
#: A worker with 10,000 requests a second stays below it.
_MOST_BYTES = 16_000_000
Amount = Annotated[float, msgspec.Meta(ge=0, le=float(_MOST))]
Count = Annotated[int, msgspec.Meta(ge=0, le=_MOST)]
PromptHash = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{0,16}$")]
Moment = Annotated[int, msgspec.Meta(ge=-_MOST, le=_MOST)]
#: A row takes 3 kB at most: what is longer than a worker makes it is no row.
Word = Annotated[str, msgspec.Meta(max_length=128)]
Sentence = Annotated[str, msgspec.Meta(max_length=512)]
#: So many rows go into a report that none is refused for its size, whatever the server's errors say.
MOST_ROWS = 4096


class RequestRow(msgspec.Struct, frozen=True, array_like=True):
    """One request, told in the run's own time: the row of requests.csv, and all that the ledger needs of it.

    scheduled_ns, sent_ns, ended_ns: since the run began. The other times are durations from sent_ns.
    tokens_by_part: output tokens that arrived in the stage's hold, and in the whole level.
    """

    worker: Count
    number: Count
    user: Word
    stage: Count
    phase: Phase
    outcome: Outcome
    scheduled_ns: Moment
    sent_ns: Moment
    ended_ns: Moment
    connect_ns: Count
    output_tokens: Count
    output_tokens_source: Word
    output_events: Count
    output_arrivals: Count
    tokens_by_part: dict[Part, Amount]
    stamps: Word
    reads: Count
    reads_with_kernel_time: Count
    gaps_measured: bool = True
    status: Moment | None = None
    headers_ns: Moment | None = None
    ttft_ns: Moment | None = None
    ttft_uncertainty_ns: Moment | None = None
    ttfvt_ns: Moment | None = None
    tpot_ns: Amount | None = None
    token_rate: Amount | None = None
    e2e_ns: Moment | None = None
    duration_ns: Moment | None = None
    prompt_tokens: Moment | None = None
    prompt_tokens_source: Word = ""
    gap_max_ns: Moment | None = None
    client_delay_max_ns: Moment | None = None
    finish_reason: Word | None = None
    error: Sentence | None = None
    first_body_ns: int | None = None
    first_event_ns: int | None = None
    last_event_ns: int | None = None
    events: int = 0
    prompt_id: str = ""
    prompt_hash: PromptHash = ""
    cached_tokens: Moment | None = None
    retries: Count = 0
    output_tokens_rejected: Count | None = None
    first_event_tokens: Moment | None = None

    @property
    def id(self) -> str:
        """Unique in the run."""
        return f"{self.worker}-{self.number}"


class ReportError(ValueError):
    """A report that cannot be entered; the text says why."""


@dataclass(slots=True)
class Report:
    """What ended on a worker since its last report, and its state now.

    number: 1, 2, 3, … without a gap, so that a lost or repeated report is noticed. fired: requests ended so far.
    output_events: events with output so far, those of running requests included.
    tokens_by_window: output tokens by (stage, window of the stage). user_seconds: seconds that users were there, by
    (stage, second of the stage), all users added up.
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
    user_seconds: dict[Second, float] = field(default_factory=dict)

    @property
    def stages(self) -> set[int]:
        """The numbers of all stages that it speaks of."""
        by_place = (self.gaps, self.delays, self.health.loop_lag, self.health.core_use)
        by_time = (self.tokens_by_window, self.user_seconds)
        return {row.stage for row in self.rows}.union(*({stage for stage, _ in each} for each in (*by_place, *by_time)))

    def encode(self) -> bytes:
        """The report as bytes to send: MessagePack, deflated (rows are much alike, and counts are small)."""
        told = msgspec.msgpack.encode(
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
                [(*second, users) for second, users in self.user_seconds.items()],
            )
        )
        return zlib.compress(told, 1)

    @classmethod
    def decode(cls, encoded: bytes) -> Report:
        """The inverse of `encode`. Raises ReportError for bytes that are no report."""
        try:
            told = _inflated(encoded)
            worker, number, fired, in_flight, events, rows, windows, gaps, delays, lags, uses, seconds = _decode(told)
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
                {(stage, second): users for stage, second, users in seconds},
            )
        except (msgspec.MsgspecError, zlib.error, ValueError) as error:
            raise ReportError(f"these bytes are no report: {error}") from None


def _inflated(encoded: bytes) -> bytes:
    """Raises ValueError for what would fill the memory."""
    inflater = zlib.decompressobj()
    told = inflater.decompress(encoded, _MOST_BYTES)
    if not inflater.eof:
        raise ValueError("cut short" if not inflater.unconsumed_tail else f"more than {_MOST_BYTES:,} bytes")
    return told


_EncodedHistogram = tuple[Count, Phase, bytes, Count]


def _encoded(histograms: dict[Place, Histogram]) -> list[_EncodedHistogram]:
    return [(*place, *histogram.encode()) for place, histogram in histograms.items()]


def _decoded(encoded: list[_EncodedHistogram]) -> dict[Place, Histogram]:
    return {(stage, phase): Histogram.decode((payload, total)) for stage, phase, payload, total in encoded}


_Encoded = tuple[
    Count,
    Count,
    Count,
    Count,
    Count,
    list[RequestRow],
    list[tuple[Count, Count, Amount]],
    list[_EncodedHistogram],
    list[_EncodedHistogram],
    list[_EncodedHistogram],
    list[tuple[Count, Phase, Amount, Amount]],
    list[tuple[Count, Count, Amount]],
]
_decode = msgspec.msgpack.Decoder(_Encoded).decode
