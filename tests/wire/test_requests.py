"""What goes over the wire as a request."""

from typing import Any

import pytest

from tokenswarm.wire import Origin, StreamClient


def test_a_post_is_a_request_line_the_headers_and_the_body(server: Any, clients: Any) -> None:
    client = clients(server, Authorization="Bearer key")
    client.post("/v1/chat", b'{"a":1}', {"Content-Type": "application/json"})
    head, _, body = server.accept().request().partition(b"\r\n\r\n")
    line, *headers = head.decode().split("\r\n")
    assert line == "POST /v1/chat HTTP/1.1"
    assert headers == [
        f"Host: 127.0.0.1:{server.origin.port}",
        "User-Agent: tokenswarm",
        "Accept-Encoding: identity",
        "Authorization: Bearer key",
        "Content-Type: application/json",
        "Content-Length: 7",
    ]
    assert body == b'{"a":1}'


def test_a_get_has_neither_body_nor_length(server: Any, client: Any) -> None:
    client.get("/v1/models")
    request = server.accept().request()
    assert request.startswith(b"GET /v1/models HTTP/1.1\r\n")
    assert b"content-length" not in request.lower()


def test_the_prefix_of_the_base_url_leads_every_path(server: Any) -> None:
    client = StreamClient(Origin("127.0.0.1", server.origin.port, "/llm/v2"), 5.0)
    client.get("/v1/models")
    assert server.accept().request().startswith(b"GET /llm/v2/v1/models HTTP/1.1\r\n")
    client.close()


def test_headers_of_the_client_may_replace_its_own(server: Any, clients: Any) -> None:
    clients(server, **{"User-Agent": "probe"}).get("/")
    request = server.accept().request()
    assert b"User-Agent: probe\r\n" in request
    assert b"tokenswarm" not in request


@pytest.mark.parametrize(
    "name", ["host", "HOST", "user-agent", "accept-encoding", "content-type", "api-key", "Ocp-Apim-Subscription-Key"]
)
def test_a_header_of_the_client_is_sent_once_whatever_its_case(server: Any, clients: Any, name: str) -> None:
    client = clients(server, **{name: "my-own-7"})
    client.post("/v1/chat", b"{}", {"Content-Type": "application/json"})
    head = server.accept().request().partition(b"\r\n\r\n")[0].decode()
    sent = [line.partition(": ") for line in head.split("\r\n")[1:]]
    assert [value for found, _, value in sent if found.lower() == name.lower()] == ["my-own-7"]


def test_a_body_larger_than_the_sockets_buffers_arrives_whole(server: Any, client: Any, background: Any) -> None:
    body = bytes(range(256)) * 65536
    sending = background(client.post, "/", body)
    peer = server.accept()
    request = peer.request()
    assert request.partition(b"\r\n\r\n")[2] == body
    assert sending.get(timeout=20).error is None


@pytest.mark.parametrize("text", ["a\r\nX-Injected: 1", "a\nb", "a\rb", "a\0b", "caf\u00e9", "a\u2028b", "\x7f"])
@pytest.mark.parametrize("place", ["value", "name"])
def test_a_header_that_would_break_the_head_is_refused_and_nothing_is_sent(
    server: Any, client: Any, text: str, place: str
) -> None:
    headers = {"X-Key": text} if place == "value" else {text: "x"}
    with pytest.raises(ValueError, match="holds a character that no header may hold"):
        StreamClient(server.origin, 5.0, headers)
    with pytest.raises(ValueError, match="holds a character that no header may hold"):
        client.post("/", b"", headers)
    assert not server.has_callers()


def test_a_refused_header_is_named_without_its_value() -> None:
    with pytest.raises(ValueError, match="'Authorization'") as refused:
        StreamClient(Origin("127.0.0.1", 1), 5.0, {"Authorization": "Bearer hunter2\n"})
    assert "hunter2" not in str(refused.value)
