"""The filter's program, run as the kernel runs it, and slots as the kernel fills them."""

from __future__ import annotations

import socket
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenswarm.wire.tap.headers import FIN, IPV4, IPV6, RST, SYN, HeaderLayout
from tokenswarm.wire.tap.own_ports import MOST_RANGES, PortRange
from tokenswarm.wire.tap.packet_filter import MOST_PORTS, program
from tokenswarm.wire.tap.ring_slots import FILLED, Decoded, decode, slot_bytes, slot_type
from tokenswarm.wire.tap.segments import connection_key

ACK = 0x10
TCP, UDP = 6, 17
ADDRESSES = {IPV4: "10.1.2.3", IPV6: "fd00:1::2:3"}
LAYOUTS = pytest.mark.parametrize("layout", [IPV4, IPV6], ids=["IPv4", "IPv6"])
#: The instructions of linux/bpf_common.h that the program may use, by what they do.
LOADS = {0x30: "B", 0x28: "H"}


def kept_of(code: bytes, packet: bytes) -> int:
    """How many bytes of a packet the kernel keeps by this program; 0 where it passes it over."""
    steps = [*struct.iter_unpack("=HBBI", code)]
    place = a = x = 0
    while True:
        opcode, if_true, if_false, k = steps[place]
        place += 1
        if opcode in LOADS:
            size = struct.calcsize(LOADS[opcode])
            if k + size > len(packet):
                return 0
            (a,) = struct.unpack_from(f"!{LOADS[opcode]}", packet, k)
        elif opcode == 0x06:
            return k
        elif opcode == 0x07:
            x = a
        elif opcode in (0x15, 0x45, 0x2D, 0x25, 0x35):
            holds = {0x15: a == k, 0x45: bool(a & k), 0x2D: a > x, 0x25: a > k, 0x35: a >= k}[opcode]
            place += if_true if holds else if_false
        else:
            a = {0x54: a & k, 0x74: a >> k, 0x04: a + k}[opcode] % (1 << 32)


def packet(
    layout: HeaderLayout,
    data: bytes = b"x",
    *,
    port: int = 80,
    local_port: int = 50_000,
    sequence: int = 1,
    flags: int = ACK,
    options: bytes = b"",
    protocol: int = TCP,
    fragment: int = 0,
    ip_options: bytes = b"",
) -> bytes:
    tcp = struct.pack("!HHIIBBHHH", port, local_port, sequence, 0, (20 + len(options)) // 4 << 4, flags, 0, 0, 0)
    behind = tcp + options + data
    source = socket.inet_pton(layout.family, ADDRESSES[layout])
    if layout is IPV4:
        first = 0x40 | (20 + len(ip_options)) // 4
        length = 20 + len(ip_options) + len(behind)
        head = struct.pack("!BBHHHBBH", first, 0, length, 0, fragment, 64, protocol, 0) + source + source + ip_options
    else:
        head = struct.pack("!IHBB", 6 << 28, len(behind), protocol, 64) + source + source
    return head + behind


@LAYOUTS
def test_data_and_beginnings_and_ends_from_the_ports_are_kept_up_to_their_flags(
    layout: HeaderLayout,
) -> None:
    code = program(layout, [80, 8080])
    timestamps = b"\x01\x01\x08\x0a" + b"\0" * 8
    kept = [
        packet(layout),
        packet(layout, port=8080, options=timestamps),
        packet(layout, b"", flags=SYN | ACK),
        packet(layout, b"last", flags=FIN | ACK),
        packet(layout, b"", flags=FIN | ACK),
        packet(layout, b"", flags=RST),
    ]
    assert [kept_of(code, each) for each in kept] == [layout.tcp_at + 14] * len(kept)


@LAYOUTS
def test_nothing_else_is_kept(layout: HeaderLayout) -> None:
    code = program(layout, [80])
    others = [
        packet(layout, b""),
        packet(layout, b"", options=b"\x01" * 12),
        packet(layout, port=81),
        packet(layout, port=50_000, local_port=80),
        packet(layout, protocol=UDP),
        b"\x10" + packet(layout)[1:],
        packet(layout)[:30],
    ]
    if layout is IPV4:
        others += [packet(layout, fragment=0x2000), packet(layout, fragment=3), packet(layout, ip_options=b"\x01" * 4)]
    assert [kept_of(code, each) for each in others] == [0] * len(others)


@LAYOUTS
def test_a_packet_too_long_for_its_length_field_is_kept(layout: HeaderLayout) -> None:
    long = bytearray(packet(layout))
    struct.pack_into("!H", long, layout.length_at, 0)
    assert kept_of(program(layout, [80]), bytes(long)) > 0


@LAYOUTS
@pytest.mark.parametrize("place", [0, MOST_PORTS - 1])
def test_each_of_the_most_ports_is_reached(layout: HeaderLayout, place: int) -> None:
    ports = [*range(1000, 1000 + MOST_PORTS)]
    assert kept_of(program(layout, ports), packet(layout, port=ports[place])) > 0


@LAYOUTS
@given(
    ranges=st.lists(st.tuples(st.integers(0, 65_535), st.integers(0, 65_535)), min_size=1, max_size=MOST_RANGES),
    local_port=st.integers(0, 65_535),
)
def test_packets_to_none_of_the_local_ports_are_not_kept(
    layout: HeaderLayout, ranges: list[tuple[int, int]], local_port: int
) -> None:
    """With the most ports of servers, so that jumps are at their longest."""
    ports = [PortRange(*sorted(bounds)) for bounds in ranges]
    code = program(layout, [*range(1000, 1000 + MOST_PORTS)], ports)
    for local in (local_port, *(end + step for bounds in ports for end in bounds for step in (-1, 0, 1))):
        if 0 <= local <= 65_535:
            wanted = any(first <= local <= last for first, last in ports)
            assert bool(kept_of(code, packet(layout, port=1000, local_port=local))) is wanted


@pytest.mark.parametrize("ports", [[], [*range(MOST_PORTS + 1)]])
def test_a_filter_without_ports_or_of_too_many_is_a_mistake(ports: list[int]) -> None:
    with pytest.raises(ValueError, match=f"1 to {MOST_PORTS} ports"):
        program(IPV4, ports)


def test_a_filter_of_too_many_ranges_is_a_mistake() -> None:
    with pytest.raises(ValueError, match=f"up to {MOST_RANGES} ranges"):
        program(IPV4, [80], [PortRange(1, 2)] * (MOST_RANGES + 1))


def slots_of(layout: HeaderLayout, packets: list[tuple[bytes, int]], length: int | None = None) -> Any:
    """Slots as the kernel fills them with (packet, time in ns)."""
    memory = bytearray()
    for data, time_ns in packets:
        seconds, nanoseconds = divmod(time_ns, 10**9)
        head = struct.pack("=IIIHHII", FILLED, length or len(data), layout.kept_bytes, 80, 80, seconds, nanoseconds)
        memory += (head.ljust(80, b"\0") + data[: layout.kept_bytes]).ljust(slot_bytes(layout), b"\0")
    return np.frombuffer(memory, dtype=slot_type(layout))


def key_of(layout: HeaderLayout, local_port: int) -> int:
    packed = socket.inet_pton(layout.family, ADDRESSES[layout])
    return connection_key(struct.unpack(f"!{len(packed) // 4}I", packed), 80, local_port)


def segments_of(found: Decoded, layout: HeaderLayout, local_port: int) -> list[tuple[int, int, int]]:
    """(sequence, length, time) of a connection's segments."""
    run = dict(found.segments.by_connection()).get(key_of(layout, local_port))
    return [*zip(run.sequences, run.lengths, run.times_ns)] if run else []


@LAYOUTS
@given(
    packets=st.lists(
        st.tuples(
            st.integers(50_000, 50_002),  # local port
            st.integers(0, 2**32 - 1),  # sequence
            st.binary(min_size=1, max_size=40),
            st.sampled_from([0, 12]),  # bytes of TCP options
            st.integers(0, 2 * 10**18),  # time
        ),
        max_size=8,
    )
)
def test_slots_are_decoded_to_the_segments_that_were_sent(layout: HeaderLayout, packets: list[Any]) -> None:
    sent = [
        (packet(layout, data, local_port=port, sequence=sequence, options=b"\x01" * options), time_ns)
        for port, sequence, data, options, time_ns in packets
    ]
    found = decode(slots_of(layout, sent), layout)
    for local in range(50_000, 50_003):
        expected = [(sequence, len(data), time_ns) for port, sequence, data, _, time_ns in packets if port == local]
        assert segments_of(found, layout, local) == expected
    assert found.beginnings == {}


@LAYOUTS
def test_a_beginning_gives_the_sequence_number_of_the_first_byte(layout: HeaderLayout) -> None:
    answer = packet(layout, b"", flags=SYN | ACK, sequence=2**32 - 1)
    found = decode(slots_of(layout, [(answer, 5), (packet(layout, b"abc", sequence=0), 6)]), layout)
    assert found.beginnings == {key_of(layout, 50_000): 0}
    assert segments_of(found, layout, 50_000) == [(0, 3, 6)]


@LAYOUTS
def test_a_connection_that_the_server_closes_or_resets_is_named(layout: HeaderLayout) -> None:
    packets = [
        packet(layout, b"last", flags=FIN | ACK, local_port=50_000),
        packet(layout, b"", flags=RST, local_port=50_001),
        packet(layout, b"abc", local_port=50_002),
    ]
    found = decode(slots_of(layout, [(each, at) for at, each in enumerate(packets)]), layout)
    assert found.closed == [key_of(layout, 50_000), key_of(layout, 50_001)]
    assert [len(segments_of(found, layout, port)) for port in (50_000, 50_001, 50_002)] == [1, 0, 1]


@LAYOUTS
def test_the_length_of_a_packet_too_long_for_its_length_field_is_the_kernels(layout: HeaderLayout) -> None:
    long = bytearray(packet(layout))
    struct.pack_into("!H", long, layout.length_at, 0)
    found = decode(slots_of(layout, [(bytes(long), 5)], length=100_000), layout)
    (segment,) = segments_of(found, layout, 50_000)
    assert segment == (1, 100_000 - layout.tcp_at - 20, 5)


def test_a_slot_whose_packet_is_elsewhere_is_passed_over() -> None:
    slots = slots_of(IPV4, [(packet(IPV4), 5)]).copy()
    slots["network"] = 96
    assert segments_of(decode(slots, IPV4), IPV4, 50_000) == []
