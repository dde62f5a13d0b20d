"""When streams that are read late may have ended: the lengths of their segments say so.

While a stream goes on, its segments differ by the text of a token. What ends it (a reason to finish, usage, an end
marker, the last chunk) is shorter or longer. Looking at the lengths of all segments at once costs nearly nothing, so
that a stream can be left unread for long, and its end is noticed all the same.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tokenswarm.wire.tap.segments import Segments

#: How much shorter or longer than a stream's segments so far one is that may be its last: another text does not make
#: such a difference.
_SHORTER_BYTES, _LONGER_BYTES = 8, 16
#: Multiplied by it (2**64 / the golden ratio), keys that differ by less than 2**16 differ in their first 20 bits.
_MULTIPLIER = 0x9E3779B97F4A7C15
_KEY_BITS, _ENTRY_BITS = 64, 20
_KEYS = 1 << _KEY_BITS
#: For the longest segment.
_ANY_LENGTH = 0
#: Of ends of streams, after which older ones count half.
_REMEMBERED = 64
#: Of so few nothing is concluded.
_LEAST_ENDS = 8
#: Where ends are not noticed, one stream in so many is tried.
_TRIED_ONE_IN = 64
#: From one look for ends to the next.
LOOK_S = 0.025
#: An end is noticed half a look late on average: a hundredth of so long a stream.
_LEAST_S = 100 * LOOK_S / 2


class StreamEnds:
    """The lengths that are expected of each stream, in tables with an entry for each hash of a connection's key (8 MiB,
    of which the system gives what is used). No two connections to one server share an entry. Of two to different ones
    that do, which is one pair in a million, one may be looked into too often, or its end be noticed only when it is
    read in any case.

    usual: of the streams that were read last, how many bytes their segments had at least and at most, and the mean time
    between them in ns (0 where that is not known); zeros before.
    """

    def __init__(self) -> None:
        self.usual = 0, 0, 0
        # Only zeros are memory that the system gives once it is used.
        self._shortest = np.zeros(1 << _ENTRY_BITS, dtype=np.int32)
        self._longest = np.zeros(1 << _ENTRY_BITS, dtype=np.int32)
        self._odd: dict[int, None] = {}
        self._ends = self._noticed = 0
        self._streams = 0
        self._mean_s = 0.0
        self._not_tried = 0

    def expect(self, key: int, shortest: int, longest: int) -> None:
        """The segments of this stream have had so many bytes."""
        at = _entry(key)
        self._shortest[at], self._longest[at] = shortest - _SHORTER_BYTES, longest + _LONGER_BYTES

    def expect_any(self, key: int) -> None:
        """This stream has ended, or is read as it comes."""
        at = _entry(key)
        self._shortest[at], self._longest[at] = 0, _ANY_LENGTH
        self._odd.pop(key, None)

    def look_at(self, segments: Segments) -> None:
        """These came next."""
        at = _entries(segments.keys)
        longest = self._longest[at]
        odd = (segments.lengths < self._shortest[at]) | ((segments.lengths > longest) & (longest != _ANY_LENGTH))
        if odd.any():
            self._odd |= dict.fromkeys(segments.keys[odd].tolist())

    def look_into(self, key: int) -> None:
        """This stream may have ended."""
        self._odd[key] = None

    def take(self) -> Sequence[int]:
        """The keys of the streams that may have ended since the last call."""
        odd = tuple(self._odd)
        self._odd.clear()
        return odd

    def lasted(self, seconds: float) -> None:
        """A stream, read late or not, took so long from its first output to its end."""
        self._streams = min(self._streams + 1, _REMEMBERED)
        self._mean_s += (seconds - self._mean_s) / self._streams

    def ended(self, *, noticed: bool) -> None:
        """A stream that was read late has ended: which was noticed by its segments, or only when it was read."""
        if self._ends >= _REMEMBERED:
            self._ends //= 2
            self._noticed //= 2
        self._ends += 1
        self._noticed += noticed

    @property
    def are_noticed(self) -> bool:
        """Whether most of the last ones were."""
        return self._ends < _LEAST_ENDS or 2 * self._noticed >= self._ends

    def are_noticed_or_tried(self) -> bool:
        """Whether the next stream may be read late: where ends are not noticed, one in so many is, since only streams
        that are read late show that they are again."""
        if self.are_noticed:
            return True
        self._not_tried = (self._not_tried + 1) % _TRIED_ONE_IN
        return self._not_tried == 0

    @property
    def are_far_apart(self) -> bool:
        """Whether the last streams took so long that noticing their ends by a look changes the load by no more than a
        hundredth; so it is taken to be before the first has ended."""
        return not self._streams or self._mean_s >= _LEAST_S


def _entry(key: int) -> int:
    """Where the tables have a connection."""
    return key * _MULTIPLIER % _KEYS >> _KEY_BITS - _ENTRY_BITS


def _entries(keys: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The same of many."""
    return keys * np.uint64(_MULTIPLIER) >> np.uint64(_KEY_BITS - _ENTRY_BITS)
