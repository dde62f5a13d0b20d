"""What decoders of one JSON document an event, or a line, have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Generic, Protocol, TypeVar

import msgspec

from tokenswarm.engines import sse
from tokenswarm.engines.engine_spec import EMPTY_BATCH, Delta, StreamBroken, TokenBatch

Document = TypeVar("Document")


class Splitter(Protocol):
    """Cuts bytes into events."""

    def feed(self, data: bytes) -> Iterable[bytes]:
        """The events that these bytes complete."""
        ...

    @property
    def pending(self) -> bytes:
        """The beginning of an event whose end has not come."""
        ...


class LineSplitter:
    """Newline-delimited JSON: each line that is not blank is an event."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._pending_bytes = 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The lines that these bytes complete. Raises StreamBroken for an endless one."""
        *whole, rest = data.split(b"\n")
        if whole:
            whole[0] = self.pending + whole[0]
            self._pieces.clear()
            self._pending_bytes = 0
        self._pieces.append(rest)
        self._pending_bytes += len(rest)
        for line in whole:
            _check_length(len(line))
            if stripped := line.strip():
                yield stripped
        _check_length(self._pending_bytes)

    @property
    def pending(self) -> bytes:
        """The beginning of a line whose end has not come."""
        return b"".join(self._pieces)


def _check_length(line_bytes: int) -> None:
    if line_bytes > sse.MAX_EVENT_BYTES:
        raise StreamBroken(f"a line is longer than {sse.MAX_EVENT_BYTES} bytes")


class DocumentDecoder(ABC, Generic[Document]):
    """Deltas of a stream of JSON documents. A subclass reads one (`_delta`), and says what the body's end is."""

    def __init__(self, splitter: Splitter, read: Callable[[bytes], Document]) -> None:
        self._splitter = splitter
        self._read = read
        self._seen = 0
        self._broken: StreamBroken | None = None

    def feed(self, data: bytes) -> list[Delta]:
        """Deltas of the events that these bytes complete. Raises StreamBroken; where good events came first in the same
        bytes, only at the next call, as what is read shall not depend on how the bytes were cut."""
        self._check()
        deltas: list[Delta] = []
        try:
            for event in self._splitter.feed(data):
                deltas.append(self._delta_of(event))  # noqa: PERF401 - those before a broken event are kept
        except StreamBroken as broken:
            self._broken = broken
            if not deltas:
                raise
        return deltas

    def decode_batch(self, _: Sequence[bytes]) -> TokenBatch:
        """See StreamDecoder."""
        return EMPTY_BATCH

    def end(self) -> list[Delta]:
        """What the end of the body means. Raises StreamBroken where it ended inside an event."""
        self._check()
        rest = self._splitter.pending
        if all(line.startswith(b":") or not line.strip() for line in rest.split(b"\n")):
            return self._at_end()
        try:
            leftover = [self._delta_of(event) for event in self._splitter.feed(b"\n\n")]
        except StreamBroken:
            leftover = []
        # The last event is whole even where the line end behind it is missing.
        if leftover and (leftover[-1].done or leftover[-1].error is not None):
            return leftover
        raise StreamBroken(f"the stream ended inside an event: {rest.strip()[:60]!r}")

    @property
    def skipped_events(self) -> int:
        """See StreamDecoder."""
        return 0  # what has a name of no known event is an event without output

    @abstractmethod
    def _delta(self, document: Document) -> Delta:
        """What one event added. Raises StreamBroken."""

    def _at_end(self) -> list[Delta]:
        """What the end of a body that ended between events adds: nothing, unless the dialect promises no other end."""
        return []

    def _check(self) -> None:
        if self._broken is not None:
            raise self._broken

    def _delta_of(self, event: bytes) -> Delta:
        self._seen += 1
        try:
            return self._delta(self._read(event))
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            start = event[:80].decode("utf-8", "replace")
            raise StreamBroken(f"event {self._seen} cannot be read: {error}: {start!r}") from None
