"""A synthetic picture as a PNG file whose first pixels can be replaced at almost no cost.

Everything is compressed and encoded once, but for the first row of pixels, which is stored as it is: a picture with
other first pixels needs that row, one checksum before it and one at the end, and is another picture to whoever decodes
it (PNG, RFC 2083; zlib and deflate, RFC 1950 and 1951).
"""

from __future__ import annotations

import random
import zlib
from base64 import b64encode
from collections.abc import Iterable
from itertools import chain, repeat

#: Of a mark, which is repeated in the first pixels so that it survives a server's resizing.
MARK_BYTES = 6
_MARK_REPEATS = 8
#: The least width: the pixels that marks take.
LEAST_SIDE = MARK_BYTES * _MARK_REPEATS // 3
#: Rows are one stored block of deflate each, of at most 65,535 bytes.
MOST_SIDE = 4096
#: Pictures are squares of one colour each, of so many pixels a side: not uniform, and not as large as noise.
_SQUARE = 16
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_ZLIB_HEAD = b"\x78\x9c"
_ADLER_BASE = 65521


class MarkedPng:
    """size_bytes: of the file."""

    def __init__(self, width: int, height: int, seed: str) -> None:
        """width, height: in pixels, from LEAST_SIDE to MOST_SIDE. seed: the same one gives the same colours."""
        colours = random.Random(seed)
        head = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([8, 2, 0, 0, 0])  # 8 bits each of RGB
        self._before = _SIGNATURE + _chunk(b"IHDR", head)
        rows = (_row(colours, width) for _ in range(0, height, _SQUARE))
        self._first_row = next(rows)
        rest, self._rest_adler, self._rest_bytes = _compressed(self._first_row, rows, height)
        middle = _chunk(b"IDAT", rest)
        # Base64 takes three bytes at a time: what is encoded once begins and ends at such a boundary.
        first = len(self._marked_start(b"")) % 3
        start = (3 - first) % 3
        whole = start + (len(middle) - start) // 3 * 3
        self._joint, self._left_over = middle[:start], middle[whole:]
        self._middle = b64encode(middle[start:whole])
        self.size_bytes = len(self._marked_start(b"")) + len(middle) + len(self._end(b""))

    def base64(self, mark: bytes = b"") -> bytes:
        """The file. mark: MARK_BYTES bytes of the first pixels; b"": as the seed has them."""
        return (
            b64encode(self._marked_start(mark) + self._joint)
            + self._middle
            + b64encode(self._left_over + self._end(mark))
        )

    def _marked_start(self, mark: bytes) -> bytes:
        row = self._row_with(mark)
        size = len(row).to_bytes(2, "little")
        stored = b"\0" + size + bytes(0xFF ^ byte for byte in size) + row
        return self._before + _chunk(b"IDAT", _ZLIB_HEAD + stored)

    def _end(self, mark: bytes) -> bytes:
        adler = _adler_of_both(zlib.adler32(self._row_with(mark)), self._rest_adler, self._rest_bytes)
        return _chunk(b"IDAT", adler.to_bytes(4, "big")) + _chunk(b"IEND", b"")

    def _row_with(self, mark: bytes) -> bytes:
        pixels = mark * _MARK_REPEATS
        return self._first_row[:1] + pixels + self._first_row[1 + len(pixels) :]


def _chunk(kind: bytes, data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")


def _row(colours: random.Random, width: int) -> bytes:
    """A row of pixels behind the byte that says that they are not filtered."""
    squares = (colours.randbytes(3) * _SQUARE for _ in range(0, width, _SQUARE))
    return b"\0" + b"".join(squares)[: 3 * width]


def _compressed(first_row: bytes, other_rows: Iterable[bytes], height: int) -> tuple[bytes, int, int]:
    """All rows but the first: compressed, their Adler-32 and how many bytes they are. Each row is repeated for the
    height of a square."""
    deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    adler, size, left, pieces = 1, 0, height - 1, []
    for row, repeats in chain([(first_row, _SQUARE - 1)], zip(other_rows, repeat(_SQUARE))):
        data = row * min(repeats, left)
        left -= min(repeats, left)
        adler, size = zlib.adler32(data, adler), size + len(data)
        pieces.append(deflate.compress(data))
    return b"".join(pieces) + deflate.flush(), adler, size


def _adler_of_both(first: int, second: int, second_bytes: int) -> int:
    """The Adler-32 of two texts in a row, from those of each and the length of the second."""
    low = first & 0xFFFF
    sums = (low + (second & 0xFFFF) - 1) % _ADLER_BASE
    sums_of_sums = ((first >> 16) + (second >> 16) + second_bytes * (low - 1)) % _ADLER_BASE
    return sums_of_sums << 16 | sums
