"""What this machine lets a process have: open files, local ports, memory for sockets. Running out is the client's own
failure and says nothing about the server."""

from __future__ import annotations

import errno
import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from gevent import monkey

# gevent's closes a file only when its loop runs.
_close = monkey.get_original("os", "close")
_PlainSocket: type[socket.socket] = monkey.get_original("socket", "socket")
_PORT_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
#: Files that a process opens besides its connections: results, logs, look-ups of names.
_RESERVED_FILES = 40
#: Connections that a process is ready for, whatever its load.
USUAL_CONNECTIONS = 4000
_CURES = {
    errno.EMFILE: "this process has no open file left (ulimit -n)",
    errno.ENFILE: "this machine has no open file left (sysctl fs.file-max)",
    errno.EADDRNOTAVAIL: "this machine has no local port left for the server (sysctl net.ipv4.ip_local_port_range)",
    errno.ENOBUFS: "this machine has no buffer left for sockets (sysctl net.ipv4.tcp_mem)",
    errno.ENOMEM: "this machine has no memory left for sockets",
    errno.ENOSPC: "this user can watch no more sockets (sysctl fs.epoll.max_user_watches)",
}


class Limits(NamedTuple):
    """What a process may have. open_files: the limit, None if there is none; files_in_use: of these; local_ports: that
    connections to one address can have on this machine, None where the system does not say."""

    open_files: int | None
    files_in_use: int
    local_ports: int | None


def limit_reached(error: OSError) -> str | None:
    """Which limit of this machine or process an error reports, as the cause and where to raise it; None if none."""
    if isinstance(error, socket.gaierror):
        # The resolver could not open a file, and has no word for that.
        return None if _can_open_a_file() else _CURES[errno.EMFILE]
    return _CURES.get(error.errno or 0)


def process_limits(wanted_files: int) -> Limits:
    """This process's, its soft limit of open files raised as far as it may and `wanted_files` connections need it."""
    in_use = _files_in_use()
    needed = in_use + wanted_files + _RESERVED_FILES
    limit = _raised_limit(needed)
    if wanted_files > USUAL_CONNECTIONS:
        reserve_descriptors(needed)
    return Limits(limit, in_use, _local_ports())


def reserve_descriptors(number: int) -> None:
    """Have the kernel make this process's table of descriptors long enough for so many. Where the table grows while
    connections are made, at 256, 512, 1,024, … of them, the kernel stops a process of several threads for 5 to 20 ms
    each time, and no arrival is read."""
    try:
        import fcntl
    except ImportError:  # not on Windows
        return
    with suppress(OSError):  # none is left: nothing is lost but time
        opened = os.open(os.devnull, os.O_RDONLY)
        try:
            _close(fcntl.fcntl(opened, fcntl.F_DUPFD_CLOEXEC, min(number, _soft_limit()) - 1))
        finally:
            _close(opened)


def shortage(limits: Limits, connections: int, connections_of_machine: int) -> str | None:
    """Why so many connections of a process, and of all processes of its machine, to one address cannot be had and what
    to do; None if they can."""
    needed = limits.files_in_use + connections + _RESERVED_FILES
    if limits.open_files is not None and needed > limits.open_files:
        return (
            f"{connections:,} connections in one process need {needed:,} open files, and it may have "
            f"{limits.open_files:,}; allow more (ulimit -n {needed}, in a container --ulimit nofile={needed}), or "
            "spread the load over more workers"
        )
    if limits.local_ports is not None and connections_of_machine > limits.local_ports:
        return (
            f"{connections_of_machine:,} connections of this machine need as many local ports for the server, and "
            f'there are {limits.local_ports:,}; allow more (sysctl -w net.ipv4.ip_local_port_range="1024 65535"), or '
            "spread the load over more machines"
        )
    return None


def has_ipv6() -> bool:
    """Whether this machine can connect to any IPv6 address; many containers cannot."""
    try:
        with _PlainSocket(socket.AF_INET6, socket.SOCK_STREAM) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True


def _can_open_a_file() -> bool:
    try:
        _close(os.open(os.devnull, os.O_RDONLY))
    except OSError:
        return False
    return True


def _files_in_use() -> int:
    for folder in ("/proc/self/fd", "/dev/fd"):
        try:
            return len(os.listdir(folder))  # noqa: PTH208 - a descriptor is no path
        except OSError as error:
            if error.errno == errno.EMFILE:  # listing takes one itself: all that the limit allows are in use
                return _soft_limit()
    return 0


def _soft_limit() -> int:
    import resource

    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def _raised_limit(needed: int) -> int | None:
    try:
        import resource
    except ImportError:  # not on Windows
        return None
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return None
    if soft < needed:
        raised = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, raised), hard))
            soft = max(soft, raised)
    return soft


def _local_ports() -> int | None:
    try:
        lowest, highest = map(int, _PORT_RANGE.read_text().split())
    except (OSError, ValueError):
        return None
    return highest - lowest + 1
