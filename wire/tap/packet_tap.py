"""This process's tap: what it has seen of each connection, and the reads that it cuts where segments began.

A read of a socket can hold several segments, of which the kernel gives the last one's time. Cut where they began, each
part has its own time, as if it had been read by itself.
"""

from __future__ import annotations

import logging
import socket
import struct
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import NamedTuple

import gevent

from tokenswarm.wire.deferred_reader import DEFERRED_READER
from tokenswarm.wire.tap.headers import IPV4, IPV6, HeaderLayout
from tokenswarm.wire.tap.packet_filter import MOST_PORTS
from tokenswarm.wire.tap.ring import PacketRing
from tokenswarm.wire.tap.ring_slots import decode
from tokenswarm.wire.tap.segments import Segment, SegmentQueue, Segments, StreamPart, connection_key
from tokenswarm.wire.tcp_info import consumed_bytes

#: How often rings are emptied, so that they cannot fill.
_INTERVAL_S = 0.1
#: Of a connection that was seen to begin and is not tapped yet: no more than a handshake has.
_MOST_EARLY_SEGMENTS = 16
_MOST_BEGINNINGS = 1 << 12
#: Of a stream whose reads need not be cut.
_MOST_KEPT_SEGMENTS = 256
#: A connection is taken up once it has been made, its TLS handshake included.
_BEGINNING_KEPT_S = 60.0
_TIMESPEC = struct.Struct("@qq")
_NS_PER_S = 1_000_000_000

logger = logging.getLogger(__name__)

#: Bytes of a read, and the kernel's stamp of them as stamps.stamp_of gives it.
Stamped = tuple[bytes, bytes]


class _Beginning(NamedTuple):
    """A connection that was seen to begin, by this process's clock. rows: the segments that came since."""

    first_sequence: int
    seen_s: float
    rows: list[Segment]


class PacketTap:
    """The rings of this process, one for each family of addresses, and the connections that are tapped."""

    def __init__(self) -> None:
        self._rings: dict[HeaderLayout, PacketRing] = {}
        self._ports: list[int] = []
        self._streams: dict[int, TappedStream] = {}
        self._beginnings: dict[int, _Beginning] = {}
        self._greenlet: gevent.Greenlet[[], None] | None = None
        self._lost = 0

    def watch(self, host: str, port: int) -> None:
        """See the segments of connections to this port from now on; to be called before they are made. Raises OSError
        where this process may not."""
        if port not in self._ports and len(self._ports) < MOST_PORTS:
            self._ports.append(port)
            for ring in self._rings.values():
                ring.only_from(self._ports)
        for layout in _layouts_of(host):
            if layout not in self._rings:
                self._rings[layout] = PacketRing(layout, self._ports)
        if self._greenlet is None or self._greenlet.dead:
            self._greenlet = gevent.spawn(self._empty_often)
        # Streams that are read late are cut one after the other: the rings are not to be emptied for each.
        DEFERRED_READER.before_polls = self.empty

    def stream_of(self, sock: socket.socket, may_hold_several: Callable[[bytes], bool]) -> TappedStream | None:
        """What this connection receives, where it was seen to begin; to be called before its first request.
        may_hold_several: whether a read's bytes may have come in more than one segment with an end of a message."""
        try:
            source, source_port = sock.getpeername()[:2]
            local_port = sock.getsockname()[1]
            packed = socket.inet_pton(sock.family, source.partition("%")[0])
        except OSError:  # it was reset at once
            return None
        key = connection_key(struct.unpack(f"!{len(packed) // 4}I", packed), source_port, local_port)
        self.empty()
        beginning, offset = self._beginnings.pop(key, None), consumed_bytes(sock)
        if beginning is None or offset is None:
            return None
        queue = SegmentQueue(beginning.first_sequence, beginning.rows)
        stream = TappedStream(self, key, queue, offset, may_hold_several)
        self._streams[key] = stream
        return stream

    def forget(self, key: int, stream: TappedStream) -> None:
        """This connection is closed."""
        if self._streams.get(key) is stream:
            del self._streams[key]

    def empty(self) -> bool:
        """Take what the rings hold; whether that was anything."""
        taken = False
        for ring in self._rings.values():
            for slots in ring.take():
                found = decode(slots, ring.layout)
                for key, first_sequence in found.beginnings.items():
                    self._begin(key, first_sequence)
                self._hand_out(found.segments)
                taken = True
        return taken

    def _begin(self, key: int, first_sequence: int) -> None:
        """A connection was accepted; this may be said twice."""
        known = self._streams.get(key) or self._beginnings.get(key)
        if known is None or known.first_sequence != first_sequence:
            self._streams.pop(key, None)  # of a connection that had these ports before
            self._beginnings[key] = _Beginning(first_sequence, time.monotonic(), [])

    def _hand_out(self, segments: Segments) -> None:
        streams, beginnings = self._streams, self._beginnings
        for key, rows in segments.by_connection():
            if (stream := streams.get(key)) is not None:
                stream.take(rows)
            elif (beginning := beginnings.get(key)) is not None:
                beginning.rows.extend(rows[: _MOST_EARLY_SEGMENTS - len(beginning.rows)])

    def close(self) -> None:
        """Give everything back; `watch` begins anew."""
        if DEFERRED_READER.before_polls == self.empty:  # and not of a tap that came later
            DEFERRED_READER.need_nothing()
        if self._greenlet is not None:
            self._greenlet.kill()
        for ring in self._rings.values():
            ring.close()
        for held in (self._rings, self._ports, self._streams, self._beginnings):
            held.clear()

    def _empty_often(self) -> None:
        while True:
            gevent.sleep(_INTERVAL_S)
            self.empty()
            self._forget()
            self._notice_losses()

    def _forget(self) -> None:
        """Beginnings of other processes' connections: this one's are taken up at once."""
        since_s = time.monotonic() - _BEGINNING_KEPT_S
        for key, beginning in list(self._beginnings.items()):
            if beginning.seen_s >= since_s and len(self._beginnings) <= _MOST_BEGINNINGS:
                break
            del self._beginnings[key]

    def _notice_losses(self) -> None:
        for ring in self._rings.values():
            if lost := ring.lost():
                if not self._lost:
                    logger.warning(
                        "The packet tap lost packets, as this process did not empty it for too long: tokens that were "
                        "read together with others then have the time of the last one, as without the tap"
                    )
                self._lost += lost


class TappedStream:
    """What one connection receives."""

    __slots__ = ("_key", "_may_hold_several", "_offset", "_segments", "_tap")

    def __init__(
        self, tap: PacketTap, key: int, segments: SegmentQueue, offset: int, may_hold_several: Callable[[bytes], bool]
    ) -> None:
        """offset: how many bytes of the stream have been read."""
        self._tap = tap
        self._key = key
        self._segments = segments
        self._offset = offset
        self._may_hold_several = may_hold_several

    @property
    def first_sequence(self) -> int:
        """The sequence number of its first byte."""
        return self._segments.first_sequence

    def close(self) -> None:
        """Its connection is closed."""
        self._tap.forget(self._key, self)

    def take(self, rows: list[Segment]) -> None:
        """These segments came."""
        self._segments.add(rows)
        if len(self._segments) > _MOST_KEPT_SEGMENTS:
            self._segments.forget(self._offset)

    def cut(self, data: bytes, stamp: bytes) -> list[Stamped] | None:
        """The bytes of a read with this stamp, cut where segments began; to be called with each read, in their order.
        Empty where nothing is to be cut, None where the tap does not know the segments."""
        start = self._offset
        self._offset = end = start + len(data)
        if not data or not self._may_hold_several(data):
            return []
        parts = self._segments.parts(start, end)
        if self._lacks_some(parts, start, data) and self._tap.empty():
            parts = self._segments.parts(start, end)
        if self._lacks_some(parts, start, data):
            return None
        return _cut_into(parts, start, data, stamp)

    def skip(self, datas: Sequence[bytes]) -> bool:
        """Whether none of these reads is to be cut. They need not be given to `cut` then."""
        if any(map(self._may_hold_several, datas)):
            return False
        self._offset += sum(map(len, datas))
        return True

    def _lacks_some(self, parts: list[StreamPart], start: int, data: bytes) -> bool:
        """Whether the time of some bytes is not known. What is behind the last part has the time of the read, if it is
        a message by itself."""
        rest = data[parts[-1].end - start :] if parts else data
        return bool(rest) and self._may_hold_several(rest)


def _cut_into(parts: list[StreamPart], start: int, data: bytes, stamp: bytes) -> list[Stamped]:
    """The bytes of each part with its time, and the rest with the stamp of the read."""
    cut, begin = [], 0
    for part in parts:
        cut.append((data[begin : part.end - start], _TIMESPEC.pack(*divmod(part.arrived_ns, _NS_PER_S))))
        begin = part.end - start
    return [*cut, (data[begin:], stamp)] if begin < len(data) else cut


def tap_refusal() -> str | None:
    """Why this process cannot have a tap; None where it can."""
    try:
        PacketRing(IPV4, [1], slots=1 << 10).close()
    except (OSError, AttributeError) as error:  # no AF_PACKET but on Linux
        return str(error.strerror or error) if isinstance(error, OSError) else "only Linux has packet sockets"
    return None


def _layouts_of(host: str) -> tuple[HeaderLayout, ...]:
    """A name may have addresses of both families."""
    for layout in (IPV4, IPV6):
        with suppress(OSError):
            socket.inet_pton(layout.family, host)
            return (layout,)
    return IPV4, IPV6


#: One per process, like its loop; in use from the first connection that wants it on, after any fork.
PACKET_TAP = PacketTap()
