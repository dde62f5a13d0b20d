"""An HTTP proxy that passes requests and tunnels on to servers, and logs the head of each request that it gets.

python http_proxy.py LOG [NAME:PASSWORD]: prints its port when it listens. Each line of the log is {"line", "headers"}.
"""

import base64
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit


def _head(sock: socket.socket, data: bytes = b"") -> tuple[str, dict[str, str], bytes]:
    """Request line, headers by lower-case name, and the bytes behind them."""
    while b"\r\n\r\n" not in data:
        if not (more := sock.recv(65536)):
            raise ConnectionError
        data += more
    head, _, rest = data.partition(b"\r\n\r\n")
    line, *fields = head.decode().split("\r\n")
    return line, {name.lower(): value.strip() for name, _, value in (field.partition(":") for field in fields)}, rest


def _relay(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


def _without_address(line: str, headers: dict[str, str]) -> bytes:
    """The head as the server gets it."""
    method, target, version = line.split()
    parts = urlsplit(target)
    query = f"?{parts.query}" if parts.query else ""
    fields = "".join(f"{name}: {value}\r\n" for name, value in headers.items() if not name.startswith("proxy-"))
    return f"{method} {parts.path}{query} {version}\r\n{fields}\r\n".encode()


def _serve(client: socket.socket, log: Path, credentials: str) -> None:
    server: socket.socket | None = None
    expected = f"Basic {base64.b64encode(credentials.encode()).decode()}"
    rest = b""
    with suppress(OSError), client:
        while True:
            line, headers, rest = _head(client, rest)
            with log.open("a") as file:
                file.write(json.dumps({"line": line, "headers": headers}) + "\n")
            if credentials and headers.get("proxy-authorization") != expected:
                client.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
                return
            method, target, _ = line.split()
            parts = urlsplit(target if "://" in target else f"//{target}")
            is_first = server is None
            try:
                server = server or socket.create_connection((parts.hostname, parts.port or 80))
            except OSError:
                client.sendall(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
                return
            if method == "CONNECT":
                client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n" + rest)
                threading.Thread(target=_relay, args=(client, server), daemon=True).start()
                _relay(server, client)
                return
            length = int(headers.get("content-length", 0))
            while len(rest) < length:
                rest += client.recv(65536)
            server.sendall(_without_address(line, headers) + rest[:length])
            rest = rest[length:]
            if is_first:
                threading.Thread(target=_relay, args=(server, client), daemon=True).start()


def main(log: Path, credentials: str) -> None:
    """Until the process is ended."""
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    while True:
        threading.Thread(target=_serve, args=(listener.accept()[0], log, credentials), daemon=True).start()


class RunningProxy:
    """A proxy in a process of its own."""

    def __init__(self, port: int, log: Path) -> None:
        self.port = port
        self._log = log
        self.address = f"http://127.0.0.1:{port}"

    def requests(self) -> list[dict[str, Any]]:
        """Request line and headers of what it got, in order."""
        return [json.loads(line) for line in self._log.read_text().splitlines()] if self._log.exists() else []


@contextmanager
def running_proxy(folder: Path, credentials: str = "") -> Iterator[RunningProxy]:
    """Start one, and end it."""
    log = folder / "proxy.jsonl"
    command = [sys.executable, __file__, str(log), credentials]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield RunningProxy(int(process.stdout.readline()), log)
        process.kill()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
