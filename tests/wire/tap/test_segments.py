"""Which bytes came when, by segments that overlap, come twice, out of order or not at all: against a model that knows
each byte by itself."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tokenswarm.wire.tap.segments import SegmentQueue, Segments, StreamPart, connection_key, parts_between

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


@given(
    segments=segment_lists,
    waits_ns=st.lists(st.integers(0, 3), min_size=12, max_size=12),
    first_sequence=first_sequences,
    span=st.tuples(st.integers(0, STREAM_BYTES), st.integers(0, STREAM_BYTES)).filter(lambda span: span[0] < span[1]),
)
def test_each_byte_of_a_part_came_at_its_time(
    segments: list[tuple[int, int]], waits_ns: list[int], first_sequence: int, span: tuple[int, int]
) -> None:
    start, end = span
    came = timed(segments, waits_ns)
    on_the_wire = [((first_sequence + offset) % SEQUENCES, length, time_ns) for offset, length, time_ns in came]
    parts = parts_between(on_the_wire, first_sequence, start, end)
    expected = byte_times(came, start, end)
    ends = [start, *(part.end for part in parts)]
    assert ends[-1] == start + len(expected)
    assert all(earlier < later for earlier, later in pairwise(ends))
    found = [part.arrived_ns for part, (begin, behind) in zip(parts, pairwise(ends)) for _ in range(begin, behind)]
    assert found == expected


def test_offsets_of_a_long_stream_pass_the_end_of_the_sequence_numbers() -> None:
    start = 3 * SEQUENCES + 5
    segments = [((start + 7) % SEQUENCES, 10, 100), ((start + 17) % SEQUENCES, 5, 200)]
    assert parts_between(segments, 7, start, start + 15) == [StreamPart(start + 10, 100), StreamPart(start + 15, 200)]


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
    rows = [((first_sequence + offset) % SEQUENCES, length, time_ns) for offset, length, time_ns in came]
    queue, handed, start = SegmentQueue(first_sequence, []), 0, 0
    for more, most_bytes in reads:
        queue.add(rows[handed : handed + more])
        handed = min(len(rows), handed + more)
        expected = byte_times(came[:handed], 0, min(STREAM_BYTES, start + most_bytes))[start:]
        if not expected:
            continue
        end = start + len(expected)
        parts = queue.parts(start, end)
        bounds = pairwise([start, *(part.end for part in parts)])
        assert [
            part.arrived_ns for part, (begin, behind) in zip(parts, bounds) for _ in range(begin, behind)
        ] == expected
        start = end


def test_what_was_read_is_forgotten() -> None:
    queue = SegmentQueue(SEQUENCES - 2, [(SEQUENCES - 2, 4, 10)])
    queue.add([(2, 3, 20), (5, 3, 30)])
    assert queue.parts(0, 6) == [StreamPart(4, 10), StreamPart(6, 20)]
    assert len(queue) == 2  # a byte of the second is left
    queue.forget(7)
    assert len(queue) == 1


def test_segments_of_a_connection_are_those_of_its_key_in_their_order() -> None:
    one, other = connection_key([0x7F000001], 80, 5), connection_key([0x7F000001], 80, 6)
    columns = (
        np.array([one, one, other], dtype=np.uint64),
        np.array([7, 3, 9], dtype=np.uint32),
        np.array([1, 2, 3], dtype=np.int64),
        np.array([10, 20, 30], dtype=np.int64),
    )
    assert dict(Segments(*columns).by_connection()) == {one: [(7, 1, 10), (3, 2, 20)], other: [(9, 3, 30)]}
    assert dict(Segments(*(column[:0] for column in columns)).by_connection()) == {}
