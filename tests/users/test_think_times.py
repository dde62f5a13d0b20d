"""Think times of users: the same again from the same seed, level and user, and independent otherwise."""

from __future__ import annotations

import pytest

from tokenswarm.metrics.level import Level, ThinkTime
from tokenswarm.users.think_times import ThinkTimes


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
