"""A server that repeats its client's API key in all that it says, in every encoding, among other mischief."""

from __future__ import annotations

import html
import json
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable, Iterator
from itertools import cycle
from typing import Any
from urllib.parse import quote

from gevent.server import StreamServer

KEY = "sk-Proj_0123/456+789=abcdefXYZ"

ENCODINGS: tuple[Callable[[str], str], ...] = (
    str,
    str.upper,
    str.lower,
    lambda key: quote(key, safe=""),
    lambda key: "".join(f"%{ord(each):02x}" for each in key),
    lambda key: json.dumps(key).replace("/", "\\/"),
    lambda key: "".join(f"\\u{ord(each):04x}" for each in key),
    html.escape,
    lambda key: "".join(f"&#{ord(each)};" for each in key),
    lambda key: key.encode().hex(),
    *(lambda key, n=n: b64encode(b"\7" * n + key.encode()).decode() for n in range(3)),
    *(lambda key, n=n: urlsafe_b64encode(b"\7" * n + key.encode()).decode() for n in range(3)),
    lambda key: key[:12],
    lambda key: key[-12:],
)
#: What terminals, spreadsheets and readers obey.
MISCHIEF = "\x1b]0;owned\x07\x9b2J\u202e\u2066"
FORMULA = "=HYPERLINK(1)+"


def traces(key: str = KEY) -> Iterator[str]:
    """Pieces of the key, in lower case, that no output may hold: what is left of 8 characters and more."""
    for encode in ENCODINGS:
        encoded = encode(key)
        size = max(8, 8 * len(encoded) // len(key))
        # The outermost characters of base64 hold bits of their neighbours.
        for first in range(2, len(encoded) - size - 1):
            yield encoded[first : first + size].lower()


class RepeatingServer:
    """Answers like a vLLM of one model, `tiny`; of its streams, one in some is whole. It writes each text anew."""

    def __init__(self) -> None:
        self._told = cycle(ENCODINGS)
        self._answers = cycle(
            [
                *(self._whole, self._refused, self._page, self._moved, self._broken_event, self._failed_in_stream),
                *(self._no_http, self._other_type, self._compressed, self._cut, self._whole, self._giant),
                self._given_up,
            ]
        )
        self._server = StreamServer(("127.0.0.1", 0), self._serve)
        self._server.start()
        self.host = f"http://127.0.0.1:{self._server.server_port}"

    def stop(self) -> None:
        self._server.stop(0)

    def _say(self) -> str:
        return f"{FORMULA}{next(self._told)(KEY)} {next(self._told)(KEY)}{MISCHIEF}"

    def _header(self) -> str:
        return f"{next(self._told)(KEY)} {KEY}".replace("\n", "")

    def _serve(self, sock: Any, _: object) -> None:
        data = b""
        while more := sock.recv(65536):
            data += more
            while b"\r\n\r\n" in data:
                head, _, rest = data.partition(b"\r\n\r\n")
                length = next(
                    (int(line[15:]) for line in head.split(b"\r\n") if line.startswith(b"Content-Length:")), 0
                )
                if len(rest) < length:
                    break
                data = rest[length:]
                method, path = head.decode("latin-1").split()[:2]
                response, closes = (next(self._answers)(), True) if method == "POST" else (self._page_at(path), False)
                sock.sendall(response)
                if closes:
                    return

    def _page_at(self, path: str) -> bytes:
        if path == "/v1/models":
            listed = [{"id": self._say(), "owned_by": "vllm", "root": KEY} for _ in ENCODINGS]
            return self._document(json.dumps({"data": listed}))
        if path == "/version":
            return self._document(json.dumps({"version": self._say()}))
        if path == "/metrics":
            name = f'vllm:num_requests_running{{model_name="{KEY}"}}'
            return self._document(f"{name} {KEY}\n", "text/plain; key=" + self._header())
        return self._document("" if path == "/health" else KEY, status="200 OK" if path == "/health" else "404 " + KEY)

    def _document(self, body: str, kind: str = "application/json", status: str = "200 OK", **headers: str) -> bytes:
        content = body.encode()
        more = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        head = (
            f"HTTP/1.1 {status}\r\nServer: {self._header()}\r\nVia: {self._header()}\r\nContent-Type: {kind}\r\n{more}"
        )
        return f"{head}Content-Length: {len(content)}\r\n\r\n".encode("latin-1") + content

    def _stream(self, *events: Any, kind: str = "text/event-stream; charset=utf-8") -> bytes:
        data = "".join(f"data: {event if isinstance(event, str) else json.dumps(event)}\n\n" for event in events)
        return self._document(data, f"{kind}; key={quote(self._header())}")

    def _output(self) -> dict[str, Any]:
        return {"choices": [{"delta": {"content": self._say()}, "finish_reason": None}]}

    def _whole(self) -> bytes:
        end = {"choices": [{"delta": {}, "finish_reason": "stop"}], "model": self._say()}
        return self._stream(self._output(), end, "[DONE]")

    def _given_up(self) -> bytes:
        end = {"choices": [{"delta": {}, "finish_reason": self._say()}], "model": self._say()}
        return self._stream(self._output(), end, "[DONE]")

    def _giant(self) -> bytes:
        end = {"choices": [{"delta": {}, "finish_reason": self._say() + "x" * 100_000}]}
        return self._stream(self._output(), end, "[DONE]")

    def _refused(self) -> bytes:
        return self._document(json.dumps({"error": {"message": self._say()}}), status="400 Bad " + KEY)

    def _page(self) -> bytes:
        body = f"<html><title>{self._say()}</title></html>"
        return self._document(body, "text/html; key=" + KEY, "502 Bad Gateway")

    def _moved(self) -> bytes:
        location = f"http://me:{quote(KEY, safe='')}@gpu/{quote(KEY)}?key={KEY}"
        return self._document("", status="307 Moved", Location=location)

    def _broken_event(self) -> bytes:
        return self._stream(self._output(), self._say())

    def _failed_in_stream(self) -> bytes:
        return self._stream(self._output(), {"error": [[{"message": self._say() + "y" * 5000}]]})

    def _no_http(self) -> bytes:
        return f"{KEY} {self._say()}\r\n\r\n".encode()

    def _other_type(self) -> bytes:
        return self._document(json.dumps(self._say()), "application/json; key=" + self._header())

    def _compressed(self) -> bytes:
        return self._document("x", "text/event-stream", **{"Content-Encoding": KEY})

    def _cut(self) -> bytes:
        return self._stream(self._output())[:-2] + f"data: {KEY}".encode()
