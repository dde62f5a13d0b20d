"""One request for text and its answer: what is written when a token is due, and what the books say of it."""

import random
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from simulator.batching import Job
from simulator.connection import LAST_CHUNK, Connection, Request, chunk, head, whole_response
from simulator.dialect import Ask, Dialect, Page, Usage, Writer
from simulator.faults import Faults
from simulator.figures import Figures
from simulator.tokens import Answer, Characters
from simulator.truth import Row

_COMMENT = b":\n\n"


class Desk(Protocol):
    """What an exchange needs of the server it belongs to."""

    dialect: Dialect
    faults: Faults
    figures: Figures

    def release(self, exchange: "Exchange") -> None:
        """Take an exchange out of the batch, if it is in it."""

    def ended(self, exchange: "Exchange", reason: str) -> None:
        """Note the end of an exchange: its finish reason, or the outcome that was none."""

    def later(self, delay_s: float, call: Callable[[], None]) -> None:
        """Call something after that time."""


class Exchange:
    """One request for text and its answer, from the last byte in to the last byte out."""

    def __init__(self, desk: Desk, connection: Connection, request: Request, number: int) -> None:
        self._desk = desk
        self.connection = connection
        self.request = request
        self.row = Row(
            id=number,
            t_accept_ns=request.accepted_ns,
            t_wire_ns=request.wire_ns,
            t_request_ns=request.read_ns,
            x_request_id=request.headers.get("x-request-id", ""),
        )
        self.open = True
        self.status = 200
        self.job: Job | None = None
        faults = desk.faults
        self._faults = faults
        self._habits = desk.dialect.habits
        self._chunked = request.version != "1.0"
        self._keep_alive = request.keep_alive
        self._held: list[str] = []
        self._strike_at, self._strike_outcome = faults.strikes_at(number, self._habits.breaks)
        self._is_plain = not (faults.split_characters or faults.empty_every)
        self._characters = Characters(self._habits.holds_characters) if faults.split_characters else None
        self._cuts = random.Random(number) if faults.rechunk and self._chunked else None
        self._head_sent = False
        self._role_sent = False
        self._stalled = False
        self._commented_ns = 0

    def refuse(self, page: Page) -> None:
        """Answer with an error page."""
        self.status = page.status
        self.connection.write(whole_response(page, self._habits.headers, self._keep_alive))
        self.end("http_error")

    def start(self, ask: Ask, answer: Answer, writer: Writer, job: Job, headers: dict[str, str]) -> None:
        """The engine has taken the request. `headers` are the answer's own, if it is a stream."""
        self._ask, self._answer, self._writer, self.job = ask, answer, writer, job
        self._headers = headers
        if not ask.stream:
            return
        faults, habits = self._faults, self._habits
        if habits.closes_after_stream:
            self._keep_alive = False
        if habits.head_at_once if faults.head_at_once is None else faults.head_at_once:
            self._send_head()
        early_ms = 0.0 if habits.role == "early" else None
        early_ms = early_ms if faults.role_early_ms is None else faults.role_early_ms
        if early_ms == 0:
            self.role()
        elif early_ms is not None:
            self._desk.later(early_ms / 1000, self.role)
        keep_alive_s = habits.keep_alive_s if faults.keep_alive_s is None else faults.keep_alive_s
        if keep_alive_s is not None:
            self._desk.later(keep_alive_s, lambda: self._comment(keep_alive_s))

    def role(self) -> None:
        """Send the role event, unless it is out already or there is none."""
        if self._role_sent or not self.open:
            return
        self._role_sent = True
        event = self._writer.opening()
        if event:
            self._send(event)
            self.row.t_role_ns = time.perf_counter_ns()

    def token(self, due_ns: int) -> None:
        """One more token of the answer, which was due at `due_ns`."""
        assert self.job is not None
        self._due_ns = due_ns
        position = self.job.produced
        word = self._answer.word(position - 1)
        self._held.append(word if self._is_plain else self._oddly(word, position))
        if position == self._strike_at:
            self._strike()
        elif position == self.job.wanted:
            self._finish()
        elif self._ask.stream and self._is_event_full():
            self._send_held()

    def _oddly(self, word: str, position: int) -> str:
        """The word as faults have it."""
        assert self.job is not None
        if self._characters is not None:
            word = self._characters.text(word, last=position == self.job.wanted)
        every = self._faults.empty_every
        return "" if every and position % every == 0 else word

    def gone(self) -> None:
        """The client has left."""
        self.end("stalled" if self._stalled else "client_gone")

    def shut(self) -> None:
        """The server goes down in mid-answer."""
        self.end("stalled" if self._stalled else "cut")

    def _send_head(self) -> None:
        self._head_sent = True
        headers = {"content-type": self._habits.stream_content_type, **self._habits.headers, **self._headers}
        if self._chunked:
            headers["transfer-encoding"] = "chunked"
        # A server that closes unasked says nothing of it beforehand.
        self.connection.write(head(200, headers, self.request.keep_alive))

    def _send(self, event: bytes) -> None:
        if event:
            if not self._head_sent:
                self._send_head()
            self.connection.write(self._frame(event))

    def _frame(self, event: bytes) -> bytes:
        if self._cuts is None:
            return chunk(event) if self._chunked else event
        return b"".join(map(chunk, _cut(event, self._faults.rechunk or 1, self._cuts)))

    def _send_end(self, events: list[bytes]) -> None:
        """Send the last events, and what ends the body."""
        if not self._head_sent:
            self._send_head()
        frames = b"".join(self._frame(event) for event in events if event)
        self.connection.write(frames + (LAST_CHUNK if self._chunked else b""))

    def _is_event_full(self) -> bool:
        assert self.job is not None
        return len(self._held) >= self._faults.per_chunk or self.job.produced == self._faults.reasoning_tokens

    def _send_held(self) -> None:
        if not self._role_sent:
            self.role()
        pieces = self._take()
        self._send(self._writer.tokens(pieces, self._is_reasoning()))
        self._wrote(pieces)

    def _take(self) -> list[str]:
        pieces = self._held
        self.row.tokens += len(pieces)
        self._held = []
        return pieces

    def _is_reasoning(self) -> bool:
        assert self.job is not None
        return self.job.produced <= self._faults.reasoning_tokens

    def _wrote(self, pieces: list[str]) -> None:
        now_ns = time.perf_counter_ns()
        row = self.row
        row.t_done_ns = now_ns
        row.late_max_us = max(row.late_max_us, (now_ns - self._due_ns) // 1000)
        if any(pieces):
            row.t_last_ns = now_ns
            if not row.t_first_ns:
                row.t_first_ns = now_ns
                self._desk.figures.ttft_s.add((now_ns - row.t_request_ns) / 1e9)

    def _finish(self) -> None:
        usage = self._usage()
        if self._ask.stream:
            self.role()
            pieces, reason = self._take(), self._answer.finish_reason
            self._send_end(self._writer.ending(pieces, self._is_reasoning(), reason, usage))
            self._wrote(pieces)
        else:
            self._write_whole(usage)
        self.row.tokens = usage.output_tokens
        self.end("ok")

    def _usage(self) -> Usage:
        job = self.job
        assert job is not None
        uncounted = self._answer.stopped and not self._habits.end_token_counts
        return Usage(
            prompt_tokens=job.prompt_tokens,
            cached_tokens=job.cached_tokens,
            output_tokens=job.wanted - uncounted,
            prompt_ns=job.first_ns - job.arrived_ns,
            output_ns=self._due_ns - job.first_ns,
        )

    def _write_whole(self, usage: Usage) -> None:
        split = self._faults.reasoning_tokens
        reasoning, content = "".join(self._held[:split]), "".join(self._held[split:])
        page = self._writer.whole(content, reasoning, self._answer.finish_reason, usage)
        self.connection.write(whole_response(page, {**self._habits.headers, **self._headers}, self._keep_alive))
        self._wrote(self._take())

    def _strike(self) -> None:
        outcome = self._strike_outcome
        if self._ask.stream:
            self._send_held()
        if outcome == "stalled":
            self._stalled = True
            self._desk.release(self)
        elif outcome == "cut":
            self.end("cut")
        elif not self._ask.stream:
            self.refuse(self._desk.dialect.internal_error())
        else:
            self._send_end(self._writer.failure() if outcome == "stream_error" else [])
            self.end(outcome)

    def _comment(self, after_s: float) -> None:
        """Send a comment if nothing went out for that long, and look again when that may next be so."""
        if not self.open:
            return
        now_ns = time.perf_counter_ns()
        silent_s = (now_ns - max(self.row.t_request_ns, self.row.t_done_ns, self._commented_ns)) / 1e9
        if silent_s >= after_s:
            if self._head_sent:
                self.connection.write(self._frame(_COMMENT))
            self._commented_ns, silent_s = now_ns, 0
        self._desk.later(after_s - silent_s, lambda: self._comment(after_s))

    def end(self, outcome: str) -> None:
        """Close the books of this request, once, and let its connection go on (or go)."""
        if not self.open:
            return
        self.open = False
        row = self.row
        row.outcome = outcome
        if self.job is not None:
            row.prompt_tokens, row.cached_tokens = self.job.prompt_tokens, self.job.cached_tokens
        if outcome != "ok":
            row.t_done_ns = time.perf_counter_ns()
        self._desk.release(self)
        self._desk.ended(self, self._answer.finish_reason if outcome == "ok" else outcome)
        if outcome == "cut":
            self.connection.close()
        else:
            self.connection.finished(self._keep_alive)


def asked_with(ask: Ask, usage: str) -> Ask:
    """The request as it would be if it had asked for usage in that way; see `faults.USAGES`."""
    if usage == "asked":
        return ask
    return replace(ask, include_usage=usage != "never", usage_in_every_event=usage == "every")


def _cut(data: bytes, most: int, source: random.Random) -> list[bytes]:
    """`data` in pieces of 1 to `most` bytes."""
    pieces, start = [], 0
    while start < len(data):
        end = start + source.randint(1, most)
        pieces.append(data[start:end])
        start = end
    return pieces
