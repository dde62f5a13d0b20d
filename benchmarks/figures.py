"""From two runs of one client to its row in the table. Pure arithmetic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

from benchmarks.matching import MatchError, match
from benchmarks.records import TOKENS_PER_S, Run, Seen, Served

#: Half of the time between two tokens. A server that was later, at p99 of its requests, did not keep its pace.
LATE_MS = 500 / TOKENS_PER_S


@dataclass(frozen=True, slots=True)
class Spread:
    """Absolute errors in milliseconds over `count` requests. None: not known (copied from a printed table)."""

    count: int | None
    median: float
    p99: float
    max: float | None


@dataclass(frozen=True, slots=True)
class Accuracy:
    """What a client reported against what the server did. None where it reports no such figure.

    Errors are of requests that reached the server after the ramp and ended well on both sides; lost and doubled tokens
    are of all that the client called ok; failed are all others, whichever side saw it.
    """

    requests: int
    ttft_error_ms: Spread | None
    gap_error_ms: Spread | None
    lost: int | None
    doubled: int | None
    failed: int


@dataclass(frozen=True, slots=True)
class ClientRow:
    """A line of the table: one client at one number of users. `note`: why there is no more, or what is wrong."""

    client: str
    users: int
    note: str = ""
    accuracy: Accuracy | None = None
    tokens_per_s: float | None = None
    us_per_token: float | None = None
    reads_per_token: float | None = None
    peak_mb: float | None = None
    mb_per_1000_users: float | None = None
    late_p99_ms: float | None = None
    late_max_ms: float | None = None
    server_late: bool = False
    other_load: float | None = None
    #: TCP segments that were sent again / tokens, in per cent.
    sent_again_percent: float | None = None


@dataclass(frozen=True, slots=True)
class BurstRow:
    """Requests that are sent together, see benchmarks/bursts.py. ttft_error_ms: of all requests of the run.
    sent_within_ms: from the first to the last of those that are sent together first, as the server's kernel received
    them. verdict: the run's own, with the kinds of its issues in `note`. late_p99_ms: of the server."""

    case: str
    requests: int
    note: str = ""
    ttft_error_ms: Spread | None = None
    sent_within_ms: float | None = None
    verdict: str = ""
    late_p99_ms: float | None = None
    other_load: float | None = None


@dataclass(frozen=True, slots=True)
class StallRow:
    """A client that stands still now and then, see benchmarks/stalls.py. Errors are of requests that were sent after
    the ramp; gap: the longest of each. verdict: the run's own, with the kinds of its issues in `note`. late_p99_ms: of
    the server."""

    case: str
    users: int
    note: str = ""
    ttft_error_ms: Spread | None = None
    gap_error_ms: Spread | None = None
    verdict: str = ""
    late_p99_ms: float | None = None


def percentile(values: Sequence[float], share: float) -> float:
    """The value of rank ⌈share · n⌉, as Tokenswarm's own percentiles are. Raises ValueError for no values."""
    if not values:
        raise ValueError("there is no percentile of nothing")
    return sorted(values)[max(ceil(share * len(values)), 1) - 1]


def spread(errors_ns: Sequence[int]) -> Spread | None:
    """None where there are none."""
    if not errors_ns:
        return None
    sizes_ms = [abs(error_ns) / 1e6 for error_ns in errors_ns]
    return Spread(len(sizes_ms), percentile(sizes_ms, 0.5), percentile(sizes_ms, 0.99), max(sizes_ms))


def steady(served: Sequence[Served], ramp_s: float) -> list[Served]:
    """The requests that came after the ramp, in which connections are made; it counts from the first request on."""
    begin_ns = min((request.wire_ns for request in served), default=0) + round(ramp_s * 1e9)
    return [request for request in served if request.wire_ns >= begin_ns]


def accuracy(pairs: Sequence[tuple[Seen, Served]], ramp_s: float) -> Accuracy:
    """Errors and counts of matched requests."""
    good = [(seen, served) for seen, served in pairs if seen.ok and served.outcome == "ok"]
    after_ramp = {request.number for request in steady([served for _, served in pairs], ramp_s)}
    timed = [(seen, served) for seen, served in good if served.number in after_ramp]
    counted = [(seen.events, served.tokens) for seen, served in pairs if seen.ok and seen.events is not None]
    surplus = [events - tokens for events, tokens in counted]
    counts = not any(seen.ok and seen.events is None for seen, _ in pairs)
    return Accuracy(
        requests=len(pairs),
        ttft_error_ms=spread([seen.ttft_ns - served.ttft_ns for seen, served in timed if seen.ttft_ns is not None]),
        gap_error_ms=spread(
            [seen.gap_max_ns - served.gap_max_ns for seen, served in timed if seen.gap_max_ns is not None]
        ),
        lost=-sum(tokens for tokens in surplus if tokens < 0) if counts else None,
        doubled=sum(tokens for tokens in surplus if tokens > 0) if counts else None,
        failed=len(pairs) - len(good),
    )


def marginal(short: Run, long: Run) -> tuple[float | None, float | None]:
    """(CPU µs per token, tokens/s) of the time by which the long run was longer: starting, ramp and end cancel out.
    None where the long run brought no more tokens."""
    tokens = long.tokens - short.tokens
    more_s = long.sent_for_s - short.sent_for_s
    if tokens <= 0 or more_s <= 0:
        return None, None
    return (long.cost.cpu_s - short.cost.cpu_s) / tokens * 1e6, tokens / more_s


def row(client: str, short: Run, long: Run) -> ClientRow:
    """What two runs of one client, which differ in length alone, say."""
    us_per_token, tokens_per_s = marginal(short, long)
    late_ms = [served.late_max_ns / 1e6 for run in (short, long) for served in steady(run.served, run.load.ramp_s)]
    late_p99_ms = percentile(late_ms, 0.99) if late_ms else None
    notes = [_ending(run) for run in (short, long)]
    figures = None
    if long.seen is not None:
        try:
            figures = accuracy(match(long.seen, long.served), long.load.ramp_s)
        except MatchError as error:
            notes.append(f"not matched: {error}")
    other = [run.other_load for run in (short, long) if run.other_load is not None]
    return ClientRow(
        client=client,
        users=long.load.users,
        note="; ".join(dict.fromkeys(note for note in notes if note)),
        accuracy=figures,
        tokens_per_s=tokens_per_s,
        us_per_token=us_per_token,
        reads_per_token=long.reads / long.tokens if long.reads is not None and long.tokens else None,
        peak_mb=long.cost.peak_bytes / 1e6,
        # The floor, which keeps no record, sends as soon as it runs: nobody can look at it before.
        mb_per_1000_users=None if long.seen is None else mb_per_1000_users(long),
        late_p99_ms=late_p99_ms,
        late_max_ms=max(late_ms, default=None),
        server_late=late_p99_ms is not None and late_p99_ms > LATE_MS,
        other_load=max(other, default=None),
        sent_again_percent=None if long.sent_again is None or not long.tokens else 100 * long.sent_again / long.tokens,
    )


def _ending(run: Run) -> str:
    if not run.cost.in_time:
        return "stopped: it did not end in time"
    return f"ended with exit code {run.cost.exit_code}" if run.cost.exit_code else ""


def mb_per_1000_users(run: Run) -> float | None:
    """The memory that the users added: the most that was held between the first request and the last, less what was
    held just before. The peak of the whole process would not do: charts that are drawn at the end can be higher."""
    arrivals_ns = [request.wire_ns for request in run.served]
    if not arrivals_ns:
        return None
    before = [held for when_ns, held in run.memory if when_ns < min(arrivals_ns)]
    meanwhile = [held for when_ns, held in run.memory if min(arrivals_ns) <= when_ns <= max(arrivals_ns)]
    if not before or not meanwhile:
        return None
    return (max(meanwhile) - before[-1]) / 1e6 / run.load.users * 1000


def share_of_a_core(us_per_token: float, tokens_per_s: float) -> float:
    """How busy a client would be at that rate: 1 is a whole core."""
    return us_per_token * tokens_per_s / 1e6
