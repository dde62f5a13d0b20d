"""Joins the parts: requests in, the batch's steps on the clock, events out, a truth row at each request's end."""

import asyncio
import hmac
import socket
import time
from collections.abc import Callable
from dataclasses import replace
from hashlib import blake2b

from simulator.batching import Batch, Job
from simulator.connection import (
    Connection,
    Request,
    accept_kernel_times,
    whole_response,
)
from simulator.dialect import Ask, Dialect, Page, Refusal
from simulator.errors import SimulatorError
from simulator.exchange import Exchange, asked_with
from simulator.faults import Faults
from simulator.figures import Figures, State
from simulator.prefix_cache import block_keys
from simulator.profiles import Profile
from simulator.tokens import Answers
from simulator.truth import TruthLog

_BACKLOG = 4096
_ACCEPT_PAUSE_S = 0.1


class Server:
    """Listens and answers until closed. All methods belong to the event loop's thread.

    Requests that end while `truth` is set get a row there; `close` closes it.
    """

    def __init__(
        self,
        profile: Profile,
        dialect: Dialect,
        *,
        seed: int = 0,
        faults: Faults | None = None,
        api_key: str | None = None,
    ) -> None:
        self.dialect = dialect
        self.faults = faults or Faults()
        self.figures = Figures()
        self.truth: TruthLog | None = None
        self._profile = profile
        self._seed = seed
        self._api_key = api_key
        self._batch = Batch(profile.speed, seed)
        self._answers = Answers(seed, profile.answer_median_tokens, profile.answer_sigma, self.faults.split_characters)
        self._held: list[Exchange] = []
        self._received = 0
        self._ready = True
        self._in_batch: dict[int, Exchange] = {}
        self._answering: dict[Connection, Exchange] = {}
        self._connections: set[Connection] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_due_ns: int | None = None

    def listen(self, host: str, port: int) -> int:
        """Listen on `host`:`port` (0: any free port) and return the port; raises SimulatorError if that cannot be."""
        self._loop = asyncio.get_running_loop()
        if not 0 <= port <= 65_535:
            # Not left to the system: name resolution takes any number modulo 65,536.
            raise SimulatorError(f"the port must be from 0 to 65535, got {port}; choose another --port.")
        try:
            family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
            self._listener = socket.socket(family, kind, protocol)
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            accept_kernel_times(self._listener)
            self._listener.bind(address)
            self._listener.listen(_BACKLOG)
        except OSError as error:
            reason = error.strerror or error
            raise SimulatorError(
                f"cannot listen on {host}:{port}: {reason}; choose another --host or --port."
            ) from error
        self._listener.setblocking(False)
        self._loop.add_reader(self._listener, self._accept)
        if self.faults.cold_start_s is not None:
            self._ready = False
            self._loop.call_later(self.faults.cold_start_s, self._warm)
        bound: int = self._listener.getsockname()[1]
        return bound

    def close(self) -> None:
        """Stop listening, end every answer under way, close every connection and the truth log."""
        self._loop.remove_reader(self._listener)
        self._listener.close()
        for exchange in list(self._answering.values()):
            exchange.shut()
        for connection in list(self._connections):
            connection.close()
        if self._timer is not None:
            self._timer.cancel()
        if self.truth is not None:
            self.truth.close()

    def release(self, exchange: Exchange) -> None:
        """Take an exchange out of the batch, if it is in it."""
        if exchange.job is not None and self._in_batch.pop(exchange.row.id, None) is not None:
            self._batch.cancel(exchange.job)

    def ended(self, exchange: Exchange, reason: str) -> None:
        """Note the end of an exchange: its finish reason, or the outcome that was none."""
        self._answering.pop(exchange.connection, None)
        self.figures.statuses[exchange.status] += 1
        if exchange.job is not None:
            self._count(exchange, {"stop": "stop", "length": "length", "client_gone": "abort"}.get(reason, "error"))
        if self.truth is not None:
            self.truth.write(exchange.row)

    def later(self, delay_s: float, call: Callable[[], None]) -> None:
        """Call something after that time."""
        self._loop.call_later(delay_s, call)

    def _count(self, exchange: Exchange, reason: str) -> None:
        row, figures = exchange.row, self.figures
        figures.ended[reason] += 1
        figures.input_tokens.add(row.prompt_tokens)
        figures.output_tokens.add(row.tokens)
        figures.e2e_s.add((row.t_done_ns - row.t_request_ns) / 1e9)
        if row.tokens > 1:
            figures.tpot_s.add((row.t_last_ns - row.t_first_ns) / 1e9 / (row.tokens - 1))

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError:
                # Out of file descriptors: the listener stays readable, so without a pause this would spin.
                self._loop.remove_reader(self._listener)
                self._loop.call_later(_ACCEPT_PAUSE_S, self._accept_again)
                return
            self._connections.add(Connection(self._loop, client, self._request, self._gone, self._connections.discard))

    def _accept_again(self) -> None:
        if self._listener.fileno() >= 0:
            self._loop.add_reader(self._listener, self._accept)

    def _gone(self, connection: Connection) -> None:
        self._answering[connection].gone()

    def _request(self, connection: Connection, request: Request) -> None:
        if request.method == "POST" and request.path == self.dialect.habits.ask_path:
            self._ask(connection, request)
            return
        page = self._page(request)
        connection.write(whole_response(page, self.dialect.habits.headers, request.keep_alive))
        connection.finished(request.keep_alive)

    def _page(self, request: Request) -> Page:
        if not self._authorized(request):
            return self.dialect.unauthorized()
        if request.path == self.dialect.habits.ask_path:
            return self.dialect.wrong_method("POST")
        page = self.dialect.page(request.path, self._state())
        if page is None:
            return self.dialect.not_found()
        return page if request.method == "GET" else self.dialect.wrong_method("GET")

    def _authorized(self, request: Request) -> bool:
        if self._api_key is None or not self.dialect.needs_key(request.path):
            return True
        header = self.dialect.habits.key_header
        given = request.headers.get(header, "")
        expected = f"Bearer {self._api_key}" if header == "authorization" else self._api_key
        return hmac.compare_digest(given.encode(), expected.encode())

    def _state(self) -> State:
        batch, speed = self._batch, self._profile.speed
        return State(
            ready=self._ready,
            running=batch.running,
            waiting=batch.waiting,
            max_batch=speed.max_batch,
            steps=batch.steps,
            kv_usage=batch.kv_usage,
            prompt_tokens=batch.prefilled_prompt_tokens,
            output_tokens=batch.generated_tokens,
            queried_tokens=batch.queried_tokens,
            hit_tokens=batch.hit_tokens,
            cpu_s=time.process_time(),
            figures=self.figures,
        )

    def _ask(self, connection: Connection, request: Request) -> None:
        exchange = Exchange(self, connection, request, self._received)
        self._received += 1
        self._answering[connection] = exchange
        if self._ready:
            self._answer(exchange, request.read_ns)
        else:
            self._held.append(exchange)

    def _warm(self) -> None:
        """The cold start is over: go on with the requests that were held meanwhile."""
        self._ready = True
        for exchange in self._held:
            if exchange.open:
                self._answer(exchange, time.perf_counter_ns())
        self._held.clear()

    def _answer(self, exchange: Exchange, arrived_ns: int) -> None:
        number, request = exchange.row.id, exchange.request
        try:
            ask = self._admit(request, number)
        except Refusal as refusal:
            exchange.refuse(refusal.page)
            return
        answer = self._answers.draw(number, ask.max_tokens, ask.min_tokens, ask.ignore_eos)
        job = Job(number, len(ask.prompt), block_keys(ask.prompt), answer.tokens, arrived_ns)
        chosen_id = exchange.row.x_request_id or self._id(number)
        writer = self.dialect.writer(ask, chosen_id, int(time.time()))
        exchange.start(ask, answer, writer, job, self.dialect.stream_headers(ask, chosen_id))
        self._in_batch[number] = exchange
        self._batch.submit(job)
        self._set_timer()

    def _id(self, number: int) -> str:
        return blake2b(f"{self._seed}/{number}".encode(), digest_size=8).hexdigest()

    def _admit(self, request: Request, number: int) -> Ask:
        """Understand a request for text; raises Refusal."""
        if not self._authorized(request):
            raise Refusal(self.dialect.unauthorized())
        ask = asked_with(self.dialect.read(request.body, request.headers), self.faults.usage)
        every = self.faults.error_every
        if (every and (number + 1) % every == 0) or self._is_full():
            raise Refusal(self._overloaded(ask, number))
        return ask

    def _is_full(self) -> bool:
        queue = self.faults.max_queue
        most = self.dialect.habits.admits if queue is None else self._profile.speed.max_batch + queue
        return most is not None and self._batch.running + self._batch.waiting >= most

    def _overloaded(self, ask: Ask, number: int) -> Page:
        kind = self.faults.overload
        if kind == "own":
            return self.dialect.overloaded(ask.stream)
        if kind == "in-stream" and ask.stream:
            events = self.dialect.writer(ask, self._id(number), int(time.time())).failure()
            return Page(b"".join(events), content_type=self.dialect.habits.stream_content_type, stream=True)
        status = 503 if kind == "in-stream" else int(kind)
        return replace(self.dialect.overloaded(stream=False), status=status)

    def _set_timer(self) -> None:
        due_ns = self._batch.due_ns
        if due_ns == self._timer_due_ns:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_due_ns = due_ns
        self._timer = None
        if due_ns is not None:
            self._timer = self._loop.call_later(max(0, due_ns - time.perf_counter_ns()) / 1e9, self._step)

    def _step(self) -> None:
        self._timer_due_ns = None
        step = self._batch.advance(time.perf_counter_ns())
        if step is not None:
            self.figures.gap_s.add(step.gap_ns / 1e9, len(step.jobs) - step.firsts)
            for job in step.jobs:
                exchange = self._in_batch.get(job.number)
                if exchange is not None:
                    exchange.token(step.due_ns)
        self._set_timer()
