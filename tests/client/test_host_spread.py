"""Users and arrivals are spread evenly over hosts, by one process and by many."""

from __future__ import annotations

from collections import Counter

import pytest

from tokenswarm.client.host_spread import HostSpread, host_of_number
from tokenswarm.prompts.synthetic.synthetic_prompts import request_number


@pytest.mark.parametrize("hosts", [1, 2, 3, 4, 6])
@pytest.mark.parametrize("workers", [1, 2, 3, 4, 8])
def test_any_first_numbers_are_even_and_each_worker_has_all_hosts(hosts: int, workers: int) -> None:
    counts = [0] * hosts
    for number in range(500):
        counts[host_of_number(number, hosts, workers)] += 1
        assert max(counts) - min(counts) <= 1
    for worker in range(workers):
        own = Counter(host_of_number(request_number(worker, workers, place), hosts, workers) for place in range(480))
        assert set(own) == set(range(hosts))
        assert max(own.values()) - min(own.values()) <= 480 / 10


def test_a_worker_that_joins_later_spreads_its_own_evenly() -> None:
    own = Counter(host_of_number(request_number(7, 2, place), 3, 2) for place in range(300))
    assert max(own.values()) - min(own.values()) <= 2


def test_users_stay_at_their_host_until_others_have_left() -> None:
    spread = HostSpread(2)
    at = [spread.join(number) for number in range(8)]
    assert Counter(at) == {0: 4, 1: 4}
    assert [spread.next_of(host) for host in at] == at
    for host in [host for host in at if host == 1][:3]:
        spread.leave(host)
    left = [0, 0, 0, 0, 1]
    moved = [spread.next_of(host) for host in left]
    assert Counter(moved) == {0: 3, 1: 2}
    assert [spread.next_of(host) for host in moved] == moved


def test_one_host_has_all() -> None:
    spread = HostSpread(1, workers=4)
    assert {spread.next_of(spread.join(number)) for number in range(9)} == {0}
