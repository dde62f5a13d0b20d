"""A limit of time counts from its beginning, whatever the process did before."""

from __future__ import annotations

import time

import gevent
import pytest

from tokenswarm.wire.time_limit import time_limit


def be_busy(seconds: float) -> None:
    end_s = time.perf_counter() + seconds
    while time.perf_counter() < end_s:
        pass


def test_work_before_it_is_not_counted() -> None:
    gevent.sleep(0.01)  # what a timer resumes runs while the loop's own time stands still
    be_busy(0.5)
    with time_limit(0.4):
        gevent.sleep(0.05)


def test_what_takes_longer_is_ended() -> None:
    with pytest.raises(TimeoutError), time_limit(0.01):
        gevent.sleep(60)
