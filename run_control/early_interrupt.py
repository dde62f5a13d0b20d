"""An interrupt before the run is set up: there is nothing to complete, so the process ends at once, with one sentence.

Importing this module sets the handlers, unless run_command/locust_process.py has run this file before, and lets signals
through that have waited for them; it comes before everything that takes time. Once the process is set up,
run_control/interrupts.py takes over. While Python takes the process apart, further signals are ignored: it would put
back the system's handling, and a second signal would change the exit code.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
from contextlib import suppress
from types import FrameType
from typing import Any

#: As in command_line/exit_codes.py, whose package takes a quarter of a second to import.
EXIT_INTERRUPTED = 4
INTERRUPTED_EARLY = "tokenswarm: interrupted before the run began: nothing was measured"

#: The handlers that this file has replaced.
BEFORE: dict[int, Any] = {}
_process = os.getpid()
_has_forked = False


def _end(_number: int, _frame: FrameType | None) -> None:
    if os.getpid() == _process:
        _say(f"{INTERRUPTED_EARLY}\n")
        if _has_children():
            raise SystemExit(EXIT_INTERRUPTED)  # Locust then ends the workers that it forked
        os._exit(EXIT_INTERRUPTED)
    # A forked worker has nothing to say: the terminal interrupts the whole group, and the master answers for all.
    # Locust logs a code above 1 as an error.
    os._exit(1)


def _say(line: str) -> None:
    """Not through the stream, which the signal may have interrupted; and not where that would wait for a reader."""
    with suppress(OSError, ValueError, AttributeError):
        fileno = sys.stderr.fileno()
        waits = os.get_blocking(fileno)
        os.set_blocking(fileno, False)
        try:
            os.write(fileno, line.encode())
        finally:
            os.set_blocking(fileno, waits)


def _note_fork() -> None:
    global _has_forked  # noqa: PLW0603
    _has_forked = True


def _has_children() -> bool:
    """Whether there are any now. Libraries run programs while they are imported, and gevent forks for each. Where the
    exception is not needed, it is not raised: in a callback of an import it would be lost."""
    if not _has_forked or not hasattr(os, "waitid"):
        return _has_forked
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def _ignore() -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


atexit.register(_ignore)  # before all others, and so called after them
os.register_at_fork(after_in_parent=_note_fork)
for _number in (signal.SIGINT, signal.SIGTERM):
    # One that is ignored stays so: the process was started by `nohup`, or in a shell's background.
    if signal.getsignal(_number) in (signal.default_int_handler, signal.SIG_DFL):
        BEFORE[_number] = signal.signal(_number, _end)
# `tokenswarm run` has them wait until now.
signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT, signal.SIGTERM))
