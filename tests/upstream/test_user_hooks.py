"""What Locust does with errors of on_start and on_stop, and what is done instead."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from typing import Any, ClassVar

import gevent
import pytest
from locust import TaskSet, User, constant, task
from locust.env import Environment
from locust.exception import StopUser
from locust.runners import LocalRunner

from tokenswarm.upstream.user_hooks import catch_failed_hooks, describe_task_errors


class Shop(TaskSet):
    @task
    def wait_long(self) -> None:
        gevent.sleep(60)

    def on_stop(self) -> None:
        raise KeyError("basket")


class Starting(User):
    tasks: ClassVar = [Shop]
    error: Exception = ValueError("no login")
    stopped = 0

    def on_start(self) -> None:
        raise self.error

    def on_stop(self) -> None:
        type(self).stopped += 1


class Stopping(User):
    tasks: ClassVar = [Shop]
    wait_time = constant(0)

    def on_stop(self) -> None:
        raise OSError("gone")


@pytest.fixture(autouse=True)
def task_sets_as_they_were(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(TaskSet, "run", TaskSet.run)
    monkeypatch.setattr(Starting, "stopped", 0)
    return iter([None])


def run_one(user_class: type[User], *, caught: bool) -> list[tuple[str, str, str]]:
    """(class, method, error) of each report, when one user was spawned and stopped."""
    found: list[tuple[str, str, str]] = []
    runner: Any = LocalRunner(Environment(user_classes=[user_class]))
    if caught:
        catch_failed_hooks(
            runner, lambda of, hook, error: found.append((type(of).__name__, hook, type(error).__name__))
        )
    runner.spawn_users({user_class.__name__: 1})
    gevent.sleep(0)
    runner.user_greenlets.kill()
    runner.quit()
    return found


def logged(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]


@pytest.mark.parametrize("user_class", [Starting, Stopping])
def test_locust_and_gevent_show_tracebacks(
    user_class: type[User], caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    run_one(user_class, caught=False)
    assert "Traceback" in "".join(logged(caplog))
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("user_class", "reports"),
    [
        (Starting, [("Starting", "on_start", "ValueError")]),
        (Stopping, [("Shop", "on_stop", "KeyError"), ("Stopping", "on_stop", "OSError")]),
    ],
)
def test_each_error_is_reported_once_and_shown_by_nobody_else(
    user_class: type[User],
    reports: list[tuple[str, str, str]],
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run_one(user_class, caught=True) == reports
    assert (logged(caplog), capsys.readouterr().err) == ([], "")
    assert Starting.stopped == 0  # as in Locust: a user that has not started does not stop


def test_a_user_that_ends_itself_in_on_start_is_stopped_without_a_traceback(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(Starting, "error", StopUser())
    run_one(Starting, caught=False)
    assert "Traceback" in "".join(logged(caplog))
    caplog.clear()
    assert run_one(Starting, caught=True) == []
    assert (logged(caplog), Starting.stopped) == ([], 2)


class Failing(User):
    wait_time = constant(60)

    @task
    def ask(self) -> None:
        raise KeyError("oops")


@pytest.mark.parametrize(("described", "text"), [(False, "'oops'"), (True, "KeyError of ask")])
def test_the_table_of_errors_has_the_text_that_is_made_of_the_error(described: bool, text: str) -> None:
    """A listener of the locustfile's own receives the error itself."""
    runner: Any = LocalRunner(Environment(user_classes=[Failing]))
    received: list[Exception] = []
    runner.environment.events.user_error.add_listener(lambda exception, **_: received.append(exception))
    if described:
        describe_task_errors(runner, lambda error: f"{type(error).__name__} of ask")
    runner.spawn_users({"Failing": 1})
    gevent.sleep(0)
    runner.user_greenlets.kill()
    runner.quit()
    assert [(kind["msg"], kind["count"]) for kind in runner.exceptions.values()] == [(text, 1)]
    assert [type(error) for error in received] == [KeyError]


class Exiting(User):
    @task
    def leave(self) -> None:
        sys.exit("no more")


def test_a_task_that_calls_exit_ends_its_user_and_not_the_process(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_one(Exiting, caught=True) == [("Exiting", "", "SystemExit")]
    assert (logged(caplog), capsys.readouterr().err) == ([], "")
