"""Asks one question as a run's users do, and keeps all that is heard of the answer."""

from __future__ import annotations

import time
from collections.abc import Callable

from engines import ChatRequest, Delta, Engine
from probe.story import Heard, Story, story_of
from users.exchange import Ask
from users.options import Timeouts
from wire import Arrival, Exchange, ResponseParser, StreamClient

CountTokens = Callable[[str], int]


class _ChunkCounter(ResponseParser):
    """Counts the chunks of a chunked body; a run has no use for that, and pays for no callback."""

    def __init__(self) -> None:
        self.http_chunks = 0
        self.head_unix_s = 0.0
        super().__init__()

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        self.head_unix_s = time.time()

    def on_chunk_header(self) -> None:
        self.http_chunks += 1


class _AttentiveAsk(Ask):
    """Nothing has been read of an exchange when it has just been sent: its parser can be another."""

    def __init__(self, *args: object, **keywords: object) -> None:
        super().__init__(*args, **keywords)  # type: ignore[arg-type]
        self.heard: list[Heard] = []
        self.response = _ChunkCounter()

    def _send(self, body: bytes) -> Exchange:
        exchange = super()._send(body)
        self.heard.clear()
        exchange.response = self.response = _ChunkCounter()
        return exchange

    def _relax(self, exchange: Exchange) -> None:
        """There is one stream to attend to: each read is looked at as it comes, to the last."""

    def _take_events(self, deltas: list[Delta], arrival: Arrival) -> None:
        self.heard.append(Heard(arrival, deltas))
        super()._take_events(deltas, arrival)


def ask(
    client: StreamClient,
    engine: Engine,
    request: ChatRequest,
    timeouts: Timeouts,
    count_tokens: CountTokens | None = None,
) -> Story:
    """One answer, whatever comes of it."""
    asked = _AttentiveAsk(
        client,
        engine,
        request,
        timeouts,
        user="probe",
        stage=0,
        prompt_tokens=0,
        prompt_tokens_source="",
        count_tokens=count_tokens,
    )
    timeline = asked.run()
    response = asked.response
    chunked = "chunked" in response.headers.get("transfer-encoding", "").lower()
    chunks = response.http_chunks - response.complete if chunked else None  # the last is the end's, and empty
    return story_of(
        timeline, asked.heard, response.headers, chunks, response.keeps_alive, response.head_unix_s, count_tokens
    )
