"""One small request of each kind before the load: a wrong key or model is found now and not after half an hour."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Collection, Sequence

import gevent

from engines import ChatRequest
from metrics.stage import PROMPT
from metrics.timeline import Outcome, Timeline
from sanitize import server_text
from users.address import origin_of
from users.exchange import Ask
from users.options import ChatOptions, Timeouts, engine_of, key_advice, request_headers
from users.session import load_material
from wire import StreamClient

logger = logging.getLogger(__name__)

_QUESTION = "Say hello."
_TOKENS = 16
#: Of the models that a server lists, so many are named, with so many characters of each.
_NAMES, _NAME_CHARACTERS = 5, 100
_UNAUTHORIZED = (401, 403)
_TOO_MANY_REQUESTS, _SERVER_ERROR = 429, 500
#: How often a request is sent whose failure may pass by itself, and how long after the one before.
_ATTEMPTS, _PAUSE_S = 3, 1.0
#: The run's timeouts say what is too slow for a user. A first request may also load a model or compile.
_FIRST_TOKEN_S, _IDLE_S, _TOTAL_S = 120.0, 60.0, 600.0


class PreflightFailed(ValueError):
    """The server does not answer as the run needs; the text has its own words and what to do."""


def preflight(
    options: ChatOptions,
    host: str,
    modes: Collection[str],
    models: Sequence[str] = (),
    least_tokens: int = 1,
    sleep: Callable[[float], object] = gevent.sleep,
) -> None:
    """Send one request for each system-prompt mode (`on`, `off`) and judge its answer. Nothing of it is counted.

    `options` names the engine and the model; models: what the server lists, for the advice; least_tokens: the shortest
    answer that can be requested. Each request begins with random characters, so that the server's prefix cache holds
    nothing of the run's prompts afterwards. It has a connection of its own, and more time than the run's requests may
    have. One that fails as a server does now and then (HTTP 429 and 5xx, a lost connection) is sent up to three times.
    Raises PreflightFailed, and what an unusable address or option raises.
    """
    for mode in sorted(modes):
        for attempt in range(1, _ATTEMPTS + 1):
            timeline = _ask(options, host, mode, least_tokens)
            if attempt == _ATTEMPTS or not _may_pass(timeline):
                break
            logger.info("Preflight: %s. The request is sent again", timeline.error or timeline.outcome)
            sleep(_PAUSE_S)
        _judge(timeline, PROMPT[mode], options, host, models)
    logger.info(
        "Preflight passed: the server answered %s (not counted)", " and ".join(PROMPT[m] for m in sorted(modes))
    )


def longest_preflight_s(timeouts: Timeouts, modes: Collection[str]) -> float:
    """How long a preflight of these modes may take, in seconds."""
    patient = _patient(timeouts)
    return len(modes) * _ATTEMPTS * (patient.connect_s + patient.total_s + _PAUSE_S)


def _patient(timeouts: Timeouts) -> Timeouts:
    return Timeouts(
        connect_s=timeouts.connect_s,
        first_token_s=max(timeouts.first_token_s, _FIRST_TOKEN_S),
        idle_s=max(timeouts.idle_s, _IDLE_S),
        total_s=max(timeouts.total_s, _TOTAL_S),
    )


def _ask(options: ChatOptions, host: str, mode: str, least_tokens: int) -> Timeline:
    engine, material = engine_of(options), load_material(options)
    origin, timeouts = origin_of(host), _patient(options.timeouts)
    headers = request_headers(engine, options.key_for(origin))
    nonce = secrets.token_hex(8)
    request = ChatRequest(
        model=options.model,
        prompt=f"{nonce} {_QUESTION}",
        system_prompt=f"{nonce}\n{material.system_prompt}" if mode == "on" else None,
        max_tokens=min(options.max_tokens, max(_TOKENS, least_tokens)),
        ignore_eos=options.ignore_eos,
    )
    client = StreamClient(origin, timeouts.connect_s, headers, options.tls.context())
    try:
        return Ask(
            *(client, engine, request, timeouts),
            user="preflight",
            stage=0,
            prompt_tokens=0,
            prompt_tokens_source="",
            count_tokens=material.count_tokens,
        ).run()
    finally:
        client.close()


def _may_pass(timeline: Timeline) -> bool:
    """Whether a failure may be gone a moment later."""
    if timeline.outcome is Outcome.HTTP_ERROR:
        return timeline.status == _TOO_MANY_REQUESTS or (timeline.status or 0) >= _SERVER_ERROR
    return timeline.outcome in (Outcome.REFUSED, Outcome.TRUNCATED)


def _judge(timeline: Timeline, kind: str, options: ChatOptions, host: str, models: Sequence[str]) -> None:
    """Raises PreflightFailed."""
    if timeline.outcome is Outcome.OK:
        return
    advice = _advice(timeline, options, models, options.may_have_key(origin_of(host)))
    raise PreflightFailed(
        f"the server at {host} does not answer a request {kind}: {timeline.error or timeline.outcome}. "
        f"{advice} (--preflight off starts the run all the same.)"
    )


def _advice(timeline: Timeline, options: ChatOptions, models: Sequence[str], may_have_key: bool) -> str:
    """What to do, as a sentence."""
    status = timeline.status or 0
    if timeline.outcome is not Outcome.HTTP_ERROR:
        return "Check --host and --engine; `tokenswarm probe` shows an answer in full."
    if status in _UNAUTHORIZED:
        return f"{key_advice(may_have_key)}."
    if status == _TOO_MANY_REQUESTS or status >= _SERVER_ERROR:
        return "The server is overloaded or failed: see its log, and start again when it answers."
    known = [server_text(name, _NAME_CHARACTERS) for name in models[: _NAMES + 1] if name != options.model]
    if options.model and known:
        return f"Check --model {options.model}: the server lists {', '.join(known[:_NAMES])}."
    return f"Check --host, and --model ({options.model or 'none was given'}) with the other options of the request."
