"""One streamed request, from its body to its timeline: where wire, engine and metrics meet. No Locust."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

import gevent
from gevent import GreenletExit

from tokenswarm.client.deadlines import Deadline, next_deadline, sleep_s
from tokenswarm.client.outcome import NotOk, check_ending, not_a_stream, outcome_of, refuse_compression
from tokenswarm.client.request_ids import server_request_id, traceparent
from tokenswarm.client.request_spec import RequestSpec
from tokenswarm.client.retry_after import LIMIT_STATUSES, retry_after_s
from tokenswarm.client.stream_receiver import StreamObserver, StreamReceiver
from tokenswarm.engines import is_context_overflow
from tokenswarm.metrics.timeline import Outcome, SentPrompt, Timeline
from tokenswarm.metrics.timeline_builder import TimelineBuilder
from tokenswarm.sanitize import server_text
from tokenswarm.wire import Exchange, ResponseParser, StreamClient, went_stale

_MAX_ERROR_CHARACTERS = 500
_MAX_FINISH_REASON_CHARACTERS = 100


class AnswerTexts(NamedTuple):
    """What an answer says: its visible text, its reasoning, and the arguments of its tool calls."""

    visible: str
    reasoning: str
    tool_arguments: str


class StreamingRequest:
    """A request under way. `timeline` is there once `run` has returned or raised.

    What costs time before a request can be sent is done by the constructor and `encode`: called ahead, they leave
    little between the time that a request is due and its first byte.
    """

    def __init__(
        self,
        client: StreamClient,
        spec: RequestSpec,
        on_output: Callable[[int], None] | None = None,
        observer: StreamObserver | None = None,
    ) -> None:
        """on_output is called with the number of outputs of each read."""
        request = spec.request
        self._client = client
        self._spec = spec
        self._observer = observer
        self._path = spec.engine.path_for(request.model)
        self._builder = TimelineBuilder(spec.user, spec.level, time.perf_counter_ns(), request.max_tokens)
        self._builder.load = spec.load
        self._builder.prompt_tokens(spec.prompt_tokens, spec.prompt_tokens_source)
        content_hash = request.content_hash
        sent = SentPrompt(
            spec.prompt_id,
            content_hash,
            spec.input_tokens_requested,
            spec.output_tokens_requested,
            spec.custom_id,
            spec.trace_id,
            spec.model_index,
            spec.host_index,
            *spec.place,
            prefix_group=spec.prefix_group,
            shareable=spec.shareable and spec.shareable.with_prompt(content_hash),
            name=spec.name,
        )
        self._builder.prompt(sent)
        self._stream = StreamReceiver(spec, self._builder, on_output, observer)
        self._encoded: bytes | None = None
        self._exchange: Exchange | None = None
        self._sent_ns = 0  # for the first time
        self.abandons = spec.abandonment is not None  # whether its user is to leave it before it ends
        self._left_ns: int | None = None  # by its user, on purpose
        self.timeline: Timeline | None = None

    @property
    def sent_ns(self) -> int | None:
        """When it was sent for the first time; None before."""
        return self._sent_ns or None

    @property
    def first_output_ns(self) -> int | None:
        """When its first output came; None before."""
        outputs_ns = self._builder.outputs_ns
        return outputs_ns[0] if outputs_ns else None

    @property
    def text(self) -> str:
        """The output so far, where it is to be counted."""
        return "".join(self._stream.texts)

    @property
    def answer(self) -> AnswerTexts:
        """The answer so far, where it is needed."""
        stream = self._stream
        return AnswerTexts(*("".join(texts) for texts in (stream.answer, stream.reasoning, stream.tool_arguments)))

    @property
    def error_body(self) -> bytes:
        """The beginning of a response that is no stream."""
        return self._stream.error_body

    def encode(self) -> bytes:
        """Make the bytes that are sent, unless that was done before."""
        if self._encoded is not None:
            return self._encoded
        spec = self._spec
        headers = {"Content-Type": "application/json", "Accept": spec.engine.content_type, **spec.headers}
        if spec.trace_id:
            headers["traceparent"] = traceparent(spec.trace_id)
        self._encoded = self._client.encode_post(self._path, spec.engine.request_body(spec.request), headers)
        return self._encoded

    def due(self, client: StreamClient, scheduled_ns: int) -> None:
        """It is to be sent by this client with the same settings, and is due then (perf_counter_ns): `run` may be
        called a little before that."""
        self._client = client
        self._builder.scheduled_ns = scheduled_ns

    def run(self) -> Timeline:
        """Send, and stream to the end. What ends a run, and defects of ours, are raised on, with a timeline left."""
        outcome, message = Outcome.OK, None
        try:
            self._run()
        except (GreenletExit, KeyboardInterrupt):  # Ctrl-C is raised in whichever greenlet happens to run
            self._cut()
            raise
        except BaseException as error:
            self._client.close()
            known = outcome_of(error) if isinstance(error, Exception) else None
            if known is None:  # a defect of ours: it is raised on, and the request is recorded all the same
                self.timeline = self._finish(Outcome.STREAM_ERROR, f"the client failed: {error!r}")
                raise
            outcome, message = known, str(error)
        self._count_and_finish(outcome, message)
        assert self.timeline is not None
        return self.timeline

    def _run(self) -> None:
        due_ns = self._builder.scheduled_ns or 0
        self._builder.sent(max(time.perf_counter_ns(), due_ns), 0)  # until there is a connection
        exchange = self._send()
        while True:
            exchange.wait(sleep_s(self._deadline(exchange), time.perf_counter_ns(), self._spec.timeouts.idle_s))
            if self._stream.failure is not None:
                raise self._stream.failure
            refuse_compression(exchange.response)
            if not exchange.ended:
                self._check_deadline(exchange)
            elif went_stale(exchange):
                self._builder.retried()
                exchange = self._send()  # on a new connection: this cannot happen twice
            else:
                break
        self._check_response(exchange)

    def _send(self) -> Exchange:
        encoded = self.encode()
        self._exchange = None  # one that went stale has no part in the timeline, even if there is no connection now
        due_ns = self._builder.scheduled_ns or 0
        self._exchange = exchange = self._client.send_post(encoded, self._stream, due_ns)
        self._sent_ns = self._sent_ns or exchange.sent_ns
        self._builder.sent(exchange.sent_ns, exchange.connect_ns, exchange.left_within_ns)
        if self._observer is not None:
            self._observer.on_sent(exchange)
        return exchange

    def _deadline(self, exchange: Exchange) -> Deadline:
        return next_deadline(
            self._spec.timeouts,
            sent_ns=self._sent_ns,
            last_output_ns=self._builder.last_ns,
            behind_ns=exchange.behind_ns,
            terminal_event_ns=self._stream.terminal_event_ns,
            outputs=self._builder.output_events,
            leaves_ns=self._leaves_ns(),
        )

    def _leaves_ns(self) -> float | None:
        """When the user leaves, or was to; None where it does not, or not yet."""
        plan = self._spec.abandonment
        if plan is None or plan.after_s is None:
            return self._stream.reached_ns
        return self._sent_ns + plan.after_s * 1e9

    def _check_deadline(self, exchange: Exchange) -> None:
        """Raises NotOk."""
        now_ns = time.perf_counter_ns()
        deadline = self._deadline(exchange)
        if now_ns <= deadline.at_ns:
            return
        if self._stream.terminal_event_ns is None:
            if deadline.outcome is Outcome.ABANDONED:
                self._left_ns = now_ns
                late_ns = round(now_ns - deadline.at_ns)
                self._builder.load = self._builder.load._replace(abandon_late_ns=late_ns)
            raise NotOk(deadline.outcome, deadline.message)
        # The stream is whole; only the connection cannot be used again.
        exchange.finish(now_ns)
        self._client.close()

    def _check_response(self, exchange: Exchange) -> None:
        """The response is over: was it what it promised to be? Raises NotOk, WireError."""
        stream, spec, response = self._stream, self._spec, exchange.response
        if response.head_complete and not stream.judge(exchange):
            refusal = not_a_stream(response, stream.error_body, spec.engine, self._path)
            self._honour_limit(response, refusal)
            raise refusal
        if stream.terminal_event_ns is None and exchange.error is None:
            stream.on_end(exchange)
        if stream.stream_error is not None:
            overflows = is_context_overflow(stream.stream_error, response.status)
            raise NotOk(Outcome.CONTEXT_OVERFLOW if overflows else Outcome.STREAM_ERROR, stream.stream_error)
        if stream.done_ns is None:
            outputs = self._builder.output_events
            raise exchange.error or NotOk(
                Outcome.TRUNCATED, f"the stream ended after {outputs} outputs without its end"
            )
        self._builder.received(exchange.bytes_received)
        stream.judge_late_reading(exchange)
        exact_tokens = spec.request.max_tokens if spec.request.ignore_eos else None
        check_ending(spec.engine, stream.finish_reason, self._builder.reported_tokens, exact_tokens)

    def _honour_limit(self, response: ResponseParser, refusal: NotOk) -> None:
        """Where the run honours Retry-After: take it over, and count the refusal as one by a limit."""
        if not self._spec.honours_retry_after or response.status not in LIMIT_STATUSES:
            return
        if (wait_s := retry_after_s(response.headers)) is not None:
            refusal.outcome = Outcome.REFUSED_BY_LIMIT
            self._builder.load = self._spec.load._replace(retry_after_ns=round(wait_s * 1e9))

    def _cut(self) -> None:
        """The run stops the request. A response that had ended before the stop keeps its outcome, though it was not
        processed yet."""
        outcome: Outcome = Outcome.CUT
        message: str | None = "stopped by the run before it ended"
        exchange = self._exchange
        if exchange is not None:
            exchange.read_now()
            if self._stream.terminal_event_ns is not None or (exchange.ended and exchange.error is None):
                try:
                    self._check_response(exchange)
                    outcome, message = Outcome.OK, None
                except NotOk as error:
                    outcome, message = error.outcome, str(error)
        self._client.close()
        if outcome is Outcome.OK:
            self._count_and_finish(outcome, message)
        else:
            self.timeline = self._finish(outcome, message)

    def _count_and_finish(self, outcome: Outcome, message: str | None) -> None:
        try:
            self._count()
        finally:  # a run may end in the middle of counting: the response was whole all the same
            self.timeline = self._finish(outcome, message)

    def _count(self) -> None:
        if self._exchange is not None:
            self._builder.received(self._exchange.bytes_received)
        count_tokens = self._spec.count_tokens
        if count_tokens is not None and self._builder.needs_counting:
            # In a thread: a tokenizer works for milliseconds, and the hub has arrivals to stamp.
            self._builder.token_counts.tokenizer = gevent.get_hub().threadpool.apply(count_tokens, (self.text,))

    def _finish(self, outcome: Outcome, message: str | None) -> Timeline:
        exchange, stream = self._exchange, self._stream
        if exchange:
            self._builder.deviations = stream.deviations(exchange)
            self._builder.tapped = exchange.tapped
            self._builder.server_request_id = server_request_id(exchange.response.headers)
        ended_ns = stream.terminal_event_ns or (exchange.ended_ns if exchange else None)
        return self._builder.finish(
            outcome,
            over_ns=self._left_ns or ended_ns or time.perf_counter_ns(),
            headers_ns=exchange.headers_ns if exchange else None,
            end_ns=stream.done_ns,
            bytes_received=exchange.bytes_received if exchange else 0,
            status=(exchange.response.status or None) if exchange else None,
            finish_reason=stream.finish_reason and server_text(stream.finish_reason, _MAX_FINISH_REASON_CHARACTERS),
            error=message and server_text(message, _MAX_ERROR_CHARACTERS),
        )
