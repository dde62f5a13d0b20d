"""One request and its response over a real socket: bodies of every framing, and servers that break off."""

import gc
import weakref
from typing import Any

import pytest

from tokenswarm.wire import ResponseParser, ServerBrokeProtocol, WireError

LENGTH_HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"
CHUNKED_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("response", "closes"),
    [
        pytest.param(CHUNKED_HEAD + b"3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n", False, id="chunked"),
        pytest.param(LENGTH_HEAD + b"hello", False, id="content-length"),
        pytest.param(b"HTTP/1.1 200 OK\r\n\r\nhello", True, id="until close"),
        pytest.param(b"HTTP/1.1 103 Hints\r\nLink: </a>\r\n\r\n" + LENGTH_HEAD + b"hello", False, id="1xx before"),
    ],
)
@pytest.mark.parametrize("way", ["in one packet", "byte by byte"])
def test_a_body_of_every_framing_arrives_whole(
    server: Any, client: Any, body: Any, until: Any, response: bytes, closes: bool, way: str
) -> None:
    exchange = client.post("/", b"question")
    peer = server.accept()
    assert peer.request().endswith(b"\r\n\r\nquestion")
    for sent in range(len(response) if way == "byte by byte" else 0):
        assert not exchange.ended
        peer.send(response[sent : sent + 1])
        until(lambda sent=sent: exchange.bytes_received == sent + 1)
    if way == "in one packet":
        peer.send(response)
    if closes:
        peer.close()
    assert body(exchange) == b"hello"
    assert (exchange.response.status, exchange.error) == (200, None)
    assert exchange.bytes_received == len(response)
    assert exchange.sent_ns < exchange.headers_ns <= exchange.ended_ns


def test_nothing_is_taken_twice_and_nothing_is_waited_for_that_is_there(server: Any, client: Any, until: Any) -> None:
    exchange = client.post("/", b"")
    peer = server.accept()
    assert exchange.wait(0.0) == []
    peer.send(CHUNKED_HEAD + b"1\r\na\r\n")
    until(lambda: exchange.headers_ns)
    assert [arrival.data for arrival in exchange.wait(0.0)] == [b"a"]
    assert exchange.wait(0.0) == []
    peer.send(b"1\r\nb\r\n0\r\n\r\n")
    assert [arrival.data for arrival in exchange.wait(20.0)] == [b"b"]
    assert exchange.ended


def test_the_head_is_there_before_the_body(server: Any, client: Any, until: Any) -> None:
    exchange = client.post("/", b"")
    peer = server.accept()
    peer.send(CHUNKED_HEAD)
    until(lambda: exchange.headers_ns)
    assert (exchange.response.status, exchange.response.headers["content-type"]) == (200, "text/event-stream")
    assert not exchange.ended
    assert exchange.wait(0.0) == []


def test_a_response_larger_than_one_read_arrives_whole(server: Any, client: Any, body: Any, background: Any) -> None:
    content = bytes(range(256)) * 4096
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(content)
    exchange = client.post("/", b"")
    sending = background(server.accept().send_cooperatively, head + content)
    assert body(exchange) == content
    sending.get(timeout=20)


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(b"", id="before the head"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-", id="in the head"),
        pytest.param(LENGTH_HEAD + b"he", id="in a body of known length"),
        pytest.param(CHUNKED_HEAD + b"3\r\nhe", id="in a chunk"),
        pytest.param(CHUNKED_HEAD + b"2\r\nhe\r\n", id="between chunks"),
    ],
)
@pytest.mark.parametrize("how", ["close", "reset"])
def test_a_connection_that_breaks_off_is_an_error_and_keeps_what_had_come(
    server: Any, client: Any, until: Any, drain: Any, sent: bytes, how: str
) -> None:
    exchange = client.post("/", b"question")
    peer = server.accept()
    peer.request()
    peer.send(sent)
    until(lambda: exchange.bytes_received == len(sent))
    getattr(peer, how)()
    had_come = b"".join(arrival.data for arrival in drain(exchange))
    assert had_come == (b"he" if sent.startswith((LENGTH_HEAD, CHUNKED_HEAD)) else b"")
    assert isinstance(exchange.error, ServerBrokeProtocol)
    if how == "reset":
        assert str(exchange.error) == "the connection broke: Connection reset by peer"
    elif had_come:
        assert str(exchange.error) == "the connection ended inside the response's body"
    else:
        assert str(exchange.error) == "the connection ended before the response's head was complete"
    assert exchange.ended_ns >= exchange.sent_ns


def test_a_reset_of_a_body_that_the_close_would_have_ended_is_an_error(
    server: Any, client: Any, until: Any, drain: Any
) -> None:
    exchange = client.post("/", b"")
    peer = server.accept()
    peer.request()
    peer.send(b"HTTP/1.1 200 OK\r\n\r\nhe")
    until(lambda: exchange.headers_ns)
    peer.reset()
    assert [arrival.data for arrival in drain(exchange)] == [b"he"]
    assert isinstance(exchange.error, ServerBrokeProtocol)


def test_what_is_not_http_is_an_error_that_quotes_it(server: Any, client: Any, drain: Any) -> None:
    exchange = client.post("/", b"")
    peer = server.accept()
    peer.send(b"SSH-2.0-OpenSSH_9.6\r\n")
    assert drain(exchange) == []
    assert isinstance(exchange.error, ServerBrokeProtocol)
    assert "not HTTP/1.1" in str(exchange.error)
    assert "SSH-2.0" in str(exchange.error)
    assert peer.hears_the_end()


def test_a_head_longer_than_64_kib_is_an_error_and_the_connection_is_closed(
    server: Any, client: Any, drain: Any
) -> None:
    exchange = client.post("/", b"")
    peer = server.accept()
    peer.send(b"HTTP/1.1 200 OK\r\nX-Long: " + b"a" * 140_000)
    assert drain(exchange) == []
    assert str(exchange.error) == "the response's head is longer than 65536 bytes"
    assert peer.hears_the_end()


def test_a_defect_of_the_client_while_it_reads_is_the_exchanges_error_not_the_hubs(
    server: Any, client: Any, drain: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def defective(self: ResponseParser, data: bytes) -> bytes:
        raise RuntimeError("oops")

    monkeypatch.setattr(ResponseParser, "feed", defective)
    exchange = client.post("/", b"")
    server.accept().send(LENGTH_HEAD)
    drain(exchange)
    assert type(exchange.error) is WireError
    assert str(exchange.error) == "reading failed inside the client: RuntimeError('oops')"


def test_closing_the_client_leaves_the_exchange_without_an_end(server: Any, client: Any) -> None:
    exchange = client.post("/", b"")
    peer = server.accept()
    peer.request()
    client.close()
    client.close()
    assert (exchange.ended, exchange.error) == (False, None)
    assert peer.hears_the_end()


# While the request is still being sent.

LARGE = b"x" * 50_000_000


def test_a_server_that_closes_while_the_request_is_sent_ends_the_exchange(
    server: Any, client: Any, background: Any
) -> None:
    sending = background(client.post, "/", LARGE)
    server.accept().stop_sending()
    exchange = sending.get(timeout=20)
    assert str(exchange.error) == "the connection ended before the response's head was complete"


def test_a_server_that_resets_while_the_request_is_sent_ends_the_exchange(
    server: Any, client: Any, background: Any
) -> None:
    sending = background(client.post, "/", LARGE)
    peer = server.accept()
    peer.some_bytes()  # a reset before that would meet a client that is still connecting
    peer.reset()
    exchange = sending.get(timeout=20)
    assert isinstance(exchange.error, ServerBrokeProtocol)
    assert str(exchange.error).startswith("the connection broke")


def test_a_server_that_answers_before_it_has_read_the_request_is_heard(
    server: Any, client: Any, background: Any, body: Any
) -> None:
    sending = background(client.post, "/", LARGE)
    peer = server.accept()
    peer.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 5\r\n\r\nsmall")
    exchange = sending.get(timeout=20)
    assert body(exchange) == b"small"
    assert (exchange.response.status, exchange.error) == (413, None)
    client.post("/", b"next")
    assert server.accept().request().endswith(b"next")


def test_a_sender_that_is_killed_leaves_nothing_behind(
    server: Any, client: Any, background: Any, until: Any, open_descriptors: Any
) -> None:
    before = open_descriptors()
    sending = background(client.post, "/", LARGE)
    peer = server.accept()
    sending.kill()
    client.close()
    peer.close()
    assert open_descriptors() == before


# What is left behind.


def test_no_way_for_an_exchange_to_end_leaves_a_descriptor_open(
    server: Any, clients: Any, drain: Any, open_descriptors: Any
) -> None:
    before = open_descriptors()
    for response, end in [
        (LENGTH_HEAD + b"hello", "close"),
        (LENGTH_HEAD, "close"),
        (LENGTH_HEAD, "reset"),
        (b"HTTP/1.1 200 OK\r\n\r\nhello", "close"),
        (b"no HTTP", "close"),
    ]:
        exchange = (client := clients(server)).post("/", b"")
        peer = server.accept()
        peer.request()
        peer.send(response)
        getattr(peer, end)()
        drain(exchange)
        client.close()
    assert open_descriptors() == before


def test_what_has_ended_is_not_left_to_the_garbage_collection(server: Any, client: Any, body: Any) -> None:
    """Looking for rings of references takes longer the more users there are, and meanwhile nothing is read."""
    gc.disable()
    try:
        exchange = client.post("/", b"")
        peer = server.accept()
        peer.request()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
        assert body(exchange) == b"hello"
        gone = weakref.ref(exchange), weakref.ref(exchange.response)
        del exchange
        client.close()
        assert [reference() for reference in gone] == [None, None]
    finally:
        gc.enable()
