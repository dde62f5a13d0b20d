"""How many prompt tokens a prefix cache without a limit would hold, of requests that are sent one after the other."""

from __future__ import annotations

from collections.abc import Hashable
from typing import NamedTuple


class Beginning(NamedTuple):
    """A beginning of a prompt. key: equal for equal beginnings; least, most: tokens that others have of it at least and
    at most."""

    key: Hashable
    least: int
    most: int


class PrefixHits:
    """Counts the tokens found in the cache, in whole blocks. prompt_tokens: of all requests; least, most: of these,
    found at least and at most."""

    def __init__(self, block_tokens: int) -> None:
        self._block_tokens = block_tokens
        self._known: set[Hashable] = set()
        self.prompt_tokens = self.least = self.most = 0

    def flush(self) -> None:
        """The cache is emptied."""
        self._known.clear()

    def add(self, prompt_tokens: int, finds: tuple[Beginning, ...], leaves: tuple[Beginning, ...]) -> None:
        """Count a request. finds: beginnings that it may find, leaves: those that are in the cache after it."""
        self.prompt_tokens += prompt_tokens
        known = [found for found in finds if found.key in self._known]
        limit = max(0, prompt_tokens - 1)  # the last token is always computed
        self.least += self._in_blocks(min(limit, max((found.least for found in known), default=0)))
        self.most += self._in_blocks(min(limit, max((found.most for found in known), default=0)))
        self._known.update(left.key for left in leaves)

    @property
    def ratios(self) -> tuple[float, float] | None:
        """Of the prompt tokens, the shares found at least and at most; None without any."""
        if not self.prompt_tokens:
            return None
        return self.least / self.prompt_tokens, self.most / self.prompt_tokens

    def _in_blocks(self, tokens: int) -> int:
        return tokens // self._block_tokens * self._block_tokens
