"""Files of Locust's own that cannot be written: a sentence for each, and the run goes on and ends as it would.

Each item says what Locust does without it and where. A test in tests/upstream fails when it can be removed.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import locust.main


def keep_log_going() -> None:
    """Log on the standard error once the file of --logfile cannot be written.

    Python writes a traceback for each line then, and the line is lost.

    Upstream: https://github.com/locustio/locust/blob/2.47.0/locust/log.py#L66-L78
    """
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.FileHandler):
            handler.handleError = partial(_log_elsewhere, handler)  # type: ignore[method-assign]


def _log_elsewhere(handler: logging.FileHandler, record: logging.LogRecord) -> None:
    """While the error of a record is handled."""
    error = sys.exc_info()[1]
    if not isinstance(error, OSError):
        logging.Handler.handleError(handler, record)
        return
    file: Any = handler.stream
    handler.stream = None
    with suppress(OSError):
        file.close()
    onward = logging.StreamHandler()
    onward.setFormatter(handler.formatter)
    handler.emit = onward.emit  # type: ignore[method-assign]
    _say(f"--logfile {handler.baseFilename} cannot be written ({error.strerror or error}); the log goes on here.")
    onward.emit(record)


def end_without_html_file() -> None:
    """Leave out the file of --html where it cannot be written.

    Locust ends with a traceback and exit code 1 then, before its run has ended, and so without any report.

    Upstream: https://github.com/locustio/locust/blob/2.47.0/locust/main.py#L678-L702
    """
    names = vars(locust.main)
    if isinstance(names["get_html_report"], _HtmlReport):
        return
    report = _HtmlReport(names["get_html_report"], names["process_html_filename"])
    names.update(get_html_report=report, process_html_filename=report.write)


class _HtmlReport:
    """Stands for both functions that Locust calls before it writes the file: first the text, and then the name."""

    def __init__(self, make: Callable[..., str], complete_name: Callable[[Any], None]) -> None:
        self._make, self._complete_name = make, complete_name
        self._text = ""

    def __call__(self, *arguments: Any, **named: Any) -> str:
        self._text = self._make(*arguments, **named)
        return self._text

    def write(self, options: Any) -> None:
        """Complete the name in the options; it is the null device's where the file cannot be written."""
        self._complete_name(options)
        path = Path(options.html_file)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(self._text, encoding="utf-8")
        except OSError as error:
            reason = error.strerror or error
            _say(f"--html {path} cannot be written ({reason}): it is left out, and all else is complete.")
            options.html_file = os.devnull


def _say(sentence: str) -> None:
    if sys.stderr is not None:
        with suppress(OSError):
            print(f"tokenswarm: {sentence}", file=sys.stderr)
