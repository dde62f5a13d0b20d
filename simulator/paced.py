"""A server that writes every token when it is due, and logs what it did: what clients are measured against.

    python -m tokenswarm.simulator.paced --log server.csv

Each stream gets its first token TTFT_MS after its request, the others at TOKENS_PER_S from then on, by a schedule that
lateness does not move. The simulator proper is no such server: it models an engine's steps, so it writes the tokens of
all streams in one go, and the last of a thousand is due when the first is. Here the streams' phases are spread over one
token's time, and the bytes are rendered beforehand, so that it can be on time at 40,000 tokens/s. What is no POST gets
a 404, and no row in the log.

With --in-step the tokens of all streams are due together, once in a token's time, as those of a batch are: the first of
a stream at the first such time that is TTFT_MS after its request or later.

With --tls it speaks TLS, and what it logs are still the times of its own writes and the kernel's of what it receives.

It ends, and writes its log, when its standard input closes.
"""

from __future__ import annotations

import argparse
import gc
import resource
import select
import socket
import ssl
import struct
import sys
import time
from heapq import heappop, heappush
from pathlib import Path

import httptools

from tokenswarm.simulator.paced_answers import HEAD, RenderedAnswers
from tokenswarm.simulator.paced_log import Served, write_server_log
from tokenswarm.simulator.paced_tls import ServerTls, server_context

#: Of the shortest and the longest answer.
ANSWER_TOKENS = (32, 160)
TOKENS_PER_S = 40.0
TTFT_MS = 200.0

_SO_TIMESTAMPNS = 35  # Linux's number; Python has no name for it
_TIMESPEC = struct.Struct("@qq")
_NOTHING_ELSE = b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"
_READ_BYTES = 65_536
_BACKLOG = 1024
_TOKENS_AT_ONCE = 32
_UNDISTURBED_NS = 20_000
# Its multiples, modulo 1, fill the unit interval evenly, however many there are.
_GOLDEN = 0.6180339887498949


class Stream:
    """One answer under way."""

    __slots__ = (
        *("connection", "number", "request_id", "wire_ns", "begin_ns", "tokens", "produced"),
        *("first_ns", "last_ns", "gap_max_ns", "late_max_ns", "outcome"),
    )

    def __init__(self, connection: PacedConnection, number: int, begin_ns: int, tokens: int) -> None:
        self.connection = connection
        self.number = number
        self.request_id = connection.request_id
        self.wire_ns = connection.wire_ns
        self.begin_ns = begin_ns
        self.tokens = tokens
        self.produced = self.first_ns = self.last_ns = self.gap_max_ns = self.late_max_ns = 0
        self.outcome = "cut"

    def served(self) -> Served:
        return Served(
            *(self.number, self.request_id, self.wire_ns, self.first_ns, self.last_ns, self.produced),
            *(self.gap_max_ns, self.late_max_ns, self.outcome),
        )


class PacedConnection:
    """A client's connection: the parser's callbacks leave the request's head here."""

    def __init__(self, sock: socket.socket, tls: ServerTls | None) -> None:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = sock
        self.stream: Stream | None = None
        self.requested = False
        self.request_id = ""
        self.wire_ns = 0
        self._parser = httptools.HttpRequestParser(self)
        self._tls = tls

    def read(self) -> bool:
        """Take what has come; False when the client is gone, or sends no HTTP."""
        try:
            data, ancillary, _, _ = self.sock.recvmsg(_READ_BYTES, 64)
            self.wire_ns = _received_ns(ancillary)
            self._parser.feed_data(self._decrypted(data) if self._tls else data)
        except BlockingIOError:
            return True
        except (OSError, httptools.HttpParserError):  # ssl.SSLError is an OSError
            return False
        return bool(data)

    def _decrypted(self, data: bytes) -> bytes:
        assert self._tls is not None
        plaintext = self._tls.decrypt(data)
        if answer := self._tls.to_send():
            self.sock.send(answer)
        return plaintext

    def send(self, data: bytes) -> bool:
        """Whether the kernel took all of it. Raises OSError."""
        if self._tls is not None:
            data = self._tls.encrypt(data)
        return self.sock.send(data) == len(data)

    def on_message_begin(self) -> None:
        self.request_id = ""

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"x-request-id":
            self.request_id = value.decode("ascii", "replace")

    def on_message_complete(self) -> None:
        if self._parser.get_method() == b"POST":
            self.requested = True
        else:
            self.send(_NOTHING_ELSE)


def _received_ns(ancillary: list[tuple[int, int, bytes]]) -> int:
    """The kernel's receive time on the monotonic clock; now, where it gave none."""
    for level, kind, value in ancillary:
        if level == socket.SOL_SOCKET and kind == _SO_TIMESTAMPNS:
            seconds: int
            nanoseconds: int
            seconds, nanoseconds = _TIMESPEC.unpack(value[: _TIMESPEC.size])
            return seconds * 1_000_000_000 + nanoseconds - _real_ahead_ns()
    return time.perf_counter_ns()


def _real_ahead_ns() -> int:
    """CLOCK_REALTIME − CLOCK_MONOTONIC. Read again if this process was suspended in between: that would be taken for
    the request's journey."""
    while True:
        before_ns = time.perf_counter_ns()
        real_ns = time.time_ns()
        after_ns = time.perf_counter_ns()
        if after_ns - before_ns < _UNDISTURBED_NS:
            return real_ns - (before_ns + after_ns) // 2


class PacedTokenServer:
    """One thread, one epoll, one heap of what is due."""

    def __init__(
        self,
        answers: RenderedAnswers,
        tokens_per_s: float,
        ttft_ms: float,
        tls: ssl.SSLContext | None = None,
        *,
        in_step: bool = False,
    ) -> None:
        self._answers = answers
        self._tls = tls
        self._in_step = in_step
        self._period_ns = round(1e9 / tokens_per_s)
        self._ttft_ns = round(ttft_ms * 1e6)
        self._due: list[tuple[int, int, Stream]] = []
        self._connections: dict[int, PacedConnection] = {}
        self._streams = 0
        self.served: list[Served] = []
        self._epoll = select.epoll()
        self._listener = socket.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)  # accepted connections inherit it
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen(_BACKLOG)
        self._listener.setblocking(False)
        self._epoll.register(self._listener, select.EPOLLIN)

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self._listener.getsockname()[1]}"

    def serve(self, until_closed: int) -> None:
        """Serve until the file of that descriptor closes; what is still being answered is logged as cut."""
        self._epoll.register(until_closed, select.EPOLLIN | select.EPOLLHUP)
        listener = self._listener.fileno()
        while True:
            for fileno, _ in self._ready():
                if fileno == listener:
                    self._accept()
                elif fileno == until_closed:
                    self._end()
                    return
                elif fileno in self._connections:
                    self._take(self._connections[fileno])
            self._write_due()

    def _ready(self) -> list[tuple[int, int]]:
        """What can be read, waiting until the next token is due. epoll alone counts in whole milliseconds."""
        wait_s = (self._due[0][0] - time.perf_counter_ns()) / 1e9 if self._due else None
        if wait_s is None or wait_s > 0:
            select.select([self._epoll], [], [], wait_s)
        return self._epoll.poll(0)

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self._connections[sock.fileno()] = PacedConnection(sock, ServerTls(self._tls) if self._tls else None)
            self._epoll.register(sock, select.EPOLLIN)

    def _take(self, connection: PacedConnection) -> None:
        if not connection.read():
            self._drop(connection, "client_gone")
        elif connection.requested:
            connection.requested = False
            self._begin(connection)

    def _begin(self, connection: PacedConnection) -> None:
        number = self._streams
        self._streams += 1
        begin_ns = connection.wire_ns + self._ttft_ns
        if self._in_step:
            begin_ns += -begin_ns % self._period_ns
        else:
            begin_ns += round(number * _GOLDEN % 1 * self._period_ns)
        stream = Stream(connection, number, begin_ns, self._answers.tokens(number))
        connection.stream = stream
        connection.send(HEAD)
        heappush(self._due, (stream.begin_ns, number, stream))

    def _write_due(self) -> None:
        """A few at a time, so that requests are not left waiting behind a long queue of tokens."""
        for _ in range(_TOKENS_AT_ONCE):
            if not self._due or self._due[0][0] > time.perf_counter_ns():
                return
            due_ns, number, stream = heappop(self._due)
            if stream.connection.stream is stream and self._write(stream, due_ns):
                heappush(self._due, (stream.begin_ns + stream.produced * self._period_ns, number, stream))

    def _write(self, stream: Stream, due_ns: int) -> bool:
        """Write the next token; whether there are more."""
        last = stream.produced == stream.tokens - 1
        data = self._answers.endings[stream.tokens] if last else self._answers.writes[stream.produced]
        before_ns = time.perf_counter_ns()
        try:
            whole = stream.connection.send(data)
        except OSError:
            whole = False
        if not whole:  # an answer is far smaller than the kernel's buffers: whoever does not take it is broken
            self._drop(stream.connection, "client_gone")
            return False
        late_ns = time.perf_counter_ns() - due_ns
        if stream.produced == 0:
            stream.first_ns = before_ns
        elif before_ns - stream.last_ns > stream.gap_max_ns:
            stream.gap_max_ns = before_ns - stream.last_ns
        stream.last_ns = before_ns
        stream.late_max_ns = max(stream.late_max_ns, late_ns)
        stream.produced += 1
        if last:
            self._log(stream, "ok")
        return not last

    def _log(self, stream: Stream, outcome: str) -> None:
        stream.outcome = outcome
        stream.connection.stream = None
        self.served.append(stream.served())

    def _drop(self, connection: PacedConnection, outcome: str) -> None:
        if connection.stream is not None:
            self._log(connection.stream, outcome)
        del self._connections[connection.sock.fileno()]
        self._epoll.unregister(connection.sock)
        connection.sock.close()

    def _end(self) -> None:
        for connection in list(self._connections.values()):
            self._drop(connection, "cut")
        self._listener.close()


def main() -> None:
    program = "python -m tokenswarm.simulator.paced"
    parser = argparse.ArgumentParser(allow_abbrev=False, prog=program, description=__doc__)
    parser.add_argument("--log", type=Path, required=True, help="CSV file, a row a request")
    parser.add_argument(
        "--tokens", type=int, nargs=2, default=ANSWER_TOKENS, help="of the shortest and the longest answer"
    )
    parser.add_argument("--tokens-per-s", type=float, default=TOKENS_PER_S, help="of each stream")
    parser.add_argument("--ttft-ms", type=float, default=TTFT_MS)
    parser.add_argument("--in-step", action="store_true", help="the tokens of all streams are due together")
    parser.add_argument("--tls", type=Path, metavar="PEM", help="file of a key and its certificate: speak TLS")
    args = parser.parse_args()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    tls = server_context(args.tls) if args.tls else None
    answers = RenderedAnswers(*args.tokens)
    server = PacedTokenServer(answers, args.tokens_per_s, args.ttft_ms, tls, in_step=args.in_step)
    print(f"paced server listening on {server.url}", flush=True)
    gc.freeze()
    gc.disable()  # a collection would be lateness
    server.serve(sys.stdin.fileno())
    write_server_log(args.log, server.served)


if __name__ == "__main__":
    main()
