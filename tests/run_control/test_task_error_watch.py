"""When a run whose users fail is stopped: not while others run, nor because a level has ended."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest
from locust.runners import LocalRunner, MasterRunner

from tokenswarm.recording.aggregator import LevelStats
from tokenswarm.recording.task_errors import TaskErrors, hook_error_text
from tokenswarm.run_control.task_error_watch import reason_to_stop
from tokenswarm.run_folder.schema import Level

ERRORS = TaskErrors.of([{"count": 2, "msg": hook_error_text("on_start", "Fast", ValueError("no")), "traceback": ""}])


@pytest.mark.parametrize(
    ("now_s", "users", "stops"),
    [(0.5, 0, False), (4.0, 1, False), (4.0, 0, True), (9.8, 0, False), (10.1, 0, False), (12.0, 0, False)],
    ids=["in the ramp", "others run", "nobody runs", "users end with the hold", "the hold is over", "the drain"],
)
def test_no_user_is_there_is_said_only_while_there_should_be_some(now_s: float, users: int, stops: bool) -> None:
    level = LevelStats(Level(0, "off", "2", 2, 1.0, 10.0), 0.0)
    aggregator = SimpleNamespace(task_errors=ERRORS, running_level=level)
    run: Any = SimpleNamespace(
        aggregator=aggregator,
        accounting=SimpleNamespace(ended=0),
        failures=SimpleNamespace(has_limit=True),
        now_s=now_s,
    )
    environment: Any = SimpleNamespace(user_classes=[type("Fast", (), {})], runner=None)
    assert (reason_to_stop(run, environment, users) is not None) == stops


@pytest.mark.parametrize(
    ("runner", "reported_until_s", "stops"),
    [(LocalRunner, -4.0, True), (MasterRunner, -4.0, False), (MasterRunner, 0.5, True)],
    ids=["one process", "workers have not reported", "workers have reported"],
)
def test_no_request_was_sent_is_said_once_workers_would_have_reported_one(
    runner: type, reported_until_s: float, stops: bool
) -> None:
    """Errors arrive at once, and requests every 3 s."""
    errors = TaskErrors.of([{"count": 50, "msg": "KeyError: 'oops'", "traceback": ""}])
    level = LevelStats(Level(0, "off", "2", 2, 1.0, 10.0), 0.0)
    aggregator = SimpleNamespace(task_errors=errors, running_level=level, reported_until_s=reported_until_s)
    run: Any = SimpleNamespace(
        aggregator=aggregator,
        accounting=SimpleNamespace(ended=0),
        failures=SimpleNamespace(has_limit=True),
        now_s=1.0,
    )
    environment: Any = SimpleNamespace(user_classes=[], runner=Mock(spec=runner))
    assert (reason_to_stop(run, environment, 2) is not None) == stops
