"""A gateway that speaks TLS, demands a client certificate, and passes what comes on to a server.

python tls_front.py SERVER_PORT CERTIFICATE_FILE AUTHORITY_FILE: prints its port when it listens.
"""

import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def _relay(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_RDWR)


def _serve(client: socket.socket, context: ssl.SSLContext, port: int) -> None:
    with (
        suppress(OSError),
        context.wrap_socket(client, server_side=True) as tls,
        socket.create_connection(("127.0.0.1", port)) as server,
    ):
        server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=_relay, args=(server, tls), daemon=True).start()
        _relay(tls, server)


def main(port: int, certificate_file: str, authority_file: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate_file)
    context.load_verify_locations(authority_file)
    context.verify_mode = ssl.CERT_REQUIRED
    listener = socket.create_server(("127.0.0.1", 0), backlog=64)
    print(listener.getsockname()[1], flush=True)
    while True:
        client, _ = listener.accept()
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=_serve, args=(client, context, port), daemon=True).start()


@contextmanager
def tls_front(port: int, certificate_file: Path, authority_file: Path) -> Iterator[int]:
    """The port of one in front of the server at this port, for as long as the context lasts."""
    command = [sys.executable, str(Path(__file__)), str(port), str(certificate_file), str(authority_file)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    yield int(process.stdout.readline())
    process.kill()
    process.wait()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3])
