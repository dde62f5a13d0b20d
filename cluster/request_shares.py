"""How many of a closed loop's requests each worker sends. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from tokenswarm.metrics.level import Level


def request_shares(level: Level, workers: Iterable[str]) -> dict[str, int] | None:
    """The level's requests divided among workers in proportion to the users that they get; None where no number is set
    or the level has no users. workers: their names in Locust."""
    if level.requests is None or level.arrivals is not None:
        return None
    order = _order_of_users(workers)
    shares: dict[str, int] = {}
    before = 0
    for place, name in enumerate(order):
        users = level.users // len(order) + (place < level.users % len(order))
        after = before + users
        shares[name] = level.requests * after // level.users - level.requests * before // level.users
        before = after
    return shares


def _order_of_users(workers: Iterable[str]) -> list[str]:
    """The order in which Locust gives users to workers: over hosts first, then over the workers of a host.

    Upstream: https://github.com/locustio/locust/blob/2.47.0/locust/dispatch.py#L138-L150
    """
    on_host: Counter[str] = Counter()
    places: list[tuple[int, str]] = []
    for name in sorted(workers):
        host = name.split("_")[0]
        places.append((on_host[host], name))
        on_host[host] += 1
    return [name for _, name in sorted(places)]
