"""How a run ends: its status, its folder completed as far as that can be, and the exit code of its process."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from locust.env import Environment

from tokenswarm.command_line.exit_codes import (
    EXIT_INTERRUPTED,
    EXIT_REQUESTS_FAILED,
    EXIT_UNRELIABLE,
    EXIT_UNUSABLE,
    IN_SHORT,
)
from tokenswarm.recording.active_run import ActiveRun
from tokenswarm.recording.aggregator import plan_done
from tokenswarm.recording.locust_stats import failures_text
from tokenswarm.recording.run_completion import close_run, close_with_reserve, remove_spool
from tokenswarm.run_control.task_error_watch import errors_so_far, event_errors
from tokenswarm.run_folder.schema import Status

logger = logging.getLogger(__name__)

_EXIT_CODES = {Status.FAILED: EXIT_UNRELIABLE, Status.INTERRUPTED: EXIT_INTERRUPTED}


class FirstDefect:
    """Why a run's results are unreliable: the first reason that was found."""

    def __init__(self) -> None:
        self.reason: str | None = None

    def set(self, reason: str) -> None:
        """Log and keep it, unless there is one already."""
        if self.reason is None:
            logger.error("The results of this run are unreliable: %s", reason)
            self.reason = reason

    def status(self, run: ActiveRun) -> Status:
        """How the run has ended."""
        return Status.FAILED if self.reason else Status.FINISHED if plan_done(run.aggregator) else Status.INTERRUPTED


def complete(run: ActiveRun, defect: FirstDefect) -> Status:
    """Write what is left to write. Returns how the run ended."""
    status = defect.status(run)
    try:
        close_run(run, status, defect.reason)
    except Exception as error:  # Locust would log it and end as if nothing were
        status = Status.FAILED
        if isinstance(error, OSError):
            run.fail_write(error)
        defect.set(f"the results in {run.journal.folder} cannot be written: {_error_text(error)}")
        try:
            close_with_reserve(run, defect.reason or "")
        except Exception as again:
            logger.error("The folder %s holds what was written before: %s", run.journal.folder, _error_text(again))
            return status
    if not remove_spool(run):
        logger.warning(
            "What a lost worker had not reported may be in a spool on its machine: copy it here and run "
            "tokenswarm recover %s --spool FOLDER",
            run.journal.folder,
        )
    return status


def exit_code_of(
    run: ActiveRun,
    status: Status,
    check: Callable[[Path], int | None] | None,
    defect: FirstDefect,
    *,
    others_failed: bool = False,
) -> tuple[Status, int | None]:
    """(how the run ended, the exit code of its process or None for Locust's own), once its folder is complete. The code
    of `check` counts for a run that went to its end; what it allows are failures that are recorded, not those of other
    users (others_failed)."""
    checked = None
    try:
        checked = check(run.journal.folder) if check else None
    except Exception as error:
        defect.set(f"the run could not be checked: {error!r}")
        status = Status.FAILED
    if checked is None and run.aggregator.warm_up_failures and not run.aggregator.failures:
        checked = 0  # Locust counts any failed request, and these are in no figure
    if checked == 0 and others_failed:
        checked = None
    return status, _EXIT_CODES.get(status, checked)


def exit_code_text(exit_code: int, environment: Environment) -> str:
    """Why a run's process ends with this code. Locust's own code for failed requests is what an option says: it may be
    any number, also one that means something else."""
    of_locust = getattr(environment.parsed_options, "exit_code_on_error", EXIT_REQUESTS_FAILED)
    if environment.process_exit_code is None and exit_code == of_locust:
        option = "" if exit_code == EXIT_REQUESTS_FAILED else " (the code is that of --exit-code-on-error)"
        failed = failures_text(environment.runner.stats) if environment.runner is not None else ""
        causes = [cause for cause in (failed, errors_so_far(environment).in_words) if cause]
        return f"{'; '.join(causes) or IN_SHORT[EXIT_REQUESTS_FAILED]}{option}"
    if environment.process_exit_code is None and exit_code == EXIT_UNUSABLE and (found := event_errors()).count:
        return f"a listener to an event raised {found.with_count}"
    return IN_SHORT.get(exit_code, "see docs/exit-codes.md")


def _error_text(error: Exception) -> str:
    return (isinstance(error, OSError) and error.strerror) or repr(error)
