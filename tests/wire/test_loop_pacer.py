"""How often the loop polls for readable sockets."""

from types import SimpleNamespace
from typing import Any

import pytest

from tokenswarm.wire.loop_pacer import LoopPacer


class Clock:
    """A clock that only sleeping moves."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_ns = 10**12
        self.slept_ns: list[int] = []
        monkeypatch.setattr("tokenswarm.wire.loop_pacer.time", SimpleNamespace(perf_counter_ns=lambda: self.now_ns))
        monkeypatch.setattr("tokenswarm.wire.loop_pacer._sleep", self._sleep)

    def _sleep(self, seconds: float) -> None:
        self.slept_ns.append(round(seconds * 1e9))
        self.now_ns += round(seconds * 1e9)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.fixture
def polls() -> LoopPacer:
    polls = LoopPacer()
    polls._loop = SimpleNamespace(_callbacks=[])
    return polls


def look(polls: LoopPacer, clock: Clock, working_ns: int) -> None:
    """A round of the loop: it polls, gets the result at once, and works."""
    polls._before_poll()
    polls._after_poll()
    clock.now_ns += working_ns


def test_with_many_patient_streams_the_loop_asks_once_a_millisecond(polls: LoopPacer, clock: Clock) -> None:
    polls.streaming = 64
    for _ in range(3):
        look(polls, clock, working_ns=300_000)
    assert clock.slept_ns == [700_000, 700_000]


@pytest.mark.parametrize(("left_to_tap", "slept_ns"), [(32, 700_000), (33, 2_700_000)])
def test_where_a_tap_has_the_times_of_most_it_asks_once_in_three_milliseconds(
    polls: LoopPacer, clock: Clock, left_to_tap: int, slept_ns: int
) -> None:
    polls.streaming, polls.left_to_tap = 64, left_to_tap
    for _ in range(3):
        look(polls, clock, working_ns=300_000)
    assert clock.slept_ns == [slept_ns, slept_ns]


def test_the_sockets_were_empty_when_it_asked_before_however_long_it_slept_by_itself(
    polls: LoopPacer, clock: Clock
) -> None:
    polls.streaming = 64
    look(polls, clock, working_ns=100_000)
    asked_ns = clock.now_ns - 100_000
    look(polls, clock, working_ns=0)
    assert polls.empty_ns == asked_ns


def test_nobody_waits_longer_for_a_connection(polls: LoopPacer, clock: Clock) -> None:
    polls.streaming = 64
    with polls.no_delay():
        for _ in range(3):
            look(polls, clock, working_ns=300_000)
    assert clock.slept_ns == []
    look(polls, clock, working_ns=0)
    assert clock.slept_ns == [700_000]


def test_nobody_who_waits_for_a_moment_waits_longer_for_a_poll(polls: LoopPacer, clock: Clock) -> None:
    polls.streaming = 64
    look(polls, clock, working_ns=300_000)
    polls.due_ns = clock.now_ns + 200_000
    look(polls, clock, working_ns=0)
    look(polls, clock, working_ns=0)  # it is late by now
    assert clock.slept_ns == [200_000]


@pytest.mark.parametrize("case", ["few streams", "a greenlet is due", "a round that took longer"])
def test_otherwise_it_asks_at_once(polls: LoopPacer, clock: Clock, case: str) -> None:
    polls.streaming = 63 if case == "few streams" else 64
    waiting: list[Any] = [print] if case == "a greenlet is due" else []
    polls._loop = SimpleNamespace(_callbacks=waiting)
    for _ in range(3):
        look(polls, clock, working_ns=1_000_000 if case == "a round that took longer" else 300_000)
    assert clock.slept_ns == []
