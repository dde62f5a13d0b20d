"""Ports that a process has for itself: taken, used up, given back, and where the system has no such thing."""

from __future__ import annotations

import errno
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.peer import Server
from tokenswarm.wire import Origin, PacketTap, StreamClient
from tokenswarm.wire.connect import connected_to
from tokenswarm.wire.tap import own_ports
from tokenswarm.wire.tap.own_ports import MOST_RANGES, OwnPorts, PortRange, parts_of

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="ranges of local ports are Linux's")


class Process(OwnPorts):
    """What a process has, and what its filter gets: the ranges after each change."""

    def __init__(self) -> None:
        self.changes: list[list[PortRange]] = []
        super().__init__(lambda: self.changes.append(self.ranges))


@pytest.fixture
def processes(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Process]]:
    """Two of them, by names that no other program takes."""
    monkeypatch.setattr(own_ports, "_NAME", own_ports._NAME + f" of the test {id(monkeypatch)}")
    both = [Process(), Process()]
    try:
        with socket.socket() as sock:
            sock.setsockopt(socket.IPPROTO_IP, own_ports._IP_LOCAL_PORT_RANGE, own_ports._BOUNDS.pack(0))
    except OSError:
        pytest.skip("this kernel has no IP_LOCAL_PORT_RANGE: it is older than Linux 6.3")
    yield both
    for each in both:
        each.release()


def ports_of(server: Server, own: OwnPorts, connections: int) -> list[int]:
    """The local ports of so many connections that are open together."""
    address = ("127.0.0.1", server.origin.port)
    opened = [connected_to(socket.AF_INET, address, own) for _ in range(connections)]
    ports = [sock.getsockname()[1] for sock in opened]
    for sock in opened:
        sock.close()
    return ports


def test_connections_of_two_processes_have_ports_of_different_ranges(server: Server, processes: list[Process]) -> None:
    one, other = processes
    for own in processes:
        ports = ports_of(server, own, 4)
        assert len(own.ranges) == 1
        assert all(own.ranges[0].first <= port <= own.ranges[0].last for port in ports)
        assert own.changes == [own.ranges]
    assert one.ranges[0].last < other.ranges[0].first


def test_where_a_range_is_used_up_another_is_taken_and_then_those_of_all(
    server: Server, processes: list[Process], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, last = map(int, own_ports._RANGE_FILE.read_text().split())
    pair, single = PortRange(last - 3, last - 2), PortRange(last, last)
    monkeypatch.setattr(own_ports, "slices", lambda: [pair, single])
    own, _ = processes
    ports = ports_of(server, own, 4)
    assert set(ports[:3]) == {last - 3, last - 2, last}
    assert first <= ports[3] <= last
    assert own.changes == [[pair], [pair, single], []]
    assert own.ranges == []


def test_only_who_found_the_range_in_use_used_up_takes_another(processes: list[Process]) -> None:
    """Many may find that at once."""
    own, _ = processes
    with socket.socket() as sock:
        tried = own.restrict(sock)
    assert tried is not None
    own.are_used_up(tried)
    own.are_used_up(tried)
    assert len(own.ranges) == 2


def test_what_a_process_gives_back_another_may_have(processes: list[Process]) -> None:
    one, other = processes
    with socket.socket() as sock:
        first = one.restrict(sock)
        one.release()
        assert other.restrict(sock) == first


@pytest.mark.parametrize("lacking", ["the option", "the file", "a free name", "such sockets", "a filter"])
def test_where_there_are_no_own_ports_connections_have_any(
    server: Server, processes: list[Process], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, lacking: str
) -> None:
    """Whatever the reason, the server is not to be blamed for it."""
    own, _ = processes

    def refuse(*_: object) -> None:
        raise OSError(errno.EAFNOSUPPORT, "not supported")

    if lacking == "the option":
        monkeypatch.setattr(own_ports, "_IP_LOCAL_PORT_RANGE", 9999)
    elif lacking == "the file":
        monkeypatch.setattr(own_ports, "_RANGE_FILE", tmp_path / "no such file")
    elif lacking == "a free name":
        other = Process()
        other._held += [own_ports._bound_to(own_ports._NAME.format(number)) for number in range(MOST_RANGES)]
        processes.append(other)  # they are closed at the end
    elif lacking == "such sockets":
        monkeypatch.setattr(own_ports, "_PlainSocket", refuse)
    else:
        own = OwnPorts(refuse)
    assert len(ports_of(server, own, 2)) == 2
    assert own.ranges == []


def test_where_the_kernel_s_range_was_changed_meanwhile_the_tap_is_to_see_all_ports(
    server: Server, processes: list[Process]
) -> None:
    """The kernel then gives a port that is not of the slice."""
    own, _ = processes
    with socket.socket() as sock:
        wanted = own.restrict(sock)
        assert wanted is not None
        sock.connect(("127.0.0.1", server.origin.port))
        own.check(sock, wanted)
        assert own.ranges == [wanted]
        own.check(sock, PortRange(1, 2))
    assert own.ranges == own.changes[-1] == []


@given(first=st.integers(1, 65_535), size=st.integers(0, 65_535))
def test_parts_are_of_one_size_and_apart(first: int, size: int) -> None:
    last = min(first + size, 65_535)
    parts = parts_of(first, last)
    assert len(parts) == (MOST_RANGES if last + 1 - first >= MOST_RANGES else 0)
    assert len({each.last - each.first for each in parts}) <= 1
    bounds = [bound for each in parts for bound in each]
    assert bounds == sorted(bounds)
    assert not bounds or (bounds[0] == first and bounds[-1] <= last)


@pytest.mark.slow
def test_a_tap_sees_no_connections_from_the_ports_of_others(server: Server, tap: PacketTap) -> None:
    tap.share_machine()
    client = StreamClient(Origin("127.0.0.1", server.origin.port), 20.0, {}, tap=tap)
    assert client.post("/", b"").tapped
    if tap.own_ports is None or not tap.own_ports.ranges:
        pytest.skip("this kernel has no IP_LOCAL_PORT_RANGE, or other processes have all ranges")
    foreign = next(ports for ports in own_ports.slices() if ports not in tap.own_ports.ranges)
    with socket.socket() as sock:
        bounds = own_ports._BOUNDS.pack(foreign.last << 16 | foreign.first)
        sock.setsockopt(socket.IPPROTO_IP, own_ports._IP_LOCAL_PORT_RANGE, bounds)
        sock.connect(("127.0.0.1", server.origin.port))
        tap.empty()
        assert tap._beginnings == {}
    client.close()
