"""Sends one request as a run's users do, and keeps each read of the response."""

from __future__ import annotations

import time
from collections.abc import Sequence

from tokenswarm.client.request_spec import RequestSpec
from tokenswarm.client.streaming_request import StreamingRequest
from tokenswarm.engines import Delta
from tokenswarm.probe.stream_trace import StreamTrace, TracedRead, trace_of
from tokenswarm.wire import Arrival, Exchange, ResponseParser, StreamClient


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


class _ReadRecorder:
    """Keeps the reads of a response, and the parser that read it."""

    def __init__(self) -> None:
        self.reads: list[TracedRead] = []
        self.response = _ChunkCounter()

    def on_sent(self, exchange: Exchange) -> None:
        """Nothing of the response has been read: its parser can be another."""
        self.reads.clear()
        exchange.response = self.response = _ChunkCounter()

    def on_events(self, arrival: Arrival, deltas: Sequence[Delta]) -> None:
        self.reads.append(TracedRead(arrival, deltas))


def send_traced(client: StreamClient, spec: RequestSpec) -> StreamTrace:
    """The trace of one response, whatever its outcome."""
    recorder = _ReadRecorder()
    timeline = StreamingRequest(client, spec, observer=recorder).run()
    response = recorder.response
    chunked = "chunked" in response.headers.get("transfer-encoding", "").lower()
    chunks = response.http_chunks - response.complete if chunked else None  # the last one is empty and marks the end
    return trace_of(
        timeline,
        recorder.reads,
        response.headers,
        chunks,
        response.keeps_alive,
        response.head_unix_s,
        spec.count_tokens,
    )
