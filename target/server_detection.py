"""Before a run: which engine its server is, what model it serves, and whether it is ready."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import gevent

from tokenswarm.client.api_key import KEY_REFUSED
from tokenswarm.client.option_values import OptionError
from tokenswarm.client.request_options import AUTO, ChatOptions, check_engine, engine_of
from tokenswarm.client.sent_key import sent_key
from tokenswarm.client.server_address import base_url, origin_of
from tokenswarm.engines import (
    ENGINES,
    Counts,
    DetectedServer,
    EngineError,
    GetResponse,
    NothingAnswers,
    NotReady,
    NotRecognised,
    PageForbidden,
    identify,
)
from tokenswarm.engines.server_pages import MODELS
from tokenswarm.sanitize import SentKey, full_stop, key_advice, server_text
from tokenswarm.target.advice import NOT_FOUND, refusal, with_advice
from tokenswarm.target.preflight import PreflightResult
from tokenswarm.wire import (
    ClientCertificateRefused,
    NotHttp,
    Origin,
    StreamClient,
    WireError,
    broke_unanswered,
)

logger = logging.getLogger(__name__)

_PATIENCE_S = 5.0
_RETRY_S = 1.0
_LOG_EVERY_S = 15.0
#: 400 is Triton's answer while it loads.
_NOT_YET = {400, 502, 503, 504}
#: BentoCloud starts a deployment of no replicas at a request for this.
_WAKING_PATH = "/readyz"
#: Of the models that a server lists, so many are named, and names may have so many characters.
_MOST_NAMES = 20
_MOST_NAME_CHARACTERS = 200


@dataclass(frozen=True, slots=True)
class ReadyServer:
    """The server of a run. waited_s: until it was ready, 0 where it was so at once. preflight: what its answers to a
    preflight have shown, nothing where there was none."""

    found: DetectedServer
    model: str
    waited_s: float
    preflight: PreflightResult = field(default_factory=PreflightResult)


def find_server(
    options: ChatOptions,
    host: str,
    sleep: Callable[[float], object] = gevent.sleep,
    now_s: Callable[[], float] = time.monotonic,
) -> ReadyServer:
    """Recognise the server (or take it for what --engine says), wait until it is ready, and choose the model. Raises
    OptionError, UnusableUrl."""
    origin = origin_of(host)
    headers = options.headers_for(origin, ENGINES["openai" if options.engine == AUTO else options.engine])
    client = StreamClient(origin, options.timeouts.connect_s, headers, options.tls.context(), proxy=options.proxy)
    getter = HttpGetter(client, models_path(options.control.request_path))
    try:
        check_reachable(client, host)
        found, waited_s = _when_ready(getter, options, sleep, now_s)
    except EngineError as error:
        more = missing_path_advice(error, options, origin)
        sentences = refusal(error, host, options.model, sent_key(options, origin), options.preflight)
        raise OptionError(sentences + more) from None
    finally:
        client.close()
    engine = ENGINES[found.engine]
    check_engine(options, engine, found.max_tokens_range)
    if found.conflicting_engine:
        given, *clues = found.evidence
        logger.warning("%s (%s)", given, "; ".join(clues))
    else:
        logger.info("Detected engine: %s%s (%s)", found.engine, _and_more(found), "; ".join(found.evidence))
    if engine.counts is Counts.EVENTS and options.tokenizer is None:
        logger.warning(
            "%s does not report how many tokens a response has: its events are counted instead (as source `events`), "
            "and one may hold several tokens; set --tokenizer to count tokens",
            engine.name,
        )
    if not engine_of(replace(options, engine=found.engine)).requests_name_model:
        return ReadyServer(found, _served_model(options.model, found), waited_s)
    try:
        model = model_of(options.model, found, host, sent_key(options, origin), options.preflight)
    except OptionError as error:
        raise OptionError(f"{error}{path_advice(options, origin) if found.models_missing else ''}") from None
    return ReadyServer(found, model, waited_s)


def missing_path_advice(error: EngineError, options: ChatOptions, origin: Origin) -> str:
    """A further sentence for a server that was not recognised, where the path of --host is to blame; else ""."""
    no_models = isinstance(error, NotRecognised | PageForbidden) and error.status == NOT_FOUND
    return path_advice(options, origin) if no_models else ""


def path_advice(options: ChatOptions, origin: Origin) -> str:
    """A sentence where the server lists models without the path of --host (or requires a key for that); else ""."""
    if not origin.prefix:
        return ""
    root = replace(origin, prefix="")
    headers = options.headers_for(root, ENGINES["openai" if options.engine == AUTO else options.engine])
    client = StreamClient(root, options.timeouts.connect_s, headers, options.tls.context(), proxy=options.proxy)
    try:
        answer = HttpGetter(client).get(MODELS)
    except EngineError:
        return ""
    finally:
        client.close()
    if answer is None or answer.status not in {200, *KEY_REFUSED}:
        return ""
    return f" The path {origin.prefix} does not exist there: try --host {root.root}."


def check_reachable(client: StreamClient, host: str) -> None:
    """Raises OptionError where no connection can be had."""
    try:
        client.connect()
    except WireError as error:
        raise OptionError(f"the server cannot be reached: {with_advice(error, host)}") from None


class HttpGetter:
    """Sends GETs to one server, on a connection of their own. silent: whether one was not answered in time; not_http:
    what was wrong with an answer that was no HTTP, "" where there was none."""

    def __init__(self, client: StreamClient, models: str = MODELS) -> None:
        """models: where the list of models is, if it is not at its usual path."""
        self._client = client
        self._models = models
        self.silent = False
        self.not_http = ""

    def get(self, path: str) -> GetResponse | None:
        """The response, None where none comes within some seconds. Raises EngineError where a proxy refuses it,
        and where the server requires another client certificate."""
        if path == MODELS != self._models:
            elsewhere = self._get(self._models)
            if elsewhere is not None and elsewhere.status == 200:
                return elsewhere
        return self._get(path)

    def tls_address(self) -> str | None:
        """The https address of the server, where it speaks TLS at the port of its http address; else None."""
        return self._client.tls_address()

    def _get(self, path: str) -> GetResponse | None:
        try:
            exchange = self._client.get(path)
            arrivals = exchange.wait(_PATIENCE_S)
            if broke_unanswered(exchange):
                exchange = self._client.get(path)
                arrivals = exchange.wait(_PATIENCE_S)
        except ClientCertificateRefused as refused:
            raise EngineError(str(refused)) from None
        except WireError:
            return None
        if isinstance(exchange.error, ClientCertificateRefused):
            raise EngineError(str(exchange.error))
        self.silent |= not exchange.ended
        if isinstance(exchange.error, NotHttp):
            self.not_http = str(exchange.error)
        if not exchange.ended or exchange.error is not None:
            self._client.close()
            return None
        response = exchange.response
        if refusal_of_proxy := self._client.proxy_refusal(response.status):
            raise EngineError(refusal_of_proxy)
        return GetResponse(response.status, response.headers, b"".join(arrival.data for arrival in arrivals))


def models_path(request_path: str) -> str:
    """Where a server that takes requests at this path ("" for the engine's own) may list its models."""
    route = request_path.partition("?")[0]
    for ending in ("/chat/completions", "/completions", "/responses"):
        if route.endswith(ending) and "{" not in route:
            return f"{route.removesuffix(ending)}/models"
    return MODELS


def _when_ready(
    getter: HttpGetter, options: ChatOptions, sleep: Callable[[float], object], now_s: Callable[[], float]
) -> tuple[DetectedServer, float]:
    """What the server is, and how long it took to be ready. Raises EngineError."""
    began_s = now_s()
    log_at_s = began_s
    while True:
        try:
            found = found_ready(getter, None if options.engine == AUTO else options.engine)
        except NotReady as late:
            reason = str(late)
        else:
            waited_s = now_s() - began_s if log_at_s > began_s else 0.0
            if waited_s:
                logger.info("Server ready after %.1f s (not counted)", waited_s)
            return found, waited_s
        waited_s = now_s() - began_s
        if waited_s >= options.ready_timeout_s:
            raise EngineError(f"{reason}; this did not change within {options.ready_timeout_s:g} s (--ready-timeout)")
        if now_s() >= log_at_s:
            logger.info("Waiting for the server, for %.0f s so far: %s", waited_s, reason)
            log_at_s = now_s() + _LOG_EVERY_S
        getter.get(_WAKING_PATH)
        sleep(_RETRY_S)


def found_ready(getter: HttpGetter, engine: str | None) -> DetectedServer:
    """What the server is (or is taken for), if it is ready. Raises EngineError, and NotReady for what may be so
    later."""
    getter.silent, getter.not_http = False, ""
    try:
        found = identify(getter.get, engine)
    except EngineError as error:
        if getter.silent:  # a gateway may hold requests until its engine runs
            raise NotReady("the server does not answer (if it stays so, check --host)") from error
        if not isinstance(error, PageForbidden) and (address := getter.tls_address()) is not None:
            raise EngineError(f"the server speaks TLS there: give {address} as --host") from None
        if getter.not_http and isinstance(error, NothingAnswers):
            raise EngineError(f"what listens there is no HTTP server: {getter.not_http}; check --host") from None
        raise
    for path in filter(None, [ENGINES[found.engine].health_path, _WAKING_PATH if found.gateway else None]):
        answer = getter.get(path)
        if answer is None:
            raise NotReady(f"GET {path} is not answered")
        if answer.status in _NOT_YET:
            raise NotReady(f"GET {path} gives HTTP {answer.status}")
    return found


def _and_more(found: DetectedServer) -> str:
    version = f" {found.version}" if found.version else ""
    return version + (f" behind {found.gateway}" if found.gateway and found.engine != "bentoml" else "")


def model_of(given: str, found: DetectedServer, host: str, sent: SentKey, preflight: bool = True) -> str:
    """--model as it was given, or the only model that the server lists. sent: what authorised the requests to it.
    preflight: whether a request is sent before the run. Raises OptionError."""
    if given:
        return given
    names = [server_text(name, _MOST_NAME_CHARACTERS) for name in found.models[:_MOST_NAMES]]
    if len(found.models) == 1:
        if names != found.models:
            raise OptionError(
                f"--model is empty, and the name of the only model that {host} serves cannot be used, for it is too "
                f"long or holds what no name should ({names[0]!r}); give --model."
            )
        return names[0]
    if not names and (refused := found.models_refused):
        advice = "Give --model, or see the server's log"
        if refused.status in KEY_REFUSED:
            advice = key_advice(refused.status, sent, given, refused.basic)
            advice += "" if preflight else ". To start without that request, give --model"
        raise OptionError(f"{host}: GET /v1/models gives HTTP {refused.status}: {full_stop(refused.words)} {advice}.")
    if not names and found.models_missing:
        raise OptionError(
            f"--model is empty, and GET {base_url(host)}{MODELS} gives HTTP 404; check --host, or give --model."
        )
    if not names:
        raise OptionError(f"--model is empty, and {host} lists no models; give --model.")
    listed = ", ".join(map(repr, names)) + (", …" if len(names) < len(found.models) else "")
    raise OptionError(f"--model is empty, and {host} serves {len(found.models)} models ({listed}); give --model.")


def _served_model(given: str, found: DetectedServer) -> str:
    """Of a server whose requests name no model: the only one that it reports, "" where that is not known. given:
    --model, which is not sent."""
    names = [server_text(name, _MOST_NAME_CHARACTERS) for name in found.models[:1]]
    served = names[0] if names and names == found.models else ""
    if given and given != served:
        known = f"the server reports {served!r}" if served else "the server does not report which one it serves"
        logger.warning("--model %r has no effect: requests to %s name no model, and %s", given, found.engine, known)
    return served


def server_from_options(options: ChatOptions) -> ReadyServer:
    """Where this machine cannot reach the server: engine and model are as the options name them."""
    check_engine(options, ENGINES[options.engine], None)
    evidence = [f"--engine {options.engine} was given, and the server was not reached from here"]
    model = options.model if engine_of(options).requests_name_model else ""
    return ReadyServer(DetectedServer(options.engine, None, None, [model] if model else [], evidence), model, 0.0)
