"""A small web server of the test's own process, whose pages may change at any time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gevent
from gevent.server import StreamServer

#: Status and body; None: the server is silent.
Page = tuple[int, str]


class Site:
    """A real web server of these pages; a page may be changed, or held back (None), at any time."""

    def __init__(self, pages: Mapping[str, Page | None], otherwise: Page | None = (404, "Not Found")) -> None:
        self.pages = dict(pages)
        self.otherwise = otherwise
        self.requests: list[str] = []
        self._server = StreamServer(("127.0.0.1", 0), self._serve)
        self._server.start()
        self.address = f"127.0.0.1:{self._server.server_port}"
        self.host = f"http://{self.address}"

    def _serve(self, sock: Any, address: object) -> None:
        data = b""
        while more := sock.recv(65536):
            data += more
            while b"\r\n\r\n" in data:
                head, _, data = data.partition(b"\r\n\r\n")
                self.requests.append(head.decode())
                length = next(
                    (line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), b":0"
                )
                while len(data) < int(length.partition(b":")[2]):
                    data += sock.recv(65536)
                data = data[int(length.partition(b":")[2]) :]
                page = self.pages.get(head.split()[1].decode(), self.otherwise)
                if page is None:
                    gevent.sleep(60.0)
                    return
                status, body = page
                sock.sendall(f"HTTP/1.1 {status} x\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
            if data.startswith(b"\x16\x03"):  # a TLS handshake: as web servers answer what is no HTTP
                sock.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                return

    def stop(self) -> None:
        """Listen no more."""
        self._server.stop(0)

    @property
    def requested(self) -> list[str]:
        """The paths of all requests so far."""
        return [request.split()[1] for request in self.requests]
