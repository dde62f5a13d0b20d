"""A probe: which server it is, what connecting costs, and the few requests that show how it answers."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import gevent
import msgspec

from tokenswarm.client.request_options import ChatOptions, body_changes, engine_of
from tokenswarm.client.request_spec import CountTokens, RequestSpec
from tokenswarm.client.sent_key import sent_key
from tokenswarm.client.workload import check_images, first_image
from tokenswarm.engines import ENGINES, ChatRequest, DetectedServer, EngineError, EngineSpec, NotReady
from tokenswarm.engines.engine_metrics import Concept
from tokenswarm.engines.openai import OpenAICompatible
from tokenswarm.engines.server_metrics import MetricsUnreadable
from tokenswarm.metrics.level import PROMPT
from tokenswarm.metrics.timeline import Outcome
from tokenswarm.probe.connect_costs import ConnectCosts, measure_connect
from tokenswarm.probe.findings import (
    OptionFinding,
    ProbeTraces,
    misleading,
    options_followed,
    prefix_cache,
    reaches_the_limit,
)
from tokenswarm.probe.stream_trace import StreamTrace
from tokenswarm.probe.traced_request import send_traced
from tokenswarm.prompts import load_system_prompt
from tokenswarm.prompts.images import load_images
from tokenswarm.sanitize import SentKey
from tokenswarm.target.advice import (
    Failure,
    engine_advice,
    failure_text,
    refusal,
    request_address,
    route_option,
    with_advice,
)
from tokenswarm.target.metrics_scraper import MetricsPage, NoMetricsPage, metrics_pages
from tokenswarm.target.server_detection import (
    HttpGetter,
    check_reachable,
    found_ready,
    missing_path_advice,
    model_of,
    models_path,
)
from tokenswarm.wire import Origin, ProxyFailed, StreamClient, WireError

QUESTION = "Describe, in a few sentences, how a lighthouse keeper spent a night a hundred years ago."
#: A model says a word or two, unless it may not end.
BRIEF_QUESTION = "Is water wet? Answer with one word."
#: Of the questions whose answers matter less. Services may have a least length of their own.
_BRIEF_TOKENS = 64
_SHORT_TOKENS = 16
#: A server that closes after its answer has done so by then.
_CLOSES_WITHIN_S = 0.1


class ProbeError(ValueError):
    """There is no report on the server; the text is one sentence."""


class ProbeReport(msgspec.Struct, frozen=True):
    """The report on a server: `--json` prints it."""

    host: str
    engine: str
    version: str | None
    gateway: str | None
    model: str
    evidence: list[str]
    connect_costs: ConnectCosts
    trace: StreamTrace
    options: list[OptionFinding]
    server_metrics: str | None
    misleading: list[str]


@dataclass(frozen=True, slots=True)
class Probe:
    """Which server to probe, and how its requests are made. engine None: detect it, whatever the options say."""

    host: str
    origin: Origin
    options: ChatOptions
    engine: str | None
    count_tokens: CountTokens | None = None

    def run(self) -> ProbeReport:
        """Probe the server. Raises ProbeError, OptionError."""
        connect_costs = self._connect_costs()
        found = self._recognised()
        model = model_of(self.options.model, found, self.host, self._sent_key)
        options = replace(self.options, engine=found.engine, model=model)
        engine = engine_of(options)
        client = self._client(options.headers_for(self.origin, engine))
        page = self._metrics_page(found.engine, engine)
        try:
            traces, kept_alive = self._send_requests(client, options, found, page)
        finally:
            client.close()
        return ProbeReport(
            host=self.host,
            engine=found.engine,
            version=found.version,
            gateway=found.gateway,
            model=model,
            evidence=found.evidence,
            connect_costs=connect_costs,
            trace=traces.plain,
            options=[*options_followed(traces), prefix_cache(traces)],
            server_metrics=page.url if page else None,
            misleading=misleading(traces, kept_alive, self.count_tokens is not None),
        )

    def _connect_costs(self) -> ConnectCosts:
        """Raises ProbeError, OptionError."""
        try:
            return measure_connect(
                self.origin, self.options.timeouts.connect_s, self.options.tls.context(), self.options.proxy
            )
        except (OSError, ProxyFailed) as error:
            check_reachable(self._client({}), self.host)  # the sentence of a run, which names what to check
            raise ProbeError(f"the server cannot be reached: {with_advice(error, self.host)}") from None

    @property
    def _sent_key(self) -> SentKey:
        return sent_key(self.options, self.origin)

    def _client(self, headers: dict[str, str]) -> StreamClient:
        options = self.options
        return StreamClient(
            self.origin, options.timeouts.connect_s, headers, options.tls.context(), proxy=options.proxy
        )

    def _recognised(self) -> DetectedServer:
        client = self._client(self.options.headers_for(self.origin, ENGINES[self.engine or "openai"]))
        try:
            return found_ready(HttpGetter(client, models_path(self.options.control.request_path)), self.engine)
        except NotReady as late:
            raise ProbeError(f"{self.host} is not ready: {late}; run the probe again when it is.") from None
        except EngineError as error:
            path_advice = missing_path_advice(error, self.options, self.origin)
            raise ProbeError(refusal(error, self.host, self.options.model, self._sent_key) + path_advice) from None
        finally:
            client.close()

    def _send_requests(
        self, client: StreamClient, options: ChatOptions, found: DetectedServer, page: MetricsPage | None
    ) -> tuple[ProbeTraces, bool]:
        """The traces, and whether the first one's connection was kept. Raises ProbeError."""
        engine, model = engine_of(options), options.model
        check_images(engine, options)
        question = ChatRequest(
            model=model,
            prompt=QUESTION,
            system_prompt=None,
            max_tokens=options.max_tokens,
            changes=body_changes(options, engine),
            image=first_image(load_images(options.control.images)),
        )
        least = found.max_tokens_range[0] if found.max_tokens_range else 1
        brief = replace(question, prompt=BRIEF_QUESTION, max_tokens=max(_BRIEF_TOKENS, least))
        short = replace(question, max_tokens=max(_SHORT_TOKENS, least))
        # Never sent before: what it costs to compute shows once.
        nonce = secrets.token_hex(8)
        with_system_prompt = replace(short, system_prompt=f"{nonce}\n{load_system_prompt(None)}")

        def sent(request: ChatRequest, how: EngineSpec = engine) -> StreamTrace:
            return send_traced(
                client, RequestSpec(how, request, options.timeouts, "probe", count_tokens=self.count_tokens)
            )

        plain = sent(question)
        if plain.outcome != "ok":
            failure = Failure(
                *(Outcome(plain.outcome), plain.status, plain.error),
                url=request_address(options, self.host),
                route_option=route_option(options),
                names_model=engine.requests_name_model,
            )
            text = failure_text(failure, PROMPT["off"], self.host, model, found.models, self._sent_key)
            raise ProbeError(f"{text}{engine_advice(found)}")
        gevent.sleep(_CLOSES_WITHIN_S)
        second = sent(brief)
        exact = sent(replace(brief, ignore_eos=True)) if engine.honours_ignore_eos else None
        mistyped = None
        if exact is not None and _is_plain(engine.exact_length) and reaches_the_limit(second, brief.max_tokens):
            assert engine.exact_length is not None
            wrong = replace(engine, exact_length=_mistyped(engine.exact_length))
            mistyped = sent(replace(brief, ignore_eos=True), wrong)
        without_usage = None
        if isinstance(engine, OpenAICompatible) and engine.requests_usage:
            without_usage = sent(short, replace(engine, requests_usage=False))
        cold = sent(with_system_prompt)
        before = _cache_hits(page)
        warm = sent(with_system_prompt)
        after = _cache_hits(page)
        cached = None if before is None or after is None else after - before
        traces = ProbeTraces(plain, second, exact, brief.max_tokens, mistyped, without_usage, cold, warm, cached)
        return traces, second.connect_s == 0

    def _metrics_page(self, name: str, engine: EngineSpec) -> MetricsPage | None:
        """The first of the engine's pages that has known metrics."""
        options = self.options
        headers = options.headers_for(self.origin, engine)
        for candidate in metrics_pages(name, self.origin, headers, options.tls, options.proxy):
            if _read(candidate):
                return candidate
        return None


def _is_plain(options: Mapping[str, Any] | None) -> bool:
    """Whether a server that heeds the options checks their types. One inside another (debug_config of MLC-LLM)
    may be checked and not heeded."""
    return bool(options) and not any(isinstance(value, Mapping) for value in (options or {}).values())


def _mistyped(options: Mapping[str, Any]) -> dict[str, Any]:
    """The same options, each with a text that is no value of it."""
    return dict.fromkeys(options, "neither")


def _read(page: MetricsPage) -> dict[Concept, float]:
    try:
        return page.read()
    except (NoMetricsPage, WireError, MetricsUnreadable):
        return {}


def _cache_hits(page: MetricsPage | None) -> float | None:
    return _read(page).get(Concept.PREFIX_CACHE_HITS_TOTAL) if page else None
