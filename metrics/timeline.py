"""The story of one request, and every figure that is told of it.

A Timeline is the frozen record; each metric is a property of it, so that a figure has one definition in one place.
Times are integer nanoseconds on time.perf_counter_ns()'s clock; None is an event that did not happen, or a figure that
is undefined. The definitions in words: docs/metrics.md.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

_MOST_TOKENS = 10**9


class Outcome(StrEnum):
    """How a request ended. Latencies are of OK; every outcome is counted; CUT is no failure. CLIENT_LIMIT is a failure
    of this machine: it was out of files, ports or memory for a connection."""

    OK = "ok"
    HTTP_ERROR = "http_error"
    STREAM_ERROR = "stream_error"
    TRUNCATED = "truncated"
    TIMEOUT = "timeout"
    REFUSED = "refused"
    EMPTY = "empty"
    CLIENT_LIMIT = "client_limit"
    ABORTED = "aborted"
    CUT = "cut"

    @property
    def is_failure(self) -> bool:
        return self not in (Outcome.OK, Outcome.CUT)


class TokenSource(StrEnum):
    """Where a token count came from, best first."""

    USAGE = "usage"
    ENGINE = "engine"
    TOKENIZER = "tokenizer"
    EVENTS = "events"


@dataclass(frozen=True, slots=True)
class Timeline:
    """One request from its sending to its end.

    scheduled_ns: when it was due (closed loop: sent_ns). sent_ns: just before its first byte went to a connected
    socket; connecting took connect_ns before that (0 on a kept connection). headers_ns: end of the response's head.
    first_ns, first_visible_ns, last_ns: arrival of the first output, the first that is not reasoning, the last.
    ttft_uncertainty_ns: the first output came no earlier than this before first_ns; 0 where that is its own time.
    first_body_ns: arrival of the body's first bytes, whatever they are. first_event_ns, last_event_ns: arrival of the
    first and the last event of the answer, with output or without (a role, a reason to finish), counted by `events`;
    neither a usage event nor the end is one. These are for the figures as others count them.
    end_ns: the stream's proper end; over_ns: when the request was over for its user, whatever its outcome.
    outputs_ns: arrival of each event with output, ascending; those of one read share its time. gaps_measured: whether
    each read came as its bytes did.
    prompt_id: the prompt's row in its source. prompt_hash: of all that was sent, equal for equal texts, "" where that
    is not known. cached_tokens: prompt tokens that the server's usage says it found in its prefix cache.
    output_tokens_rejected: a count of the server's that cannot be, and so is not output_tokens: more than the request
    allowed, or than the response has bytes. first_event_tokens, largest_arrival_tokens: tokens of the first event with
    output, and of the arrival with the most, by the engine's own count; None where it gives none.
    delays_ns: how late this process read each read of the response, empty without kernel stamps. kernel_stamps: how
    many of `reads` had a kernel receive time. retries: how often the request was sent again because its kept connection
    had been closed before the server could have read it; sent_ns is of the first time, connect_ns of all connecting.
    """

    user: str
    stage: int
    outcome: Outcome
    scheduled_ns: int
    sent_ns: int
    over_ns: int
    connect_ns: int = 0
    headers_ns: int | None = None
    first_ns: int | None = None
    first_visible_ns: int | None = None
    last_ns: int | None = None
    ttft_uncertainty_ns: int | None = None
    end_ns: int | None = None
    outputs_ns: array[int] = field(default_factory=lambda: array("q"))
    first_body_ns: int | None = None
    first_event_ns: int | None = None
    last_event_ns: int | None = None
    events: int = 0
    gaps_measured: bool = True
    delays_ns: array[int] = field(default_factory=lambda: array("q"))
    reads: int = 0
    kernel_stamps: int = 0
    output_tokens: int = 0
    output_tokens_source: TokenSource = TokenSource.EVENTS
    output_tokens_rejected: int | None = None
    first_event_tokens: int | None = None
    largest_arrival_tokens: int | None = None
    prompt_tokens: int | None = None
    prompt_tokens_source: str = ""
    prompt_id: str = ""
    prompt_hash: str = ""
    cached_tokens: int | None = None
    bytes_received: int = 0
    status: int | None = None
    finish_reason: str | None = None
    error: str | None = None
    retries: int = 0

    @property
    def ttft_ns(self) -> int | None:
        """Time to first token: first output − sent."""
        return _difference(self.first_ns, self.sent_ns)

    @property
    def ttfvt_ns(self) -> int | None:
        """Time to first visible token: the same, reasoning not counted."""
        return _difference(self.first_visible_ns, self.sent_ns)

    @property
    def tpot_ns(self) -> float | None:
        """Time per output token: (last − first) / (n − k), where the first event held k tokens by the engine's own
        count, one where it gives none. Undefined where nothing came after the first event's tokens, and where most
        tokens came in one arrival."""
        first_tokens = max(1, self.first_event_tokens or 1)
        if self.first_ns is None or self.last_ns is None or self.output_tokens <= first_tokens or self.in_one_arrival:
            return None
        return (self.last_ns - self.first_ns) / (self.output_tokens - first_tokens)

    @property
    def in_one_arrival(self) -> bool:
        """Whether more than half of several tokens came in one arrival. Of a stream that was not watched, reads say
        little of arrivals: only whether all came in one is known."""
        if self.output_tokens < 2 or self.first_ns is None:
            return False
        if self.first_ns == self.last_ns or not self.gaps_measured:
            return self.first_ns == self.last_ns
        if self.largest_arrival_tokens is not None:
            return 2 * self.largest_arrival_tokens > self.output_tokens
        _, events = np.unique(np.frombuffer(self.outputs_ns, dtype=np.int64), return_counts=True)
        return bool(2 * events.max() > len(self.outputs_ns))

    @property
    def token_rate(self) -> float | None:
        """Tokens a second as this user saw them: 1 / TPOT; undefined where TPOT is."""
        tpot_ns = self.tpot_ns
        return 1e9 / tpot_ns if tpot_ns else None

    @property
    def e2e_ns(self) -> int | None:
        """Last output − sent."""
        return _difference(self.last_ns, self.sent_ns)

    @property
    def duration_ns(self) -> int | None:
        """Proper end − sent."""
        return _difference(self.end_ns, self.sent_ns)

    @property
    def gaps_ns(self) -> NDArray[np.int64]:
        """Times between successive output arrivals: what a reader feels. Never divided among an event's tokens; none
        of a stream that was not watched."""
        if not self.gaps_measured:
            return np.empty(0, dtype=np.int64)
        outputs_ns = np.frombuffer(self.outputs_ns, dtype=np.int64)
        between_ns = outputs_ns[1:] - outputs_ns[:-1]
        return between_ns[between_ns > 0]

    @property
    def output_events(self) -> int:
        """Events with output."""
        return len(self.outputs_ns)

    @property
    def output_arrivals(self) -> int:
        """Reads that held output."""
        return len(set(self.outputs_ns))

    @property
    def tokens_per_event(self) -> float:
        """Each output's tokens: of n tokens in m events, n / m. They sum to n."""
        return self.output_tokens / len(self.outputs_ns) if self.outputs_ns else 0.0

    @property
    def stamps(self) -> str:
        """`kernel`, `user` or `mixed`: whose receive times these are."""
        if self.kernel_stamps == self.reads:
            return "kernel" if self.reads else "user"
        return "mixed" if self.kernel_stamps else "user"


def _difference(later_ns: int | None, earlier_ns: int) -> int | None:
    return None if later_ns is None else later_ns - earlier_ns


class TimelineBuilder:
    """Collects a request's events as they happen; `finish` freezes them."""

    def __init__(self, user: str, stage: int, now_ns: int, max_tokens: int | None = None) -> None:
        """max_tokens: the most output tokens that the request allows; None where it sets no limit."""
        self._max_tokens = max_tokens
        self._bytes_received: int | None = None
        self._user = user
        self._stage = stage
        self._sent_ns = now_ns  # a request that never got a connection counts as sent when it was tried
        self._connect_ns = 0
        self._retries = 0
        self._first_visible_ns: int | None = None
        self._ttft_uncertainty_ns: int | None = None
        self._outputs_ns = array("q")
        self._gaps_measured = True
        self._delays_ns = array("q")
        self._reads = 0
        self._kernel_stamps = 0
        self._first_body_ns: int | None = None
        self._first_bare_ns: int | None = None
        self._last_bare_ns: int | None = None
        self._bare_events = 0
        self._engine_tokens: int | None = None
        self._first_event_tokens: int | None = None
        self._arrival_tokens = 0
        self._largest_arrival_tokens: int | None = None
        self._usage_tokens: int | None = None
        self._counted_tokens: int | None = None
        self._prompt_tokens: int | None = None
        self._prompt_tokens_source = ""
        self._prompt_id = ""
        self._prompt_hash = ""
        self._cached_tokens: int | None = None

    @property
    def last_ns(self) -> int | None:
        """The last output so far."""
        return self._outputs_ns[-1] if self._outputs_ns else None

    @property
    def output_events(self) -> int:
        return len(self._outputs_ns)

    def sent(self, sent_ns: int, connect_ns: int) -> None:
        """The request left. After a retry, its first time stands."""
        if not self._retries:
            self._sent_ns = sent_ns
        self._connect_ns += connect_ns

    def retried(self) -> None:
        """The request is about to be sent again."""
        self._retries += 1

    @property
    def kernel_stamps_only(self) -> bool:
        """Whether all reads so far have the kernel's times."""
        return self._kernel_stamps == self._reads

    def read(self, delay_ns: int | None, kernel: bool) -> None:
        """The socket was read for this response; delay_ns is None where it was not watched, and late on purpose."""
        self._reads += 1
        if delay_ns is None:
            self._gaps_measured = False
        if kernel:
            self._kernel_stamps += 1
            if delay_ns is not None:
                self._delays_ns.append(delay_ns)

    def reads(self, delays_ns: Sequence[int]) -> None:
        """The socket was read so often while it was watched, each time with the kernel's time."""
        self._reads += len(delays_ns)
        self._kernel_stamps += len(delays_ns)
        self._delays_ns.extend(delays_ns)

    def first_output_within(self, uncertainty_ns: int) -> None:
        """The first output came no earlier than this before the time that is told of it; 0 where that is its own."""
        self._ttft_uncertainty_ns = uncertainty_ns

    def output(self, arrived_ns: int, visible: bool, tokens: int | None) -> None:
        """An event with output arrived; `tokens` by the engine's own count, None where it does not say."""
        if visible and self._first_visible_ns is None:
            self._first_visible_ns = arrived_ns
        if tokens is not None:
            if not self._outputs_ns:
                self._first_event_tokens = tokens
            self._engine_tokens = (self._engine_tokens or 0) + tokens
            self._arrival_tokens = tokens + (self._arrival_tokens if arrived_ns == self.last_ns else 0)
            self._largest_arrival_tokens = max(self._arrival_tokens, self._largest_arrival_tokens or 0)
        self._outputs_ns.append(arrived_ns)

    def outputs(self, arrived_ns: Sequence[int], *, visible: bool) -> None:
        """Several in a row, none the first, whose tokens their engine does not tell."""
        if visible and self._first_visible_ns is None:
            self._first_visible_ns = arrived_ns[0]
        self._outputs_ns.extend(arrived_ns)

    def body(self, arrived_ns: int) -> None:
        """Bytes of the body arrived."""
        if self._first_body_ns is None:
            self._first_body_ns = arrived_ns

    def bare_event(self, arrived_ns: int) -> None:
        """An event of the answer arrived that held no output."""
        if self._first_bare_ns is None:
            self._first_bare_ns = arrived_ns
        self._last_bare_ns = arrived_ns
        self._bare_events += 1

    def prompt(self, prompt_id: str, prompt_hash: str) -> None:
        """What is sent: the row of the source, and a hash of the whole text."""
        self._prompt_id = prompt_id
        self._prompt_hash = prompt_hash

    def usage(self, prompt_tokens: int | None, output_tokens: int | None, cached_tokens: int | None = None) -> None:
        """The server's own counts so far; the last ones stand. A count that cannot be (some servers send 0 or −1 for
        "unknown") is none: the next best source counts."""
        if output_tokens is not None and 0 < output_tokens <= _MOST_TOKENS:
            self._usage_tokens = output_tokens
            if len(self._outputs_ns) == 1 and self._first_event_tokens is None:
                self._first_event_tokens = output_tokens  # counts so far, told with each event
        if prompt_tokens is not None and 0 <= prompt_tokens <= _MOST_TOKENS:
            self.prompt_tokens(prompt_tokens, "usage")
            if cached_tokens is not None and 0 <= cached_tokens <= prompt_tokens:
                self._cached_tokens = cached_tokens

    def prompt_tokens(self, tokens: int, source: str) -> None:
        """The prompt's length and who counted it."""
        self._prompt_tokens = tokens
        self._prompt_tokens_source = source

    def received(self, bytes_received: int) -> None:
        """The response has so many bytes so far, its head included."""
        self._bytes_received = bytes_received

    def counted(self, output_tokens: int) -> None:
        """A tokenizer's count over the whole text."""
        self._counted_tokens = output_tokens

    @property
    def told_tokens(self) -> int | None:
        """Output tokens as the server or the engine counted them, None where neither gave a count that can be."""
        return next(filter(self._possible, (self._usage_tokens, self._engine_tokens)), None)

    @property
    def needs_counting(self) -> bool:
        """There is output, and neither the server nor the engine said how many tokens it is."""
        return bool(self._outputs_ns) and self.told_tokens is None

    def finish(
        self,
        outcome: Outcome,
        over_ns: int,
        *,
        headers_ns: int | None = None,
        end_ns: int | None = None,
        bytes_received: int = 0,
        status: int | None = None,
        finish_reason: str | None = None,
        error: str | None = None,
    ) -> Timeline:
        """The frozen record. A stream that ended properly without any output is EMPTY, whatever `outcome` says."""
        if outcome is Outcome.OK and not self._outputs_ns:
            outcome, error = Outcome.EMPTY, "the stream ended properly but held no output"
        if bytes_received:
            self.received(bytes_received)
        tokens, source = self._tokens()
        first_ns = self._outputs_ns[0] if self._outputs_ns else None
        firsts = [ns for ns in (first_ns, self._first_bare_ns) if ns is not None]
        lasts = [ns for ns in (self.last_ns, self._last_bare_ns) if ns is not None]
        return Timeline(
            user=self._user,
            stage=self._stage,
            outcome=outcome,
            scheduled_ns=self._sent_ns,  # closed loop: a user sends when it is ready to
            sent_ns=self._sent_ns,
            over_ns=over_ns,
            connect_ns=self._connect_ns,
            headers_ns=headers_ns,
            first_ns=first_ns,
            first_visible_ns=self._first_visible_ns,
            last_ns=self.last_ns,
            ttft_uncertainty_ns=self._ttft_uncertainty_ns,
            end_ns=end_ns,
            outputs_ns=self._outputs_ns,
            first_body_ns=self._first_body_ns,
            first_event_ns=min(firsts, default=None),
            last_event_ns=max(lasts, default=None),
            events=len(self._outputs_ns) + self._bare_events,
            gaps_measured=self._gaps_measured,
            delays_ns=self._delays_ns,
            reads=self._reads,
            kernel_stamps=self._kernel_stamps,
            output_tokens=tokens,
            output_tokens_source=source,
            output_tokens_rejected=self._rejected_tokens,
            first_event_tokens=self._first_event_tokens,
            largest_arrival_tokens=self._largest_arrival_tokens,
            prompt_tokens=self._prompt_tokens,
            prompt_tokens_source=self._prompt_tokens_source,
            prompt_id=self._prompt_id,
            prompt_hash=self._prompt_hash,
            cached_tokens=self._cached_tokens,
            bytes_received=bytes_received,
            status=status,
            finish_reason=finish_reason,
            error=error,
            retries=self._retries,
        )

    def _tokens(self) -> tuple[int, TokenSource]:
        for tokens, source in (
            (self._usage_tokens, TokenSource.USAGE),
            (self._engine_tokens, TokenSource.ENGINE),
            (self._counted_tokens, TokenSource.TOKENIZER),
        ):
            if tokens is not None and (source is TokenSource.TOKENIZER or self._possible(tokens)):
                return tokens, source
        return len(self._outputs_ns), TokenSource.EVENTS

    @property
    def _rejected_tokens(self) -> int | None:
        """The first of the server's counts that cannot be."""
        counts = (self._usage_tokens, self._engine_tokens)
        return next((tokens for tokens in counts if tokens is not None and not self._possible(tokens)), None)

    def _possible(self, tokens: int | None) -> bool:
        """Whether an answer can hold so many tokens: no more than were allowed, and a byte each at least."""
        limits = (self._max_tokens, self._bytes_received)
        return tokens is not None and tokens >= 0 and all(limit is None or tokens <= limit for limit in limits)
