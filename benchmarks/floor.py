"""The floor: what it costs to be handed every token's bytes in Python, and nothing else.

    python -m benchmarks.floor --host http://127.0.0.1:8000 --users 100 --users-per-s 50 --seconds 10

epoll and recvmsg with the kernel's receive times, no parsing but a look for the answer's last bytes. No client that
takes every token as it comes can be cheaper; one that leaves tokens in the kernel for a while can. It says in the end
how often it read: once a token, where each is written by itself.
"""

from __future__ import annotations

import argparse
import json
import resource
import select
import socket
import time
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.question import BODY, PATH, headers

_SO_TIMESTAMPNS = 35  # Linux's number; Python has no name for it
_READ_BYTES = 65_536
_ANCILLARY_BYTES = 64
_LAST_BYTES = b"\r\n0\r\n\r\n"
_TICK_S = 0.05
#: The file that the benchmark has a client's words go to.
OUTPUT = "output.txt"


def request(host: str) -> bytes:
    """The whole request as bytes."""
    body = json.dumps(BODY).encode()
    lines = [f"POST {PATH} HTTP/1.1", f"Host: {host}", "Content-Type: application/json"]
    lines += [f"{name}: {value}" for name, value in headers("").items() if value]
    return "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode() + body


def run(host: str, port: int, users: int, users_per_s: float, seconds: float) -> int:
    """Send requests on `users` connections for that long and read every answer to its end; how often it read. Raises
    OSError."""
    sent = request(f"{host}:{port}")
    poll = select.epoll()
    streaming: dict[int, socket.socket] = {}
    began_s = time.perf_counter()
    spawned = reads = 0
    while (elapsed_s := time.perf_counter() - began_s) < seconds or streaming:
        while spawned < min(users, elapsed_s * users_per_s + 1) and elapsed_s < seconds:
            sock = _connected(host, port)
            poll.register(sock, select.EPOLLIN)
            streaming[sock.fileno()] = sock
            sock.send(sent)
            spawned += 1
        for fileno, _ in poll.poll(_TICK_S):
            sock = streaming[fileno]
            data = sock.recvmsg(_READ_BYTES, _ANCILLARY_BYTES)[0]
            reads += 1
            if not data.endswith(_LAST_BYTES):
                if not data:
                    raise ConnectionError("the server closed a connection in mid-answer")
            elif time.perf_counter() - began_s < seconds:
                sock.send(sent)
            else:
                del streaming[fileno]
                poll.unregister(sock)
                sock.close()
    return reads


def reads_of_floor(folder: Path) -> int:
    """What the floor said in the end. Raises OSError, ValueError."""
    return int((folder / OUTPUT).read_text(encoding="utf-8").split()[-1])


def _connected(host: str, port: int) -> socket.socket:
    sock = socket.create_connection((host, port))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
    return sock


def main() -> None:
    parser = argparse.ArgumentParser(allow_abbrev=False, prog="python -m benchmarks.floor", description=__doc__)
    parser.add_argument("--host", required=True, help="like http://127.0.0.1:8000")
    parser.add_argument("--users", type=int, required=True)
    parser.add_argument("--users-per-s", type=float, required=True)
    parser.add_argument(
        "--seconds", type=float, required=True, help="time in which requests are sent; answers end after that"
    )
    args = parser.parse_args()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    place = urlsplit(args.host)
    print("reads:", run(str(place.hostname), place.port or 80, args.users, args.users_per_s, args.seconds))


if __name__ == "__main__":
    main()
