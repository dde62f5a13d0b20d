"""Interrupts are counted, and signals that come together are one."""

from __future__ import annotations

import gevent
import pytest

from metrics.interrupts import TOGETHER_S, Interrupts


@pytest.fixture
def acted() -> list[int]:
    return []


@pytest.fixture
def now_s() -> list[float]:
    return [100.0]


@pytest.fixture
def interrupts(acted: list[int], now_s: list[float]) -> Interrupts:
    return Interrupts(acted.append, lambda: now_s[0])


def test_signals_to_a_process_and_its_group_are_one_interrupt(
    interrupts: Interrupts, acted: list[int], now_s: list[float]
) -> None:
    for after_s in (0.0, 0.1, TOGETHER_S - 0.1):  # each is close to the one before
        now_s[0] += after_s
        interrupts.arrive()
    gevent.sleep(0)
    assert acted == [1]
    for _ in range(2):
        now_s[0] += TOGETHER_S
        interrupts.arrive()
    gevent.sleep(0)
    assert acted == [1, 2, 3]


def test_nothing_is_done_where_the_signal_meets_the_process(interrupts: Interrupts, acted: list[int]) -> None:
    interrupts.arrive()
    assert acted == []
    gevent.sleep(0)
    assert acted == [1]


def test_the_next_interrupt_can_be_for_something_else(
    interrupts: Interrupts, acted: list[int], now_s: list[float]
) -> None:
    ended: list[bool] = []
    interrupts.on_next = lambda: ended.append(True)
    interrupts.arrive()
    gevent.sleep(0)
    assert (acted, ended, interrupts.count) == ([], [True], 0)
