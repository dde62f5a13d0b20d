"""What the kernel says of a connection, beside what was sent and read on it."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator

import pytest

from tests.peer import PlainSocket, until
from tokenswarm.wire.tcp_info import consumed_bytes, received_segments

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="TCP_INFO is read on Linux only")


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """(one that sends each piece as a segment, one that reads)"""
    with PlainSocket() as listener, PlainSocket() as reader:
        listener.bind(("127.0.0.1", 0))
        listener.listen(1)
        reader.connect(listener.getsockname())
        writer, _ = listener.accept()
        writer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with writer:
            yield writer, reader


def test_bytes_that_were_read_are_counted_and_unread_ones_are_not(pair: tuple[socket.socket, socket.socket]) -> None:
    writer, reader = pair
    assert consumed_bytes(reader) == 0
    writer.sendall(b"x" * 100)
    assert consumed_bytes(reader) == 0
    assert len(reader.recv(30)) == 30
    assert consumed_bytes(reader) == 30


def test_segments_are_counted_as_they_come(pair: tuple[socket.socket, socket.socket]) -> None:
    writer, reader = pair
    assert received_segments(reader) == 0
    for piece in (b"one", b"two", b"three"):
        writer.sendall(piece)
    until(lambda: received_segments(reader) == 3)


def test_of_a_closed_socket_nothing_is_known(pair: tuple[socket.socket, socket.socket]) -> None:
    _, reader = pair
    reader.close()
    assert (consumed_bytes(reader), received_segments(reader)) == (None, None)
