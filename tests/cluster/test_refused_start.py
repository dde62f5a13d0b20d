"""A worker that refuses a run at test_start: none of the users that its master sends is spawned."""

from __future__ import annotations

from typing import Any
from unittest.mock import Mock

import pytest
from gevent import GreenletExit
from locust import User, task
from locust.env import Environment
from locust.exception import StopTest
from locust.rpc import Message
from locust.runners import STATE_SPAWNING, LocalRunner, MasterRunner

from tests.cluster.test_worker_users import Offline
from tests.run_control.recording_bench import options
from tokenswarm.cluster.worker_link import WorkerLink
from tokenswarm.run_control.refused_start import end_before_users


class Idle(User):
    @task
    def idle(self) -> None:
        raise AssertionError("it was spawned")


@pytest.mark.parametrize("refuses", [False, True])
def test_a_worker_spawns_no_user_of_a_run_that_it_refused(tmp_path: Any, refuses: bool) -> None:
    environment = Environment(user_classes=[Idle], parsed_options=options(tmp_path))
    environment.runner = runner = Offline(environment)
    runner.last_received_spawn_timestamp = 0
    runner.custom_messages, runner.spawning_greenlet = {}, None
    link = WorkerLink(runner, "build", "", lambda *_: None, lambda: None)
    starts: list[bool] = []

    def refuse(environment: Environment, **_: Any) -> None:
        starts.append(refuses)
        if refuses:
            end_before_users(environment.runner)  # type: ignore[arg-type]

    environment.events.test_start.add_listener(refuse)
    for timestamp in (1, 2):  # a ramp has a message a second
        job = {"timestamp": timestamp, "host": "", "stop_timeout": 0, "user_classes_count": {"Idle": 2}}
        runner.handle_message(Message("spawn", {**job, "parsed_options": {}}, "worker"))
    assert (runner.spawning_greenlet is None, link.ends) == (refuses, refuses)
    assert starts == [refuses]
    runner.greenlet.kill()


@pytest.mark.parametrize("kind", [LocalRunner, MasterRunner])
def test_where_a_run_is_refused_what_would_spawn_users_ends(kind: type[Any]) -> None:
    runner = Mock(spec=kind, environment=Mock())
    runner.environment.parsed_options.headless = True
    with pytest.raises(GreenletExit):
        end_before_users(runner)
    # Locust's master stops a run, and says so to listeners, only in this state.
    assert [call.args for call in runner.update_state.call_args_list] == [(STATE_SPAWNING,)] * (kind is MasterRunner)


def test_no_error_that_locust_catches_in_a_listener_ends_the_start() -> None:
    assert not issubclass(GreenletExit, Exception)
    environment = Environment()
    environment.events.test_start.add_listener(lambda **_: (_ for _ in ()).throw(StopTest()))
    with pytest.raises(StopTest):
        environment.events.test_start.fire(environment=environment)
