"""One streamed answer, from request to timeline: where wire, engine and metrics meet. No Locust."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import gevent
from gevent import GreenletExit

from engines import NONE_ALIKE, Alike, ChatRequest, Delta, Engine, StreamBroken
from metrics.timeline import Outcome, Timeline, TimelineBuilder
from sanitize import server_text
from users.options import Timeouts
from wire import (
    Arrival,
    ClientLimitReached,
    ConnectFailed,
    ConnectTimedOut,
    Exchange,
    ResponseParser,
    StreamClient,
    WireError,
    went_stale,
)

#: After the dialect's end of stream, how long the response may take to end too before its connection is given up.
_LINGER_S = 1.0
#: Finish reasons by which a server says that it gave the response up, whatever it had sent.
_ABORTED = {"abort", "aborted", "cancel", "cancelled", "canceled", "error", "failed", "internal_error", "timeout"}
_MAX_ERROR_BODY_BYTES = 64 * 1024
_MAX_ERROR_CHARACTERS = 500
_MAX_FINISH_REASON_CHARACTERS = 100

CountTokens = Callable[[str], int]


class _TimedOut(Exception):
    """A part of the request took longer than its timeout; the text says which."""


class _Failed(Exception):
    def __init__(self, outcome: Outcome, message: str) -> None:
        super().__init__(message)
        self.outcome = outcome


class Ask:
    """A request under way. `timeline` is there once `run` has returned or raised."""

    def __init__(
        self,
        client: StreamClient,
        engine: Engine,
        request: ChatRequest,
        timeouts: Timeouts,
        *,
        user: str,
        stage: int,
        prompt_tokens: int,
        prompt_tokens_source: str,
        prompt_id: str = "",
        measure_gaps: bool = True,
        count_tokens: CountTokens | None = None,
        on_output: Callable[[int], None] | None = None,
    ) -> None:
        """Without measure_gaps, the stream is watched to its first output only. prompt_tokens, by whoever counted them,
        stand unless the server's usage says otherwise; prompt_id names the prompt's row in its source. on_output is
        told how many outputs each read held."""
        self._client = client
        self._engine = engine
        self._request = request
        self._path = engine.path_for(request.model)
        self._timeouts = timeouts
        self._measure_gaps = measure_gaps
        self._count_tokens = count_tokens
        self._on_output = on_output
        self._builder = TimelineBuilder(user, stage, time.perf_counter_ns(), request.max_tokens)
        self._builder.prompt_tokens(prompt_tokens, prompt_tokens_source)
        self._builder.prompt(prompt_id, request.content_hash)
        self._decoder = engine.decoder()
        self._exchange: Exchange | None = None
        self._sent_ns = 0  # for the first time
        self._error_body = b""
        self._text: list[str] = []
        self._finish_reason: str | None = None
        self._stream_error: str | None = None
        self._done_ns: int | None = None
        self._told_all_ns: int | None = None  # its end, or an error instead of it: nothing is waited for any more
        self._watched = True
        self._relaxed = False
        self._streams: bool | None = None  # whether the response is what was asked for, once its head is known
        self._failure: Exception | None = None
        self.timeline: Timeline | None = None

    def run(self) -> Timeline:
        """Send, stream to the end, tell. What ends a run, and defects of ours, are raised on, with a timeline left."""
        outcome, message = Outcome.OK, None
        try:
            self._stream()
        except (GreenletExit, KeyboardInterrupt):  # Ctrl-C is raised in whichever greenlet happens to run
            self._cut()
            raise
        except ClientLimitReached as error:
            outcome, message = Outcome.CLIENT_LIMIT, str(error)
        except ConnectFailed as error:
            outcome, message = Outcome.REFUSED, str(error)
        except (ConnectTimedOut, _TimedOut) as error:
            outcome, message = Outcome.TIMEOUT, str(error)
        except _Failed as error:
            outcome, message = error.outcome, str(error)
        except StreamBroken as error:
            outcome, message = Outcome.STREAM_ERROR, str(error)
        except WireError as error:
            outcome, message = Outcome.TRUNCATED, str(error)
        except BaseException as error:  # a defect of ours: it is raised on, and the request is told of all the same
            self._client.close()
            self.timeline = self._finish(Outcome.STREAM_ERROR, f"the client failed: {error!r}")
            raise
        if outcome is not Outcome.OK:
            self._client.close()
        try:
            self._count()
        finally:  # a run may end in the middle of counting: the answer was whole all the same
            self.timeline = self._finish(outcome, message)
        return self.timeline

    def _cut(self) -> None:
        """The run stops the request. An answer that had ended before the stop is what it is, though nobody has looked
        at it yet."""
        outcome: Outcome = Outcome.CUT
        message: str | None = "stopped by the run before it ended"
        exchange = self._exchange
        if exchange is not None:
            exchange.read_now()
            if self._told_all_ns is not None or (exchange.ended and exchange.error is None):
                try:
                    self._settle(exchange)
                    outcome, message = Outcome.OK, None
                except _Failed as error:
                    outcome, message = error.outcome, str(error)
        self._client.close()
        try:
            if outcome is Outcome.OK:
                self._count()
        finally:
            self.timeline = self._finish(outcome, message)

    def _stream(self) -> None:
        body = self._engine.request_body(self._request)
        exchange = self._send(body)
        while True:
            exchange.wait(self._patience_s(exchange))
            if self._failure is not None:
                raise self._failure
            _refuse_compression(exchange.response)
            if not exchange.ended:
                self._check_timeouts(exchange)
            elif went_stale(exchange):
                self._builder.retried()
                exchange = self._send(body)  # on a new connection: this cannot happen twice
            else:
                break
        self._settle(exchange)

    def _send(self, body: bytes) -> Exchange:
        headers = {"Content-Type": "application/json", "Accept": self._engine.content_type}
        self._exchange = None  # one that went stale has no part in the story, even if there is no connection now
        self._exchange = exchange = self._client.post(self._path, body, headers, self)
        self._sent_ns = self._sent_ns or exchange.sent_ns
        self._builder.sent(exchange.sent_ns, exchange.connect_ns)
        return exchange

    def take(self, exchange: Exchange, arrival: Arrival) -> None:
        """Runs in the hub, as the bytes are read: what goes wrong is raised by the greenlet, which is woken for it."""
        self._builder.read(arrival.delay_ns if self._watched else None, arrival.kernel)
        if self._told_all_ns is not None:
            return  # nothing behind the end is part of the answer, however the bytes were cut
        try:
            if self._streams is None:
                self._begin(exchange, arrival)
            if self._streams:
                alike = self._decoder.alike_each((arrival.data,)) if self._relaxed else NONE_ALIKE
                if alike.texts:
                    self._take_outputs(alike, (arrival.arrived_ns,))
                    return
                self._take_events(self._decoder.feed(arrival.data), arrival)
            elif room := _MAX_ERROR_BODY_BYTES - len(self._error_body):
                self._error_body += arrival.data[:room]
            if self._told_all_ns is None:
                self._decoder.feed(b"")  # what broke behind good events is told at the next call
            else:
                exchange.wake()  # from now on patience is short
        except Exception as error:
            self._fail(exchange, error)
        if not self._relaxed and self._builder.output_events and not exchange.response.complete:
            self._relax(exchange)

    def take_alike(
        self, exchange: Exchange, bodies: Sequence[bytes], arrived_ns: Sequence[int], delays_ns: Sequence[int]
    ) -> int:
        """As `take`, for reads that hold outputs and nothing else."""
        if self._told_all_ns is not None:
            return 0
        try:
            alike = self._decoder.alike_each(bodies)
            taken = len(alike.of_each)
            if taken:
                self._take_outputs(alike, arrived_ns[:taken])
                self._builder.reads(delays_ns[:taken])
        except Exception as error:
            self._fail(exchange, error)
            return len(bodies)
        return taken

    def _fail(self, exchange: Exchange, error: Exception) -> None:
        self._failure = self._failure or error
        exchange.wake()

    def _take_outputs(self, alike: Alike, arrived_ns: Sequence[int]) -> None:
        if len(alike.texts) > len(arrived_ns):
            arrived_ns = [ns for ns, outputs in zip(arrived_ns, alike.of_each, strict=True) for _ in range(outputs)]
        self._builder.outputs(arrived_ns, visible=not alike.reasoning)
        if self._count_tokens is not None:
            self._text.append(b"".join(alike.texts).decode())
        if self._on_output is not None:
            self._on_output(len(alike.texts))

    def _begin(self, exchange: Exchange, arrival: Arrival) -> None:
        """The head and the body's first bytes are here."""
        self._streams = _promises_a_stream(exchange.response)
        if self._streams:
            self._builder.body(arrival.arrived_ns)
        else:
            exchange.wake()  # a compressed answer is refused at once

    def _relax(self, exchange: Exchange) -> None:
        """The first output is in: what comes now need not be looked at at once, nor, without gaps, be read."""
        if self._measure_gaps:
            self._relaxed = True
            exchange.put_aside()
        elif self._builder.kernel_stamps_only:
            self._relaxed = True
            self._watched = False
            exchange.unwatch()

    def _take_events(self, deltas: list[Delta], arrival: Arrival) -> None:
        builder, arrived_ns = self._builder, arrival.arrived_ns
        first, outputs = not builder.output_events, 0
        for delta in deltas:
            if delta.text or delta.reasoning or delta.tool_arguments:
                if first:
                    builder.first_output_within(_uncertainty_ns(arrival, alone=delta is deltas[-1]))
                    first = False
                outputs += 1
                builder.output(arrived_ns, bool(delta.text or delta.tool_arguments), delta.tokens)
                if self._count_tokens is not None:
                    self._text.append(delta.reasoning + delta.text + delta.tool_arguments)
            elif _is_of_the_answer(delta):
                builder.bare_event(arrived_ns)
            if delta.output_tokens is not None or delta.prompt_tokens is not None:
                builder.usage(delta.prompt_tokens, delta.output_tokens, delta.cached_tokens)
            if delta.finish_reason is not None:
                self._finish_reason = delta.finish_reason
            if delta.error is not None or delta.done:
                self._stream_error = delta.error
                self._done_ns = arrived_ns if delta.done else None
                self._told_all_ns = arrived_ns
                break
        if outputs and self._on_output is not None:
            self._on_output(outputs)

    def _settle(self, exchange: Exchange) -> None:
        """The response is over: was it what it promised to be?"""
        response = exchange.response
        if response.head_complete and not _promises_a_stream(response):
            words = self._words(response)
            if response.status != 200:
                raise _Failed(Outcome.HTTP_ERROR, f"HTTP {response.status}: {words}")
            got = response.headers["content-type"]
            raise _Failed(Outcome.STREAM_ERROR, f"expected {self._engine.content_type}, got {got}: {words}")
        if self._told_all_ns is None and exchange.error is None:
            self._take_end(exchange)
        if self._stream_error is not None:
            raise _Failed(Outcome.STREAM_ERROR, self._stream_error)
        if self._done_ns is None:
            outputs = self._builder.output_events
            raise exchange.error or _Failed(
                Outcome.TRUNCATED, f"the stream ended after {outputs} outputs without its end"
            )
        self._builder.received(exchange.bytes_received)
        if (self._finish_reason or "").lower() in _ABORTED:
            raise _Failed(Outcome.ABORTED, f"the server ended the response with finish reason {self._finish_reason!r}")
        self._check_length()

    def _take_end(self, exchange: Exchange) -> None:
        """Where a dialect has no other end, the body's is the stream's."""
        assert exchange.ended_ns is not None
        try:
            leftover = self._decoder.end()
        except StreamBroken as broken:  # whole so far, and then no proper end
            raise _Failed(Outcome.TRUNCATED, str(broken)) from None
        self._take_events(leftover, Arrival(exchange.ended_ns, 0, False, b"", exchange.sent_ns))

    def _check_length(self) -> None:
        """An answer that shall have an exact length and is shorter: its server dropped the wish, or lost the rest and
        ended the stream as if nothing were missing."""
        tokens, wanted = self._builder.told_tokens, self._request.max_tokens
        if self._request.ignore_eos and tokens is not None and tokens < wanted:
            raise _Failed(
                Outcome.TRUNCATED, f"the stream ended after {tokens} of the {wanted} tokens that --ignore-eos asks for"
            )

    def _words(self, response: ResponseParser) -> str:
        location = response.headers.get("location", "").split("?")[0]  # a query may hold a secret
        if location and 300 <= response.status < 400:
            address = location.removesuffix(self._path)
            found = "://" in location and address != location
            return f"redirected to {location}; give {address if found else 'the address that answers'} as --host"
        if 200 < response.status < 300:
            return "a stream comes with status 200"
        if encoding := _compression(response):
            return f"the server compressed its words ({encoding}) although identity was asked for"
        return self._engine.error_message(self._error_body)

    def _check_timeouts(self, exchange: Exchange) -> None:
        now_ns = time.perf_counter_ns()
        limit_ns, message = self._next_limit(exchange)
        if now_ns <= limit_ns:
            return
        if self._told_all_ns is None:
            raise _TimedOut(message)
        # All is told; only the connection is not fit for another one.
        exchange.finish(now_ns)
        self._client.close()

    def _next_limit(self, exchange: Exchange) -> tuple[float, str]:
        """When patience ends as things stand, and what to say then. Pings and comments are no output: they change
        nothing."""
        timeouts, last_ns = self._timeouts, self._builder.last_ns
        if self._told_all_ns is not None:
            return self._told_all_ns + _LINGER_S * 1e9, "the response did not end after its stream had"
        total = self._sent_ns + timeouts.total_s * 1e9, f"not ended within {timeouts.total_s:g} s"
        if last_ns is None:
            first_s = timeouts.first_token_s
            return min(total, (self._sent_ns + first_s * 1e9, f"no output within {first_s:g} s"))
        outputs = self._builder.output_events
        idle = f"no further output for {timeouts.idle_s:g} s after {outputs} outputs"
        return min(total, (max(last_ns, exchange.behind_ns or 0) + timeouts.idle_s * 1e9, idle))

    def _patience_s(self, exchange: Exchange) -> float:
        """How long to sleep: until a moment past the next limit. Output moves it while the greenlet sleeps: later, and
        then it finds nothing to complain of and sleeps on; or, as the first output does, to idle_s from then, which is
        not before idle_s from now."""
        limit_ns, _ = self._next_limit(exchange)
        until_limit_s = (limit_ns - time.perf_counter_ns()) / 1e9
        return max(0.0, min(until_limit_s, self._timeouts.idle_s) + 0.001)

    def _count(self) -> None:
        if self._exchange is not None:
            self._builder.received(self._exchange.bytes_received)
        if self._count_tokens is not None and self._builder.needs_counting:
            # In a thread: a tokenizer works for milliseconds, and the hub has arrivals to stamp.
            self._builder.counted(gevent.get_hub().threadpool.apply(self._count_tokens, ("".join(self._text),)))

    def _finish(self, outcome: Outcome, message: str | None) -> Timeline:
        exchange = self._exchange
        ended_ns = self._told_all_ns or (exchange.ended_ns if exchange else None)
        return self._builder.finish(
            outcome,
            over_ns=ended_ns or time.perf_counter_ns(),
            headers_ns=exchange.headers_ns if exchange else None,
            end_ns=self._done_ns,
            bytes_received=exchange.bytes_received if exchange else 0,
            status=(exchange.response.status or None) if exchange else None,
            finish_reason=self._finish_reason and server_text(self._finish_reason, _MAX_FINISH_REASON_CHARACTERS),
            error=message and server_text(message, _MAX_ERROR_CHARACTERS),
        )


def _is_of_the_answer(delta: Delta) -> bool:
    """Whether an event without output is one of the answer: a role, a reason to finish. Usage by itself, an error and
    the end are not."""
    if delta.finish_reason is not None:
        return True
    return not delta.done and delta.error is None and delta.output_tokens is None and delta.prompt_tokens is None


def _uncertainty_ns(arrival: Arrival, alone: bool) -> int:
    """How much earlier than told an output may have come. The kernel's time is that of the last packet in a read: the
    output's own where nothing came behind it."""
    return 0 if alone and arrival.kernel else arrival.arrived_ns - arrival.earliest_ns


def _promises_a_stream(response: ResponseParser) -> bool:
    """A 200 whose body is compressed, JSON or a web page is an answer, but not the one that was asked for."""
    content_type = response.headers.get("content-type", "").lower()
    return (
        response.status == 200
        and not content_type.startswith(("application/json", "text/html"))
        and not _compression(response)
    )


def _compression(response: ResponseParser) -> str:
    """The body's encoding, "" where there is none."""
    encoding = response.headers.get("content-encoding", "").lower()
    return "" if encoding == "identity" else encoding


def _refuse_compression(response: ResponseParser) -> None:
    """At once, and without unpacking: a compressor holds events back until it has a block, so no time would be true."""
    if response.status == 200 and (encoding := _compression(response)):
        message = f"the server compressed the stream (Content-Encoding: {encoding}) although identity was asked for"
        raise _Failed(Outcome.STREAM_ERROR, message)
