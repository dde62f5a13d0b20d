"""One request for text and its answer: what is written when a token is due, and the row of the truth log."""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from tokenswarm.simulator.batching import Job
from tokenswarm.simulator.connection import Request, ServerConnection, whole_response
from tokenswarm.simulator.dialect import AnswerWriter, Dialect, GenerationRequest, PageResponse, Usage
from tokenswarm.simulator.engine_stats import EngineStats
from tokenswarm.simulator.faults import Faults
from tokenswarm.simulator.stream_body import StreamBody
from tokenswarm.simulator.tokens import Characters, PlannedAnswer
from tokenswarm.simulator.truth import TruthRow


class ServerContext(Protocol):
    """What a request needs of the server it belongs to."""

    faults: Faults
    stats: EngineStats

    def release(self, served: "ServedRequest") -> None:
        """Take a request out of the batch, if it is in it."""

    def ended(self, served: "ServedRequest", reason: str) -> None:
        """Note the end of a request: its finish reason, or the outcome that was none."""

    def later(self, delay_s: float, call: Callable[[], None]) -> None:
        """Call something after that time."""


class ServedRequest:
    """One request for text and its answer, from the last byte in to the last byte out."""

    def __init__(
        self, context: ServerContext, dialect: Dialect, connection: ServerConnection, request: Request, number: int
    ) -> None:
        self._context = context
        self.dialect = dialect
        self.connection = connection
        self.request = request
        self.row = TruthRow(
            id=number,
            t_accept_ns=request.accepted_ns,
            t_wire_ns=request.wire_ns,
            t_request_ns=request.read_ns,
            x_request_id=request.headers.get("x-request-id", ""),
        )
        self.open = True
        self.status = 200
        self.job: Job | None = None
        faults = context.faults
        self._faults = faults
        self._traits = dialect.traits
        self._keep_alive = request.keep_alive
        self._held: list[str] = []
        self._fault_at, self._fault_outcome = faults.fault_of(number, self._traits.breaks)
        self._is_plain = not (faults.split_characters or faults.empty_every)
        self._characters = Characters(self._traits.holds_characters) if faults.split_characters else None
        self._body = StreamBody(connection, request, self._traits, number, faults)
        self._unsent: list[str] = []  # texts in events that are gathered
        self._role_sent = self._role_waits = False
        self._stalled = False
        self._commented_ns = 0

    def refuse(self, page: PageResponse) -> None:
        """Answer with an error page."""
        self.status = page.status
        self.connection.write(whole_response(page, self._traits.headers, self._keep_alive))
        self.end("http_error")

    def start(
        self,
        generation: GenerationRequest,
        answer: PlannedAnswer,
        writer: AnswerWriter,
        job: Job,
        headers: dict[str, str],
    ) -> None:
        """The engine has taken the request. `headers` are the answer's own, if it is a stream."""
        self._generation, self._answer, self._writer, self.job = generation, answer, writer, job
        self._body.headers = headers
        if not generation.stream:
            return
        faults, traits = self._faults, self._traits
        if traits.closes_after_stream:
            self._keep_alive = False
        if traits.head_at_once if faults.head_at_once is None else faults.head_at_once:
            self._body.send_head()
        early_ms = 0.0 if traits.role == "early" else None
        early_ms = early_ms if faults.role_early_ms is None else faults.role_early_ms
        if early_ms == 0:
            self.role()
        elif early_ms is not None:
            self._context.later(early_ms / 1000, self.role)
        keep_alive_s = traits.keep_alive_s if faults.keep_alive_s is None else faults.keep_alive_s
        if keep_alive_s is not None:
            self._context.later(keep_alive_s, lambda: self._comment(keep_alive_s))

    def role(self) -> None:
        """Send the role event, unless it is out already or there is none."""
        if self._role_sent or not self.open:
            return
        self._role_sent = True
        event = self._writer.opening()
        self._role_waits = bool(event)
        if event and self._body.send(event, is_output=False):
            self._note_role()

    def _note_role(self) -> None:
        if self._role_waits:
            self._role_waits = False
            self.row.t_role_ns = time.perf_counter_ns()

    def token(self, due_ns: int) -> None:
        """One more token of the answer, which was due at `due_ns`. Nothing of it goes out once the client has left."""
        assert self.job is not None
        if not self.open:
            return
        self._due_ns = due_ns
        position = self.job.produced
        word = self._answer.word(position - 1)
        self._held.append(word if self._is_plain else self._oddly(word, position))
        if position == self._fault_at:
            self._inject_fault()
        elif position == self.job.wanted:
            self._finish()
        elif self._generation.stream and self._is_event_full():
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

    def _is_event_full(self) -> bool:
        assert self.job is not None
        first = self._faults.first_event if not self.row.tokens else None
        return (
            len(self._held) >= (first or self._faults.per_chunk) or self.job.produced == self._faults.reasoning_tokens
        )

    def _send_held(self) -> None:
        if not self._role_sent:
            self.role()
        if self._body.send(self._writer.tokens(self._take(), self._is_reasoning())):
            self._wrote()

    def _take(self) -> list[str]:
        pieces = self._held
        self.row.tokens += len(pieces)
        self._held = []
        self._unsent += pieces
        return pieces

    def _is_reasoning(self) -> bool:
        assert self.job is not None
        return self.job.produced <= self._faults.reasoning_tokens

    def _wrote(self) -> None:
        self._note_role()
        pieces, self._unsent = self._unsent, []
        now_ns = time.perf_counter_ns()
        row = self.row
        row.t_done_ns = now_ns
        row.late_max_us = max(row.late_max_us, (now_ns - self._due_ns) // 1000)
        if any(pieces):
            row.t_last_ns = now_ns
            if not row.t_first_ns:
                row.t_first_ns = now_ns
                self._context.stats.ttft_s.add((now_ns - row.t_request_ns) / 1e9)

    def _finish(self) -> None:
        usage = self._usage()
        if self._generation.stream:
            self.role()
            pieces, reason = self._take(), self._answer.finish_reason
            self._body.end(self._writer.ending(pieces, self._is_reasoning(), reason, usage))
            self._wrote()
        else:
            self._write_whole(usage)
        self.row.tokens = usage.output_tokens
        self.end("ok")

    def _usage(self) -> Usage:
        job = self.job
        assert job is not None
        uncounted = self._answer.stopped and not self._traits.end_token_counts
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
        self.connection.write(whole_response(page, {**self._traits.headers, **self._body.headers}, self._keep_alive))
        self._take()
        self._wrote()

    def _inject_fault(self) -> None:
        outcome = self._fault_outcome
        if self._generation.stream:
            self._send_held()
            self._body.flush()
            if self._unsent:
                self._wrote()
        if outcome == "stalled":
            self._stalled = True
            self._context.release(self)
        elif outcome == "cut":
            self.end("cut")
        elif not self._generation.stream:
            self.refuse(self.dialect.internal_error())
        else:
            self._body.end(self._writer.failure() if outcome == "stream_error" else [])
            self.end(outcome)

    def _comment(self, after_s: float) -> None:
        """Send a comment if nothing went out for that long, and look again when that may next be so."""
        if not self.open:
            return
        now_ns = time.perf_counter_ns()
        silent_s = (now_ns - max(self.row.t_request_ns, self.row.t_done_ns, self._commented_ns)) / 1e9
        if silent_s >= after_s:
            self._body.send_comment()
            self._commented_ns, silent_s = now_ns, 0
        self._context.later(after_s - silent_s, lambda: self._comment(after_s))

    def end(self, outcome: str) -> None:
        """Log the request, once, and let its connection serve the next one, or close it."""
        if not self.open:
            return
        self.open = False
        row = self.row
        row.outcome = outcome
        if self.job is not None:
            row.prompt_tokens, row.cached_tokens = self.job.prompt_tokens, self.job.cached_tokens
        if outcome != "ok":
            row.t_done_ns = time.perf_counter_ns()
        if outcome != "client_gone" or self._faults.on_disconnect == "stop":
            self._context.release(self)
        self._context.ended(self, self._answer.finish_reason if outcome == "ok" else outcome)
        if outcome == "cut":
            self.connection.close()
        else:
            self.connection.finished(self._keep_alive)


def with_usage(generation: GenerationRequest, usage: str) -> GenerationRequest:
    """The request with usage requested in that way; see `faults.USAGES`."""
    if usage == "requested":
        return generation
    return replace(generation, include_usage=usage != "never", usage_in_every_event=usage == "every")
