"""Whole runs behind the page's rules: where the API key goes, who is let in, and what is printed."""

from __future__ import annotations

import base64
import json
import re
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.runs.harness import Start, Started, StartSimulator, free_port, run_files, until

pytestmark = pytest.mark.slow

KEY = "sk-of-the-tester-0123456789"
_EVENT = {"object": "chat.completion.chunk", "model": "m", "choices": [{"index": 0, "delta": {"content": "Hi"}}]}
_LAST = {
    "object": "chat.completion.chunk",
    "model": "m",
    "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}],
}


class Recorder:
    """A server that answers, and keeps each request's method, path and Authorization."""

    def __init__(self) -> None:
        seen = self.seen = list[tuple[str, str, str | None]]()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self._answer(json.dumps({"object": "list", "data": [{"id": "m"}]}), "application/json")

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                events = "".join(f"data: {json.dumps(event)}\n\n" for event in (_EVENT, _LAST))
                self._answer(f"{events}data: [DONE]\n\n", "text/event-stream")

            def _answer(self, text: str, kind: str) -> None:
                seen.append((self.command, self.path, self.headers["Authorization"]))
                self.send_response(200)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *_: object) -> None:
                """Not to the test's output."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.host = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def recorders() -> Iterator[tuple[Recorder, Recorder, Recorder]]:
    servers = Recorder(), Recorder(), Recorder()
    yield servers
    for server in servers:
        server.close()


def asked(url: str, password: str = "", **form: str) -> tuple[int, str]:
    """(status, text) of a GET, or of a POST where there is a form; 0 where nobody answers."""
    request = urllib.request.Request(url, data=urllib.parse.urlencode(form).encode() if form else None)
    if password:
        request.add_header("Authorization", "Basic " + base64.b64encode(f"tokenswarm:{password}".encode()).decode())
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError:
        return 0, ""


def run_on(started: Started, url: str, host: str, number: int) -> None:
    form = {"user_count": "2", "spawn_rate": "5", "run_time": "2s", "shape": "free", "max_tokens": "8"}

    def begun() -> bool:
        return bool(json.loads(asked(f"{url}/swarm", host=host, **form)[1])["success"])

    until(begun)  # workers may still connect, and the last run still end
    until(lambda: len(run_files(started.results, "report.html")) == number)


def test_the_api_key_goes_only_to_servers_that_the_command_line_names(
    start_locust: Start, recorders: tuple[Recorder, Recorder, Recorder]
) -> None:
    named, target, other = recorders
    port = free_port()
    started = start_locust(
        *("--web-port", str(port), "--processes", "2", "-H", named.host, "--web-allow-target", target.host),
        *("--engine", "openai", "--server-metrics", "auto"),
        env={"LLM_API_KEY": KEY},
    )
    url = f"http://127.0.0.1:{port}"
    until(lambda: asked(f"{url}/stats/requests")[0] == 200)
    for number, server in enumerate((named, other, target), start=1):
        run_on(started, url, server.host, number)
    refused = json.loads(asked(f"{url}/swarm", host="http://evil.example", user_count="1", spawn_rate="1")[1])
    assert not refused["success"]
    for server in (named, target):
        assert {key for _, _, key in server.seen} == {f"Bearer {KEY}"}
    assert {method for method, _, _ in other.seen} == {"GET", "POST"}
    assert {key for _, _, key in other.seen} == {None}
    started.process.terminate()
    run = started.end()
    assert "Traceback" not in run.output
    assert f"LLM_API_KEY is not sent to {other.host}" in run.output
    documents = [json.loads(path.read_text()) for path in run_files(run.results, "run.json")]
    assert not [name for document in documents for name in document["options"] if name.startswith(("web_", "api_key"))]


@pytest.mark.parametrize("of_server", [{}, {"engine": "vllm", "model": "m"}], ids=["detection", "preflight"])
def test_a_server_that_needs_a_key_and_is_not_named_is_to_be_named_by_the_first_refusal(
    start_locust: Start, start_simulator: StartSimulator, of_server: dict[str, str]
) -> None:
    guarded = start_simulator("--profile", "fast", "--api-key-env", "KEY", env={"KEY": KEY})
    port = free_port()
    start_locust("--web-port", str(port), "-H", "http://127.0.0.1:1", "--preflight", "on")
    url = f"http://127.0.0.1:{port}"
    until(lambda: asked(f"{url}/stats/requests")[0] == 200)
    form = {"user_count": "1", "spawn_rate": "1", "run_time": "2s", "shape": "free"}
    refused = json.loads(asked(f"{url}/swarm", host=guarded.host, **form, **of_server)[1])
    assert not refused["success"]
    for named in ("LLM_API_KEY", "-H", "--web-allow-target"):
        assert named in refused["message"]


def test_a_page_for_other_machines_without_a_login_is_not_served(start_locust: Start) -> None:
    started = start_locust("--web-host", "0.0.0.0", "--web-port", str(free_port()))
    run = started.end()
    assert run.exit_code == 2
    assert "--web-login" in run.output
    assert "Traceback" not in run.output


def test_a_generated_password_is_printed_once_and_stands_nowhere_else(start_locust: Start) -> None:
    port = free_port()
    started = start_locust("--web-host", "0.0.0.0", "--web-port", str(port), "--web-login", "--logfile", "log.txt")
    assert started.process.stdout is not None
    password = None
    for line in started.process.stdout:
        if found := re.search(r"Password: (\S+)", line):
            password = found[1]
            break
    assert password is not None
    url = f"http://127.0.0.1:{port}"
    until(lambda: asked(f"{url}/login")[0] == 200)
    assert asked(f"{url}/stats/requests")[0] == 401
    assert asked(f"{url}/swarm", user_count="1", spawn_rate="1")[0] == 401
    assert not list(started.results.glob("*"))
    assert asked(f"{url}/stats/requests", password)[0] == 200
    form = {"user_count": "1", "spawn_rate": "1", "run_time": "2s", "shape": "free", "max_tokens": "8"}
    assert json.loads(asked(f"{url}/swarm", password, **form)[1])["success"]
    until(lambda: bool(list(started.results.glob("*/report.html"))))
    for path in ("logs", "tokenswarm/form.json", "tokenswarm/live.json"):
        assert password not in asked(f"{url}/{path}", password)[1]
    started.process.terminate()
    assert password not in started.end().output
    files = [path for path in started.results.parent.rglob("*") if path.is_file()]
    assert [path for path in files if path.name == "log.txt"]
    assert not [path for path in files if password.encode() in path.read_bytes()]
