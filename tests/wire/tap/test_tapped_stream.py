"""What one tapped stream knows of its reads, where its tap has what it needs only when it is requested."""

from __future__ import annotations

import time

import pytest

from tokenswarm.wire.connection import _passes_to_next_poll
from tokenswarm.wire.deferred_reader import MOST_PASSES
from tokenswarm.wire.stamps import stamp_from_ns
from tokenswarm.wire.tap.segments import SegmentQueue, SegmentRun, StreamParts
from tokenswarm.wire.tap.stream_ends import StreamEnds
from tokenswarm.wire.tap.tapped_stream import TappedStream

EVENT = b"data: one\n\n"
CHUNK = b"%x\r\n%b\r\n" % (len(EVENT), EVENT)


class LateTap:
    """Has so many segments of a chunk each, a microsecond apart, and hands them over when they are looked for: at once,
    or only once the rings have been emptied."""

    def __init__(self, segments: int, *, again: bool) -> None:
        self.ends = StreamEnds()
        self._segments = segments
        self._again = again

    def _hand_over(self, stream: TappedStream) -> None:
        starts = [at * len(CHUNK) for at in range(self._segments)]
        lengths = [len(CHUNK)] * self._segments
        stream.take(SegmentRun(starts, lengths, [1_000 * at for at in range(self._segments)], in_order=True))

    def look_for(self, key: int, stream: TappedStream) -> None:
        if not self._again:
            self._hand_over(stream)

    def look_again_for(self, key: int, stream: TappedStream) -> None:
        self._hand_over(stream)

    def forget(self, key: int, stream: TappedStream) -> None:
        """Nothing is kept."""


@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize("segments", [2, 40, 1_000])
def test_a_read_of_many_segments_has_the_times_of_all(segments: int, again: bool) -> None:
    """More than are kept of a stream that has been read, too: they have not been."""
    stream = TappedStream(LateTap(segments, again=again), 1, SegmentQueue(0), 0, lambda data: len(data) != len(CHUNK))
    parts = stream.parts(CHUNK * segments, b"")
    ends = [len(CHUNK) * (at + 1) for at in range(segments)]
    assert parts == StreamParts(ends, [1_000 * at for at in range(segments)])


class SlowTap:
    """Sees one chunk after the other."""

    def __init__(self) -> None:
        self.ends = StreamEnds()
        self._seen: list[SegmentRun] = []
        self._came = 0

    def begin(self) -> None:
        """Another connection, and nothing of the one before."""
        self._came = 0
        self._seen.clear()

    def see(self, size_bytes: int, time_ns: int) -> None:
        self._seen.append(SegmentRun([self._came], [size_bytes], [time_ns], in_order=True))
        self._came += size_bytes

    def look_for(self, key: int, stream: TappedStream) -> None:
        for run in self._seen:
            stream.take(run)
        self._seen.clear()

    look_again_for = look_for

    def forget(self, key: int, stream: TappedStream) -> None:
        """Nothing is kept."""


def not_noticed() -> None:
    """The tap saw nothing odd."""


class SlowStream:
    """One that is read late, from a tap of its own or another's."""

    def __init__(self, tap: SlowTap | None = None, *, secure: bool = False) -> None:
        self.tap = tap or SlowTap()
        self._secure = secure
        self.stream = TappedStream(self.tap, 1, SegmentQueue(0), 0, lambda data: data.count(b"\n") > 1)
        self.tap.begin()
        self.stream.read_late(not_noticed)

    def read(self, *segments: tuple[int, int]) -> None:
        """Segments of so many bytes, which came at these times, in one read."""
        for size_bytes, time_ns in segments:
            self.tap.see(size_bytes, time_ns)
        data = b"".join(b"x" * (size_bytes - 1) + b"\n" for size_bytes, _ in segments)
        stamp = stamp_from_ns(segments[-1][1])
        self.stream.cut(data, stamp) if self._secure else self.stream.parts(data, stamp)
        self.stream.expect_more()


GAP_NS = 200_000_000


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "TLS"])
def test_a_stream_whose_segments_are_read_one_by_one_is_known_and_then_seldom_read(secure: bool) -> None:
    slow = SlowStream(secure=secure)
    assert not slow.stream.notices_end
    slow.read((100, 1 * GAP_NS))
    assert slow.stream.notices_end
    since_ns = time.perf_counter_ns() - 2 * GAP_NS
    assert _passes_to_next_poll(slow.stream, since_ns) == 1  # its rate is not known
    slow.read((104, 2 * GAP_NS))
    assert slow.stream.gap_ns == GAP_NS
    assert _passes_to_next_poll(slow.stream, since_ns) == MOST_PASSES
    slow.read((102, 3 * GAP_NS), (101, 5 * GAP_NS))
    assert slow.stream.gap_ns == 3 * GAP_NS // 2


def test_what_is_usual_grows_with_single_segments_and_is_that_of_the_last_read_of_several() -> None:
    slow = SlowStream()
    slow.read((100, 1 * GAP_NS))
    slow.read((104, 2 * GAP_NS))
    assert slow.tap.ends.usual == (100, 104, GAP_NS)
    other = SlowStream(slow.tap)
    assert other.stream.notices_end
    other.read((98, 1 * GAP_NS))
    assert slow.tap.ends.usual == (98, 104, GAP_NS)
    other.read((101, 2 * GAP_NS), (103, 3 * GAP_NS))
    assert slow.tap.ends.usual == (101, 103, GAP_NS)


def test_a_single_segment_that_was_taken_for_the_end_is_not_usual() -> None:
    """It may be a reason to finish, of which others are to be known."""
    slow = SlowStream()
    slow.read((100, 1 * GAP_NS))
    slow.read((104, 2 * GAP_NS))
    slow.stream.read_late(lambda: slow.read((300, 3 * GAP_NS)))
    slow.stream.on_other_length()
    assert slow.tap.ends.usual[:2] == (100, 104)


def test_ends_of_streams_of_which_nothing_is_known_are_not_noticed() -> None:
    tap = SlowTap()
    for _ in range(20):
        SlowStream(tap).stream.read_at_once(ended=True)
    assert not tap.ends.are_noticed
