"""Tokenswarm's own locustfile, in a process that stands still for 100 ms of every second: as if by a long garbage
collection, a page that is drawn, or another program on its core. The event loop does not run meanwhile."""

from __future__ import annotations

from typing import Any

from tokenswarm.locustfile import ChatUser, RunShape, SystemPromptChatUser

# isort: split
import gevent
from gevent import monkey
from locust import events

__all__ = ["ChatUser", "RunShape", "SystemPromptChatUser"]

STALL_S = 0.1
EVERY_S = 1.0


def stall_for_ever() -> None:
    stand_still = monkey.get_original("time", "sleep")
    while True:
        gevent.sleep(EVERY_S - STALL_S)
        stand_still(STALL_S)


@events.init.add_listener
def on_init(**_: Any) -> None:
    gevent.spawn(stall_for_ever)
