"""Which beginnings the prompts of a replay share: for each request those at which another one ends or continues in
another way. No others are needed to know what a prefix cache may hold of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from tokenswarm.prompts.synthetic.block_texts import SHIFT_TOKENS


class SharedBeginning(NamedTuple):
    """node: the same for equal beginnings. is_end: of a prompt that ends within its last block; another that has this
    block whole shares the prompt's text without what the chat template puts behind. least, most: tokens of the prompt
    that are in it."""

    node: int
    is_end: bool
    least: int
    most: int


class _Path(NamedTuple):
    """nodes: of a prompt's whole blocks, in order; end: of the block within which its text ends, None where words of
    its own follow the last block."""

    nodes: Sequence[int]
    end: int | None


class SharedBlocks:
    """Of the requests of a replay. Equal blocks are those with equal ids up to them, whether an id stands for its
    block alone or for all before it too."""

    def __init__(self, requests: Sequence[tuple[Sequence[int], int]], block_tokens: int) -> None:
        """requests: the hash ids and the tokens of each prompt."""
        self._requests = requests
        self._block_tokens = block_tokens
        self._nodes: dict[tuple[int, int], int] = {}
        self._passing: list[int] = [0]
        #: Of each node within which a prompt ends: how many do, and the tokens of the shortest and the longest.
        self._ends: dict[int, tuple[int, int, int]] = {}
        for hash_ids, tokens in requests:
            nodes, end = self._path(hash_ids, tokens)
            for node in nodes:
                self._passing[node] += 1
            if end is not None:
                count, shortest, longest = self._ends.get(end, (0, tokens, tokens))
                self._ends[end] = count + 1, min(shortest, tokens), max(longest, tokens)

    def beginnings(self, hash_ids: Sequence[int], tokens: int) -> Iterator[SharedBeginning]:
        """Of a request, each longer than the one before."""
        nodes, end = self._path(hash_ids, tokens)
        for place, node in enumerate(nodes):
            whole = (place + 1) * self._block_tokens
            if node in self._ends:
                yield self._end(node, place)
            following = self._passing[nodes[place + 1]] if place + 1 < len(nodes) else 1
            if self._passing[node] > 1 and following < self._passing[node]:
                yield SharedBeginning(node, False, whole, whole + SHIFT_TOKENS)
        if end is not None and (self._passing[end] or self._ends[end][0] > 1):
            yield self._end(end, len(nodes))

    def found_before(self) -> Iterator[int]:
        """Of each request, in their order, the tokens of its first blocks that requests before had too, whatever a
        cache would have kept: by the trace alone."""
        seen: set[int] = set()
        for hash_ids, tokens in self._requests:
            nodes, end = self._path(hash_ids, tokens)
            path = nodes if end is None else (*nodes, end)
            known = next((place for place, node in enumerate(path) if node not in seen), len(path))
            seen.update(path[known:])
            yield min(known * self._block_tokens, tokens)

    def _end(self, node: int, place: int) -> SharedBeginning:
        _, shortest, longest = self._ends[node]
        least = max(place * self._block_tokens, shortest - SHIFT_TOKENS)
        return SharedBeginning(node, True, least, longest)

    def _path(self, hash_ids: Sequence[int], tokens: int) -> _Path:
        whole = max(0, (tokens - SHIFT_TOKENS) // self._block_tokens)
        nodes: list[int] = []
        node = 0
        for hash_id in hash_ids[: whole + 1]:
            key = node, hash_id
            node = self._nodes.setdefault(key, len(self._nodes) + 1)
            if node == len(self._passing):
                self._passing.append(0)
            nodes.append(node)
        if len(nodes) > whole:
            return _Path(nodes[:whole], nodes[whole])
        return _Path(nodes, None)
