"""A process that is stopped between taking the time and handing a request to the kernel: TTFT may be shorter then."""

from __future__ import annotations

import time

import pytest

from tests.client.replayed import Replayed, ReplayedExchange
from tokenswarm.client.request_options import Timeouts
from tokenswarm.client.request_spec import RequestSpec
from tokenswarm.client.streaming_request import StreamingRequest
from tokenswarm.engines import ENGINES, ChatRequest
from tokenswarm.metrics.timeline import Outcome, Timeline
from tokenswarm.wire import ConnectFailed, Exchange, Receiver
from tokenswarm.wire.request_sender import RequestSender

REQUEST = ChatRequest(model="tiny", prompt="Why?", system_prompt=None, max_tokens=8)
TIMEOUTS = Timeouts(connect_s=60.0, first_token_s=60.0, idle_s=60.0, total_s=60.0)
OUTPUT = b'data: {"choices":[{"index":0,"delta":{"content":"so"}}]}\n\n'
END = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


class LateSender(Replayed):
    """Its requests have left left_within_ns after the time that was taken, at the latest."""

    def __init__(self, left_within_ns: int) -> None:
        super().__init__([HEAD + chunk(OUTPUT), chunk(END) + b"0\r\n\r\n"], batch=1)
        self._left_within_ns = left_within_ns

    def send_post(self, request: bytes, receiver: Receiver, not_before_ns: int = 0) -> Exchange:
        exchange = ReplayedExchange(self, receiver)
        exchange.left_within_ns = self._left_within_ns
        return exchange


class NoServer(Replayed):
    """Nobody listens where it sends to."""

    def __init__(self) -> None:
        super().__init__([], batch=1)

    def send_post(self, request: bytes, receiver: Receiver, not_before_ns: int = 0) -> Exchange:
        raise ConnectFailed("refused")


def answered(left_within_ns: int) -> Timeline:
    spec = RequestSpec(ENGINES["vllm"], REQUEST, TIMEOUTS, user="0.1")
    return StreamingRequest(LateSender(left_within_ns), spec).run()  # type: ignore[arg-type]


@pytest.mark.parametrize(("left_within_ns", "uncertainty_ns"), [(30_000, 0), (7_000_000, 7_000_000)])
def test_the_time_that_sending_took_bounds_ttft(left_within_ns: int, uncertainty_ns: int) -> None:
    timeline = answered(left_within_ns)
    assert (timeline.outcome.value, timeline.ttft_uncertainty_ns) == ("ok", uncertainty_ns)


def test_the_time_is_that_of_the_first_bytes() -> None:
    """What the server takes later, as its buffer is full, does not count."""
    calls_ns: list[int] = []

    class Sock:
        def send(self, view: memoryview) -> int:
            calls_ns.append(time.perf_counter_ns())
            return 1

    sender = RequestSender(Sock(), 1.0)  # type: ignore[arg-type]
    sender.send(memoryview(b"abc"))
    assert calls_ns[0] <= sender.handed_ns <= calls_ns[1]


@pytest.mark.parametrize("is_due", [False, True])
def test_a_request_without_a_connection_was_tried_when_it_was_sent_and_not_when_it_was_prepared(is_due: bool) -> None:
    """An agent's next request is prepared while it is not due yet."""
    client = NoServer()
    spec = RequestSpec(ENGINES["vllm"], REQUEST, TIMEOUTS, user="0.1")
    request = StreamingRequest(client, spec)  # type: ignore[arg-type]
    request.encode()
    if is_due:
        request.due(client, time.perf_counter_ns())  # type: ignore[arg-type]
    prepared_ns = time.perf_counter_ns()
    timeline = request.run()
    assert timeline.outcome is Outcome.REFUSED
    assert timeline.sent_ns > prepared_ns
    assert (timeline.scheduled_ns <= prepared_ns) == is_due
