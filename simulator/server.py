"""The server: requests in, the batch's steps on the clock, events out, a row of the truth log at each request's end."""

import asyncio
import hmac
import socket
import time
from collections.abc import Callable
from dataclasses import replace
from hashlib import blake2b

from tokenswarm.simulator.batching import Batch, Job
from tokenswarm.simulator.connection import (
    Request,
    ServerConnection,
    whole_response,
)
from tokenswarm.simulator.dialect import Dialect, GenerationRequest, PageResponse, Refusal
from tokenswarm.simulator.dialects import endpoints_of
from tokenswarm.simulator.engine_stats import EngineStats, State
from tokenswarm.simulator.faults import Faults
from tokenswarm.simulator.listener import Listener
from tokenswarm.simulator.prefix_cache import block_keys
from tokenswarm.simulator.profiles import Profile
from tokenswarm.simulator.request_log import RequestLog
from tokenswarm.simulator.requirements import Requirements
from tokenswarm.simulator.served_request import ServedRequest, with_usage
from tokenswarm.simulator.tokenizer_file import TokenizerFile
from tokenswarm.simulator.tokens import AnswerGenerator
from tokenswarm.simulator.truth import TruthLog


class SimulatorServer:
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
        path: str | None = None,
        requirements: Requirements | None = None,
    ) -> None:
        """path: where requests are answered in place of the dialect's own path; models are listed beside it too."""
        self.dialect = dialect
        self.faults = faults or Faults()
        self.stats = EngineStats()
        self.truth: TruthLog | None = None
        self.request_log: RequestLog | None = None
        self._requirements = requirements or Requirements()
        self._routes, self._models_path = _routes(dialect, path)
        #: What prompts are counted with, None for the simulator's own rule.
        self.tokenizer: TokenizerFile | None = None
        self._profile = profile
        self._seed = seed
        self._api_key = api_key
        self._batch = Batch(profile.speed, seed)
        self._answers = AnswerGenerator(
            seed, profile.answer_median_tokens, profile.answer_sigma, self.faults.split_characters
        )
        self._held: list[ServedRequest] = []
        self._received = 0
        self._ready = True
        self._in_batch: dict[int, ServedRequest] = {}
        self._answering: dict[ServerConnection, ServedRequest] = {}
        self._connections: set[ServerConnection] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_due_ns: int | None = None

    def listen(self, host: str, port: int) -> int:
        """Listen on `host`:`port` (0: any free port). Returns the port; raises SimulatorError if that cannot be."""
        self._loop = asyncio.get_running_loop()
        self._listener = Listener(self._loop, host, port, self._on_client)
        if self.faults.cold_start_s is not None:
            self._ready = False
            self._loop.call_later(self.faults.cold_start_s, self._warm)
        return self._listener.port

    def close(self) -> None:
        """Stop listening, end every answer under way, close every connection and the truth log."""
        self._listener.close()
        for served in list(self._answering.values()):
            served.shut()
        for connection in list(self._connections):
            connection.close()
        if self._timer is not None:
            self._timer.cancel()
        if self.truth is not None:
            self.truth.close()
        if self.request_log is not None:
            self.request_log.close()

    def release(self, served: ServedRequest) -> None:
        """Take a request out of the batch, if it is in it."""
        if served.job is not None and self._in_batch.pop(served.row.id, None) is not None:
            self._batch.cancel(served.job)

    def ended(self, served: ServedRequest, reason: str) -> None:
        """Note the end of a request: its finish reason, or the outcome that was none."""
        self._answering.pop(served.connection, None)
        self.stats.statuses[served.status] += 1
        if served.job is not None:
            self.stats.count(
                served.row, {"stop": "stop", "length": "length", "client_gone": "abort"}.get(reason, "error")
            )
        if self.truth is not None:
            self.truth.write(served.row)

    def later(self, delay_s: float, call: Callable[[], None]) -> None:
        """Call something after that time."""
        self._loop.call_later(delay_s, call)

    def _on_client(self, client: socket.socket) -> None:
        connection = ServerConnection(self._loop, client, self._on_request, self._gone, self._connections.discard)
        self._connections.add(connection)

    def _gone(self, connection: ServerConnection) -> None:
        self._answering[connection].gone()

    def _on_request(self, connection: ServerConnection, request: Request) -> None:
        if self.request_log is not None:
            self.request_log.write(request)
        if request.method == "POST" and request.path in self._routes:
            self._on_generation(connection, request)
            return
        page = self._page(request)
        connection.write(whole_response(page, self.dialect.traits.headers, request.keep_alive))
        connection.finished(request.keep_alive)

    def _page(self, request: Request) -> PageResponse:
        if not is_authorized(request, self.dialect, self._api_key):
            return self.dialect.unauthorized()
        if request.path in self._routes:
            return self.dialect.wrong_method("POST")
        if request.method == "POST" and request.path == self.dialect.flush_path():
            return self.dialect.flushed(self._batch.flush_cache())
        path = "/v1/models" if request.path == self._models_path else request.path
        page = self.dialect.page(path, self._state())
        if page is None:
            return self.dialect.not_found()
        return page if request.method == "GET" else self.dialect.wrong_method("GET")

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
            cache_block_tokens=speed.cache_block_tokens,
            cpu_s=time.process_time(),
            stats=self.stats,
        )

    def _on_generation(self, connection: ServerConnection, request: Request) -> None:
        served = ServedRequest(self, self._routes[request.path], connection, request, self._received)
        self._received += 1
        self._answering[connection] = served
        if self._ready:
            self._answer(served, request.read_ns)
        else:
            self._held.append(served)

    def _warm(self) -> None:
        """The cold start is over: go on with the requests that were held meanwhile."""
        self._ready = True
        for served in self._held:
            if served.open:
                self._answer(served, time.perf_counter_ns())
        self._held.clear()

    def _answer(self, served: ServedRequest, arrived_ns: int) -> None:
        number, request = served.row.id, served.request
        try:
            generation = self._admit(request, number, served.dialect)
        except Refusal as refusal:
            served.refuse(refusal.page)
            return
        answer = self._answers.draw(number, generation.max_tokens, generation.min_tokens, generation.ignore_eos)
        blocks = block_keys(generation.prompt, self._profile.speed.cache_block_tokens)
        job = Job(number, len(generation.prompt), blocks, answer.tokens, arrived_ns)
        chosen_id = served.row.x_request_id or _request_id(self._seed, number)
        writer = served.dialect.writer(generation, chosen_id, int(time.time()))
        served.start(generation, answer, writer, job, served.dialect.stream_headers(generation, chosen_id))
        self._in_batch[number] = served
        if number + 1 == self.faults.pause_at:
            self._batch.pause(round(self.faults.pause_s * 1e9))
        self._batch.submit(job)
        self._set_timer()

    def _admit(self, request: Request, number: int, dialect: Dialect) -> GenerationRequest:
        """Understand a request for text; raises Refusal."""
        if not is_authorized(request, dialect, self._api_key):
            raise Refusal(dialect.unauthorized())
        if (refused := self._requirements.refusal(request.body, request.headers, dialect)) is not None:
            raise Refusal(refused)
        generation = with_usage(dialect.read(request.body, request.headers), self.faults.usage)
        if self.tokenizer is not None:
            generation = self.tokenizer.applied(generation, dialect)
        every = self.faults.error_every
        if (every and (number + 1) % every == 0) or self._is_full():
            raise Refusal(self._with_retry_after(self._overloaded(generation, number, dialect)))
        return generation

    def _is_full(self) -> bool:
        queue = self.faults.max_queue
        most = self.dialect.traits.admits if queue is None else self._profile.speed.max_batch + queue
        return most is not None and self._batch.running + self._batch.waiting >= most

    def _with_retry_after(self, page: PageResponse) -> PageResponse:
        seconds = self.faults.retry_after
        if seconds is None or page.stream:
            return page
        return replace(page, headers={**page.headers, "retry-after": str(seconds)})

    def _overloaded(self, generation: GenerationRequest, number: int, dialect: Dialect) -> PageResponse:
        kind = self.faults.overload
        if kind == "own":
            return dialect.overloaded(generation.stream)
        if kind == "in-stream" and generation.stream:
            events = dialect.writer(generation, _request_id(self._seed, number), int(time.time())).failure()
            return PageResponse(b"".join(events), content_type=dialect.traits.stream_content_type, stream=True)
        status = 503 if kind == "in-stream" else int(kind)
        return replace(dialect.overloaded(stream=False), status=status)

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
            self.stats.gap_s.add(step.gap_ns / 1e9, len(step.jobs) - step.firsts)
            for job in step.jobs:
                served = self._in_batch.get(job.number)
                if served is not None:
                    served.token(step.due_ns)
                    if job.produced == job.wanted:
                        self._in_batch.pop(job.number, None)  # its client may have left before
        self._set_timer()


def _routes(dialect: Dialect, path: str | None) -> tuple[dict[str, Dialect], str]:
    """What answers requests, by path, and the path of the list of models. path: the only one, of the endpoint whose
    path it ends with; a gateway that has its routes elsewhere lists its models beside them."""
    endpoints = endpoints_of(dialect)
    if not path:
        return {each.traits.generate_path: each for each in endpoints}, "/v1/models"
    for each in endpoints:
        tail = each.traits.generate_path.removeprefix("/v1")
        if path.endswith(tail):
            return {path: each}, f"{path.removesuffix(tail)}/models"
    return {path: dialect}, f"{path}/models"


def is_authorized(request: Request, dialect: Dialect, api_key: str | None) -> bool:
    """Whether the request has the API key that its path needs."""
    if api_key is None or not dialect.needs_key(request.path):
        return True
    header = dialect.traits.key_header
    given = request.headers.get(header, "")
    expected = f"Bearer {api_key}" if header == "authorization" else api_key
    return hmac.compare_digest(given.encode(), expected.encode())


def _request_id(seed: int, number: int) -> str:
    return blake2b(f"{seed}/{number}".encode(), digest_size=8).hexdigest()
