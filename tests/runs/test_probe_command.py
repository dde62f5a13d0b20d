"""`tokenswarm probe` as a person starts it: against servers of every kind, and against what is none."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.forked_process import run_command
from tests.http_proxy import running_proxy
from tests.runs.harness import StartSimulator, environment, free_port
from tokenswarm.engines import ENGINES

pytestmark = pytest.mark.slow


def probe(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return run_command("probe", *arguments, env=environment(**variables))


def told(host: str, *arguments: str, **variables: str) -> dict[str, Any]:
    done = probe("-H", host, "--json", *arguments, **variables)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def traps_of(document: dict[str, Any]) -> list[str]:
    """Without those that a machine with other things to do may bring about by itself."""
    by_chance = ("outputs arrived at once", "no receive time from the kernel")
    return [told for told in document["misleading"] if not any(words in told for words in by_chance)]


def options(document: dict[str, Any]) -> dict[str, str]:
    return {option["name"]: option["followed"] for option in document["options"]}


def test_a_server_is_told_in_full(start_simulator: StartSimulator) -> None:
    speed = ("--prefill-ms", "30", "--step-ms", "2", "--answer-median-tokens", "30")
    simulator = start_simulator("--profile", "fast", *speed)
    document = told(simulator.host)
    trace = document["trace"]
    assert (document["engine"], document["model"]) == ("vllm", "simulated-llama-3-8b")
    assert document["version"].startswith("0.32")
    assert document["evidence"]
    assert document["server_metrics"] == f"{simulator.host}/metrics"
    assert (trace["outcome"], trace["finish_reason"]) in {("ok", "stop"), ("ok", "length")}
    assert 0 <= trace["headers_s"] <= trace["first_byte_s"] <= trace["first_output_s"] <= trace["end_s"]
    assert trace["first_output_s"] >= 0.03
    # The end of sequence is a token without text.
    assert trace["tokens"]["usage"] - trace["tokens"]["events"] in {0, 1}
    assert trace["http_chunks"] == trace["events"]
    assert options(document) == {"--ignore-eos": "yes", "usage": "yes", "system prompt": "yes", "prefix cache": "yes"}
    assert [sentence for sentence in traps_of(document) if "The prefix cache is on" not in sentence] == []
    # The trace is of the first answer that the server logged.
    first = simulator.truth()[0]
    assert int(first["tokens"]) == trace["tokens"]["usage"]


def test_what_would_mislead_is_said_to_a_person(start_simulator: StartSimulator) -> None:
    faults = ("--role-early-ms", "1", "--prefill-ms", "60", "--per-chunk", "4", "--comments", "--cache-blocks", "0")
    simulator = start_simulator("--profile", "fast", "--step-ms", "2", *faults)
    done = probe("-H", simulator.host)
    assert (done.returncode, done.stderr) == (0, "")
    assert "What could distort a measurement of this server" in done.stdout
    said = " ".join(done.stdout.split())
    assert "before the first output: a client that takes any event for a token" in said
    assert "comment lines come before the first output" in said
    assert "An event holds " in said
    assert " prefix cache no: " in said
    assert " --ignore-eos yes: " in said  # though no answer ends by itself so soon


def test_a_model_must_be_named_and_a_key_is_told_to_nobody_but_the_server(start_simulator: StartSimulator) -> None:
    how = ("--profile", "fast", "--api-key-env", "KEY")
    simulator = start_simulator(*how, env={"KEY": "sk-very-secret"})
    refused = probe("-H", simulator.host)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr.count("\n") == 1
    assert all(words in refused.stderr for words in ("LLM_API_KEY", "401", "Unauthorized"))
    done = probe("-H", simulator.host, LLM_API_KEY="sk-very-secret")
    assert done.returncode == 0, done.stderr
    assert "sk-very-secret" not in done.stdout + done.stderr


def test_a_wrong_engine_is_asked_for_and_its_answer_is_a_sentence(start_simulator: StartSimulator) -> None:
    simulator = start_simulator("--profile", "fast")
    done = probe("-H", simulator.host, "--engine", "tgi-generate")
    assert (done.returncode, done.stdout) == (2, "")
    assert "HTTP 404" in done.stderr
    assert "--engine" in done.stderr


#: Those that GETs cannot tell from their siblings are named.
NAMED = {"lmdeploy-interactive", "tgi-generate"}
#: What is told of each: whether --ignore-eos and usage are followed, and the traps, by a few of their words.
HEADERS, COUNTS, REASON = "Headers come only", "reports no token counts", "sends no finish reason"
DIALECTS: dict[str, tuple[str, str, set[str]]] = {
    "openai": ("no", "yes", set()),
    "vllm": ("yes", "yes", set()),
    "vllm-0.4.2": ("yes", "yes", set()),
    "lmdeploy": ("yes", "yes", set()),
    "lmdeploy-0.4.0": ("unknown", "no", {"The first event comes", COUNTS}),
    "lmdeploy-interactive": ("yes", "yes", set()),
    "mlc": ("no", "yes", {HEADERS}),  # a server without --enable-debug drops the wish
    "mlc-2024": ("yes", "yes", {HEADERS}),
    "trtllm": ("yes", "yes", set()),
    "triton": ("unknown", "no", {HEADERS, COUNTS, REASON}),
    "triton-bls": ("unknown", "no", {HEADERS, COUNTS, REASON}),
    "tgi": ("no", "yes", set()),
    "tgi-2.0.4": ("no", "no", {COUNTS}),
    "tgi-generate": ("no", "yes", set()),
    "bentoml": ("no", "no", {HEADERS, COUNTS, REASON}),
    "sglang": ("yes", "yes", set()),
    "llamacpp": ("yes", "yes", {HEADERS, "closes it"}),
    "koboldcpp": ("no", "yes", {"closes it"}),
    "ollama": ("no", "yes", {HEADERS}),
    "anthropic": ("no", "yes", set()),
}

#: What a machine that has other things to do can bring about, whatever the server.
#: A question that a busy machine answered late looks as if the next one had come from a cache.
OF_THIS_MACHINE = {"outputs arrived at once", "no receive time from the kernel", "prefix cache is on"}


@pytest.mark.parametrize("dialect", ENGINES)
def test_each_engine_is_told_as_what_it_is(dialect: str, start_simulator: StartSimulator) -> None:
    speed = ("--prefill-ms", "80", "--step-ms", "2", "--answer-median-tokens", "20", "--cache-blocks", "0")
    simulator = start_simulator("--profile", "fast", "--dialect", dialect, *speed)
    exact, usage, traps = DIALECTS[dialect]
    for _ in range(3):  # what a busy machine brings about by chance, a second probe does not find
        document = told(simulator.host, *(("--engine", dialect) if dialect in NAMED else ()))
        told_traps = [trap for trap in traps_of(document) if not any(words in trap for words in OF_THIS_MACHINE)]
        if len(told_traps) == len(traps):
            break
    assert (document["engine"], document["trace"]["outcome"]) == (dialect, "ok")
    assert document["trace"]["first_output_s"] >= 0.08
    assert {name: options(document)[name] for name in ("--ignore-eos", "usage")} == {
        "--ignore-eos": exact,
        "usage": usage,
    }
    assert len(told_traps) == len(traps)
    assert all(any(words in sentence for sentence in told_traps) for words in traps)


def test_a_dead_port(start_simulator: StartSimulator) -> None:
    done = probe("-H", f"http://127.0.0.1:{free_port()}")
    assert (done.returncode, done.stdout) == (2, "")
    assert "cannot be reached" in done.stderr


@pytest.fixture
def web_server() -> Iterator[str]:
    """Answers everything with a page."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = b"<!doctype html><title>It works!</title>"
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def test_a_web_server_that_is_no_engine(web_server: str) -> None:
    done = probe("-H", web_server)
    assert (done.returncode, done.stdout) == (2, "")
    assert "--engine" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [("-H", "gpu:8000"), ("-H", "http://127.0.0.1:9/v1"), ("-H", "http://127.0.0.1:9", "--max-tokens", "0"), ()],
)
def test_what_cannot_be_asked_is_one_sentence(arguments: tuple[str, ...]) -> None:
    done = probe(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("tokenswarm probe: ")
    assert done.stderr.count("\n") == 1


def test_a_key_that_no_header_may_hold_is_one_sentence(web_server: str) -> None:
    done = probe("-H", web_server, LLM_API_KEY="sk-é")
    assert (done.returncode, done.stdout) == (2, "")
    assert "LLM_API_KEY: the character at position 4 of 4" in done.stderr


def test_a_server_that_still_loads_is_not_timed(start_simulator: StartSimulator) -> None:
    simulator = start_simulator("--profile", "fast", "--cold-start-s", "3600")
    done = probe("-H", simulator.host)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"{simulator.host} is not ready: GET /health gives HTTP 503" in done.stderr


def test_a_probe_sends_what_the_options_of_requests_say_through_the_proxy(
    start_simulator: StartSimulator, tmp_path: Path
) -> None:
    log, tenant, password = tmp_path / "requests.jsonl", "tenant-5d02c7b1aa", "password-e1f90b7722"
    how = ("--profile", "fast", "--dialect", "openai", "--path", "/gw/chat/completions", "--request-log", str(log))
    simulator = start_simulator(*how, "--require-header", "X-Tenant")
    with running_proxy(tmp_path, f"me:{password}") as proxy:
        done = probe(
            *("-H", f"{simulator.host}/gw/chat/completions?api-version=7", "--json", "--header", f"X-Tenant: {tenant}"),
            *("--body", '{"user": "me"}', "--temperature", "0.5", "--max-tokens-field", "max_completion_tokens"),
            *("--proxy", f"http://me:{password}@127.0.0.1:{proxy.port}"),
        )
        passed = [request["line"].split()[0] for request in proxy.requests()]
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    posts = [row for row in rows if row["method"] == "POST"]
    assert len(posts) == passed.count("POST") >= 4
    assert {(post["path"], post["query"]) for post in posts} == {("/gw/chat/completions", "api-version=7")}
    assert {(post["body"]["user"], post["body"]["temperature"]) for post in posts} == {("me", 0.5)}
    assert all("max_completion_tokens" in post["body"] and "max_tokens" not in post["body"] for post in posts)
    assert {row["headers"].get("x-tenant") for row in rows} == {tenant}
    assert json.loads(done.stdout)["connect_costs"]["proxy"] == proxy.address
    assert not [secret for secret in (tenant, password) if secret in done.stdout]


def test_options_of_requests_that_cannot_be_are_refused_by_a_probe() -> None:
    refused = probe("-H", "http://127.0.0.1:9", "--body", "[]", "--temperature", "hot", "--client-key", "k.pem")
    assert refused.returncode == 2
    assert {line.split(": ", 1)[1].split()[0] for line in refused.stderr.splitlines()} == {
        *("--body", "--temperature", "--client-key"),
    }
    assert "unknown option --fold-system-prompt" in probe("-H", "http://127.0.0.1:9", "--fold-system-prompt").stderr
