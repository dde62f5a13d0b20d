"""How many output tokens a response has: who counted them, and which counts can be."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class TokenSource(StrEnum):
    """Where a token count came from, best first."""

    USAGE = "usage"
    ENGINE = "engine"
    TOKENIZER = "tokenizer"
    EVENTS = "events"


@dataclass(slots=True)
class TokenCounts:
    """Counts of one response's output tokens, None where there is none. max_tokens: the most that the request allows;
    bytes_received: of the response so far; usage, engine: by the server; tokenizer: over the whole text."""

    max_tokens: int | None = None
    bytes_received: int | None = None
    usage: int | None = None
    engine: int | None = None
    tokenizer: int | None = None

    @property
    def reported(self) -> int | None:
        """As the server or the engine counted them, None where neither gave a possible count."""
        return next(filter(self._is_possible, (self.usage, self.engine)), None)

    @property
    def rejected(self) -> int | None:
        """The first impossible count of the server's."""
        counts = (self.usage, self.engine)
        return next((tokens for tokens in counts if tokens is not None and not self._is_possible(tokens)), None)

    def best(self, events: int) -> tuple[int, TokenSource]:
        """The count to use, and its source: the number of events where there is no other."""
        for tokens, source in ((self.usage, TokenSource.USAGE), (self.engine, TokenSource.ENGINE)):
            if tokens is not None and self._is_possible(tokens):
                return tokens, source
        return (events, TokenSource.EVENTS) if self.tokenizer is None else (self.tokenizer, TokenSource.TOKENIZER)

    def _is_possible(self, tokens: int | None) -> bool:
        """No more than were allowed, and a byte each at least."""
        limits = (self.max_tokens, self.bytes_received)
        return tokens is not None and tokens >= 0 and all(limit is None or tokens <= limit for limit in limits)
