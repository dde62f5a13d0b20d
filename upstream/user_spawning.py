"""Users that Locust cannot instantiate.

A test in tests/upstream fails when Locust no longer has the defect and this can be removed.
"""

from __future__ import annotations

from collections.abc import Callable

from locust import User
from locust.runners import Runner


def catch_failed_users(runner: Runner, on_error: Callable[[type[User], Exception | SystemExit], None]) -> None:
    """Have each user whose constructor fails reported, and the others spawned.

    Locust's greenlet that spawns ends with the first of them: no further user is spawned, the run goes on without, and
    the log has the traceback twice.

    Upstream: https://github.com/locustio/locust/blob/2.47.0/locust/runners.py#L214-L247
    """
    spawn = runner.spawn_users

    def spawn_users(user_classes_spawn_count: dict[str, int], wait: bool = False) -> list[User]:
        spawned: list[User] = []
        for name, number in user_classes_spawn_count.items():
            left = number
            while left > 0:
                before = len(runner.user_greenlets)
                try:
                    spawned += spawn({name: left}, wait)
                    break
                except (Exception, SystemExit) as error:
                    on_error(runner.user_classes_by_name[name], error)
                    left -= max(0, len(runner.user_greenlets) - before) + 1
        return spawned

    runner.spawn_users = spawn_users  # type: ignore[method-assign]


def is_base_not_called(error: BaseException) -> bool:
    """Whether Locust raised it as a constructor does not call that of Locust's User."""
    return isinstance(error, AssertionError) and "forgot to call the base constructor" in str(error)
