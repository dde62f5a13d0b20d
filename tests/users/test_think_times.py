"""Think times of users: the same again from the same seed, level and user, and independent otherwise."""

from __future__ import annotations

import pytest

from tokenswarm.metrics.level import Level, RunningLevel, ThinkTime
from tokenswarm.users.think_times import ThinkTimes, start_pause_s

S = 1_000_000_000


def drawn(seed: str = "1", index: int = 0, user: str = "0.1", count: int = 2000) -> list[float]:
    level = Level(index, "off", "1", 1, think_time=ThinkTime("exp(2s)", 2.0, seed))
    times = ThinkTimes(level, user)
    return [times.next_s() for _ in range(count)]


def test_they_follow_from_seed_level_and_user() -> None:
    assert drawn() == drawn()
    others = [drawn(seed="2"), drawn(index=1), drawn(user="0.2"), drawn(user="1.1")]
    assert all(not set(drawn()) & set(other) for other in others)
    assert sum(drawn()) / 2000 == pytest.approx(2.0, rel=0.1)


def test_without_a_think_time_there_is_none() -> None:
    assert ThinkTimes(Level(0, "off", "1", 1), "0.1").next_s() == 0.0


def test_users_begin_at_random_moments_of_what_is_left_of_the_ramp() -> None:
    level = RunningLevel(Level(0, "off", "1", 1, ramp_s=20.0, random_start=True), 0, 5 * S)
    begins_s = [start_pause_s(level, 1, f"0.{user}", 5 * S) for user in range(1000)]
    assert sum(begins_s) / 1000 == pytest.approx(10.0, rel=0.05)
    assert 0 < min(begins_s) < 1
    assert 19 < max(begins_s) < 20
    assert begins_s == [start_pause_s(level, 1, f"0.{user}", 5 * S) for user in range(1000)]
    assert begins_s[0] != start_pause_s(level, 2, "0.0", 5 * S)
    assert start_pause_s(level, 1, "0.7", 15 * S) == pytest.approx(begins_s[7] / 2)  # half of the ramp is over
    assert start_pause_s(level, 1, "0.7", 40 * S) == 0.0
