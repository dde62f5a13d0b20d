"""The timeline of one request, and every figure of it.

A Timeline is the frozen record; each metric is a property of it, so that a figure has one definition in one place.
Times are integer nanoseconds on time.perf_counter_ns()'s clock; None is an event that did not happen, or a figure that
is undefined. The definitions in words: docs/metrics.md.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from tokenswarm.metrics.lumps import BURST_OUTPUTS, arrivals_of, in_first_arrival, largest_arrival_share
from tokenswarm.metrics.shareable import Shareable
from tokenswarm.metrics.token_counts import TokenSource


class Outcome(StrEnum):
    """How a request ended. Latencies are of OK; every outcome is counted; CUT is no failure, nor are ABANDONED, which
    its user left on purpose, and REFUSED_BY_LIMIT, a 429 or 503 whose Retry-After the user waits for. CLIENT_LIMIT is a
    failure of this machine: it was out of files, ports or memory for a connection. CONTEXT_OVERFLOW is one of the
    load: the prompt, or prompt and answer, are longer than the model's context. WRONG_ANSWER is one of the answer,
    which came as it should have: code of a locustfile found it wrong."""

    OK = "ok"
    HTTP_ERROR = "http_error"
    STREAM_ERROR = "stream_error"
    TRUNCATED = "truncated"
    TIMEOUT = "timeout"
    REFUSED = "refused"
    EMPTY = "empty"
    CLIENT_LIMIT = "client_limit"
    ABORTED = "aborted"
    CONTEXT_OVERFLOW = "context_overflow"
    WRONG_ANSWER = "wrong_answer"
    REFUSED_BY_LIMIT = "refused_by_limit"
    ABANDONED = "abandoned"
    CUT = "cut"

    @property
    def is_failure(self) -> bool:
        return self not in (Outcome.OK, Outcome.CUT, Outcome.ABANDONED, Outcome.REFUSED_BY_LIMIT)


class Timeline(msgspec.Struct, frozen=True):
    """One request from its sending to its end.

    scheduled_ns: when it was due (closed loop: sent_ns). sent_ns: just before its first byte went to a connected
    socket; connecting took connect_ns before that (0 on a kept connection). headers_ns: end of the response's head.
    first_ns, first_visible_ns, last_ns: arrival of the first output, the first that is not reasoning, the last.
    ttft_uncertainty_ns: TTFT may be shorter by at most so much: the first output came earlier than first_ns, or the
    request left later than sent_ns; 0 where both are their own times.
    first_body_ns: arrival of the body's first bytes, whatever they are. first_event_ns, last_event_ns: arrival of the
    first and the last event of the answer, with output or without (a role, a reason to finish), counted by `events`;
    neither a usage event nor the end is one. These are for the figures as others count them.
    end_ns: the stream's proper end; over_ns: when the request was over for its user, whatever its outcome.
    outputs_ns: arrival of each event with output, ascending; those of one read share its time. gaps_measured: whether
    each read came as its bytes did.
    prompt_id: the prompt's row in its source. prompt_hash: of all that was sent, equal for equal texts, "" where that
    is not known. name: of the request, as code of a user's own gives it, "" for Tokenswarm's own users alone.
    custom_id: the name that the source gives the row. server_request_id: the server's own id of the
    request, trace_id: that of its traceparent header; "" where there is none. cached_tokens: prompt tokens that the
    server's usage says it found in its prefix cache.
    output_tokens_rejected: a count of the server's that cannot be, and so is not output_tokens: more than the request
    allowed, or than the response has bytes. first_event_tokens, largest_arrival_tokens: tokens of the first event with
    output, and of the arrival with the most, by the engine's own count; None where it gives none. output_sizes: bytes
    of each output's text, empty where not known. unstreamed_tokens: reasoning that the server counted and did not send.
    deviations: how often the response differed from the protocol in a way that was read all the same (see
    deviations.py), by name.
    delays_ns: how late this process read each read of the response, empty without kernel stamps. kernel_stamps: how
    many of `reads` had a kernel receive time. tapped: whether a packet tap had the time of each segment. retries: how
    often the request was sent again because its kept connection had been closed before the server could have read it;
    sent_ns is of the first time, connect_ns of all connecting.
    input_tokens_requested, output_tokens_requested: the lengths that the run's options request, None where they request
    none; the actual ones are prompt_tokens and output_tokens. think_ns: the think time that was requested of the user
    before the request, None where it was not to wait for one. retry_after_ns: how long the server requires to wait
    before the next one, where that is honoured, else None. model_index, host_index: the places of the model and the
    host of the request among those of the run. session: the id of its session, "" in runs without sessions; turn: its
    place in it, from 1, and session_turns: how many turns the session is to have; agent, depth, session_requests: see
    SessionPlace. join_ns: how long its agent waited for its sub-agents before it, None where it had none to wait for.
    prefix_group: of its shared prefix, None where it has none; shareable: what a prefix cache may hold of it, None
    where that is not known. abandons: whether its user was to leave it, and abandon_late_ns: how much later than that
    was due its user left; None where it ended before.
    """

    user: str
    level_index: int
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
    outputs_ns: array[int] = msgspec.field(default_factory=lambda: array("q"))
    first_body_ns: int | None = None
    first_event_ns: int | None = None
    last_event_ns: int | None = None
    events: int = 0
    gaps_measured: bool = True
    delays_ns: array[int] = msgspec.field(default_factory=lambda: array("q"))
    reads: int = 0
    kernel_stamps: int = 0
    tapped: bool = False
    output_tokens: int = 0
    output_tokens_source: TokenSource = TokenSource.EVENTS
    output_tokens_rejected: int | None = None
    first_event_tokens: int | None = None
    largest_arrival_tokens: int | None = None
    output_sizes: array[int] = msgspec.field(default_factory=lambda: array("L"))
    unstreamed_tokens: int = 0
    deviations: Mapping[str, int] = msgspec.field(default_factory=dict)
    prompt_tokens: int | None = None
    prompt_tokens_source: str = ""
    prompt_id: str = ""
    prompt_hash: str = ""
    custom_id: str = ""
    trace_id: str = ""
    server_request_id: str = ""
    cached_tokens: int | None = None
    bytes_received: int = 0
    status: int | None = None
    finish_reason: str | None = None
    error: str | None = None
    retries: int = 0
    input_tokens_requested: int | None = None
    output_tokens_requested: int | None = None
    think_ns: int | None = None
    model_index: int = 0
    host_index: int = 0
    retry_after_ns: int | None = None
    session: str = ""
    turn: int = 0
    session_turns: int = 0
    agent: str = ""
    depth: int = 0
    session_requests: int = 0
    join_ns: int | None = None
    prefix_group: int | None = None
    shareable: Shareable | None = None
    abandons: bool = False
    abandon_late_ns: int | None = None
    name: str = ""

    @property
    def lag_ns(self) -> int:
        """How late it was sent: sent − scheduled. 0 in a closed loop."""
        return self.sent_ns - self.scheduled_ns

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
        """Time per output token: (last − first) / (n − k), where k tokens came with the first output: those of its
        event by the engine's own count, one where it gives none, and what was not streamed; where outputs come in
        bursts, those of the first arrival. Undefined where nothing came after them, and where most tokens came in one
        arrival."""
        if self.first_ns is None or self.last_ns is None or self.in_one_arrival:
            return None
        first_tokens = self._tokens_with_first
        return (self.last_ns - self.first_ns) / (self.output_tokens - first_tokens) if first_tokens else None

    @property
    def _tokens_with_first(self) -> float:
        """Tokens that came with the first output; 0 where no others came."""
        if self.first_event_tokens:
            tokens: float = self.first_event_tokens
        else:
            tokens = 1 + self.unstreamed_tokens
            if self.in_bursts:
                share = in_first_arrival(self.outputs_ns) / len(self.outputs_ns)
                tokens = max(tokens, (self.output_tokens - self.unstreamed_tokens) * share + self.unstreamed_tokens)
        return tokens if tokens < self.output_tokens else 0

    @property
    def in_bursts(self) -> bool:
        """Whether outputs came several at once, as something between held them back."""
        arrivals = self.output_arrivals
        return self.gaps_measured and arrivals > 1 and len(self.outputs_ns) >= BURST_OUTPUTS * arrivals

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
        tokens = self.output_tokens - self.unstreamed_tokens
        return 2 * largest_arrival_share(self.outputs_ns, self.output_sizes, tokens) > 1

    @property
    def token_rate(self) -> float | None:
        """Tokens a second as this user saw them: 1 / TPOT; undefined where TPOT is."""
        return rate_of(self.tpot_ns)

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
        return arrivals_of(self.outputs_ns)

    @property
    def tokens_per_event(self) -> float:
        """Each output's tokens: of n tokens in m events, n / m. They sum to n."""
        return self.output_tokens / len(self.outputs_ns) if self.outputs_ns else 0.0

    @property
    def stamps(self) -> str:
        """`kernel`, `tap`, `user` or `mixed`: whose receive times these are."""
        if self.kernel_stamps == self.reads:
            return ("tap" if self.tapped else "kernel") if self.reads else "user"
        return "mixed" if self.kernel_stamps else "user"


def rate_of(tpot_ns: float | None) -> float | None:
    """Tokens a second of a time per output token; undefined where that is."""
    return 1e9 / tpot_ns if tpot_ns else None


def _difference(later_ns: int | None, earlier_ns: int) -> int | None:
    return None if later_ns is None else later_ns - earlier_ns


class SessionPlace(NamedTuple):
    """The session of a request: its id, "" in runs without sessions; the request's turn, from 1; and how many turns the
    session is to have.

    In a session with sub-agents the turns are those of the request's agent. agent: `main` for the first one, `main.1`
    and `main.2` for its sub-agents, in the order in which they are in the source; "" in runs without any. depth: how
    many agents are above it. session_requests: how many requests all agents of the session are to send."""

    session: str = ""
    turn: int = 0
    session_turns: int = 0
    agent: str = ""
    depth: int = 0
    session_requests: int = 0


#: Of a request in a run without sessions.
NO_SESSION = SessionPlace()


class SentPrompt(NamedTuple):
    """What a request sends: the row of its source, a hash of the whole text, the lengths in tokens that the run's
    options request (None where they request none), the source's own name for the row, the id of its trace, the places
    of its model and host among those of the run, and of the request in its session; the group of its shared prefix
    (None: it has none), what a prefix cache may hold of it (None: not known), and its name."""

    prompt_id: str = ""
    prompt_hash: str = ""
    input_tokens_requested: int | None = None
    output_tokens_requested: int | None = None
    custom_id: str = ""
    trace_id: str = ""
    model_index: int = 0
    host_index: int = 0
    session: str = ""
    turn: int = 0
    session_turns: int = 0
    agent: str = ""
    depth: int = 0
    session_requests: int = 0
    prefix_group: int | None = None
    shareable: Shareable | None = None
    name: str = ""


class RequestLoad(NamedTuple):
    """What a user does around a request. think_ns: the think time that was requested of it before, None where it was
    not to wait for one; retry_after_ns: how long the server requires it to wait after it, where that is honoured;
    join_ns: how long it waited for sub-agents before, None where there were none; abandons: whether it is to leave the
    request, and abandon_late_ns: how late it did, None where it did not."""

    think_ns: int | None = None
    retry_after_ns: int | None = None
    join_ns: int | None = None
    abandons: bool = False
    abandon_late_ns: int | None = None


#: Of a request that was sent at once.
PLAIN_LOAD = RequestLoad()
