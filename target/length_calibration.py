"""Requests before the load that find out how texts of requested lengths are made for a server."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Collection

import gevent
import msgspec

from tokenswarm.client.prompt_supply import system_mark
from tokenswarm.client.request_options import ChatOptions, body_changes, engine_of
from tokenswarm.client.request_spec import RequestSpec
from tokenswarm.client.sent_key import sent_key
from tokenswarm.client.server_address import origin_of
from tokenswarm.client.streaming_request import StreamingRequest
from tokenswarm.client.workload import RunPrompts, Workload, load_workload
from tokenswarm.engines import ChatRequest
from tokenswarm.metrics.level import PROMPT
from tokenswarm.metrics.timeline import Outcome, Timeline
from tokenswarm.prompts import ChatMessage, PromptSet
from tokenswarm.prompts.synthetic.calibration import (
    MOST_TOO_SHORT,
    CalibrationFailed,
    TextCalibration,
    calibrate,
    check_shortest,
    text_maker,
)
from tokenswarm.prompts.synthetic.word_costs import HEAD
from tokenswarm.prompts.traces.trace_records import TRACE
from tokenswarm.prompts.traces.trace_source import TraceSource
from tokenswarm.target.advice import failure_of, failure_text
from tokenswarm.target.preflight import PreflightFailed, may_pass, new_client, patient
from tokenswarm.wire import StreamClient

logger = logging.getLogger(__name__)

#: The answers are of no interest.
_OUTPUT_TOKENS = 2
_ATTEMPTS, _PAUSE_S = 3, 1.0
#: Of the answer in a conversation of two turns.
_ANSWER_TOKENS = 32


class _Measurement:
    """Sends requests to one server, and returns what it counts as their prompts' tokens. mark: what the system prompt
    begins with."""

    def __init__(
        self, options: ChatOptions, host: str, least_tokens: int, client: StreamClient, sleep: Callable[[float], object]
    ) -> None:
        self._options, self._host, self._client, self._sleep = options, host, client, sleep
        self._system_prompt = load_workload(options).system_prompt
        self._engine, self._timeouts = engine_of(options), patient(options.timeouts)
        self._changes = body_changes(options, self._engine)
        self._most_tokens = max(_OUTPUT_TOKENS, least_tokens)
        self.mark = ""

    def tokens(self, text: str, mode: str, history: tuple[ChatMessage, ...] = ()) -> int | None:
        """By the server's usage, None where it reports none. mode: whether there is a system prompt, `on` or `off`;
        history: messages before the text. Raises PreflightFailed."""
        for attempt in range(1, _ATTEMPTS + 1):
            timeline = self._send(text, mode, history)
            if timeline.outcome in (Outcome.OK, Outcome.EMPTY):
                return timeline.prompt_tokens if timeline.prompt_tokens_source == "usage" else None
            if attempt == _ATTEMPTS or not may_pass(timeline):
                break
            self._sleep(_PAUSE_S)
        options, failure = self._options, failure_of(timeline, self._options, self._host)
        purpose = f"that calibrates {options.length_option or '--prompts'} ({PROMPT[mode]})"
        sent = sent_key(options, origin_of(self._host))
        raise PreflightFailed(failure_text(failure, purpose, self._host, options.model, sent=sent))

    def _send(self, text: str, mode: str, history: tuple[ChatMessage, ...]) -> Timeline:
        request = ChatRequest(
            model=self._options.model,
            prompt=text,
            system_prompt=f"{self.mark}{self._system_prompt}" if mode == "on" else None,
            earlier=history,
            max_tokens=self._most_tokens,
            changes=self._changes,
        )
        if self._options.control.adaptations.system_in_prompt:
            request = request.without_system_role()
        return StreamingRequest(self._client, RequestSpec(self._engine, request, self._timeouts, "calibration")).run()


def calibrate_lengths(
    options: ChatOptions,
    host: str,
    modes: Collection[str],
    least_tokens: int = 1,
    sleep: Callable[[float], object] = gevent.sleep,
) -> TextCalibration:
    """Send up to 50 short requests, and find out what a prompt of each system-prompt mode (`on`, `off`) has besides its
    words, and what words cost. Nothing of it is counted. least_tokens: the shortest answer that can be requested.

    The system prompt is sent as in the run, as its tokens are part of the length. Raises PreflightFailed,
    CalibrationFailed, and what an unusable address or option raises.
    """
    workload = load_workload(options)
    client = new_client(options, origin_of(host), engine_of(options))
    measurement = _Measurement(options, host, least_tokens, client, sleep)
    try:
        option = options.length_option or "--prompts"
        found = calibrate(measurement.tokens, modes, workload.count_tokens, option)
        if "on" in modes and found.includes_template and not options.cache.shares:
            measurement.mark = system_mark(text_maker(found, secrets.token_hex(8), workload.count_tokens), 0)
            marked_tokens = measurement.tokens(HEAD, "on") or found.head_tokens["on"]
            found = msgspec.structs.replace(found, head_tokens=found.head_tokens | {"on": marked_tokens})
        if options.sessions.turns is not None and options.cache.shares:
            found = _with_turn_tokens(found, measurement.tokens)
    finally:
        client.close()
    check_recorded(workload.prompts, found)
    _check_and_log(options, workload, found)
    return found


def _with_turn_tokens(
    found: TextCalibration, measure: Callable[[str, str, tuple[ChatMessage, ...]], int | None]
) -> TextCalibration:
    """With what a further turn adds besides the answer before it and its own words, where that is exact."""
    if not (found.includes_template and found.adds_up):
        return found
    mode = min(found.head_tokens)
    answer = text_maker(found, secrets.token_hex(8), None).block(0, _ANSWER_TOKENS, "answer")
    history = (ChatMessage("user", HEAD), ChatMessage("assistant", answer.text.strip()))
    tokens = measure(HEAD, mode, history)
    if tokens is None:
        return found
    return msgspec.structs.replace(found, turn_tokens=tokens - found.head_tokens[mode] - answer.tokens)


def check_recorded(prompts: RunPrompts, found: TextCalibration) -> None:
    """Raises CalibrationFailed where more than 1 % of prompts whose texts are made are too short for what every prompt
    has."""
    if not isinstance(prompts, PromptSet) or not prompts.stats.made:
        return
    for mode, head_tokens in found.head_tokens.items():
        share = sum(tokens <= head_tokens for tokens in prompts.stats.lengths) / len(prompts.stats.lengths)
        if share > MOST_TOO_SHORT:
            raise CalibrationFailed(
                f"--prompts: {share:.0%} of the recorded prompts have at most {head_tokens} tokens, which the chat "
                f"template{' and the system prompt take' if mode == 'on' else ' takes'}; leave them out by "
                "--prompt-tokens."
            )


def warn_of_short(source: TraceSource, found: TextCalibration) -> None:
    """Log how many prompts of a trace are shorter than what every prompt has, by system-prompt mode."""
    tokens = source.plan.input_tokens
    for mode, head_tokens in found.head_tokens.items():
        if short := int((tokens < head_tokens).sum()):
            logger.warning(
                "%s: %s of %s prompts are recorded with less than %s tokens, and are sent with %s: chat template and "
                "first word have so many (%s)",
                *(TRACE, f"{short:,}", f"{len(tokens):,}", head_tokens, head_tokens, PROMPT[mode]),
            )


def _check_and_log(options: ChatOptions, workload: Workload, found: TextCalibration) -> None:
    """Raises CalibrationFailed."""
    if (lengths := options.lengths.plan.input) is not None:
        prefix_tokens = options.cache.prefix.tokens if options.cache.prefix else 0
        check_shortest(lengths, options.lengths.input_notation, found, prefix_tokens)
    if isinstance(workload.prompts, TraceSource):
        warn_of_short(workload.prompts, found)
    heads = ", ".join(f"{tokens} tokens {PROMPT[mode]}" for mode, tokens in found.head_tokens.items())
    logger.info(
        "Lengths of prompts are calibrated: %s gave the token counts of %s words; besides its words each prompt has %s",
        "the tokenizer and the server's usage" if found.source == "tokenizer" else "the server's usage",
        f"{len(found.costs):,}",
        heads,
    )
