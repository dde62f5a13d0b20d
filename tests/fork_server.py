"""A process that has imported what every whole run imports, and forks itself for each: see tests/forked_process.py.

`python tests/fork_server.py locust|simulate|tokenswarm FD`: FD is a socket, and each message on it one process to be
started. Its pid and its exit status are written to a socket that comes with the message.
"""

from __future__ import annotations

import array
import atexit
import base64
import gc
import importlib
import inspect
import io
import json
import os
import select
import selectors
import signal
import socket
import struct
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

# gevent's patches, made when Locust is imported, are for the processes: this one needs Python's own.
_fork, _waitpid, _close, _signal, _mask = os.fork, os.waitpid, os.close, signal.signal, signal.pthread_sigmask
_Socket, _fromfd, _scm_rights, _sol_socket = socket.socket, socket.fromfd, socket.SCM_RIGHTS, socket.SOL_SOCKET


class _Selector(selectors.PollSelector):
    # gevent's own would run its loop in here, which takes the exit status of some processes before this one can.
    _selector_cls = select.poll


ROOT = Path(__file__).resolve().parents[1]
MOST_BYTES = 1_000_000
#: Handed over with each message: standard input, output and error, and where pid and exit status are written.
FDS = 4
STATUS = struct.Struct("i")


def _import_locust() -> None:
    """All but what changes the process that imports it, as the first lines of locustfile.py do."""
    import locust.main  # noqa: F401
    import matplotlib.backends.backend_agg
    import matplotlib.backends.backend_svg
    import matplotlib.figure  # noqa: F401

    import tokenswarm.reports.charts
    import tokenswarm.reports.checks.run_checks
    import tokenswarm.reports.html.run_page
    import tokenswarm.reports.terminal
    import tokenswarm.run_control.recording_hooks
    import tokenswarm.run_control.run_start
    import tokenswarm.shapes.run_shape
    import tokenswarm.users.chat
    import tokenswarm.users.run_lifecycle  # noqa: F401
    from tokenswarm.reports.checks.check_report import CheckReport
    from tokenswarm.reports.html.document import html_of
    from tokenswarm.reports.html.run_page import page_of
    from tokenswarm.run_folder.reader import load_results
    from tokenswarm.wire import TlsSettings

    # Once for all: fonts, and what else matplotlib looks up for its first pictures; the report's template; the files of
    # all modules, for which Locust looks when a run stops; the authorities that the system trusts.
    html_of(page_of(load_results(ROOT / "tests" / "run_folder" / "format_2"), CheckReport("", [], [])))
    inspect.stack()
    TlsSettings().context()


def _import_simulator() -> None:
    import tokenswarm.command_line.command_parser
    import tokenswarm.simulator.cli  # noqa: F401


def _import_commands() -> None:
    """Of those that run to their end."""
    import matplotlib.backends.backend_agg
    import matplotlib.backends.backend_svg
    import matplotlib.figure  # noqa: F401

    import tokenswarm.command_line.command_parser
    import tokenswarm.probe.probe_command
    import tokenswarm.reports.charts
    import tokenswarm.reports.compare.compare_command
    import tokenswarm.reports.compare.gate_command
    import tokenswarm.reports.recover_command
    import tokenswarm.reports.report_command  # noqa: F401


_IMPORTS = {"locust": _import_locust, "simulate": _import_simulator, "tokenswarm": _import_commands}


def _serve(server: Any) -> list[str]:
    """Start what is asked for, and return its arguments in each process that was started. Exits when nobody is left to
    ask."""
    _mask(signal.SIG_BLOCK, [signal.SIGCHLD])  # gevent would wait for what ends, and keep how it ended
    processes: dict[int, tuple[int, int]] = {}  # by pidfd: the pid, and where its exit status is written
    selector = _Selector()
    selector.register(server, selectors.EVENT_READ)
    while True:
        for key, _ in selector.select():
            if key.fileobj is not server:
                selector.unregister(key.fd)
                _report_end(key.fd, *processes.pop(key.fd))
                continue
            message, fds = _receive(server)
            if not message:
                os._exit(0)
            pid = _fork()
            if pid == 0:
                selector.close()
                for fd in (*processes, *(writer for _, writer in processes.values()), fds[3], server.detach()):
                    _close(fd)
                return _become(json.loads(message), fds[:3])
            pidfd = os.pidfd_open(pid)
            processes[pidfd] = pid, fds[3]
            selector.register(pidfd, selectors.EVENT_READ)
            for fd in fds[:3]:
                _close(fd)
            os.write(fds[3], STATUS.pack(pid))


def _report_end(pidfd: int, pid: int, writer: int) -> None:
    status = os.waitstatus_to_exitcode(_waitpid(pid, 0)[1])
    with suppress(BrokenPipeError):  # nobody waits for it any more
        os.write(writer, STATUS.pack(status))
    _close(writer)
    _close(pidfd)


def _receive(server: Any) -> tuple[bytes, list[int]]:
    fds = array.array("i")
    message, ancillary, _, _ = server.recvmsg(MOST_BYTES, socket.CMSG_SPACE(FDS * fds.itemsize))
    for level, kind, data in ancillary:
        if (level, kind) == (_sol_socket, _scm_rights):
            fds.frombytes(data)
    return message, list(fds)


#: A picture of one pixel, and one of nothing.
_PIXEL_PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
)
_EMPTY_SVG = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1 1" version="1.1"></svg>'


class _NoFigure:
    """Stands for a figure of matplotlib and all that it is made of: takes any call, and draws nothing."""

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def __getattr__(self, name: str) -> _NoFigure:
        if name.startswith("__"):
            raise AttributeError(name)
        return self

    def __call__(self, *_: object, **__: object) -> _NoFigure:
        return self

    def __getitem__(self, _: object) -> _NoFigure:
        return self

    def __iter__(self) -> Iterator[_NoFigure]:
        return iter((self, self))

    def __len__(self) -> int:
        return 2

    def __truediv__(self, _: object) -> float:
        return 1.0

    __rtruediv__ = __mul__ = __rmul__ = __add__ = __radd__ = __sub__ = __rsub__ = __truediv__

    def __float__(self) -> float:
        return 1.0

    def __lt__(self, _: object) -> bool:
        return False

    __le__ = __gt__ = __ge__ = __lt__

    def items(self) -> tuple[()]:
        return ()

    values = items

    def savefig(self, where: str | Path | io.StringIO, *, format: str, **_: object) -> None:  # noqa: A002
        if isinstance(where, io.StringIO):
            assert format == "svg"
            where.write(_EMPTY_SVG)
        else:
            assert format == "png"
            Path(where).write_bytes(_PIXEL_PNG)


def _leave_pictures_out() -> None:
    """Half of what a short run computes is matplotlib's making and drawing of a dozen figures. Here they are asked for
    as always, and are empty when they are written."""
    import matplotlib.figure

    matplotlib.figure.Figure = _NoFigure  # type: ignore[misc, assignment]


def _become(wanted: dict[str, Any], fds: list[int]) -> list[str]:
    _mask(signal.SIG_UNBLOCK, [signal.SIGCHLD])
    if wanted["own_session"]:
        os.setsid()
    if not wanted["draws_pictures"]:
        _leave_pictures_out()
    for number, fd in enumerate(fds):
        os.dup2(fd, number)
        _close(fd)
    for number, name in ((1, "stdout"), (2, "stderr")):  # those of the server know whether its own files can seek
        errors = getattr(sys, name).errors
        stream = io.TextIOWrapper(io.FileIO(number, "w", closefd=False), errors=errors, write_through=True)
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    os.environ.clear()
    os.environ.update(wanted["env"])
    os.chdir(wanted["cwd"])
    arguments: list[str] = wanted["arguments"]
    return arguments


def _run(program: str, arguments: list[str]) -> None:
    _signal(signal.SIGINT, signal.default_int_handler)
    if program == "locust":
        import gevent
        from locust.main import main

        import tokenswarm.cluster.master_watch

        gevent.reinit()
        importlib.reload(tokenswarm.cluster.master_watch)  # it knows the process that imported it

        sys.argv = ["locust", *arguments]
        main()
    else:
        from tokenswarm import main as command

        named = [program] if program == "simulate" else []
        sys.argv = [str(ROOT / "tokenswarm.py"), *named, *arguments]
        sys.exit(command())


def _exit_status_of(program: str, arguments: list[str]) -> int:
    """As Python would end with."""
    try:
        _run(program, arguments)
    except SystemExit as end:
        if isinstance(end.code, int | None):
            return end.code or 0
        print(end.code, file=sys.stderr)
    except Exception:
        sys.excepthook(*sys.exc_info())
    else:
        return 0
    return 1


def _end(status: int) -> None:
    """What Python does at exit, but for taking apart all that was imported: that would copy every page of it."""
    threading._shutdown()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(status)


if __name__ == "__main__":
    asked_program, fd_of_asks = sys.argv[1], int(sys.argv[2])
    with _fromfd(fd_of_asks, socket.AF_UNIX, socket.SOCK_SEQPACKET) as asked:
        _close(fd_of_asks)
        sys.path[0] = str(ROOT)
        _IMPORTS[asked_program]()
        gc.collect()
        gc.freeze()
        asked_arguments = _serve(asked)
    sys.path[0] = ""
    _end(_exit_status_of(asked_program, asked_arguments))
