"""Running out of what this machine allows is the client's failure, and is found before the run where it can be."""

from __future__ import annotations

import errno
import gc
import os
import resource
import socket
import weakref
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import gevent
import gevent.socket
import pytest
from gevent import monkey

from tokenswarm.wire import (
    ClientLimitReached,
    ConnectFailed,
    Limits,
    Origin,
    StreamClient,
    WireError,
    process_limits,
    shortage,
)
from tokenswarm.wire.connect import connect
from tokenswarm.wire.limits import has_ipv6, limit_reached, reserve_descriptors

LIMITS = [errno.EMFILE, errno.ENFILE, errno.EADDRNOTAVAIL, errno.ENOBUFS, errno.ENOMEM, errno.ENOSPC]


@pytest.mark.parametrize(
    ("limits", "connections", "of_machine", "lacks"),
    [
        (Limits(1000, 100, 28_000), 860, 860, None),
        (Limits(1000, 100, 28_000), 861, 861, "open files"),
        (Limits(None, 100, None), 10**6, 10**6, None),
        (Limits(10**6, 100, 28_232), 1000, 28_232, None),
        (Limits(10**6, 100, 28_232), 1000, 28_233, "local ports"),
    ],
)
def test_a_shortage_is_known_before_the_run(
    limits: Limits, connections: int, of_machine: int, lacks: str | None
) -> None:
    reason = shortage(limits, connections, of_machine)
    assert (lacks is None) == (reason is None)
    assert lacks is None or (reason is not None and lacks in reason)


def test_a_shortage_of_files_says_the_command_that_ends_it() -> None:
    reason = shortage(Limits(1024, 24, None), 2000, 2000)
    assert reason is not None
    assert "ulimit -n 2064" in reason
    assert shortage(Limits(2064, 24, None), 2000, 2000) is None


@pytest.fixture
def few_files() -> Iterator[int]:
    """A soft limit of open files a little above what this process has open, as it was afterwards."""
    gc.collect()  # files of earlier tests that nothing refers to would be closed in the middle of this one,
    gevent.sleep(0.05)  # and gevent closes some only when its loop runs
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    few = len(list(Path("/proc/self/fd").iterdir())) + 64
    resource.setrlimit(resource.RLIMIT_NOFILE, (few, limits[1]))
    yield few
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_the_limit_is_raised_as_far_as_the_process_may(few_files: int) -> None:
    limits = process_limits(400)
    assert limits.open_files is not None
    assert limits.open_files == limits.files_in_use + 400 + 40 == resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    assert 2 < limits.files_in_use < few_files


def test_a_process_that_has_all_its_files_open_is_counted_as_such(few_files: int) -> None:
    taken: list[int] = []
    with suppress(OSError):
        while True:
            taken.append(os.open(os.devnull, os.O_RDONLY))
    try:
        assert process_limits(0).files_in_use == few_files
    finally:
        for fileno in taken:
            monkey.get_original("os", "close")(fileno)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux shows the length of the table")
def test_descriptors_are_reserved_before_they_are_needed() -> None:
    """The kernel stops the process for milliseconds where it enlarges the table."""

    def table_length() -> int:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("FDSize:"))

    number = 2 * table_length()
    if number > resource.getrlimit(resource.RLIMIT_NOFILE)[0]:
        pytest.skip("this process may not have so many")
    in_use = process_limits(0).files_in_use
    reserve_descriptors(number)
    assert table_length() >= number
    assert process_limits(0).files_in_use == in_use


def test_to_reserve_more_than_there_are_is_no_error(few_files: int) -> None:
    reserve_descriptors(10 * few_files)


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
def test_a_process_without_a_file_left_says_so(few_files: int, server: Any, name: str) -> None:
    client = StreamClient(Origin(name, server.origin.port), 20.0)
    taken: list[int] = []
    for _ in range(2):  # gevent's loop may close some of what earlier tests had open
        with suppress(OSError):
            while True:
                taken.append(os.open(os.devnull, os.O_RDONLY))
        gevent.sleep(0.05)
    try:
        with pytest.raises(ClientLimitReached, match="ulimit"):
            client.post("/", b"")
    finally:
        for fileno in taken:
            monkey.get_original("os", "close")(fileno)  # gevent's closes when its loop runs
    client.post("/", b"")
    assert server.accept().request().startswith(b"POST / ")
    client.close()


@pytest.mark.parametrize("number", LIMITS)
def test_each_limit_is_the_client_s_when_it_connects(
    number: int, server: Any, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("tokenswarm.wire.connect.connected_to", fails)
    with pytest.raises(ClientLimitReached):
        client.post("/", b"")


@pytest.mark.parametrize("number", [errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH])
def test_what_the_network_says_is_no_limit(
    number: int, server: Any, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("tokenswarm.wire.connect.connected_to", fails)
    with pytest.raises(WireError) as failed:
        client.post("/", b"")
    assert isinstance(failed.value, ConnectFailed)
    assert limit_reached(socket.gaierror(socket.EAI_NONAME, "unknown")) is None


@pytest.mark.parametrize("number", [errno.ENOBUFS, errno.ENOMEM])
def test_memory_that_ends_while_a_request_is_sent_is_the_client_s(server: Any, client: Any, number: int) -> None:
    client.connect()
    connection = client._connection

    class NoMemory:
        def __getattr__(self, name: str) -> Any:
            return getattr(real, name)

        def send(self, data: bytes) -> int:
            raise OSError(number, os.strerror(number))

    real = connection._sock
    connection._sender._sock = NoMemory()
    exchange = client.post("/", b"")
    assert isinstance(exchange.error, ClientLimitReached)


@pytest.mark.parametrize("bound", [True, False])
def test_a_machine_has_ipv6_where_a_socket_can_be_bound_to_it(bound: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    class Ipv6Socket:
        def __init__(self, family: int, kind: int) -> None:
            assert (family, kind) == (socket.AF_INET6, socket.SOCK_STREAM)

        def __enter__(self) -> Ipv6Socket:
            return self

        def __exit__(self, *_: object) -> None: ...

        def bind(self, address: tuple[str, int]) -> None:
            if not bound:
                raise OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))

    monkeypatch.setattr("tokenswarm.wire.limits._PlainSocket", Ipv6Socket)
    assert has_ipv6() is bound


@pytest.mark.parametrize(
    ("host", "number", "kind"),
    [
        ("localhost", errno.ECONNREFUSED, ConnectFailed),
        ("localhost", errno.EADDRNOTAVAIL, ClientLimitReached),
        ("::1", errno.EADDRNOTAVAIL, ConnectFailed),
    ],
)
def test_a_machine_without_ipv6_lacks_no_port_for_it(
    host: str, number: int, kind: type[WireError], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a server that is down, addressed by a name that has an IPv6 address too, is the client's failure."""

    def fails(family: int, address: tuple[str, int], own_ports: object) -> None:
        code = number if address[0] == "127.0.0.1" else errno.EADDRNOTAVAIL  # the last address of a name is IPv6
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("tokenswarm.wire.connect.has_ipv6", lambda: False)
    monkeypatch.setattr("tokenswarm.wire.connect.connected_to", fails)
    with pytest.raises(WireError) as failed:
        StreamClient(Origin(host, 9), 20.0).post("/", b"")
    assert type(failed.value) is kind


def test_an_address_that_cannot_be_had_leaves_no_garbage(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a name with several: each connection would leave some, and searching for it takes time."""
    left: list[weakref.ref[OSError]] = []

    class Refused(OSError):
        def __init__(self) -> None:
            super().__init__(errno.ECONNREFUSED, "refused")
            left.append(weakref.ref(self))

    def first_fails(family: int, address: tuple[str, int], own_ports: object) -> Any:
        if left:
            return gevent.socket.socket(family)
        raise Refused

    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 9))] * 2
    monkeypatch.setattr("gevent.socket.getaddrinfo", lambda *_: found)
    monkeypatch.setattr("tokenswarm.wire.connect.connected_to", first_fails)
    gc.disable()
    try:
        connect(Origin("two.example", 9), 20.0, None).close()
        assert left[0]() is None
    finally:
        gc.enable()
