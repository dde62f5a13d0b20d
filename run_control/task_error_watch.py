"""Errors of a locustfile's own tasks, as Locust counts them, in the statistics of the run."""

from __future__ import annotations

from locust.env import Environment

from tokenswarm.recording.active_run import ActiveRun
from tokenswarm.recording.task_errors import MOST_WITHOUT_A_REQUEST, TaskErrors


def note_task_errors(run: ActiveRun, environment: Environment) -> str | None:
    """Enter those of all workers so far. Returns why the run is to be stopped, None while it goes on."""
    run.aggregator.task_errors = errors = TaskErrors.of(
        environment.runner.exceptions.values() if environment.runner else ()
    )
    is_useless = errors.count >= MOST_WITHOUT_A_REQUEST and not run.accounting.ended
    return f"no request was sent, and {errors}" if is_useless and run.failures.has_limit else None
