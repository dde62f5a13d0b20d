"""Uploads the folders of runs that are over, where --results is a URL.

In a process of its own: what speaks to a store uses threads and an event loop that gevent's patches would break.
"""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TextIO

import gevent
from gevent.greenlet import Greenlet

from tokenswarm.command_line.exit_codes import EXIT_NOT_UPLOADED
from tokenswarm.metrics.client_health import SelfCheck
from tokenswarm.metrics.level import Level
from tokenswarm.recording.progress import Progress
from tokenswarm.reports.output import show
from tokenswarm.run_control.interrupts import Interrupts

logger = logging.getLogger("tokenswarm")

_COMMAND = "import sys; from tokenswarm import main; sys.exit(main())"
_INTERRUPTED = "the upload was interrupted"


class ResultsUpload:
    """A sink of runs: each folder that is complete is uploaded to `url`, if that is set, while the process goes on.
    output: where a line on each copy goes."""

    def __init__(self, output: Callable[[], TextIO]) -> None:
        self.url: str | None = None
        self._output = output
        self._under_way: list[Greenlet[..., None]] = []
        self._processes: list[subprocess.Popen[str]] = []
        self._has_failed = False

    def began(self, plan: Sequence[Level]) -> None:
        """Nothing is shown of it here."""

    def self_checked(self, worker: int, check: SelfCheck) -> None:
        """Nothing is shown of it here."""

    def progress(self, progress: Progress) -> None:
        """Nothing is shown of it here."""

    def finished(self, folder: Path) -> None:
        """Start the upload."""
        if self.url is not None:
            self._under_way.append(gevent.spawn(self._upload, folder, self.url))

    def exit_code(self, code: int, interrupts: Interrupts) -> int:
        """Wait until all is uploaded, or to the next interrupt. Returns the exit code of the process that would
        otherwise end with `code`: 6 in place of 0 where the last run was not uploaded."""
        if self._under_way:
            interrupts.on_next = self._end
            logger.info("Waiting for the upload of the results to %s. Press Ctrl-C to end it", self.url)
            gevent.joinall(self._under_way)
            self._under_way = []
            interrupts.on_next = None
        return EXIT_NOT_UPLOADED if self._has_failed and not code else code

    def _end(self) -> None:
        for process in self._processes:
            process.terminate()

    def _upload(self, folder: Path, url: str) -> None:
        # A session of its own: Ctrl-C of a terminal reaches this process alone.
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", _COMMAND, "upload", str(folder), url],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._processes.append(process)
        output, errors = process.communicate()
        self._processes.remove(process)
        self._has_failed = process.returncode != 0
        if not self._has_failed:
            show(output.rstrip(), self._output())
            return
        lines = errors.strip().splitlines()
        reason = _INTERRUPTED if process.returncode < 0 or not lines else lines[-1].removeprefix("tokenswarm upload: ")
        logger.error("The results were not uploaded: %s", reason)
        logger.error("They are complete in %s; upload them with: tokenswarm upload %s %s", folder, folder, url)
