"""Errors of a locustfile's own code, as Locust counts them, in the statistics of the run."""

from __future__ import annotations

from locust.env import Environment
from locust.runners import MasterRunner

from tokenswarm.metrics.level import Phase
from tokenswarm.recording.active_run import ActiveRun
from tokenswarm.recording.task_errors import MOST_WITHOUT_A_REQUEST, ErrorCount, TaskErrors
from tokenswarm.shapes.run_shape import RunShape
from tokenswarm.upstream.locust_log_filters import EventErrorFilter
from tokenswarm.users.streaming_user import StreamingUser

#: Users may be gone so long before the level's end, as clocks of a process go.
_END_S = 0.5


def note_task_errors(run: ActiveRun, environment: Environment) -> None:
    """Enter those of all workers so far, and which classes have had no user."""
    run.aggregator.task_errors = errors_so_far(environment)
    run.aggregator.why_no_streaming_users = _why_no_streaming_users(environment.shape_class)


def _why_no_streaming_users(shape: object) -> str:
    if not isinstance(shape, RunShape) or shape.runner is None:
        return ""
    streaming = {each for each in shape.own_classes if issubclass(each, StreamingUser)}
    idle = [each for each in shape.idle_classes() if each in streaming]
    return shape.why_idle(idle) if streaming and len(idle) == len(streaming) else ""


def errors_so_far(environment: Environment) -> TaskErrors:
    """Those of all workers since the run began."""
    return TaskErrors.of(environment.runner.exceptions.values() if environment.runner else ())


def event_errors() -> ErrorCount:
    """Those of listeners to Locust's own events, in this process: Locust only logs them."""
    kinds = [
        {"count": count, "msg": traceback.rpartition("\n")[2], "traceback": traceback}
        for traceback, count in EventErrorFilter.counted.items()
    ]
    return ErrorCount.of(kinds, has_place=False)


def reason_to_stop(run: ActiveRun, environment: Environment, users: int) -> str | None:
    """Why the run is to be stopped for these errors, None while it goes on. users: how many there are now."""
    errors = run.aggregator.task_errors
    if run.accounting.ended or not run.failures.has_limit:
        return None
    if errors.count >= MOST_WITHOUT_A_REQUEST and _requests_are_known(run, environment):
        return f"no request was sent, and {errors}"
    return (
        f"no user is there: {errors}"
        if errors.missing_users and not users and _no_more_come(run, environment)
        else None
    )


def _requests_are_known(run: ActiveRun, environment: Environment) -> bool:
    """Whether those of the level's begin would be recorded by now: a worker sends errors at once, and requests with its
    next report."""
    level = run.aggregator.running_level
    is_master = isinstance(environment.runner, MasterRunner)
    return not is_master or (level is not None and run.aggregator.reported_until_s > level.began_s)


def _no_more_come(run: ActiveRun, environment: Environment) -> bool:
    """Whether all classes failed, or the ramp is over and the level goes on: users that end with it were there."""
    if {each.__name__ for each in environment.user_classes} <= run.aggregator.task_errors.classes_not_created:
        return True
    level = run.aggregator.running_level
    if level is None:
        return False
    elapsed_s = run.now_s - level.began_s
    return elapsed_s > level.level.ramp_s and level.phase_at(elapsed_s + _END_S) is not Phase.DRAIN
