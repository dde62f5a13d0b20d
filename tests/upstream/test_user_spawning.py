"""What Locust does with a user that it cannot instantiate, and what is done instead."""

from __future__ import annotations

from typing import Any

import gevent
import pytest
from locust import User, task
from locust.env import Environment
from locust.runners import LocalRunner

from tokenswarm.upstream.user_spawning import catch_failed_users, is_base_not_called


class Idle(User):
    @task
    def idle(self) -> None:
        gevent.sleep(60)


class Picky(Idle):
    """Every second one fails."""

    made = 0

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        type(self).made += 1
        if self.made % 2 == 0:
            raise ValueError("no config file")


class Bare(Idle):
    def __init__(self, environment: Environment) -> None:
        pass


def runner_of(*user_classes: type[User]) -> Any:
    environment = Environment(user_classes=list(user_classes))
    Picky.made = 0
    return LocalRunner(environment)


def test_locust_spawns_no_user_behind_one_that_fails() -> None:
    runner = runner_of(Picky, Idle)
    with pytest.raises(ValueError, match="no config file"):
        runner.spawn_users({"Picky": 3, "Idle": 2})
    assert runner.user_classes_count == {"Picky": 1, "Idle": 0}
    runner.quit()


def test_each_user_that_fails_is_reported_and_the_others_are_spawned() -> None:
    runner, failed = runner_of(Picky, Bare, Idle), list[tuple[type[User], bool]]()
    catch_failed_users(runner, lambda user_class, error: failed.append((user_class, is_base_not_called(error))))
    runner.spawn_users({"Picky": 5, "Bare": 2, "Idle": 2})
    assert runner.user_classes_count == {"Picky": 3, "Bare": 0, "Idle": 2}
    assert failed == [(Picky, False), (Picky, False), (Bare, True), (Bare, True)]
    runner.quit()
