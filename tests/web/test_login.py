"""The password, the sessions and the limit on failed attempts, on a clock of the test's."""

from __future__ import annotations

import pytest

from tokenswarm.web.login import IDLE_S, LIFETIME_S, AttemptLimit, Credentials, Sessions


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.mark.parametrize(
    ("user", "password", "right"),
    [
        ("ann", "correct horse", True),
        ("ann", "correct hors", False),
        ("ann", "correct horse ", False),
        ("ann", "", False),
        ("Ann", "correct horse", False),
        ("", "correct horse", False),
        ("correct horse", "ann", False),
        ("ann", "\udcff", False),
    ],
)
def test_only_the_right_pair_matches(user: str, password: str, right: bool) -> None:
    credentials = Credentials("ann", "correct horse")
    assert credentials.match(user, password) is right
    assert "horse" not in repr(vars(credentials))


def test_a_session_is_open_until_it_is_closed(clock: Clock) -> None:
    sessions = Sessions(clock)
    one, other = sessions.open(), sessions.open()
    assert one != other
    assert sessions.is_open(one)
    sessions.close(one)
    assert not sessions.is_open(one)
    assert sessions.is_open(other)
    assert not sessions.is_open("")


def test_a_session_ends_when_it_is_not_used_and_at_the_latest_after_its_lifetime(clock: Clock) -> None:
    sessions = Sessions(clock)
    idle, used = sessions.open(), sessions.open()
    began_s = clock.now_s
    while clock.now_s - began_s + IDLE_S - 1 <= LIFETIME_S:
        clock.now_s += IDLE_S - 1
        assert sessions.is_open(used)
    assert not sessions.is_open(idle)
    clock.now_s += IDLE_S - 1
    assert not sessions.is_open(used)


def test_the_number_of_sessions_is_bounded_and_the_least_used_go_first(clock: Clock) -> None:
    sessions = Sessions(clock)
    kept, lost = sessions.open(), sessions.open()
    for _ in range(999):
        assert sessions.is_open(kept)
        sessions.open()
    assert sessions.is_open(kept)
    assert not sessions.is_open(lost)


def test_an_address_waits_after_five_wrong_passwords_and_others_do_not(clock: Clock) -> None:
    limit = AttemptLimit(clock)
    for _ in range(5):
        assert limit.wait_s("10.0.0.1") == 0
        limit.failed("10.0.0.1")
    assert limit.wait_s("10.0.0.1") == pytest.approx(10)
    assert limit.wait_s("10.0.0.2") == 0
    clock.now_s += 10.0
    assert limit.wait_s("10.0.0.1") == 0
    limit.failed("10.0.0.1")
    assert limit.wait_s("10.0.0.1") > 0


def test_a_network_of_ipv6_counts_as_one_address(clock: Clock) -> None:
    limit = AttemptLimit(clock)
    for number in range(5):
        limit.failed(f"2001:db8::{number + 1}")
    assert limit.wait_s("2001:db8::ffff") > 0
    assert limit.wait_s("2001:db8:0:1::1") == 0


def test_all_addresses_together_are_limited_too(clock: Clock) -> None:
    limit = AttemptLimit(clock)
    for number in range(50):
        limit.failed(f"10.0.1.{number}")
    assert 0 < limit.wait_s("10.0.2.1") <= 1


def test_the_right_password_ends_the_count_of_its_address(clock: Clock) -> None:
    limit = AttemptLimit(clock)
    for _ in range(4):
        limit.failed("10.0.0.1")
    limit.succeeded("10.0.0.1")
    for _ in range(4):
        limit.failed("10.0.0.1")
    assert limit.wait_s("10.0.0.1") == 0
