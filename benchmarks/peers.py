"""Others' clients that are run where they are installed, and what they report of each request.

AIPerf (aiperf on PyPI) and vLLM's `vllm bench serve` send an id with each request, and their records have it. GuideLLM
(guidellm) and genai-bench send none: their requests are known by how long the answers were (benchmarks/matching.py).

SGLang's client in Rust, an extension in the wheel of sglang, runs where that is given; its requests are known in the
same way.

AIPerf and GuideLLM run as processes that share the one core; their cost is of those that ended before the
first did, their memory of the first one alone. All but AIPerf are given a number of requests to send, not for how long.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.clients import Client
from benchmarks.question import BODY, PATH, QUESTION
from benchmarks.records import ANSWER_TOKENS_MAX, Load, Seen
from benchmarks.sglang_client import SglangClientError, extension_name

_PATIENCE_S = 20
_PROMPT_TOKENS = 20
_VLLM_PREFIX = "vllm-bench-"
_VLLM_RECORD = "vllm_bench.json"
_GUIDELLM_RECORD = "guidellm.json"
_GENAI_BENCH_FOLDER = "genai_bench"
_SGLANG_RECORD = "sglang.jsonl"
#: Far longer than any run here, which ends by its number of requests.
_MINUTES_AT_MOST = 10


class PeerError(ValueError):
    """A peer cannot be run with these options; the text says why."""


def aiperf(program: str) -> Client:
    """NVIDIA's AIPerf, in a closed loop of as many requests as there are users."""

    def command(load: Load, host: str, folder: Path) -> list[str]:
        return [
            *(program, "profile", "--model", str(BODY["model"]), "--url", host, "--endpoint-type", "chat"),
            *("--streaming", "--concurrency", str(load.users), "--concurrency-ramp-duration", str(load.ramp_s)),
            *("--benchmark-duration", str(load.sending_s), "--benchmark-grace-period", str(_PATIENCE_S)),
            *("--isl", str(_PROMPT_TOKENS), "--osl", str(ANSWER_TOKENS_MAX), "--use-server-token-count"),
            *("--tokenizer", str(_tokenizer(folder)), "--ui", "none", "--output-artifact-dir", str(folder)),
        ]

    return Client("aiperf", command, read_aiperf)


def vllm_bench(program: str) -> Client:
    """vLLM's own `vllm bench serve`, that many requests at a time; it has no ramp."""

    def command(load: Load, host: str, folder: Path) -> list[str]:
        model = str(BODY["model"])
        return bench_serve(program, host, folder, model, load.requests, load.users, ANSWER_TOKENS_MAX)

    return Client("vllm", command, read_vllm_bench, counted=True)


def bench_serve(
    program: str, host: str, folder: Path, model: str, requests: int, at_once: int, tokens: int
) -> list[str]:
    """`vllm bench serve` with so many requests, of so many tokens at most, at a time; read_vllm_bench reads what it
    leaves in `folder`."""
    prompts = folder / "prompts.jsonl"
    prompts.write_text((json.dumps({"prompt": QUESTION}) + "\n") * requests, encoding="utf-8")
    return [
        *(program, "bench", "serve", "--backend", "openai-chat", "--base-url", host, "--endpoint", PATH),
        *("--model", model, "--tokenizer", str(_tokenizer(folder)), "--skip-chat-template"),
        *("--dataset-name", "custom", "--dataset-path", str(prompts), "--num-prompts", str(requests)),
        *("--custom-output-len", str(tokens), "--max-concurrency", str(at_once)),
        *("--request-id-prefix", _VLLM_PREFIX, "--disable-tqdm", "--save-result", "--save-detailed"),
        *("--result-dir", str(folder), "--result-filename", _VLLM_RECORD),
    ]


def guidellm(program: str) -> Client:
    """GuideLLM, a stream a user. A limit of time would have it cut off the last answers, so it gets one of requests."""

    def command(load: Load, host: str, folder: Path) -> list[str]:
        server = f"kind=openai_http,target={host},model={BODY['model']},max_tokens={ANSWER_TOKENS_MAX}"
        prompts = f"kind=synthetic_text,prompt_tokens={_PROMPT_TOKENS},output_tokens={ANSWER_TOKENS_MAX}"
        return [
            *(program, "run", "--backend", f"{server},validate_backend=false", "--data", prompts),
            *("--profile", f"kind=concurrent,streams={load.users},rampup_duration={load.ramp_s}"),
            *("--constraint", f"kind=max_requests,count={load.requests}"),
            *("--tokenizer", f"kind=huggingface_auto,model={_tokenizer(folder)}"),
            *("--output", f"kind=json,path={folder / _GUIDELLM_RECORD}", "--disable-console"),
        ]

    return Client("guidellm", command, read_guidellm, counted=True)


def genai_bench(program: str) -> Client:
    """genai-bench, in one process, which is its default. It looks once a second whether enough answers have come, and
    cuts off the rest."""

    def command(load: Load, host: str, folder: Path) -> list[str]:
        return [
            *(program, "benchmark", "--api-backend", "vllm", "--api-base", host, "--api-key", "none"),
            *("--task", "text-to-text", "--api-model-name", str(BODY["model"])),
            *("--model-tokenizer", str(_tokenizer(folder)), "--num-concurrency", str(load.users)),
            *("--spawn-rate", str(round(load.users_per_s)), "--max-requests-per-run", str(load.requests)),
            *("--max-time-per-run", str(_MINUTES_AT_MOST)),
            *("--traffic-scenario", f"D({_PROMPT_TOKENS},{ANSWER_TOKENS_MAX})", "--log-dir", str(folder)),
            *("--experiment-base-dir", str(folder), "--experiment-folder-name", _GENAI_BENCH_FOLDER),
        ]

    return Client("genai-bench", command, read_genai_bench, counted=True)


def sglang(wheel: str) -> Client:
    """SGLang's client in Rust, with one thread, as there is one core; it has no ramp."""

    def command(load: Load, host: str, folder: Path) -> list[str]:
        question, answer = {"from": "human", "value": QUESTION}, {"from": "gpt", "value": "a" * ANSWER_TOKENS_MAX}
        prompts = folder / "prompts.json"
        prompts.write_text(json.dumps([{"conversations": [question, answer]}] * load.requests), encoding="utf-8")
        return [
            *(sys.executable, "-m", "benchmarks.sglang_client", wheel, "--backend", "vllm-chat", "--base-url", host),
            *("--model", str(BODY["model"]), "--tokenizer", str(_tokenizer(folder)), "--dataset-name", "sharegpt"),
            *("--dataset-path", str(prompts), "--sharegpt-output-len", str(ANSWER_TOKENS_MAX)),
            *("--num-prompts", str(load.requests), "--max-concurrency", str(load.users)),
            *("--ready-check-timeout-sec", "0", "--warmup-requests", "0", "--worker-threads", "1", "--disable-tqdm"),
            *("--output-file", str(folder / _SGLANG_RECORD), "--output-details", "--disable-retokenize"),
        ]

    return Client("sglang", command, read_sglang, counted=True)


#: How a client is made of its program's path.
PEERS = {"aiperf": aiperf, "vllm": vllm_bench, "guidellm": guidellm, "genai-bench": genai_bench}
#: The same of a wheel's path.
WHEELS = {"sglang": sglang}


def peers(given: Mapping[str, str]) -> list[Client]:
    """Those that are installed, or given by the path of their program or wheel. Raises PeerError, OSError."""
    for name, path in given.items():
        if name not in PEERS | WHEELS:
            raise PeerError(f"--peer takes NAME=PATH, NAME one of {', '.join(PEERS | WHEELS)}; got {name!r}")
        if name in WHEELS:
            _check_wheel(name, path)
        elif shutil.which(path) is None:
            raise PeerError(f"--peer {name}={path}: there is no such program")
    programs = {name: given.get(name) or shutil.which(name) for name in PEERS}
    of_programs = [PEERS[name](program) for name, program in programs.items() if program]
    return of_programs + [WHEELS[name](given[name]) for name in WHEELS if name in given]


def _check_wheel(name: str, path: str) -> None:
    try:
        extension_name(Path(path))
    except SglangClientError as error:
        raise PeerError(f"--peer {name}={path}: {error}") from None


def read_aiperf(folder: Path) -> list[Seen]:
    """profile_export.jsonl. Raises OSError, and KeyError for what is no such file."""
    lines = (folder / "profile_export.jsonl").read_text(encoding="utf-8").splitlines()
    return [_seen_by_aiperf(json.loads(line)) for line in lines]


def _seen_by_aiperf(record: Mapping[str, Mapping[str, object]]) -> Seen:
    metadata, metrics = record["metadata"], record["metrics"]
    ttft_ms = _value(metrics, "time_to_first_token")
    return Seen(
        request_id=str(metadata["x_request_id"]),
        sent_ns=int(str(metadata["request_start_ns"])),
        ttft_ns=None if ttft_ms is None else round(ttft_ms * 1e6),
        gap_max_ns=None,
        events=int(_value(metrics, "output_sequence_length") or 0),
        ok=not (metadata["was_cancelled"] or record.get("error")),
    )


def read_vllm_bench(folder: Path) -> list[Seen]:
    """What --save-detailed adds to the result: lists, a place a request, in the order of the ids. Raises OSError, and
    KeyError for what is no such file."""
    fields = json.loads((folder / _VLLM_RECORD).read_text(encoding="utf-8"))
    requests = zip(fields["start_times"], fields["ttfts"], fields["itls"], fields["errors"], strict=True)
    return [
        Seen(
            request_id=f"{_VLLM_PREFIX}{place}",
            sent_ns=round(start_s * 1e9),
            ttft_ns=None if error else round(ttft_s * 1e9),
            gap_max_ns=round(max(gaps_s) * 1e9) if gaps_s else None,
            events=len(gaps_s),  # as many as tokens: the role's event comes first, and counts as its first token
            ok=not error,
        )
        for place, (start_s, ttft_s, gaps_s, error) in enumerate(requests)
    ]


def read_guidellm(folder: Path) -> list[Seen]:
    """The requests of benchmarks.json, in the order in which they ended. Raises OSError, and KeyError for what is no
    such file."""
    (fields,) = json.loads((folder / _GUIDELLM_RECORD).read_text(encoding="utf-8"))["benchmarks"]
    requests = [request for ended in ("successful", "errored", "incomplete") for request in fields["requests"][ended]]
    return [_seen_by_guidellm(request) for request in sorted(requests, key=lambda one: float(one["request_end_time"]))]


def _seen_by_guidellm(request: Mapping[str, Any]) -> Seen:
    completed = request["info"]["status"] == "completed"
    timings = request["info"]["timings"]
    return Seen(
        request_id=None,
        sent_ns=round(timings["request_start"] * 1e6) * 1000,  # a Unix time in a float is good for no more
        ttft_ns=round(request["time_to_first_token_ms"] * 1e6) if completed else None,
        gap_max_ns=None,
        events=timings["token_iterations"],
        ok=completed,
        usage_tokens=request["output_metrics"]["text_tokens"] if completed else None,
    )


def read_genai_bench(folder: Path) -> list[Seen]:
    """The requests of its one run, in the order in which they ended: it records no times, and the tokens that the
    server reported. Raises OSError, and KeyError for what is no such file."""
    records = sorted((folder / _GENAI_BENCH_FOLDER).glob("*_text-to-text_*.json"))
    if not records:
        raise FileNotFoundError(f"genai-bench left no record in {folder}")
    fields = json.loads(records[0].read_text(encoding="utf-8"))
    return [_seen_by_genai_bench(request) for request in fields["individual_request_metrics"]]


def _seen_by_genai_bench(request: Mapping[str, Any]) -> Seen:
    ok = request["error_code"] is None
    return Seen(
        request_id=None,
        sent_ns=None,
        ttft_ns=round(request["ttft"] * 1e9) if ok else None,
        gap_max_ns=None,
        events=None,
        ok=ok,
        usage_tokens=request["num_output_tokens"] if ok else None,
    )


def read_sglang(folder: Path) -> list[Seen]:
    """What --output-details adds to the result: lists, a place a request, in the order in which they began. It records
    no times. Raises OSError, and KeyError for what is no such file."""
    fields = json.loads((folder / _SGLANG_RECORD).read_text(encoding="utf-8").splitlines()[-1])
    requests = zip(fields["ttfts"], fields["itls"], fields["output_lens"], fields["errors"], strict=True)
    return [
        Seen(
            request_id=None,
            sent_ns=None,
            ttft_ns=None if error else round(ttft_s * 1e9),
            gap_max_ns=round(max(gaps_s) * 1e9) if gaps_s else None,
            events=len(gaps_s) + 1,
            ok=not error,
            usage_tokens=None if error else tokens,
        )
        for ttft_s, gaps_s, tokens, error in requests
    ]


def _value(metrics: Mapping[str, object], name: str) -> float | None:
    metric = metrics.get(name)
    return float(metric["value"]) if isinstance(metric, dict) else None


def _tokenizer(folder: Path) -> Path:
    """A tokenizer of single bytes: enough to make prompts of, and nothing is fetched."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    characters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({character: place for place, character in enumerate(characters)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    where = folder / "tokenizer"
    where.mkdir()
    tokenizer.save(str(where / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast"}
    (where / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    return where
