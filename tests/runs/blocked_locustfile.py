"""The project's locustfile, with a greenlet that keeps the loop of whichever process has users for 60 ms in 100."""

from __future__ import annotations

import time

import gevent
from locust import events
from locust.runners import MasterRunner

from locustfile import *  # noqa: F403 - Locust looks for its classes here

BLOCK_S, FREE_S = 0.06, 0.04


def block() -> None:
    while True:
        until_s = time.perf_counter() + BLOCK_S
        while time.perf_counter() < until_s:
            pass
        gevent.sleep(FREE_S)


@events.init.add_listener
def begin_to_block(environment, **_) -> None:
    if not isinstance(environment.runner, MasterRunner):
        gevent.spawn(block)
