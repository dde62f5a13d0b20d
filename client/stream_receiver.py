"""The state of one response while it streams: bytes and their times in, a timeline's outputs out. Runs in the hub."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from operator import sub
from typing import Protocol

from msgspec.structs import replace

from tokenswarm.client.outcome import NotOk, is_stream, promises_stream
from tokenswarm.client.request_spec import RequestSpec
from tokenswarm.engines import EMPTY_BATCH, Delta, StreamBroken, TokenBatch
from tokenswarm.metrics.deviations import Deviation
from tokenswarm.metrics.timeline import Outcome
from tokenswarm.metrics.timeline_builder import TimelineBuilder
from tokenswarm.wire import Arrival, Exchange

_MAX_ERROR_BODY_BYTES = 64 * 1024

logger = logging.getLogger(__name__)


class StreamObserver(Protocol):
    """Sees each read of a response, as it comes. A request with an observer costs more: nothing is deferred."""

    def on_sent(self, exchange: Exchange) -> None:
        """The request was sent, perhaps again on a new connection; nothing of its response has been read."""
        ...

    def on_events(self, arrival: Arrival, deltas: Sequence[Delta]) -> None:
        """A read of the body, and the deltas that it completed."""
        ...


class StreamReceiver:
    """Receives one response. Nothing here blocks or raises: `failure` is raised by the greenlet, which is woken for it.

    texts: the output so far, where it is to be counted. answer, reasoning, tool_arguments: its parts, where they are
    needed. finish_reason, stream_error: as the stream has them. done_ns:
    arrival of its proper end. terminal_event_ns: arrival of its end, or of an error instead; None while more is
    expected. error_body: the beginning of a response that is no stream. is_stream: whether it is one; None until that
    is known. reached_ns: arrival of the output at which the user leaves, None before it.
    """

    def __init__(
        self,
        spec: RequestSpec,
        builder: TimelineBuilder,
        on_output: Callable[[int], None] | None = None,
        observer: StreamObserver | None = None,
    ) -> None:
        self._builder = builder
        self._engine = spec.engine
        self._decoder = spec.engine.decoder()
        self._on_output = on_output
        self._observed = observer is not None
        self._observe = observer.on_events if observer is not None else _ignore
        self._measure_gaps = spec.measure_gaps
        self._late_reading = spec.late_reading
        self._received_before = 0, 0
        self._is_compared = False  # with other streams, by the guard of late reading
        self._keep_text = spec.count_tokens is not None
        self._keeps_answer = spec.keeps_answer
        self._leave_tokens = spec.abandonment.after_tokens if spec.abandonment is not None else None
        self._watched = True
        self._relaxed = False
        self._start = b""  # of the body, held back until it is known whether it is a stream
        self._ended_without_marker = False
        self.is_stream: bool | None = None
        self.texts: list[str] = []
        self.answer: list[str] = []
        self.reasoning: list[str] = []
        self.tool_arguments: list[str] = []
        self.finish_reason: str | None = None
        self.stream_error: str | None = None
        self.done_ns: int | None = None
        self.terminal_event_ns: int | None = None
        self.error_body = b""
        self.failure: Exception | None = None
        self.reached_ns: int | None = None

    def on_read(self, exchange: Exchange, arrival: Arrival) -> None:
        """Body bytes of one read."""
        self._builder.read(arrival.delay_ns if self._watched else None, arrival.kernel)
        self._check_times(exchange, arrival.kernel)
        if self.terminal_event_ns is not None:
            return  # nothing behind the end is part of the response, however the bytes were split
        try:
            if self.is_stream is None:
                arrival = self._begin(exchange, arrival)
            if self.is_stream:
                batch = self._decoder.decode_batch((arrival.data,)) if self._relaxed else EMPTY_BATCH
                if batch.texts:
                    self._on_outputs(batch, (arrival.arrived_ns,))
                    return
                self._on_events(self._decoder.feed(arrival.data), arrival)
            elif self.is_stream is None:
                return
            elif missing := _MAX_ERROR_BODY_BYTES - len(self.error_body):
                self.error_body += arrival.data[:missing]
            if self.terminal_event_ns is None:
                self._decoder.feed(b"")  # what broke behind good events is raised by the next call
                self._leave(exchange, arrival)
            else:
                exchange.wake()  # for a deadline that is near from now on
        except Exception as error:
            self._fail(exchange, error)
        if not self._relaxed and self._builder.output_events and not exchange.response.complete:
            self._relax(exchange)

    def on_batch(
        self, exchange: Exchange, bodies: Sequence[bytes], arrived_ns: Sequence[int], delays_ns: Sequence[int]
    ) -> int:
        """As `on_read`, for the first of these reads that hold outputs and nothing else. Returns how many."""
        if self.terminal_event_ns is not None:
            return 0
        try:
            batch = self._decoder.decode_batch(bodies)
            taken = len(batch.of_each)
            if taken:
                self._on_outputs(batch, arrived_ns[:taken])
                self._builder.reads(taken, delays_ns[:taken] if self._watched else ())
                self._check_times(exchange, kernel=True)
        except Exception as error:
            self._fail(exchange, error)
            return len(bodies)
        return taken

    def on_end(self, exchange: Exchange) -> None:
        """Where a dialect has no other end, the body's is the stream's; so it is behind a finish reason, whatever the
        dialect. Raises NotOk where the decoder needs more."""
        assert exchange.ended_ns is not None
        try:
            leftover = [*self._decoder.feed(self._start), *self._decoder.end()] if self._start else self._decoder.end()
        except StreamBroken as broken:  # whole so far, and then no proper end
            raise NotOk(Outcome.TRUNCATED, str(broken)) from None
        reason = next((delta.finish_reason for delta in leftover if delta.finish_reason), self.finish_reason)
        if reason and not any(delta.done or delta.error for delta in leftover):
            self._ended_without_marker = True
            leftover.append(Delta(done=True))
        self._on_events(leftover, Arrival(exchange.ended_ns, 0, False, b"", exchange.sent_ns))

    def judge(self, exchange: Exchange) -> bool:
        """Whether the response, which is over, is a stream."""
        if self.is_stream is None:
            self.is_stream = promises_stream(exchange.response)
            if not self.is_stream:
                self.error_body, self._start = self._start, b""
        return self.is_stream

    def deviations(self, exchange: Exchange) -> dict[str, int]:
        """How often the response differed from its protocol, by name."""
        response = exchange.response
        found = dict.fromkeys(response.deviations, 1)
        if skipped := self._decoder.skipped_events:
            found[Deviation.NAMED_EVENTS] = skipped
        if self._ended_without_marker:
            found[Deviation.MISSING_END] = 1
        if self.is_stream and not promises_stream(response):
            found[Deviation.WRONG_CONTENT_TYPE] = 1
        return dict(sorted(found.items()))

    def _fail(self, exchange: Exchange, error: Exception) -> None:
        self.failure = self.failure or error
        exchange.wake()

    def _leave(self, exchange: Exchange, arrival: Arrival) -> None:
        """Wake the user where it leaves with this arrival."""
        if self._leave_tokens is None or self.reached_ns is not None:
            return
        arrived, _ = self._builder.token_counts.best(self._builder.output_events)
        if arrived >= self._leave_tokens:
            self.reached_ns = arrival.arrived_ns
            exchange.wake()

    def _begin(self, exchange: Exchange, arrival: Arrival) -> Arrival:
        """The head and the body's first bytes are here. Returns the arrival with the bytes that were held back before
        it; they are held back as long as they do not say whether this is a stream."""
        self._builder.body(arrival.arrived_ns)
        data = self._start + arrival.data
        self.is_stream = is_stream(exchange.response, data, self._engine)
        self._start = data if self.is_stream is None else b""
        if self.is_stream is False:
            exchange.wake()  # a compressed response is refused at once
        return replace(arrival, data=data) if len(data) > len(arrival.data) else arrival

    def _relax(self, exchange: Exchange) -> None:
        """The first output is in: what comes now need not be processed at once, nor, without gaps, be read."""
        if self._observed or self._leave_tokens is not None:
            return
        self._received_before = self._received(exchange)
        kernel_stamps_only = self._builder.kernel_stamps_only
        if kernel_stamps_only and self._may_be_late(exchange):
            self._watched = False
            exchange.unwatch()
        elif self._measure_gaps or kernel_stamps_only:
            exchange.defer()
        else:
            return
        self._relaxed = True

    def _may_be_late(self, exchange: Exchange) -> bool:
        """Whether the stream is read late from now on: it may where its gaps are not measured, and where a packet tap
        has the times of all segments all the same and many streams are under way."""
        if not self._measure_gaps:
            self._builder.gaps_measured = False
        elif not exchange.may_be_left_unread:
            return False
        self._is_compared = self._late_reading is not None
        return self._late_reading is None or self._late_reading.reads_next_late()

    def _check_times(self, exchange: Exchange, kernel: bool) -> None:
        """The times of what is read late are those of its outputs as long as they are the kernel's, and a packet tap
        knows them."""
        if not self._watched and not (exchange.tapped and kernel):
            self._builder.gaps_measured = False

    def _received(self, exchange: Exchange) -> tuple[int, int]:
        """Outputs, and segments, so far."""
        if self._late_reading is None:
            return 0, 0
        return self._builder.output_events, exchange.received_segments() or 0

    def judge_late_reading(self, exchange: Exchange) -> None:
        """The stream has ended properly: was it changed by being read late? Compared are streams that could be read
        late, whether they were or not: those that began before there were many say little of a busier server."""
        outputs, segments = map(sub, self._received(exchange), self._received_before)
        if self._late_reading is None or not (self._relaxed and self._is_compared) or segments <= 0:
            return
        if reason := self._late_reading.ended(late=not self._watched, tokens=outputs, segments=segments):
            logger.warning("Streams are read as they come from now on, which costs CPU time: %s", reason)

    def _on_outputs(self, batch: TokenBatch, arrived_ns: Sequence[int]) -> None:
        if len(batch.texts) > len(arrived_ns):
            arrived_ns = [ns for ns, outputs in zip(arrived_ns, batch.of_each, strict=True) for _ in range(outputs)]
        self._builder.outputs(arrived_ns, map(len, batch.texts), visible=not batch.reasoning)
        if self._keep_text:
            self.texts.append(b"".join(batch.texts).decode())
        if self._keeps_answer:
            (self.reasoning if batch.reasoning else self.answer).append(b"".join(batch.texts).decode())
        if self._on_output is not None:
            self._on_output(len(batch.texts))

    def _keep(self, delta: Delta) -> None:
        if self._keep_text:
            self.texts.append(delta.reasoning + delta.text + delta.tool_arguments)
        if self._keeps_answer:
            self.answer.append(delta.text)
            self.reasoning.append(delta.reasoning)
            self.tool_arguments.append(delta.tool_arguments)

    def _on_events(self, deltas: list[Delta], arrival: Arrival) -> None:
        self._observe(arrival, deltas)
        builder, arrived_ns = self._builder, arrival.arrived_ns
        first, outputs = not builder.output_events, 0
        for delta in deltas:
            if delta.text or delta.reasoning or delta.tool_arguments:
                if first:
                    builder.first_output_within(_uncertainty_ns(arrival, alone=delta is deltas[-1]))
                    first = False
                outputs += 1
                visible, text = (
                    delta.text or delta.tool_arguments,
                    delta.reasoning or delta.text or delta.tool_arguments,
                )
                size_bytes = len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
                builder.output(arrived_ns, bool(visible), delta.tokens, size_bytes)
                self._keep(delta)
            elif _is_of_the_response(delta):
                builder.bare_event(arrived_ns)
            if delta.output_tokens is not None or delta.prompt_tokens is not None:
                builder.usage(delta.prompt_tokens, delta.output_tokens, delta.cached_tokens, delta.reasoning_tokens)
            if delta.finish_reason is not None:
                self.finish_reason = delta.finish_reason
            if delta.error is not None or delta.done:
                self.stream_error = delta.error
                self.done_ns = arrived_ns if delta.done else None
                self.terminal_event_ns = arrived_ns
                break
        if outputs and self._on_output is not None:
            self._on_output(outputs)


def _ignore(_: Arrival, __: Sequence[Delta]) -> None:
    """Without an observer."""


def _is_of_the_response(delta: Delta) -> bool:
    """Whether an event without output is one of the response: a role, a reason to finish. Usage by itself, an error
    and the end are not."""
    if delta.finish_reason is not None:
        return True
    return not delta.done and delta.error is None and delta.output_tokens is None and delta.prompt_tokens is None


def _uncertainty_ns(arrival: Arrival, alone: bool) -> int:
    """How much earlier than its time an output may have come. The kernel's time is that of the last packet in a read:
    the output's own where nothing came behind it."""
    return 0 if alone and arrival.kernel else arrival.arrived_ns - arrival.earliest_ns
