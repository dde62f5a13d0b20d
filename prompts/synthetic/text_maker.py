"""Texts of exactly so many tokens: a pure function of (key, number of the request, tokens).

Words come from a tape: random words in a row, joined once, with the tokens up to each. A text is a head, an opening of
random words by which any two texts differ, a piece of the tape, and a few words that make up the difference. So a text
of 8,000 tokens is a slice, and takes microseconds.
"""

from __future__ import annotations

import random
from array import array
from bisect import bisect_right
from collections.abc import Callable, Mapping
from itertools import accumulate
from math import ceil, log2

from tokenswarm.prompts.synthetic.counter_random import random_bits
from tokenswarm.prompts.synthetic.word_costs import HEAD

_TAPE_WORDS = 1 << 16
#: Of an opening: no two of a run's texts share one.
_OPENING_BITS = 64
_MOST_REPAIRS = 20


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

    def text(self, number: int, tokens: int, head_tokens: int) -> str:
        """The text of the request of this number, which makes a prompt of so many tokens: head_tokens, and its words.
        Where tokens are no more than head_tokens, it has no words."""
        wanted = round((tokens - head_tokens) / self._scale)
        text = self._made(number, wanted)
        return text if self._count is None else self._repaired(text, number, wanted, self._count)

    def _made(self, number: int, wanted: int) -> str:
        bits = random_bits(self._key, "opening", number, 256)
        bits, offset = divmod(bits, _TAPE_WORDS)
        parts = [HEAD]
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

    def _repaired(self, text: str, number: int, wanted: int, count: Callable[[str], int]) -> str:
        """The text with words added or taken off until it has the tokens, or the nearest number that was found."""
        head = count(HEAD)
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
                del words[max(1, len(words) - change) :]
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
