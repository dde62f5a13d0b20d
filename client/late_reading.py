"""Whether streams that need not be read as they come may be read late: a guard against changing what is measured.

A read acknowledges what it reads. A server whose acknowledgements come late may hold its next token back until then
(Nagle's algorithm), so that more tokens come in a segment; or it may send a segment again (a tail loss probe), so that
more segments come for a token. Both show in the segments per token of streams that are read late, beside those of
streams that are read as they come. So one stream in ten is read late at first; where that changes nothing, all but one
in forty; and where it does, none. A busy server joins tokens by itself, in some streams more than in others: a
difference counts only where it is three times what the differences between streams of one kind explain.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from math import hypot, sqrt

#: One stream in so many is read late at first; and once that is known to do no harm, one in so many is not.
_TRIED_ONE_IN, _WATCHED_ONE_IN = 10, 40
#: Of either kind, before they are compared.
_LEAST_STREAMS = 8
_LEAST_TOKENS = 500
#: A shorter stream says little, and differs much from others.
_LEAST_OF_A_STREAM = 8
#: Segments per token of late streams, as a share of those of others, which chance and a busy server explain.
_FEWEST, _MOST = 0.95, 1.01
_STANDARD_ERRORS = 3


class _State(Enum):
    TRIED = 1
    ALLOWED = 2
    STOPPED = 3


@dataclass(slots=True)
class _Received:
    """By streams of one kind, behind their first tokens."""

    streams: int = 0
    tokens: int = 0
    segments: int = 0
    ratios: float = 0.0  # the sum of each stream's segments per token, and of their squares
    squares: float = 0.0

    def add(self, tokens: int, segments: int) -> None:
        self.streams += 1
        self.tokens += tokens
        self.segments += segments
        self.ratios += segments / tokens
        self.squares += (segments / tokens) ** 2

    @property
    def suffices(self) -> bool:
        return self.streams >= _LEAST_STREAMS and self.tokens >= _LEAST_TOKENS

    @property
    def segments_per_token(self) -> float:
        return self.segments / self.tokens

    @property
    def relative_error(self) -> float:
        """The standard error of the segments per token, as a share of them."""
        mean = self.ratios / self.streams
        variance = max(0.0, self.squares / self.streams - mean**2)
        return sqrt(variance / max(1, self.streams - 1)) / mean


class LateReading:
    """The streams of a run on this process."""

    def __init__(self) -> None:
        self._state = _State.TRIED
        self._streams = 0
        self._late, self._others = _Received(), _Received()

    def reads_next_late(self) -> bool:
        """Whether the next stream that could be read late is."""
        self._streams += 1
        if self._state is _State.TRIED:
            return self._streams % _TRIED_ONE_IN == 1
        return self._state is _State.ALLOWED and self._streams % _WATCHED_ONE_IN != 1

    def ended(self, *, late: bool, tokens: int, segments: int) -> str | None:
        """A stream has had so many events with output behind its first ones, in so many segments. Returns why no
        further stream is read late, once."""
        if self._state is _State.STOPPED or tokens < _LEAST_OF_A_STREAM:
            return None
        received = self._late if late else self._others
        received.add(tokens, segments)
        if not (self._late.suffices and self._others.suffices):
            return None
        one, other = self._late, self._others
        ratio = one.segments_per_token / other.segments_per_token
        error = _STANDARD_ERRORS * ratio * hypot(one.relative_error, other.relative_error)
        if _FEWEST <= ratio <= _MOST:
            self._state = _State.ALLOWED
        elif ratio + error >= _FEWEST and ratio - error <= _MOST:
            return None  # not sure yet
        else:
            self._state = _State.STOPPED
        self._late, self._others = _Received(), _Received()
        if self._state is _State.ALLOWED:
            return None
        return _reason(one.segments_per_token, other.segments_per_token)


def _reason(late: float, others: float) -> str:
    holds_back = "holds tokens back until others are acknowledged"
    cause = holds_back if late < others else "sends again what is acknowledged late"
    return (
        f"the server {cause}: {late:.2f} segments per token where streams are read late, {others:.2f} where they are "
        "read as they come"
    )
