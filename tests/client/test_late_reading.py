"""The guard of streams that are read late: what they receive, beside those that are read as they come."""

from __future__ import annotations

import logging
import socket
import time
from typing import Any

import gevent
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.client.test_wire_cases import DONE, END, HEAD, chunk, outputs
from tests.peer import Peer, Server
from tokenswarm.client import late_reading
from tokenswarm.client.late_reading import LateReading
from tokenswarm.client.request_spec import RequestSpec
from tokenswarm.client.streaming_request import StreamingRequest
from tokenswarm.client.timeouts import Timeouts
from tokenswarm.engines import ENGINES, ChatRequest
from tokenswarm.metrics.timeline import Outcome, Timeline
from tokenswarm.wire import PacketTap, StreamClient
from tokenswarm.wire.loop_pacer import LOOP_PACER
from tokenswarm.wire.tap.segments import SegmentQueue, StreamParts

TOKENS = 200
#: Streams under way, from which on late reading is worth it.
MANY = 64


def reads_late(guard: LateReading, streams: int = 100) -> int:
    """How many of so many are."""
    return sum(guard.reads_next_late() for _ in range(streams))


def end_streams(guard: LateReading, late_segments: int, segments: int, streams: int = 8) -> list[str]:
    """So many of either kind, each of TOKENS tokens in so many segments. What was said."""
    said = []
    for _ in range(streams):
        said.append(guard.ended(late=False, tokens=TOKENS, segments=segments))
        said.append(guard.ended(late=True, tokens=TOKENS, segments=late_segments))
    return [reason for reason in said if reason]


def test_one_stream_in_ten_is_read_late_until_that_is_seen_to_be_harmless_and_then_all_but_one_in_ten() -> None:
    guard = LateReading()
    assert reads_late(guard) == 10
    assert end_streams(guard, TOKENS, TOKENS) == []
    assert reads_late(guard, 80) == 78


@pytest.mark.parametrize(
    ("late_segments", "segments", "cause"),
    [
        (
            150,
            200,
            "the server holds tokens back until others are acknowledged: 0.75 segments per token where ",
        ),
        (208, 200, "the server sends again what is acknowledged late: 1.04 segments per token where streams are read "),
    ],
)
@pytest.mark.parametrize("was_harmless", [False, True])
def test_none_is_read_late_any_more_where_that_changes_what_comes(
    late_segments: int, segments: int, cause: str, was_harmless: bool
) -> None:
    guard = LateReading()
    if was_harmless:
        end_streams(guard, segments, segments)
    (reason,) = end_streams(guard, late_segments, segments, streams=16)
    assert reason.startswith(cause)
    assert reads_late(guard) == 0


def test_a_server_that_packs_tokens_by_itself_is_no_reason() -> None:
    guard = LateReading()
    assert end_streams(guard, 50, 50) == []
    assert reads_late(guard, 80) == 78


def test_a_busy_server_that_joins_tokens_in_some_streams_is_no_reason() -> None:
    """Late streams have 2 % more segments than others here, by chance."""
    guard = LateReading()
    said = []
    chances = zip((196, 200, 188, 200, 184, 200, 192, 196), (200, 176, 196, 184, 200, 190, 180, 196))
    for late_segments, segments in chances:
        said.append(guard.ended(late=False, tokens=TOKENS, segments=segments))
        said.append(guard.ended(late=True, tokens=TOKENS, segments=late_segments))
    assert [reason for reason in said if reason] == []
    assert reads_late(guard) > 0


def test_what_little_is_sent_again_in_every_stream_is_noticed_with_more_streams() -> None:
    """3 %, where streams of one kind differ by as much."""
    guard = LateReading()
    said = []
    for _ in range(20):
        for chance in (-3, 0, 3):
            said.append(guard.ended(late=False, tokens=TOKENS, segments=200 + chance))
            said.append(guard.ended(late=True, tokens=TOKENS, segments=206 + chance))
    assert len([reason for reason in said if reason]) == 1
    assert reads_late(guard) == 0


@given(st.lists(st.tuples(st.integers(1, 40), st.integers(1, 40)), max_size=2))
def test_few_tokens_decide_nothing(ended: list[tuple[int, int]]) -> None:
    guard = LateReading()
    for tokens, segments in ended:
        assert guard.ended(late=True, tokens=tokens, segments=segments) is None
        assert guard.ended(late=False, tokens=tokens, segments=tokens) is None
    assert reads_late(guard) == 10


def serve_with_pauses(peer: Peer, tokens: int) -> None:
    """As a server that does not set TCP_NODELAY."""
    peer.request()
    peer.send(HEAD + chunk(outputs(1)))
    for _ in range(tokens - 1):
        gevent.sleep(0.01)
        peer.send(chunk(outputs(1)))
    peer.send(chunk(DONE) + END)


@pytest.mark.slow
@pytest.mark.alone
def test_a_server_that_waits_for_acknowledgements_is_noticed_and_read_as_it_sends_again(
    server: Server, kernel_stamps: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """On a kernel that cannot acknowledge sooner."""
    monkeypatch.setattr("tokenswarm.wire.connection.acknowledge_soon", lambda _: False)
    monkeypatch.setattr("tokenswarm.wire.deferred_reader.INTERVAL_S", 0.1)
    monkeypatch.setattr(late_reading, "_LEAST_STREAMS", 1)
    monkeypatch.setattr(late_reading, "_LEAST_TOKENS", 50)
    guard, timeouts = LateReading(), Timeouts(connect_s=20, first_token_s=20, idle_s=20, total_s=20)
    request = ChatRequest(model="m", prompt="p", system_prompt=None, max_tokens=None)

    def stream(tokens: int) -> Timeline:
        client = StreamClient(server.origin, 20.0)
        spec = RequestSpec(ENGINES["vllm"], request, timeouts, "u", measure_gaps=False, late_reading=guard)
        running = gevent.spawn(StreamingRequest(client, spec).run)
        sending = gevent.spawn(serve_with_pauses, server.accept(), tokens)
        sending.get()
        ended: Timeline = running.get()
        client.close()
        return ended

    with caplog.at_level(logging.WARNING):
        late, watched, after = stream(80), stream(80), stream(3)
    assert [each.outcome for each in (late, watched, after)] == [Outcome.OK] * 3
    assert [each.gaps_measured for each in (late, watched, after)] == [False] * 3
    assert late.reads < watched.reads
    (record,) = caplog.records
    assert record.message.startswith(
        "Streams are read as they come from now on, which costs CPU time: the server holds tokens back until others "
        "are acknowledged: "
    )
    assert reads_late(guard) == 0


class Compared(LateReading):
    """streams: how many were compared."""

    streams = 0

    def ended(self, *, late: bool, tokens: int, segments: int) -> str | None:
        self.streams += 1
        return super().ended(late=late, tokens=tokens, segments=segments)


def begin(server: Server, tap: PacketTap, **fields: Any) -> tuple[StreamClient, gevent.Greenlet[[], Timeline], Peer]:
    """A request of these fields under way, and the server's side of its connection."""
    request = ChatRequest(model="m", prompt="p", system_prompt=None, max_tokens=None)
    timeouts = Timeouts(connect_s=20, first_token_s=20, idle_s=20, total_s=20)
    client = StreamClient(server.origin, 20.0, {}, tap=tap)
    running = gevent.spawn(StreamingRequest(client, RequestSpec(ENGINES["vllm"], request, timeouts, "u", **fields)).run)
    peer = server.accept()
    peer._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    peer.request()
    return client, running, peer


@pytest.mark.slow
def test_the_last_output_of_a_tapped_stream_has_its_own_time_where_gaps_are_not_measured(
    server: Server, tap: PacketTap, kernel_stamps: None
) -> None:
    """It is read with the end, which comes later."""
    client, running, peer = begin(server, tap, measure_gaps=False)
    peer.send(HEAD + chunk(outputs(1)))
    gevent.sleep(0.05)
    peer.send(chunk(outputs(1)))
    last_sent_ns = time.perf_counter_ns()
    gevent.sleep(0.02)
    done_ns = time.perf_counter_ns()
    peer.send(chunk(DONE) + END)
    timeline: Timeline = running.get()
    client.close()
    assert (timeline.outcome, timeline.tapped, timeline.gaps_measured) == (Outcome.OK, True, False)
    assert timeline.last_ns is not None
    assert timeline.last_ns < done_ns <= timeline.end_ns
    assert timeline.last_ns < last_sent_ns + 10_000_000


@pytest.mark.slow
@pytest.mark.parametrize("seen", [True, False], ids=["seen", "lost"])
def test_a_tapped_stream_is_read_late_and_has_its_gaps_where_the_tap_saw_them(
    server: Server, tap: PacketTap, kernel_stamps: None, monkeypatch: pytest.MonkeyPatch, seen: bool
) -> None:
    """Where many are under way. Its end is noticed late, as of any stream that is read late. Gaps that are not known
    are not guessed."""
    monkeypatch.setattr(LOOP_PACER, "streaming", MANY)
    guard = Compared()
    client, running, peer = begin(server, tap, measure_gaps=True, late_reading=guard)
    peer.send(HEAD + chunk(outputs(1)))
    gevent.sleep(0.02)  # it is read
    if not seen:
        monkeypatch.setattr(SegmentQueue, "parts", lambda self, start, end: StreamParts([], []))
    sent_ns = []
    for pause_s in (0.02, 0.04) * 10:
        gevent.sleep(pause_s)
        sent_ns.append(time.perf_counter_ns())
        peer.send(chunk(outputs(1)))
    peer.send(chunk(DONE) + END)
    timeline: Timeline = running.get()
    client.close()
    assert (timeline.outcome, timeline.tapped, timeline.gaps_measured) == (Outcome.OK, seen, seen)
    assert guard.streams == 1
    assert len(timeline.delays_ns) < 5  # only what was read as it came has one
    assert len(timeline.outputs_ns) == 1 + len(sent_ns)
    if seen:
        arrived_ns = timeline.outputs_ns[1:]
        assert all(before <= came for before, came in zip(sent_ns, arrived_ns))
        assert all(came < after for came, after in zip(arrived_ns, sent_ns[1:]))


@pytest.mark.slow
@pytest.mark.parametrize("why", ["few streams", "short streams", "ends do not show"])
def test_a_tapped_stream_is_read_as_it_comes_where_reading_it_late_is_not_worth_it_or_would_change_the_load(
    server: Server, tap: PacketTap, kernel_stamps: None, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    monkeypatch.setattr(LOOP_PACER, "streaming", 0 if why == "few streams" else MANY)
    for _ in range(20):
        tap.ends.lasted(0.5 if why == "short streams" else 5.0)
        tap.ends.ended(noticed=why != "ends do not show")
    guard = Compared()
    client, running, peer = begin(server, tap, measure_gaps=True, late_reading=guard)
    peer.send(HEAD + chunk(outputs(1)))
    for _ in range(10):
        gevent.sleep(0.02)
        peer.send(chunk(outputs(1)))
    peer.send(chunk(DONE) + END)
    timeline: Timeline = running.get()
    client.close()
    assert (timeline.outcome, timeline.tapped, timeline.gaps_measured) == (Outcome.OK, True, True)
    assert guard.streams == 0  # it says nothing of those that could be read late
    assert len(timeline.delays_ns) >= 10  # each read has one
