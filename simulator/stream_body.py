"""The body of a streamed answer on its way out: the head before it, HTTP chunks, and its end."""

import random
import sys
from collections.abc import Mapping

from tokenswarm.simulator.connection import LAST_CHUNK, Request, ServerConnection, chunk, head
from tokenswarm.simulator.dialect import EngineTraits
from tokenswarm.simulator.faults import Faults

_COMMENT = b":\n\n"
_DONE = b"[DONE]"


class StreamBody:
    """Writes the events of one answer to its connection. head_sent: whether the head is out."""

    def __init__(
        self, connection: ServerConnection, request: Request, traits: EngineTraits, number: int, faults: Faults
    ) -> None:
        """Of the faults, rechunk, gather and no_done are followed here; `number` seeds where the body is cut."""
        self._connection = connection
        self._traits = traits
        self._chunked = request.version != "1.0"
        self._keep_alive = request.keep_alive
        self._rechunk = faults.rechunk if self._chunked else None
        self._gather = faults.gather or sys.maxsize
        self._no_done = faults.no_done
        self._cuts = random.Random(number)
        self._gathered: list[bytes] = []
        self._outputs = 0  # among them
        self.headers: Mapping[str, str] = {}
        self.head_sent = False

    def send_head(self) -> None:
        """Send the status line and headers, unless they are out."""
        if self.head_sent:
            return
        self.head_sent = True
        headers = {"content-type": self._traits.stream_content_type, **self._traits.headers, **self.headers}
        if self._chunked:
            headers["transfer-encoding"] = "chunked"
        # An engine that closes its connection after a stream does not announce it.
        self._connection.write(head(200, headers, self._keep_alive))

    def send(self, event: bytes, is_output: bool = True) -> bool:
        """Send an event, the head before it, or gather it; nothing for no bytes. Whether everything is out."""
        if event:
            self._gathered.append(event)
            self._outputs += is_output
        if self._gathered and (self._outputs >= self._gather or self._gather == 1):
            self.flush()
        return not self._gathered

    def flush(self) -> None:
        """Send what is gathered."""
        gathered, self._gathered, self._outputs = self._gathered, [], 0
        if gathered:
            self.send_head()
            self._connection.write(b"".join(map(self._frame, gathered)))

    def send_comment(self) -> None:
        """Send a comment, if the head is out."""
        if self.head_sent:
            self._connection.write(self._frame(_COMMENT))

    def end(self, events: list[bytes]) -> None:
        """Send what is gathered, the last events, and what ends the body."""
        self.send_head()
        left = [event for event in events if event and not (self._no_done and event.rstrip().endswith(_DONE))]
        frames = b"".join(map(self._frame, [*self._gathered, *left]))
        self._gathered = []
        self._connection.write(frames + (LAST_CHUNK if self._chunked else b""))

    def _frame(self, event: bytes) -> bytes:
        if self._rechunk is None:
            return chunk(event) if self._chunked else event
        return b"".join(map(chunk, _cut(event, self._rechunk, self._cuts)))


def _cut(data: bytes, most: int, source: random.Random) -> list[bytes]:
    """`data` in pieces of 1 to `most` bytes."""
    pieces, start = [], 0
    while start < len(data):
        end = start + source.randint(1, most)
        pieces.append(data[start:end])
        start = end
    return pieces
