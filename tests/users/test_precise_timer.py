"""Waiting for a time or an event, whichever comes first."""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Iterator
from pathlib import Path

import gevent
import pytest
from gevent.event import Event

from tokenswarm.users.precise_timer import PreciseTimer


@pytest.fixture(params=["the system's timers", "gevent's"])
def timer(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[PreciseTimer]:
    if request.param == "gevent's":
        monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    timer = PreciseTimer()
    yield timer
    timer.close()


def test_it_waits_for_as_long_as_it_is_said(timer: PreciseTimer) -> None:
    for seconds in (0.0, 0.0004, 0.012):
        began_s = time.perf_counter()
        timer.wait(Event(), seconds)
        assert time.perf_counter() - began_s >= seconds


def test_others_run_meanwhile_and_an_event_ends_the_wait(timer: PreciseTimer) -> None:
    event = Event()
    gevent.spawn_later(0.001, event.set)
    began_s = time.perf_counter()
    timer.wait(event, 60.0)
    assert time.perf_counter() - began_s < 60.0
    assert event.is_set()


def test_a_time_that_was_not_waited_for_does_not_end_the_next_wait(timer: PreciseTimer) -> None:
    early = Event()
    early.set()
    timer.wait(early, 0.001)
    time.sleep(0.002)
    began_s = time.perf_counter()
    timer.wait(Event(), 0.02)
    assert time.perf_counter() - began_s >= 0.02


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="only Linux lists a process's descriptors in /proc")
def test_it_leaves_nothing_open() -> None:
    def open_files() -> int:
        return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - a descriptor is no path

    gevent.sleep(0)
    before = open_files()
    timer = PreciseTimer()
    timer.wait(Event(), 0.001)
    timer.close()
    gevent.sleep(0.01)  # gevent's close closes when its loop runs
    assert open_files() == before
