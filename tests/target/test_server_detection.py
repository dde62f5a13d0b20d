"""Before a run: the server is recognised over a real socket, waited for, and its model chosen."""

from __future__ import annotations

import json
import re
from argparse import Namespace
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gevent
import pytest
from gevent.server import StreamServer
from locust.argument_parser import get_empty_argument_parser
from locust.env import Environment
from locust.event import Events

from tests.option_parser import parser_of_all_options
from tests.site import Page, Site
from tokenswarm.client.option_values import OptionError
from tokenswarm.client.request_options import KEY_SERVERS, ChatOptions, add_options
from tokenswarm.client.run_models import with_default_model
from tokenswarm.sanitize import API_KEY_VARIABLE
from tokenswarm.target.advice import with_advice
from tokenswarm.target.server_detection import ReadyServer, find_server, server_from_options
from tokenswarm.users.run_lifecycle import RunLifecycle
from tokenswarm.wire import CertificateNotTrusted, WireError

MODELS = json.dumps({"data": [{"id": "llama", "owned_by": "vllm"}]})
TWO = json.dumps({"data": [{"id": "llama", "owned_by": "vllm"}, {"id": "qwen", "owned_by": "vllm"}]})
VLLM: dict[str, Page] = {
    "/v1/models": (200, MODELS),
    "/version": (200, '{"version":"0.32.0"}'),
    "/health": (200, ""),
}


@pytest.fixture
def sites() -> Iterator[Callable[..., Site]]:
    made: list[Site] = []

    def make(*pages: Any, **how: Any) -> Site:
        made.append(Site(*pages, **how))
        return made[-1]

    yield make
    for site in made:
        site.stop()


def given(*arguments: str) -> Namespace:
    parser = get_empty_argument_parser(default_config_files=[])
    add_options(parser)
    parsed: Namespace = parser.parse_args(list(arguments))
    return parsed


def options(*arguments: str) -> ChatOptions:
    return ChatOptions.of(given(*arguments))


class Clock:
    """Time that passes only when somebody sleeps; what shall happen meanwhile may be told."""

    def __init__(self, **at: Callable[[], None]) -> None:
        self.now = 100.0
        self._at = {100.0 + float(name.removeprefix("s")): happens for name, happens in at.items()}

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        for moment in [moment for moment in self._at if moment <= self.now]:
            self._at.pop(moment)()

    def find(self, site: Site, *arguments: str) -> ReadyServer:
        return find_server(options(*arguments), site.host, self.sleep, lambda: self.now)


def refused(site: Site, *arguments: str, clock: Clock | None = None) -> str:
    with pytest.raises(OptionError) as error:
        (clock or Clock()).find(site, *arguments)
    return str(error.value)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    gevent.sleep(0)  # the loop's clock stands still while tests run that do not use it, and timeouts count from there
    monkeypatch.setattr("tokenswarm.target.server_detection._PATIENCE_S", 0.2)
    monkeypatch.delenv(API_KEY_VARIABLE, raising=False)


def test_a_server_that_is_ready_is_recognised_at_once(sites: Callable[..., Site]) -> None:
    server = Clock().find(sites(VLLM))
    assert (server.found.engine, server.found.version, server.model, server.waited_s) == (
        "vllm",
        "0.32.0",
        "llama",
        0.0,
    )


def test_what_was_found_is_logged(sites: Callable[..., Site], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    Clock().find(sites(VLLM | {"/readyz": (200, "\n")}))
    assert "Detected engine: vllm 0.32.0 behind BentoML (GET /v1/models: the models are owned_by vllm" in caplog.text


def test_the_key_goes_along(sites: Callable[..., Site], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(API_KEY_VARIABLE, "sk-1")
    site = sites(VLLM)
    Clock().find(site)
    assert all("\r\nAuthorization: Bearer sk-1" in request for request in site.requests)
    site.requests.clear()
    Clock().find(site, "--engine", "anthropic", "--model", "claude")
    assert all("\r\nx-api-key: sk-1" in request for request in site.requests)


def test_a_server_that_loads_is_waited_for_and_the_wait_is_told_apart(
    sites: Callable[..., Site], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    site = sites(VLLM | {"/health": (503, "")})
    clock = Clock(s40=lambda: site.pages.update({"/health": (200, "")}))
    assert clock.find(site).waited_s == 40.0
    waits = [record.message for record in caplog.records if record.message.startswith("Waiting")]
    assert waits == [
        f"Waiting for the server, for {seconds} s so far: GET /health gives HTTP 503" for seconds in (0, 15, 30)
    ]
    assert "Server ready after 40.0 s (not counted)" in caplog.text


def test_a_gateway_whose_engine_is_down_is_waited_for_and_woken(sites: Callable[..., Site]) -> None:
    site = sites({}, otherwise=(503, "Upstream service unavailable."))

    def wakes() -> None:
        assert "/readyz" in site.requested
        site.pages.update(VLLM | {"/readyz": (200, "\n")})
        site.otherwise = (404, "Not Found")

    server = Clock(s5=wakes).find(site)
    assert (server.found.engine, server.found.gateway, server.waited_s) == ("vllm", "BentoML", 5.0)


def test_a_gateway_that_holds_requests_until_its_engine_runs_is_waited_for(sites: Callable[..., Site]) -> None:
    site = sites(dict[str, Any](), otherwise=None)

    def wakes() -> None:
        site.pages.update(VLLM)
        site.otherwise = (404, "Not Found")

    assert Clock(s2=wakes).find(site).waited_s == 2.0


def test_a_server_that_does_not_get_ready_is_given_up_with_the_reason(sites: Callable[..., Site]) -> None:
    site = sites(VLLM | {"/health": (503, "")})
    assert refused(site, "--ready-timeout", "30s") == (
        f"{site.host}: GET /health gives HTTP 503; this did not change within 30 s (--ready-timeout)."
    )


def test_triton_says_with_400_that_it_is_not_ready(sites: Callable[..., Site]) -> None:
    site = sites({"/v2/health/ready": (400, "")})
    assert "GET /v2/health/ready gives HTTP 400" in refused(site, "--ready-timeout", "1s")


def test_an_engine_without_its_health_page_is_ready(sites: Callable[..., Site]) -> None:
    site = sites({"/v1/models": (200, MODELS)})
    assert Clock().find(site).waited_s == 0.0


def test_a_port_that_refuses_is_an_error_at_once(sites: Callable[..., Site]) -> None:
    site = sites(VLLM)
    site.stop()
    assert refused(site).startswith("the server cannot be reached: ")
    assert refused(site).endswith(f"; is --host {site.host} right, and does it run?")


def test_a_web_server_is_an_error_at_once_that_names_the_address_and_engine(sites: Callable[..., Site]) -> None:
    site = sites({}, otherwise=(200, "<html>Welcome</html>"))
    sentence = refused(site)
    assert sentence.startswith(f"{site.host} answers with a web page")
    assert "--engine" in sentence


def test_a_server_of_nothing_known_is_an_error_at_once(sites: Callable[..., Site]) -> None:
    sentence = refused(sites({}, otherwise=(200, '{"hello":"world"}')))
    assert "web page" not in sentence
    assert "--engine" in sentence and "check address and port" in sentence


def test_https_to_a_server_of_plain_http_is_refused_with_the_address_that_works(sites: Callable[..., Site]) -> None:
    site = sites(VLLM)
    with pytest.raises(OptionError, match=rf"does not speak TLS there: try {site.host}\.$"):
        find_server(options(), f"https://{site.address}")


# The API key.

REFUSES_ALL: dict[str, Page] = {}


@pytest.mark.parametrize(
    ("key", "status", "advice"),
    [
        ("", 401, "requires an API key"),
        ("", 403, "if the server needs a key"),
        ("sk-wrong", 401, "does not accept the key in LLM_API_KEY"),
        ("sk-wrong", 403, "refused with the key of LLM_API_KEY: check what the key may use, proxies between, and"),
    ],
)
@pytest.mark.parametrize("pages", [REFUSES_ALL, {path: page for path, page in VLLM.items() if path == "/version"}])
def test_a_refused_key_is_told_apart_from_a_missing_one(
    sites: Callable[..., Site],
    monkeypatch: pytest.MonkeyPatch,
    pages: dict[str, Page],
    key: str,
    status: int,
    advice: str,
) -> None:
    monkeypatch.setenv(API_KEY_VARIABLE, key)
    sentence = refused(sites(pages, otherwise=(status, '{"error":"no"}')))
    assert advice in sentence
    assert f"HTTP {status}" in sentence
    assert sentence.count("LLM_API_KEY") == 1


@pytest.mark.parametrize(
    ("key", "advice"), [("", "No LLM_API_KEY is set"), ("sk-wrong", "refused with the key of LLM_API_KEY")]
)
def test_a_key_that_only_the_engine_s_own_pages_require_is_told(
    sites: Callable[..., Site], monkeypatch: pytest.MonkeyPatch, key: str, advice: str
) -> None:
    monkeypatch.setenv(API_KEY_VARIABLE, key)
    restricted: Page = (403, '{"error":"This API is restricted"}')
    sentence = refused(sites({"/v2": restricted, "/v2/health/ready": restricted}))
    assert "GET /v2 gives HTTP 403: This API is restricted." in sentence
    assert advice in sentence and "check address and port" in sentence


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("engine", ["openai", "anthropic"])
@pytest.mark.parametrize(
    ("headers", "sources"),
    [
        ("Authorization: Bearer sk-wrong", ["--header Authorization"]),
        ("x-api-key: sk-wrong", ["--header x-api-key"]),
        ("X-Tenant: blue", []),
        ("Authorization: Bearer sk-wrong, X-Token: t-wrong-12", ["--header Authorization", "--header X-Token"]),
    ],
)
def test_a_refused_key_is_named_by_where_it_comes_from(
    sites: Callable[..., Site],
    monkeypatch: pytest.MonkeyPatch,
    status: int,
    engine: str,
    headers: str,
    sources: list[str],
) -> None:
    monkeypatch.setenv(API_KEY_VARIABLE, "sk-of-variable")
    # Each engine has its key in another header, which alone replaces that of the variable.
    replaced = {"openai": "authorization", "anthropic": "x-api-key"}[engine] in headers.lower()
    words = [word for header in headers.split(", ") for word in ("--header", header)]
    sentence = refused(sites(REFUSES_ALL, otherwise=(status, "{}")), "--engine", engine, *words)
    assert re.findall(r"LLM_API_KEY|--header [\w-]+", sentence) == [*([] if replaced else ["LLM_API_KEY"]), *sources]


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize(
    ("engine", "header", "usual"),
    [
        ("openai", "X-Api-Key: sk-wrong-1", "Authorization: Bearer KEY"),
        ("anthropic", "Authorization: Bearer sk-wrong-1", "x-api-key: KEY"),
        ("openai", "Authorization: Bearer sk-wrong-1", ""),
        ("anthropic", "X-Api-Key: sk-wrong-1", ""),
    ],
)
def test_the_header_that_such_servers_read_is_named_where_requests_do_not_have_it(
    sites: Callable[..., Site], status: int, engine: str, header: str, usual: str
) -> None:
    """The key may be right, and in a header that the server does not read."""
    sentence = refused(sites(REFUSES_ALL, otherwise=(status, "{}")), "--engine", engine, "--header", header)
    assert ("LLM_API_KEY" in sentence) == bool(usual)
    assert re.findall(r" read (\S+: .*), which", sentence) == [usual] * bool(usual)
    assert ("another header" in sentence) == (not usual)
    assert "sk-wrong" not in sentence


@pytest.mark.parametrize(("value", "is_bare"), [("sk-wrong-1", True), ("Bearer sk-wrong-1", False)])
def test_a_key_without_a_scheme_is_called_so(sites: Callable[..., Site], value: str, is_bare: bool) -> None:
    sentence = refused(sites(REFUSES_ALL, otherwise=(401, "{}")), "--header", f"Authorization: {value}")
    assert ("Authorization: Bearer KEY" in sentence) == is_bare


def test_a_refused_key_of_a_file_of_headers_is_named(sites: Callable[..., Site], tmp_path: Path) -> None:
    (file := tmp_path / "headers").write_text("Authorization: Bearer sk-wrong-1\n")
    site = sites(REFUSES_ALL, otherwise=(401, "{}"))
    sentence = refused(site, "--header-file", str(file))
    assert "the key of Authorization of --header-file" in sentence
    assert "LLM_API_KEY" not in sentence


def test_without_a_preflight_a_model_is_enough_where_the_list_of_models_is_refused(
    sites: Callable[..., Site], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(API_KEY_VARIABLE, "sk-wrong")
    openapi = json.dumps({"paths": {"/v1/chat/completions": {}}})
    site = sites({**VLLM, "/v1/models": (401, "{}"), "/openapi.json": (200, openapi)})
    assert "without that request, give --model" in refused(site, "--preflight", "off")
    assert "give --model" not in refused(site)
    assert Clock().find(site, "--preflight", "off", "--model", "llama").model == "llama"


def test_without_a_preflight_engine_and_model_are_enough_where_everything_is_refused(
    sites: Callable[..., Site], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(API_KEY_VARIABLE, "sk-wrong")
    site = sites(REFUSES_ALL, otherwise=(401, "{}"))
    assert "give --engine and --model" in refused(site, "--preflight", "off")
    assert "give --engine" not in refused(site)
    named = Clock().find(site, "--preflight", "off", "--engine", "vllm", "--model", "llama")
    assert (named.found.engine, named.model) == ("vllm", "llama")


@pytest.mark.parametrize(
    ("key", "sentence"),
    [
        ("Bearer sk-1", "begins with 'Bearer '"),
        ("bearer sk-1", "begins with 'Bearer '"),
        ("sk-1 ", "begins or ends with a space"),
        ("sk-1\r\n", "begins or ends with a space"),
        ("sk-secret\u00e9neighbour", "the character at position 10 "),
        ("sk-secret\nneighbour", "the character at position 10 "),
    ],
)
def test_a_key_that_cannot_be_one_is_refused_before_it_is_sent(
    sites: Callable[..., Site], monkeypatch: pytest.MonkeyPatch, key: str, sentence: str
) -> None:
    monkeypatch.setenv(API_KEY_VARIABLE, key)
    site = sites(VLLM)
    text = refused(site)
    assert sentence in text
    assert not any(part in text for part in ("sk-1", "secret", "neigh"))
    assert site.requests == []


# The model.


def test_several_models_are_named_and_one_must_be_given(sites: Callable[..., Site]) -> None:
    site = sites(VLLM | {"/v1/models": (200, TWO)})
    assert refused(site) == f"--model is empty, and {site.host} serves 2 models ('llama', 'qwen'); give --model."
    assert Clock().find(site, "--model", "qwen").model == "qwen"


def test_a_model_that_every_row_names_is_taken_from_a_server_of_several(
    sites: Callable[..., Site], tmp_path: Path
) -> None:
    site = sites(VLLM | {"/v1/models": (200, TWO)})
    rows = tmp_path / "rows.jsonl"
    row = {"messages": [{"role": "user", "content": "Which rivers are longer than a thousand kilometres?"}]}
    batch = [{"custom_id": "1", "method": "POST", "url": "/v1/chat/completions", "body": row | {"model": "qwen"}}]
    rows.write_text("".join(json.dumps(each) + "\n" for each in batch))
    named = with_default_model(options("--prompts", str(rows), "--prompt-tokens", "1:99"))
    assert find_server(named, site.host).model == "qwen"
    batch.append({"custom_id": "2", "method": "POST", "url": "/v1/chat/completions", "body": row})
    (some := tmp_path / "some.jsonl").write_text("".join(json.dumps(each) + "\n" for each in batch))
    with pytest.raises(OptionError, match="serves 2 models"):
        find_server(with_default_model(options("--prompts", str(some), "--prompt-tokens", "1:99")), site.host)


def test_a_server_that_lists_no_model_must_be_told_one(sites: Callable[..., Site]) -> None:
    site = sites({"/v1/models": (200, '{"object": "list", "data": []}')})
    assert refused(site, "--engine", "vllm") == (f"--model is empty, and {site.host} lists no models; give --model.")
    site = sites({})
    assert f"GET {site.host}/v1/models gives HTTP 404" in refused(site, "--engine", "vllm")
    assert Clock().find(site, "--engine", "tgi-generate").model == ""


@pytest.mark.parametrize("engine", ["tgi", "tgi-generate"])
@pytest.mark.parametrize("pages", ["reported", "not reported"])
def test_a_model_that_no_request_names_is_the_one_that_the_server_reports(
    sites: Callable[..., Site], pages: str, engine: str
) -> None:
    info = {"/info": (200, json.dumps({"model_id": "qwen", "max_concurrent_requests": 128, "version": "3.3.7"}))}
    site = sites(info if pages == "reported" else {})
    served = "qwen" if pages == "reported" else ""
    for given_model in ((), ("--model", "m1")):
        assert Clock().find(site, "--engine", engine, "--preflight", "off", *given_model).model == served


def test_triton_s_model_is_in_its_path(sites: Callable[..., Site]) -> None:
    site = sites({"/v2/health/ready": (200, ""), "/v2/models/ensemble/ready": (200, "")})
    assert Clock().find(site).model == "ensemble"
    assert Clock().find(site, "--engine", "triton-bls").model == "tensorrt_llm_bls"
    assert Clock().find(site, "--model", "mine").model == "mine"


# What the options ask of what was found.


def test_what_the_found_engine_cannot_do_is_refused(sites: Callable[..., Site]) -> None:
    tgi = {"/info": (200, json.dumps({"model_id": "llama", "max_concurrent_requests": 128, "version": "3.3.7"}))}
    assert refused(sites(tgi), "--ignore-eos").startswith("--ignore-eos: tgi has no way")
    bento = sites({"/readyz": (200, "\n")})
    assert refused(bento).startswith("bentoml streams bare text without any count of tokens; give --tokenizer")
    short = ("--tokenizer", "t.json", "--max-tokens", "64")
    assert refused(bento, *short) == (
        "--max-tokens: this service takes 128 to 1024, got 64; it would refuse every request."
    )
    assert refused(bento, "--engine", "bentoml", *short).startswith("--max-tokens: this service takes 128 to 1024")


def test_an_engine_that_counts_nothing_is_warned_of(
    sites: Callable[..., Site], caplog: pytest.LogCaptureFixture
) -> None:
    site = sites({"/v1/models": (200, MODELS.replace("vllm", "lmdeploy"))})
    assert Clock().find(site).found.engine == "lmdeploy-0.4.0"
    assert "lmdeploy-0.4.0 does not report how many tokens a response has: its events are counted" in caplog.text
    caplog.clear()
    Clock().find(site, "--tokenizer", "tokenizer.json")
    assert not caplog.text


def test_a_server_that_looks_like_another_than_the_one_given_is_warned_of(
    sites: Callable[..., Site], caplog: pytest.LogCaptureFixture
) -> None:
    Clock().find(sites(VLLM), "--engine", "vllm")
    assert not [record for record in caplog.records if record.levelname == "WARNING"]
    Clock().find(sites(VLLM), "--engine", "lmdeploy")
    (warning,) = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert warning.startswith("--engine lmdeploy was given, but the server looks like vllm (GET ")


def test_a_server_out_of_reach_is_what_the_options_say() -> None:
    server = server_from_options(options("--engine", "vllm", "--model", "llama"))
    assert (server.found.engine, server.found.version, server.model, server.waited_s) == ("vllm", None, "llama", 0.0)
    assert server.found.evidence == ["--engine vllm was given, and the server was not reached from here"]


# One run after the other, as the page starts them.


def test_what_was_found_of_one_run_s_server_is_not_taken_for_given_in_the_next(sites: Callable[..., Site]) -> None:
    vllm = sites(VLLM)
    tgi = sites({"/info": (200, json.dumps({"model_id": "qwen", "max_concurrent_requests": 128, "version": "3.3.7"}))})
    environment = Environment(
        events=Events(), parsed_options=parser_of_all_options().parse_args(["--preflight", "off"])
    )
    crew = RunLifecycle(environment.events)
    found = []
    for site in (vllm, tgi):
        environment.host = site.host
        facts = crew.facts(environment, {"off"})
        asked = environment.parsed_options  # what workers are sent
        found.append((facts["engine"], facts["model"], asked.engine, asked.model))
        environment.events.test_stop.fire(environment=environment)
    assert found == [("vllm", "llama", "vllm", "llama"), ("tgi", "qwen", "tgi", "qwen")]


@pytest.mark.parametrize("named", [True, False])
def test_the_api_key_is_withheld_from_a_server_that_the_command_line_does_not_name(
    sites: Callable[..., Site], monkeypatch: pytest.MonkeyPatch, named: bool
) -> None:
    monkeypatch.setenv(API_KEY_VARIABLE, "sk-1")
    site = sites({}, otherwise=(401, '{"error":"no key"}'))
    chosen = given("--model", "llama")
    vars(chosen)[KEY_SERVERS] = [site.host] if named else ["http://gpu.example:8000"]
    with pytest.raises(OptionError) as error:
        find_server(ChatOptions.of(chosen), site.host, Clock().sleep)
    assert all(("sk-1" in request) is named for request in site.requests)
    assert site.requests
    assert ("--web-allow-target" in str(error.value)) is not named


@pytest.mark.parametrize("name", ["sk-0123456789abcdef", "x" * 100_000, "llama\u202e", "\x1b[2J"])
def test_the_only_models_name_is_not_used_where_it_cannot_be_shown(
    name: str, sites: Callable[..., Site], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(API_KEY_VARIABLE, "sk-0123456789abcdef")
    site = sites(VLLM | {"/v1/models": (200, json.dumps({"data": [{"id": name, "owned_by": "vllm"}]}))})
    with pytest.raises(OptionError) as refused:
        find_server(ChatOptions.of(given()), site.host)
    assert len(str(refused.value)) < 600
    assert name not in str(refused.value)
    assert find_server(ChatOptions.of(given("--model", "llama")), site.host).model == "llama"


def test_what_a_server_says_of_itself_is_bounded_and_holds_neither_the_key_nor_controls(
    sites: Callable[..., Site], monkeypatch: pytest.MonkeyPatch
) -> None:
    key = "sk-0123456789abcdef"
    monkeypatch.setenv(API_KEY_VARIABLE, key)
    giant = key + "\x1b" + "9" * 50_000
    listed = [{"id": giant, "owned_by": giant}, *({"id": f"{key}-{number}"} for number in range(2000))]
    pages = VLLM | {
        "/v1/models": (200, json.dumps({"data": listed})),
        "/version": (200, f'{{"version":"{"9" * 9000}.1"}}'),
    }
    with pytest.raises(OptionError) as refused:
        find_server(ChatOptions.of(given("--engine", "openai")), sites(pages).host)
    found = find_server(ChatOptions.of(given("--model", "m")), sites(pages).host).found
    for told in (str(refused.value), str(found.version), *found.evidence):
        assert key[:8] not in told
        assert "\x1b" not in told
        assert len(told) < 6000
    version = VLLM | {"/version": (200, json.dumps({"version": f"0.32.0+{key}{'9' * 9000}"}))}
    found = find_server(ChatOptions.of(given()), sites(version).host).found
    assert found.version is not None and found.version.startswith("0.32.0+[secret]") and len(found.version) < 6000


def test_a_page_that_does_not_end_is_given_up_at_its_bound(
    sites: Callable[..., Site], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tokenswarm.wire.exchange.MOST_KEPT_BYTES", 10_000)
    site = sites(VLLM | {"/v1/models": (200, MODELS + " " * 20_000)})
    with pytest.raises(OptionError):
        find_server(ChatOptions.of(given()), site.host)


@pytest.mark.parametrize("arguments", [(), ("--engine", "vllm")])
def test_a_path_of_the_address_that_the_server_does_not_have_is_named_with_the_address_that_answers(
    sites: Callable[..., Site], arguments: tuple[str, ...]
) -> None:
    site = sites(VLLM)
    with pytest.raises(OptionError) as error:
        find_server(options(*arguments), f"{site.host}/foo/bar", lambda _: None)
    assert f"GET {site.host}/foo/bar/v1/models" in str(error.value)
    assert "HTTP 404" in str(error.value)
    assert str(error.value).endswith(f"/foo/bar does not exist there: try --host {site.host}.")


def test_such_a_path_is_named_also_where_a_page_below_it_requires_a_key(sites: Callable[..., Site]) -> None:
    site = sites(VLLM | {"/foo/metrics": (403, "{}")})
    with pytest.raises(OptionError) as error:
        find_server(options(), f"{site.host}/foo", lambda _: None)
    assert f"GET {site.host}/foo/metrics gives HTTP 403" in str(error.value)
    assert str(error.value).endswith(f"/foo does not exist there: try --host {site.host}.")


def test_no_other_address_is_named_where_none_answers(sites: Callable[..., Site]) -> None:
    site = sites({"/other": (200, "")})
    with pytest.raises(OptionError) as error:
        find_server(options(), f"{site.host}/foo", lambda _: None)
    assert f"GET {site.host}/foo/v1/models" in str(error.value)
    assert "does not exist there" not in str(error.value)


def test_a_port_that_answers_in_another_protocol_is_said_to_speak_no_http() -> None:
    def greet(connection: Any, _: Any) -> None:
        connection.sendall(b"SSH-2.0-OpenSSH_9.6\r\n")
        connection.recv(4096)
        connection.close()

    other = StreamServer(("127.0.0.1", 0), greet)
    other.start()
    try:
        with pytest.raises(OptionError) as refused:
            find_server(options(), f"http://127.0.0.1:{other.server_port}", lambda _: None)
    finally:
        other.stop(0)
    assert "no HTTP server" in str(refused.value)
    assert "SSH-2.0" in str(refused.value)
    assert "nothing answers" not in str(refused.value)


def test_a_certificate_that_is_not_trusted_is_no_doubt_of_the_address() -> None:
    assert "--host" not in with_advice(CertificateNotTrusted("the certificate is not trusted"), "https://gpu")


def test_the_port_that_was_tried_is_named_where_the_address_names_none() -> None:
    refused_connection = WireError("refused")
    assert "port 80 was tried" in with_advice(refused_connection, "http://127.0.0.1")
    assert "port 443 was tried" in with_advice(refused_connection, "https://[::1]")
    for host in ("http://127.0.0.1:80", "127.0.0.1:8000", "https://gpu:443/v1"):
        assert "was tried" not in with_advice(refused_connection, host)
