"""A server that promises to keep its connections and closes each behind its answer, in a process of its own. It prints
its port. With an argument it resets every second request that reaches it on any connection, 50 ms after reading it,
and keeps the connections of the others."""

import socket
import sys
import threading
import time
from itertools import count

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
OUTPUT = b'data: {"choices":[{"index":0,"delta":{"content":"so"}}]}\n\n'
RESETS = len(sys.argv) > 1
requests = count()


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def read_request(sock: socket.socket) -> bool:
    head, body = b"", b""
    while b"\r\n\r\n" not in head:
        data = sock.recv(65536)
        if not data:
            return False
        head += data
    head, _, body = head.partition(b"\r\n\r\n")
    length = next(int(line[15:]) for line in head.split(b"\r\n") if line.startswith(b"Content-Length:"))
    while len(body) < length:
        body += sock.recv(65536)
    return True


def serve(sock: socket.socket) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with sock:
        while read_request(sock):
            if RESETS and next(requests) % 2:
                time.sleep(0.05)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                return
            sock.sendall(HEAD + chunk(OUTPUT))
            sock.sendall(chunk(OUTPUT) + chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n")
            if not RESETS:
                return


if __name__ == "__main__":
    listener = socket.create_server(("127.0.0.1", 0), backlog=200)
    print(listener.getsockname()[1], flush=True)
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=serve, args=(connection,), daemon=True).start()
