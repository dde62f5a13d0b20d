"""Errors of what Locust calls as a user starts and stops, and the texts of those of its tasks.

A test in tests/upstream fails when Locust no longer has the defect and this can be removed.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from gevent import GreenletExit
from locust import TaskSet, User
from locust.exception import StopTest, StopUser
from locust.runners import Runner

#: Called with a user or a task set, the name of its method that failed ("": one of its tasks), and what that raised.
ReportHook = Callable[[User | TaskSet, str, Exception | SystemExit], None]
_RUN_TASKS: Callable[[TaskSet], None] = TaskSet.run


def describe_task_errors(runner: Runner, text_of: Callable[[BaseException], str]) -> None:
    """Have Locust's errors, which a worker sends to its master, hold what text_of returns.

    Locust keeps str(exception) alone: of KeyError("x") that is 'x', of ValueError() nothing. Listeners of a
    locustfile's own still receive what was raised.

    Upstream: https://github.com/locustio/locust/blob/2.47.0/locust/runners.py#L463-L467 and
    https://github.com/locustio/locust/blob/2.47.0/locust/runners.py#L1278-L1282
    """
    listeners = runner.environment.events.user_error._handlers
    for place, listener in enumerate(listeners):
        if getattr(listener, "__module__", "") == Runner.__module__:
            listeners[place] = partial(_enter_text, listener, text_of)


def _enter_text(
    listener: Callable[..., object], text_of: Callable[[BaseException], str], *, exception: BaseException, **how: Any
) -> None:
    listener(exception=RuntimeError(text_of(exception)), **how)


class _NotStartedError(BaseException):
    """Ends a user whose on_start failed. Locust catches and logs any Exception."""


def catch_failed_hooks(runner: Runner, report: ReportHook) -> None:
    """Have what on_start of a user raises, and on_stop of a user or a task set, reported instead of logged.

    Locust logs an error of on_start with its traceback, and gevent prints it with another; that of a user's on_stop is
    only gevent's, and in no statistics. What on_stop of a task set raises is logged each time, and not counted. Locust
    also logs a traceback where on_start raises StopUser, which is how a user ends itself. A user that calls sys.exit
    ends Locust's process with a traceback, and without a report.

    Upstream: https://github.com/locustio/locust/blob/2.47.0/locust/user/users.py#L158-L177 and
    https://github.com/locustio/locust/blob/2.47.0/locust/user/task.py#L372-L386
    """

    users: Any = runner.user_greenlets
    spawn = users.spawn

    def spawn_user(run: Callable[[User], None], user: Any) -> Any:
        user.on_start = _guarded_start(user, user.on_start, report)
        user.on_stop = _guarded_stop(user, user.on_stop, report)
        return spawn(partial(_run_user, run, report), user)  # Locust reads the user from its arguments

    def run_tasks(tasks: Any) -> None:
        tasks.on_stop = _guarded_stop(tasks, tasks.on_stop, report)
        _RUN_TASKS(tasks)

    users.spawn = spawn_user
    TaskSet.run = run_tasks  # type: ignore[misc, method-assign]


def _run_user(run: Callable[[User], None], report: ReportHook, user: User) -> None:
    try:
        run(user)
    except _NotStartedError:
        pass
    except SystemExit as error:
        report(user, "", error)


def _guarded_start(user: User, on_start: Callable[[], object], report: ReportHook) -> Callable[[], None]:
    def guarded() -> None:
        try:
            on_start()
        except StopTest:
            raise
        except StopUser:
            raise GreenletExit from None  # which ends the user in the same way
        except (Exception, SystemExit) as error:
            report(user, "on_start", error)
            raise _NotStartedError from None

    return guarded


def _guarded_stop(of: User | TaskSet, on_stop: Callable[[], object], report: ReportHook) -> Callable[[], None]:
    def guarded() -> None:
        try:
            on_stop()
        except (StopUser, StopTest):
            if not isinstance(of, User):  # which is ending already
                raise
        except (Exception, SystemExit) as error:
            report(of, "on_stop", error)

    return guarded
