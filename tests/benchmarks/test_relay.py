"""The relay that two clients are compared through: what it passes on, and when it says that it did."""

from __future__ import annotations

import socket
import threading
import time

import pytest

from benchmarks.relay import Passed, Relay
from benchmarks.two_clients import Turn, relay_ms

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
EVENTS = (b'data: {"choi', b'ces":[]}\n\n', b"data: [DONE]\n\n")


class Server(threading.Thread):
    """Answers one request, a piece a step; `received` is what reached it, `sent_ns` when each piece left."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.received = b""
        self.sent_ns: list[int] = []
        self.next = threading.Semaphore(0)

    def run(self) -> None:
        sock, _ = self._listener.accept()
        with sock:
            while b"hello" not in self.received:
                self.received += sock.recv(1000)
            for piece in (HEAD, *EVENTS):
                self.next.acquire()
                self.sent_ns.append(time.time_ns())
                sock.sendall(piece)
        self._listener.close()


@pytest.fixture
def server() -> Server:
    server = Server()
    server.start()
    return server


def test_requests_and_answers_are_passed_on_and_timed_by_the_first_event_with_output(
    server: Server,
) -> None:
    relay = Relay(server.url)
    relay.start()
    request = b"POST /x HTTP/1.1\r\nContent-Length: 5\r\n\r\n"
    port = int(relay.url.rsplit(":", 1)[1])
    answer = b""
    before_ns = time.time_ns()
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(request)
        client.sendall(b"hello")
        for piece in (HEAD, *EVENTS):
            server.next.release()
            while not answer.endswith(piece):
                answer += client.recv(1000)
    relay.close()
    server.join()
    assert (server.received, answer) == (request + b"hello", HEAD + b"".join(EVENTS))
    (passed,) = relay.passed
    assert before_ns <= passed.received_ns <= server.sent_ns[0]
    assert server.sent_ns[2] <= passed.first_event_ns <= server.sent_ns[3]


def test_a_line_shows_what_a_client_reports_beside_the_relay() -> None:
    passed = [Passed(10_000_000, 11_000_000), Passed(20_000_000, 22_000_000)]
    assert relay_ms(passed) == 1.5
    ours = Turn("--as vllm", 2, 1.75, relay_ms(passed), 0.2, 0.05)
    assert ours.line() == (
        "--as vllm       2 requests   mean TTFT 1.750 ms   at the relay 1.500   more +0.250   "
        "of it connecting 0.200   client delay 0.050"
    )
    theirs = Turn("vllm bench", 2, 2.5, relay_ms(passed), None, None)
    assert theirs.line() == "vllm bench      2 requests   mean TTFT 2.500 ms   at the relay 1.500   more +1.000"
