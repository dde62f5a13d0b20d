"""One small request of each kind before the load: a wrong key or model is found now and not after half an hour."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import gevent
import numpy as np

from tokenswarm.client.request_control import Adaptations
from tokenswarm.client.request_options import ChatOptions, at_endpoint, body_changes, engine_of, model_for
from tokenswarm.client.request_spec import RequestSpec
from tokenswarm.client.sent_key import sent_key
from tokenswarm.client.server_address import origin_of
from tokenswarm.client.streaming_request import StreamingRequest
from tokenswarm.client.timeouts import Timeouts
from tokenswarm.client.workload import first_image, load_workload
from tokenswarm.engines import ChatRequest, Counts, EngineSpec
from tokenswarm.metrics.level import PROMPT, SystemPrompt
from tokenswarm.metrics.lumps import BURST_OUTPUTS
from tokenswarm.metrics.timeline import Outcome, Timeline
from tokenswarm.metrics.token_counts import TokenSource
from tokenswarm.prompts import PromptSet
from tokenswarm.sanitize import full_stop
from tokenswarm.target.adaptation import RefusedRequest, adaptation, meanings
from tokenswarm.target.advice import failure_of, failure_text, is_overload
from tokenswarm.wire import Origin, StreamClient

logger = logging.getLogger(__name__)

_QUESTION = "Say hello."
#: Enough to see whether outputs come one by one.
_TOKENS = 32
#: Outputs of one answer are hardly closer together than this: a client that gathers them was late by so much for each.
_FASTEST_S = 0.002
_LAG_SLEEP_S = 0.002
#: How often a request is sent whose failure may pass by itself, and how long after the one before.
_ATTEMPTS, _PAUSE_S = 3, 1.0
#: The run's timeouts say what is too slow for a user. A first request may also load a model or compile.
_FIRST_TOKEN_S, _IDLE_S, _TOTAL_S = 120.0, 60.0, 600.0


class PreflightFailed(ValueError):
    """The server does not answer as the run needs; the text has its own words and what to do."""


@dataclass(frozen=True, slots=True)
class PreflightResult:
    """What was learned of the server. adaptations: how requests are to differ from what the options say; notices: what
    its answers mean for the figures, as sentences."""

    adaptations: Adaptations = field(default_factory=Adaptations)
    notices: tuple[str, ...] = ()


class LoopLag:
    """Within, how late this process's event loop was at most (most_s): what it reads late, it reads together."""

    def __init__(self) -> None:
        self.most_s = 0.0

    def __enter__(self) -> LoopLag:
        self._meter = gevent.spawn(self._measure)
        return self

    def __exit__(self, *_: object) -> None:
        self._meter.kill()

    def _measure(self) -> None:
        while True:
            due_s = time.monotonic() + _LAG_SLEEP_S
            gevent.sleep(_LAG_SLEEP_S)
            self.most_s = max(self.most_s, time.monotonic() - due_s)


class _Kind(NamedTuple):
    """Requests of one kind: the system-prompt mode (`on`, `off`), the endpoint and the model, "" for the run's."""

    mode: SystemPrompt
    endpoint: str
    model: str

    def __str__(self) -> str:
        model = f" for {self.model}" if self.model else ""
        return PROMPT[self.mode] + (f" to {self.endpoint}" if self.endpoint else "") + model

    def options(self, options: ChatOptions) -> ChatOptions:
        """The run's options for these requests."""
        return replace(at_endpoint(options, self.endpoint), model=self.model or options.model)


def preflight(
    options: ChatOptions,
    host: str,
    modes: Collection[SystemPrompt],
    models: Sequence[str] = (),
    least_tokens: int = 1,
    sleep: Callable[[float], object] = gevent.sleep,
) -> PreflightResult:
    """Send one request of each kind, by system-prompt mode (`on`, `off`), endpoint and model, and judge its answer.
    Nothing of it is counted.

    `options` names the engine and the model; models: what the server lists, for the advice; least_tokens: the shortest
    answer that can be requested. Each request begins with random characters, so that the server's prefix cache holds
    nothing of the run's prompts afterwards. It has a connection of its own, and more time than the run's requests may
    have. One that fails as a server does now and then (HTTP 429 and 5xx, a lost connection) is sent up to three times;
    one whose field the server refuses is sent again without it where that is safe (target/adaptation.py). Raises
    PreflightFailed, and what an unusable address or option raises.
    """
    notices: dict[str, None] = {}
    kinds = _kinds(options, modes)
    for kind in kinds:
        with LoopLag() as lag:
            timeline, options = _answered(options, host, kind, models, least_tokens, sleep)
        notices |= dict.fromkeys(_notices(timeline, options, lag.most_s))
    for notice in notices:
        logger.warning("Preflight: %s", notice)
    logger.info(
        "Preflight passed: the server answered %s (these requests are not counted)", " and ".join(map(str, kinds))
    )
    return PreflightResult(options.control.adaptations, tuple(notices))


def _kinds(options: ChatOptions, modes: Collection[SystemPrompt]) -> list[_Kind]:
    prompts = load_workload(options).prompts
    rows = prompts.prompts if isinstance(prompts, PromptSet) else ()
    of_rows = {(prompt.endpoint, model_for(options, prompt.model)) for prompt in rows} or {("", options.model)}
    run = options.control.endpoint
    own = {
        ("" if endpoint == run else endpoint, "" if name == options.model else name)
        for endpoint, model in of_rows
        for name in (options.models.names if options.models else (model,))
    }
    return [_Kind(mode, endpoint, model) for endpoint, model in sorted(own) for mode in sorted(modes)]


def _answered(
    options: ChatOptions,
    host: str,
    kind: _Kind,
    models: Sequence[str],
    least_tokens: int,
    sleep: Callable[[float], object],
) -> tuple[Timeline, ChatOptions]:
    """The answer to a request of this kind, and the options as they had to be adapted for it. Raises
    PreflightFailed."""
    given, first = options, None
    while True:
        timeline = _send_until_it_stays(options, host, kind, least_tokens, sleep)
        if timeline.outcome is Outcome.OK:
            return timeline, options
        refused = RefusedRequest(timeline, kind.mode == "on")
        adapted = adaptation(refused, kind.options(options), origin_of(host).prefix)
        if adapted is None or (adapted.path and kind.endpoint):
            if first is not None and timeline.status == first.timeline.status:  # the other path was no better
                options, refused = given, first
            raise _failed(refused, str(kind), kind.options(options), host, models)
        if adapted.path and first is None:
            first = refused
        before = meanings(options.control.adaptations)
        for clause in meanings(adapted):
            if clause not in before:
                logger.warning("Preflight: %s: %s", clause, timeline.error)
        options = replace(options, control=replace(options.control, adaptations=adapted))


def _send_until_it_stays(
    options: ChatOptions, host: str, kind: _Kind, least_tokens: int, sleep: Callable[[float], object]
) -> Timeline:
    for attempt in range(1, _ATTEMPTS + 1):
        timeline = _send(kind.options(options), host, kind.mode, least_tokens)
        if attempt == _ATTEMPTS or not may_pass(timeline):
            break
        logger.info("Preflight: %s The request is sent again", full_stop(timeline.error or timeline.outcome.value))
        sleep(_PAUSE_S)
    return timeline


def _notices(timeline: Timeline, options: ChatOptions, lag_s: float) -> Iterator[str]:
    """What an answer says of the figures to come. lag_s: how late this process was while it was received."""
    events, arrivals = timeline.output_events, timeline.output_arrivals
    in_one = arrivals == 1 and events >= BURST_OUTPUTS
    if in_one or timeline.in_bursts:
        how = "came all at once" if in_one else "came in lumps"
        numbers = f"the answer {how} ({events} outputs in {arrivals} arrival{'' if in_one else 's'})"
        held_back_s = events * _FASTEST_S
        if not in_one:
            held_back_s = float(np.median(timeline.gaps_ns)) / 1e9 * (1 - arrivals / events)
        if lag_s >= held_back_s:
            yield (
                f"{numbers}: this machine was busy and read up to {lag_s * 1000:,.0f} ms late, so it may have gathered "
                "them; stop other programs on it"
            )
        else:
            what = "TTFT is the time of the whole answer" if in_one else "TTFT and gaps are those of the lumps"
            yield f"{numbers}: the server, or something before it such as a proxy, holds outputs back, so that {what}"
    elif timeline.output_tokens >= BURST_OUTPUTS * max(1, events):
        yield (
            f"an event holds several tokens ({timeline.output_tokens} tokens in {events} events): gaps are between "
            "events, not tokens"
        )
    if timeline.output_tokens_rejected is not None:
        yield (
            f"the server counts {timeline.output_tokens_rejected} output tokens where fewer were requested or came: it "
            "ignores the cap of --max-tokens, or counts something else; such counts are not used"
        )
        return
    expects_usage = engine_of(options).counts is Counts.SERVER and options.tokenizer is None
    if expects_usage and timeline.output_tokens_source is TokenSource.EVENTS:
        yield "the server reports no token counts (usage), so that events are counted; set --tokenizer to count tokens"


def longest_preflight_s(options: ChatOptions, modes: Collection[SystemPrompt]) -> float:
    """How long a preflight in these modes may take, in seconds."""
    limits = patient(options.timeouts)
    return len(_kinds(options, modes)) * _ATTEMPTS * (limits.connect_s + limits.total_s + _PAUSE_S)


def patient(timeouts: Timeouts) -> Timeouts:
    """Time limits of a first request, which may load a model or compile."""
    return Timeouts(
        connect_s=timeouts.connect_s,
        first_token_s=max(timeouts.first_token_s, _FIRST_TOKEN_S),
        idle_s=max(timeouts.idle_s, _IDLE_S),
        total_s=max(timeouts.total_s, _TOTAL_S),
    )


def _send(options: ChatOptions, host: str, mode: str, least_tokens: int) -> Timeline:
    engine, workload = engine_of(options), load_workload(options)
    origin, timeouts = origin_of(host), patient(options.timeouts)
    nonce = secrets.token_hex(8)
    question = ChatRequest(
        model=options.model,
        prompt=f"{nonce} {_QUESTION}",
        system_prompt=f"{nonce}\n{workload.system_prompt}" if mode == "on" else None,
        max_tokens=min(options.max_tokens, max(_TOKENS, least_tokens)),
        ignore_eos=options.ignore_eos,
        changes=body_changes(options, engine),
        image=first_image(workload.images),
    )
    request = question.without_system_role() if options.control.adaptations.system_in_prompt else question
    client = new_client(options, origin, engine)
    try:
        spec = RequestSpec(engine, request, timeouts, "preflight", count_tokens=workload.count_tokens)
        return StreamingRequest(client, spec).run()
    finally:
        client.close()


def new_client(options: ChatOptions, origin: Origin, engine: EngineSpec) -> StreamClient:
    """A client for requests before the run. Raises OptionError."""
    headers = options.headers_for(origin, engine)
    return StreamClient(origin, options.timeouts.connect_s, headers, options.tls.context(), proxy=options.proxy)


def may_pass(timeline: Timeline) -> bool:
    """Whether a failure may be gone a moment later."""
    if timeline.outcome is Outcome.HTTP_ERROR:
        return is_overload(timeline.status or 0)
    return timeline.outcome in (Outcome.REFUSED, Outcome.TRUNCATED)


def _failed(
    refused: RefusedRequest, kind: str, options: ChatOptions, host: str, models: Sequence[str]
) -> PreflightFailed:
    timeline = refused.timeline
    failure = failure_of(timeline, options, host, refused.of_system_role)
    sent, option = sent_key(options, origin_of(host)), "--models" if options.models else "--model"
    problem = failure_text(failure, kind, host, options.model, models, sent, option)
    names = options.models.names if options.models else ()
    others = [name for name in names if models and name not in models and name != options.model]
    if others and options.model not in models:
        problem = f"{problem} It does not list {', '.join(map(repr, others))} either."
    return PreflightFailed(f"{problem} (--preflight off starts the run all the same.)")
