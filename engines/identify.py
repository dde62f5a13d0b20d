"""Which engine a server is, from what it answers to a handful of GETs. No sockets: `fetch` brings the answers.

Most engines name themselves in `owned_by` of their list of models; others have a page that only they have. What tells
versions apart is in `_SPLIT`. A gateway (BentoML) may stand in front of an engine and is told beside it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeVar

import msgspec

from engines.bentoml import MAX_TOKENS_RANGE
from engines.errors import error_message
from engines.records import EngineError
from sanitize import server_text

MODELS = "/v1/models"
#: How much of what a server says of itself is repeated: of a version, of a sentence.
_VERSION_CHARACTERS = 100
_EVIDENCE_CHARACTERS = 300
BENTOML = "BentoML"


class NotReady(EngineError):
    """Something answers, but not yet what it will: it loads, or a gateway waits for it."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A response to a GET. Names of headers are lower-case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


Fetch = Callable[[str], Answer | None]
Kind = TypeVar("Kind", list[Any], dict[str, Any])
#: Engines that are other endpoints, or other models, of a server that is recognised as one of these.
_SAME_SERVER = {
    "tgi-generate": {"tgi", "tgi-2.0.4"},
    "lmdeploy-interactive": {"lmdeploy", "lmdeploy-0.4.0"},
    "triton": {"triton-bls"},
    "triton-bls": {"triton"},
}
#: Of an engine that loads, or of a gateway whose engine does.
_NOT_YET = {502, 503, 504}


@dataclass(frozen=True, slots=True)
class Found:
    """A server, recognised. evidence: sentences for a person, of what was seen and what had to be assumed.

    models: names that it can be asked for. max_tokens_range: the shortest and longest answer that it lets one ask for,
    where it says so. looks_like: an engine that is not the one that it shall be taken for. models_refused: the error
    that came in place of the list of models, None where there was none.
    """

    engine: str
    version: str | None
    gateway: str | None
    models: list[str]
    evidence: list[str]
    max_tokens_range: tuple[int, int] | None = None
    looks_like: str | None = None
    models_refused: ModelsRefused | None = None


@dataclass(frozen=True, slots=True)
class ModelsRefused:
    """An error in place of the list of models. words: the server's own."""

    status: int
    words: str


def identify(fetch: Fetch, engine: str | None = None) -> Found:
    """What answers. `fetch` GETs a path and returns None where no answer came.

    With `engine`, that is what it is taken for, and evidence says so where it looks like another. Raises EngineError
    where nothing answers, or nothing that is known (only without `engine`), and NotReady for what is still starting.
    """
    server = _Server(fetch)
    try:
        found = _identified(server, engine)
    except NotReady as error:
        raise NotReady(server_text(str(error), _EVIDENCE_CHARACTERS)) from None
    except EngineError as error:
        raise EngineError(server_text(str(error), _EVIDENCE_CHARACTERS)) from None
    return replace(
        found,
        version=found.version and server_text(found.version, _VERSION_CHARACTERS),
        evidence=[server_text(sentence, _EVIDENCE_CHARACTERS) for sentence in found.evidence],
        models_refused=_models_refused(server),
    )


def _identified(server: _Server, engine: str | None) -> Found:
    try:
        found = _recognise(server)
    except EngineError:
        if engine is None or not server.alive:
            raise
        found = Found(engine, None, server.gateway(), _models_of(server, engine), [f"--engine {engine} was given"])
        return replace(found, max_tokens_range=_max_tokens_range(server, engine))
    if engine is None or found.engine == engine:
        return found
    looks_like = None if found.engine in _SAME_SERVER.get(engine, ()) else found.engine
    but = f", although this looks like {looks_like}" if looks_like else ""
    same = engine.partition("-")[0] == found.engine.partition("-")[0]
    return replace(
        found,
        engine=engine,
        version=found.version if same else None,
        models=_models_of(server, engine) or found.models,
        evidence=[f"--engine {engine} was given{but}", *found.evidence],
        max_tokens_range=_max_tokens_range(server, engine),
        looks_like=looks_like,
    )


class _Server:
    """What answered what, each path asked once."""

    def __init__(self, fetch: Fetch) -> None:
        self._fetch = fetch
        self._answers: dict[str, Answer | None] = {}

    def get(self, path: str) -> Answer | None:
        if path not in self._answers:
            self._answers[path] = self._fetch(path)
        return self._answers[path]

    def status(self, path: str) -> int:
        answer = self.get(path)
        return answer.status if answer else 0

    def json(self, path: str) -> Any:
        """The document of a 200, None where there is none."""
        answer = self.get(path)
        return _document(answer.body) if answer and answer.status == 200 else None

    def text(self, path: str) -> str:
        answer = self.get(path)
        return answer.body.decode("utf-8", "replace") if answer and answer.status == 200 else ""

    @property
    def alive(self) -> bool:
        return any(self._answers.values())

    @property
    def answers(self) -> list[tuple[str, Answer]]:
        return [(path, answer) for path, answer in self._answers.items() if answer]

    def gateway(self) -> str | None:
        """BentoML names itself on its API's responses; its probes are a bare line end, which no engine's are."""
        ready = self.get("/readyz")
        if any(answer.headers.get("server", "").startswith("BentoML") for _, answer in self.answers):
            return BENTOML
        return BENTOML if ready and ready.status == 200 and ready.body == b"\n" else None


@dataclass(frozen=True, slots=True)
class _Seen:
    engine: str
    because: str


def _recognise(server: _Server) -> Found:
    if server.get(MODELS) is None and server.get("/health") is None:
        raise EngineError("nothing answers there: the connection opens, but no response to GET /v1/models or /health")
    for clue in (_server_header, _owner, _tgi, _triton, _ollama, _metrics, _routes, _anthropic, _bentoml):
        if seen := clue(server):
            engine, version, assumed = _version_of(server, seen.engine)
            gateway = server.gateway()
            behind = f"behind {gateway}" if gateway and engine != "bentoml" else None
            evidence = [note for note in (seen.because, assumed, behind) if note]
            models = _models_of(server, engine)
            return Found(engine, version, gateway, models, evidence, _max_tokens_range(server, engine))
    return _last_resort(server)


# Clues, the surest first.

#: What engines write into their models' owned_by.
_OWNERS = {
    "vllm": "vllm",
    "lmdeploy": "lmdeploy",
    "MLC-LLM": "mlc",
    "tensorrt_llm": "trtllm",
    "sglang": "sglang",
    "llamacpp": "llamacpp",
}
_METRICS = {
    "vllm:": "vllm",
    "lmdeploy:": "lmdeploy",
    "sglang:": "sglang",
    "llamacpp:": "llamacpp",
    "tgi_": "tgi",
    "engine_prefill_time_sum": "mlc",
}
_HEADERS = {"llama.cpp": "llamacpp"}


def _server_header(server: _Server) -> _Seen | None:
    for path, answer in server.answers:
        if engine := _HEADERS.get(answer.headers.get("server", "")):
            return _Seen(engine, f"GET {path}: the header Server is {answer.headers['server']}")
    return None


def _owner(server: _Server) -> _Seen | None:
    for model in _listed(server):
        if engine := _OWNERS.get(_text_at(model, "owned_by") or ""):
            return _Seen(engine, f"GET {MODELS}: the models are owned_by {model['owned_by']}")
    return None


def _tgi(server: _Server) -> _Seen | None:
    info = server.json("/info")
    if isinstance(info, dict) and "model_id" in info and "max_concurrent_requests" in info:
        return _Seen("tgi", "GET /info: a model_id and max_concurrent_requests, as TGI tells them")
    return None


def _triton(server: _Server) -> _Seen | None:
    about = server.json("/v2")
    if isinstance(about, dict) and about.get("name") == "triton":
        return _Seen("triton", "GET /v2: the name is triton")
    ready = server.get("/v2/health/ready")
    if ready and ready.status in {200, 400} and not ready.body and server.status("/v2") != 200:
        return _Seen("triton", f"GET /v2/health/ready: an empty {ready.status}")
    return None


def _ollama(server: _Server) -> _Seen | None:
    about = server.json("/api/version")
    if isinstance(about, dict) and isinstance(about.get("version"), str):
        return _Seen("ollama", "GET /api/version has a version")
    return None


def _metrics(server: _Server) -> _Seen | None:
    text = server.text("/metrics")
    for prefix, engine in _METRICS.items():
        if re.search(rf"^{re.escape(prefix)}", text, re.MULTILINE):
            return _Seen(engine, f"GET /metrics has names that begin with {prefix}")
    if isinstance(_document(text.encode()), list) and isinstance(server.json("/version"), dict):
        return _Seen("trtllm", "GET /metrics is a JSON array, and GET /version has a version")
    return None


def _routes(server: _Server) -> _Seen | None:
    paths = _at(server.json("/openapi.json"), "paths", dict)
    if "/v1/chat/interactive" in paths:
        return _Seen("lmdeploy", "GET /openapi.json has the route /v1/chat/interactive")
    if "/v1/chat/completions" in paths and isinstance(server.json("/version"), dict):
        return _Seen("vllm", "GET /openapi.json has /v1/chat/completions, and GET /version has a version")
    return None


def _anthropic(server: _Server) -> _Seen | None:
    answer = server.get(MODELS)
    document = _document(answer.body) if answer else None
    if isinstance(document, dict) and document.get("type") == "error" and isinstance(document.get("error"), dict):
        return _Seen("anthropic", f"GET {MODELS}: an error in Anthropic's shape")
    if any(model.get("type") == "model" and "display_name" in model for model in _listed(server)):
        return _Seen("anthropic", f"GET {MODELS}: models in Anthropic's shape")
    return None


def _bentoml(server: _Server) -> _Seen | None:
    routes = _at(server.json("/schema.json"), "routes", list)
    if any(isinstance(route, dict) and route.get("route") == "/generate" for route in routes):
        return _Seen("bentoml", "GET /schema.json has the route /generate")
    if server.gateway() and not _listed(server):
        return _Seen("bentoml", f"BentoML answers, without GET {MODELS}: taken for a service with /generate")
    return None


def _last_resort(server: _Server) -> Found:
    models = _names(_listed(server), "id")
    if models:
        owner = _text_at(_listed(server)[0], "owned_by")
        because = f"GET {MODELS} lists models as OpenAI does, owned_by {owner}, which is none of the engines known here"
        return Found("openai", None, server.gateway(), models, [because, "taken for a plain OpenAI server"])
    late = next((f"GET {path} gives HTTP {it.status}" for path, it in server.answers if it.status in _NOT_YET), None)
    if late:
        raise NotReady(f"the server is not ready: {late}")
    answer = server.get(MODELS)
    if (refused := _models_refused(server)) and refused.status in {401, 403}:
        raise EngineError(
            f"the server requires an API key: set LLM_API_KEY to a valid one (GET {MODELS} gives HTTP "
            f"{refused.status}: {refused.words})"
        )
    got = f"HTTP {answer.status}, {answer.headers.get('content-type', 'no content type')}" if answer else "no answer"
    raise EngineError(
        f"no engine known here was recognised (GET {MODELS}: {got}); if it is one, say which with --engine"
    )


# Versions of one engine that speak differently.


def _version_of(server: _Server, engine: str) -> _Version:
    if engine in _SPLIT:
        return _SPLIT[engine](server)
    path, key = _PAGES.get(engine, ("", ""))
    return _Version(engine, _text_at(server.json(path), key) if path else None)


class _Version(NamedTuple):
    """engine: by its name in ENGINES. assumed: what had to be."""

    engine: str
    version: str | None
    assumed: str | None = None


def _vllm(server: _Server) -> _Version:
    version = _text_at(server.json("/version"), "version")
    if version is None:
        return _Version("vllm", None, "GET /version tells none: taken for a vLLM of 0.5 or later")
    return _Version("vllm-0.4.2" if _before(version, 0, 5) else "vllm", version)


def _lmdeploy(server: _Server) -> _Version:
    if server.status("/health") == 404:
        return _Version(
            "lmdeploy-0.4.0", None, "without GET /health, which came with 0.6: taken for an LMDeploy of 0.4"
        )
    return _Version("lmdeploy", None)


def _mlc(server: _Server) -> _Version:
    if server.status("/metrics") == 404:
        return _Version("mlc-2024", None, "without GET /metrics: taken for an MLC-LLM of 2024")
    return _Version("mlc", None)


def _tgi_version(server: _Server) -> _Version:
    version = _text_at(server.json("/info"), "version")
    if version is None:
        return _Version("tgi", None, "GET /info tells no version: taken for a TGI of 2.2 or later")
    return _Version("tgi-2.0.4" if _before(version, 2, 2) else "tgi", version)


def _triton_model(server: _Server) -> _Version:
    version = _text_at(server.json("/v2"), "version")
    if server.status("/v2/models/ensemble/ready") == 200:
        return _Version("triton", version, "the model ensemble is ready: taken to send new text only")
    if server.status("/v2/models/tensorrt_llm_bls/ready") == 200:
        return _Version(
            "triton-bls", version, "only the model tensorrt_llm_bls is ready: taken to repeat the whole text"
        )
    return _Version("triton", version, "neither ensemble nor tensorrt_llm_bls is ready: taken for ensemble")


_SPLIT: dict[str, Callable[[_Server], _Version]] = {
    "vllm": _vllm,
    "lmdeploy": _lmdeploy,
    "mlc": _mlc,
    "tgi": _tgi_version,
    "triton": _triton_model,
}
_PAGES = {
    "trtllm": ("/version", "version"),
    "llamacpp": ("/props", "build_info"),
    "ollama": ("/api/version", "version"),
}


def _before(version: str, major: int, minor: int) -> bool:
    match = re.match(r"v?(\d{1,9})\.(\d{1,9})", version, re.ASCII)
    return match is not None and (int(match[1]), int(match[2])) < (major, minor)


# Names of models.


def _models_of(server: _Server, engine: str) -> list[str]:
    if engine.startswith("triton"):
        return ["tensorrt_llm_bls" if engine == "triton-bls" else "ensemble"]
    if engine.startswith("tgi"):
        name = _text_at(server.json("/info"), "model_id")
        return [name] if name else []
    if engine == "ollama":
        return _names(_at(server.json("/api/tags"), "models", list), "name")
    if engine == "bentoml":
        name = _text_at(server.json("/schema.json"), "name")
        return [name] if name else []
    return _names(_listed(server), "id")


def _models_refused(server: _Server) -> ModelsRefused | None:
    answer = server.get(MODELS)
    if answer is None or answer.status < 400 or answer.status == 404:
        return None
    return ModelsRefused(answer.status, server_text(error_message(answer.body), _EVIDENCE_CHARACTERS))


def _listed(server: _Server) -> list[dict[str, Any]]:
    return [model for model in _at(server.json(MODELS), "data", list) if isinstance(model, dict)]


def _names(models: list[dict[str, Any]], key: str) -> list[str]:
    return [name for model in models if isinstance(model, dict) and isinstance(name := model.get(key), str)]


def _max_tokens_range(server: _Server, engine: str) -> tuple[int, int] | None:
    """What a BentoML service's schema allows for max_tokens, or what the published services do."""
    if engine != "bentoml":
        return None
    for route in _at(server.json("/schema.json"), "routes", list):
        try:
            limits = route["input"]["properties"]["max_tokens"]
            return int(limits["minimum"]), int(limits["maximum"])
        except (KeyError, TypeError, ValueError, OverflowError):
            continue
    return MAX_TOKENS_RANGE


def _at(document: Any, key: str, kind: type[Kind]) -> Kind:
    """The list or dictionary that an object has at a key; an empty one where it has none of that kind."""
    value = document.get(key) if isinstance(document, dict) else None
    return value if isinstance(value, kind) else kind()


def _text_at(document: Any, key: str) -> str | None:
    value = document.get(key) if isinstance(document, dict) else None
    return value if isinstance(value, str) else None


def _document(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
