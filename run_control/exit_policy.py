"""How a run ends: its status, its folder completed as far as that can be, and the exit code of its process."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from metrics.active_run import ActiveRun
from metrics.exit_codes import EXIT_INTERRUPTED, EXIT_NOT_TO_BE_BELIEVED
from metrics.run import Status

logger = logging.getLogger(__name__)

_EXIT_CODES = {Status.FAILED: EXIT_NOT_TO_BE_BELIEVED, Status.INTERRUPTED: EXIT_INTERRUPTED}


class Verdict:
    """What is known against a run. The first reason counts."""

    def __init__(self) -> None:
        self.defect: str | None = None

    def fail(self, reason: str) -> None:
        """The run's figures are not to be trusted."""
        if self.defect is None:
            logger.error("This run's figures are not to be believed: %s", reason)
            self.defect = reason

    def status(self, run: ActiveRun) -> Status:
        """How the run has ended."""
        return Status.FAILED if self.defect else Status.FINISHED if run.plan_done else Status.INTERRUPTED


def complete(run: ActiveRun, verdict: Verdict) -> Status:
    """Write what is left to write. Returns how the run ended."""
    status = verdict.status(run)
    try:
        run.close(status, verdict.defect)
    except Exception as error:  # Locust would log it and end as if nothing were
        status = Status.FAILED
        if isinstance(error, OSError):
            run.fail_write(error)
        verdict.fail(f"the results in {run.journal.folder} cannot be written: {_words_of(error)}")
        try:
            run.close_with_room(verdict.defect or "")
        except Exception as again:
            logger.error("The folder %s holds what was written before: %s", run.journal.folder, _words_of(again))
            return status
    if not run.remove_spool():
        logger.warning(
            "What a lost worker had not reported may be in a spool on its machine: copy it here and run "
            "tokenswarm recover %s --spool FOLDER",
            run.journal.folder,
        )
    return status


def exit_code_of(
    run: ActiveRun, status: Status, judge: Callable[[Path], int | None] | None, verdict: Verdict
) -> tuple[Status, int | None]:
    """(how the run ended, the exit code of its process or None for Locust's own), once its folder is complete. What the
    judge says counts for a run that went to its end."""
    judged = None
    try:
        judged = judge(run.journal.folder) if judge else None
    except Exception as error:
        verdict.fail(f"the run could not be judged: {error!r}")
        status = Status.FAILED
    return status, _EXIT_CODES.get(status, judged)


def _words_of(error: Exception) -> str:
    return (isinstance(error, OSError) and error.strerror) or repr(error)
