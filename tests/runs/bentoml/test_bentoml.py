"""Runs against a real BentoML service that streams bare text: no events, no counts, no end but the body's."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.error import URLError

import pytest

pytest.importorskip("bentoml", reason="needs the extra: pip install tokenswarm[real]")

from tokenizers import Tokenizer, models, pre_tokenizers

from tests.runs.harness import RunLocust, assert_whole, environment, free_port, read_csv

pytestmark = [pytest.mark.real, pytest.mark.slow]
HERE = Path(__file__).parent
STARTS_WITHIN_S = 60


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the service, once it is ready."""
    folder = tmp_path_factory.mktemp("bentoml")
    address = f"http://127.0.0.1:{free_port()}"
    command = [sys.executable, "-m", "bentoml", "serve", "service:Reader", "--host", "127.0.0.1"]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [*command, "--port", address.rpartition(":")[2]],
            cwd=HERE,
            env=environment(BENTOML_HOME=str(folder), BENTOML_DO_NOT_TRACK="True"),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            wait_until_ready(address, folder / "log")
            yield address
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(timeout=20)


def wait_until_ready(address: str, log: Path) -> None:
    deadline = time.monotonic() + STARTS_WITHIN_S
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"{address}/readyz", timeout=5):
                return
        except (URLError, OSError):
            time.sleep(0.2)
    raise AssertionError(log.read_text())


@pytest.fixture
def tokenizer(tmp_path: Path) -> str:
    """A tokenizer.json to which a word is a token."""
    words = Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    words.save(str(tmp_path / "tokenizer.json"))
    return str(tmp_path / "tokenizer.json")


def test_bare_text_is_timed_and_counted_in_a_whole_run(service: str, run_locust: RunLocust, tokenizer: str) -> None:
    load = ("--levels", "4", "--ramp", "1s", "--level-time", "3s", "--system-prompt", "off")
    asked = ("--max-tokens", "128", "--tokenizer", tokenizer, "--prompt-tokens", "1:500", "--preflight", "on")
    run = run_locust("-H", service, *load, *asked)
    assert run.exit_code == 0, run.output
    assert_whole(run)
    assert (run.document["engine"], run.document["model"]) == ("bentoml", "Reader")
    assert len(run.requests) > 8
    for row in run.requests:
        assert (row["outcome"], row["output_tokens"], row["output_tokens_source"]) == ("ok", "128", "tokenizer")
        assert 50 <= float(row["headers_ms"]) <= float(row["ttft_ms"]) < float(row["e2e_ms"])
        # From the sending: a first word may be read late, no word is sent early.
        assert float(row["e2e_ms"]) >= 50 + 127 * 2
    told = {row["metric"] for row in read_csv(run.folder / "server.csv")}
    assert told == {"requests_running"}


def test_an_answer_that_breaks_off_cannot_be_told_from_a_whole_one(
    service: str, run_locust: RunLocust, tokenizer: str, tmp_path: Path
) -> None:
    """BentoML ends the body cleanly when its service raises: only the length shows it."""
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text(json.dumps({"prompt": "Please break off in the middle of it."}) + "\n")
    asked = ("--prompts", str(prompts), "--prompt-tokens", "1:500", "--tokenizer", tokenizer, "--max-tokens", "128")
    run = run_locust("-H", service, "-u", "1", "-r", "1", "-t", "2s", *asked)
    assert run.exit_code == 0, run.output
    assert {(row["outcome"], row["output_tokens"]) for row in run.requests} == {("ok", "3")}


def test_a_length_that_the_service_would_refuse_is_refused_before_the_run(
    service: str, run_locust: RunLocust, tokenizer: str
) -> None:
    run = run_locust("-H", service, "--max-tokens", "64", "--tokenizer", tokenizer)
    assert run.exit_code == 2
    assert "--max-tokens: this service takes 128 to 1024, got 64" in run.output
