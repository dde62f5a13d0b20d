"""One streamed answer, from request to timeline: where wire, engine and metrics meet. No Locust."""

from __future__ import annotations

import time
from collections.abc import Callable

import gevent
from gevent import GreenletExit

from engines import ChatRequest, Delta, Engine, StreamBroken
from metrics.timeline import Outcome, Timeline, TimelineBuilder
from users.options import Timeouts
from wire import (
    Arrival,
    ConnectFailed,
    ConnectTimedOut,
    Exchange,
    ResponseParser,
    StreamClient,
    WireError,
    went_stale,
)

#: How often a stream's greenlet wakes to take in what has come. Arrivals carry their own times.
DRAIN_INTERVAL_S = 0.25
#: After the dialect's end of stream, how long the response may take to end too before its connection is given up.
_LINGER_S = 1.0
_MAX_ERROR_BODY_BYTES = 64 * 1024

CountTokens = Callable[[str], int]


class _TimedOut(Exception):
    """A part of the request took longer than its timeout; the text says which."""


class _Failed(Exception):
    def __init__(self, outcome: Outcome, message: str) -> None:
        super().__init__(message)
        self.outcome = outcome


class Ask:
    """A request under way. `timeline` is there once `run` has returned or raised; `output_events` is live."""

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
        count_tokens: CountTokens | None = None,
        on_output: Callable[[int], None] | None = None,
    ) -> None:
        """prompt_tokens, by whoever counted them, stand unless the server's usage says otherwise. on_output is told
        how many events with output each batch held."""
        self._client = client
        self._engine = engine
        self._request = request
        self._timeouts = timeouts
        self._count_tokens = count_tokens
        self._on_output = on_output
        self._builder = TimelineBuilder(user, stage, time.perf_counter_ns())
        self._builder.prompt_tokens(prompt_tokens, prompt_tokens_source)
        self._decoder = engine.decoder()
        self._exchange: Exchange | None = None
        self._error_body = b""
        self._text: list[str] = []
        self._finish_reason: str | None = None
        self._stream_error: str | None = None
        self._done_ns: int | None = None
        self.timeline: Timeline | None = None

    def run(self) -> Timeline:
        """Send, stream to the end, tell. Raises nothing but what ends a run, and even then leaves a timeline (cut)."""
        outcome, message = Outcome.OK, None
        try:
            self._stream()
        except (GreenletExit, KeyboardInterrupt):  # Ctrl-C is raised in whichever greenlet happens to run
            self._client.close()
            self.timeline = self._finish(Outcome.CUT, "stopped by the run before it ended")
            raise
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
        if outcome is not Outcome.OK:
            self._client.close()
        self._count()
        self.timeline = self._finish(outcome, message)
        return self.timeline

    def _stream(self) -> None:
        body = self._engine.request_body(self._request)
        exchange = self._send(body)
        while True:
            self._take_batch(exchange)
            if not exchange.ended:
                self._check_timeouts(exchange)
            elif went_stale(exchange):
                exchange = self._send(body)  # on a new connection: this cannot happen twice
            else:
                break
        self._settle(exchange)

    def _send(self, body: bytes) -> Exchange:
        headers = {"Content-Type": "application/json", "Accept": self._engine.content_type}
        self._exchange = exchange = self._client.post(self._engine.path, body, headers)
        self._builder.sent(exchange.sent_ns, exchange.connect_ns)
        return exchange

    def _take_batch(self, exchange: Exchange) -> None:
        before = self._builder.output_events
        for arrival in exchange.wait(DRAIN_INTERVAL_S):
            self._builder.read(arrival.delay_ns, arrival.kernel)
            if _promises_a_stream(exchange.response):
                self._take_events(self._decoder.feed(arrival.data), arrival)
            elif len(self._error_body) < _MAX_ERROR_BODY_BYTES:
                self._error_body += arrival.data
        if self._on_output is not None:
            self._on_output(self._builder.output_events - before)

    def _take_events(self, deltas: list[Delta], arrival: Arrival) -> None:
        builder = self._builder
        for delta in deltas:
            if delta.text or delta.reasoning or delta.tool_arguments:
                builder.output(arrival.arrived_ns, bool(delta.text or delta.tool_arguments), delta.tokens)
                if self._count_tokens is not None:
                    self._text.append(delta.reasoning + delta.text + delta.tool_arguments)
            if delta.output_tokens is not None or delta.prompt_tokens is not None:
                builder.usage(delta.prompt_tokens, delta.output_tokens)
            if delta.finish_reason is not None:
                self._finish_reason = delta.finish_reason
            if delta.error is not None and self._stream_error is None:
                self._stream_error = delta.error
            if delta.done and self._done_ns is None:
                self._done_ns = arrival.arrived_ns

    def _settle(self, exchange: Exchange) -> None:
        """The response is over: was it what it promised to be?"""
        response = exchange.response
        if response.head_complete and not _promises_a_stream(response):
            words = self._words(response.headers)
            if response.status != 200:
                raise _Failed(Outcome.HTTP_ERROR, f"HTTP {response.status}: {words}")
            got = response.headers["content-type"]
            raise _Failed(Outcome.STREAM_ERROR, f"expected {self._engine.content_type}, got {got}: {words}")
        if self._stream_error is not None:
            raise _Failed(Outcome.STREAM_ERROR, self._stream_error)
        if self._done_ns is not None:
            return
        if exchange.error is not None:
            raise exchange.error
        if any(delta.done for delta in self._decoder.end()):
            self._done_ns = exchange.ended_ns
            return
        raise _Failed(
            Outcome.TRUNCATED, f"the stream ended after {self._builder.output_events} outputs without its end"
        )

    def _words(self, headers: dict[str, str]) -> str:
        if "location" in headers:
            return f"redirected to {headers['location']}; give that address as --host"
        return self._engine.error_message(self._error_body)

    def _check_timeouts(self, exchange: Exchange) -> None:
        now_ns = time.perf_counter_ns()
        timeouts, since_sent_s = self._timeouts, (now_ns - exchange.sent_ns) / 1e9
        if self._done_ns is not None:
            if (now_ns - self._done_ns) / 1e9 > _LINGER_S:
                # The answer is whole; only the connection is not fit for another one.
                exchange.finish(now_ns)
                self._client.close()
        elif self._builder.last_ns is None:
            if since_sent_s > timeouts.first_token_s:
                raise _TimedOut(f"no output within {timeouts.first_token_s:g} s")
        elif (now_ns - self._builder.last_ns) / 1e9 > timeouts.idle_s:
            raise _TimedOut(f"no further output for {timeouts.idle_s:g} s after {self._builder.output_events} outputs")
        if since_sent_s > timeouts.total_s:
            raise _TimedOut(f"not ended within {timeouts.total_s:g} s")

    def _count(self) -> None:
        if self._count_tokens is not None and self._builder.needs_counting:
            # In a thread: a tokenizer works for milliseconds, and the hub has arrivals to stamp.
            self._builder.counted(gevent.get_hub().threadpool.apply(self._count_tokens, ("".join(self._text),)))

    def _finish(self, outcome: Outcome, message: str | None) -> Timeline:
        exchange = self._exchange
        ended_ns = self._done_ns or (exchange.ended_ns if exchange else None)
        return self._builder.finish(
            outcome,
            over_ns=ended_ns or time.perf_counter_ns(),
            headers_ns=exchange.headers_ns if exchange else None,
            end_ns=self._done_ns,
            bytes_received=exchange.bytes_received if exchange else 0,
            status=(exchange.response.status or None) if exchange else None,
            finish_reason=self._finish_reason,
            error=message,
        )


def _promises_a_stream(response: ResponseParser) -> bool:
    """A 200 whose body is JSON or a web page is an answer, but not the one that was asked for."""
    content_type = response.headers.get("content-type", "")
    return response.status == 200 and not content_type.startswith(("application/json", "text/html"))
