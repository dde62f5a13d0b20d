from gevent import monkey; monkey.patch_all()  # noqa: E702, I001  # fmt: skip
# Before anything else is imported, as under Locust: tests run in the world that the code runs in.

import logging
import socket
import sys
from collections.abc import Iterator

import gevent
import pytest
from hypothesis import settings
from locust.rpc import zmqrpc

import tokenswarm.sanitize.process
from tests.peer import PlainSocket, Server, server_on_ipv6_or_skip
from tokenswarm.wire.tap.packet_tap import PacketTap, tap_refusal

# How long an example takes is the machine's affair: a busy one would fail tests of nothing but its speed.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")

pytest_plugins = ["tests.parallel"]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The long attacks run only where `-m` names them."""
    if "chaos" not in config.option.markexpr:
        attacks = [item for item in items if item.get_closest_marker("chaos")]
        config.hook.pytest_deselected(items=attacks)
        items[:] = [item for item in items if not item.get_closest_marker("chaos")]


@pytest.fixture(autouse=True)
def what_a_run_leaves_in_its_process() -> Iterator[None]:
    """Secrets, sockets in place of Locust's, and a guard of what is logged stay for the rest of a process, which has
    other tests to run here. One fixture for all: each costs every test some time."""
    secrets, factory = tokenswarm.sanitize.process._known, logging.getLogRecordFactory()
    sockets = zmqrpc.Client, zmqrpc.Server
    tokenswarm.sanitize.process._known = tokenswarm.sanitize.process._Known()
    yield
    tokenswarm.sanitize.process._known = secrets
    zmqrpc.Client, zmqrpc.Server = sockets
    logging.setLogRecordFactory(factory)


@pytest.fixture
def tap() -> Iterator[PacketTap]:
    """A tap of the test's own; where this process may not have one, the test is skipped."""
    if reason := tap_refusal():
        pytest.skip(f"a packet tap needs Linux and the capability CAP_NET_RAW: {reason}")
    one = PacketTap()
    yield one
    one.close()


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


@pytest.fixture
def server_on_ipv6() -> Iterator[Server]:
    server = server_on_ipv6_or_skip()
    yield server
    server.close()


@pytest.fixture(scope="session")
def kernel_stamps() -> Iterator[None]:
    """Skips where the kernel gives no receive times, by asking the kernel itself and not the code under test.

    The kernel stamps only while a socket of the host asks for it, and begins a moment late: this one asks throughout.
    """
    so_timestampns = 35
    if not sys.platform.startswith("linux"):
        pytest.skip("kernel receive times are asked for on Linux only")
    with PlainSocket(socket.AF_INET, socket.SOCK_STREAM) as listener, PlainSocket() as asking:
        listener.bind(("127.0.0.1", 0))
        listener.listen(1)
        asking.connect(listener.getsockname())
        other, _ = listener.accept()
        with other:
            try:
                asking.setsockopt(socket.SOL_SOCKET, so_timestampns, 1)
            except OSError as error:
                pytest.skip(f"this kernel gives no receive times: {error}")

            def stamps() -> bool:
                other.sendall(b"x")
                return bool(asking.recvmsg(1, socket.CMSG_SPACE(16))[1])

            for _ in range(200):
                if stamps():
                    break
                gevent.sleep(0.01)
            else:
                pytest.skip("this kernel takes the option and gives no receive times on TCP")
            yield
