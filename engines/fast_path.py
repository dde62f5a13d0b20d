"""Events that differ from one before them in their text alone, which is what an answer is made of.

Reading JSON costs a client more per token than anything else. Once an event has been read properly, it is known where
its text stands; the next one with the same bytes before and behind needs no reading but of what is in between.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import msgspec

from tokenswarm.engines.engine_spec import Delta, TokenBatch
from tokenswarm.engines.sse import END, PLAIN, plain_events

#: Between quotes, these are not what they stand for, or end the text.
_special = re.compile(rb'["\\\x00-\x1f]').search
_text = msgspec.json.Decoder(str).decode
#: An event that nothing resembles costs a second reading: so many in a row are looked into, then no more of the stream.
_TRIES = 3


def _texts_of(raw: list[bytes]) -> list[bytes]:
    """What these mean between quotes; nothing unless each is a text there, and not an empty one."""
    if not all(raw):
        return []
    together = b"".join(raw)
    if together.isascii() and not _special(together):
        return raw
    try:
        return [_text(b'"%b"' % text).encode() for text in raw]
    except (msgspec.DecodeError, UnicodeError):
        return []


class EventTemplate:
    """One stream's template. It reads bytes as `decode` reads their events, and returns None where they do not fit."""

    __slots__ = ("_before", "_behind", "_decode", "_reasoning", "_tries")

    def __init__(self, decode: Callable[[bytes], Delta]) -> None:
        """`decode` reads an event's data, or raises as msgspec does. What it says may depend on nothing else."""
        self._decode = decode
        self._before = self._behind = b""
        self._reasoning = False
        self._tries = _TRIES

    def read(self, data: bytes) -> list[Delta] | None:
        """Deltas of these bytes, which begin where an event does, if they are whole events like the one learned."""
        texts = self._texts(self._raw_texts(data))
        if not texts:
            return None
        return [Delta("", text.decode()) if self._reasoning else Delta(text.decode()) for text in texts]

    def outputs_of_each(self, datas: Sequence[bytes]) -> TokenBatch:
        """The outputs of the first of these, as long as each is whole events like the one learned."""
        fitting = len(datas)
        while fitting and not self._fits(datas[fitting - 1]):  # as where a stream ends
            fitting -= 1
        if not fitting:
            return TokenBatch([], self._reasoning, [])
        datas = datas[:fitting]
        raw = self._raw_texts(b"".join(datas))
        around = len(self._before) + len(self._behind)
        of_each = [1] * len(raw)
        if [len(text) + around for text in raw] != [*map(len, datas)]:
            # Not one each; but there is no blank line other than behind an event.
            of_each = [data.count(END) for data in datas if data.endswith(END)]
        if len(of_each) == len(datas) and sum(of_each) == len(raw) and (texts := self._texts(raw)):
            return TokenBatch(texts, self._reasoning, of_each)
        outputs, of_each = [], []
        for data in datas if len(datas) > 1 else ():
            texts = self._texts(self._raw_texts(data))
            if not texts:
                break
            outputs += texts
            of_each.append(len(texts))
        return TokenBatch(outputs, self._reasoning, of_each)

    def _raw_texts(self, data: bytes) -> list[bytes]:
        if not self._fits(data):
            return []
        before, behind = self._before, self._behind
        return data[len(before) : -len(behind)].split(behind + before)

    def _fits(self, data: bytes) -> bool:
        """Whether these bytes begin and end as the event learned."""
        return self._before != b"" and data.startswith(self._before) and data.endswith(self._behind)

    def _texts(self, raw: list[bytes]) -> list[bytes]:
        texts = _texts_of(raw)
        if texts:
            self._tries = _TRIES
        return texts

    def learn(self, data: bytes, delta: Delta) -> None:
        """These bytes began where an event does, and the last event in them was read as `delta`."""
        text = delta.text or delta.reasoning
        if not self._tries or not text or delta not in (Delta(text), Delta("", text)):
            return
        self._tries -= 1
        payloads = plain_events(data)
        quoted = b'"' + text.encode() + b'"'
        if payloads is None or (at := payloads[-1].find(quoted)) < 0:
            return
        before, behind = payloads[-1][: at + 1], payloads[-1][at + len(quoted) - 1 :]
        # The same characters may stand elsewhere too, as a comma does between two strings. They are the text if others
        # in their place are read as such.
        reasoning, other = not delta.text, text + "~"
        try:
            read = self._decode(before + other.encode() + behind)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
            return
        if read == (Delta("", other) if reasoning else Delta(other)):
            self._before, self._behind, self._reasoning = PLAIN + before, behind + END, reasoning
