"""Who has logged in to the web page: the password's check, the sessions, and the limit on failed attempts. No Flask."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address, ip_network

#: A session ends when it was not used for so long, and at the latest after the second.
IDLE_S = 12 * 3600.0
LIFETIME_S = 7 * 24 * 3600.0
_MOST_SESSIONS = 1000
_MOST_ADDRESSES = 10_000

Clock = Callable[[], float]


class Credentials:
    """The one user name and password. Both are kept as hashes only."""

    def __init__(self, user: str, password: str) -> None:
        self._key = secrets.token_bytes(32)
        self._user = self._digest(user)
        self._password = self._digest(password)

    def match(self, user: str, password: str) -> bool:
        """Whether both are right, in constant time."""
        right_user = hmac.compare_digest(self._digest(user), self._user)
        right_password = hmac.compare_digest(self._digest(password), self._password)
        return right_user and right_password

    def _digest(self, text: str) -> bytes:
        return hmac.new(self._key, text.encode("utf-8", "surrogatepass"), hashlib.sha256).digest()


class Sessions:
    """Which sessions are open; they end with the process."""

    def __init__(self, clock_s: Clock = time.monotonic) -> None:
        self._clock_s = clock_s
        self._open: OrderedDict[str, tuple[float, float]] = OrderedDict()  # id: (opened, last used), oldest use first

    def open(self) -> str:
        """A new session's id, a secret."""
        now_s = self._clock_s()
        session = secrets.token_urlsafe(32)
        self._open[session] = (now_s, now_s)
        while len(self._open) > _MOST_SESSIONS:
            self._open.popitem(last=False)
        return session

    def is_open(self, session: str) -> bool:
        """Whether the session is open; if so it counts as used now."""
        if session not in self._open:
            return False
        now_s = self._clock_s()
        opened_s, used_s = self._open[session]
        if now_s - used_s > IDLE_S or now_s - opened_s > LIFETIME_S:
            del self._open[session]
            return False
        self._open[session] = (opened_s, now_s)
        self._open.move_to_end(session)
        return True

    def close(self, session: str) -> None:
        """Log out: the id is invalid from now on."""
        self._open.pop(session, None)


class _Bucket:
    """A number of attempts at once, and one more every `refill_s`."""

    def __init__(self, burst: int, refill_s: float, now_s: float) -> None:
        self._burst = burst
        self._refill_s = refill_s
        self._left = float(burst)
        self._at_s = now_s

    def wait_s(self, now_s: float) -> float:
        self._left = min(self._burst, self._left + (now_s - self._at_s) / self._refill_s)
        self._at_s = now_s
        return max(0.0, (1.0 - self._left) * self._refill_s)

    def take(self, now_s: float) -> None:
        self.wait_s(now_s)
        self._left = max(0.0, self._left - 1.0)


class AttemptLimit:
    """How often a wrong password may be tried: from one address 5 times at once and then every 10 s, from all addresses
    together 50 times at once and then every second. While an address has to wait, the right password is refused too."""

    def __init__(self, clock_s: Clock = time.monotonic) -> None:
        self._clock_s = clock_s
        self._all = _Bucket(50, 1.0, clock_s())
        self._by_address: OrderedDict[str, _Bucket] = OrderedDict()

    def wait_s(self, address: str) -> float:
        """Seconds until the address may try again, 0 where it may now."""
        now_s = self._clock_s()
        own = self._by_address.get(_network_of(address))
        return max(self._all.wait_s(now_s), own.wait_s(now_s) if own else 0.0)

    def failed(self, address: str) -> None:
        """Count a wrong password."""
        now_s = self._clock_s()
        self._all.take(now_s)
        network = _network_of(address)
        self._by_address.setdefault(network, _Bucket(5, 10.0, now_s)).take(now_s)
        self._by_address.move_to_end(network)
        while len(self._by_address) > _MOST_ADDRESSES:
            self._by_address.popitem(last=False)

    def succeeded(self, address: str) -> None:
        """The address belongs to somebody who knows the password."""
        self._by_address.pop(_network_of(address), None)


def _network_of(address: str) -> str:
    """A client with one IPv6 address has all of its /64."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped is None:
        return str(ip_network((parsed, 64), strict=False))
    return str(parsed)
