"""The segments of one connection that a tap saw, and the reads that are cut where they began.

A read of a socket can hold several segments, of which the kernel gives the last one's time. Cut where they began, each
part has its own time, as if it had been read by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import sub
from typing import Protocol

from tokenswarm.wire.stamps import ns_from_stamp, stamp_from_ns
from tokenswarm.wire.tap.segments import SegmentQueue, SegmentRun, StreamParts
from tokenswarm.wire.tap.stream_ends import StreamEnds

#: Of a stream whose reads need not be cut.
_MOST_KEPT_SEGMENTS = 256
#: A read of so many says how much a stream's segments differ; one of fewer only that they differ by as much at least.
_SEVERAL_SEGMENTS = 2

#: Bytes of a read, and the kernel's stamp of them as stamps.stamp_of gives it.
Stamped = tuple[bytes, bytes]


class Tap(Protocol):
    """What a stream needs of its tap."""

    ends: StreamEnds

    def look_for(self, key: int, stream: TappedStream) -> None:
        """Hand this stream what was seen of it."""
        ...

    def look_again_for(self, key: int, stream: TappedStream) -> None:
        """The same, with what came up to now."""
        ...

    def forget(self, key: int, stream: TappedStream) -> None:
        """Its connection is closed."""
        ...


class TappedStream:
    """What one connection receives."""

    __slots__ = (
        "_key",
        "_last_ns",
        "_last_read",
        "_longest",
        "_may_hold_several",
        "_offset",
        "_read",
        "_reading",
        "_segments",
        "_shortest",
        "_tap",
        "gap_ns",
        "segments_read",
    )

    def __init__(
        self, tap: Tap, key: int, segments: SegmentQueue, offset: int, may_hold_several: Callable[[bytes], bool]
    ) -> None:
        """segments: without a first sequence number where `begins` gives it later. offset: how many bytes of the stream
        have been read."""
        self._tap = tap
        self._key = key
        self._segments = segments
        self._offset = offset
        self._may_hold_several = may_hold_several
        self._read: Callable[[], object] | None = None  # where it is read late
        self._reading = False  # because of what the tap saw
        self._last_read: StreamParts | None = None
        self._last_ns = 0  # when the last segment of the reads before came; 0 where it was not read late yet
        self._shortest = self._longest = 0
        #: How many segments of its connection have been read at least, no more than were; None where that is not known.
        self.segments_read: int | None = None
        #: The mean time between its segments, 0 where that is not known.
        self.gap_ns = 0

    @property
    def first_sequence(self) -> int | None:
        """The sequence number of its first byte; None before the tap has seen that it began."""
        return self._segments.first_sequence

    def begins(self, first_sequence: int) -> None:
        """The tap has seen that it begins with this sequence number."""
        self._segments.first_sequence = first_sequence

    @property
    def notices_end(self) -> bool:
        """Whether the end of the stream, which is read late, is noticed by what the tap sees."""
        return self._longest > 0 and self._tap.ends.are_noticed

    def close(self) -> None:
        """Its connection is closed."""
        self.read_at_once(ended=False)
        self._tap.forget(self._key, self)

    def end_would_be_noticed(self) -> bool:
        """Whether its end, if it is left unread, would be noticed soon enough not to change the load."""
        if not self._tap.ends.are_far_apart:
            return False
        if self.first_sequence is None:  # a first output came at once
            self._tap.look_again_for(self._key, self)
        return self.first_sequence is not None and self._tap.ends.are_noticed_or_tried()

    def lasted(self, seconds: float) -> None:
        """A response took so long from its first output to its end."""
        self._tap.ends.lasted(seconds)

    def read_late(self, read: Callable[[], object]) -> None:
        """From now on its segments are left with the kernel for a while. `read` is called when one of another length
        comes than those before, which may be the last."""
        self._read = read
        self._reading = False
        self._last_read = None
        self._last_ns = 0
        self._shortest, self._longest, self.gap_ns = self._tap.ends.usual  # of others, until it is read
        if not self._longest:
            return
        self._tap.ends.expect(self._key, self._shortest, self._longest)
        self._tap.look_for(self._key, self)
        if self._segments.arrived_to > self._offset:  # what came before it was read late was not looked at
            self._tap.ends.look_into(self._key)

    def read_at_once(self, *, ended: bool) -> None:
        """As before `read_late`: the stream has ended, or is left."""
        if self._read is not None:
            self._read = None
            self._tap.ends.expect_any(self._key)
            if ended:
                self._tap.ends.ended(noticed=self._reading)

    def on_other_length(self) -> None:
        """The tap saw what may be the end."""
        if self._read is not None:
            self._reading = True
            self._read()
            self._reading = False

    def take(self, run: SegmentRun) -> None:
        """These segments came."""
        self._segments.add(run)
        if len(self._segments) > _MOST_KEPT_SEGMENTS:
            self._segments.forget(self._offset)

    def parts(self, data: bytes, stamp: bytes) -> StreamParts | None:
        """When the parts of a read with this stamp came; to be called with each read, in their order. None where that
        is not known of each. The offsets are those behind the parts in these bytes."""
        start = self._offset
        end = start + len(data)
        parts = self._segments.parts(start, end)
        for look_for in (self._tap.look_for, self._tap.look_again_for):
            if not self._lacks_some(parts, start, data):
                break
            look_for(self._key, self)
            parts = self._segments.parts(start, end)
        self._offset = end  # not before: what is handed over meanwhile is of this read
        if self._lacks_some(parts, start, data):
            return None
        in_this_read = StreamParts([behind - start for behind in parts.ends], parts.arrived_ns)
        self._last_read = _to_the_end(in_this_read, len(data), stamp)
        return self._last_read

    def expect_more(self) -> None:
        """The last read of a stream that is read late did not have its end."""
        parts = self._last_read
        if self._read is None or parts is None or not parts.ends:
            return
        self._last_read = None
        lengths = [*map(sub, parts.ends, [0, *parts.ends])]
        of_read = min(lengths), max(lengths)
        times_ns = [self._last_ns, *parts.arrived_ns] if self._last_ns else parts.arrived_ns
        self._last_ns = times_ns[-1]
        if len(times_ns) > 1:
            self.gap_ns = (times_ns[-1] - times_ns[0]) // (len(times_ns) - 1)
        self._shortest, self._longest = _widened((self._shortest, self._longest), of_read)
        ends = self._tap.ends
        ends.expect(self._key, self._shortest, self._longest)
        usual = ends.usual[:2]
        if len(lengths) >= _SEVERAL_SEGMENTS:
            usual = of_read
        elif not self._reading:  # else it may belong to the end
            usual = _widened(usual, of_read)
        ends.usual = *usual, self.gap_ns

    def cut(self, data: bytes, stamp: bytes) -> list[Stamped] | None:
        """The bytes of a read with this stamp, cut where segments began; to be called with each read, in their order.
        Empty where nothing is to be cut, None where the tap does not know the segments."""
        if not data or not self._may_hold_several(data):
            if self._read is None:
                self._offset += len(data)
            else:
                self.parts(data, stamp)  # of which something is learned
            return []
        parts = self.parts(data, stamp)
        return None if parts is None else cut_into(parts, data)

    def has_nothing_to_cut(self, datas: Sequence[bytes]) -> bool:
        """Whether none of these reads is to be cut. They need not be given to `cut` then, but to `skip`."""
        return not any(map(self._may_hold_several, datas))

    def skip(self, size_bytes: int) -> None:
        """So much was read and needs no cutting."""
        self._offset += size_bytes

    def _lacks_some(self, parts: StreamParts, start: int, data: bytes) -> bool:
        """Whether the time of some bytes is not known. What is behind the last part has the time of the read, if it is
        a message by itself."""
        rest = data[parts.ends[-1] - start :] if parts.ends else data
        return bool(rest) and self._may_hold_several(rest)


def _widened(lengths: tuple[int, int], by: tuple[int, int]) -> tuple[int, int]:
    """The shortest and the longest of both; zeros are of none."""
    if not lengths[1]:
        return by
    return min(lengths[0], by[0]), max(lengths[1], by[1])


def _to_the_end(parts: StreamParts, size_bytes: int, stamp: bytes) -> StreamParts | None:
    """Parts of a read of so many bytes: what is behind the last came at the stamp of the read, if it has one."""
    if parts.ends and parts.ends[-1] >= size_bytes:
        return parts
    if not stamp:
        return None
    last_ns = max([ns_from_stamp(stamp), *parts.arrived_ns[-1:]])
    return StreamParts([*parts.ends, size_bytes], [*parts.arrived_ns, last_ns])


def cut_into(parts: StreamParts, data: bytes, begin: int = 0) -> list[Stamped]:
    """The bytes from `begin` on, of each part with its time."""
    cut = []
    for end, arrived_ns in zip(parts.ends, parts.arrived_ns, strict=True):
        if end > begin:
            cut.append((data[begin:end], stamp_from_ns(arrived_ns)))
            begin = end
    return cut
