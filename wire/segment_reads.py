"""Reads of a connection, cut where its TCP segments began, as far as a packet tap knows these; and decrypted."""

from __future__ import annotations

import socket
from bisect import bisect_left
from collections.abc import Sequence
from typing import Any

from tokenswarm.wire.exchange import Exchange
from tokenswarm.wire.read_batch import FIELDS_PER_READ
from tokenswarm.wire.stamps import ArrivalTimes
from tokenswarm.wire.tap.tapped_stream import TappedStream, cut_into
from tokenswarm.wire.tcp_info import received_segments
from tokenswarm.wire.tls import TlsSession


def process_together(
    tapped: TappedStream, exchange: Exchange, times: ArrivalTimes, read: tuple[bytes, bytes, int, int]
) -> list[Any]:
    """Of a read of a stream, by its fields (see read_batch), process all segments together that can be. Returns the
    fields of the others, as if each had been read by itself."""
    data, stamp, real_ns, now_ns = read
    if not data:
        return [*read]
    parts = tapped.parts(data, stamp)
    if parts is None:
        exchange.tapped = False
        return [*read]
    taken = 0
    if arrived_ns := times.of_parts(parts.arrived_ns, real_ns, now_ns):
        taken = exchange.on_segments(data, parts.ends, arrived_ns, now_ns)
        if taken:
            times.arrived(arrived_ns[bisect_left(parts.ends, taken)], now_ns)
    if taken == len(data):
        return []
    return [field for part, its_stamp in cut_into(parts, data, taken) for field in (part, its_stamp, real_ns, now_ns)]


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
    if tapped is None:
        return fields, empty_ns
    datas = fields[::FIELDS_PER_READ]
    if tls is None and (tapped.has_nothing_to_cut(datas) or _is_one_segment(tapped, sock, datas)):
        tapped.skip(sum(map(len, datas)))
        if tapped.segments_read is not None:
            tapped.segments_read += len(datas)
        return fields, empty_ns
    tapped.segments_read = None
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


def _is_one_segment(tapped: TappedStream, sock: socket.socket, datas: Sequence[bytes]) -> bool:
    """Whether these reads are a single one, of one segment: all but one that have come were read before."""
    if len(datas) != 1 or tapped.segments_read is None:
        return False
    return received_segments(sock) == tapped.segments_read + 1
