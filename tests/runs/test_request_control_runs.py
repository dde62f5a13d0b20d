"""Headers and bodies of the user's own in whole runs: at the far end, and in nothing that the run leaves or sends."""

from __future__ import annotations

import json
import subprocess
import sys
from base64 import b64encode
from collections import Counter
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import trustme
from PIL import Image

from tests.http_proxy import running_proxy
from tests.runs.harness import RunLocust, Start, StartSimulator, free_port
from tests.tls_front import tls_front

pytestmark = pytest.mark.slow

LITERAL, OF_VARIABLE, OF_FILE = "tenant-4b1f09ce77", "variable-5e2a18d04c", "of-file-93d7c6b150"
SECRETS = (LITERAL, OF_VARIABLE, OF_FILE)
SHORT = ("-u", "2", "-r", "2", "-t", "2s", "--system-prompt", "off", "--max-tokens", "8")
SAMPLING = (
    *("--temperature", "0.3", "--top-p", "0.9", "--top-k", "40", "--stop", '["END", "STOP"]'),
    *("--presence-penalty", "-0.5", "--frequency-penalty", "0.25", "--request-seed", "7"),
)
SET = {
    "temperature": 0.3,
    "top_p": 0.9,
    "top_k": 40,
    "stop": ["END", "STOP"],
    "presence_penalty": -0.5,
    "frequency_penalty": 0.25,
    "seed": 7,
}


@pytest.fixture
def master_port() -> int:
    return free_port()


@pytest.fixture
def messages(master_port: int, tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """The port under which workers reach the master, and what they and it have sent so far."""
    file = tmp_path / "messages.bin"
    command = [sys.executable, str(Path(__file__).with_name("recording_relay.py")), str(master_port), str(file)]
    relay = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert relay.stdout is not None
    yield relay.stdout.readline().strip(), file
    relay.kill()
    relay.wait()


def posts(log: Path) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    return [row for row in rows if row["method"] == "POST"]


def assert_holds_no_value(name: str, content: bytes) -> None:
    assert [secret for secret in SECRETS if secret.encode() in content] == [], name


def test_no_value_of_a_header_is_in_a_file_a_page_or_a_message(
    start_locust: Start, start_simulator: StartSimulator, messages: tuple[str, Path], master_port: int, tmp_path: Path
) -> None:
    log, headers, rows = tmp_path / "requests.jsonl", tmp_path / "headers.txt", tmp_path / "rows.jsonl"
    body_file = tmp_path / "body.json"
    body_file.write_text('{"user": "file", "metadata": {"lane": "slow", "run": 1}, "min_p": 0.1}')
    server = start_simulator("--dialect", "vllm", "--request-log", str(log), "--require-header", "X-Tenant")
    headers.write_text(f"X-Of-File: {OF_FILE}\n")
    rows.write_text(
        "".join(json.dumps({"prompt": f"Name {n} cities in the south of the country."}) + "\n" for n in range(9))
    )
    given = ("--header", f"X-Tenant: {LITERAL}", "--header", "X-Key: $GATEWAY_KEY", "--header-file", str(headers))
    variables = {"GATEWAY_KEY": OF_VARIABLE}
    master = start_locust(
        *("-H", f"{server.host}/v1", *SHORT, *given, "--headless", "--master", "--expect-workers", "1"),
        *("--master-bind-port", str(master_port), "--prompts", str(rows), "--prompt-tokens", "1:99", "--json"),
        *("--body", '{"user": "me", "stream_options": {"continuous_usage_stats": true}, "metadata": {"lane": "fast"}}'),
        *("--body-file", str(body_file), *SAMPLING, "--max-tokens-field", "max_completion_tokens"),
        *("--path", "/v1/chat/completions?of={model}"),
        *("--logfile", str(tmp_path / "locust.log"), "--html", str(tmp_path / "locust.html"), "--preflight", "on"),
        env=variables,
        pictures=True,
    )
    worker = start_locust(
        *("--worker", "--master-host", "127.0.0.1", "--master-port", messages[0], *given), env=variables, pictures=True
    )
    run = master.end()
    worker_output, _ = worker.process.communicate(timeout=60)
    assert run.exit_code == 0, run.output
    assert {row["outcome"] for row in run.requests} == {"ok"}
    for post in posts(log):
        assert (post["headers"]["x-tenant"], post["headers"]["x-key"]) == (LITERAL, OF_VARIABLE)
        assert post["headers"]["x-of-file"] == OF_FILE
        body = post["body"]
        assert {name: body[name] for name in SET} == SET
        assert (body["user"], body["metadata"], body["min_p"]) == ("me", {"lane": "fast", "run": 1}, 0.1)
        assert body["stream_options"] == {"include_usage": True, "continuous_usage_stats": True}
        assert (body["max_completion_tokens"], "max_tokens" in body) == (8, False)
        assert (post["path"], post["query"]) == ("/v1/chat/completions", f"of={body['model']}")
    assert len(posts(log)) > 2
    assert b"X-Tenant" in messages[1].read_bytes()
    assert_holds_no_value("output", run.output.encode() + worker_output.encode())
    for file in tmp_path.rglob("*"):
        if file.is_file() and file not in (log, headers):
            assert_holds_no_value(str(file), file.read_bytes())
    assert run.document["requests"]["body"] == {
        "user": "me",
        "metadata": {"lane": "fast", "run": 1},
        "min_p": 0.1,
        "stream_options": {"continuous_usage_stats": True},
        **SET,
    }
    assert run.document["requests"]["headers"] == ["X-Key", "X-Tenant"]


def test_a_gateway_with_a_path_and_a_query_of_its_own(
    run_locust: RunLocust, start_simulator: StartSimulator, tmp_path: Path
) -> None:
    log = tmp_path / "requests.jsonl"
    server = start_simulator("--dialect", "openai", "--path", "/gw/llm/chat/completions", "--request-log", str(log))
    run = run_locust(
        "-H", f"{server.host}/gw/llm/chat/completions?api-version=7", *SHORT, "--headless", "--preflight", "on"
    )
    assert run.exit_code == 0, run.output
    assert {row["outcome"] for row in run.requests} == {"ok"}
    assert {(post["path"], post["query"]) for post in posts(log)} == {("/gw/llm/chat/completions", "api-version=7")}
    assert run.document["host"] == f"{server.host}/gw/llm"


def of_row(number: int) -> dict[str, Any]:
    """For each sampling field, and one of --body, another value than the options have."""
    numbers = dict.fromkeys(("temperature", "top_p", "presence_penalty", "frequency_penalty", "min_p"), number / 10)
    return {**numbers, "top_k": 1 + number, "seed": number, "stop": [f"END {number}"]}


def test_a_run_through_a_proxy_with_forked_workers_keeps_its_secrets_and_the_rows_fields_win(
    run_locust: RunLocust, start_simulator: StartSimulator, tmp_path: Path
) -> None:
    log, rows = tmp_path / "requests.jsonl", tmp_path / "rows.jsonl"
    server = start_simulator("--dialect", "vllm", "--request-log", str(log))
    own = [of_row(n) for n in range(4)]
    rows.write_text(
        "".join(
            json.dumps({"prompt": f"Name {n} cities of the south.", "max_tokens": 3 + n, **fields}) + "\n"
            for n, fields in enumerate(own)
        )
    )
    with running_proxy(tmp_path, f"me:{OF_FILE}") as proxy:
        run = run_locust(
            *("-H", server.host, *SHORT, "--headless", "--processes", "2", "--header", f"X-Tenant: {LITERAL}"),
            *("--proxy", f"http://me:{OF_FILE}@127.0.0.1:{proxy.port}", "--prompts", str(rows)),
            *("--prompt-tokens", "1:99", "--prompt-reuse", "always", "--body", '{"min_p": 0.5, "user": "me"}'),
            *(*SAMPLING, "--max-tokens-field", "max_completion_tokens"),
            pictures=True,
        )
        passed = proxy.requests()
    assert run.exit_code == 0, run.output
    assert {row["outcome"] for row in run.requests} == {"ok"}
    assert run.document["requests"]["proxy"] == proxy.address
    of_rows = [post for post in posts(log) if "cities of the south" in json.dumps(post["body"]["messages"])]
    assert len(of_rows) >= len(run.requests) > 0
    for post in of_rows:
        (n,) = [n for n in range(4) if f"Name {n} " in json.dumps(post["body"]["messages"])]
        assert {name: post["body"][name] for name in own[n]} == own[n]
        assert (post["body"]["max_completion_tokens"], post["body"]["user"]) == (3 + n, "me")
    assert {post["headers"]["x-tenant"] for post in posts(log)} == {LITERAL}
    assert not any("proxy-authorization" in post["headers"] for post in posts(log))
    of_proxy = [request["line"].split()[:2] for request in passed]
    assert of_proxy.count(["POST", f"{server.host}/v1/chat/completions"]) == len(posts(log))
    assert ["GET", f"{server.host}/v1/models"] in of_proxy
    assert ["GET", f"{server.host}/metrics"] in of_proxy
    assert_holds_no_value("output", run.output.encode())
    for file in run.folder.rglob("*"):
        if file.is_file():
            assert_holds_no_value(str(file), file.read_bytes())


@pytest.mark.parametrize(
    ("endpoint", "text"),
    [("completions", lambda body: body["prompt"]), ("responses", lambda body: body["input"][-1]["content"])],
)
def test_a_run_at_another_endpoint_has_the_server_s_own_counts(
    run_locust: RunLocust, start_simulator: StartSimulator, tmp_path: Path, endpoint: str, text: Callable[[Any], str]
) -> None:
    log = tmp_path / "requests.jsonl"
    server = start_simulator("--dialect", "vllm", "--request-log", str(log), "--answer-median-tokens", "30")
    plan = ("-u", "2", "-r", "2", "-t", "3s", "--system-prompt", "both", "--max-tokens", "24")
    run = run_locust("-H", server.host, *plan, "--endpoint", endpoint, "--preflight", "on")
    assert run.exit_code == 0, run.output
    assert {post["path"] for post in posts(log)} == {f"/v1/{endpoint}"}
    assert all(text(post["body"]) for post in posts(log))
    over = [row for row in run.requests if row["outcome"] != "cut"]
    assert {(row["outcome"], row["output_tokens_source"], row["prompt_tokens_source"]) for row in over} == {
        ("ok", "usage", "usage")
    }
    assert {row["finish_reason"] for row in over} == {"stop", "length"}
    counts = Counter((row["prompt_tokens"], row["output_tokens"]) for row in over)
    assert counts <= Counter((row["prompt_tokens"], row["tokens"]) for row in server.truth())
    requests = run.document["requests"]
    assert (requests["endpoint"], requests["notices"], requests["adaptations"]) == (endpoint, [], {})


def test_requests_carry_their_images_whose_content_is_in_no_file(
    run_locust: RunLocust, start_simulator: StartSimulator, tmp_path: Path
) -> None:
    log, picture = tmp_path / "requests.jsonl", tmp_path / "picture.webp"
    Image.new("RGB", (40, 30), "navy").save(picture, "WEBP")
    server = start_simulator("--dialect", "vllm", "--request-log", str(log))
    run = run_locust(
        *("-H", server.host, *SHORT, "--headless", "--preflight", "on", "--record", "bodies"),
        *("--image", "synthetic:800x600", "--image", str(picture)),
        pictures=True,
    )
    assert run.exit_code == 0, run.output
    assert {row["outcome"] for row in run.requests} == {"ok"}
    sent = [post["body"]["messages"][-1]["content"][1]["image_url"]["url"] for post in posts(log)]
    files = [image for image in sent if image["media_type"] == "image/webp"]
    synthetic = [image for image in sent if image["media_type"] == "image/png"]
    assert len(files) + len(synthetic) == len(sent) > len(run.requests)  # the preflight's too
    assert abs(len(files) - len(synthetic)) <= 2
    of_file = {"size_bytes": picture.stat().st_size, "sha256": sha256(picture.read_bytes()).hexdigest()}
    assert all(image == {"media_type": "image/webp", **of_file} for image in files)
    assert len({image["sha256"] for image in synthetic}) == len(synthetic)
    (size,) = {image["size_bytes"] for image in synthetic}
    of_png, of_webp = run.document["requests"]["images"]
    assert (of_png["width"], of_png["height"], of_png["size_bytes"], of_png["unique"]) == (800, 600, size, True)
    assert of_webp["unique"] is False
    assert of_webp == {"media_type": "image/webp", "width": 40, "height": 30, "unique": False, **of_file} | {
        "source": str(picture)
    }
    content = b64encode(picture.read_bytes())
    for file in run.folder.rglob("*"):
        assert not file.is_file() or content not in file.read_bytes(), file


@pytest.mark.parametrize("image", ["synthetic:5x5", "/nowhere/picture.png", __file__])
def test_an_image_that_cannot_be_used_ends_the_start(run_locust: RunLocust, image: str) -> None:
    run = run_locust(*SHORT, "--headless", "--image", image)
    assert (run.exit_code, list(run.results.glob("*"))) == (2, [])
    assert image in run.output


@pytest.fixture
def client_files(tmp_path: Path) -> dict[str, Path]:
    """PEM files: the authority, a server's certificate with its key, a client's certificate, and its key."""
    authority = trustme.CA()
    server, client = authority.issue_cert("127.0.0.1"), authority.issue_cert("client@example.org")
    files = {name: tmp_path / f"{name}-8c41.pem" for name in ("authority", "server", "certificate", "key")}
    authority.cert_pem.write_to_path(str(files["authority"]))
    server.private_key_and_cert_chain_pem.write_to_path(str(files["server"]))
    client.cert_chain_pems[0].write_to_path(str(files["certificate"]))
    client.private_key_pem.write_to_path(str(files["key"]))
    return files


def test_a_run_shows_its_client_certificate_and_its_key_is_in_no_output(
    run_locust: RunLocust, start_simulator: StartSimulator, client_files: dict[str, Path]
) -> None:
    server = start_simulator("--dialect", "vllm")
    port = int(server.host.rpartition(":")[2])
    with tls_front(port, client_files["server"], client_files["authority"]) as front:
        host = ("-H", f"https://127.0.0.1:{front}", "--tls-ca", str(client_files["authority"]), "--preflight", "on")
        refused = run_locust(*host, *SHORT, "--headless", pictures=True)
        key = str(client_files["key"])
        given = ("--client-cert", str(client_files["certificate"]), "--client-key", key)
        run = run_locust(*host, *SHORT, "--headless", *given, pictures=True)
    assert (refused.exit_code, "--client-cert" in refused.output) == (2, True)
    assert run.exit_code == 0, run.output
    assert {row["outcome"] for row in run.requests} == {"ok"}
    assert len(server.truth()) > len(run.requests)  # the preflight's too
    assert run.document["options"]["client_cert"] == str(client_files["certificate"])
    lines = client_files["key"].read_text().splitlines()[1:-1]
    files = [file for file in run.folder.rglob("*") if file.is_file()]
    for name, content in [("output", run.output.encode()), *((str(file), file.read_bytes()) for file in files)]:
        assert [text for text in (client_files["key"].name, *lines) if text.encode() in content] == [], name
