"""The port on which a master listens for its workers."""

from __future__ import annotations

import socket
from functools import cache

from tokenswarm.command_line import why_no_address


class MasterPortError(ValueError):
    """The port for workers is not available; the text says why and what to do."""


@cache
def check_master_port(host: str, port: int, remedy: str) -> None:
    """Before workers are forked: they would join the process that has the port. Only once in a process: later calls
    would find this master on it. remedy: what to do where the port is taken. Raises MasterPortError."""
    if not 0 < port < 65536:
        raise MasterPortError(f"--master-bind-port takes a port from 1 to 65535, got {port}.")
    if why := why_no_address(host):
        raise MasterPortError(
            f"--master-bind-host {host} is no address on which this machine can listen for workers ({why}): give one "
            "of its own, or leave the option out."
        )
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("" if host == "*" else host, port))
            listener.listen()
        except OSError as error:
            raise MasterPortError(
                f"the master cannot listen for workers on {host}:{port} ({error.strerror or error}); another master "
                f"may be running. {remedy}"
            ) from None
