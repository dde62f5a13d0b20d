"""How progress lines come to the console: without the beginning of a log's line, and on a terminal as one line that is
written again and again."""

from __future__ import annotations

import logging
import os
import shutil
import sys
from contextlib import suppress

from tokenswarm.recording.progress import Progress
from tokenswarm.reports.output import show
from tokenswarm.reports.progress_line import progress_bar

_CLEAR = "\r\x1b[2K"
#: Loggers with handlers of their own: the root's, and those of Locust.
_LOGGERS = ("", "locust", "locust.stats_logger")
_WITHOUT_A_TERMINAL = 120


class ProgressConsole(logging.Filter):
    """Of the handlers that write to the console. A record with the attribute `progress` is shown here, and not logged
    by them; so is one with `bar_legend`, which says what the bar of a terminal means. Before any other one, the line
    that stands there is taken away. A log file gets the records as they are."""

    def __init__(self) -> None:
        super().__init__()
        self._stands = False
        self._latest: logging.LogRecord | None = None

    def attach(self) -> None:
        """Filter from now on. More than once is as good as once."""
        for name in _LOGGERS:
            for handler in logging.getLogger(name).handlers:
                to_console = isinstance(handler, logging.StreamHandler) and not isinstance(handler, logging.FileHandler)
                if to_console and self not in handler.filters:
                    handler.addFilter(self)

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the handler is to log the record."""
        progress, legend = getattr(record, "progress", None), getattr(record, "bar_legend", None)
        is_progress = isinstance(progress, Progress)
        if not is_progress:
            self.clear()
        if not is_progress and (not legend or _terminal() is None):
            return True
        if record is not self._latest:  # by another handler already
            self._latest = record
            if isinstance(progress, Progress):
                self._show(record.getMessage(), progress)
            else:
                show(str(legend), sys.stderr)
        return False

    def clear(self) -> None:
        """Take the line away, so that something else can stand there."""
        if self._stands and (terminal := _terminal()) is not None:
            _write(terminal, _CLEAR)
        self._stands = False

    def _show(self, line: str, progress: Progress) -> None:
        if (terminal := _terminal()) is None:
            show(line, sys.stderr)
            return
        sys.stderr.flush()
        _write(terminal, _CLEAR + progress_bar(progress, _columns(terminal)))
        self._stands = True


def _terminal() -> int | None:
    """The file number of the standard error where that is a terminal which can write a line again."""
    with suppress(AttributeError, OSError, ValueError):  # closed, or no file at all
        number = sys.stderr.fileno()
        if os.isatty(number) and os.environ.get("TERM", "") != "dumb":
            return number
    return None


def _columns(terminal: int) -> int:
    try:
        return os.get_terminal_size(terminal).columns or _WITHOUT_A_TERMINAL
    except OSError:
        return shutil.get_terminal_size((_WITHOUT_A_TERMINAL, 24)).columns


def _write(terminal: int, text: str) -> None:
    """Numbers and words of this program alone: what guards the standard error would write the terminal's commands
    out."""
    with suppress(OSError):
        os.write(terminal, text.encode())
