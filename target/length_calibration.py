"""Requests before the load that find out how texts of requested lengths are made for a server."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection

import gevent

from tokenswarm.client.request_options import ChatOptions, body_changes, engine_of
from tokenswarm.client.request_spec import RequestSpec
from tokenswarm.client.server_address import origin_of
from tokenswarm.client.streaming_request import StreamingRequest
from tokenswarm.client.workload import load_workload
from tokenswarm.engines import ChatRequest
from tokenswarm.metrics.level import PROMPT
from tokenswarm.metrics.timeline import Outcome, Timeline
from tokenswarm.prompts.synthetic.calibration import TextCalibration, calibrate, check_shortest
from tokenswarm.target.advice import failure_of, failure_text
from tokenswarm.target.preflight import PreflightFailed, may_pass, new_client, patient

logger = logging.getLogger(__name__)

#: The answers are of no interest.
_OUTPUT_TOKENS = 2
_ATTEMPTS, _PAUSE_S = 3, 1.0


def calibrate_lengths(
    options: ChatOptions,
    host: str,
    modes: Collection[str],
    least_tokens: int = 1,
    sleep: Callable[[float], object] = gevent.sleep,
) -> TextCalibration:
    """Send up to 50 short requests, and find out what a prompt of each system-prompt mode (`on`, `off`) has besides its
    words, and what words cost. Nothing of it is counted. least_tokens: the shortest answer that can be requested.

    The system prompt is sent as it is, as its tokens are part of the length. Raises PreflightFailed, CalibrationFailed,
    and what an unusable address or option raises.
    """
    assert options.lengths.plan.input is not None
    origin = origin_of(host)
    engine, workload, timeouts = engine_of(options), load_workload(options), patient(options.timeouts)
    client = new_client(options, origin, engine)
    changes = body_changes(options, engine)

    def send(text: str, mode: str) -> Timeline:
        request = ChatRequest(
            model=options.model,
            prompt=text,
            system_prompt=workload.system_prompt if mode == "on" else None,
            max_tokens=max(_OUTPUT_TOKENS, least_tokens),
            changes=changes,
        )
        if options.control.adaptations.system_in_prompt:
            request = request.without_system_role()
        return StreamingRequest(client, RequestSpec(engine, request, timeouts, "calibration")).run()

    def measure(text: str, mode: str) -> int | None:
        for attempt in range(1, _ATTEMPTS + 1):
            timeline = send(text, mode)
            if timeline.outcome in (Outcome.OK, Outcome.EMPTY):
                return timeline.prompt_tokens if timeline.prompt_tokens_source == "usage" else None
            if attempt == _ATTEMPTS or not may_pass(timeline):
                break
            sleep(_PAUSE_S)
        failure = failure_of(timeline, options, host)
        raise PreflightFailed(
            failure_text(
                *(failure, f"that calibrates --input-tokens ({PROMPT[mode]})", host, options.model),
                may_have_key=options.may_have_key(origin),
            )
        )

    try:
        found = calibrate(measure, modes, workload.count_tokens)
    finally:
        client.close()
    check_shortest(options.lengths.plan.input, options.lengths.input_notation, found)
    heads = ", ".join(f"{tokens} tokens {PROMPT[mode]}" for mode, tokens in found.head_tokens.items())
    logger.info(
        "Lengths of prompts are calibrated: %s gave the token counts of %s words; besides its words each prompt has %s",
        "the tokenizer and the server's usage" if found.source == "tokenizer" else "the server's usage",
        f"{len(found.costs):,}",
        heads,
    )
    return found
