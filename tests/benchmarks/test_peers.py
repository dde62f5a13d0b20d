"""Others' clients: who is run, and how their own records are read."""

from __future__ import annotations

import json
import sys
import zipfile
from importlib.machinery import EXTENSION_SUFFIXES
from itertools import pairwise
from pathlib import Path

import pytest

from benchmarks import sglang_client
from benchmarks.peers import (
    PeerError,
    peers,
    read_aiperf,
    read_genai_bench,
    read_guidellm,
    read_sglang,
    read_vllm_bench,
)
from benchmarks.records import Load, Seen


@pytest.fixture(autouse=True)
def nothing_is_installed(monkeypatch):
    """Whatever the developer has on the path."""
    monkeypatch.setenv("PATH", "")


def test_a_peer_is_run_where_it_is_given(tmp_path):
    (client,) = peers({"aiperf": sys.executable})
    command = client.command(Load(100, 2, 10), "http://127.0.0.1:1234", tmp_path)
    assert command[:2] == [sys.executable, "profile"]
    record = dict(pairwise(command))
    assert (
        record["--url"],
        record["--concurrency"],
        record["--concurrency-ramp-duration"],
        record["--benchmark-duration"],
    ) == (*("http://127.0.0.1:1234", "100", "2", "12"),)
    assert json.loads((tmp_path / "tokenizer" / "tokenizer.json").read_text())["model"]["type"] == "BPE"


def test_where_no_peer_is_installed_or_given_none_is_run():
    assert peers({}) == []


#: 100 users for 2 + 10 s, 0.2 s and 95 gaps of 25 ms an answer: 100 · 12 / 2.575.
REQUESTS = 466


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("vllm", f"bench serve --num-prompts {REQUESTS} --max-concurrency 100 --base-url http://127.0.0.1:1234"),
        ("guidellm", f"run kind=max_requests,count={REQUESTS} kind=concurrent,streams=100,rampup_duration=2"),
        ("guidellm", "kind=openai_http,target=http://127.0.0.1:1234,model=truth,max_tokens=160,validate_backend=false"),
        ("genai-bench", f"benchmark --max-requests-per-run {REQUESTS} --num-concurrency 100 --spawn-rate 50"),
        ("genai-bench", "--api-base http://127.0.0.1:1234 --traffic-scenario D(20,160)"),
    ],
)
def test_a_peer_that_counts_gets_as_many_requests_as_take_the_others_time(name, words, tmp_path):
    (client,) = peers({name: sys.executable})
    assert (client.name, client.counted) == (name, True)
    command = client.command(Load(100, 2, 10), "http://127.0.0.1:1234", tmp_path)
    assert command[0] == sys.executable
    assert set(words.split()) <= set(command)


def test_vllms_client_gets_a_prompt_for_each_request(tmp_path):
    (client,) = peers({"vllm": sys.executable})
    record = dict(pairwise(client.command(Load(100, 2, 10), "http://127.0.0.1:1234", tmp_path)))
    prompts = [json.loads(line) for line in Path(record["--dataset-path"]).read_text().splitlines()]
    assert prompts == [{"prompt": "Why is the sky blue, and why is it red in the evening?"}] * REQUESTS


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"wrk": sys.executable}, "NAME one of aiperf, vllm, guidellm, genai-bench, sglang; got 'wrk'"),
        ({"sglang": sys.executable}, "expected a wheel of sglang or its extension _bench.*, got "),
        ({"aiperf": "/no/such"}, "there is no such program"),
    ],
)
def test_a_peer_that_cannot_be_run_is_refused_in_a_sentence(given, words):
    with pytest.raises(PeerError, match=words):
        peers(given)


def test_aiperfs_own_record_of_each_request_is_read(tmp_path):
    """Two lines as AIPerf 0.13.0 wrote them, shortened; the second request failed."""
    good = {
        "metadata": {"x_request_id": "a", "request_start_ns": 1_795_411_245_701_665_989, "was_cancelled": False},
        "metrics": {
            "output_sequence_length": {"value": 32, "unit": "tokens"},
            "time_to_first_token": {"value": 206.776837, "unit": "ms"},
        },
        "error": None,
    }
    bad = {"metadata": good["metadata"] | {"x_request_id": "b"}, "metrics": {}, "error": {"code": 503}}
    (tmp_path / "profile_export.jsonl").write_text("\n".join(map(json.dumps, (good, bad))))
    sent_ns = 1_795_411_245_701_665_989
    assert read_aiperf(tmp_path) == [
        Seen("a", sent_ns, 206_776_837, None, 32, ok=True),
        Seen("b", sent_ns, None, None, 0, ok=False),
    ]


def test_vllms_own_record_of_each_request_is_read(tmp_path):
    """As vLLM 0.32.0 wrote it, shortened: an answer of two tokens, one that broke off after the first, and a 503. Its
    first gap is that between the role and the first token."""
    record = {
        "completed": 1,
        "start_times": [26489.365451389, 26489.36564961, 26489.4],
        "ttfts": [0.23023327299961238, 0.01, 0.0],
        "itls": [[1.3632001355290413e-05, 0.024807719000818906], [2e-05], []],
        "errors": ["", "Traceback (most recent call last): …", "Service Unavailable"],
    }
    (tmp_path / "vllm_bench.json").write_text(json.dumps(record))
    assert read_vllm_bench(tmp_path) == [
        Seen("vllm-bench-0", 26_489_365_451_389, 230_233_273, 24_807_719, 2, ok=True),
        Seen("vllm-bench-1", 26_489_365_649_610, None, 20_000, 1, ok=False),
        Seen("vllm-bench-2", 26_489_400_000_000, None, None, 0, ok=False),
    ]


def test_guidellms_own_record_of_each_request_is_read_in_the_order_of_ending(tmp_path):
    """As GuideLLM 0.8.1 wrote them, shortened; the last one broke off after three tokens."""
    later = _by_guidellm("completed", 1_795_417_892.5, 1_795_417_895.25, 61, 201.01523399353027)
    first = _by_guidellm("completed", 1_795_417_892.75, 1_795_417_893.5, 32, 200.5)
    broken = _by_guidellm("errored", 1_795_417_893.0, 1_795_417_896.0, 3, None)
    requests = {"successful": [later, first], "errored": [broken], "incomplete": [], "total": None}
    (tmp_path / "guidellm.json").write_text(json.dumps({"benchmarks": [{"requests": requests}]}))
    assert read_guidellm(tmp_path) == [
        Seen(None, 1_795_417_892_750_000_000, 200_500_000, None, 32, ok=True, usage_tokens=32),
        Seen(None, 1_795_417_892_500_000_000, 201_015_234, None, 61, ok=True, usage_tokens=61),
        Seen(None, 1_795_417_893_000_000_000, None, None, 3, ok=False),
    ]


def _by_guidellm(status, start_s, end_s, tokens, ttft_ms):
    return {
        "info": {"status": status, "timings": {"request_start": start_s, "token_iterations": tokens}},
        "output_metrics": {"text_tokens": tokens if status == "completed" else None},
        "request_end_time": end_s,
        "time_to_first_token_ms": ttft_ms,
    }


def test_genai_benchs_own_record_of_each_request_is_read(tmp_path):
    """As genai-bench 0.0.5 wrote them, shortened; the second request failed."""
    good = {"ttft": 0.20286566099821357, "e2e_latency": 0.9772, "num_output_tokens": 32, "error_code": None}
    bad = dict.fromkeys(good) | {"error_code": 503}
    (tmp_path / "genai_bench").mkdir()
    (tmp_path / "genai_bench" / "experiment_metadata.json").write_text("{}")
    record = tmp_path / "genai_bench" / "D20_160_text-to-text_num_concurrency_100_time_12s.json"
    record.write_text(json.dumps({"individual_request_metrics": [good, bad], "_time_unit": "s"}))
    assert read_genai_bench(tmp_path) == [
        Seen(None, None, 202_865_661, None, None, ok=True, usage_tokens=32),
        Seen(None, None, None, None, None, ok=False),
    ]


def test_a_genai_bench_that_wrote_no_record_has_none(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_genai_bench(tmp_path)


@pytest.fixture
def wheel(tmp_path):
    """Makes a wheel of sglang whose client is a file with this ending."""

    def make(ending):
        path = tmp_path / "sglang-1-cp311-cp311-linux.whl"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(f"sglang/srt/rust_extensions/_server{ending}", b"")
            archive.writestr(f"sglang/srt/rust_extensions/_bench{ending}", b"not compiled")
        return path

    return make


def test_sglangs_client_is_run_from_its_wheel(wheel, tmp_path):
    path = wheel(EXTENSION_SUFFIXES[0])
    (client,) = peers({"sglang": str(path)})
    assert (client.name, client.counted) == ("sglang", True)
    record = dict(pairwise(client.command(Load(100, 2, 10), "http://127.0.0.1:1234", tmp_path)))
    assert record["benchmarks.sglang_client"] == str(path)
    assert (record["--num-prompts"], record["--max-concurrency"]) == (str(REQUESTS), "100")
    assert record["--base-url"] == "http://127.0.0.1:1234"
    assert len(json.loads(Path(record["--dataset-path"]).read_text())) == REQUESTS


def test_a_wheel_for_another_python_is_refused_with_what_it_has(wheel):
    path = wheel(".cpython-27-none.so")
    with pytest.raises(PeerError, match="has no client for this Python .*; it has .*/_bench.cpython-27-none.so"):
        peers({"sglang": str(path)})


def test_an_extension_that_does_not_load_ends_the_client_in_a_sentence(wheel, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["sglang_client", str(wheel(EXTENSION_SUFFIXES[0])), "--help"])
    assert sglang_client.main() == 2
    assert capsys.readouterr().err.startswith("sglang: ")


def test_sglangs_own_record_of_each_request_is_read(tmp_path):
    """As sglang 0.5.23 wrote it, shortened; the second request failed."""
    record = {"ttfts": [0.200629072, 0.0], "itls": [[0.025, 0.0251], []], "output_lens": [3, 0], "errors": ["", "503"]}
    (tmp_path / "sglang.jsonl").write_text(json.dumps(record) + "\n")
    assert read_sglang(tmp_path) == [
        Seen(None, None, 200_629_072, 25_100_000, 3, ok=True, usage_tokens=3),
        Seen(None, None, None, None, 1, ok=False),
    ]
