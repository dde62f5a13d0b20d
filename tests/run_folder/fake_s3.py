"""An S3 on the loopback, as far as uploads and downloads need one: objects of one bucket in memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

from tests.serving import serving

_NAMESPACE = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'


class FakeS3:
    """objects: by bucket/key. denied: whether every request is refused. authorizations: headers that were received."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.denied = False
        self.authorizations: list[str] = []
        self.url = ""


class _S3Server(ThreadingHTTPServer):
    def __init__(self, store: FakeS3) -> None:
        super().__init__(("127.0.0.1", 0), _S3Handler)
        self.store = store


class _S3Handler(BaseHTTPRequestHandler):
    server: _S3Server
    protocol_version = "HTTP/1.1"

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if "x-amz-decoded-content-length" in self.headers:
            body = _decoded(body)
        if not self._refused():
            self.server.store.objects[self._key] = body
            self._answer(200, b"", ETag='"0"')

    def do_HEAD(self) -> None:
        if self._refused():
            return
        body = self.server.store.objects.get(self._key)
        self._answer(404 if body is None else 200, body or b"", ETag='"0"')

    def do_GET(self) -> None:
        if self._refused():
            return
        if "list-type" in parse_qs(urlsplit(self.path).query):
            self._list()
        elif self._key in self.server.store.objects:
            self._answer(200, self.server.store.objects[self._key], ETag='"0"')
        else:
            self._answer(404, b"<Error><Code>NoSuchKey</Code></Error>")

    def _list(self) -> None:
        prefix = parse_qs(urlsplit(self.path).query).get("prefix", [""])[0]
        bucket = self._key.split("/")[0]
        keys = [key.removeprefix(f"{bucket}/") for key in sorted(self.server.store.objects)]
        found = [key for key in keys if key.startswith(prefix)]
        contents = "".join(
            f"<Contents><Key>{escape(key)}</Key><Size>{len(self.server.store.objects[f'{bucket}/{key}'])}</Size>"
            "<LastModified>2026-07-01T12:00:00.000Z</LastModified><ETag>0</ETag></Contents>"
            for key in found
        )
        head = f"<Name>{bucket}</Name><KeyCount>{len(found)}</KeyCount><IsTruncated>false</IsTruncated>"
        self._answer(200, f"<ListBucketResult {_NAMESPACE}>{head}{contents}</ListBucketResult>".encode())

    def _refused(self) -> bool:
        self.server.store.authorizations.append(self.headers.get("Authorization", ""))
        if self.server.store.denied:
            self._answer(403, b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>")
        return self.server.store.denied

    @property
    def _key(self) -> str:
        return unquote(urlsplit(self.path).path).strip("/")

    def _answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Last-Modified", "Wed, 01 Jul 2026 12:00:00 GMT")
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def fake_s3() -> Iterator[FakeS3]:
    store = FakeS3()
    with serving(_S3Server(store)) as store.url:
        yield store


def _decoded(body: bytes) -> bytes:
    """A body in aws-chunked form: sizes in hexadecimal, chunks, then trailers."""
    found = b""
    while True:
        head, _, body = body.partition(b"\r\n")
        size = int(head.partition(b";")[0], 16)
        if not size:
            return found
        found, body = found + body[:size], body[size + 2 :]
