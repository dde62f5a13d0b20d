"""The paced server, as a client finds it and as its log tells of it."""

from __future__ import annotations

import http.client
import socket
import ssl
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
import trustme

from tokenswarm.simulator.paced_answers import LAST_CHUNK, RenderedAnswers, answer_events
from tokenswarm.simulator.paced_log import read_server_log

ROOT = Path(__file__).resolve().parents[2]
BODY = b'{"messages": []}'


class Running:
    """A truth server that paces fast, and its log once it has ended."""

    def __init__(self, log: Path, shortest: int, longest: int, *more: str) -> None:
        self.log = log
        command = [sys.executable, "-m", "tokenswarm.simulator.paced", "--log", str(log)]
        options = ["--tokens", str(shortest), str(longest), "--tokens-per-s", "500", "--ttft-ms", "20"]
        self.process = subprocess.Popen(
            [*command, *options, *more], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.port = int(self.process.stdout.readline().rpartition(":")[2])

    def generation(self, connection: http.client.HTTPConnection, request_id: str) -> bytes:
        connection.request("POST", "/v1/chat/completions", BODY, {"X-Request-Id": request_id})
        return connection.getresponse().read()

    def connection(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)

    def end(self):
        self.process.stdin.close()
        assert self.process.wait(timeout=20) == 0
        return read_server_log(self.log)


@pytest.fixture
def start(tmp_path):
    started = []

    def make(shortest: int, longest: int, *more: str) -> Running:
        started.append(Running(tmp_path / "server.csv", shortest, longest, *more))
        return started[-1]

    yield make
    for running in started:
        running.process.kill()
        running.process.wait()
        running.process.stdout.close()


def test_an_answer_is_a_role_a_text_a_token_the_usage_and_done():
    events = answer_events(5)
    payloads = [event.removeprefix(b"data: ").strip() for event in events]
    assert payloads[-1] == b"[DONE]"
    chunks = [msgspec.json.decode(payload) for payload in payloads[:-1]]
    assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"
    texts = [chunk["choices"][0]["delta"]["content"] for chunk in chunks[1:6]]
    assert len(texts) == 5
    assert all(texts)
    assert chunks[5]["choices"][0]["finish_reason"] == "length"
    assert chunks[6]["usage"]["completion_tokens"] == 5


def test_answers_of_every_length_are_the_same_words_cut_short():
    answers = RenderedAnswers(4, 6)
    long = b"".join([*answers.writes[:5], answers.endings[6]])
    short = b"".join([*answers.writes[:3], answers.endings[4]])
    assert short.startswith(b"".join(answers.writes[:3]))
    assert long.count(b'"content":') == 7  # the role's empty one too
    assert short.count(b'"content":') == 5
    assert short.endswith(LAST_CHUNK)


def test_lengths_fill_the_range_evenly():
    answers = RenderedAnswers(32, 160)
    lengths = [answers.tokens(number) for number in range(1000)]
    assert {min(lengths), max(lengths)} == {32, 160}
    assert sum(lengths) / len(lengths) == pytest.approx(96, abs=0.5)


def test_the_log_tells_of_each_request_what_was_written_when(start):
    server = start(8, 8)
    connection = server.connection()
    bodies = [server.generation(connection, "first"), server.generation(connection, "second")]
    connection.close()
    assert all(body.count(b"data: ") == 8 + 3 for body in bodies)
    first, second = server.end()
    assert [first.request_id, second.request_id] == ["first", "second"]
    for row in (first, second):
        assert (row.tokens, row.outcome) == (8, "ok")
        assert row.ttft_ns >= 20_000_000  # never before its time
        assert row.last_ns - row.first_ns <= 7 * row.gap_max_ns
    assert second.wire_ns > first.last_ns


def test_in_step_the_tokens_of_all_streams_are_due_together(start):
    """A write differs from its step by the server's lateness alone: on a busy machine it is late, and never early."""
    server = start(4, 4, "--in-step", "--tokens-per-s", "20")
    connections = [server.connection() for _ in range(3)]
    for connection in connections:
        connection.request("POST", "/v1/chat/completions", BODY)
    assert all(connection.getresponse().read().endswith(b"[DONE]\n\n") for connection in connections)
    for connection in connections:
        connection.close()
    rows = server.end()
    for row in rows:
        assert row.ttft_ns >= 20_000_000
        due_ns = row.first_ns // 50_000_000 * 50_000_000
        assert row.first_ns - due_ns <= row.late_max_ns
        assert row.last_ns - due_ns >= 3 * 50_000_000


def test_what_is_no_post_is_not_found_and_not_logged(start):
    server = start(8, 8)
    connection = server.connection()
    connection.request("GET", "/health")
    response = connection.getresponse()
    assert (response.status, response.read()) == (404, b"")
    assert server.generation(connection, "asked").endswith(b"data: [DONE]\n\n")
    connection.close()
    assert [row.request_id for row in server.end()] == ["asked"]


def test_over_tls_it_says_and_logs_the_same(start, tmp_path):
    authority = trustme.CA()
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(tmp_path / "server.pem")
    server = start(8, 8, "--tls", str(tmp_path / "server.pem"))
    context = ssl.create_default_context()
    authority.configure_trust(context)
    connection = http.client.HTTPSConnection("127.0.0.1", server.port, timeout=20, context=context)
    bodies = [server.generation(connection, "first"), server.generation(connection, "second")]
    connection.close()
    assert all(body.count(b"data: ") == 8 + 3 for body in bodies)
    rows = server.end()
    assert [(row.request_id, row.tokens, row.outcome) for row in rows] == [("first", 8, "ok"), ("second", 8, "ok")]
    assert all(row.ttft_ns >= 20_000_000 for row in rows)


def test_a_client_that_leaves_is_logged_as_gone_with_the_tokens_it_was_sent(start):
    server = start(2000, 2000)
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as leaver:
        leaver.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
        received = b""
        while b'"role"' not in received:
            received += leaver.recv(65_536)
    # A whole answer later, the server has long noticed.
    connection = server.connection()
    connection.request("POST", "/", BODY)
    connection.getresponse().read(100_000)
    connection.close()
    rows = {row.number: row for row in server.end()}
    assert rows[0].outcome == "client_gone"
    assert 0 < rows[0].tokens < 2000


def test_what_is_under_way_when_the_server_ends_is_logged_as_cut(start):
    server = start(2000, 2000)
    connection = server.connection()
    connection.request("POST", "/", BODY)
    connection.getresponse().read(2000)
    (row,) = server.end()
    connection.close()
    assert row.outcome == "cut"
    assert row.tokens > 0
