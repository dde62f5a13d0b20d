"""A level's requests divided among workers as Locust divides its users."""

from __future__ import annotations

import pytest
from locust import User
from locust.dispatch import UsersDispatcher
from locust.runners import WorkerNode

from tokenswarm.cluster.request_shares import request_shares
from tokenswarm.metrics.level import Arrivals, Level

WORKERS = [f"{host}_{number}" for host in ("gpu", "cpu") for number in range(3)]


class SomeUser(User):
    weight = 1


def users_of(count: int, workers: list[str]) -> dict[str, int]:
    """What Locust's own dispatcher gives."""
    dispatcher = UsersDispatcher([WorkerNode(name) for name in workers], [SomeUser])
    dispatcher.new_dispatch(count, float(count))
    *_, last = dispatcher
    return {name: sum(counts.values()) for name, counts in last.items()}


@pytest.mark.parametrize("users", [1, 2, 4, 6, 7, 20])
@pytest.mark.parametrize("requests", [1, 20, 1000, 1001])
@pytest.mark.parametrize("workers", [WORKERS, WORKERS[:1], WORKERS[2:]])
def test_shares_are_in_proportion_to_users(users: int, requests: int, workers: list[str]) -> None:
    shares = request_shares(Level(0, "off", str(users), users, requests=requests), workers)
    assert shares is not None
    assert sum(shares.values()) == requests
    for name, count in users_of(users, workers).items():
        assert shares[name] == pytest.approx(requests * count / users, abs=1)
        assert count or not shares[name]


def test_levels_without_a_number_and_open_loops_have_no_shares() -> None:
    assert request_shares(Level(0, "off", "5", 5), WORKERS) is None
    arrivals = Arrivals("poisson", ((0.0, 5.0),), 5.0)
    assert request_shares(Level(0, "off", "5/s", arrivals=arrivals, requests=9), WORKERS) is None
