"""What a process of a run prints and logs is written by a thread of its own: the load never waits for a reader.

A pipe whose reader has stopped holds up whoever writes to it, in gevent all users and the handling of signals. Here a
line waits in a queue instead. Where that is full, its oldest line makes way, as the last lines of a run hold its
figures; how many did is reported when the reader goes on. At its end a process gives its readers some time.
"""

from __future__ import annotations

import atexit
import os
import select
import signal
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TextIO

from gevent import monkey

from tokenswarm.sanitize import discard, report_lost_output

#: Lines that wait for a reader: an hour of a run's and more.
MOST_LINES = 2000
#: At its end a process waits so long for a reader that reads nothing, in seconds; Ctrl-C and SIGTERM end the wait.
PATIENCE_S = 5.0
#: Written at once: what a pipe takes whole.
_PIECE_BYTES = 4096
_LOOK_S = 0.01
_UNREAD = (
    b"tokenswarm: the standard output was not read to its end, so that its last lines are lost; files are not "
    b"affected\n"
)

# Those of the system: gevent's are for greenlets, which all wait while one of them writes.
_Queue: Any = monkey.get_original("queue", "SimpleQueue")
_Empty: Any = monkey.get_original("queue", "Empty")
_poll: Any = monkey.get_original("select", "poll")
_start_thread: Any = monkey.get_original("_thread", "start_new_thread")
_sleep: Any = monkey.get_original("time", "sleep")
_monotonic: Any = monkey.get_original("time", "monotonic")


@dataclass
class _Mark:
    """In the queue: reached once all lines before it are written."""

    reached: bool = False


class OutputQueue:
    """Lines on their way to one file descriptor."""

    def __init__(self, stream: TextIO, most_lines: int = MOST_LINES) -> None:
        """stream: whose descriptor is written to."""
        self._stream = stream
        self._most_lines = most_lines
        #: Seconds that a line waits for its reader once there is no thread any more; None while there is.
        self._writes_within_s: float | None = None
        self.reset()

    def reset(self) -> None:
        """Begin anew. After a fork, in the child: what waits is the parent's to write, and so is its thread. A thread
        is started now, as Python starts none in a process that is about to end."""
        self._waiting = _Queue()
        self._lost_lines = self._written_bytes = 0
        _start_thread(self._write, (self._waiting,))

    def put(self, text: bytes) -> None:
        """Have the text written, soon. It is one entry of the queue, whatever its length."""
        if self._writes_within_s is not None:
            self._write_at_once(text)
            return
        if self._waiting.qsize() >= self._most_lines:
            self._drop_oldest()
        self._waiting.put(text)

    def end(self, patience_s: float) -> None:
        """The process ends, and with it its threads: what comes now is written at once, where the reader takes it
        within so many seconds."""
        self._writes_within_s = patience_s

    def settle(self, patience_s: float, interrupts: Sequence[int] = ()) -> bool:
        """Wait until all is written, the reader reads nothing for so long, or there are interrupts. Returns whether all
        is written."""
        mark = _Mark()
        self._waiting.put(mark)
        written, until_s = -1, 0.0
        while not mark.reached:
            if self._written_bytes != written:
                written, until_s = self._written_bytes, _monotonic() + patience_s
            elif interrupts or _monotonic() >= until_s:
                return False
            _sleep(_LOOK_S)
        return True

    def _drop_oldest(self) -> None:
        try:
            entry = self._waiting.get(block=False)
        except _Empty:  # the thread has taken it meanwhile
            return
        if isinstance(entry, _Mark):
            self._waiting.put(entry)
        else:
            self._lost_lines += entry.count(b"\n")

    def _write_at_once(self, text: bytes) -> None:
        try:
            can_write = _poll()
            can_write.register(self._stream.fileno(), select.POLLOUT)
            while text and can_write.poll(1000 * (self._writes_within_s or 0.0)):
                text = text[os.write(self._stream.fileno(), text[:_PIECE_BYTES]) :]
        except (OSError, ValueError):
            pass  # whoever prints at this moment has nobody to report it to
        if text:
            self._writes_within_s = 0.0

    def _write(self, waiting: Any) -> None:
        """In the thread."""
        while True:
            entry = waiting.get()
            if isinstance(entry, _Mark):
                entry.reached = True
                continue
            lost, self._lost_lines = self._lost_lines, 0
            if lost:
                entry = (
                    f"tokenswarm: {lost:,} lines before this one were not read in time and are lost; "
                    "files are not affected\n".encode()
                    + entry
                )
            self._write_text(entry)

    def _write_text(self, text: bytes) -> None:
        while text:
            try:
                count = os.write(self._stream.fileno(), text[:_PIECE_BYTES])
            except BlockingIOError:  # another process that shares the descriptor made it so
                _sleep(_LOOK_S)
                continue
            except (OSError, ValueError) as error:  # a ValueError: somebody has closed the stream
                if isinstance(error, ValueError) or self._stream is sys.__stderr__:
                    discard(self._stream)
                else:
                    report_lost_output(error, self._stream)
                return
            self._written_bytes += count
            text = text[count:]


class QueuedStream:
    """A text stream whose lines go into a queue; all else is the stream's that it stands for."""

    def __init__(self, stream: TextIO, queue: OutputQueue) -> None:
        self._stream, self._queue = stream, queue
        self._unfinished = ""
        #: A character that the terminal does not have must not end a run.
        self._errors = "backslashreplace" if stream.errors in (None, "strict") else stream.errors

    def write(self, text: str) -> int:
        self._unfinished += text
        if text.endswith("\n"):
            self.flush()
        return len(text)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Hand over what is there; it is not waited for."""
        text, self._unfinished = self._unfinished, ""
        if text:
            self._queue.put(text.encode(self._stream.encoding or "utf-8", self._errors))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def queue_output() -> None:
    """Have all output of this process, and of those that are forked from it, written by a thread from now on. Streams
    that were closed, or that somebody else has replaced, are left alone."""
    named = {name: getattr(sys, name) for name in ("stdout", "stderr")}
    streams = {name: stream for name, stream in named.items() if stream and stream is getattr(sys, f"__{name}__")}
    queues: dict[tuple[int, int], OutputQueue] = {}
    for name, stream in streams.items():
        found = os.fstat(stream.fileno())
        # One queue for one terminal, pipe or file keeps the order of lines that go there in two ways.
        place = found.st_dev, found.st_ino
        queue = queues[place] = queues.get(place) or OutputQueue(stream)
        setattr(sys, name, QueuedStream(stream, queue))
    if queues:
        atexit.register(_settle, [getattr(sys, name) for name in streams], list(queues.values()))
        for queue in queues.values():
            os.register_at_fork(after_in_child=queue.reset)


def _settle(streams: Iterable[QueuedStream], queues: Sequence[OutputQueue]) -> None:
    """At the process's end: the standard output first, so that the standard error can say what is missing of it."""
    interrupts: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda received, _: interrupts.append(received))
    for stream in streams:
        stream.flush()
    for place, queue in enumerate(queues):
        is_written = queue.settle(PATIENCE_S, interrupts)
        if not is_written and place + 1 < len(queues):
            queues[place + 1].put(_UNREAD)
        queue.end(PATIENCE_S if is_written else 0.0)
