"""What one tapped stream knows of its reads, where its tap has what it needs only when it is requested."""

from __future__ import annotations

import pytest

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
