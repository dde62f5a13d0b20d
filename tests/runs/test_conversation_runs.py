"""A whole run with conversations as prompts: what the server receives, and what is said of rows that are left out."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.runs.harness import RunLocust

pytestmark = pytest.mark.slow

ANSWER = b"".join(
    b"data: " + event + b"\n\n"
    for event in (
        b'{"choices":[{"index":0,"delta":{"role":"assistant","content":"Yes."},"finish_reason":"stop"}]}',
        b'{"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":1}}',
        b"[DONE]",
    )
)
CHAT = [
    {"role": "system", "content": "Be kind."},
    {"role": "user", "content": "Hello?"},
    {"role": "assistant", "content": "Hello."},
    {"role": "user", "content": "Still there?"},
    {"role": "assistant", "content": "never sent"},
]


class Listener:
    """A server that answers everything with the same text and keeps the bodies that it received."""

    def __init__(self) -> None:
        bodies: list[dict[str, Any]] = []

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self._answer("application/json", b'{"data":[{"id":"tiny","owned_by":"vllm"}],"version":"0.9.0"}')

            def do_POST(self) -> None:
                bodies.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
                self._answer("text/event-stream", ANSWER)

            def _answer(self, content_type: str, body: bytes) -> None:
                self.send_response(200)
                self.send_header("Content-Type", content_type)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.bodies = bodies
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.host = f"http://127.0.0.1:{self._server.server_port}/v1/"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def listener() -> Iterator[Listener]:
    listener = Listener()
    yield listener
    listener.close()


def test_a_row_is_sent_with_all_its_messages_and_rows_that_are_not_sent_are_counted(
    run_locust: RunLocust, listener: Listener, tmp_path: Path
) -> None:
    rows = [CHAT, [{"role": "user", "content": "word " * 400}], [{"role": "tool", "content": "42"}], []]
    file = tmp_path / "chats.jsonl"
    file.write_text("".join(json.dumps({"messages": messages}) + "\n" for messages in rows))
    run = run_locust(
        *("-H", listener.host, "--prompts", str(file), "--prompt-tokens", "5:150", "--prompt-reuse", "always"),
        *("--turns", "last"),
        *("--levels", "1", "--ramp", "0s", "--level-time", "2s", "--system-prompt", "both", "--server-metrics", "off"),
    )
    assert run.exit_code == 0, run.output
    sent = [[(message["role"], message["content"]) for message in body["messages"]] for body in listener.bodies]
    own, *turns = [(message["role"], message["content"]) for message in CHAT[:-1]]
    assert [own, *turns] in sent  # without the run's system prompt, the row is as it is
    with_prompt = [messages for messages in sent if messages[0] != own]
    assert with_prompt
    for (role, text), *others in with_prompt:  # with it, it stands in the place of the row's own
        assert role == "system"
        assert "Northfield Library" in text
        assert others == turns
    assert len(sent) == len(run.requests)
    assert "3 of 4 rows are left out" in run.output
    assert run.document["prompts"]["left_out_by_length"] == 1
    assert run.document["host"] == listener.host.removesuffix("/v1/")
