"""Which bytes came when, by segments that overlap, come twice, out of order or not at all: against a model that knows
each byte by itself."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tokenswarm.wire.tap.segments import Segments, StreamPart, connection_key, merged, parts_between

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
    rows=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 99)), max_size=12),
    cut=st.integers(0, 12),
)
def test_merged_segments_are_those_of_both_in_their_order(rows: list[tuple[int, int]], cut: int) -> None:
    def columns(of: list[tuple[int, int]]) -> Segments:
        of = sorted(of, key=lambda row: row[0])
        keys, sequences = ([row[place] for row in of] for place in (0, 1))
        return Segments(
            np.array(keys, np.uint64),
            np.array(sequences, np.uint32),
            np.ones(len(of), np.int64),
            np.zeros(len(of), np.int64),
        )

    both = merged(columns(rows[:cut]), columns(rows[cut:]))
    assert all((left == right).all() for left, right in zip(both, columns(rows)))


def test_segments_of_a_connection_are_those_of_its_key_in_their_order() -> None:
    one, other = connection_key([0x7F000001], 80, 5), connection_key([0x7F000001], 80, 6)
    columns = (
        np.array([one, one, other], dtype=np.uint64),
        np.array([7, 3, 9], dtype=np.uint32),
        np.array([1, 2, 3], dtype=np.int64),
        np.array([10, 20, 30], dtype=np.int64),
    )
    segments = Segments(*columns)
    assert [*segments.of(one)] == [(7, 1, 10), (3, 2, 20)]
    assert [*segments.of(other)] == [(9, 3, 30)]
    assert [*segments.of(other + 1)] == []
