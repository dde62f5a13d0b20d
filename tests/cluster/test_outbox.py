"""What a worker keeps of its reports, and for how long."""

from __future__ import annotations

import pytest

import tokenswarm.cluster.outbox
from tokenswarm.cluster.outbox import Outbox, OutboxFull
from tokenswarm.recording.worker_report import Report


def report(number: int, ended: int = 0) -> Report:
    return Report(0, number=number, ended=ended, in_flight=0, output_events=0)


def numbers(reports: list[bytes]) -> list[int]:
    return [Report.decode(encoded).number for encoded in reports]


def filled(reports: int) -> Outbox:
    outbox = Outbox()
    for number in range(1, reports + 1):
        outbox.put(report(number, ended=10 * number))
    return outbox


def test_what_is_not_acknowledged_goes_out_again_in_order() -> None:
    outbox = filled(3)
    for _ in range(2):
        through, reports = outbox.message()
        assert (through, numbers(reports)) == (3, [1, 2, 3])


def test_an_acknowledgement_is_of_all_up_to_it_and_may_come_late_and_twice() -> None:
    outbox = filled(4)
    for number in (3, 1, 3):
        outbox.acknowledge(number)
        assert numbers(outbox.message()[1]) == [4]
    assert outbox.ended_acknowledged == 30
    outbox.acknowledge(9)
    assert outbox.message() == (0, [])
    assert (outbox.last, outbox.ended_acknowledged) == (4, 40)


def test_a_message_carries_the_first_that_fit_and_one_at_least(monkeypatch: pytest.MonkeyPatch) -> None:
    size = len(report(1).encode())
    outbox = filled(5)
    monkeypatch.setattr(tokenswarm.cluster.outbox, "_MESSAGE_BYTES", 2 * size + 10)
    assert (outbox.message()[0], numbers(outbox.message()[1])) == (2, [1, 2])
    monkeypatch.setattr(tokenswarm.cluster.outbox, "_MESSAGE_BYTES", 1)
    assert (outbox.message()[0], numbers(outbox.message()[1])) == (1, [1])


def test_there_is_an_end_to_what_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenswarm.cluster.outbox, "_KEPT_BYTES", 3 * len(report(3, ended=30).encode()) + 1)
    outbox = filled(2)
    outbox.put(report(3))
    with pytest.raises(OutboxFull, match="bytes of reports were never acknowledged by the master"):
        outbox.put(report(4))
    outbox.acknowledge(3)
    outbox.put(report(5))
    assert numbers(outbox.message()[1]) == [5]
