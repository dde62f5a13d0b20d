"""What is shown of a run, by whatever shows it: a terminal, say."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from tokenswarm.metrics.client_health import SelfCheck
from tokenswarm.metrics.level import Level
from tokenswarm.recording.active_run import ActiveRun
from tokenswarm.recording.core_hints import hints
from tokenswarm.recording.progress import Progress

logger = logging.getLogger(__name__)


class Sink(Protocol):
    """Something that shows a run."""

    def began(self, plan: Sequence[Level]) -> None:
        """Called as a run begins, with its levels as they are planned."""
        ...

    def self_checked(self, worker: int, check: SelfCheck) -> None:
        """Called as a run begins, for each worker that was made to check itself."""
        ...

    def progress(self, progress: Progress) -> None:
        """Called every few seconds while the run goes on."""
        ...

    def finished(self, folder: Path) -> None:
        """Called once, when the run's folder is complete."""
        ...


class Sinks:
    """All that show the runs of this process."""

    def __init__(self, sinks: Sequence[Sink]) -> None:
        self._sinks = sinks
        self._finished: list[Path] = []

    def began(self, plan: Sequence[Level]) -> None:
        """A run of these levels begins."""
        for sink in self._sinks:
            sink.began(plan)

    def self_checked(self, worker: int, check: SelfCheck) -> None:
        """A worker has measured its own client."""
        for sink in self._sinks:
            sink.self_checked(worker, check)

    def show_progress(self, run: ActiveRun, users: int) -> None:
        """Show how far the run is, and once for each worker whether it needs more than its core."""
        progress = run.meter.read(run.aggregator, users, run.now_s)
        if progress is not None:
            for sink in self._sinks:
                sink.progress(progress)
        for worker, hint in hints(run.aggregator).items():
            if worker not in run.hinted:
                run.hinted.add(worker)
                logger.warning("One core is not enough: %s", hint)

    def finish(self, folder: Path) -> None:
        """The run's folder is complete: it is shown with the next `show_finished`."""
        self._finished.append(folder)

    def show_finished(self) -> None:
        """Show the runs that have finished since the last time."""
        folders, self._finished = self._finished, []
        for folder in folders:
            for sink in self._sinks:
                sink.finished(folder)
