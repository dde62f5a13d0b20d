"""The ladder on a real llama.cpp server: what it streams is taken as it is meant."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("xllamacpp", reason="needs the extra: pip install tokenswarm[real]")
pytest.importorskip("gguf", reason="needs the extra: pip install tokenswarm[real]")

from tests.runs.harness import ROOT, SHORT_LADDER, RunLocust, assert_whole, environment

pytestmark = [pytest.mark.real, pytest.mark.slow]
HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def llamacpp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a llama.cpp server with a tiny random model."""
    folder = tmp_path_factory.mktemp("llamacpp")
    model = folder / "tiny.gguf"
    subprocess.run([sys.executable, str(HERE / "tiny_model.py"), str(model)], check=True, timeout=120)
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, str(HERE / "llamacpp_server.py"), str(model), "4"],
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
        assert process.stdout is not None
        address = None
        while address is None and (line := process.stdout.readline()):
            address = re.search(r"http://[\d.]+:\d+", line)
        assert address, (folder / "log").read_text()
        yield address[0]
        process.terminate()
        process.wait(timeout=10)


def generated_tokens(host: str) -> int:
    """The server's own count."""
    with urllib.request.urlopen(f"{host}/metrics", timeout=10) as response:
        text = response.read().decode()
    match = re.search(r"^llamacpp:tokens_predicted_total (\d+)", text, re.MULTILINE)
    assert match, text
    return int(match[1])


def test_the_ladder_s_tokens_are_the_server_s_own(llamacpp: str, run_locust: RunLocust) -> None:
    before = generated_tokens(llamacpp)
    run = run_locust("-H", llamacpp, *SHORT_LADDER, "--ignore-eos", "--preflight", "on")
    assert run.exit_code == 0, run.output
    assert_whole(run)
    assert (run.document["engine"], run.document["model"]) == ("llamacpp", "tiny")
    assert run.document["engine_evidence"] == ["GET /v1/models: the header Server is llama.cpp"]
    assert {(row["outcome"], row["output_tokens_source"]) for row in run.requests} == {("ok", "usage")}
    assert {row["output_tokens"] for row in run.requests} == {"24"}
    preflight = 2 * 24  # one answer for each system-prompt mode, in no file of the run
    generated = generated_tokens(llamacpp) - before
    assert generated == preflight + sum(int(row["output_tokens"]) for row in run.requests)
    assert all(level["hold"]["ttft_s"]["p50"] for level in run.summary["levels"])


def test_a_probe_tells_what_it_is_and_that_it_hangs_up(llamacpp: str) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "tokenswarm.py"), "probe", "-H", llamacpp, "--json"],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["engine"], told["model"], told["server_metrics"]) == ("llamacpp", "tiny", f"{llamacpp}/metrics")
    assert told["version"]
    assert told["trace"]["outcome"] == "ok"
    assert told["trace"]["tokens"]["usage"] >= told["trace"]["output_events"] > 0
    assert {option["name"]: option["followed"] for option in told["options"]}["usage"] == "yes"
    assert any("keep the connection open" in sentence for sentence in told["misleading"])


def test_a_one_token_answer_is_ok_and_has_no_time_per_token(llamacpp: str, run_locust: RunLocust) -> None:
    options = ("--engine", "llamacpp", "--ignore-eos", "--max-tokens", "1", "--slo", "tpot=1ms")
    run = run_locust("-H", llamacpp, "-u", "2", "-r", "2", "-t", "3s", *options)
    assert run.exit_code == 0, run.output
    assert {(row["outcome"], row["output_tokens"], row["tpot_ms"]) for row in run.requests} == {("ok", "1", "")}
    assert run.summary["levels"][0]["hold"]["goodput"]["fraction"] == 1.0


def test_requested_lengths_are_those_that_the_server_counts(llamacpp: str, run_locust: RunLocust) -> None:
    lengths = ("--input-tokens", "pairs:128/8:2 1024/16", "--ignore-eos", "--prefix", "groups=2 tokens=64")
    run = run_locust("-H", llamacpp, "-u", "2", "-r", "2", "-t", "6s", *lengths)
    ok = [row for row in run.requests if row["outcome"] == "ok"]
    assert {row["input_tokens_requested"] for row in ok} == {"128", "1024"}, run.output
    for row in ok:
        assert row["prompt_tokens_source"] == row["output_tokens_source"] == "usage"
        assert row["prompt_tokens"] == row["input_tokens_requested"]
        assert row["output_tokens"] == row["output_tokens_requested"]
    # A slot keeps its last prompt, of which the next one of the same group has the prefix: here behind some tokens of
    # the chat template.
    ((cached_tokens, _),) = Counter(int(row["cached_tokens"]) for row in ok).most_common(1)
    assert 64 <= cached_tokens < 76


@pytest.mark.parametrize("endpoint", ["completions", "responses"])
def test_its_other_endpoints_are_measured_as_its_chat_is(llamacpp: str, run_locust: RunLocust, endpoint: str) -> None:
    before = generated_tokens(llamacpp)
    plan = ("-u", "2", "-r", "2", "-t", "3s", "--system-prompt", "off", "--max-tokens", "16", "--preflight", "on")
    run = run_locust("-H", llamacpp, *plan, "--endpoint", endpoint)
    over = [row for row in run.requests if row["outcome"] not in ("cut", "empty")]
    # The model is a random one: now and then its first token ends the answer.
    empty = sum(row["outcome"] == "empty" for row in run.requests)
    assert (run.exit_code, empty <= len(run.requests) / 50) == (1 if empty else 0, True), run.output
    assert {(row["outcome"], row["output_tokens_source"], row["prompt_tokens_source"]) for row in over} == {
        ("ok", "usage", "usage")
    }, run.output
    assert {row["finish_reason"] for row in over} <= {"stop", "length"}
    assert all(float(row["ttft_ms"]) > 0 for row in over)
    counted = sum(int(row["output_tokens"]) for row in over)
    assert counted <= generated_tokens(llamacpp) - before <= counted + 16 * (1 + len(run.requests) - len(over))
