"""What a worker reports of the requests that ended on it."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from typing import Annotated

import msgspec

from tokenswarm.metrics.client_health import CoreUse, WorkerHealth
from tokenswarm.metrics.concurrency import Second
from tokenswarm.metrics.histogram import Histogram
from tokenswarm.metrics.level import LevelPhase, Phase, Scope
from tokenswarm.metrics.timeline import Outcome

# What comes over the network is checked as it is decoded: no number may be more than the statistics can take.
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
#: Key, and tokens at least and at most, of each beginning of a prompt that a prefix cache may hold.
SharedParts = Annotated[tuple[tuple[Count, Count, Count], ...], msgspec.Meta(max_length=8)]
#: So many rows go into a report that none is refused for its size, whatever the server's errors say.
MOST_ROWS = 4096


class RequestRow(msgspec.Struct, frozen=True, array_like=True):
    """One request, in the run's own time: the row of requests.csv, and all that the aggregator needs of it.

    scheduled_ns, sent_ns, ended_ns: since the run began. The other times are durations from sent_ns.
    tokens_by_scope: output tokens that arrived in the level's hold, and in the whole level. model_index, host_index:
    the places of its model and host among those of the run. session, turn, session_turns, prefix_group, agent, depth,
    session_requests, join_ns: as in Timeline.
    shared_parts: see metrics/shareable.py, in whole blocks of the prefix cache; None where they are not known.
    abandons, abandon_late_ns, name: as in Timeline.
    """

    worker: Count
    number: Count
    user: Word
    level_index: Count
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
    tokens_by_scope: dict[Scope, Amount]
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
    unstreamed_tokens: Count = 0
    deviations: dict[Word, Count] = {}
    input_tokens_requested: Count | None = None
    output_tokens_requested: Count | None = None
    custom_id: Sentence = ""
    server_request_id: Word = ""
    trace_id: Word = ""
    think_ns: Moment | None = None
    model_index: Count = 0
    host_index: Count = 0
    session: Word = ""
    turn: Count = 0
    session_turns: Count = 0
    prefix_group: Count | None = None
    shared_parts: SharedParts | None = None
    abandons: bool = False
    abandon_late_ns: Moment | None = None
    agent: Word = ""
    depth: Count = 0
    session_requests: Count = 0
    join_ns: Moment | None = None
    name: Word = ""

    @property
    def id(self) -> str:
        """Unique in the run."""
        return f"{self.worker}-{self.number}"

    @property
    def has_latencies(self) -> bool:
        """Whether latencies are of it: it was ok, and its user was not to leave it. Of the others that users were to
        leave only the fast ones end ok."""
        return self.outcome is Outcome.OK and not self.abandons

    @property
    def abandoned_ns(self) -> int | None:
        """How long after sending its user left it; None where it did not."""
        return self.ended_ns - self.sent_ns if self.outcome is Outcome.ABANDONED else None

    @property
    def lag_ns(self) -> int:
        """How late it was sent: sent − scheduled."""
        return self.sent_ns - self.scheduled_ns

    @property
    def ttft_scheduled_ns(self) -> int | None:
        """Time to first token from when it was due."""
        return None if self.ttft_ns is None else self.lag_ns + self.ttft_ns

    @property
    def e2e_scheduled_ns(self) -> int | None:
        """Last output − when it was due."""
        return None if self.e2e_ns is None else self.lag_ns + self.e2e_ns


class OpenRequest(msgspec.Struct, frozen=True, array_like=True):
    """A request that runs. sent_ns: since the run began; ttft_ns: None where its first token has not come; abandons:
    whether its user is to leave it."""

    level_index: Count
    sent_ns: Moment
    ttft_ns: Moment | None = None
    abandons: bool = False


class UnusableReport(ValueError):
    """A report that cannot be entered; the text says why."""


@dataclass(slots=True)
class Report:
    """What ended on a worker since its last report, and its state now.

    number: 1, 2, 3, … without a gap, so that a lost or repeated report is noticed. ended: requests ended so far.
    output_events: events with output so far, those of running requests included.
    tokens_by_window: output tokens by (level, window of the level). user_seconds: seconds that users were there, by
    (level, second of the level), all users added up. arrivals_begun: by open-loop level, the number of the first
    arrival that the worker has not begun to send; it has begun all of its own before that. dry_ns:
    by level that a user of the worker had no further session for, when its load ended, since the run began; None where
    the master ends it. open_requests: those of probes of a capacity search that run; reported_ns: since the run
    began.
    """

    worker: int
    number: int
    ended: int
    in_flight: int
    output_events: int
    rows: list[RequestRow] = field(default_factory=list)
    tokens_by_window: dict[tuple[int, int], float] = field(default_factory=dict)
    gaps: dict[LevelPhase, Histogram] = field(default_factory=dict)
    delays: dict[LevelPhase, Histogram] = field(default_factory=dict)
    health: WorkerHealth = field(default_factory=WorkerHealth)
    user_seconds: dict[Second, float] = field(default_factory=dict)
    arrivals_begun: dict[int, int] = field(default_factory=dict)
    dry_ns: dict[int, int | None] = field(default_factory=dict)
    open_requests: list[OpenRequest] = field(default_factory=list)
    reported_ns: int = 0

    @property
    def level_indexes(self) -> set[int]:
        """The indexes of all levels that it has data of."""
        by_place = (self.gaps, self.delays, self.health.loop_lag, self.health.core_use)
        by_time = (self.tokens_by_window, self.user_seconds)
        return {row.level_index for row in self.rows}.union(
            self.arrivals_begun,
            self.dry_ns,
            *({level_index for level_index, _ in each} for each in (*by_place, *by_time)),
        )

    def encode(self) -> bytes:
        """The report as bytes to send: MessagePack, deflated (rows are similar, and counts are small)."""
        encoded = msgspec.msgpack.encode(
            (
                self.worker,
                self.number,
                self.ended,
                self.in_flight,
                self.output_events,
                self.rows,
                [(*place, tokens) for place, tokens in self.tokens_by_window.items()],
                _encoded(self.gaps),
                _encoded(self.delays),
                _encoded(self.health.loop_lag),
                [(*place, *use) for place, use in self.health.core_use.items()],
                [(*second, users) for second, users in self.user_seconds.items()],
                list(self.arrivals_begun.items()),
                list(self.dry_ns.items()),
                self.open_requests,
                self.reported_ns,
            )
        )
        return zlib.compress(encoded, 1)

    @classmethod
    def decode(cls, encoded: bytes) -> Report:
        """The inverse of `encode`. Raises UnusableReport for bytes that are no report."""
        try:
            packed = _inflated(encoded)
            *counts, rows, windows, gaps, delays, lags, uses, seconds, begun, dry, running, now_ns = _decode(packed)
            worker, number, ended, in_flight, events = counts
            return cls(
                worker,
                number,
                ended,
                in_flight,
                events,
                rows,
                {(level_index, window): tokens for level_index, window, tokens in windows},
                _decoded(gaps),
                _decoded(delays),
                WorkerHealth(
                    _decoded(lags),
                    {(level_index, phase): CoreUse(cpu, wall) for level_index, phase, cpu, wall in uses},
                ),
                {(level_index, second): users for level_index, second, users in seconds},
                dict(begun),
                dict(dry),
                running,
                now_ns,
            )
        except (msgspec.MsgspecError, zlib.error, ValueError) as error:
            raise UnusableReport(f"these bytes are no report: {error}") from None


def _inflated(encoded: bytes) -> bytes:
    """Raises ValueError for what would fill the memory."""
    inflater = zlib.decompressobj()
    packed = inflater.decompress(encoded, _MOST_BYTES)
    if not inflater.eof:
        raise ValueError("cut short" if not inflater.unconsumed_tail else f"more than {_MOST_BYTES:,} bytes")
    return packed


_EncodedHistogram = tuple[Count, Phase, bytes, Count]


def _encoded(histograms: dict[LevelPhase, Histogram]) -> list[_EncodedHistogram]:
    return [(*place, *histogram.encode()) for place, histogram in histograms.items()]


def _decoded(encoded: list[_EncodedHistogram]) -> dict[LevelPhase, Histogram]:
    return {(level_index, phase): Histogram.decode((payload, total)) for level_index, phase, payload, total in encoded}


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
    list[tuple[Count, Count]],
    list[tuple[Count, Moment | None]],
    list[OpenRequest],
    Moment,
]
_decode = msgspec.msgpack.Decoder(_Encoded).decode
