"""What servers and networks do to one user, from a real socket to requests.csv.

Whatever happens to a request, it is in the file once, the books balance (`rows` sees to both), its error is one
line, and the next request is answered.
"""

from __future__ import annotations

import errno
import os
import sys
import time
from typing import Any, NamedTuple

import gevent
import pytest
from gevent import monkey

import tokenswarm.engines.openai
import tokenswarm.engines.sse
import tokenswarm.wire.http
from tests.peer import Peer, PlainSocket, Server, just_before_it_sends, until
from tokenswarm.engines import Delta, EngineError
from tokenswarm.wire import Origin

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
UNTIL_CLOSE = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
END = b"0\r\n\r\n"
DONE = b"data: [DONE]\n\n"
ERROR = b'data: {"error":{"message":"EngineCore died","code":500}}\n\n'
USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":11,"completion_tokens":7}}\n\n'
PING = b": ping\n\n"
ANSWER = b'{"id":"1","object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"Hi"}}]}'
PAGE = b"<!DOCTYPE html>\n<html><head><title>502 Bad\n Gateway</title></head><body><h1>nginx</h1></body></html>"


def outputs(number: int) -> bytes:
    return b'data: {"choices":[{"index":0,"delta":{"content":"so"}}]}\n\n' * number


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def with_length(body: bytes, *, length: int | None = None, head: str = "200 OK", **headers: str) -> bytes:
    """A response that says how long its body is, truly unless told otherwise."""
    lines = [f"HTTP/1.1 {head}", f"Content-Length: {len(body) if length is None else length}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def stream_of(body: bytes, length: int) -> bytes:
    return with_length(body, length=length, Content_Type="text/event-stream")


WHOLE = HEAD + chunk(outputs(3) + DONE) + END


class Mentions:
    """Equal to each error that has these values in it, whatever its wording."""

    def __init__(self, *values: str) -> None:
        self.values = values

    def __eq__(self, other: object) -> bool:
        return isinstance(other, str) and all(value in other for value in self.values)

    def __hash__(self) -> int:
        return hash(self.values)

    def __repr__(self) -> str:
        return f"Mentions{self.values}"


class Ended(NamedTuple):
    """How a request ended. error: as recorded, or the values that the recorded one must have."""

    outcome: str
    status: str
    tokens: str
    error: str | Mentions = ""


def ended(row: dict[str, str]) -> Ended:
    return Ended(row["outcome"], row["status"], row["output_tokens"], row["error"])


OK = Ended("ok", "200", "3")
INSIDE = Mentions("inside", "body")
REFUSED = os.strerror(errno.ECONNREFUSED)
RESET = Mentions(os.strerror(errno.ECONNRESET))
NO_HEAD = Mentions("head")


class Case(NamedTuple):
    """What the server sends and does then (`stay` or a method of Peer), the row, and whether its connection is kept."""

    response: bytes
    then: str
    row: Ended
    kept: bool = False


STREAMS = {
    "whole": Case(WHOLE, "stay", OK, kept=True),
    "whole, with usage": Case(
        HEAD + chunk(outputs(3) + USAGE + DONE) + END, "stay", Ended("ok", "200", "7"), kept=True
    ),
    "whole, of known length": Case(with_length(outputs(3) + DONE), "stay", OK, kept=True),
    "whole, ended by the close": Case(UNTIL_CLOSE + outputs(3) + DONE, "close", OK),
    **{
        f"given up by the server: {reason}": Case(
            HEAD
            + chunk(
                outputs(3) + b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"%b"}]}\n\n' % reason.encode()
            )
            + chunk(DONE)
            + END,
            "stay",
            Ended("aborted", "200", "3", Mentions(repr(reason))),
        )
        for reason in ("abort", "error")
    },
    "whole, HTTP/1.0": Case(UNTIL_CLOSE.replace(b"1.1", b"1.0") + outputs(3) + DONE, "close", OK),
    "1xx before the response": Case(
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + WHOLE, "stay", OK, kept=True
    ),
    "the response ends neither by chunk nor by close": Case(HEAD + chunk(outputs(3) + DONE), "stay", OK),
    "a reset behind the end of the stream": Case(HEAD + chunk(outputs(3) + DONE), "reset", OK),
    "output behind the end of the stream": Case(
        HEAD + chunk(outputs(3) + DONE + outputs(1) + b"data: {\n\n") + END, "stay", OK, kept=True
    ),
    "length too short, the end of the stream within": Case(
        stream_of(outputs(3) + DONE + b"more", len(outputs(3) + DONE)), "stay", OK
    ),
    "length too short, the end of the stream beyond": Case(
        stream_of(outputs(3) + DONE, len(outputs(3))),
        "stay",
        Ended("truncated", "200", "3", Mentions("3 outputs")),
    ),
    "length too short, inside an event": Case(
        stream_of(outputs(3) + DONE, len(outputs(3)) + 7),
        "stay",
        Ended("truncated", "200", "3", Mentions("inside an event", repr(b"data: ["))),
    ),
    "length too long, the end of the stream there": Case(stream_of(outputs(3) + DONE, 9999), "close", OK),
    "length too long, the end of the stream missing": Case(
        stream_of(outputs(3), 9999), "close", Ended("truncated", "200", "3", INSIDE)
    ),
    "closed before the head": Case(b"", "close", Ended("truncated", "", "0", NO_HEAD)),
    "closed in the head": Case(HEAD[:30], "close", Ended("truncated", "", "0", NO_HEAD)),
    "closed behind the head": Case(HEAD, "close", Ended("truncated", "200", "0", INSIDE)),
    "half closed behind the head": Case(HEAD, "stop_sending", Ended("truncated", "200", "0", INSIDE)),
    "half closed behind a head without a length": Case(
        UNTIL_CLOSE,
        "stop_sending",
        Ended("truncated", "200", "0", Mentions("0 outputs")),
    ),
    "closed in the body": Case(HEAD + chunk(outputs(3)), "close", Ended("truncated", "200", "3", INSIDE)),
    "closed inside an event of a body without a length": Case(
        UNTIL_CLOSE + outputs(3) + b'data: {"cho',
        "close",
        Ended("truncated", "200", "3", Mentions("inside an event", repr(b'data: {"cho'))),
    ),
    "reset in the head": Case(HEAD[:30], "reset", Ended("truncated", "", "0", RESET)),
    "reset in the body": Case(HEAD + chunk(outputs(3)), "reset", Ended("truncated", "200", "3", RESET)),
    "reset in the body, behind usage": Case(
        HEAD + chunk(outputs(3) + USAGE), "reset", Ended("truncated", "200", "7", RESET)
    ),
    "an empty stream": Case(
        HEAD + END,
        "stay",
        Ended("truncated", "200", "0", Mentions("0 outputs")),
    ),
    "an empty stream of known length": Case(
        stream_of(b"", 0),
        "stay",
        Ended("truncated", "200", "0", Mentions("0 outputs")),
    ),
    "a stream of nothing but its end": Case(
        HEAD + chunk(DONE) + END,
        "stay",
        Ended("empty", "200", "0", Mentions("no output")),
        kept=True,
    ),
    "an error event, then the end": Case(
        HEAD + chunk(outputs(3) + ERROR + DONE) + END, "stay", Ended("stream_error", "200", "3", "EngineCore died")
    ),
    "an error event, then nothing": Case(
        HEAD + chunk(outputs(3) + ERROR), "stay", Ended("stream_error", "200", "3", "EngineCore died")
    ),
    "an error event, then a reset": Case(
        HEAD + chunk(outputs(3) + ERROR), "reset", Ended("stream_error", "200", "3", "EngineCore died")
    ),
}


def answered(case: Case, server: Server, user: Any) -> list[dict[str, str]]:
    """The rows of the case and of a request after it, which is answered in full."""
    user.begins()
    peer = server.accept()
    peer.request()
    first, output, rest = case.response.partition(outputs(1))
    peer.send(first + output)
    if output and case.row.outcome != "http_error":
        until(user.has_seen(1))
    peer.send(rest)
    if case.then == "reset":  # which would throw away what has not been read
        until(user.has_received(len(case.response)))
    if case.then != "stay":
        getattr(peer, case.then)()
    until(user.is_idle)
    user.begins()
    if not case.kept:
        peer = server.accept()
    peer.request()
    peer.send(WHOLE)
    rows: list[dict[str, str]] = user.rows()
    assert (float(rows[1]["connect_ms"]) > 0) is not case.kept
    assert ended(rows[1]) == OK
    assert not server.has_callers()
    return rows


def check(case: Case, server: Server, user: Any) -> None:
    row = answered(case, server, user)[0]
    assert ended(row) == case.row
    assert (row["output_events"] != "0") == (row["ttft_ms"] != "")
    assert "\n" not in row["error"]
    assert "hunter2" not in row["error"]  # a part of the address that may be secret
    assert len(row["error"]) <= 320


@pytest.mark.parametrize("measure_gaps", [True, False], ids=["watched", "unwatched"])
@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_is_judged_by_its_own_end(name: str, measure_gaps: bool, server: Server, askers: Any) -> None:
    check(STREAMS[name], server, askers(server.origin, measure_gaps=measure_gaps))


@pytest.mark.parametrize("measure_gaps", [True, False])
def test_events_are_counted_as_others_do_from_the_role_to_the_reason_to_finish(
    measure_gaps: bool, server: Server, askers: Any
) -> None:
    """vLLM's own client takes the role for the first token; neither a ping nor usage nor the end is an event to it."""
    asker = askers(server.origin, measure_gaps=measure_gaps)
    role = b'data: {"choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}\n\n'
    finish = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
    asker.begins()
    peer = server.accept()
    peer.request()
    sent = 0
    for piece in (HEAD + chunk(PING), chunk(role), chunk(outputs(1)), chunk(outputs(2)), chunk(finish + USAGE + DONE)):
        peer.send(piece)
        sent += len(piece)
        until(asker.has_received(sent))  # a read of its own for each
    peer.send(END)
    row = asker.row()
    assert (row["outcome"], row["events"], row["output_events"], row["finish_reason"]) == ("ok", "5", "3", "stop")
    order = [float(row[name]) for name in ("headers_ms", "first_body_ms", "first_event_ms", "ttft_ms", "e2e_ms")]
    assert order == sorted(order)
    assert float(row["first_body_ms"]) < float(row["first_event_ms"]) < float(row["ttft_ms"])
    assert float(row["e2e_ms"]) <= float(row["last_event_ms"]) <= float(row["duration_ms"])


def test_a_giant_finish_reason_is_cut(server: Server, user: Any) -> None:
    finish = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"%b"}]}\n\n' % (b"x" * 100_000)
    row, _ = answered(Case(HEAD + chunk(outputs(3) + finish + DONE) + END, "stay", OK, kept=False), server, user)
    assert (row["outcome"], row["finish_reason"]) == ("aborted", "x" * 99 + "…")


def test_a_first_output_that_was_read_with_what_came_behind_it_has_a_bound(server: Server, user: Any) -> None:
    """Alone, or behind a role, it has the kernel's own time; with another behind it, that one's."""
    role = b'data: {"choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}\n\n'
    peer = None
    for first in (outputs(1), role + outputs(1), outputs(2)):
        user.begins()
        peer = peer or server.accept()
        peer.request()
        begun = HEAD + chunk(first)
        peer.send(begun)
        until(user.has_received(len(begun)))
        peer.send(chunk(outputs(1) + DONE) + END)
        until(user.is_idle)
    rows = user.rows()
    assert [row["outcome"] for row in rows] == ["ok"] * 3
    alone_ms, behind_a_role_ms, before_another_ms = (float(row["ttft_uncertainty_ms"]) for row in rows)
    assert alone_ms == behind_a_role_ms == 0 < before_another_ms <= float(rows[2]["ttft_ms"])


def test_an_event_that_is_no_chunk_ends_the_stream_though_good_events_came_in_the_same_read(
    server: Server, user: Any
) -> None:
    response = HEAD + chunk(outputs(3) + b"data: nonsense\n\n" + outputs(1))
    row = answered(Case(response, "stay", OK), server, user)[0]
    assert ended(row)[:3] == ("stream_error", "200", "3")
    assert row["error"] == Mentions("event 4")


# Answers that are no streams.

EXPECTED = "text/event-stream"


def failed(status: int, *values: str, outcome: str = "http_error") -> Ended:
    return Ended(outcome, str(status), "0", Mentions(*values) if status == 200 else Mentions(f"HTTP {status}", *values))


NOT_STREAMS = {
    "an error as JSON in a 200": Case(
        with_length(b'{"error":{"message":"no such model"}}', Content_Type="application/json"),
        "stay",
        failed(200, EXPECTED, "application/json", "no such model", outcome="stream_error"),
    ),
    "a whole answer in a 200": Case(
        with_length(ANSWER, Content_Type="Application/JSON; charset=utf-8"),
        "stay",
        failed(200, EXPECTED, "Application/JSON; charset=utf-8", outcome="stream_error"),
    ),
    "a proxy's page in a 200": Case(
        with_length(PAGE, Content_Type="text/html"),
        "stay",
        failed(200, EXPECTED, "text/html", "502 Bad Gateway", outcome="stream_error"),
    ),
    "a page without a title in a 200": Case(
        with_length(b"<html><style>p{}</style><p>Please <b>sign in</b></p></html>", Content_Type="text/html"),
        "stay",
        failed(200, EXPECTED, "text/html", "Please sign in", outcome="stream_error"),
    ),
    "a proxy's page in a 502": Case(
        with_length(PAGE, head="502 Bad Gateway", Content_Type="text/html"), "stay", failed(502, "502 Bad Gateway")
    ),
    "no content": Case(b"HTTP/1.1 204 No Content\r\n\r\n", "stay", failed(204, "status 200")),
    "partial content": Case(WHOLE.replace(b"200 OK", b"206 Partial Content"), "stay", failed(206, "status 200")),
    "an error that is compressed": Case(
        with_length(b"\x1f\x8b\x08\x00\x00", head="503 Service Unavailable", Content_Encoding="gzip"),
        "stay",
        failed(503, "gzip", "identity"),
    ),
    "an error whose body breaks off": Case(
        with_length(b"overloaded", length=99, head="503 Service Unavailable"), "close", failed(503, "overloaded")
    ),
    "an error of many words": Case(
        with_length(b"x" * 100_000, head="500 Internal Server Error"), "stay", failed(500, "x" * 299 + "…")
    ),
    "an error whose message is behind what is kept of a body": Case(
        with_length(b'{"more":"' + b"x" * 70_000 + b'","error":"late"}', head="500 Internal Server Error"),
        "stay",
        failed(500, '{"more":"' + "x" * 290 + "…"),
    ),
    "a redirect to a path": Case(
        with_length(b"", head="302 Found", Location="/login?token=hunter2"),
        "stay",
        failed(302, "/login", "--host"),
    ),
    "a redirect without a target": Case(with_length(b"gone", head="301 Moved"), "stay", failed(301, "gone")),
}


@pytest.mark.parametrize("name", NOT_STREAMS)
def test_what_is_no_stream_is_told_in_the_servers_words(name: str, server: Server, user: Any) -> None:
    check(NOT_STREAMS[name], server, user)


@pytest.mark.parametrize(
    ("content_type", "body", "words"),
    [
        ("application/json", b'{"error":{"message":"not today","code":1}}', "not today"),
        ("text/plain", b"not\ntoday\n", "not today"),
        ("text/plain", b"", "no message"),
    ],
    ids=["json", "plain", "empty"],
)
@pytest.mark.parametrize("status", [401, 404, 429, 500, 503])
def test_a_refusal_carries_its_status_and_words(
    status: int, content_type: str, body: bytes, words: str, server: Server, user: Any
) -> None:
    response = with_length(body, head=f"{status} No", Content_Type=content_type)
    check(Case(response, "stay", failed(status, words)), server, user)


def test_a_server_that_repeats_the_api_key_does_not_get_it_into_the_results(
    server: Server, user: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLM_API_KEY", "sk-0123456789")
    body = b'{"error":{"message":"Incorrect API key provided: sk-0123456789."}}'
    user.begins()
    peer = server.accept()
    peer.request()
    peer.send(
        b"HTTP/1.1 401 Unauthorized\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    )
    assert user.row()["error"] == "HTTP 401: Incorrect API key provided: [secret]."


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_names_the_host_to_give_instead(status: int, server: Server, user: Any) -> None:
    response = with_length(PAGE, head=f"{status} Moved", Location="https://gpu.example/llm/v1/chat/completions")
    values = ("https://gpu.example/llm/v1/chat/completions", "https://gpu.example/llm as --host")
    check(Case(response, "stay", failed(status, *values)), server, user)


@pytest.mark.parametrize("encoding", ["gzip", "br", "deflate", "GZIP"])
def test_a_compressed_stream_is_refused_at_its_head(encoding: str, server: Server, user: Any) -> None:
    """Neither its end nor a timeout is waited for: a compressor holds events back, so that no time would be true."""
    response = HEAD.replace(b"\r\n\r\n", b"\r\nContent-Encoding: %s\r\n\r\n" % encoding.encode()) + chunk(
        b"\x1f\x8b\x08"
    )
    error = Mentions(f"Content-Encoding: {encoding.lower()}", "identity")
    check(Case(response, "stay", Ended("stream_error", "200", "0", error)), server, user)


def test_a_stream_that_says_it_is_not_compressed_is_a_stream(server: Server, user: Any) -> None:
    response = WHOLE.replace(b"\r\n\r\n", b"\r\nContent-Encoding: identity\r\n\r\n", 1)
    check(Case(response, "stay", OK, kept=True), server, user)


def test_a_head_without_end_is_given_up_at_its_bound(
    server: Server, user: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokenswarm.wire.http, "_MAX_HEAD_BYTES", 1000)
    response = b"HTTP/1.1 200 OK\r\nX-Long: " + b"a" * 1000
    row = Ended("truncated", "", "0", Mentions("head", "1000 bytes"))
    check(Case(response, "stay", row), server, user)


def test_an_event_without_end_is_given_up_at_its_bound(
    server: Server, user: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokenswarm.engines.sse, "MAX_EVENT_BYTES", 1000)
    response = HEAD + chunk(outputs(3)) + chunk(b"data: " + b"a" * 1000)
    row = Ended("stream_error", "200", "3", Mentions("event", "1000 bytes"))
    check(Case(response, "stay", row), server, user)


# Connecting.


def test_a_server_on_ipv6_is_asked_like_any(server_on_ipv6: Server, askers: Any) -> None:
    user = askers(Origin.parse(f"http://[::1]:{server_on_ipv6.origin.port}"))
    user.begins()
    peer = server_on_ipv6.accept()
    assert f"Host: [::1]:{server_on_ipv6.origin.port}\r\n".encode() in peer.request()
    peer.send(WHOLE)
    assert ended(user.row()) == OK


def test_a_name_that_does_not_resolve_is_refused_by_name(askers: Any) -> None:
    user = askers(Origin.parse("http://nonexistent.invalid:8000"))
    user.ask()
    row = user.row()
    assert ended(row)[:3] == ("refused", "", "0")
    assert row["error"] == Mentions("nonexistent.invalid:8000")


def test_a_port_where_nobody_listens_is_refused(server: Server, user: Any) -> None:
    server.close()
    user.ask()
    error = Mentions(server.origin.authority, REFUSED)
    assert ended(user.row()) == Ended("refused", "", "0", error)


def test_a_server_that_does_not_accept_runs_into_the_timeout_for_connecting(askers: Any) -> None:
    with PlainSocket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        waiting = [PlainSocket() for _ in range(4)]
        for sock in waiting:
            sock.setblocking(False)
            sock.connect_ex(full.getsockname())
        origin = Origin("127.0.0.1", full.getsockname()[1])
        user = askers(origin, connect_s=0.05)
        user.ask()
        for sock in waiting:
            sock.close()
    row = user.row()
    if row["outcome"] == "truncated":
        pytest.skip("this system's loopback answers however full a listener's queue is")
    assert ended(row) == Ended("timeout", "", "0", Mentions(origin.authority, "0.05 s"))


def test_a_client_without_a_port_left_has_failed_itself(
    server: Server, user: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_left(*_: object) -> None:
        raise OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))

    monkeypatch.setattr("tokenswarm.wire.connect.connected_to", none_left)
    user.ask()
    row = user.row()
    assert ended(row)[:3] == ("client_limit", "", "0")
    assert "port" in row["error"]
    assert user.reasons() != []


# Kept connections.


def test_a_server_that_promises_to_keep_alive_and_closes_is_connected_to_anew_each_time(
    server: Server, user: Any
) -> None:
    for _ in range(3):
        user.begins()
        peer = server.accept()
        peer.request()
        peer.send(WHOLE)
        until(user.is_idle)
        peer.close()
        until(user.has_lost_the_connection)
    rows = user.rows()
    assert [ended(row) for row in rows] == [OK] * 3
    assert all(float(row["connect_ms"]) > 0 for row in rows)


def kept_connection(server: Server, user: Any) -> Peer:
    """The server's end of it, after a first answer."""
    user.begins()
    peer = server.accept()
    peer.request()
    peer.send(WHOLE)
    until(user.is_idle)
    return peer


def test_a_kept_connection_that_was_closed_unseen_costs_the_next_request_nothing_but_a_new_one(
    server: Server, user: Any
) -> None:
    kept_connection(server, user).close()

    def serve() -> None:
        peer = server.accept()
        peer.request()
        peer.send(WHOLE)

    serving = gevent.spawn(serve)
    user.ask()  # before gevent's loop has run: the user cannot know of the close
    serving.get()
    rows = user.rows()
    assert [ended(row) for row in rows] == [OK, OK]
    assert float(rows[1]["connect_ms"]) > 0


def test_a_server_that_closes_a_moment_after_its_answer_loses_no_request(server: Server, user: Any) -> None:
    """It had not said so. A user who asks again at once must not be faster."""
    for _ in range(3):
        peer = kept_connection(server, user)
        gevent.spawn_later(0.005, peer.close)
    rows = user.rows()
    assert [ended(row) for row in rows] == [OK] * 3
    assert all(float(row["connect_ms"]) > 0 for row in rows)
    assert {row["retries"] for row in rows} == {"0"}


LINUX = pytest.mark.skipif(sys.platform != "linux", reason="only Linux says what was acknowledged")


@LINUX
@pytest.mark.parametrize("how", ["close", "reset"])
def test_a_request_that_crossed_the_close_of_its_kept_connection_is_sent_again_and_timed_from_the_first_time(
    how: str, server: Server, user: Any
) -> None:
    peer = kept_connection(server, user)
    just_before_it_sends(user.client, getattr(peer, how))
    crossed_s = user.since_began_s()
    user.begins()
    peer = server.accept()
    connected_again_s = user.since_began_s()
    peer.request()
    peer.send(WHOLE)
    rows = user.rows()
    assert [ended(row) for row in rows] == [OK, OK]
    assert [row["retries"] for row in rows] == ["0", "1"]
    assert crossed_s < float(rows[1]["sent_s"]) < connected_again_s
    assert float(rows[1]["ttft_ms"]) / 1e3 > float(rows[1]["connect_ms"]) / 1e3 > 0
    assert user.retries == 1


@LINUX
@pytest.mark.parametrize("how", ["close", "reset"])
def test_a_request_that_fails_again_on_a_new_connection_is_the_servers_failure(
    how: str, server: Server, user: Any
) -> None:
    peer = kept_connection(server, user)
    just_before_it_sends(user.client, getattr(peer, how))
    user.begins()
    peer = server.accept()
    peer.request()
    getattr(peer, how)()
    rows = user.rows()
    assert [ended(row) for row in rows] == [OK, Ended("truncated", "", "0", NO_HEAD if how == "close" else RESET)]
    assert rows[1]["retries"] == "1"
    assert not server.has_callers()


@pytest.mark.parametrize("reads_it", [True, False])
@pytest.mark.parametrize("how", ["close", "reset"])
def test_a_server_that_could_have_read_a_request_and_closes_has_failed(
    how: str, reads_it: bool, server: Server, user: Any
) -> None:
    peer = kept_connection(server, user)
    user.begins()
    if reads_it:
        peer.request()
    else:
        until(peer.has_something_to_read)
    getattr(peer, how)()
    error = NO_HEAD if how == "close" and reads_it else RESET
    rows = user.rows()
    assert [ended(row) for row in rows] == [OK, Ended("truncated", "", "0", error)]
    assert rows[1]["retries"] == "0"
    assert not server.has_callers()


def test_a_server_that_resets_every_second_request_has_failed_every_second_time(server: Server, user: Any) -> None:
    for _ in range(3):
        peer = kept_connection(server, user)
        user.begins()
        peer.request()
        gevent.sleep(0.05)
        peer.reset()
        until(user.is_idle)
    rows = user.rows()
    assert [row["outcome"] for row in rows] == ["ok", "truncated"] * 3
    assert {row["retries"] for row in rows} == {"0"}


def test_a_server_that_dies_and_comes_back_is_seen_to_do_both(server: Server, user: Any) -> None:
    peer = kept_connection(server, user)
    user.begins()
    peer.request()
    peer.send(HEAD + chunk(outputs(2)))
    until(user.has_seen(3 + 2))
    peer.reset()
    server.close()
    until(user.is_idle)
    user.ask()
    again = Server(port=server.origin.port)
    kept_connection(again, user)
    again.close()
    assert [ended(row) for row in user.rows()] == [
        OK,
        Ended("truncated", "200", "2", RESET),
        Ended("refused", "", "0", Mentions(server.origin.authority, REFUSED)),
        OK,
    ]


def test_a_server_that_dies_as_a_request_crosses_its_close_is_refused_in_the_row(server: Server, user: Any) -> None:
    peer = kept_connection(server, user)
    died_ns: list[int] = []

    def die() -> None:
        peer.close()
        server.close()
        died_ns.append(time.perf_counter_ns())

    just_before_it_sends(user.client, die)
    user.ask()
    assert ended(user.rows()[1]) == Ended("refused", "", "0", Mentions(server.origin.authority, REFUSED))
    lost = user.timelines[1]
    assert lost.retries == 1
    assert died_ns[0] < lost.sent_ns < lost.over_ns


# Timeouts. Each is as short as can be, and fires: how late is no promise.


@pytest.mark.parametrize(
    ("response", "status"),
    [
        pytest.param(b"", "", id="no head"),
        pytest.param(HEAD[:30], "", id="half a head"),
        pytest.param(HEAD, "200", id="no body"),
        pytest.param(HEAD + chunk(b'data: {"choices":[{"delta":{"role":"assistant"}}]}\n\n'), "200", id="a role alone"),
    ],
)
def test_a_stream_without_output_runs_into_the_timeout_for_the_first_token(
    response: bytes, status: str, server: Server, askers: Any
) -> None:
    user = askers(server.origin, first_token_s=0.05)
    user.client.connect()
    peer = server.accept()
    just_before_it_sends(user.client, lambda: peer.send(response))  # it is there before the time begins to run
    user.ask()
    assert ended(user.row()) == Ended("timeout", status, "0", Mentions("0.05 s"))
    assert peer.hears_the_end()


def go_on(peer: Peer, data: bytes, asking: gevent.Greenlet) -> None:
    """Send it over and over, until the user gives up."""
    while not asking.ready():
        try:
            peer.send(data)
        except ConnectionError:
            return
        gevent.sleep(0.001)


def test_comments_without_end_are_no_first_token(server: Server, askers: Any) -> None:
    user = askers(server.origin, first_token_s=0.2)
    asking = user.begins()
    peer = server.accept()
    peer.send(HEAD)
    go_on(peer, chunk(PING), asking)
    assert ended(user.row()) == Ended("timeout", "200", "0", Mentions("0.2 s"))


def test_comments_without_end_do_not_keep_a_stream_from_being_idle(server: Server, askers: Any) -> None:
    user = askers(server.origin, idle_s=0.05)
    asking = user.begins()
    peer = server.accept()
    peer.send(HEAD + chunk(outputs(5)))
    go_on(peer, chunk(PING), asking)
    error = Mentions("0.05 s", "5 outputs")
    assert ended(user.row()) == Ended("timeout", "200", "5", error)


def test_output_without_end_runs_into_the_timeout_for_the_whole(server: Server, askers: Any) -> None:
    user = askers(server.origin, total_s=0.2)
    asking = user.begins()
    peer = server.accept()
    peer.send(HEAD)
    go_on(peer, chunk(outputs(1)), asking)
    row = user.row()
    assert (row["outcome"], row["status"], row["error"]) == ("timeout", "200", Mentions("0.2 s"))
    assert row["output_tokens"] == row["output_events"]


def test_an_answer_that_is_whole_has_no_timeouts_however_long_its_response_lingers(server: Server, askers: Any) -> None:
    user = askers(server.origin, idle_s=0.01)
    user.begins()
    peer = server.accept()
    peer.send(HEAD + chunk(outputs(3) + DONE))
    assert ended(user.row()) == OK
    assert peer.hears_the_end()


# The client's own end.


def test_a_defect_of_the_client_is_raised_on_and_told_of_all_the_same(
    server: Server, user: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def defective(self: tokenswarm.engines.openai.OpenAIDecoder, data: bytes) -> list[Delta]:
        raise LookupError("oops")

    monkeypatch.setattr(tokenswarm.engines.openai.OpenAIDecoder, "feed", defective)
    asking = user.begins()
    peer = server.accept()
    peer.send(WHOLE)
    with pytest.raises(LookupError):
        asking.get()
    error = Mentions(repr(LookupError("oops")))
    assert ended(user.row())[::3] == ("stream_error", error)
    assert peer.hears_the_end()


def test_a_prompt_that_the_chat_template_refuses_is_a_failed_request_and_no_defect(
    server: Server, user: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refusing(self: tokenswarm.engines.openai.OpenAICompatible, request: object) -> bytes:
        raise EngineError("the chat template t cannot be applied: roles must alternate")

    monkeypatch.setattr(tokenswarm.engines.openai.OpenAICompatible, "request_body", refusing)
    user.begins().get()
    error = "the chat template t cannot be applied: roles must alternate"
    assert ended(user.row()) == Ended("stream_error", "", "0", error)


def test_a_stream_that_is_cut_is_no_failure_and_its_tokens_count(server: Server, user: Any) -> None:
    asking = user.begins()
    peer = server.accept()
    peer.request()
    peer.send(HEAD + chunk(outputs(3)))
    until(user.has_seen(3))
    asking.kill()
    row = user.row()
    assert ended(row) == Ended("cut", "200", "3", Mentions("stopped by the run"))
    assert (row["duration_ms"], row["finish_reason"]) == ("", "")
    assert peer.hears_the_end()


def test_a_request_that_is_cut_before_its_answer_is_told_of_too(server: Server, user: Any) -> None:
    asking = user.begins()
    server.accept().request()
    asking.kill()
    assert ended(user.row()) == Ended("cut", "", "0", Mentions("stopped by the run"))


def test_an_answer_whose_tokens_are_being_counted_when_the_run_ends_is_whole(server: Server, askers: Any) -> None:
    begun: list[str] = []
    released: list[bool] = []

    def count(text: str) -> int:
        begun.append(text)
        while not released:
            monkey.get_original("time", "sleep")(0.001)
        return 9

    user = askers(server.origin, count)
    asking = user.begins()
    server.accept().send(WHOLE)
    until(lambda: begun)
    asking.kill()
    released.append(True)
    row = user.row()
    assert ended(row) == OK
    assert (begun, row["output_tokens_source"]) == (["sososo"], "events")


# A request that is due at a time of its own.


def test_a_request_is_recorded_with_the_time_at_which_it_was_due(server: Server, user: Any) -> None:
    """scheduled + lag + TTFT is the first output's arrival."""
    due_ns = time.perf_counter_ns() - 50_000_000
    user.begins(scheduled_ns=due_ns)
    peer = server.accept()
    peer.request()
    peer.send(WHOLE)
    row = user.row()
    (timeline,) = user.timelines
    assert (timeline.scheduled_ns, timeline.first_ns) == (due_ns, due_ns + timeline.lag_ns + timeline.ttft_ns)
    assert timeline.lag_ns > 50_000_000
    lag_s = float(row["sent_s"]) - float(row["scheduled_s"])
    assert lag_s == pytest.approx(timeline.lag_ns / 1e9, abs=1e-6)


def test_a_user_of_a_closed_loop_is_never_late(server: Server, user: Any) -> None:
    user.begins()
    peer = server.accept()
    peer.request()
    peer.send(WHOLE)
    row = user.row()
    assert (row["scheduled_s"], user.timelines[0].lag_ns) == (row["sent_s"], 0)
