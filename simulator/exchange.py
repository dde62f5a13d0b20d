"""One request for text and its answer: what is written when a token is due, and what the books say of it."""

import time
from typing import Protocol

from simulator.batching import Job
from simulator.connection import LAST_CHUNK, Connection, Request, chunk, head, whole_response
from simulator.dialect import Ask, Dialect, Page, Usage, Writer
from simulator.faults import Faults
from simulator.figures import Figures
from simulator.tokens import Answer
from simulator.truth import Row


class Desk(Protocol):
    """What an exchange needs of the server it belongs to."""

    dialect: Dialect
    faults: Faults
    figures: Figures

    def release(self, exchange: "Exchange") -> None:
        """Take an exchange out of the batch, if it is in it."""

    def ended(self, exchange: "Exchange", reason: str) -> None:
        """Note the end of an exchange: its finish reason, or the outcome that was none."""


class Exchange:
    """One request for text and its answer, from the last byte in to the last byte out."""

    def __init__(self, desk: Desk, connection: Connection, request: Request, number: int) -> None:
        self._desk = desk
        self.connection = connection
        self._request = request
        self.row = Row(
            id=number,
            t_accept_ns=request.accepted_ns,
            t_wire_ns=request.wire_ns,
            t_request_ns=request.read_ns,
            x_request_id=request.headers.get("x-request-id", ""),
        )
        self.open = True
        self.job: Job | None = None
        self._chunked = request.version != "1.0"
        self._held: list[str] = []
        self._strike_at, self._strike_outcome = desk.faults.strikes_at(number)
        self._role_sent = False
        self._stalled = False

    def refuse(self, page: Page) -> None:
        """Answer with an error page."""
        self.connection.write(whole_response(page, self._request.keep_alive))
        self.end("http_error")

    def start(self, ask: Ask, answer: Answer, writer: Writer, job: Job) -> None:
        """The engine has taken the request. A stream's head goes out at once, as vLLM's does."""
        self._ask, self._answer, self._writer, self.job = ask, answer, writer, job
        if ask.stream:
            headers = {"content-type": self._desk.dialect.stream_content_type}
            if self._chunked:
                headers["transfer-encoding"] = "chunked"
            self.connection.write(head(200, headers, self._request.keep_alive))

    def role(self) -> None:
        """Send the role event, unless it is out already."""
        if self._role_sent or not self.open:
            return
        self._role_sent = True
        self.connection.write(self._frame(self._writer.opening()))
        self.row.t_role_ns = time.perf_counter_ns()

    def token(self, due_ns: int) -> None:
        """One more token of the answer, which was due at `due_ns`."""
        assert self.job is not None
        self._due_ns = due_ns
        position = self.job.produced
        self._held.append(self._answer.word(position - 1))
        if position == self._strike_at:
            self._strike()
        elif position == self.job.wanted:
            self._finish()
        elif self._ask.stream and self._is_event_full():
            self._send_held()

    def gone(self) -> None:
        """The client has left."""
        self.end("stalled" if self._stalled else "client_gone")

    def shut(self) -> None:
        """The server goes down in mid-answer."""
        self.end("stalled" if self._stalled else "cut")

    def _frame(self, event: bytes) -> bytes:
        return chunk(event) if self._chunked else event

    def _frames(self, events: list[bytes]) -> bytes:
        return b"".join(map(self._frame, events)) + (LAST_CHUNK if self._chunked else b"")

    def _is_event_full(self) -> bool:
        assert self.job is not None
        faults = self._desk.faults
        return len(self._held) >= faults.per_chunk or self.job.produced == faults.reasoning_tokens

    def _send_held(self) -> None:
        self.role()
        text = self._take()
        self.connection.write(self._frame(self._writer.tokens(text, self._is_reasoning())))
        self._wrote(text)

    def _take(self) -> str:
        text = "".join(self._held)
        self.row.tokens += len(self._held)
        self._held.clear()
        return text

    def _is_reasoning(self) -> bool:
        assert self.job is not None
        return self.job.produced <= self._desk.faults.reasoning_tokens

    def _wrote(self, text: str) -> None:
        now_ns = time.perf_counter_ns()
        row = self.row
        row.t_done_ns = now_ns
        row.late_max_us = max(row.late_max_us, (now_ns - self._due_ns) // 1000)
        if text:
            row.t_last_ns = now_ns
            if not row.t_first_ns:
                row.t_first_ns = now_ns
                self._desk.figures.first_token((now_ns - row.t_request_ns) / 1e9)

    def _finish(self) -> None:
        assert self.job is not None
        usage = Usage(self.job.prompt_tokens, self.job.cached_tokens, self.job.wanted)
        if self._ask.stream:
            self.role()
            text, reason = self._take(), self._answer.finish_reason
            self.connection.write(self._frames(self._writer.ending(text, self._is_reasoning(), reason, usage)))
            self._wrote(text)
        else:
            self._write_whole(usage)
        self.end("ok")

    def _write_whole(self, usage: Usage) -> None:
        split = self._desk.faults.reasoning_tokens
        reasoning, content = "".join(self._held[:split]), "".join(self._held[split:])
        page = self._writer.whole(content, reasoning, self._answer.finish_reason, usage)
        self.connection.write(whole_response(page, self._request.keep_alive))
        self._wrote(self._take())

    def _strike(self) -> None:
        if self._ask.stream:
            self._send_held()
        if self._strike_outcome == "stalled":
            self._stalled = True
            self._desk.release(self)
        elif self._strike_outcome == "cut":
            self.end("cut")
        elif self._ask.stream:
            self.connection.write(self._frames(self._writer.failure()))
            self.end("stream_error")
        else:
            self.refuse(self._desk.dialect.internal_error())

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
            self.connection.finished(self._request.keep_alive)
