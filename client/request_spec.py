"""One request as it is to be sent: everything that is known before it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from tokenswarm.client.late_reading import LateReading
from tokenswarm.client.timeouts import Timeouts
from tokenswarm.engines import ChatRequest, EngineSpec
from tokenswarm.metrics.abandonment import Abandonment
from tokenswarm.metrics.shareable import Shareable
from tokenswarm.metrics.timeline import NO_SESSION, PLAIN_LOAD, RequestLoad, SessionPlace

CountTokens = Callable[[str], int]


class RequestSpec(msgspec.Struct, frozen=True):
    """user: its name in the results. level: the index of the load's level. prompt_tokens, and who counted them
    (prompt_tokens_source), stand unless the server's usage says otherwise. prompt_id names the prompt's row in its
    source, custom_id is that row's own name. trace_id: sent in a traceparent header, "" for none.
    input_tokens_requested, output_tokens_requested: by the run's options, None: none. Without measure_gaps, the stream
    is watched to its first output only, where late_reading allows it (None: it does). count_tokens: counts the output's
    tokens where the server does not. model_index, host_index: the places of its model and host among those of the run.
    load: the waits around the request. honours_retry_after: a 429 or 503 with a Retry-After header is refused_by_limit.
    place: in its session. headers: further ones of this request. keeps_answer: whether the text of its answer is
    needed. prefix_group: of its shared prefix; shareable: what a prefix cache may hold of it, None where that is not
    known. abandonment: when its user leaves it, None where it waits for the end. name: see Timeline."""

    engine: EngineSpec
    request: ChatRequest
    timeouts: Timeouts
    user: str
    level: int = 0
    prompt_tokens: int = 0
    prompt_tokens_source: str = ""
    prompt_id: str = ""
    custom_id: str = ""
    trace_id: str = ""
    measure_gaps: bool = True
    late_reading: LateReading | None = None
    count_tokens: CountTokens | None = None
    input_tokens_requested: int | None = None
    output_tokens_requested: int | None = None
    model_index: int = 0
    host_index: int = 0
    load: RequestLoad = PLAIN_LOAD
    honours_retry_after: bool = False
    place: SessionPlace = NO_SESSION
    headers: Mapping[str, str] = {}
    keeps_answer: bool = False
    prefix_group: int | None = None
    shareable: Shareable | None = None
    abandonment: Abandonment | None = None
    name: str = ""
