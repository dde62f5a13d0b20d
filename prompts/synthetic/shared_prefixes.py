"""Prefixes that requests share: how many groups there are, how long their prefixes are, and which request is of which.

groups=64 tokens=2048 zipf=1.2      the k-th of 64 groups has requests in proportion to 1 / k^1.2
tokens=2048                         one prefix for all requests
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate

from msgspec.structs import replace

from tokenswarm.command_line import PointedError
from tokenswarm.prompts.prompt_records import Prompt, PromptError
from tokenswarm.prompts.synthetic.counter_random import uniform
from tokenswarm.prompts.synthetic.length_notation import MOST_TOKENS
from tokenswarm.prompts.synthetic.text_maker import Prefix, TextMaker
from tokenswarm.prompts.synthetic.word_costs import HEAD

PREFIX_OPTION = "--prefix"
MOST_GROUPS = 1_000_000
_MOST_EXPONENT = 20.0
#: Prefixes of groups that are kept; others are made again, which takes microseconds.
_KEPT_PREFIXES = 1024

_WORD = re.compile(r"[^\s,]+")
_SETTING = re.compile(r"(groups|tokens|zipf)=(\S*)", re.IGNORECASE)


class PrefixNotationError(PointedError, PromptError):
    """A prefix cannot be read."""


@dataclass(frozen=True, slots=True)
class PrefixPlan:
    """groups: each has a prefix of its own. tokens: of each prefix. zipf: the exponent of p(k) ∝ k^-zipf for the k-th
    group; None: groups are equally frequent."""

    tokens: int
    groups: int = 1
    zipf: float | None = None

    def group(self, seed: int, number: int) -> int:
        """The group, from 0, of the run's request of this number."""
        u = uniform(str(seed), "prefix group", number)
        if self.zipf is None:
            return int(u * self.groups)
        upper_shares = _zipf_shares(self.groups, self.zipf)
        return min(bisect_right(upper_shares, u), self.groups - 1)


@lru_cache(maxsize=2)
def _zipf_shares(groups: int, zipf: float) -> tuple[float, ...]:
    """For each group, the share of requests of it and the ones before."""
    sums = tuple(accumulate((rank + 1) ** -zipf for rank in range(groups)))
    return tuple(each / sums[-1] for each in sums)


def parse_prefix(text: str) -> PrefixPlan | None:
    """What `text` says; None for an empty one. Raises PrefixNotationError."""
    text = text.replace("\n", " ")
    found: dict[str, float] = {}
    for name, value, place in _settings(text):
        if name in found:
            raise PrefixNotationError(PREFIX_OPTION, text, place, f"{name}= stands here twice")
        found[name] = value
    if not found:
        return None
    if "tokens" not in found:
        raise PrefixNotationError(PREFIX_OPTION, text, len(text), "expected tokens=NUMBER, the length of each prefix")
    return PrefixPlan(int(found["tokens"]), int(found.get("groups", 1)), found.get("zipf"))


def _settings(text: str) -> Iterator[tuple[str, float, int]]:
    """(name, value, place) of each."""
    for word in _WORD.finditer(text):
        match = _SETTING.fullmatch(word[0])
        if match is None:
            message = f"expected groups=NUMBER, tokens=NUMBER or zipf=EXPONENT, got {word[0]!r}"
            raise PrefixNotationError(PREFIX_OPTION, text, word.start(), message)
        name, place = match[1].lower(), word.start() + match.start(2)
        if name == "zipf":
            yield name, _exponent(match[2], text, place), word.start()
        else:
            yield name, _count(match[2], MOST_TOKENS if name == "tokens" else MOST_GROUPS, text, place), word.start()


def _count(value: str, most: int, text: str, place: int) -> int:
    if not re.fullmatch(r"\d{1,12}", value, re.ASCII) or not 1 <= int(value) <= most:
        message = f"expected a whole number from 1 to {most:,}, got {value!r}"
        raise PrefixNotationError(PREFIX_OPTION, text, place, message)
    return int(value)


def _exponent(value: str, text: str, place: int) -> float:
    if not re.fullmatch(r"\d+(\.\d+)?", value, re.ASCII) or not 0 < float(value) <= _MOST_EXPONENT:
        message = f"expected an exponent above 0, up to {_MOST_EXPONENT:g}, got {value!r}"
        raise PrefixNotationError(PREFIX_OPTION, text, place, message)
    return float(value)


class PrefixMaker:
    """Makes the prefixes of a run's requests: those of one group share one, unless none is to be shared."""

    def __init__(self, plan: PrefixPlan, seed: int, maker: TextMaker, *, is_shared: bool = True) -> None:
        """is_shared: False gives each request a prefix of its own, of the same length."""
        self._plan, self._seed, self._maker = plan, seed, maker
        self._is_shared = is_shared
        self._of_group = lru_cache(_KEPT_PREFIXES)(lambda group: maker.prefix(group, plan.tokens, "prefix"))

    def group(self, number: int) -> int | None:
        """The group of the run's request of this number; None where prefixes are not shared."""
        return self._plan.group(self._seed, number) if self._is_shared else None

    def prefix(self, number: int) -> Prefix:
        """The prefix of the run's request of this number."""
        group = self.group(number)
        if group is None:
            return self._maker.prefix(number, self._plan.tokens, "own prefix")
        return self._of_group(group)


def with_prefix(prompt: Prompt, prefix: Prefix, head_tokens: int, *, own_system: bool) -> Prompt:
    """A prompt of a data set behind a prefix: before its first message, or before its own system message where that is
    sent (own_system). head_tokens: about those of what every prefix begins with."""
    start = f"{HEAD}{prefix.text}\n\n"
    tokens = prompt.tokens + prefix.tokens + head_tokens
    if own_system and prompt.system is not None:
        return replace(prompt, system=start + prompt.system, tokens=tokens)
    if prompt.earlier:
        first, *others = prompt.earlier
        return replace(prompt, earlier=(first._replace(text=start + first.text), *others), tokens=tokens)
    return replace(prompt, text=start + prompt.text, tokens=tokens)
