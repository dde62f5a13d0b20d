"""Texts of exactly so many tokens: a pure function of (key, number of the request, tokens).

Words come from a tape: random words in a row, joined once, with the tokens up to each. A text is a head, a prefix that
it may share with others, an opening of random words by which any two texts differ, a piece of the tape, and a few words
that make up the difference. So a text of 8,000 tokens is a slice, and takes microseconds.
"""

from __future__ import annotations

import random
from array import array
from bisect import bisect_right
from collections.abc import Callable, Mapping
from hashlib import blake2b
from itertools import accumulate, cycle, islice
from math import ceil, log2
from typing import NamedTuple

from tokenswarm.prompts.synthetic.counter_random import random_bits
from tokenswarm.prompts.synthetic.word_costs import HEAD

_TAPE_WORDS = 1 << 16
#: Of an opening: no two of a run's texts share one.
_OPENING_BITS = 64
#: Words that a block begins with; of few words, so many are as good as random bits that no two blocks share.
_BLOCK_OPENING_WORDS = 16
_MOST_REPAIRS = 20


class Prefix(NamedTuple):
    """Words behind the head of a text, each with a space before it, and the sum of their tokens."""

    text: str = ""
    tokens: int = 0


NO_PREFIX = Prefix()


class TextMaker:
    """Makes the texts of a run. costs: tokens of each word; head_tokens: of what every prompt has besides its words,
    the chat template included. scale: tokens that come for each computed one."""

    def __init__(
        self,
        costs: Mapping[str, int],
        key: str,
        *,
        scale: float = 1.0,
        count: Callable[[str], int] | None = None,
    ) -> None:
        """key: from it and a request's number all texts follow. count: counts the tokens of a text where those of its
        words do not add up; such texts are counted and repaired, which takes milliseconds."""
        self._key = key
        self._costs = dict(costs)
        self._words = tuple(costs)
        self._scale = scale
        self._count = count
        tape = random.Random(f"{key}/tape").choices(self._words, k=_TAPE_WORDS)
        self._tape = " " + " ".join(tape)
        self._starts = array("q", accumulate((len(word) + 1 for word in tape), initial=0))
        self._tokens = array("q", accumulate((self._costs[word] for word in tape), initial=0))
        self._opening_words = ceil(_OPENING_BITS / log2(max(2, len(self._words))))
        self._fills = _fills(self._costs)
        self._has_equal_costs = set(self._costs.values()) == {1}
        #: Of each byte of a digest.
        self._words_of_bytes = tuple(islice(cycle(self._words), 256))

    def text(
        self, number: int, tokens: int, head_tokens: int, prefix: Prefix = NO_PREFIX, following: Prefix = NO_PREFIX
    ) -> str:
        """The text of the request of this number, which makes a prompt of so many tokens: head_tokens, those of the
        prefix, and its own words'. Where tokens are no more than the first two, it has no words of its own. following:
        what its own words begin with; where the text has to be repaired, they may lose words."""
        wanted = self.computed_tokens(tokens - head_tokens)
        start = HEAD + prefix.text
        text = self._made(start + following.text, number, wanted - prefix.tokens - following.tokens)
        return text if self._count is None else self._repaired(text, start, number, wanted, self._count)

    def computed_tokens(self, tokens: int) -> int:
        """How many tokens words have by their costs where the server counts so many."""
        return round(tokens / self._scale)

    def prefix(self, number: int, tokens: int, stream: str) -> Prefix:
        """The prefix of this number, with so many tokens behind the head of a text. stream: prefixes of other streams
        differ."""
        wanted = self.computed_tokens(tokens)
        text = self._made(HEAD, number, wanted, stream)
        if self._count is None:
            text = text[len(HEAD) :]
            return Prefix(text, sum(map(self._costs.__getitem__, text.split())))
        text = self._repaired(text, HEAD, number, wanted, self._count)
        return Prefix(text[len(HEAD) :], self._count(text) - self._count(HEAD))

    def block(self, number: int, tokens: int, stream: str) -> Prefix:
        """Words of so many computed tokens, which follow from the number: a shorter block is the beginning of a longer
        one of the same number, as far as words have one token each. stream: blocks of other streams differ."""
        if self._count is not None or not self._has_equal_costs:
            return self.prefix(number, round(tokens * self._scale), f"block/{stream}")
        key = f"{self._key}\0{stream}\0{number}".encode("utf-8", "surrogatepass")
        digest = blake2b(key, digest_size=_BLOCK_OPENING_WORDS + 4, person=b"block").digest()
        opening = digest[: min(tokens, _BLOCK_OPENING_WORDS)]
        text = " ".join(("", *map(self._words_of_bytes.__getitem__, opening)))
        left = tokens - len(opening)
        if left > 0:
            begin = int.from_bytes(digest[_BLOCK_OPENING_WORDS:], "big") % _TAPE_WORDS
            while left > 0:
                end = min(begin + left, _TAPE_WORDS)
                text += self._tape[self._starts[begin] : self._starts[end]]
                left -= end - begin
                begin = 0
        return Prefix(text, tokens)

    @property
    def mark_tokens(self) -> int:
        """Tokens of a prefix that is long enough for no two to be equal."""
        return self._opening_words * max(self._costs.values())

    def _made(self, start: str, number: int, wanted: int, stream: str = "opening") -> str:
        """start, and random words of so many tokens."""
        if wanted <= 0:
            return start
        bits = random_bits(self._key, stream, number, 256)
        bits, offset = divmod(bits, _TAPE_WORDS)
        parts = [start]
        for _ in range(self._opening_words):
            bits, place = divmod(bits, len(self._words))
            word = self._words[place]
            if self._costs[word] > wanted:
                break
            parts.append(f" {word}")
            wanted -= self._costs[word]
        whole_tapes, wanted = divmod(max(0, wanted), self._tokens[-1])
        parts += [self._tape] * whole_tapes
        for piece, rest in self._pieces(offset, wanted):
            parts.append(piece)
            wanted = rest
        parts += [f" {word}" for word in self._fill(parts, wanted)]
        return "".join(parts)

    def _pieces(self, offset: int, wanted: int) -> list[tuple[str, int]]:
        """Slices of the tape from an offset on, and the tokens that are still missing behind each."""
        found = []
        for begin in (offset, 0):
            end = bisect_right(self._tokens, self._tokens[begin] + wanted) - 1
            wanted -= self._tokens[end] - self._tokens[begin]
            found.append((self._tape[self._starts[begin] : self._starts[end]], wanted))
            if end < _TAPE_WORDS:
                break
        return found

    def _fill(self, parts: list[str], wanted: int) -> tuple[str, ...]:
        """Words of so many tokens; of the nearest number that can be made, where it is not the sum of any. Takes words
        off the last parts where that helps."""
        most = max(self._fills)
        while wanted not in self._fills and wanted <= most and len(parts) > 1:
            parts[-1], _, word = parts[-1].rpartition(" ")
            wanted += self._costs.get(word, 0)
            if not parts[-1]:
                parts.pop()
        return self._fills[min(self._fills, key=lambda tokens: (abs(tokens - wanted), tokens))]

    def _repaired(self, text: str, start: str, number: int, wanted: int, count: Callable[[str], int]) -> str:
        """The text with words added or taken off behind its start until it has the tokens, or the nearest number that
        was found."""
        head, kept_words = count(HEAD), len(start.split(" "))
        best, best_difference = text, wanted + 1
        for attempt in range(_MOST_REPAIRS):
            tokens = count(text) - head
            missing = wanted - tokens
            if abs(missing) < best_difference:
                best, best_difference = text, abs(missing)
            if not missing:
                break
            words = text.split(" ")
            change = max(1, round(abs(missing) * len(words) / max(1, tokens)))
            if missing < 0:
                del words[max(kept_words, len(words) - change) :]
            else:
                short = [word for word in self._words if self._costs[word] <= missing] or self._words
                words += random.Random(f"{self._key}/repair/{number}/{attempt}").choices(short, k=change)
            text = " ".join(words)
        return best


def _fills(costs: Mapping[str, int]) -> dict[int, tuple[str, ...]]:
    """Words by their tokens: each number up to the sum of the two longest, where words add up to it."""
    most = 2 * max(costs.values())
    by_cost = {cost: word for word, cost in reversed(tuple(costs.items()))}
    found: dict[int, tuple[str, ...]] = {0: ()}
    for tokens in range(1, most + 1):
        shorter = [(found[tokens - cost], word) for cost, word in by_cost.items() if tokens - cost in found]
        if shorter:
            words, word = min(shorter, key=lambda each: len(each[0]))
            found[tokens] = (*words, word)
    return found
