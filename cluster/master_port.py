"""The port on which a master listens for its workers."""

from __future__ import annotations

import re
import socket
from functools import cache
from ipaddress import IPv6Address

from tokenswarm.command_line import or_who_has_it, why_no_address


class MasterPortError(ValueError):
    """The port for workers is not available; the text says why and what to do."""


def check_master_address(host: str, port: int) -> None:
    """Of a worker: the address of its master. Whether somebody answers there is found out later. Raises
    MasterPortError."""
    if not 0 < port < 65536:
        raise MasterPortError(f"--master-port takes a port from 1 to 65535, got {port}.")
    if not (re.fullmatch(r"[^\s/:-][^\s/:]*", host) or _is_ipv6(host)):
        raise MasterPortError(
            f"--master-host takes the name or the address of the master's machine, like 10.0.0.5, got {host!r}."
        )


def _is_ipv6(host: str) -> bool:
    try:
        IPv6Address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return True


@cache
def check_master_port(host: str, port: int, remedy: str, option: str = "--master-bind-port") -> None:
    """Before workers are forked: they would join the process that has the port. Only once in a process: later calls
    would find this master on it. remedy: what to do where the port is taken; option: which has it. Raises
    MasterPortError."""
    if not 0 < port < 65536:
        raise MasterPortError(f"{option} takes a port from 1 to 65535, got {port}.")
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
                f"the master cannot listen for workers on {host}:{port} "
                f"({or_who_has_it(error.strerror or str(error), 'another master')}). {remedy}"
            ) from None
