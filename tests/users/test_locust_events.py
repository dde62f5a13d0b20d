"""What Locust's own statistics get of a request: one event, with a time only where its user waited for the end."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from locust.event import EventHook

from tests.run_fixtures import make_timeline
from tokenswarm.metrics.timeline import Outcome
from tokenswarm.users.requests import UserRequests


def reported(outcome: Outcome) -> dict[str, Any]:
    hook, events = EventHook(), list[dict[str, Any]]()
    hook.add_listener(lambda **event: events.append(event))
    environment: Any = SimpleNamespace(events=SimpleNamespace(request=hook))
    context: Any = None
    UserRequests(environment, context, "0.1", with_system_prompt=False)._report(make_timeline(outcome=outcome))
    (event,) = events
    return event


@pytest.mark.parametrize("outcome", [Outcome.CUT, Outcome.ABANDONED, Outcome.REFUSED_BY_LIMIT])
def test_a_request_that_nobody_waited_for_counts_without_a_time_and_is_no_failure(outcome: Outcome) -> None:
    event = reported(outcome)
    assert (event["response_time"], event["exception"]) == (None, None)


def test_a_request_that_was_answered_has_its_time_and_one_that_failed_its_error_too() -> None:
    assert reported(Outcome.OK)["response_time"] == pytest.approx(400)
    failed = reported(Outcome.TIMEOUT)
    assert failed["response_time"] is not None and failed["exception"] is not None
