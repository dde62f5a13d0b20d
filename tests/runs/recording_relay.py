"""Passes TCP connections on to a port of this machine, and appends all bytes to a file.

python recording_relay.py TARGET_PORT FILE: prints its own port when it listens.
"""

import socket
import sys
import threading
from contextlib import suppress
from pathlib import Path

_lock = threading.Lock()


def _pass_on(source: socket.socket, target: socket.socket, file: Path) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            with _lock, file.open("ab") as log:
                log.write(data)
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


def main(port: int, file: Path) -> None:
    """Until the process is ended."""
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    while True:
        client, _ = listener.accept()
        try:
            server = socket.create_connection(("127.0.0.1", port))
        except OSError:  # the master does not listen yet: the worker tries again
            client.close()
            continue
        for one, other in ((client, server), (server, client)):
            threading.Thread(target=_pass_on, args=(one, other, file), daemon=True).start()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
