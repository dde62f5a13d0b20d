"""A worker's users: real ones of Locust's, whose streams end when the test says so."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import gevent
import pytest
from gevent.event import Event
from locust import User, task
from locust.env import Environment
from locust.runners import STATE_RUNNING, Runner, WorkerRunner
from locust.user.task import LOCUST_STATE_STOPPING

from tests.run_control.recording_bench import options
from tokenswarm.cluster.worker_users import WorkerUsers


class Streaming(User):
    """Streams until it is released, again and again. `cut`: how many streams were cut."""

    streams: ClassVar[list[Event]] = []
    cut: ClassVar[int] = 0

    @task
    def stream(self) -> None:
        ended = Event()
        Streaming.streams.append(ended)
        try:
            ended.wait()
        except gevent.GreenletExit:
            Streaming.cut += 1
            raise

    @classmethod
    def release(cls) -> None:
        """All streams of now end."""
        now, cls.streams = cls.streams, []
        for ended in now:
            ended.set()


class Offline(WorkerRunner):
    """A worker without a master. `sent`: what it would send."""

    def __init__(self, environment: Environment) -> None:
        Runner.__init__(self, environment)
        self.sent: list[Any] = []
        self.client = self
        self.client_id, self.worker_state = "worker", "ready"

    def send(self, message: Any) -> None:
        self.sent.append(message)


@pytest.fixture
def runner(tmp_path: Any) -> Iterator[Offline]:
    Streaming.streams, Streaming.cut = [], 0
    environment = Environment(user_classes=[Streaming], parsed_options=options(tmp_path))
    environment.stop_timeout = 600
    environment.events.test_stopping.add_listener(
        lambda environment: setattr(environment, "stop_timeout", environment.parsed_options.stop_timeout)
    )
    runner = Offline(environment)
    environment.runner = runner
    yield runner
    runner.user_greenlets.kill()
    runner.greenlet.kill()


@pytest.fixture
def users(runner: Offline) -> WorkerUsers:
    return WorkerUsers(runner, lambda: None)


def soon(condition: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline_s, "it never came"
        gevent.sleep(0.005)


def going_on(runner: Offline) -> int:
    return sum(greenlet.args[0]._state != LOCUST_STATE_STOPPING for greenlet in runner.user_greenlets if greenlet.args)


def test_users_that_still_end_their_streams_are_none_of_those_that_are_wanted(
    runner: Offline, users: WorkerUsers
) -> None:
    """As when a worker joins and leaves again, before the longest stream has ended."""
    users.start({"Streaming": 10})
    soon(lambda: len(Streaming.streams) == 10)
    for wanted in (5, 10, 3, 8):
        users.start({"Streaming": wanted})
        soon(lambda wanted=wanted: going_on(runner) == wanted)
    soon(lambda: len(Streaming.streams) == runner.user_count)
    Streaming.release()
    soon(lambda: runner.user_count == 8)
    assert (going_on(runner), Streaming.cut) == (8, 0)
    assert runner.sent[-1].data == {"user_classes_count": {"Streaming": 20}, "user_count": 20}


def test_a_drain_ends_by_itself_and_nothing_is_cut(runner: Offline, users: WorkerUsers) -> None:
    users.start({"Streaming": 4})
    soon(lambda: len(Streaming.streams) == 4)
    stopping = gevent.spawn(users.stop, 600)
    soon(lambda: going_on(runner) == 0)
    assert (users.stopping, runner.user_count) == (True, 4)
    Streaming.release()
    stopping.join(30)
    assert (users.stopping, runner.user_count, Streaming.cut) == (False, 0, 0)


def test_a_drain_can_be_shortened_and_not_be_made_longer(runner: Offline, users: WorkerUsers) -> None:
    users.start({"Streaming": 4})
    soon(lambda: len(Streaming.streams) == 4)
    stopping = gevent.spawn(users.stop, 600)
    soon(lambda: users.stopping)
    later = gevent.spawn(users.stop, 1200)
    users.stop(0.0)
    gevent.joinall([stopping, later], 30)
    assert stopping.ready()
    assert later.ready()
    assert (runner.user_count, Streaming.cut) == (0, 4)


def test_without_a_stop_timeout_users_end_at_once(runner: Offline, users: WorkerUsers) -> None:
    runner.environment.stop_timeout = 0
    users.start({"Streaming": 4})
    soon(lambda: len(Streaming.streams) == 4)
    users.start({"Streaming": 1})
    soon(lambda: runner.user_count == 1)
    assert Streaming.cut == 3
    assert runner.worker_state == STATE_RUNNING
