"""What Locust does with a listener that fails, and what is done instead."""

from __future__ import annotations

import logging

import locust.log
import pytest
from locust.event import EventHook
from locust.exception import StopUser

from tokenswarm.upstream.event_listeners import FIRE_OF_LOCUST, catch_failed_listeners


def failing(**_: object) -> None:
    raise KeyError("x")


@pytest.fixture(autouse=True)
def events_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(EventHook, "fire", FIRE_OF_LOCUST)
    monkeypatch.setattr(locust.log, "unhandled_greenlet_exception", False)


@pytest.mark.parametrize("is_reported", [True, False])
def test_an_error_is_logged_with_its_traceback_unless_it_is_reported(
    is_reported: bool, caplog: pytest.LogCaptureFixture
) -> None:
    found: list[object] = []

    def report(*of: object) -> bool:
        found.extend(of)
        return is_reported

    catch_failed_listeners(report)
    hook, called = EventHook(), list[str]()
    hook.add_listener(failing)
    hook.add_listener(lambda **_: called.append("behind it"))
    with caplog.at_level(logging.ERROR):
        hook.fire(x=1)
    assert found[:2] == [hook, failing] and isinstance(found[2], KeyError)
    assert called == ["behind it"]
    assert locust.log.unhandled_greenlet_exception is not is_reported
    assert ["Traceback" in line for line in caplog.messages] == ([] if is_reported else [True])


def test_what_ends_a_user_or_its_task_passes_through_and_the_order_can_be_reversed() -> None:
    catch_failed_listeners(lambda *_: pytest.fail("it is no error"))
    hook, called = EventHook(), list[int]()
    for number in (1, 2):
        hook.add_listener(lambda number=number, **_: called.append(number))
    hook.fire(reverse=True)
    assert called == [2, 1]

    def stop(**_: object) -> None:
        raise StopUser

    hook.add_listener(stop)
    with pytest.raises(StopUser):
        hook.fire()
