"""Tokens that came in any segments and were read in any pieces have the time of the segment of their last byte."""

from __future__ import annotations

import struct
from bisect import bisect_right
from itertools import accumulate, pairwise
from typing import Any, NamedTuple, cast

from hypothesis import example, given
from hypothesis import strategies as st

from tokenswarm.client.request_spec import RequestSpec
from tokenswarm.client.stream_receiver import StreamReceiver
from tokenswarm.client.timeouts import Timeouts
from tokenswarm.engines import ENGINES, ChatRequest
from tokenswarm.metrics.timeline_builder import TimelineBuilder
from tokenswarm.wire import Exchange
from tokenswarm.wire.segment_reads import process_together
from tokenswarm.wire.stamps import ArrivalTimes
from tokenswarm.wire.tap.joined import may_hold_several_events
from tokenswarm.wire.tap.packet_tap import PacketTap
from tokenswarm.wire.tap.segments import SegmentQueue, SegmentRun
from tokenswarm.wire.tap.tapped_stream import TappedStream

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
ROLE = 'data: {"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}\n\n'
FINISH = 'data: {"choices":[{"index":0,"delta":{},"finish_reason":"length"}]}\n\n'
DONE = "data: [DONE]\n\n"
PATIENT = Timeouts(connect_s=60.0, first_token_s=60.0, idle_s=60.0, total_s=60.0)
QUESTION = ChatRequest(model="m", prompt="Why?", system_prompt=None, max_tokens=None)
STARTED_NS = 1_000_000
STAMP = struct.Struct("@qq")


def token(text: str) -> str:
    return f'data: {{"choices":[{{"index":0,"delta":{{"content":"{text}"}},"finish_reason":null}}]}}\n\n'


class Sent(NamedTuple):
    """A response. last_bytes: the offset of the last byte of each token's event."""

    data: bytes
    last_bytes: list[int]


def response(chunks: list[list[str]]) -> Sent:
    """With the tokens of each chunk."""
    data, last_bytes = HEAD, []
    for texts in [[], *chunks]:
        events = [token(text).encode() for text in texts] or [ROLE.encode()]
        size = b"%x\r\n" % sum(map(len, events))
        last_bytes += [len(data) + len(size) + end - 1 for end in accumulate(map(len, events if texts else []))]
        data += size + b"".join(events) + b"\r\n"
    for body in (FINISH, DONE):
        data += b"%x\r\n%b\r\n" % (len(body), body.encode())
    return Sent(data + b"0\r\n\r\n", last_bytes)


class Unread:
    """A connection that is read by the test."""

    watched = False

    def unwatch(self) -> None:
        """It is read late in any case."""

    defer = catch_up = unwatch

    def read_now(self) -> int:
        return 0


class LeftUnread(Exchange):
    """One of many streams, whose ends are noticed."""

    @property
    def may_be_left_unread(self) -> bool:
        return True


def times_of(sent: Sent, segment_ends: list[int], read_ends: list[int]) -> list[int]:
    """When each token came, as the client says: a segment a microsecond, and the reads some time later."""
    spec = RequestSpec(ENGINES["vllm"], QUESTION, PATIENT, user="0.1", level=0)
    builder = TimelineBuilder("0.1", 0, STARTED_NS)
    exchange = LeftUnread(STARTED_NS, 0, cast("Any", Unread()), StreamReceiver(spec, builder))
    exchange.tapped = True
    starts = [0, *segment_ends[:-1]]
    lengths = [end - start for start, end in zip(starts, segment_ends)]
    came_ns = [came(at) for at in range(len(starts))]
    queue = SegmentQueue(5)
    queue.add(SegmentRun([start + 5 for start in starts], lengths, came_ns, in_order=True))
    tapped = TappedStream(PacketTap(), 1, queue, 0, may_hold_several_events)
    times = ArrivalTimes(0)
    read_ns = came_ns[-1] + 1_000
    for begin, end in pairwise([0, *read_ends]):
        read_ns += 1_000
        stamp = STAMP.pack(*divmod(came_ns[bisect_right(segment_ends, end - 1)], 10**9))
        read = (sent.data[begin:end], stamp, read_ns, read_ns)
        rest = process_together(tapped, exchange, times, read)
        for part, its_stamp, real_ns, now_ns in zip(*(rest[column::4] for column in range(4))):
            arrived_ns, delay_ns, kernel = times.of(its_stamp, real_ns, now_ns)
            exchange.on_read(part, arrived_ns, delay_ns, kernel, arrived_ns)
    assert exchange.ended
    assert exchange.error is None
    assert exchange.tapped
    assert exchange.bytes_received == len(sent.data)
    return builder.outputs_ns.tolist()


def came(segment: int) -> int:
    return STARTED_NS + 1_000 * (segment + 1)


texts = st.sampled_from(["a", " the", "Gr\u00fc\u00df", "\\n", "\\ud83d\\ude00", "r\\\\n"])
chunk_lists = st.lists(st.lists(texts, min_size=1, max_size=3), min_size=1, max_size=12)
one_each = [["a"], [" the"], ["b"], ["c"]]


@st.composite
def cut_responses(draw: st.DrawFn) -> tuple[Sent, list[int], list[int]]:
    """A response, and where segments and reads of it end: of segments, often where chunks do."""
    sent = response(draw(chunk_lists))
    size = len(sent.data)
    chunk_ends = [end + 3 for end in sent.last_bytes]
    place = st.integers(1, size - 1) | st.sampled_from(chunk_ends) | st.sampled_from([end - 2 for end in chunk_ends])
    segments = sorted({*draw(st.sets(place, max_size=20)), size})
    reads = sorted({*draw(st.sets(st.sampled_from(segments) | place, max_size=6)), size})
    return sent, segments, reads


@given(cut_responses())
@example((response(one_each), [*(end + 3 for end in response(one_each).last_bytes), len(response(one_each).data)], []))
def test_each_token_has_the_time_of_the_segment_of_its_last_byte(cut: tuple[Sent, list[int], list[int]]) -> None:
    sent, segments, reads = cut
    expected = [came(bisect_right(segments, last)) for last in sent.last_bytes]
    assert times_of(sent, segments, reads or [len(sent.data)]) == expected


def test_nearly_all_tokens_of_a_read_are_taken_together() -> None:
    """That is what makes reading late cheap; the two events of the end are taken by themselves."""
    taken: list[int] = []

    class Counting(LeftUnread):
        def on_segments(self, *args: Any) -> int:
            taken.append(super().on_segments(*args))
            return taken[-1]

    sent = response([["a"]] * 40)
    ends = [*(end + 3 for end in sent.last_bytes)]
    with_counting = Counting(STARTED_NS, 0, cast("Any", Unread()), None)
    builder = TimelineBuilder("0.1", 0, STARTED_NS)
    spec = RequestSpec(ENGINES["vllm"], QUESTION, PATIENT, user="0.1", level=0)
    with_counting._receiver = StreamReceiver(spec, builder)
    queue = SegmentQueue(0)
    head, first = ends[3], ends[4]
    bounds = [0, *ends, len(sent.data)]
    lengths = [behind - begin for begin, behind in pairwise(bounds)]
    queue.add(SegmentRun(bounds[:-1], lengths, [came(at) for at in range(len(lengths))], in_order=True))
    tapped = TappedStream(PacketTap(), 1, queue, 0, may_hold_several_events)
    tapped.skip(first)
    queue.forget(first)
    with_counting.on_read(sent.data[:head], came(3), 0, True, 0)
    with_counting.on_read(sent.data[head:first], came(4), 0, True, 0)
    now_ns = came(100)
    rest = process_together(tapped, with_counting, ArrivalTimes(0), (sent.data[first:], b"", now_ns, now_ns))
    assert taken == [ends[-1] - first]
    assert b"".join(rest[::4]) == sent.data[ends[-1] :]
    assert builder.output_events == 40
