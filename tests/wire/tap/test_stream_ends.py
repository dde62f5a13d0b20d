"""Which streams have had a segment of a length that their segments did not have before."""

from __future__ import annotations

import numpy as np

from tokenswarm.wire.tap.segments import Segments, connection_key
from tokenswarm.wire.tap.stream_ends import StreamEnds

ONE, OTHER = (connection_key([0x7F000001], 80, port) for port in (40_000, 65_535))


def segments(*rows: tuple[int, int]) -> Segments:
    """(key, length) of each."""
    keys, lengths = zip(*rows)
    zeros = np.zeros(len(rows), dtype=np.int64)
    return Segments(np.array(keys, dtype=np.uint64), zeros.astype(np.uint32), np.array(lengths, dtype=np.int64), zeros)


def test_a_shorter_and_a_longer_segment_may_be_the_last() -> None:
    ends = StreamEnds()
    ends.expect(ONE, 200, 230)
    ends.expect(OTHER, 90, 90)
    ends.look_at(segments((ONE, 195), (ONE, 240), (OTHER, 90)))
    assert ends.take() == ()
    ends.look_at(segments((ONE, 215), (OTHER, 5), (OTHER, 90)))
    ends.look_at(segments((ONE, 400)))
    assert ends.take() == (OTHER, ONE)
    assert ends.take() == ()


def test_a_stream_of_which_nothing_is_known_or_that_has_ended_may_have_any_lengths() -> None:
    ends = StreamEnds()
    ends.expect(ONE, 200, 230)
    ends.look_at(segments((ONE, 5), (OTHER, 5), (OTHER, 65_000)))
    ends.expect_any(ONE)
    ends.look_at(segments((ONE, 5), (ONE, 65_000)))
    assert ends.take() == ()


def test_ends_of_streams_that_last_a_hundred_times_as_long_as_they_are_noticed_late_are_far_apart() -> None:
    ends = StreamEnds()
    assert ends.are_far_apart  # nothing else is known
    ends.lasted(1.2)
    assert not ends.are_far_apart
    for _ in range(300):
        ends.lasted(1.3)
    assert ends.are_far_apart
    for _ in range(100):
        ends.lasted(0.2)
    assert not ends.are_far_apart


def test_where_ends_do_not_show_in_lengths_that_is_found_out_and_forgotten_again() -> None:
    """A server that sends the end with the last token, and later, behind another proxy, one that does not."""
    ends = StreamEnds()
    assert ends.are_noticed
    for _ in range(100):
        ends.ended(noticed=False)
    assert not ends.are_noticed
    for _ in range(300):
        ends.ended(noticed=True)
    assert ends.are_noticed


def test_a_connection_to_another_server_from_the_same_port_changes_nothing() -> None:
    """Each process has 882 ports, so that thousands of connections to several servers share them."""
    ends = StreamEnds()
    other_server = connection_key([0x7F000001], 81, ONE % 2**16)
    ends.expect(ONE, 200, 230)
    ends.expect(other_server, 600, 630)
    ends.look_at(segments((ONE, 215), (other_server, 615)))
    assert ends.take() == ()
    ends.expect_any(other_server)
    ends.look_at(segments((other_server, 5), (ONE, 5)))
    assert ends.take() == (ONE,)


def test_no_two_connections_to_one_server_are_taken_for_each_other() -> None:
    ends = StreamEnds()
    keys = [connection_key([0x0A00002A], 8000, port) for port in range(2**16)]
    for key in keys:
        ends.expect(key, 200, 230)
    for key in keys[::2]:
        ends.expect_any(key)
    ends.look_at(segments(*((key, 5) for key in keys)))
    assert [*ends.take()] == keys[1::2]


def test_where_ends_do_not_show_one_stream_in_64_is_tried_until_they_do_again() -> None:
    ends = StreamEnds()
    for _ in range(100):
        ends.ended(noticed=False)
    assert [ends.are_noticed_or_tried() for _ in range(640)].count(True) == 10
    assert not ends.are_noticed
    streams = 0
    while not ends.are_noticed and streams < 10_000:
        streams += 1
        if ends.are_noticed_or_tried():
            ends.ended(noticed=True)
    assert ends.are_noticed
    assert all(ends.are_noticed_or_tried() for _ in range(100))
