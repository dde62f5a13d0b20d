"""Ports to listen on: whether one is free, and the next one that is."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Collection

_TRIED = 100
_IN_USE = os.strerror(errno.EADDRINUSE)


def why_no_address(host: str) -> str | None:
    """Why nothing can listen on that address, whatever the port (`*` and empty: every address); None if something
    can."""
    return why_not_free(host, 0)


def why_not_free(host: str, port: int) -> str | None:
    """Why nothing can listen on the port of this machine's address (`*` and empty: every address); None if it can."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(("" if host == "*" else host, port))
            listener.listen()
    except UnicodeError:  # a part of it is longer than a name's can be
        return "Name or service not known"
    except (OSError, OverflowError) as error:
        return getattr(error, "strerror", None) or str(error)
    return None


def or_who_has_it(reason: str, other: str) -> str:
    """The reason why a port is not free, and that `other` may be running where something listens on it: what is not
    permitted has no such cause."""
    return f"{reason}; {other} may be running" if reason == _IN_USE else reason


def first_free_port(host: str, port: int, avoid: Collection[int] = ()) -> int:
    """The first port from `port` on that is free on that address and none of `avoid`; `port` itself if none of the next
    hundred is."""
    candidates = [each for each in range(port, min(port + _TRIED, 65536)) if each not in avoid]
    return next((candidate for candidate in candidates if why_not_free(host, candidate) is None), port)


def free_port(host: str) -> int:
    """A port of that address that the system chooses."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as listener:
        listener.bind(("" if host == "*" else host, 0))
        return int(listener.getsockname()[1])
