"""The same answer at the same times is the same timeline at chat, completions and responses."""

from __future__ import annotations

from typing import cast

import pytest

from tests.client.replayed import Replayed
from tokenswarm.client.request_spec import RequestSpec
from tokenswarm.client.streaming_request import StreamingRequest
from tokenswarm.client.timeouts import Timeouts
from tokenswarm.engines import ENGINES, ChatRequest, EngineSpec, OpenAICompatible, completions_of, responses_of
from tokenswarm.metrics.timeline import Outcome, Timeline
from tokenswarm.simulator.dialect import Usage
from tokenswarm.simulator.dialects import DIALECTS, endpoints_of
from tokenswarm.wire import Exchange, Receiver, StreamClient

PATIENT = Timeouts(connect_s=60.0, first_token_s=60.0, idle_s=60.0, total_s=60.0)
ENDPOINTS = ("chat", "completions", "responses")
#: When each of the answer's parts is written, in milliseconds after the request, and its tokens.
SCHEDULE = (
    (40, ["The"]),
    (52, [" sun", " is"]),
    (53, [" not"]),
    (90, [""]),
    (91, [" caf\u00e9", "\u4f60"]),
    (99, [" ."]),
)
REQUEST = ChatRequest(model="M", prompt="Why?", system_prompt="Be brief.", max_tokens=8)


class Scheduled(Replayed):
    """A response whose reads arrive at given times, in milliseconds after the request."""

    def __init__(self, reads: list[tuple[int, bytes]]) -> None:
        super().__init__([], batch=1)
        self._scheduled = reads
        self.body = b""
        self._sent_ns = 0

    def send_post(self, request: bytes, receiver: Receiver, not_before_ns: int = 0) -> Exchange:
        self.body = request
        exchange = super().send_post(request, receiver)
        self._sent_ns = exchange.sent_ns
        return exchange

    def deliver(self, exchange: Exchange) -> None:
        for at_ms, data in self._scheduled:
            exchange.on_read(data, self._sent_ns + at_ms * 1_000_000, 0, True, 0)


def spec_at(engine: str, endpoint: str) -> EngineSpec:
    spec = ENGINES[engine]
    assert isinstance(spec, OpenAICompatible)
    return {"chat": lambda: spec, "completions": lambda: completions_of(spec), "responses": lambda: responses_of(spec)}[
        endpoint
    ]()


def written(engine: str, endpoint: str, body: bytes, reason: str, reasoning: int) -> list[tuple[int, bytes]]:
    """What the simulator writes, by the time in milliseconds. reasoning: how many parts are."""
    dialect = endpoints_of(DIALECTS[engine]("M", 2048, 1_700_000_000))[ENDPOINTS.index(endpoint)]
    generation = dialect.read(body, {})
    writer = dialect.writer(generation, "r1", 1_700_000_000)
    *parts, (last_ms, last) = SCHEDULE
    tokens = sum(len(pieces) for _, pieces in SCHEDULE)
    usage = Usage(11, 3, tokens, prompt_ns=1_000_000, output_ns=1_000_000)
    early = dialect.traits.role == "early"
    opening = writer.opening()
    chunks = [(5, opening if early else b"")]
    for number, (at_ms, pieces) in enumerate(parts):
        event = writer.tokens(pieces, number < reasoning)
        chunks.append((at_ms, event if early or number else opening + event))
    chunks.append((last_ms, b"".join(writer.ending(last, False, reason, usage))))
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    framed = [(at_ms, b"%x\r\n%b\r\n" % (len(chunk), chunk)) for at_ms, chunk in chunks if chunk]
    return [(4, head), *framed, (100, b"0\r\n\r\n")]


def timeline_of(engine: str, endpoint: str, reason: str = "length", reasoning: int = 0) -> Timeline:
    spec = spec_at(engine, endpoint)
    reads = written(engine, endpoint, spec.request_body(REQUEST), reason, reasoning)
    request = StreamingRequest(
        cast("StreamClient", Scheduled(reads)),
        RequestSpec(spec, REQUEST, PATIENT, user="0.1", level=0, prompt_tokens=2, prompt_tokens_source="estimate"),
    )
    return request.run()


def seen(timeline: Timeline) -> dict[str, object]:
    """What a timeline says of the answer, its times in milliseconds after the request."""
    return {
        "outcome": timeline.outcome,
        "error": timeline.error,
        "outputs_ms": [(output_ns - timeline.sent_ns) / 1e6 for output_ns in timeline.outputs_ns],
        "ttft_ms": (timeline.ttft_ns or 0) / 1e6,
        "ttfvt_ms": (timeline.ttfvt_ns or 0) / 1e6,
        "e2e_ms": (timeline.e2e_ns or 0) / 1e6,
        "end_ms": (timeline.duration_ns or 0) / 1e6,
        "tpot_ns": timeline.tpot_ns,
        "tokens": (timeline.output_tokens, timeline.output_tokens_source, timeline.output_tokens_rejected),
        "prompt": (timeline.prompt_tokens, timeline.prompt_tokens_source, timeline.cached_tokens),
        "finish_reason": timeline.finish_reason,
        "sizes": list(timeline.output_sizes),
        "deviations": timeline.deviations,
    }


@pytest.mark.parametrize("reason", ["length", "stop"])
@pytest.mark.parametrize("engine", ["openai", "vllm", "sglang", "llamacpp"])
def test_one_schedule_is_one_timeline_at_every_endpoint(engine: str, reason: str) -> None:
    chat, completions, responses = (seen(timeline_of(engine, endpoint, reason)) for endpoint in ENDPOINTS)
    assert chat["outcome"] is Outcome.OK
    assert chat["outputs_ms"] == [40.0, 52.0, 53.0, 91.0, 99.0]
    assert (chat["ttft_ms"], chat["e2e_ms"], chat["end_ms"]) == (40.0, 99.0, 99.0)
    assert chat["finish_reason"] == reason
    assert chat["tokens"] == (8, "usage", None)
    assert chat["prompt"] == (11, "usage", 3)
    assert completions == chat
    assert responses == chat


@pytest.mark.parametrize("engine", ["vllm", "sglang", "llamacpp"])
def test_reasoning_is_the_first_output_and_not_the_first_visible_one(engine: str) -> None:
    chat, responses = (seen(timeline_of(engine, endpoint, reasoning=2)) for endpoint in ("chat", "responses"))
    assert (chat["ttft_ms"], chat["ttfvt_ms"]) == (40.0, 53.0)
    assert responses == chat
