"""A client that was stopped, or busy, for longer than a timeout: the server is judged by what it sent meanwhile."""

from __future__ import annotations

import json
import signal
import ssl
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gevent
import gevent.socket
import pytest
import trustme
from gevent import monkey

from tests.client.test_wire_cases import DONE, END, HEAD, OK, PING, WHOLE, Ended, chunk, ended, outputs, with_length
from tests.peer import Peer, SecurePeer, Server, until
from tokenswarm.wire.time_limit import time_limit

LIMIT_S = 0.5
STOPPED_S = 0.6


def stop(seconds: float = STOPPED_S) -> None:
    """The whole process stands still, its loop included; the kernel goes on receiving."""
    monkey.get_original("time", "sleep")(seconds)


@pytest.mark.parametrize("measure_gaps", [True, False])
@pytest.mark.parametrize("limit", ["first_token_s", "idle_s", "total_s"])
def test_an_answer_that_arrived_while_the_client_was_stopped_is_whole(
    limit: str, measure_gaps: bool, server: Server, askers: Any
) -> None:
    user = askers(server.origin, measure_gaps=measure_gaps, **{limit: LIMIT_S})
    user.begins()
    peer = server.accept()
    peer.request()
    seen = 0
    if limit != "first_token_s":
        peer.send(HEAD + chunk(outputs(2)))
        until(user.has_seen(2))
        seen = 2
    else:
        peer.send(HEAD)
    peer.send(chunk(outputs(3 - seen)))
    peer.send(chunk(DONE) + END)
    stop()
    assert ended(user.row()) == OK


@pytest.mark.parametrize("measure_gaps", [True, False])
def test_outputs_that_arrived_while_the_client_was_stopped_keep_their_times_and_the_stream_goes_on(
    measure_gaps: bool, server: Server, askers: Any, kernel_stamps: None
) -> None:
    user = askers(server.origin, measure_gaps=measure_gaps, idle_s=LIMIT_S)
    user.begins()
    peer = server.accept()
    peer.request()
    peer.send(HEAD + chunk(outputs(1)))
    until(user.has_seen(1))
    stop(LIMIT_S * 0.6)
    peer.send(chunk(outputs(1)))
    stop(LIMIT_S * 0.6)
    until(user.has_seen(2))
    peer.send(chunk(outputs(1) + DONE) + END)
    assert ended(user.row()) == OK


def test_a_server_that_may_have_waited_for_the_client_has_another_idle_timeout(server: Server, askers: Any) -> None:
    """What arrived filled the kernel's buffer, so that the server could send no more."""
    user = askers(server.origin, idle_s=LIMIT_S)
    asking = user.begins()
    peer = server.accept()
    peer.request()
    peer.send(HEAD + chunk(outputs(1)))
    until(user.has_seen(1))
    peer.send(chunk(PING * 3000))
    stop()
    gevent.sleep(LIMIT_S / 5)
    assert not asking.ready()
    peer.send(chunk(outputs(2) + DONE) + END)
    assert ended(user.row()) == OK


def test_a_server_that_sent_nothing_meanwhile_is_idle(server: Server, askers: Any) -> None:
    user = askers(server.origin, idle_s=LIMIT_S)
    user.begins()
    peer = server.accept()
    peer.request()
    peer.send(HEAD + chunk(outputs(1)))
    until(user.has_seen(1))
    stop()
    error = f"no further output for {LIMIT_S:g} s after 1 outputs"
    assert ended(user.row()) == Ended("timeout", "200", "1", error)


# The run's own stop.


@pytest.mark.parametrize("measure_gaps", [True, False])
@pytest.mark.parametrize(
    ("arrived", "seen_before", "row"),
    [
        pytest.param(WHOLE, 0, OK, id="all of it"),
        pytest.param(chunk(outputs(2) + DONE) + END, 1, OK, id="its end"),
        pytest.param(chunk(outputs(2) + DONE), 1, OK, id="the stream's end, not the response's"),
        pytest.param(
            chunk(b'data: {"error":{"message":"out of memory"}}\n\n') + END,
            1,
            Ended("stream_error", "200", "1", "out of memory"),
            id="an error",
        ),
        pytest.param(
            with_length(b'{"error":"busy"}', head="503 Busy"), 0, Ended("http_error", "503", "0"), id="a refusal"
        ),
        pytest.param(chunk(outputs(2)), 1, Ended("cut", "200", "3"), id="more, but not its end"),
    ],
)
def test_a_request_that_had_ended_before_it_was_stopped_is_what_it_is(
    arrived: bytes, seen_before: int, row: Ended, measure_gaps: bool, server: Server, askers: Any
) -> None:
    user = askers(server.origin, measure_gaps=measure_gaps)
    asking = user.begins()
    peer = server.accept()
    peer.request()
    if seen_before:
        peer.send(HEAD + chunk(outputs(seen_before)))
        until(user.has_seen(seen_before))
    peer.send(arrived)
    asking.kill()  # gevent does this before it looks at any socket
    seen = ended(user.row())
    assert seen[:3] == row[:3]
    assert not row.error or seen.error == row.error


# Connecting.


def test_a_limit_of_time_is_not_over_for_what_arrived_while_the_process_was_stopped() -> None:
    reader, writer = gevent.socket.socketpair()
    with reader, writer:
        with time_limit(0.05):
            writer.send(b"x")
            stop(0.1)
            assert reader.recv(1) == b"x"
        with pytest.raises(TimeoutError), time_limit(0.05):
            reader.recv(1)
        with time_limit(0.0):
            pass
        gevent.sleep(0.1)  # nothing is left that could raise


@pytest.fixture
def secure(tmp_path: Path) -> Callable[[Peer], SecurePeer]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    return lambda peer: SecurePeer(peer, context)


@pytest.mark.slow
def test_a_process_that_was_stopped_for_longer_than_its_timeouts_reports_whole_answers(
    secure: Callable[[Peer], SecurePeer],
) -> None:
    """As by Ctrl-Z, a debugger or a hypervisor: the signal that continues it also ends its wait for sockets, so that
    its timers run out first."""
    limit_s, limits, servers = 3.0, ("first_token_s", "idle_s", "total_s"), []
    cases: list[Any] = []
    for tls in (False, True):
        for limit in limits:
            for measure_gaps in (True, False):
                servers.append((Server(), tls, limit))
                origin = f"http{'s' * tls}://{servers[-1][0].origin.authority}"
                cases.append((origin, {limit: limit_s}, measure_gaps))
    connecting = Server()
    cases.append((f"https://{connecting.origin.authority}", {"connect_s": limit_s}, True))
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.client.stopped_client", json.dumps(cases)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert child.stdout is not None
    try:
        ends: list[tuple[Any, str]] = []
        for server, tls, limit in servers:
            end: Any = secure(server.accept()) if tls else server.accept()
            if tls:
                end.shake_hands()
            ends.append((end, limit))
        late = secure(connecting.accept())
        late.shake_hands(to_the_end=False)
        for end, limit in ends:
            end.request()
            end.send(HEAD if limit == "first_token_s" else HEAD + chunk(outputs(1)))
        for _ in range(sum(limit != "first_token_s" for _, limit in ends)):
            assert child.stdout.readline() == "output\n"
        child.send_signal(signal.SIGSTOP)
        late.flush()
        for end, _ in ends:
            end.send(chunk(outputs(1)))
            end.send(chunk(outputs(1) + DONE) + END)
        stop(limit_s + 0.5)
        child.send_signal(signal.SIGCONT)
        late.shake_hands()
        late.request()
        late.send(WHOLE)
        *_, last = child.communicate(timeout=60)[0].splitlines()
    finally:
        child.kill()
        child.wait()
        for server in (connecting, *(server for server, _, _ in servers)):
            server.close()
    assert json.loads(last) == [["ok", None]] * len(cases)
