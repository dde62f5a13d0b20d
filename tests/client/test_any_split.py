"""A recorded-like stream, cut into any reads and taken in any batches, is the same request."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import NamedTuple, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.client.replayed import Replayed
from tokenswarm.client.request_spec import RequestSpec
from tokenswarm.client.streaming_request import StreamingRequest
from tokenswarm.client.timeouts import Timeouts
from tokenswarm.engines import ENGINES, ChatRequest
from tokenswarm.metrics.timeline import Outcome
from tokenswarm.metrics.token_counts import TokenSource
from tokenswarm.wire import StreamClient

PATIENT = Timeouts(connect_s=60.0, first_token_s=60.0, idle_s=60.0, total_s=60.0)
QUESTION = ChatRequest(model="tiny", prompt="Why?", system_prompt=None, max_tokens=64)

EVENTS = [
    ": vLLM is thinking\r\n\r\n",
    'data: {"id":"c","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"role":"assistant",'
    '"content":""},"finish_reason":null}]}\n\n',
    'data: {"id":"c","choices":[{"index":0,"delta":{"reasoning_content":"Hm,"},"finish_reason":null}]}\n\n',
    'data: {"id":"c","choices":[{"index":0,"delta":{"reasoning":" \u00e9t\u00e9?"},"finish_reason":null}]}\n\n',
    "\n: ping\n\n",
    'data: {"id":"c","choices":[{"index":0,"delta":{"content":"Gr\u00fc\u00df"},"finish_reason":null}]}\r\n\r\n',
    'event: message\r\ndata: {"id":"c","choices":\r\ndata: [{"index":0,"delta":{"content":"e\u2028\U0001f41d"}}]}\r\n'
    "\r\n",
    'data: {"id":"c","choices":[{"index":0,"delta":{"content":"\\ud83d\\ude00\\n"},"finish_reason":"length"}]}\n\n',
]
USAGE = 'data: {"id":"c","choices":[],"usage":{"prompt_tokens":11,"completion_tokens":23,"total_tokens":34}}\r\n\r\n'
DONE = "data: [DONE]\n\n"
TEXT = "Hm, \u00e9t\u00e9?Gr\u00fc\u00dfe\u2028\U0001f41d\U0001f600\n"


class Seen(NamedTuple):
    outcome: Outcome
    error: str | None
    tokens: int
    source: TokenSource
    prompt_tokens: int | None
    events: int
    finish_reason: str | None
    text: str
    ended_properly: bool
    bytes_received: int


def asking(reads: list[bytes], batch: int, count_tokens: Callable[[str], int]) -> StreamingRequest:
    return StreamingRequest(
        cast("StreamClient", Replayed(reads, batch)),
        RequestSpec(
            ENGINES["vllm"],
            QUESTION,
            PATIENT,
            user="0.1",
            level=0,
            prompt_tokens=2,
            prompt_tokens_source="estimate",
            count_tokens=count_tokens,
        ),
    )


def seen(reads: list[bytes], batch: int) -> Seen:
    texts: list[str] = []
    ask = asking(reads, batch, lambda text: texts.append(text) or len(text))  # type: ignore[func-returns-value]
    told = ask.run()
    assert ask.timeline is told
    assert told.tokens_per_event * told.output_events == pytest.approx(told.output_tokens)
    return Seen(
        told.outcome,
        told.error,
        told.output_tokens,
        told.output_tokens_source,
        told.prompt_tokens,
        told.output_events,
        told.finish_reason,
        "".join(texts),
        told.end_ns is not None,
        told.bytes_received,
    )


def response(body: str, length_of_chunks: int = 61) -> bytes:
    data = body.encode()
    chunks = [data[start : start + length_of_chunks] for start in range(0, len(data), length_of_chunks)]
    framed = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks)
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + framed + b"0\r\n\r\n"


@st.composite
def cut(draw: st.DrawFn, data: bytes) -> list[bytes]:
    places = sorted(draw(st.sets(st.integers(1, len(data) - 1), max_size=30)))
    return [data[start:stop] for start, stop in zip([0, *places], [*places, len(data)], strict=True)]


BATCHES = st.integers(1, 40)
STREAM = "".join(EVENTS)
WITH_USAGE = response(STREAM + USAGE + DONE)
WITHOUT_USAGE = response(STREAM + DONE)
#: Streams that end badly, by how: whatever is behind the bad end is not part of the answer, however the reads are cut.
BAD = {
    "no end marker": response(STREAM),
    "no end": response("".join(EVENTS[:-1])),
    "an end inside an event": response(STREAM + 'data: {"cho'),
    "an error event": response(STREAM + 'data: {"error":{"message":"out of memory"}}\n\n' + STREAM + DONE),
    "an event that is no chunk": response(STREAM + "data: [1]\n\n" + STREAM + DONE),
    "output behind the end": response(STREAM + DONE + STREAM + "data: [1]\n\n"),
}


@pytest.mark.slow
@settings(max_examples=150)
@given(reads=cut(WITH_USAGE), batch=BATCHES)
def test_a_stream_with_usage_is_the_same_however_it_is_cut(reads: list[bytes], batch: int) -> None:
    assert seen(reads, batch) == Seen(
        Outcome.OK, None, 23, TokenSource.USAGE, 11, 5, "length", "", True, len(WITH_USAGE)
    )


@pytest.mark.slow
@settings(max_examples=150)
@given(reads=cut(WITHOUT_USAGE), batch=BATCHES)
def test_a_stream_without_usage_has_the_same_text_however_it_is_cut(reads: list[bytes], batch: int) -> None:
    expected = Seen(Outcome.OK, None, len(TEXT), TokenSource.TOKENIZER, 2, 5, "length", TEXT, True, len(WITHOUT_USAGE))
    assert seen(reads, batch) == expected


def test_a_stream_is_the_same_byte_by_byte() -> None:
    for data in (WITH_USAGE, WITHOUT_USAGE):
        assert seen([bytes([byte]) for byte in data], 1) == seen([data], 1)


@pytest.mark.parametrize("name", BAD)
@settings(max_examples=60)
@given(data=st.data(), batch=BATCHES)
def test_a_stream_that_ends_badly_does_so_the_same_however_it_is_cut(
    name: str, data: st.DataObject, batch: int
) -> None:
    whole = seen([BAD[name]], 1)._replace(bytes_received=0)
    assert seen(data.draw(cut(BAD[name])), batch)._replace(bytes_received=0) == whole
    assert whole.text == (TEXT if name != "no end" else TEXT.removesuffix("\U0001f600\n"))
    assert (
        whole.outcome
        is {
            "no end marker": Outcome.OK,
            "no end": Outcome.TRUNCATED,
            "an end inside an event": Outcome.TRUNCATED,
            "an error event": Outcome.STREAM_ERROR,
            "an event that is no chunk": Outcome.STREAM_ERROR,
            "output behind the end": Outcome.OK,
        }[name]
    )


ORDINARY = [
    f'data: {{"id":"c","choices":[{{"index":0,"delta":{{"content":"word {number} "}},"finish_reason":null}}]}}\n\n'
    for number in range(24)
]
#: Nearly all events differ in their text alone, as in most answers; the odd ones are anywhere among them.
USUAL = [EVENTS[1], *ORDINARY[:9], EVENTS[-1].replace("length", "stop"), *ORDINARY[9:], DONE]
USUAL_TEXT = "".join(f"word {number} " for number in range(9)) + "\U0001f600\n"
USUAL_TEXT += "".join(f"word {number} " for number in range(9, 24))


@pytest.mark.slow
@settings(max_examples=150)
@given(more=st.sets(st.integers(1, 5000), max_size=6), fewer=st.sets(st.integers(0, 27), max_size=12), batch=BATCHES)
def test_a_stream_of_a_read_an_event_is_the_same_however_many_are_looked_at_together(
    more: set[int], fewer: set[int], batch: int
) -> None:
    framed = [b"%x\r\n%b\r\n" % (len(event.encode()), event.encode()) for event in USUAL]
    head, _, _ = response("").partition(b"0\r\n")
    whole = head + b"".join(framed) + b"0\r\n\r\n"
    ends = {len(head) + sum(map(len, framed[:count])) for count in range(len(framed)) if count not in fewer}
    places = sorted(place for place in ends ^ more if 0 < place < len(whole))
    reads = [whole[start:stop] for start, stop in zip([0, *places], [*places, len(whole)], strict=True)]
    expected = Seen(
        Outcome.OK, None, len(USUAL_TEXT), TokenSource.TOKENIZER, 2, 25, "stop", USUAL_TEXT, True, len(whole)
    )
    assert seen(reads, batch) == expected


def test_an_answer_that_is_told_is_not_left_to_the_garbage_collection() -> None:
    gc.disable()
    try:
        ask = asking([WITHOUT_USAGE], batch=1, count_tokens=len)
        ask.run()
        gone = weakref.ref(ask)
        del ask
        assert gone() is None
    finally:
        gc.enable()


def test_outputs_that_come_behind_the_end_in_one_batch_with_it_are_none_of_the_response() -> None:
    """A server may send on what it had for the next request, or an answer after its end: each of these reads is whole,
    as those of a batch are."""
    token = 'data: {"id":"c","choices":[{"index":0,"delta":{"content":"tok"},"finish_reason":null}]}\n\n'

    def chunk(event: str) -> bytes:
        return b"%x\r\n%s\r\n" % (len(event), event.encode())

    head = response("").partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
    reads = [head, *[chunk(token)] * 4, chunk(DONE), *[chunk(token)] * 4, b"0\r\n\r\n"]
    for batch in (1, 2, len(reads)):
        found = seen(list(reads), batch)
        assert (found.outcome, found.events, found.text) == (Outcome.OK, 4, "tok" * 4)
