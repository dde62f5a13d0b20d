"""Reads of a connection, cut where its TCP segments began, as far as a packet tap knows these; and decrypted."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Any

from tokenswarm.wire.exchange import Exchange
from tokenswarm.wire.read_batch import FIELDS_PER_READ
from tokenswarm.wire.tap.packet_tap import TappedStream
from tokenswarm.wire.tls import TlsSession


def cut_read(
    tapped: TappedStream | None, exchange: Exchange | None, data: bytes, stamp: bytes
) -> Sequence[tuple[bytes, bytes]]:
    """A read with its stamp, cut into its segments where the tap knows them."""
    if tapped is None:
        return ((data, stamp),)
    if (parts := tapped.cut(data, stamp)) is not None:
        return parts or ((data, stamp),)
    if exchange is not None:
        exchange.tapped = False
    return ((data, stamp),)


def cut_deferred(
    tapped: TappedStream | None,
    exchange: Exchange | None,
    sock: socket.socket,
    tls: TlsSession | None,
    fields: list[Any],
    empty_ns: list[int],
) -> tuple[list[Any], list[int]]:
    """Of deferred reads, by their fields (see read_batch): where the tap knows of several segments in a read, the
    fields of these, as if each had been read by itself; decrypted. empty_ns: when the socket was empty before each of
    the first ones; the same of what they are cut into. To be called for many reads at once, as the tap's memory is
    looked through then."""
    if tapped is None or (tls is None and tapped.skip(fields[::FIELDS_PER_READ])):
        return fields, empty_ns
    cut_fields: list[Any] = []
    cut_empty_ns: list[int] = []
    columns = (fields[column::FIELDS_PER_READ] for column in range(FIELDS_PER_READ))
    for at, (data, stamp, real_ns, now_ns) in enumerate(zip(*columns, strict=True)):
        for part, stamp_of_part in cut_read(tapped, exchange, data, stamp):
            plaintext = tls.received(part, sock) if part and tls is not None else part
            if plaintext or not part:
                cut_fields += plaintext, stamp_of_part, real_ns, now_ns
                cut_empty_ns += empty_ns[at : at + 1]
    return cut_fields, cut_empty_ns
