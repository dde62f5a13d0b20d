"""Users that cannot be created or started, as their class's constructor or on_start fails: each is an error of the
run's, and the others are spawned all the same. What on_stop raises is one, too."""

from __future__ import annotations

import logging
from types import FunctionType
from typing import Any

from locust import TaskSet, User
from locust.env import Environment
from locust.runners import MasterRunner

from tokenswarm.recording.task_errors import ReportedError, hook_error_text, task_error_text
from tokenswarm.shapes.error_place import error_with_place
from tokenswarm.shapes.not_created import not_created_text
from tokenswarm.upstream.user_hooks import catch_failed_hooks, describe_task_errors
from tokenswarm.upstream.user_spawning import catch_failed_users, is_base_not_called

logger = logging.getLogger(__name__)


def report_failed_users(environment: Environment) -> None:
    """At Locust's init: enter them in Locust's errors, which a worker sends to its master, and log each class once."""
    logged: set[tuple[type, str]] = set()

    def enter(owner: type, what: str, text: str, error: Exception | SystemExit, instance: object = None) -> None:
        if (owner, what) not in logged:
            logged.add((owner, what))
            logger.error("%s", text)
        events: Any = environment.events
        events.user_error.fire(user_instance=instance, exception=ReportedError(text), tb=error.__traceback__)

    def report_class(user_class: type[User], error: Exception | SystemExit) -> None:
        enter(user_class, "__init__", not_created_text(user_class.__name__, _reason(user_class, error)), error)

    def report_hook(of: User | TaskSet, hook: str, error: Exception | SystemExit) -> None:
        if hook:
            enter(type(of), hook, hook_error_text(hook, type(of).__name__, error), error, of)
        else:
            enter(type(of), hook, f"a task called sys.exit({error})", error, of)

    if environment.runner is not None and not isinstance(environment.runner, MasterRunner):
        catch_failed_users(environment.runner, report_class)
        catch_failed_hooks(environment.runner, report_hook)
        describe_task_errors(environment.runner, task_error_text)


def _reason(user_class: type[User], error: Exception | SystemExit) -> str:
    """What is wrong, with the line of the locustfile."""
    place = _place_of_constructor(user_class)
    if is_base_not_called(error):
        return f"its __init__ does not call super().__init__(environment){place}"
    return error_with_place(error, otherwise=place)


def _place_of_constructor(user_class: type[User]) -> str:
    constructor = user_class.__init__
    if not isinstance(constructor, FunctionType):
        return ""
    code = constructor.__code__
    return f" ({code.co_filename.rpartition('/')[2]}, line {code.co_firstlineno}, in __init__)"
