"""This process's tap: it takes what the kernel saw of each connection from the rings, and hands it to their streams."""

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
from tokenswarm.wire.tap.own_ports import OwnPorts, PortRange
from tokenswarm.wire.tap.packet_filter import MOST_PORTS
from tokenswarm.wire.tap.ring import PacketRing
from tokenswarm.wire.tap.ring_slots import decode
from tokenswarm.wire.tap.segments import SegmentQueue, SegmentRun, Segments, concatenated, connection_key
from tokenswarm.wire.tap.stream_ends import LOOK_S, StreamEnds
from tokenswarm.wire.tap.tapped_stream import TappedStream
from tokenswarm.wire.tcp_info import consumed_bytes

#: In how many looks into the rings for what may be the end of a stream what they held is handed to all streams.
_LOOKS = 20
#: So many streams in a row, before others get their turn.
_ENDS_IN_A_ROW = 16
_PAUSE_S = 0.001
#: Of a connection that was seen to begin and is not tapped yet: no more than a handshake has. A run has what came
#: from one emptying of the ring to the next.
_MOST_EARLY_RUNS = 16
_MOST_BEGINNINGS = 1 << 12
#: Of segments that are not handed out: to look through one more costs each stream more than to join them once.
_MOST_TABLES = 1
#: A connection is taken up once it has been made, its TLS handshake included.
_BEGINNING_KEPT_NS = 60_000_000_000

logger = logging.getLogger(__name__)


class _Beginning(NamedTuple):
    """A connection that was seen to begin. seen_ns: when this was taken from the ring (perf_counter_ns). runs: the
    segments that came since."""

    first_sequence: int
    seen_ns: int
    runs: list[SegmentRun]


class PacketTap:
    """The rings of this process, one for each family of addresses, and the connections that are tapped."""

    def __init__(self) -> None:
        self._rings: dict[HeaderLayout, PacketRing] = {}
        self._ports: list[int] = []
        self._streams: dict[int, TappedStream] = {}
        self._beginnings: dict[int, _Beginning] = {}
        self._greenlet: gevent.Greenlet[[], None] | None = None
        self._lost = 0
        #: What was taken from the rings and not handed out.
        self._taken_in: list[Segments] = []
        self.ends = StreamEnds()
        #: Connections that are to be tapped have ports of these; None for any.
        self.own_ports: OwnPorts | None = None

    def share_machine(self) -> None:
        """Other processes of this machine have taps, too: connections that are made from now on have ports of this
        one's own, if the system has such."""
        self.own_ports = self.own_ports or OwnPorts(self._narrow)

    def watch(self, host: str, port: int) -> None:
        """See the segments of connections to this port from now on; to be called before they are made. Raises OSError
        where this process may not."""
        if port not in self._ports and len(self._ports) < MOST_PORTS:
            self._ports.append(port)
            self._narrow()
        for layout in _layouts_of(host):
            if layout not in self._rings:
                self._rings[layout] = PacketRing(layout, self._ports, self._local_ports)
        if self._greenlet is None or self._greenlet.dead:
            self._greenlet = gevent.spawn(self._look_often)
        # Streams that are read late are cut one after the other: the rings are not to be emptied for each.
        DEFERRED_READER.before_polls = self._look

    def stream_of(
        self, sock: socket.socket, may_hold_several: Callable[[bytes], bool], since_ns: int
    ) -> TappedStream | None:
        """What this connection receives; to be called before its first request. may_hold_several: whether a read's
        bytes may have come in more than one segment with an end of a message. since_ns: before it was made
        (perf_counter_ns). The rings are not emptied for it: its beginning may be seen later."""
        try:
            source, source_port = sock.getpeername()[:2]
            local_port = sock.getsockname()[1]
            packed = socket.inet_pton(sock.family, source.partition("%")[0])
        except OSError:  # it was reset at once
            return None
        key = connection_key(struct.unpack(f"!{len(packed) // 4}I", packed), source_port, local_port)
        if key in self._streams:
            self._take_in()  # it had these ports before, and gets what came for it before this one's beginning
        beginning, offset = self._beginnings.pop(key, None), consumed_bytes(sock)
        if offset is None:
            return None
        stream = TappedStream(self, key, SegmentQueue(), offset, may_hold_several)
        if beginning is not None and beginning.seen_ns >= since_ns:
            stream.begins(beginning.first_sequence)
            for run in beginning.runs:
                stream.take(run)
            self.look_for(key, stream)
        self._streams[key] = stream
        return stream

    def forget(self, key: int, stream: TappedStream) -> None:
        """This connection is closed."""
        if self._streams.get(key) is stream:
            del self._streams[key]

    def empty(self) -> None:
        """Take what the rings hold, and hand it out."""
        self._take_in()
        self._hand_out()

    def look_for(self, key: int, stream: TappedStream) -> None:
        """Hand this stream what was taken from the rings of it, and nothing to others."""
        for run in self._take_out(key):
            stream.take(run)

    def look_again_for(self, key: int, stream: TappedStream) -> None:
        """The same, once the rings have been emptied."""
        self._take_in()
        self.look_for(key, stream)

    def _narrow(self) -> None:
        """See the connections of this process to the servers that are watched, and as few others as possible."""
        for ring in self._rings.values():
            ring.take_only(self._ports, self._local_ports)

    @property
    def _local_ports(self) -> Sequence[PortRange]:
        return self.own_ports.ranges if self.own_ports is not None else ()

    def _take_in(self) -> None:
        for ring in self._rings.values():
            for slots in ring.take():
                found = decode(slots, ring.layout)
                for key, first_sequence in found.beginnings.items():
                    self._begin(key, first_sequence)
                if len(found.segments.keys):
                    self._taken_in.append(found.segments)
                    self.ends.look_at(found.segments)
                for key in found.closed:
                    self.ends.look_into(key)

    def _begin(self, key: int, first_sequence: int) -> None:
        """A connection was accepted; this may be said twice."""
        stream = self._streams.get(key)
        known = stream or self._beginnings.get(key)
        if known is not None and known.first_sequence == first_sequence:
            return
        for run in self._take_out(key):  # of a connection that had these ports before
            if stream is not None:
                stream.take(run)
        if stream is not None and stream.first_sequence is None:
            stream.begins(first_sequence)
        else:
            self._streams.pop(key, None)
            self._beginnings[key] = _Beginning(first_sequence, time.perf_counter_ns(), [])

    def _take_out(self, key: int) -> list[SegmentRun]:
        """Of what was taken from the rings, the segments of one connection, which are handed to no other then."""
        if len(self._taken_in) > _MOST_TABLES:
            self._taken_in = [concatenated(self._taken_in)]
        return [run for table in self._taken_in if (run := table.take_out(key)) is not None]

    def _hand_out(self) -> None:
        if not self._taken_in:
            return
        segments, self._taken_in = concatenated(self._taken_in), []
        streams, beginnings = self._streams, self._beginnings
        for key, run in segments.by_connection():
            if (stream := streams.get(key)) is not None:
                stream.take(run)
            elif (beginning := beginnings.get(key)) is not None and len(beginning.runs) < _MOST_EARLY_RUNS:
                beginning.runs.append(run)

    def close(self) -> None:
        """Give everything back; `watch` begins anew."""
        if DEFERRED_READER.before_polls == self._look:  # and not of a tap that came later
            DEFERRED_READER.need_nothing()
        if self._greenlet is not None:
            self._greenlet.kill()
        for ring in self._rings.values():
            ring.close()
        for held in (self._rings, self._ports, self._streams, self._beginnings, self._taken_in):
            held.clear()
        if self.own_ports is not None:
            self.own_ports.release()
            self.own_ports = None
        self.ends = StreamEnds()

    def _look_often(self) -> None:
        while True:
            for _ in range(_LOOKS):
                gevent.sleep(LOOK_S)
                self._look()
            self.empty()
            self._forget()
            self._notice_losses()

    def _look(self) -> None:
        """Take what the rings hold, and read the streams that it may have ended."""
        self._take_in()
        self._read_ended()

    def _read_ended(self) -> None:
        """The streams that may have ended."""
        for count, key in enumerate(self.ends.take(), start=1):
            if (stream := self._streams.get(key)) is not None:
                stream.on_other_length()
            if count % _ENDS_IN_A_ROW == 0:
                gevent.sleep(_PAUSE_S)
                self._take_in()

    def _forget(self) -> None:
        """Beginnings of other processes' connections: this one's are taken up at once."""
        since_ns = time.perf_counter_ns() - _BEGINNING_KEPT_NS
        for key, beginning in list(self._beginnings.items()):
            if beginning.seen_ns >= since_ns and len(self._beginnings) <= _MOST_BEGINNINGS:
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


def tap_refusal() -> str | None:
    """Why this process cannot have a tap; None where it can."""
    try:
        for layout in (IPV4, IPV6):  # of their full size: the memory is to be had as well
            PacketRing(layout, [1]).close()
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
