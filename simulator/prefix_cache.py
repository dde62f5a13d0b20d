"""Which leading blocks of a prompt an engine has computed before.

The key of a block covers every token before it too, so that equal keys mean equal prefixes.
"""

from collections import OrderedDict
from collections.abc import Sequence
from hashlib import blake2b

#: Tokens of a block, unless another number is given.
BLOCK_TOKENS = 16
#: Which block is forgotten first: the least recently used one, or the one that was computed first.
EVICTIONS = ("lru", "fifo")


def block_keys(tokens: Sequence[str], block_tokens: int = BLOCK_TOKENS) -> tuple[bytes, ...]:
    """The key of every full block of `tokens`, first block first."""
    keys: list[bytes] = []
    parent = b""
    for end in range(block_tokens, len(tokens) + 1, block_tokens):
        # The separator keeps ("ab", "c") and ("a", "bc") apart; no token contains it.
        block = "\x1f".join(tokens[end - block_tokens : end]).encode("utf-8", "surrogatepass")
        parent = blake2b(parent + block, digest_size=8).digest()
        keys.append(parent)
    return tuple(keys)


class PrefixCache:
    """At most `capacity_blocks` blocks, of which those are kept that `eviction` leaves; 0 caches nothing."""

    def __init__(self, capacity_blocks: int, eviction: str = "lru") -> None:
        """eviction: one of EVICTIONS."""
        self._capacity_blocks = capacity_blocks
        self._moves_used = eviction == "lru"
        self._blocks: OrderedDict[bytes, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._blocks)

    def match(self, keys: Sequence[bytes]) -> int:
        """How many leading blocks of `keys` are cached; with `lru`, using them makes them recent."""
        found = 0
        while found < len(keys) and keys[found] in self._blocks:
            found += 1
        self._touch(keys[:found])
        return found

    def insert(self, keys: Sequence[bytes]) -> None:
        """Remember `keys`, the blocks of one prompt in order, and forget others beyond capacity."""
        self._touch(keys)
        while len(self._blocks) > self._capacity_blocks:
            self._blocks.popitem(last=False)

    def clear(self) -> None:
        """Forget all blocks."""
        self._blocks.clear()

    def _touch(self, keys: Sequence[bytes]) -> None:
        # Last block first: a prompt then loses its tail before its head, and what is left of it stays usable.
        for key in reversed(keys):
            self._blocks[key] = None
            if self._moves_used:
                self._blocks.move_to_end(key)
