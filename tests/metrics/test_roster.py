"""Workers that come, go silent, come back and leave, by a clock read by hand."""

from __future__ import annotations

import pytest

from metrics.roster import Happening, Roster


@pytest.fixture
def roster() -> Roster:
    """Two workers, and a run that began at 100 s."""
    roster = Roster()
    roster.join("a", 0, 90.0)
    roster.join("b", 1, 91.0)
    roster.begin_run(100.0)
    for name in "ab":
        roster.heard(name, 100.0)
    return roster


def told(roster: Roster) -> list[tuple[float, int, Happening]]:
    return [(event.time_s, event.worker, event.event) for event in roster.events]


def test_who_was_there_before_is_no_event(roster: Roster) -> None:
    assert (told(roster), roster.connected, roster.missing) == ([], 2, 0)


def test_a_silent_worker_is_missing_until_it_is_heard_again(roster: Roster) -> None:
    for now_s in (101.0, 104.0, 105.0):
        roster.heard("a", now_s)
        roster.watch(now_s)
    assert told(roster) == []
    for now_s in (105.1, 106.0):
        roster.heard("a", now_s)
        roster.watch(now_s)
    assert (told(roster), roster.connected, roster.missing) == ([(5.1, 1, Happening.MISSING)], 1, 1)
    roster.heard("b", 110.0)
    assert told(roster)[1:] == [(10.0, 1, Happening.BACK)]
    assert roster.missing == 0


def test_last_words_are_awaited_of_those_who_can_still_say_them(roster: Roster) -> None:
    assert roster.awaited(103.0) == ["a", "b"]
    roster.members["a"].last_word = True
    assert roster.awaited(103.0) == ["b"]
    assert roster.awaited(110.0) == ["b"]
    assert roster.awaited(110.1) == []  # silent for more than ten seconds
    lost = roster.end_run()
    assert [(member.name, member.heard_s) for member in lost] == [("b", 100.0)]
    assert told(roster) == [(0.0, 1, Happening.LOST)]


def test_one_that_leaves_is_no_longer_awaited_nor_lost(roster: Roster) -> None:
    roster.leave("b", 103.0)
    roster.leave("nobody", 103.0)
    roster.members["a"].last_word = True
    assert roster.awaited(103.0) == []
    assert roster.end_run() == []
    assert told(roster) == [(3.0, 1, Happening.LEFT)]


def test_the_next_run_goes_on_without_the_missing(roster: Roster) -> None:
    roster.watch(120.0)
    roster.heard("a", 120.5)
    roster.end_run()
    roster.begin_run(130.0)
    assert list(roster.members) == ["a"]
    assert (roster.events, roster.awaited(130.0)) == ([], ["a"])


def test_strangers_are_not_listened_to(roster: Roster) -> None:
    roster.heard("stranger", 101.0)
    assert list(roster.members) == ["a", "b"]


@pytest.mark.parametrize(("last_word", "lost"), [(False, ["b"]), (True, [])])
def test_one_that_leaves_with_unreported_requests_is_lost_unless_its_final_report_is_there(
    roster: Roster, last_word: bool, lost: list[str]
) -> None:
    """One whose final report was entered may not know it: the acknowledgement can be lost."""
    roster.members["a"].last_word = True
    roster.members["b"].last_word = last_word
    roster.leave("b", 103.0, unreported=True)
    assert [member.name for member in roster.end_run()] == lost
    roster.begin_run(200.0)
    roster.members["a"].last_word = True
    assert roster.end_run() == []
