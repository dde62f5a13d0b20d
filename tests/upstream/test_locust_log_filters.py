"""What Locust logs without each filter, and with it."""

from __future__ import annotations

import inspect
import logging
from collections import Counter
from collections.abc import Iterator

import gevent
import locust.main
import pytest
from locust import User, constant, task
from locust.env import Environment
from locust.event import EventHook

from tokenswarm.run_control.task_error_watch import event_errors
from tokenswarm.upstream.event_listeners import FIRE_OF_LOCUST
from tokenswarm.upstream.locust_log_filters import EventErrorFilter, IgnoredOptionsFilter, TaskErrorFilter


class Failing(User):
    wait_time = constant(0)
    left = 20

    @task
    def fail(self) -> None:
        type(self).left -= 1
        if self.left < 0:
            gevent.sleep(60)
        raise ValueError("no such field")


@pytest.fixture
def without_filters() -> Iterator[logging.Logger]:
    logger = logging.getLogger(TaskErrorFilter.LOGGER)
    before, logger.filters[:] = [*logger.filters], []
    yield logger
    logger.filters[:] = before


def errors_logged(caplog: pytest.LogCaptureFixture) -> list[str]:
    """While a user fails twenty times."""
    caplog.clear()
    Failing.left = 20
    user = Failing(Environment(user_classes=[Failing]))
    running = gevent.spawn(user.run)
    for _ in range(1000):
        if Failing.left < 0:
            break
        gevent.sleep(0.005)
    running.kill()
    return [record.getMessage() for record in caplog.records if record.name == TaskErrorFilter.LOGGER]


def test_locust_logs_each_error_of_a_task_with_its_traceback(
    without_filters: logging.Logger, caplog: pytest.LogCaptureFixture
) -> None:
    assert len(errors_logged(caplog)) == 20
    TaskErrorFilter.attach()
    TaskErrorFilter.attach()
    logged = errors_logged(caplog)
    assert len(logged) == TaskErrorFilter.OFTEN
    assert all("ValueError: no such field" in text for text in logged)


def test_what_locust_says_of_options_beside_an_own_shape_is_not_logged() -> None:
    lines = [*(f"{line} --users" for line in IgnoredOptionsFilter.LINES), "other"]
    records = [logging.LogRecord("locust.main", logging.WARNING, "", 0, line, (), None) for line in lines]
    assert [record.msg for record in records if IgnoredOptionsFilter().filter(record)] == ["other"]


def test_locust_still_says_that_a_shape_ignores_these_options() -> None:
    """Where it does not, the filter can be removed."""
    source = inspect.getsource(locust.main)
    assert all(line in source for line in IgnoredOptionsFilter.LINES)


def test_an_error_of_a_listener_to_an_event_is_logged_once_and_counted(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(EventHook, "fire", FIRE_OF_LOCUST)
    events = Environment().events

    def count(**_: object) -> None:
        raise KeyError("x")

    events.request.add_listener(count)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            events.request.fire(request_type="CHAT")
        assert len(caplog.messages) == 3  # Locust logs each
        caplog.clear()
        monkeypatch.setattr(EventErrorFilter, "counted", Counter())
        EventErrorFilter.attach()
        try:
            for _ in range(3):
                events.request.fire(request_type="CHAT")
        finally:
            root = logging.getLogger()
            root.filters = [each for each in root.filters if not isinstance(each, EventErrorFilter)]
    (line,) = caplog.messages
    assert "in count" in line and line.endswith("counted, and not logged.")
    found = event_errors()
    assert found.count == 3
    assert found.with_count.startswith("KeyError: 'x' (test_locust_log_filters.py, line ")
    assert found.with_count.endswith(", in count), 3 times")
