"""Before a run: which engine its server is, what model it serves, and whether it is ready."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

import gevent

from engines import ENGINES, Answer, Counts, EngineError, Found, NotReady, identify
from sanitize import server_text
from users.address import origin_of
from users.options import AUTO, ChatOptions, OptionError, api_key, check_engine, key_advice, request_headers
from wire import StreamClient, WireError, broke_unanswered

logger = logging.getLogger(__name__)

_PATIENCE_S = 5.0
_RETRY_S = 1.0
_TELL_EVERY_S = 15.0
#: 400 is what Triton says of itself while it loads.
_NOT_YET = {400, 502, 503, 504}
#: BentoCloud starts a deployment of no replicas when it is asked for this.
_WAKING_PATH = "/readyz"
#: Of the models that a server lists, so many are named, and names may have so many characters.
_MOST_NAMES = 20
_MOST_NAME_CHARACTERS = 200


@dataclass(frozen=True, slots=True)
class Server:
    """The server of a run. waited_s: until it was ready, 0 where it was so at once."""

    found: Found
    model: str
    waited_s: float


def find_server(
    options: ChatOptions,
    host: str,
    sleep: Callable[[float], object] = gevent.sleep,
    now_s: Callable[[], float] = time.monotonic,
) -> Server:
    """Recognise the server (or take it for what --engine says), wait until it is ready, and choose the model. Raises
    OptionError, UnusableUrl."""
    origin = origin_of(host)
    headers = request_headers(ENGINES["openai" if options.engine == AUTO else options.engine], options.key_for(origin))
    client = StreamClient(origin, options.timeouts.connect_s, headers, options.tls.context())
    inquiry = Inquiry(client)
    try:
        _connect(client, host)
        found, waited_s = _when_ready(inquiry, options, sleep, now_s)
    except EngineError as error:
        withheld = api_key() and not options.may_have_key(origin)
        advice = f" {key_advice(may_have_key=False)}." if withheld else ""
        raise OptionError(f"{host}: {error}.{advice}") from None
    finally:
        client.close()
    engine = ENGINES[found.engine]
    check_engine(options, engine, found.max_tokens_range)
    level = logging.WARNING if found.looks_like else logging.INFO
    logger.log(level, "The server is %s%s: %s", found.engine, _and_more(found), "; ".join(found.evidence))
    if engine.counts is Counts.EVENTS and options.tokenizer is None:
        logger.warning(
            "%s does not tell how many tokens an answer has: its events are counted instead (as source `events`), and "
            "one may hold several tokens; give --tokenizer to have tokens counted",
            engine.name,
        )
    return Server(found, model_of(options.model, found, host, options.may_have_key(origin)), waited_s)


def _connect(client: StreamClient, host: str) -> None:
    """Raises OptionError where no connection can be had."""
    try:
        client.connect()
    except WireError as error:
        raise OptionError(f"the server cannot be reached: {error}; is --host {host} right, and does it run?") from None


class Inquiry:
    """GETs of one server, on a connection of their own. silent: whether one was not answered in time."""

    def __init__(self, client: StreamClient) -> None:
        self._client = client
        self.silent = False

    def get(self, path: str) -> Answer | None:
        """What it answers within some seconds, None where it does not."""
        try:
            exchange = self._client.get(path)
            arrivals = exchange.wait(_PATIENCE_S)
            if broke_unanswered(exchange):
                exchange = self._client.get(path)
                arrivals = exchange.wait(_PATIENCE_S)
        except WireError:
            return None
        self.silent |= not exchange.ended
        if not exchange.ended or exchange.error is not None:
            self._client.close()
            return None
        response = exchange.response
        return Answer(response.status, response.headers, b"".join(arrival.data for arrival in arrivals))


def _when_ready(
    inquiry: Inquiry, options: ChatOptions, sleep: Callable[[float], object], now_s: Callable[[], float]
) -> tuple[Found, float]:
    """What the server is, and how long it took to be ready. Raises EngineError."""
    began_s = now_s()
    tell_at_s = began_s
    while True:
        try:
            found = found_ready(inquiry, None if options.engine == AUTO else options.engine)
        except NotReady as late:
            reason = str(late)
        else:
            waited_s = now_s() - began_s if tell_at_s > began_s else 0.0
            if waited_s:
                logger.info("The server is ready after %.1f s, which are no part of any figure", waited_s)
            return found, waited_s
        waited_s = now_s() - began_s
        if waited_s >= options.ready_timeout_s:
            raise EngineError(f"{reason}; this did not change within {options.ready_timeout_s:g} s (--ready-timeout)")
        if now_s() >= tell_at_s:
            logger.info("Waiting for the server, for %.0f s so far: %s", waited_s, reason)
            tell_at_s = now_s() + _TELL_EVERY_S
        inquiry.get(_WAKING_PATH)
        sleep(_RETRY_S)


def found_ready(inquiry: Inquiry, engine: str | None) -> Found:
    """What the server is (or is taken for), if it is ready. Raises EngineError, and NotReady for what may be so
    later."""
    inquiry.silent = False
    try:
        found = identify(inquiry.get, engine)
    except EngineError as error:
        if inquiry.silent:  # a gateway may hold requests until its engine runs
            raise NotReady("the server does not answer") from error
        raise
    for path in filter(None, [ENGINES[found.engine].health_path, _WAKING_PATH if found.gateway else None]):
        answer = inquiry.get(path)
        if answer is None:
            raise NotReady(f"GET {path} is not answered")
        if answer.status in _NOT_YET:
            raise NotReady(f"GET {path} gives HTTP {answer.status}")
    return found


def _and_more(found: Found) -> str:
    version = f" {found.version}" if found.version else ""
    return version + (f" behind {found.gateway}" if found.gateway and found.engine != "bentoml" else "")


def model_of(given: str, found: Found, host: str, may_have_key: bool = True) -> str:
    """--model as it was given, or the one model that the server says it serves; "" where the engine is asked for none.
    may_have_key: whether the API key was sent, if there is one. Raises OptionError."""
    if given:
        return given
    names = [server_text(name, _MOST_NAME_CHARACTERS) for name in found.models[:_MOST_NAMES]]
    if len(found.models) == 1:
        if names != found.models:
            raise OptionError(
                f"--model is empty, and the name of the only model that {host} serves cannot be used, for it is too "
                f"long or holds what no name should ({names[0]}); give --model."
            )
        return names[0]
    if not ENGINES[found.engine].asks_for_model:
        return ""
    if not names and (refused := found.models_refused):
        advice = key_advice(may_have_key) if refused.status in {401, 403} else "Give --model, or see the server's log"
        raise OptionError(f"{host}: GET /v1/models gives HTTP {refused.status}: {refused.words}. {advice}.")
    if not names:
        raise OptionError(f"--model is empty, and {host} does not tell which models it serves; give --model.")
    told = ", ".join(names) + (", …" if len(names) < len(found.models) else "")
    raise OptionError(f"--model is empty, and {host} serves {len(found.models)} models ({told}); give --model.")


def unasked(options: ChatOptions) -> Server:
    """Where the server is out of this machine's reach: what the options say of it."""
    check_engine(options, ENGINES[options.engine], None)
    evidence = [f"--engine {options.engine} was given, and the server was not asked from here"]
    return Server(Found(options.engine, None, None, [options.model], evidence), options.model, 0.0)
