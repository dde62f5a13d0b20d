"""Which of a run's hosts gets which requests. Pure."""

from __future__ import annotations

from math import lcm

#: Statistics are kept for each host.
MOST_HOSTS = 16


def host_of_number(number: int, hosts: int, workers: int) -> int:
    """The place of the host that gets the run's arrival, or user, of this number (from 0): in turn, so that any first
    so many are spread evenly, whatever the number of workers. After each common multiple of hosts and workers the turn
    moves on by one: worker k of W has the numbers k, k + W, …, and would otherwise have a part of the hosts alone."""
    return (number + number // lcm(hosts, workers)) % hosts


class HostSpread:
    """Spreads the users of one process over the hosts, also while users leave and others come."""

    def __init__(self, hosts: int, workers: int = 1) -> None:
        """workers: of the run."""
        self._workers = workers
        self._users = [0] * hosts

    def join(self, number: int) -> int:
        """The host of a user that begins, by its number in the run."""
        host = host_of_number(number, len(self._users), self._workers)
        self._users[host] += 1
        return host

    def leave(self, host: int) -> None:
        """A user of that host has ended."""
        self._users[host] -= 1

    def next_of(self, host: int) -> int:
        """The host of the next session of a user that was at `host`: the same one, unless another has two users less
        or more, as when others have ended."""
        fewest = min(self._users)
        if self._users[host] - fewest < 2:
            return host
        self.leave(host)
        other = self._users.index(fewest)
        self._users[other] += 1
        return other
