"""Guards of what a process prints and logs: no secret and no control character passes, whoever wrote it."""

from __future__ import annotations

import errno
import io
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO

from tokenswarm.sanitize.process import shown


class _GuardedStream:
    """A text stream; what is written to it is `shown`. It calls itself no terminal: colours would be written out."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        self._stream.write(shown(text))
        return len(text)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def isatty(self) -> bool:
        return False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class _GuardedErrorStream(_GuardedStream):
    """The standard error. Where it cannot be written (a full disk, a closed pipe), messages are dropped: the exit code
    is that of the error, not of its message."""

    def write(self, text: str) -> int:
        try:
            return super().write(text)
        except OSError:
            discard(self._stream)
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError:
            discard(self._stream)


class _ClosedStream(io.TextIOBase):
    """Stands for a standard output that was closed before the process began (`>&-`), for which Python has None and
    `print` says nothing: the first text is reported as lost, all are dropped."""

    def write(self, text: str) -> int:
        report_lost_output(OSError(errno.EBADF, "the standard output is closed"), self)  # type: ignore[arg-type]
        return len(text)


def discard(stream: TextIO) -> None:
    """Send what the stream still holds, and everything after it, to the null device: the interpreter's own last flush
    would fail too, and change the exit code."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


class _LostOutput:
    """Whether text for the standard output was lost since `guarded_output` was entered."""

    lost = False


def report_lost_output(error: OSError, stream: TextIO) -> None:
    """The standard output cannot be written: what follows is dropped, and a sentence on the standard error says why,
    once. A reader that has closed its end of a pipe has seen enough."""
    discard(stream)
    if isinstance(error, BrokenPipeError) or _LostOutput.lost:
        return
    _LostOutput.lost = True
    with suppress(OSError):
        reason = error.strerror or str(error)
        print(f"tokenswarm: the output could not be written ({reason}); files are not affected", file=sys.stderr)


def is_output_lost() -> bool:
    """Whether `report_lost_output` has reported anything since `guarded_output` was entered."""
    return _LostOutput.lost


@contextmanager
def guarded_output() -> Iterator[None]:
    """Guards the standard output, the standard error (tracebacks included) and the log, until the context ends."""
    _LostOutput.lost = False
    streams = sys.stdout, sys.stderr
    factory = logging.getLogRecordFactory()
    guard_output()
    try:
        yield
    finally:
        sys.stdout, sys.stderr = streams
        logging.setLogRecordFactory(factory)


def guard_output() -> None:
    """The same to the end of the process. More than once is as good as once."""
    for name, guard in (("stdout", _GuardedStream), ("stderr", _GuardedErrorStream)):
        stream = getattr(sys, name)
        if stream is not None and not isinstance(stream, _GuardedStream):
            setattr(sys, name, guard(stream))
    if sys.stdout is None:
        sys.stdout = _ClosedStream()
    make = logging.getLogRecordFactory()
    if not isinstance(make, _GuardedRecords):
        logging.setLogRecordFactory(_GuardedRecords(make))


class _GuardedRecords:
    """Makes records whose message and traceback are `shown`, whichever handler takes them."""

    def __init__(self, make: Any) -> None:
        self._make = make

    def __call__(self, *arguments: Any, **named: Any) -> logging.LogRecord:
        record: logging.LogRecord = self._make(*arguments, **named)
        try:
            record.msg, record.args = shown(record.getMessage()), ()
            if record.exc_info and not record.exc_text:
                record.exc_text = shown(logging.Formatter().formatException(record.exc_info))
        except Exception:  # a message that does not fit its arguments: logging itself says so
            return record
        return record
