"""Random numbers as a pure function of (seed, stream, index): any process draws the same ones for request `index`."""

from __future__ import annotations

from hashlib import blake2b

_BITS = 53


def random_bits(seed: str, stream: str, index: int, bits: int = 64) -> int:
    """A whole number of so many bits (a multiple of 8, at most 512). Different streams are independent."""
    key = f"{seed}\0{stream}\0{index}".encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(key, digest_size=bits // 8).digest(), "big")


def uniform(seed: str, stream: str, index: int) -> float:
    """A number between 0 and 1, both excluded."""
    return ((random_bits(seed, stream, index) >> (64 - _BITS)) + 0.5) / (1 << _BITS)
