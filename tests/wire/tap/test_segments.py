"""Which bytes came when, by segments that overlap, come twice, out of order or not at all: against a model that knows
each byte by itself."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tokenswarm.wire.tap.segments import SegmentQueue, SegmentRun, Segments, StreamParts, connection_key

SEQUENCES = 1 << 32
STREAM_BYTES = 24

#: (offset of its first byte, length), in the order in which they come.
segment_lists = st.lists(st.tuples(st.integers(-6, STREAM_BYTES), st.integers(1, 10)), max_size=12)
first_sequences = st.integers(0, SEQUENCES - 1) | st.integers(SEQUENCES - 2 * STREAM_BYTES, SEQUENCES - 1)


def timed(segments: list[tuple[int, int]], waits_ns: list[int]) -> list[tuple[int, int, int]]:
    """(offset, length, time), later and later."""
    times_ns = np.cumsum(waits_ns[: len(segments)]).tolist()
    return [(offset, length, time_ns) for (offset, length), time_ns in zip(segments, times_ns)]


def byte_times(segments: list[tuple[int, int, int]], start: int, end: int) -> list[int]:
    """When each byte, and all from `start` to it, had come; up to the first that never came."""
    times_ns, latest_ns = [], 0
    for byte in range(start, end):
        came_ns = [time_ns for offset, length, time_ns in segments if offset <= byte < offset + length]
        if not came_ns:
            break
        latest_ns = max(latest_ns, min(came_ns))
        times_ns.append(latest_ns)
    return times_ns


def run_of(segments: list[tuple[int, int, int]], first_sequence: int) -> SegmentRun:
    """(offset, length, time) of each, as the ring's decoder gives them."""
    key = np.zeros(len(segments), dtype=np.uint64)
    offsets, lengths, times_ns = zip(*segments)
    sequences = [(first_sequence + offset) % SEQUENCES for offset in offsets]
    columns = np.array(sequences, dtype=np.uint32), np.array(lengths, dtype=np.int64), np.array(times_ns)
    ((_, run),) = Segments(key, *columns).by_connection()
    return run


def time_of_each(parts: StreamParts, start: int) -> list[int]:
    """Byte by byte."""
    assert all(earlier < later for earlier, later in pairwise([start, *parts.ends]))
    bounds = pairwise([start, *parts.ends])
    return [arrived_ns for arrived_ns, (begin, behind) in zip(parts.arrived_ns, bounds) for _ in range(begin, behind)]


@given(
    segments=segment_lists.filter(bool),
    waits_ns=st.lists(st.integers(0, 3), min_size=12, max_size=12),
    first_sequence=first_sequences,
    end=st.integers(1, STREAM_BYTES),
)
def test_each_byte_of_a_part_came_at_its_time(
    segments: list[tuple[int, int]], waits_ns: list[int], first_sequence: int, end: int
) -> None:
    came = timed(segments, waits_ns)
    queue = SegmentQueue(first_sequence)
    queue.add(run_of(came, first_sequence))
    assert time_of_each(queue.parts(0, end), 0)[:end] == byte_times(came, 0, end)


@given(
    lengths=st.lists(st.integers(1, 10), min_size=1, max_size=8),
    waits_ns=st.lists(st.integers(0, 3), min_size=8, max_size=8),
    first_sequence=first_sequences,
    at_once=st.integers(1, 8),
)
def test_segments_in_order_are_their_streams_parts(
    lengths: list[int], waits_ns: list[int], first_sequence: int, at_once: int
) -> None:
    """Whether they are handed over one by one or together."""
    ends = np.cumsum(lengths).tolist()
    came = timed([(end - length, length) for end, length in zip(ends, lengths)], waits_ns)
    queue = SegmentQueue(first_sequence)
    for at in range(0, len(came), at_once):
        queue.add(run_of(came[at : at + at_once], first_sequence))
    assert queue.parts(0, ends[-1]) == StreamParts(ends, [time_ns for *_, time_ns in came])
    assert len(queue) == 0


def test_offsets_of_a_long_stream_pass_the_end_of_the_sequence_numbers() -> None:
    start = 3 * SEQUENCES + 5
    queue = SegmentQueue(7)
    queue.forget(start)
    queue.add(run_of([(start, 10, 100), (start + 10, 5, 200)], 7))
    assert queue.parts(start, start + 15) == StreamParts([start + 10, start + 15], [100, 200])


def test_what_comes_behind_a_segment_that_was_not_seen_counts_once_that_must_have_been_read() -> None:
    queue = SegmentQueue(SEQUENCES - 3)
    queue.add(run_of([(0, 4, 10), (6, 4, 20), (10, 2, 30), (16, 1, 40)], SEQUENCES - 3))
    assert queue.parts(0, 6) == StreamParts([4], [10])
    assert queue.parts(6, 12) == StreamParts([10, 12], [20, 30])
    queue.add(run_of([(12, 4, 50)], SEQUENCES - 3))
    assert queue.parts(12, 17) == StreamParts([17], [50])


@given(
    segments=segment_lists,
    waits_ns=st.lists(st.integers(0, 3), min_size=12, max_size=12),
    first_sequence=first_sequences,
    reads=st.lists(st.tuples(st.integers(0, 12), st.integers(1, STREAM_BYTES)), max_size=8),
)
def test_reads_one_after_the_other_have_the_times_of_all_segments(
    segments: list[tuple[int, int]], waits_ns: list[int], first_sequence: int, reads: list[tuple[int, int]]
) -> None:
    """Each read takes what has come by then, or a part of it; segments are handed over between reads, and forgotten."""
    came = timed(segments, waits_ns)
    queue, handed, start = SegmentQueue(first_sequence), 0, 0
    for more, most_bytes in reads:
        if these := came[handed : handed + more]:
            queue.add(run_of(these, first_sequence))
        handed = min(len(came), handed + more)
        expected = byte_times(came[:handed], 0, min(STREAM_BYTES, start + most_bytes))[start:]
        if not expected:
            continue
        end = start + len(expected)
        assert time_of_each(queue.parts(start, end), start) == expected
        start = end


def test_what_was_read_is_forgotten() -> None:
    queue = SegmentQueue(SEQUENCES - 2)
    queue.add(run_of([(0, 4, 10), (4, 3, 20), (9, 3, 30)], SEQUENCES - 2))
    assert queue.parts(0, 6) == StreamParts([4, 6], [10, 20])
    assert len(queue) == 2  # a byte of the second is left
    queue.forget(7)
    assert len(queue) == 1
    queue.forget(12)
    assert len(queue) == 0


def test_segments_of_a_connection_are_those_of_its_key_in_their_order() -> None:
    one, other, third = (connection_key([0x7F000001], 80, port) for port in (5, 6, 7))
    columns = (
        np.array([one, one, other, other, third, third, third], dtype=np.uint64),
        np.array([7, 3, SEQUENCES - 1, 2, 5, 6, 7], dtype=np.uint32),
        np.array([1, 2, 3, 4, 1, 1, 1], dtype=np.int64),
        np.array([10, 20, 30, 40, 30, 20, 50], dtype=np.int64),
    )
    assert dict(Segments(*columns).by_connection()) == {
        one: SegmentRun([7, 3], [1, 2], [10, 20], in_order=False),
        other: SegmentRun([SEQUENCES - 1, 2], [3, 4], [30, 40], in_order=True),
        third: SegmentRun([5, 6, 7], [1, 1, 1], [30, 20, 50], in_order=False),
    }
    assert dict(Segments(*(column[:0] for column in columns)).by_connection()) == {}
