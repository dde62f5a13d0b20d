"""The listening socket: accepts connections until it is closed."""

import asyncio
import errno
import socket
from collections.abc import Callable

from tokenswarm.simulator.connection import accept_kernel_times
from tokenswarm.simulator.errors import SimulatorError

_BACKLOG = 4096
_ACCEPT_PAUSE_S = 0.1
#: Another user may not listen on ports below 1,024.
_OF_PORT = (errno.EADDRINUSE, errno.EACCES)


class Listener:
    """Listens on one port; `on_client` gets the socket of each connection."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, host: str, port: int, on_client: Callable[[socket.socket], None]
    ) -> None:
        """Port 0: any free one. Raises SimulatorError if the port cannot be listened on."""
        self._loop = loop
        self._on_client = on_client
        if not 0 <= port <= 65_535:
            # Not left to the system: name resolution takes any number modulo 65,536.
            raise SimulatorError(f"the port must be from 0 to 65535, got {port}; choose another --port.")
        try:
            family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
            self._socket = socket.socket(family, kind, protocol)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            accept_kernel_times(self._socket)
            self._socket.bind(address)
            self._socket.listen(_BACKLOG)
        except OSError as error:
            raise SimulatorError(_why_not(host, port, error)) from error
        self._socket.setblocking(False)
        self._loop.add_reader(self._socket, self._accept)

    @property
    def port(self) -> int:
        """The port it listens on."""
        port: int = self._socket.getsockname()[1]
        return port

    def close(self) -> None:
        """Accept no more connections."""
        self._loop.remove_reader(self._socket)
        self._socket.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._socket.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError:
                # Out of file descriptors: the listener stays readable, so without a pause this would spin.
                self._loop.remove_reader(self._socket)
                self._loop.call_later(_ACCEPT_PAUSE_S, self._accept_again)
                return
            self._on_client(client)

    def _accept_again(self) -> None:
        if self._socket.fileno() >= 0:
            self._loop.add_reader(self._socket, self._accept)


def _why_not(host: str, port: int, error: OSError) -> str:
    """What is wrong, and which option mends it: another port is of no use on an address that is not this machine's."""
    reason = error.strerror or error
    if error.errno in _OF_PORT:
        return f"cannot listen on {host}:{port}: {reason}; choose another --port."
    return (
        f"--host {host} is no address on which this machine can listen ({reason}): give one of its own, or leave the "
        "option out."
    )
