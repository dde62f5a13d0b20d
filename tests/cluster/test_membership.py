"""Workers that come, go silent, come back and leave, by a clock read by hand."""

from __future__ import annotations

import pytest

from tokenswarm.cluster.membership import Membership
from tokenswarm.run_folder.worker_events import WorkerEventKind


@pytest.fixture
def membership() -> Membership:
    """Two workers, and a run that began at 100 s."""
    membership = Membership()
    membership.join("a", 0, 90.0)
    membership.join("b", 1, 91.0)
    membership.begin_run(100.0)
    for name in "ab":
        membership.heartbeat_received(name, 100.0)
    return membership


def events_of(membership: Membership) -> list[tuple[float, int, WorkerEventKind]]:
    return [(event.time_s, event.worker, event.event) for event in membership.events]


def test_users_of_a_silent_worker_are_not_there(membership: Membership) -> None:
    membership.members["a"].users, membership.members["b"].users = 4, 5
    membership.heartbeat_received("a", 103.5)
    assert [membership.users(now_s) for now_s in (102.9, 103.1, 104.0)] == [9, 4, 4]
    membership.heartbeat_received("b", 105.0)
    assert membership.users(105.5) == 9


def test_who_was_there_before_is_no_event(membership: Membership) -> None:
    assert (events_of(membership), membership.connected, membership.missing) == ([], 2, 0)


def test_a_silent_worker_is_missing_until_its_next_heartbeat(membership: Membership) -> None:
    for now_s in (101.0, 104.0, 105.0):
        membership.heartbeat_received("a", now_s)
        membership.watch(now_s)
    assert events_of(membership) == []
    for now_s in (105.1, 106.0):
        membership.heartbeat_received("a", now_s)
        membership.watch(now_s)
    assert (events_of(membership), membership.connected, membership.missing) == (
        [(5.1, 1, WorkerEventKind.MISSING)],
        1,
        1,
    )
    membership.heartbeat_received("b", 110.0)
    assert events_of(membership)[1:] == [(10.0, 1, WorkerEventKind.BACK)]
    assert membership.missing == 0


def test_final_reports_are_awaited_from_workers_that_can_still_send_them(membership: Membership) -> None:
    assert membership.awaited(103.0) == ["a", "b"]
    membership.members["a"].final_report = True
    assert membership.awaited(103.0) == ["b"]
    assert membership.awaited(110.0) == ["b"]
    assert membership.awaited(110.1) == []  # silent for more than ten seconds
    lost = membership.end_run()
    assert [(member.name, member.last_heartbeat_s) for member in lost] == [("b", 100.0)]
    assert events_of(membership) == [(0.0, 1, WorkerEventKind.LOST)]


def test_one_that_leaves_is_no_longer_awaited_nor_lost(membership: Membership) -> None:
    membership.leave("b", 103.0)
    membership.leave("nobody", 103.0)
    membership.members["a"].final_report = True
    assert membership.awaited(103.0) == []
    assert membership.end_run() == []
    assert events_of(membership) == [(3.0, 1, WorkerEventKind.LEFT)]


def test_the_next_run_goes_on_without_the_missing(membership: Membership) -> None:
    membership.watch(120.0)
    membership.heartbeat_received("a", 120.5)
    membership.end_run()
    membership.begin_run(130.0)
    assert list(membership.members) == ["a"]
    assert (membership.events, membership.awaited(130.0)) == ([], ["a"])


def test_strangers_are_not_listened_to(membership: Membership) -> None:
    membership.heartbeat_received("stranger", 101.0)
    assert list(membership.members) == ["a", "b"]


@pytest.mark.parametrize(("final_report", "lost"), [(False, ["b"]), (True, [])])
def test_one_that_leaves_with_unreported_requests_is_lost_unless_its_final_report_is_there(
    membership: Membership, final_report: bool, lost: list[str]
) -> None:
    """One whose final report was entered may not know it: the acknowledgement can be lost."""
    membership.members["a"].final_report = True
    membership.members["b"].final_report = final_report
    membership.leave("b", 103.0, unreported=True)
    assert [member.name for member in membership.end_run()] == lost
    membership.begin_run(200.0)
    membership.members["a"].final_report = True
    assert membership.end_run() == []
