"""What a read says of itself: whether it may have been joined of several segments."""

from __future__ import annotations

import pytest

from tokenswarm.wire.tap.joined import may_hold_several_events, may_hold_several_records


def chunk(body: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(body), body)


ONE = b"data: {}\n\n"


@pytest.mark.parametrize(
    ("data", "several"),
    [
        (chunk(ONE), False),
        (chunk(b'{"done":false}\n'), False),
        (chunk(ONE + ONE), True),
        (chunk(ONE) + chunk(ONE), True),
        (chunk(ONE) + b"0\r\n\r\n", True),
        (chunk(ONE)[:-3], True),
        (chunk(ONE)[5:], True),
        (chunk(b"data: {}\r\n\r\n"), True),
        (ONE, True),
        (ONE + ONE, True),
    ],
)
def test_one_chunk_of_one_event_is_one_message(data: bytes, several: bool) -> None:
    assert may_hold_several_events(data) is several


@pytest.mark.parametrize(
    ("data", "several"),
    [
        (b"\x17\x03\x03\0\x04abcd", False),
        (b"\x17\x03\x03\0\x04abc", True),
        (b"\x17\x03\x03\0\x04abcd" * 2, True),
        (b"\x17\x03", True),
    ],
)
def test_one_record_is_one_message(data: bytes, several: bool) -> None:
    assert may_hold_several_records(data) is several
