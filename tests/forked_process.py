"""Processes of Tokenswarm for tests, forked from one that has imported everything.

Imports are half of what a short run costs. `ForkedProcess` is used as `subprocess.Popen` is. A start from the very
beginning is for tests of its own.
"""

from __future__ import annotations

import array
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from inspect import signature
from pathlib import Path
from typing import Any, ClassVar

import gevent
from gevent import monkey

from tests.fork_server import MOST_BYTES, ROOT, STATUS

#: gevent's own is put off until its loop has something to do, and until then this process could write to its pipes.
close = monkey.get_original("os", "close")
_SERVER = Path(__file__).with_name("fork_server.py")
#: Read when Python starts or a library is imported, and too late for a process that is forked.
_READ_AT_START = ("PYTHON", "LC_", "LANG", "TZ", "MPL", "GEVENT", "OPENBLAS", "OMP_")
#: How each is started. A runner in a shell's background ignores Ctrl-C, and what it starts inherits that: not here.
_COMMANDS = {
    "locust": (
        sys.executable,
        "-c",
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "sys.argv[0] = 'locust'; from locust.main import main; main()",
    ),
    "simulate": (sys.executable, str(ROOT / "tokenswarm.py"), "simulate"),
    "tokenswarm": (sys.executable, str(ROOT / "tokenswarm.py")),
}
#: Variables of the fork server itself: output goes out at once.
_OF_THE_SERVER = {"PYTHONUNBUFFERED": "1"}
_ARGUMENTS = signature(subprocess.Popen._execute_child)  # type: ignore[attr-defined]


class _Server:
    """The fork server of a program: this process's, or that of the one which this one was forked from."""

    def __init__(self, program: str) -> None:
        self._program = program
        self._asks: socket.socket | None = None

    def ask(self, message: bytes, fds: list[int]) -> None:
        """Start a process."""
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))]
        self.start().sendmsg([message], rights)

    def start(self) -> socket.socket:
        """Start the server unless it runs. Returns where it is asked."""
        if self._asks is not None:
            return self._asks
        self._asks, its_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._asks.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, MOST_BYTES)
        with its_end:
            command = [sys.executable, str(_SERVER), self._program, str(its_end.fileno())]
            subprocess.Popen(
                command,
                env=os.environ | _OF_THE_SERVER,
                pass_fds=[its_end.fileno()],
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        return self._asks


_servers = {program: _Server(program) for program in _COMMANDS}


def start_fork_servers() -> None:
    """Start all now, where processes can be forked: those that are forked from this one share them."""
    if may_be_forked(None):
        for server in _servers.values():
            server.start()


class ForkedProcess(subprocess.Popen[str]):
    """`locust ARGUMENT…`, `tokenswarm simulate ARGUMENT…` or `tokenswarm ARGUMENT…`: the first argument is "locust",
    "simulate" or "tokenswarm". Of Popen's options, those about files, cwd, env, text and start_new_session have an
    effect."""

    draws_pictures: ClassVar[bool] = True

    def _execute_child(self, *given: Any) -> None:
        asked = _ARGUMENTS.bind(self, *given).arguments
        self._status, its_end = socket.socketpair()
        program, *arguments = asked["args"]
        message = {
            "arguments": [str(argument) for argument in arguments],
            "cwd": str(asked["cwd"] or Path.cwd()),
            "env": dict(os.environ if asked["env"] is None else asked["env"]),
            "own_session": asked["start_new_session"],
            "draws_pictures": self.draws_pictures,
        }
        theirs = [asked["p2cread"], asked["c2pwrite"], asked["errwrite"]]
        fds = [number if fd == -1 else fd for number, fd in enumerate(theirs)]
        with its_end:
            _servers[program].ask(json.dumps(message).encode(), [*fds, its_end.fileno()])
        for fd in {fd for fd in theirs if fd != -1}:
            close(fd)
        self._closed_child_pipe_fds = True
        self.pid = STATUS.unpack(self._status.recv(STATUS.size))[0]
        gevent.spawn(self._await_end)

    def _await_end(self) -> None:
        status = self._status.recv(STATUS.size)
        self._status.close()
        self.returncode = STATUS.unpack(status)[0] if status else -signal.SIGKILL
        self.result.set(self.returncode)  # type: ignore[attr-defined] # of gevent's Popen

    def _internal_poll(self) -> int | None:
        if self.returncode is None:
            gevent.sleep(0)  # its end may have been reported
        return self.returncode


class ForkedWithoutPictures(ForkedProcess):
    """The same, but that the pictures which it writes are empty."""

    draws_pictures = False


def start_program(
    program: str,
    arguments: Sequence[str],
    env: Mapping[str, str] | None = None,
    within: Sequence[str] = (),
    pictures: bool = True,
    **how: Any,
) -> subprocess.Popen[str]:
    """Start "locust", "tokenswarm", or "simulate" of Tokenswarm, forked where that is the same. env: all of its
    variables, None for this process's. within: a command that starts it. pictures: False where those that it writes may
    be empty. how: of Popen's options those that ForkedProcess knows."""
    if within or not may_be_forked(env):
        return subprocess.Popen([*within, *_COMMANDS[program], *arguments], env=env, text=True, **how)
    forked = ForkedProcess if pictures else ForkedWithoutPictures
    return forked([program, *arguments], env=env, text=True, **how)


def run_command(
    *arguments: str, env: Mapping[str, str] | None = None, timeout_s: float = 120.0, **how: Any
) -> subprocess.CompletedProcess[str]:
    """`tokenswarm ARGUMENT…` to its end, with what it wrote. env and how: see start_program."""
    process = start_program(
        "tokenswarm", arguments, env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **how
    )
    try:
        output, errors = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    return subprocess.CompletedProcess(arguments, process.returncode, output, errors)


def may_be_forked(env: Mapping[str, str] | None) -> bool:
    """Whether a process with these variables is the same forked as started."""
    if not hasattr(os, "pidfd_open"):
        return False
    return env is None or _read_at_start(env) == _read_at_start(os.environ)


def _read_at_start(env: Mapping[str, str]) -> dict[str, str]:
    return {
        name: value for name, value in env.items() if name.startswith(_READ_AT_START) and name not in _OF_THE_SERVER
    }
