"""The port on which a master listens for its workers."""

from __future__ import annotations

import socket
from functools import cache


class MasterPortError(ValueError):
    """The port for workers cannot be had; the text says why and what to do."""


@cache
def check_master_port(host: str, port: int) -> None:
    """Before workers are forked: they would join whoever has the port. Once: later it is this master's own. Raises
    MasterPortError."""
    if not 0 < port < 65536:
        raise MasterPortError(f"--master-bind-port takes a port from 1 to 65535, got {port}.")
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("" if host == "*" else host, port))
            listener.listen()
        except OSError as error:
            raise MasterPortError(
                f"the port for workers {host}:{port} cannot be had ({error.strerror or error}); perhaps another master "
                "is running. Choose another with --master-bind-port (and --master-port for the workers)."
            ) from None
