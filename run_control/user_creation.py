"""Users that cannot be created, as their class's constructor fails: each is an error of the run's, and the others are
spawned all the same."""

from __future__ import annotations

import logging
from types import FunctionType
from typing import Any

from locust import User
from locust.env import Environment
from locust.runners import MasterRunner

from tokenswarm.recording.task_errors import error_with_place
from tokenswarm.shapes.not_created import not_created_text
from tokenswarm.upstream.user_spawning import catch_failed_users, is_base_not_called

logger = logging.getLogger(__name__)


def report_failed_users(environment: Environment) -> None:
    """At Locust's init: enter them in Locust's errors, which a worker sends to its master, and log each class once."""
    logged: set[type[User]] = set()

    def report(user_class: type[User], error: Exception) -> None:
        text = not_created_text(user_class.__name__, _reason(user_class, error))
        if user_class not in logged:
            logged.add(user_class)
            logger.error("%s", text)
        events: Any = environment.events
        events.user_error.fire(user_instance=None, exception=RuntimeError(text), tb=error.__traceback__)

    if environment.runner is not None and not isinstance(environment.runner, MasterRunner):
        catch_failed_users(environment.runner, report)


def _reason(user_class: type[User], error: Exception) -> str:
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
