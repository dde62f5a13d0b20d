"""Which beginnings the prompts of a replay share: for each request those at which another one ends or continues in
another way. No others are needed to know what a prefix cache may hold of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tokenswarm.prompts.synthetic.block_texts import SHIFT_TOKENS
from tokenswarm.prompts.traces.trace_records import Counts

_Keys = NDArray[np.uint64]
_FACTORS = tuple(np.uint64(factor) for factor in (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0xFF51AFD7ED558CCD))
_HALF = np.uint64(32)


class SharedBeginning(NamedTuple):
    """key: the same for equal beginnings. is_end: of a prompt that ends within its last block; another that has this
    block whole shares the prompt's text without what the chat template puts behind. least, most: tokens of the prompt
    that are in it."""

    key: int
    is_end: bool
    least: int
    most: int


class _Blocks(NamedTuple):
    """The blocks of all prompts, one behind the other. keys: of each block and all before it; rows: the prompt that it
    is of; places: its number in that, from 0; is_end: whether the prompt's text ends within it. tokens: of each
    prompt."""

    keys: _Keys
    rows: Counts
    places: Counts
    is_end: NDArray[np.bool_]
    tokens: Counts


class SharedBlocks:
    """Of the requests of a replay. Equal blocks are those with equal ids up to them, whether an id stands for its
    block alone or for all before it too."""

    def __init__(self, requests: Sequence[tuple[Sequence[int], int]], block_tokens: int) -> None:
        """requests: the hash ids and the tokens of each prompt."""
        found = _found(_blocks_of(requests, block_tokens), block_tokens)
        self._rows, self._keys, self._is_end, self._least, self._most = found

    def beginnings(self, number: int) -> Iterator[SharedBeginning]:
        """Of the request of this number, each longer than the one before."""
        first, end = np.searchsorted(self._rows, (number, number + 1))
        for place in range(first, end):
            yield SharedBeginning(
                *(int(self._keys[place]), bool(self._is_end[place]), int(self._least[place]), int(self._most[place]))
            )


def _blocks_of(requests: Sequence[tuple[Sequence[int], int]], block_tokens: int) -> _Blocks:
    """As far as the prompts have text of them."""
    tokens = np.array([each for _, each in requests], dtype=np.int64)
    whole = np.maximum(0, tokens - SHIFT_TOKENS) // block_tokens
    counts = np.minimum([len(ids) for ids, _ in requests], whole + 1)
    ids = np.concatenate(
        [np.empty(0, np.int64), *(np.asarray(ids, np.int64)[:count] for (ids, _), count in zip(requests, counts))]
    )
    rows = np.repeat(np.arange(len(requests)), counts)
    places = np.arange(len(ids)) - np.repeat(np.cumsum(counts) - counts, counts)
    keys = _chained(ids.view(np.uint64), counts)
    return _Blocks(keys, rows, places, places == whole[rows], tokens)


def _chained(ids: _Keys, counts: Counts) -> _Keys:
    """A key of each id and all before it in its prompt. ids: of prompts that have so many each."""
    keys = np.empty_like(ids)
    longest_first = np.argsort(-counts, kind="stable")
    begins = (np.cumsum(counts) - counts)[longest_first]
    descending = -counts[longest_first]
    before = np.zeros(len(counts), dtype=np.uint64)
    for place in range(int(counts.max(initial=0))):
        prompts = int(np.searchsorted(descending, -place, side="left"))
        where = begins[:prompts] + place
        mixed = (before[:prompts] ^ (ids[where] + np.uint64(place)) * _FACTORS[0]) * _FACTORS[1]
        mixed = (mixed ^ (mixed >> _HALF)) * _FACTORS[2]
        before[:prompts] = keys[where] = mixed ^ (mixed >> _HALF)
    return keys


def _found(blocks: _Blocks, block_tokens: int) -> tuple[Counts, NDArray[np.uint64], NDArray[np.bool_], Counts, Counts]:
    """The prompts, keys, whether they are ends, least and most tokens of the shared beginnings, in order."""
    whole = ~blocks.is_end
    keys, rows, places = blocks.keys[whole], blocks.rows[whole], blocks.places[whole]
    known, of_key, passing_of = np.unique(keys, return_inverse=True, return_counts=True)
    passing = passing_of[of_key]
    following = np.ones_like(passing)
    continues = rows[1:] == rows[:-1]
    following[:-1][continues] = passing[1:][continues]
    forks = (passing > 1) & (following < passing)
    ends = _Ends.of(blocks)
    end_passed = ends.place_of(keys)
    is_passed = end_passed >= 0
    # An end that others pass, or that several prompts have.
    shared = (_place_in(known, ends.own_keys) >= 0) | (ends.counts[ends.of_row] > 1)
    own = np.flatnonzero(shared)
    whole_tokens = (places[forks] + 1) * block_tokens
    end_of = np.concatenate([end_passed[is_passed], ends.of_row[own]])
    end_places = np.concatenate([places[is_passed], ends.own_places[own]])
    found_rows = np.concatenate([rows[forks], rows[is_passed], ends.own_rows[own]])
    found_places = np.concatenate([places[forks] * 2 + 1, end_places * 2])
    order = np.lexsort((found_places, found_rows))
    least = np.concatenate([whole_tokens, np.maximum(end_places * block_tokens, ends.shortest[end_of] - SHIFT_TOKENS)])
    most = np.concatenate([whole_tokens + SHIFT_TOKENS, ends.longest[end_of]])
    found_keys = np.concatenate([keys[forks], ends.keys[end_of]])
    is_end = np.concatenate([np.zeros(len(whole_tokens), bool), np.ones(len(end_of), bool)])
    return found_rows[order], found_keys[order], is_end[order], least[order], most[order]


class _Ends(NamedTuple):
    """The blocks within which prompts end. keys: different ones, ascending; counts: of prompts that end there;
    shortest, longest: of these, in tokens. own_keys, own_rows, own_places, of_row: of each prompt that ends so, the
    block's key, the prompt, the block's number in it, and its place in `keys`."""

    keys: _Keys
    counts: Counts
    shortest: Counts
    longest: Counts
    own_keys: _Keys
    own_rows: Counts
    own_places: Counts
    of_row: Counts

    @classmethod
    def of(cls, blocks: _Blocks) -> _Ends:
        own_keys, own_rows = blocks.keys[blocks.is_end], blocks.rows[blocks.is_end]
        keys, of_row, counts = np.unique(own_keys, return_inverse=True, return_counts=True)
        shortest = np.full(len(keys), np.iinfo(np.int64).max)
        longest = np.zeros(len(keys), np.int64)
        np.minimum.at(shortest, of_row, blocks.tokens[own_rows])
        np.maximum.at(longest, of_row, blocks.tokens[own_rows])
        return cls(keys, counts, shortest, longest, own_keys, own_rows, blocks.places[blocks.is_end], of_row)

    def place_of(self, keys: _Keys) -> Counts:
        """The place of each key, -1 for one within which none ends."""
        return _place_in(self.keys, keys)


def _place_in(ascending: _Keys, keys: _Keys) -> Counts:
    """The place of each key, -1 for one that is not there."""
    if not len(ascending):
        return np.full(len(keys), -1)
    places = np.minimum(np.searchsorted(ascending, keys), len(ascending) - 1)
    return np.where(ascending[places] == keys, places, -1)
