"""What a server is taken for, from its answers to a handful of GETs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenswarm.engines import (
    ENGINES,
    DetectedServer,
    EngineError,
    GetResponse,
    NotReady,
    PageForbidden,
    PageRefused,
    WebPageFound,
    identify,
)

JSON = {"content-type": "application/json"}
NOT_FOUND = GetResponse(404, JSON, b'{"detail":"Not Found"}')
EMPTY = GetResponse(200, {"content-length": "0"}, b"")


def page(document: Any, status: int = 200, **headers: str) -> GetResponse:
    return GetResponse(status, JSON | headers, json.dumps(document).encode())


def text(body: str, status: int = 200, **headers: str) -> GetResponse:
    return GetResponse(status, {"content-type": "text/plain"} | headers, body.encode())


def models(owner: str, *names: str) -> GetResponse:
    listed = [{"id": name, "object": "model", "created": 1, "owned_by": owner} for name in names or ("llama",)]
    return page({"object": "list", "data": listed})


class Site:
    """A server of these pages; any other path gives `otherwise`."""

    def __init__(self, pages: Mapping[str, GetResponse | None], otherwise: GetResponse | None = NOT_FOUND) -> None:
        self._pages = pages
        self.otherwise = otherwise
        self.asked: list[str] = []

    def __call__(self, path: str) -> GetResponse | None:
        self.asked.append(path)
        return self._pages.get(path, self.otherwise)


PROBE = text("\n")
VLLM = {"/v1/models": models("vllm"), "/version": page({"version": "0.32.0"}), "/health": EMPTY}
LMDEPLOY = {"/v1/models": models("lmdeploy"), "/health": page({"status": "ok", "message": ""})}
TRITON = {
    "/v2": page({"name": "triton", "version": "2.45.0", "extensions": ["classification"]}),
    "/v2/health/ready": EMPTY,
}
TGI_INFO = {
    "model_id": "meta-llama/Meta-Llama-3-8B-Instruct",
    "max_concurrent_requests": 128,
    "max_input_tokens": 1024,
    "max_total_tokens": 2048,
}
SCHEMA = {
    "name": "tiny_llm",
    "type": "service",
    "routes": [
        {
            "name": "generate",
            "route": "/generate",
            "input": {"properties": {"max_tokens": {"default": 64, "maximum": 2048, "minimum": 1}}},
        }
    ],
}
BENTOML = {"/readyz": PROBE, "/livez": PROBE, "/healthz": PROBE, "/schema.json": page(SCHEMA)}

#: Pages of a server, and what it is.
SITES: dict[str, tuple[Site, DetectedServer]] = {
    "vllm": (
        Site(VLLM),
        DetectedServer("vllm", "0.32.0", None, ["llama"], ["GET /v1/models: the models are owned_by vllm"]),
    ),
    "vllm of no version": (
        Site({"/v1/models": models("vllm")}),
        DetectedServer(
            "vllm",
            None,
            None,
            ["llama"],
            [
                "GET /v1/models: the models are owned_by vllm",
                "GET /version shows none: taken for a vLLM of 0.5 or later",
            ],
        ),
    ),
    "vllm by its metrics": (
        Site(
            {
                "/v1/models": models("tokenswarm"),
                "/version": page({"version": "0.11.0"}),
                "/metrics": text("# TYPE vllm:num_requests_running gauge\nvllm:num_requests_running 0\n"),
            }
        ),
        DetectedServer("vllm", "0.11.0", None, ["llama"], ["GET /metrics has names that begin with vllm:"]),
    ),
    "vllm-0.4.2": (
        Site(VLLM | {"/version": page({"version": "0.4.2"})}),
        DetectedServer("vllm-0.4.2", "0.4.2", None, ["llama"], ["GET /v1/models: the models are owned_by vllm"]),
    ),
    "vllm that wants a key": (
        Site(
            {
                "/v1/models": page({"error": "Unauthorized"}, 401),
                "/version": page({"version": "0.32.0"}),
                "/metrics": text("vllm:num_requests_running 0\n"),
            }
        ),
        DetectedServer(
            *("vllm", "0.32.0", None, [], ["GET /metrics has names that begin with vllm:"]),
            models_refused=PageRefused(401, "Unauthorized"),
        ),
    ),
    "vllm behind BentoML": (
        Site(VLLM | {"/readyz": PROBE}),
        DetectedServer(
            "vllm", "0.32.0", "BentoML", ["llama"], ["GET /v1/models: the models are owned_by vllm", "behind BentoML"]
        ),
    ),
    "vllm behind BentoML, by its header": (
        Site(VLLM | {"/version": page({"version": "0.4.2"}, server="BentoML Service/vllm")}),
        DetectedServer(
            "vllm-0.4.2",
            "0.4.2",
            "BentoML",
            ["llama"],
            ["GET /v1/models: the models are owned_by vllm", "behind BentoML"],
        ),
    ),
    "lmdeploy": (
        Site(LMDEPLOY),
        DetectedServer("lmdeploy", None, None, ["llama"], ["GET /v1/models: the models are owned_by lmdeploy"]),
    ),
    "lmdeploy that loads": (
        Site(LMDEPLOY | {"/health": page({"status": "initializing"}, 503)}),
        DetectedServer("lmdeploy", None, None, ["llama"], ["GET /v1/models: the models are owned_by lmdeploy"]),
    ),
    "lmdeploy by its metrics": (
        Site({"/v1/models": models("me"), "/health": EMPTY, "/metrics": text("lmdeploy:num_requests_running 0\n")}),
        DetectedServer("lmdeploy", None, None, ["llama"], ["GET /metrics has names that begin with lmdeploy:"]),
    ),
    "lmdeploy-0.4.0": (
        Site({"/v1/models": models("lmdeploy")}),
        DetectedServer(
            "lmdeploy-0.4.0",
            None,
            None,
            ["llama"],
            [
                "GET /v1/models: the models are owned_by lmdeploy",
                "without GET /health, which came with 0.6: taken for an LMDeploy of 0.4",
            ],
        ),
    ),
    "lmdeploy-0.4.0 by its routes": (
        Site(
            {
                "/v1/models": models("me"),
                "/openapi.json": page({"paths": {"/v1/chat/completions": {}, "/v1/chat/interactive": {}}}),
            }
        ),
        DetectedServer(
            "lmdeploy-0.4.0",
            None,
            None,
            ["llama"],
            [
                "GET /openapi.json has the route /v1/chat/interactive",
                "without GET /health, which came with 0.6: taken for an LMDeploy of 0.4",
            ],
        ),
    ),
    "mlc": (
        Site({"/v1/models": models("MLC-LLM"), "/metrics": text("prompt_tokens_sum\t9\n")}),
        DetectedServer("mlc", None, None, ["llama"], ["GET /v1/models: the models are owned_by MLC-LLM"]),
    ),
    "mlc by its metrics": (
        Site({"/v1/models": models("me"), "/metrics": text("prompt_tokens_sum\t9\nengine_prefill_time_sum\t0.5\n")}),
        DetectedServer(
            "mlc", None, None, ["llama"], ["GET /metrics has names that begin with engine_prefill_time_sum"]
        ),
    ),
    "mlc-2024": (
        Site({"/v1/models": models("MLC-LLM")}),
        DetectedServer(
            "mlc-2024",
            None,
            None,
            ["llama"],
            [
                "GET /v1/models: the models are owned_by MLC-LLM",
                "without GET /metrics: taken for an MLC-LLM of 2024",
            ],
        ),
    ),
    "trtllm": (
        Site({"/v1/models": models("tensorrt_llm"), "/version": page({"version": "1.2.0"}), "/metrics": page([])}),
        DetectedServer("trtllm", "1.2.0", None, ["llama"], ["GET /v1/models: the models are owned_by tensorrt_llm"]),
    ),
    "trtllm by its metrics": (
        Site({"/v1/models": models("me"), "/version": page({"version": "1.2.0"}), "/metrics": page([{"iter": 1}])}),
        DetectedServer(
            "trtllm",
            "1.2.0",
            None,
            ["llama"],
            ["GET /metrics is a JSON array, and GET /version has a version"],
        ),
    ),
    "triton": (
        Site(TRITON | {"/v2/models/ensemble/ready": EMPTY}),
        DetectedServer(
            "triton",
            "2.45.0",
            None,
            ["ensemble"],
            ["GET /v2: the name is triton", "the model ensemble is ready: taken to send new text only"],
        ),
    ),
    "triton-bls": (
        Site(
            {
                "/v2/health/ready": EMPTY,
                "/v2/models/ensemble/ready": GetResponse(400, {}, b""),
                "/v2/models/tensorrt_llm_bls/ready": EMPTY,
            }
        ),
        DetectedServer(
            "triton-bls",
            None,
            None,
            ["tensorrt_llm_bls"],
            [
                "GET /v2/health/ready: an empty 200",
                "only the model tensorrt_llm_bls is ready: taken to repeat the whole text",
            ],
        ),
    ),
    "triton that loads": (
        Site({"/v2/health/ready": GetResponse(400, {}, b"")}),
        DetectedServer(
            "triton",
            None,
            None,
            ["ensemble"],
            [
                "GET /v2/health/ready: an empty 400",
                "neither ensemble nor tensorrt_llm_bls is ready: taken for ensemble",
            ],
        ),
    ),
    "tgi": (
        Site({"/info": page(TGI_INFO | {"version": "3.3.7"}), "/health": EMPTY, "/v1/models": models("llama")}),
        DetectedServer(
            "tgi",
            "3.3.7",
            None,
            ["meta-llama/Meta-Llama-3-8B-Instruct"],
            ["GET /info: a model_id and max_concurrent_requests, as in TGI's"],
        ),
    ),
    "tgi-2.0.4": (
        Site({"/info": page(TGI_INFO | {"version": "2.0.4"}), "/health": EMPTY}, otherwise=GetResponse(404, {}, b"")),
        DetectedServer(
            "tgi-2.0.4",
            "2.0.4",
            None,
            ["meta-llama/Meta-Llama-3-8B-Instruct"],
            ["GET /info: a model_id and max_concurrent_requests, as in TGI's"],
        ),
    ),
    "tgi of no version": (
        Site({"/info": page(TGI_INFO)}),
        DetectedServer(
            "tgi",
            None,
            None,
            ["meta-llama/Meta-Llama-3-8B-Instruct"],
            [
                "GET /info: a model_id and max_concurrent_requests, as in TGI's",
                "GET /info shows no version: taken for a TGI of 2.2 or later",
            ],
        ),
    ),
    "bentoml": (
        Site(BENTOML, otherwise=text("Not Found", 404)),
        DetectedServer(
            "bentoml", None, "BentoML", ["tiny_llm"], ["GET /schema.json has the route /generate"], (1, 2048)
        ),
    ),
    "bentoml without a schema": (
        Site({"/readyz": PROBE}, otherwise=text("Not Found", 404)),
        DetectedServer(
            "bentoml",
            None,
            "BentoML",
            [],
            ["BentoML answers, without GET /v1/models: taken for a service with /generate"],
            (128, 1024),
        ),
    ),
    "sglang": (
        Site({"/v1/models": models("sglang"), "/health": EMPTY}),
        DetectedServer("sglang", None, None, ["llama"], ["GET /v1/models: the models are owned_by sglang"]),
    ),
    "sglang by its metrics": (
        Site({"/v1/models": models("me"), "/metrics": text('# HELP x\nsglang:num_running_reqs{a="b"} 0\n')}),
        DetectedServer("sglang", None, None, ["llama"], ["GET /metrics has names that begin with sglang:"]),
    ),
    "llamacpp": (
        Site(
            {
                "/v1/models": page({"data": [{"id": "tiny", "owned_by": "llamacpp"}]}, server="llama.cpp"),
                "/props": page({"build_info": "b11434-0123abc"}, server="llama.cpp"),
            },
            otherwise=page({"error": {"message": "File Not Found"}}, 404, server="llama.cpp"),
        ),
        DetectedServer(
            "llamacpp", "b11434-0123abc", None, ["tiny"], ["GET /v1/models: the header Server is llama.cpp"]
        ),
    ),
    "llamacpp that loads": (
        Site({}, otherwise=page({"error": {"message": "Loading model"}}, 503, server="llama.cpp")),
        DetectedServer(
            *("llamacpp", None, None, [], ["GET /v1/models: the header Server is llama.cpp"]),
            models_refused=PageRefused(503, "Loading model"),
        ),
    ),
    "koboldcpp, which has Ollama's pages too": (
        Site(
            {
                "/v1/models": models("koboldcpp", "koboldcpp/tiny"),
                "/api/extra/version": page({"result": "KoboldCpp", "version": "1.122.1", "protected": False}),
                "/api/version": page({"version": "0.7.0"}),
                "/api/tags": page({"models": [{"name": "koboldcpp", "model": "koboldcpp/tiny:latest"}]}),
            }
        ),
        DetectedServer(
            *("koboldcpp", "1.122.1", None, ["koboldcpp/tiny"]),
            ["GET /v1/models: the models are owned_by koboldcpp"],
        ),
    ),
    "ollama": (
        Site(
            {
                "/v1/models": models("library", "llama3:8b", "qwen3:4b"),
                "/api/version": page({"version": "0.12.0"}),
                "/api/tags": page({"models": [{"name": "llama3:8b"}, {"name": "qwen3:4b"}]}),
            }
        ),
        DetectedServer(
            "ollama",
            "0.12.0",
            None,
            ["llama3:8b", "qwen3:4b"],
            ["GET /api/version has a version, and GET /api/tags a list of models"],
        ),
    ),
    "openai": (
        Site({"/v1/models": models("openai-internal", "gpt-9")}),
        DetectedServer(
            "openai",
            None,
            None,
            ["gpt-9"],
            [
                "GET /v1/models lists models as OpenAI does, owned_by openai-internal, which is none of the engines "
                "known here",
                "taken for a plain OpenAI server",
            ],
        ),
    ),
    "anthropic": (
        Site(
            {"/v1/models": page({"data": [{"type": "model", "id": "claude", "display_name": "Claude"}]})},
            otherwise=page({"type": "error", "error": {"type": "not_found_error", "message": "Not found"}}, 404),
        ),
        DetectedServer("anthropic", None, None, ["claude"], ["GET /v1/models: models in Anthropic's shape"]),
    ),
    "anthropic that wants a key": (
        Site(
            {},
            otherwise=page({"type": "error", "error": {"type": "authentication_error", "message": "no key"}}, 401),
        ),
        DetectedServer(
            *("anthropic", None, None, [], ["GET /v1/models: an error in Anthropic's shape"]),
            models_refused=PageRefused(401, "no key"),
        ),
    ),
}


@pytest.mark.parametrize("name", SITES)
def test_a_server_is_taken_for_what_it_is(name: str) -> None:
    site, found = SITES[name]
    site.asked.clear()
    assert identify(site) == found
    assert found.engine in ENGINES
    assert len(site.asked) == len(set(site.asked)) <= 11


def test_every_engine_that_is_a_server_of_its_own_is_recognised() -> None:
    endpoints_of_others = {"tgi-generate", "lmdeploy-interactive"}
    assert {found.engine for _, found in SITES.values()} == set(ENGINES) - endpoints_of_others


def test_a_server_that_names_itself_is_asked_little() -> None:
    site = Site(VLLM)
    identify(site)
    assert site.asked == ["/v1/models", "/version", "/readyz"]


# What is no engine, or not yet.


def test_a_dead_server_is_told_as_such_after_two_questions() -> None:
    site = Site({}, otherwise=None)
    with pytest.raises(EngineError) as refused:
        identify(site)
    assert not isinstance(refused.value, NotReady)
    assert str(refused.value).startswith("nothing answers there")
    assert site.asked == ["/v1/models", "/health"]


@pytest.mark.parametrize(
    "site",
    [
        pytest.param(
            Site({}, GetResponse(404, {"content-type": "text/html"}, b"<h1>404</h1>")), id="pages that are not there"
        ),
        pytest.param(
            Site({}, GetResponse(200, {"content-type": "text/html"}, b"<html>Welcome to nginx!</html>")),
            id="one page for all",
        ),
        pytest.param(Site({}, page({"hello": "world"})), id="JSON for all"),
        pytest.param(Site({}, page([])), id="a JSON array for all"),
        pytest.param(Site({}, page({"data": [5, {"x": 1}]})), id="a list that is none of models"),
        pytest.param(Site({}, page({"data": "x"})), id="data that is no list"),
        pytest.param(Site({}, GetResponse(200, JSON, b"[" * 100_000)), id="JSON nested beyond reason for all"),
        pytest.param(Site({}, EMPTY), id="nothing for all"),
        pytest.param(Site({"/metrics": text("go_goroutines 5\nprocess_cpu_seconds_total 1\n")}), id="an exporter"),
        pytest.param(Site({"/health": page({"status": "ok"})}), id="a service with health"),
        pytest.param(Site({"/readyz": text("ok")}), id="a service with readyz"),
    ],
)
def test_a_web_server_that_is_no_engine_is_told_as_such(site: Site) -> None:
    with pytest.raises(EngineError) as refused:
        identify(site)
    assert not isinstance(refused.value, NotReady)
    assert isinstance(refused.value, WebPageFound) == bool(site.otherwise and site.otherwise.body[:1] == b"<")
    assert len(site.asked) <= 11


@pytest.mark.parametrize("status", [401, 403])
def test_a_server_behind_a_key_says_so(status: int) -> None:
    with pytest.raises(PageForbidden) as refused:
        identify(Site({}, page({"detail": "Not authenticated"}, status)))
    assert refused.value.refused == PageRefused(status, "Not authenticated")


@pytest.mark.parametrize("status", [401, 403])
def test_any_page_of_detection_that_requires_a_key_says_so(status: int) -> None:
    not_there = text("<html><title>404 Not Found</title></html>", 404)
    with pytest.raises(EngineError):
        identify(empty := Site({}, not_there))
    # A chat route that alone requires a key shows a server that speaks OpenAI's protocol.
    own_pages = [path for path in empty.asked if path != "/v1/models" and not path.startswith("/v1/chat/")]
    assert {"/v2", "/metrics"} < set(own_pages)
    for path in own_pages:
        with pytest.raises(PageForbidden) as refused:
            identify(Site({path: page({"error": "This API is restricted"}, status)}, not_there))
        assert refused.value.refused == PageRefused(status, "This API is restricted", path=path)
        assert refused.value.status == 404
        assert "HTTP 404" in refused.value.hint


def test_of_several_pages_that_require_a_key_metrics_are_named_last() -> None:
    site = Site({"/metrics": page({}, 403), "/openapi.json": page({}, 401)})
    with pytest.raises(PageForbidden) as refused:
        identify(site)
    assert refused.value.refused.path == "/openapi.json"
    assert site.asked.index("/metrics") < site.asked.index("/openapi.json")


def test_a_web_server_with_a_page_for_all_is_told_as_such_where_it_keeps_its_metrics() -> None:
    welcome = GetResponse(200, {"content-type": "text/html"}, b"<html>Welcome to nginx!</html>")
    with pytest.raises(WebPageFound):
        identify(Site({"/metrics": text("Forbidden", 403)}, welcome))


@pytest.mark.parametrize("status", [502, 503, 504])
def test_a_gateway_whose_engine_is_down_is_not_ready(status: int) -> None:
    with pytest.raises(NotReady) as late:
        identify(Site({}, text("Upstream service unavailable.", status)))
    assert str(late.value) == f"GET /v1/models gives HTTP {status}"


# With --engine.


def test_what_is_given_is_believed_and_what_it_looks_like_is_told() -> None:
    found = identify(SITES["llamacpp"][0], "vllm")
    # A version of llama.cpp is none of vLLM.
    assert (found.engine, found.version, found.models) == ("vllm", None, ["tiny"])
    assert found.evidence == [
        "--engine vllm was given, but the server looks like llamacpp",
        "GET /v1/models: the header Server is llama.cpp",
    ]


def test_what_is_given_and_found_has_its_evidence() -> None:
    assert identify(Site(VLLM), "vllm") == SITES["vllm"][1]


@pytest.mark.parametrize(
    ("given", "site", "model"),
    [
        ("tgi-generate", "tgi", "meta-llama/Meta-Llama-3-8B-Instruct"),
        ("lmdeploy-interactive", "lmdeploy-0.4.0", "llama"),
        ("triton-bls", "triton", "tensorrt_llm_bls"),
    ],
)
def test_another_endpoint_of_what_is_found_is_no_contradiction(given: str, site: str, model: str) -> None:
    found = identify(SITES[site][0], given)
    assert (found.engine, found.models, found.evidence[0]) == (given, [model], f"--engine {given} was given")


@pytest.mark.parametrize("engine", ENGINES)
def test_what_is_given_is_believed_of_a_server_that_shows_nothing(engine: str) -> None:
    found = identify(Site({}), engine)
    assert (found.engine, found.version, found.evidence) == (engine, None, [f"--engine {engine} was given"])
    assert found.max_tokens_range == ((128, 1024) if engine == "bentoml" else None)
    with pytest.raises(EngineError, match="nothing answers there"):
        identify(Site({}, otherwise=None), engine)


KEYS = ("data", "id", "owned_by", "model_id", "max_concurrent_requests", "name", "version", "routes", "route", "paths")
KEYS += ("input", "properties", "max_tokens", "minimum", "maximum", "models", "type", "error", "display_name")
LEAVES = ("vllm", "triton", "/generate", "model", "error", "9" * 5000 + ".1", 10**40, -1, 0.5, None, True, "")
DOCUMENTS = st.recursive(
    st.sampled_from(LEAVES),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
)
PATHS = ("/v1/models", "/health", "/info", "/v2", "/v2/health/ready", "/api/version", "/metrics", "/openapi.json")
PATHS += ("/schema.json", "/readyz", "/version", "/props", "/api/tags")


@pytest.mark.slow
@given(st.dictionaries(st.sampled_from(PATHS), DOCUMENTS), st.sampled_from([None, *ENGINES]))
def test_pages_of_any_shape_are_an_engine_or_a_sentence(documents: dict[str, Any], engine: str | None) -> None:
    site = Site({path: page(document) for path, document in documents.items()})
    try:
        found = identify(site, engine)
    except EngineError as error:
        assert len(str(error)) <= 300  # noqa: PT017
    else:
        assert all(len(sentence) <= 300 for sentence in found.evidence)


@pytest.mark.parametrize("path", ["/openapi.json", "/schema.json"])
@pytest.mark.parametrize("value", [5, None, True, "routes"])
def test_routes_that_are_no_list_are_none(path: str, value: object) -> None:
    with pytest.raises(EngineError):
        identify(Site({path: page({"paths": value, "routes": value})}))


@pytest.mark.parametrize(
    ("version", "engine"),
    [
        ("0.1.dev8000+gabc1234.d20260101", "vllm"),
        ("0.1.dev1", "vllm"),
        ("0.1.0.dev3+gabc", "vllm"),
        ("0.1+gabc1234", "vllm"),
        ("0.0.0", "vllm"),
        ("0.0.0.dev0+unknown", "vllm"),
        ("dev", "vllm"),
        ("0.11.1rc2.dev15+g1a2b3c", "vllm"),
        ("0.5.0", "vllm"),
        ("0.4.2", "vllm-0.4.2"),
        ("0.4.2+cu118", "vllm-0.4.2"),
        ("0.4.3.dev7+gabc", "vllm-0.4.2"),
        ("0.1.7", "vllm-0.4.2"),
        ("0.0.5", "vllm-0.4.2"),
    ],
)
def test_a_build_without_a_release_number_is_the_newest_dialect(version: str, engine: str) -> None:
    found = identify(Site(VLLM | {"/version": page({"version": version})}))
    assert (found.engine, found.version) == (engine, version)


@pytest.mark.parametrize("tags", [NOT_FOUND, page({"detail": "x"}), page([]), page({"models": "none"}), text("<html>")])
def test_another_server_with_a_version_at_ollama_s_path_is_not_ollama(tags: GetResponse) -> None:
    site = Site({"/v1/models": models("me"), "/api/version": page({"version": "1.2"}), "/api/tags": tags})
    assert identify(site).engine == "openai"


ONLY_POSTS = page({"detail": "Method Not Allowed"}, 405)
CHAT = "/v1/chat/completions"


@pytest.mark.parametrize(
    "pages",
    [
        pytest.param({"/v1/models": page({"object": "list", "data": []})}, id="an empty list"),
        pytest.param({"/v1/models": page({"data": []}), "/health": page({"status": "ok"})}, id="an empty list, plain"),
        pytest.param(
            {"/v1/models": text("Internal Server Error", 500), CHAT: ONLY_POSTS}, id="500 beside the chat route"
        ),
        pytest.param({CHAT: ONLY_POSTS}, id="404 beside the chat route"),
        pytest.param({CHAT: page({"error": "empty body"}, 400)}, id="a chat route that reads the body of a GET"),
        pytest.param({CHAT: page({"detail": [{"msg": "Field required"}]}, 422)}, id="one that validates it"),
        pytest.param({"/openapi.json": page({"paths": {CHAT: {"post": {}}}})}, id="404 and its document"),
        pytest.param(
            {"/v1/models": text("no", 501), "/openapi.json": page({"paths": {CHAT: {}}})}, id="501 and its document"
        ),
    ],
)
def test_a_server_that_is_plainly_like_openai_s_is_taken_as_such(pages: dict[str, GetResponse]) -> None:
    found = identify(Site(pages))
    assert (found.engine, found.models) == ("openai", [])
    assert found.evidence[-1] == "taken for a plain OpenAI server"


@pytest.mark.parametrize(
    "site",
    [
        Site({}),
        Site({}, otherwise=ONLY_POSTS),  # whatever is requested: that says nothing of the route
        Site({}, otherwise=page({"error": "bad"}, 400)),
        Site({"/v1/models": page({"data": {}})}),
        Site({"/v1/models": page({"object": "error", "data": []})}),
        Site({"/v1/models": page([])}),
    ],
)
def test_what_is_not_plainly_like_openai_s_is_not(site: Site) -> None:
    with pytest.raises(EngineError):
        identify(site)
