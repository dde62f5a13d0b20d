"""Damaged streams of every dialect, from a seed: what a broken server, proxy or network could send.

A case is a whole HTTP response. It begins as a stream that a server sends (tests/engines/streams.py, tests/captures),
is damaged in its body, framed, and damaged again in its framing.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import NamedTuple

from tests.engines.streams import STREAMS

CAPTURES = Path(__file__).resolve().parents[1] / "captures"
_LONGEST_BODY = 6000
_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
_ODD_TEXT = [
    b"\xff",
    b"\xc3",
    b"\xed\xa0\x80",  # half of a surrogate pair
    b"\xf4\x90\x80\x80",  # above U+10FFFF
    b"\xc0\xaf",  # longer than it has to be
    b"\xef\xbb\xbf",  # a byte order mark
    "\u2028\u0085\u202e\U0001f41d".encode(),
    b"\x00",
    b"\x0b\x0c\x1c",
    b"\\ud83d",
    b"\\u0000",
]
_LINES = [
    b"\n",
    b"\r",
    b"\r\n",
    b"\n\n",
    b"\n\n\n",
    b"\r\n\r\n",
    b": a comment\n\n",
    b"event: error\n",
    b"data:",
    b"data\n\n",
    b"data: [DONE]\n\n",
    b"data: \n\n",
    b"id: 1\nretry: 5\n",
    b'data: {"error":{"message":"out of memory"}}\n\n',
    b'data: {"error":',
    b"0\r\n\r\n",
]
_VALUES = [
    b"null",
    b"-1",
    b"1e400",
    b"9" * 400,
    b"[]",
    b"{}",
    b'""',
    b"true",
    b"[[[[1]]]]",
    b'{"message":["x"]}',
]


class Case(NamedTuple):
    """A response to an engine's request. closes: whether the end of the connection follows, or a reset of it."""

    engine: str
    response: bytes


def _originals() -> list[tuple[str, bytes]]:
    """(engine, body of a stream)."""
    streams = [(str(param.values[0]), bytes(param.values[1])) for param in STREAMS]  # type: ignore[arg-type]
    for path in sorted(CAPTURES.glob("*/*stream*.raw")):
        head, _, body = path.read_bytes().partition(b"\r\n\r\n")
        if head.startswith(b"HTTP/1.1 200"):
            body = b"".join(body.split(b"\r\n")[1::2]) if b"chunked" in head.lower() else body
            streams.append((path.parent.name, body[:_LONGEST_BODY]))
    return streams


ORIGINALS = _originals()


def _place(random: Random, data: bytes) -> int:
    """Anywhere, or, as often, where a line ends or a value begins."""
    if random.random() < 0.5:
        around = random.choice((b"\n", b'"', b":", b"{", b"\r\n"))
        if (found := data.find(around, random.randrange(len(data) + 1))) >= 0:
            return found + random.choice((0, len(around)))
    return random.randrange(len(data) + 1)


def _span(random: Random, data: bytes) -> tuple[int, int]:
    begin = _place(random, data)
    return begin, min(len(data), begin + int(random.expovariate(1 / 40)) + 1)


def _flip(random: Random, data: bytes) -> bytes:
    if not data:
        return data
    at = min(_place(random, data), len(data) - 1)
    return data[:at] + bytes([data[at] ^ 1 << random.randrange(8)]) + data[at + 1 :]


def _replace(random: Random, data: bytes) -> bytes:
    begin, end = _span(random, data)
    return data[:begin] + random.randbytes(random.randrange(4)) + data[end:]


def _delete(random: Random, data: bytes) -> bytes:
    begin, end = _span(random, data)
    return data[:begin] + data[end:]


def _duplicate(random: Random, data: bytes) -> bytes:
    begin, end = _span(random, data)
    return data[:end] + data[begin:end] * random.randrange(1, 4) + data[end:]


def _truncate(random: Random, data: bytes) -> bytes:
    return data[: _place(random, data)]


def _splice(random: Random, data: bytes) -> bytes:
    _, other = random.choice(ORIGINALS)
    begin, end = _span(random, other)
    at = _place(random, data)
    return data[:at] + other[begin : end + random.randrange(400)] + data[random.choice((at, _place(random, data))) :]


def _insert(pieces: list[bytes]) -> Callable[[Random, bytes], bytes]:
    def insert(random: Random, data: bytes) -> bytes:
        at = _place(random, data)
        return data[:at] + random.choice(pieces) * random.choice((1, 1, 1, 2, 5)) + data[at:]

    return insert


def _swap_value(random: Random, data: bytes) -> bytes:
    """Another value behind a colon."""
    at = data.find(b":", _place(random, data)) + 1
    ends = [end for end in (data.find(mark, at) for mark in (b",", b"}", b"\n")) if end >= 0]
    return data[:at] + random.choice(_VALUES) + data[min(ends, default=len(data)) :]


def _nest(random: Random, data: bytes) -> bytes:
    """A value that is nested deeply."""
    at = data.find(b":", _place(random, data)) + 1
    depth = random.choice((3, 50, 240, 1100))
    open_, close = random.choice(((b"[", b"]"), (b'{"error":', b"}"), (b'{"message":[', b"]}")))
    return data[:at] + open_ * depth + b"1" + close * random.choice((depth, 0)) + data[at:]


def _nest_an_error(random: Random, data: bytes) -> bytes:
    """An error report that is nested deeply, as an event or a line of its own."""
    depth = random.randrange(1, 1100)
    open_, close = random.choice(((b"[", b"]"), (b'{"error":', b"}"), (b'{"message":', b"}"), (b'[{"detail":', b"}]")))
    event = b'{"type":"error","error":' + open_ * depth + b'"deep"' + close * depth + b"}"
    at = data.find(b"data: ", random.randrange(len(data) + 1)) if b"data: " in data else data.find(b"\n") + 1
    return (
        data[: max(0, at)] + (b"data: " + event + b"\n\n" if b"data: " in data else event + b"\n") + data[max(0, at) :]
    )


#: The fields that hold a piece of the answer, in any dialect.
_TEXTS = re.compile(rb'("(?:content|text|response|generated_text|text_output)": ?)"(?:[^"\\]|\\.)*"')

_FINISH_REASONS = re.compile(rb'("(?:finish_reason|done_reason|stop_type)": ?)"[a-z_]+"')


def _lengthen(random: Random, data: bytes) -> bytes:
    """A field that is longer than a read."""
    at = _place(random, data)
    return data[:at] + random.choice((b"x", b"\\u00e9", "é".encode(), b" ")) * random.choice((300, 5000)) + data[at:]


def _line_ends(random: Random, data: bytes) -> bytes:
    return data.replace(b"\n", random.choice((b"\r\n", b"\r")))


def _take_texts_out(_: Random, data: bytes) -> bytes:
    """A stream that ends as it should, but brings no text."""
    return _TEXTS.sub(rb'\1""', data)


def _change_finish_reason(random: Random, data: bytes) -> bytes:
    """A stream that ends for a reason that no server knows, or one that means it was given up."""
    return _FINISH_REASONS.sub(rb'\1"%b"' % random.choice((b"abort", b"error", b"unheard of", b"")), data)


_BODY_DAMAGE: list[Callable[[Random, bytes], bytes]] = [
    _flip,
    _replace,
    _delete,
    _duplicate,
    _truncate,
    _splice,
    _insert(_LINES),
    _insert(_ODD_TEXT),
    _swap_value,
    _line_ends,
] * 6 + [
    _nest,
    _nest_an_error,
    _lengthen,
    *[_take_texts_out, _change_finish_reason] * 3,
]
_FRAME_DAMAGE = [_flip, _replace, _delete, _duplicate, _truncate, _insert([*_LINES, b"5\r\n", b"fffffffff\r\n"])]


def _chunked(random: Random, body: bytes) -> bytes:
    """As many servers do it: a chunk for each event; or chunks of any size."""
    if random.random() < 0.6:
        separator = b"\n\n" if b"\n\n" in body else b"\n"
        chunks = [event + separator for event in body.split(separator)]
        chunks[-1] = chunks[-1].removesuffix(separator)
    else:
        size = random.randrange(1, 200)
        chunks = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks if chunk) + b"0\r\n\r\n"


def mutated(random: Random) -> Case:
    """A response that is damaged in some way, or, now and then, in none."""
    engine, body = random.choice(ORIGINALS)
    for _ in range(random.choice((0, 1, 1, 1, 2, 3))):
        body = random.choice(_BODY_DAMAGE)(random, body)
    if random.random() < 0.85:
        response = _HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + _chunked(random, body)
    else:
        length = random.choice((b"", b"Content-Length: %d\r\n" % max(0, len(body) + random.choice((0, 0, -3, 3)))))
        response = _HEAD + length + b"\r\n" + body
    if random.random() < 0.25:
        response = random.choice(_FRAME_DAMAGE)(random, response)
    return Case(engine, response)


def cut(random: Random, data: bytes) -> list[bytes]:
    """The same bytes in reads as a network may split them: a few, a read for each chunk, or single bytes."""
    kind = random.random()
    if kind < 0.45:
        places = {random.randrange(1, len(data)) for _ in range(random.randrange(1, 8))} if len(data) > 1 else set()
    elif kind < 0.9:  # where events and chunks end, and a byte beside
        ends = [at + random.choice((0, 0, 0, 0, 1, 2, 3)) for at in _ends(data)]
        places = {at for at in ends if 0 < at < len(data) and random.random() < 0.9}
    else:
        begin = random.randrange(len(data))
        places = set(range(max(1, begin), min(len(data), begin + 200)))
    bounds = [0, *sorted(places), len(data)]
    return [data[begin:end] for begin, end in pairwise(bounds)]


def _ends(data: bytes) -> list[int]:
    ends, at = [], 0
    while (at := data.find(b"\n", at) + 1) and len(ends) < 400:
        if data[at : at + 1] != b"\n":
            ends.append(at)
    return ends
