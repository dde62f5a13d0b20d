"""Which engine a server is, from what it answers to a handful of GETs. No sockets: `fetch` brings the answers.

Each engine's spec has its clues (detection.py); here is only their order, and the evidence of what was found. A gateway
(BentoML) may stand in front of an engine and is reported beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from tokenswarm.engines.detection import Clue, openai_models
from tokenswarm.engines.engine_spec import EngineSpec
from tokenswarm.engines.engine_table import ENGINES, SHIPPED
from tokenswarm.engines.errors import EngineError, error_message
from tokenswarm.engines.pages import looks_like_a_page
from tokenswarm.engines.server_pages import METRICS, MODELS, Fetch, GetResponse, ServerPages, text_member
from tokenswarm.sanitize import server_text

#: Limits of what is repeated of a server's version and sentences.
_VERSION_CHARACTERS = 100
_EVIDENCE_CHARACTERS = 300
#: Where chat requests are posted, and a path beside it that no server has.
_CHAT_ROUTE, _NO_ROUTE = "/v1/chat/completions", "/v1/chat/no-such-route"


class NotReady(EngineError):
    """Something answers, but not yet what it will: it loads, or a gateway waits for it."""


class PageForbidden(EngineError):
    """An unknown server refuses its list of models, or another page by which engines are recognised, with HTTP 401 or
    403. status: of GET /v1/models. hint: what to check besides the key, as a sentence without its full stop; "" for
    nothing."""

    def __init__(self, refused: PageRefused, status: int, hint: str = "") -> None:
        super().__init__(f"GET {refused.path} gives HTTP {refused.status}: {refused.words}")
        self.refused = refused
        self.status = status
        self.hint = hint


class NotRecognised(EngineError):
    """What answers is nothing that is known. status: of GET /v1/models, 0 where no response came."""

    def __init__(self, text: str, status: int) -> None:
        super().__init__(text)
        self.status = status


class WebPageFound(EngineError):
    """The server answers GET /v1/models with a web page."""


#: Of an engine that loads, or of a gateway whose engine does.
_NOT_YET = {502, 503, 504}
_UNAUTHORIZED, _FORBIDDEN, _NOT_FOUND = 401, 403, 404
#: What servers answer to a request without the key that it needs.
_NO_ACCESS = {_UNAUTHORIZED, _FORBIDDEN}


@dataclass(frozen=True, slots=True)
class DetectedServer:
    """A server, recognised. evidence: clauses on what was seen and what had to be assumed.

    models: names that requests may use. max_tokens_range: the shortest and longest answer that requests may set,
    None where it sets no limits. conflicting_engine: another engine that the server looks like. models_refused: the
    error that came in place of the list of models, None where there was none. models_missing: whether GET /v1/models
    gives HTTP 404.
    """

    engine: str
    version: str | None
    gateway: str | None
    models: list[str]
    evidence: list[str]
    max_tokens_range: tuple[int, int] | None = None
    conflicting_engine: str | None = None
    models_refused: PageRefused | None = None
    models_missing: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True)
class PageRefused:
    """An error in place of the list of models, or of the page at `path`. words: the server's message. basic: whether it
    challenges for a user name and password (HTTP Basic)."""

    status: int
    words: str
    basic: bool = False
    path: str = MODELS


class NothingAnswers(EngineError):
    """No GET got a response."""


def identify(fetch: Fetch, engine: str | None = None) -> DetectedServer:
    """The server at the other end of `fetch`, which GETs a path and returns None where no response came.

    With `engine`, it is taken for that engine, and evidence says so where it looks like another. Raises EngineError
    where nothing answers, or nothing that is known (only without `engine`), and NotReady for what is still starting.
    """
    pages = ServerPages(fetch)
    try:
        found = _identified(pages, engine)
    except (PageForbidden, WebPageFound, NothingAnswers):
        raise
    except NotReady as error:
        raise NotReady(server_text(str(error), _EVIDENCE_CHARACTERS)) from None
    except NotRecognised as error:
        raise NotRecognised(server_text(str(error), _EVIDENCE_CHARACTERS), error.status) from None
    except EngineError as error:
        raise EngineError(server_text(str(error), _EVIDENCE_CHARACTERS)) from None
    return replace(
        found,
        version=found.version and server_text(found.version, _VERSION_CHARACTERS),
        evidence=[server_text(sentence, _EVIDENCE_CHARACTERS) for sentence in found.evidence],
        models_refused=_models_refused(pages),
        models_missing=pages.status(MODELS) == _NOT_FOUND,
    )


def _identified(pages: ServerPages, engine: str | None) -> DetectedServer:
    try:
        found = _recognise(pages)
    except EngineError:
        if engine is None or not pages.alive:
            raise
        return _described(pages, ENGINES[engine], [f"--engine {engine} was given"])
    if engine is None or found.engine == engine:
        return found
    detection = ENGINES[engine].detection
    conflicting_engine = None if found.engine in detection.same_server else found.engine
    but = f", but the server looks like {conflicting_engine}" if conflicting_engine else ""
    same = engine.partition("-")[0] == found.engine.partition("-")[0]
    return replace(
        found,
        engine=engine,
        version=found.version if same else None,
        models=detection.models(pages) or found.models,
        evidence=[f"--engine {engine} was given{but}", *found.evidence],
        max_tokens_range=detection.max_tokens_range(pages),
        conflicting_engine=conflicting_engine,
    )


def _described(pages: ServerPages, spec: EngineSpec, evidence: list[str], version: str | None = None) -> DetectedServer:
    """The server as that engine, with what its pages say."""
    models, max_tokens_range = spec.detection.models(pages), spec.detection.max_tokens_range(pages)
    return DetectedServer(spec.name, version, _gateway(pages), models, evidence, max_tokens_range)


def _gateway(pages: ServerPages) -> str | None:
    """The gateway in front of the engine, if there is one that is known."""
    names = (spec.detection.gateway(pages) for spec in ENGINES.values() if spec.detection.is_gateway)
    return next((name for name in names if name), None)


def _recognise(pages: ServerPages) -> DetectedServer:
    """The engine with the strongest clue. Raises EngineError where there is none."""
    if pages.get(MODELS) is None and pages.get("/health") is None:
        raise NothingAnswers(
            "nothing answers there: the connection opens, but no response to GET /v1/models or /health; check --host"
        )
    for spec, clue in _clues():
        if because := clue.find(pages):
            version, engine, assumed = spec.detection.version(pages)
            gateway = None if spec.detection.is_gateway else _gateway(pages)
            behind = f"behind {gateway}" if gateway else None
            evidence = [note for note in (because, assumed, behind) if note]
            return _described(pages, ENGINES[engine or spec.name], evidence, version)
    return _last_resort(pages)


def _clues() -> list[tuple[EngineSpec, Clue]]:
    """Of all engines, the strongest first; of the same strength, those of packages and locustfiles first: they know
    their server better."""
    clues = [(spec, clue) for spec in ENGINES.values() for clue in spec.detection.clues]
    return sorted(clues, key=lambda each: (each[1].strength, each[0].name in SHIPPED))


def _last_resort(pages: ServerPages) -> DetectedServer:
    if openai_models(pages):
        owner = text_member(pages.listed_models()[0], "owned_by")
        because = f"GET {MODELS} lists models as OpenAI does, owned_by {owner}, which is none of the engines known here"
        evidence = [because, "taken for a plain OpenAI server"]
        return DetectedServer("openai", None, _gateway(pages), openai_models(pages), evidence)
    if (elsewhere := _redirection(pages.get(MODELS))) is not None:
        raise EngineError(elsewhere)
    if (reason := _like_openai(pages)) is not None:
        evidence = [reason, "taken for a plain OpenAI server"]
        return DetectedServer("openai", None, _gateway(pages), [], evidence)
    late = next((f"GET {path} gives HTTP {it.status}" for path, it in pages.responses if it.status in _NOT_YET), None)
    if late:
        raise NotReady(late)
    response = pages.get(MODELS)
    content_type = response.headers.get("content-type", "no content type") if response else ""
    got = f"HTTP {response.status}, {content_type}" if response else "no answer"
    if (refused := _models_refused(pages)) and refused.status in _NO_ACCESS:
        raise PageForbidden(refused, refused.status)
    if (status := pages.status(MODELS)) != 200 and (refused := _forbidden_page(pages)):
        seen = f"No other page shows an engine known here (GET {MODELS}: {got})"
        raise PageForbidden(refused, status, f"{seen}: check address and port, too")
    if response and looks_like_a_page(response.body.decode("utf-8", "replace")):
        raise WebPageFound(f"GET {MODELS} gives a web page")
    raise NotRecognised(
        f"no engine known here was recognised (GET {MODELS}: {got}): check address and port. If it is an LLM server, "
        "name its engine with --engine",
        pages.status(MODELS),
    )


#: What servers answer to a GET of a path that takes POSTs; 404 is that of a path that does not exist.
_ONLY_POSTS = {400, 401, 403, 405, 411, 415, 422}


def _like_openai(pages: ServerPages) -> str | None:
    """Evidence of a server that speaks OpenAI's protocol and lists no models: an empty list, or no list and a chat
    route. None where there is none, or where the server is not ready or wants a key."""
    status = pages.status(MODELS)
    document = pages.json(MODELS)
    if isinstance(document, dict) and document.get("data") == [] and document.get("object", "list") == "list":
        return f"GET {MODELS} gives an empty list of models"
    if status in _NOT_YET or status in {0, 200, 401, 403}:
        return None
    if _CHAT_ROUTE in pages.routes():
        return f"GET {MODELS} gives HTTP {status}, and GET /openapi.json has the route {_CHAT_ROUTE}"
    if (answer := pages.status(_CHAT_ROUTE)) in _ONLY_POSTS and pages.status(_NO_ROUTE) != answer:
        return f"GET {MODELS} gives HTTP {status}, and GET {_CHAT_ROUTE} HTTP {answer}, as of a route that takes POSTs"
    return None


def _models_refused(pages: ServerPages) -> PageRefused | None:
    response = pages.get(MODELS)
    if response is None or response.status < 400 or response.status == _NOT_FOUND:
        return None
    return _page_refused(MODELS, response)


def _forbidden_page(pages: ServerPages) -> PageRefused | None:
    """The first page that the server refused for lack of authorization; its metrics, which proxies keep to themselves,
    last. None where it refused none."""
    refused = [(path, response) for path, response in pages.responses if response.status in _NO_ACCESS]
    first = min(refused, key=lambda each: each[0] == METRICS, default=None)
    return _page_refused(*first) if first else None


def _page_refused(path: str, response: GetResponse) -> PageRefused:
    words = server_text(error_message(response.body), _EVIDENCE_CHARACTERS)
    basic = response.status == _UNAUTHORIZED and is_basic(response.headers)
    return PageRefused(response.status, words, basic, path)


def is_basic(headers: Mapping[str, str]) -> bool:
    """Whether a response challenges for a user name and password, as its headers (names in lower case) have it."""
    return headers.get("www-authenticate", "").strip().lower().startswith("basic")


def _redirection(response: GetResponse | None) -> str | None:
    """Where a response sends its client, and what to do, as a clause; None where it sends it nowhere."""
    if response is None or not 300 <= response.status < 400:
        return None
    location = response.headers.get("location", "").split("?")[0]  # a query may hold a secret
    address = location.rstrip("/").removesuffix(MODELS)
    found = "://" in location and "@" not in location and address != location.rstrip("/")
    where = location if location and "@" not in location else "elsewhere"
    return f"GET {MODELS} is redirected to {where}; give {address if found else 'the address that answers'} as --host"
