"""The events of one request as they happen, until its timeline is frozen."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping, Sequence

from tokenswarm.metrics.timeline import PLAIN_LOAD, Outcome, RequestLoad, SentPrompt, Timeline
from tokenswarm.metrics.token_counts import TokenCounts

_MOST_TOKENS = 10**9
#: Handing a request to the kernel takes less, also where that delivers it to a server on this machine.
SENDING_NS = 1_000_000


class TimelineBuilder:
    """Collects a request's events as they happen; `finish` freezes them."""

    def __init__(self, user: str, level_index: int, now_ns: int, max_tokens: int | None = None) -> None:
        """now_ns: when it is tried, or prepared. max_tokens: the most output tokens that the request allows; None where
        it sets no limit."""
        self.token_counts = TokenCounts(max_tokens)
        self.deviations: Mapping[str, int] = {}
        self.server_request_id = ""
        self.load: RequestLoad = PLAIN_LOAD
        self._user = user
        self._level_index = level_index
        #: When it was due; None in a closed loop, whose users send when they are ready to.
        self.scheduled_ns: int | None = None
        self._sent_ns = now_ns  # a request that never got a connection counts as sent when it was tried
        self._connect_ns = self._left_within_ns = 0
        self._retries = 0
        self._first_visible_ns: int | None = None
        self._ttft_uncertainty_ns: int | None = None
        self.outputs_ns = array("q")
        self._output_sizes = array("L")
        self._reasoning_tokens = 0
        #: Whether its gaps are to be in the figures.
        self.gaps_measured = True
        self._delays_ns = array("q")
        self._reads = 0
        self._kernel_stamps = 0
        #: Whether a packet tap had the time of each segment.
        self.tapped = False
        self._first_body_ns: int | None = None
        self._first_bare_ns: int | None = None
        self._last_bare_ns: int | None = None
        self._bare_events = 0
        self._first_event_tokens: int | None = None
        self._arrival_tokens = 0
        self._largest_arrival_tokens: int | None = None
        self._prompt_tokens: int | None = None
        self._prompt_tokens_source = ""
        self._sent_prompt = SentPrompt()
        self._cached_tokens: int | None = None

    @property
    def last_ns(self) -> int | None:
        """The last output so far."""
        return self.outputs_ns[-1] if self.outputs_ns else None

    @property
    def output_events(self) -> int:
        return len(self.outputs_ns)

    def sent(self, sent_ns: int, connect_ns: int, left_within_ns: int = 0) -> None:
        """The request left, at the latest so long after. After a retry, its first time stands."""
        if not self._retries:
            self._sent_ns = sent_ns
            self._left_within_ns = left_within_ns if left_within_ns > SENDING_NS else 0
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
        if kernel:
            self._kernel_stamps += 1
            if delay_ns is not None:
                self._delays_ns.append(delay_ns)

    def reads(self, number: int, delays_ns: Sequence[int] = ()) -> None:
        """As many reads of the socket, or parts of one, each with the kernel's time; delays_ns of those that were made
        while it was watched."""
        self._reads += number
        self._kernel_stamps += number
        self._delays_ns.extend(delays_ns)

    def first_output_within(self, uncertainty_ns: int) -> None:
        """The first output came no earlier than this before its reported time; 0 where that is its own."""
        self._ttft_uncertainty_ns = uncertainty_ns

    def output(self, arrived_ns: int, visible: bool, tokens: int | None, size_bytes: int = 1) -> None:
        """An event with output arrived; `tokens` by the engine's own count, None where it does not say; `size_bytes`
        of its text."""
        if visible and self._first_visible_ns is None:
            self._first_visible_ns = arrived_ns
        self._output_sizes.append(size_bytes)
        if tokens is not None:
            if not self.outputs_ns:
                self._first_event_tokens = tokens
            self.token_counts.engine = (self.token_counts.engine or 0) + tokens
            self._arrival_tokens = tokens + (self._arrival_tokens if arrived_ns == self.last_ns else 0)
            self._largest_arrival_tokens = max(self._arrival_tokens, self._largest_arrival_tokens or 0)
        self.outputs_ns.append(arrived_ns)

    def outputs(self, arrived_ns: Sequence[int], sizes_bytes: Iterable[int], *, visible: bool) -> None:
        """Several in a row, none the first, whose tokens their engine does not count."""
        if visible and self._first_visible_ns is None:
            self._first_visible_ns = arrived_ns[0]
        self._output_sizes.extend(sizes_bytes)
        self.outputs_ns.extend(arrived_ns)

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

    def prompt(self, prompt: SentPrompt) -> None:
        """What is sent."""
        self._sent_prompt = prompt

    def usage(
        self,
        prompt_tokens: int | None,
        output_tokens: int | None,
        cached_tokens: int | None = None,
        reasoning_tokens: int | None = None,
    ) -> None:
        """The server's own counts so far; the last ones stand. A count that cannot be (some servers send 0 or −1 for
        "unknown") is none: the next best source counts."""
        self._reasoning_tokens = reasoning_tokens or 0
        if output_tokens is not None and 0 < output_tokens <= _MOST_TOKENS:
            self.token_counts.usage = output_tokens
            if len(self.outputs_ns) == 1 and self._first_event_tokens is None:
                self._first_event_tokens = output_tokens  # counts so far, sent with each event
        if prompt_tokens is not None and 0 < prompt_tokens <= _MOST_TOKENS:
            self.prompt_tokens(prompt_tokens, "usage")
            if cached_tokens is not None and 0 <= cached_tokens <= prompt_tokens:
                self._cached_tokens = cached_tokens

    def prompt_tokens(self, tokens: int, source: str) -> None:
        """The prompt's length and who counted it."""
        self._prompt_tokens = tokens
        self._prompt_tokens_source = source

    def received(self, bytes_received: int | None) -> None:
        """The response has so many bytes so far, its head included."""
        self.token_counts.bytes_received = bytes_received

    @property
    def reported_tokens(self) -> int | None:
        """Output tokens as the server or the engine counted them, None where neither gave a possible count."""
        return self.token_counts.reported

    @property
    def needs_counting(self) -> bool:
        """There is output, and neither the server nor the engine said how many tokens it is."""
        return bool(self.outputs_ns) and self.reported_tokens is None

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
        outcome, error = _ending(outcome, error, bool(self.outputs_ns))
        self.received(bytes_received or self.token_counts.bytes_received)
        tokens, source = self.token_counts.best(len(self.outputs_ns))
        first_ns = self.outputs_ns[0] if self.outputs_ns else None
        return Timeline(
            user=self._user,
            level_index=self._level_index,
            outcome=outcome,
            scheduled_ns=self._sent_ns if self.scheduled_ns is None else self.scheduled_ns,
            sent_ns=self._sent_ns,
            over_ns=over_ns,
            connect_ns=self._connect_ns,
            headers_ns=headers_ns,
            first_ns=first_ns,
            first_visible_ns=self._first_visible_ns,
            last_ns=self.last_ns,
            ttft_uncertainty_ns=_sum_of(self._ttft_uncertainty_ns, self._left_within_ns),
            end_ns=end_ns,
            outputs_ns=self.outputs_ns,
            first_body_ns=self._first_body_ns,
            first_event_ns=min(filter(None, (first_ns, self._first_bare_ns)), default=None),
            last_event_ns=max(filter(None, (self.last_ns, self._last_bare_ns)), default=None),
            events=len(self.outputs_ns) + self._bare_events,
            gaps_measured=self.gaps_measured,
            delays_ns=self._delays_ns,
            reads=self._reads,
            kernel_stamps=self._kernel_stamps,
            tapped=self.tapped,
            output_tokens=tokens,
            output_tokens_source=source,
            output_tokens_rejected=self.token_counts.rejected,
            first_event_tokens=self._first_event_tokens,
            largest_arrival_tokens=self._largest_arrival_tokens,
            output_sizes=self._output_sizes,
            unstreamed_tokens=_unstreamed(self._reasoning_tokens, tokens, first_ns, self._first_visible_ns),
            deviations=self.deviations,
            prompt_tokens=self._prompt_tokens,
            prompt_tokens_source=self._prompt_tokens_source,
            **(self._sent_prompt._asdict() | self.load._asdict()),
            server_request_id=self.server_request_id,
            cached_tokens=self._cached_tokens,
            bytes_received=bytes_received,
            status=status,
            finish_reason=finish_reason,
            error=error,
            retries=self._retries,
        )


def _ending(outcome: Outcome, error: str | None, has_output: bool) -> tuple[Outcome, str | None]:
    if outcome is Outcome.OK and not has_output:
        return Outcome.EMPTY, "the stream ended properly but held no output"
    return outcome, error


def _unstreamed(reasoning_tokens: int, tokens: int, first_ns: int | None, first_visible_ns: int | None) -> int:
    """Reasoning that is in the usage alone: none was sent where the first output is visible text."""
    sent = first_ns is None or first_ns != first_visible_ns
    return 0 if sent or not 0 < reasoning_tokens < tokens else reasoning_tokens


def _sum_of(uncertainty_ns: int | None, left_within_ns: int) -> int | None:
    return None if uncertainty_ns is None else uncertainty_ns + left_within_ns
