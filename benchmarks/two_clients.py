"""One real server, two clients: our `--as vllm` and vLLM's own `vllm bench serve`, beside what went over the wire.

    python -m benchmarks.two_clients --host http://127.0.0.1:8080 --model tiny --vllm PATH

Both load the server through a relay that notes down when each request came and when its first event was passed on. They
take turns, one request at a time, by the same definition of TTFT; what they report more than the relay saw is their
own: connecting, where each request needs it, what they do before their bytes leave, and how late they look.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from tempfile import TemporaryDirectory

from benchmarks.launch import ROOT, LaunchError, run_client
from benchmarks.peers import bench_serve, read_vllm_bench
from benchmarks.question import QUESTION
from benchmarks.relay import Passed, Relay
from tokenswarm.reports.stats.as_other_tools import COLUMNS
from tokenswarm.run_folder.csv_reader import load_requests
from tokenswarm.run_folder.reader import load_results

_LIMIT_S = 300.0
_TOKENS = 64


class NotCompared(RuntimeError):
    """It cannot be done here; the text is one sentence."""


@dataclass(frozen=True, slots=True)
class Turn:
    """What one client said in one turn, and what the relay saw of it. Milliseconds, means."""

    client: str
    requests: int
    ttft_ms: float
    relay_ms: float
    connect_ms: float | None
    client_delay_ms: float | None

    def line(self) -> str:
        own = f"{self.ttft_ms - self.relay_ms:+.3f}"
        known = "" if self.connect_ms is None else f"   of it connecting {self.connect_ms:.3f}"
        delay = "" if self.client_delay_ms is None else f"   client delay {self.client_delay_ms:.3f}"
        return (
            f"{self.client:<11} {self.requests:>5} requests   mean TTFT {self.ttft_ms:.3f} ms   at the relay "
            f"{self.relay_ms:.3f}   more {own}{known}{delay}"
        )


def relay_ms(passed: Sequence[Passed]) -> float:
    """Mean time from a request to its first event, as the relay saw it."""
    return mean((each.first_event_ns - each.received_ns) / 1e6 for each in passed)


def our_turn(relay: Relay, model: str, engine: str, seconds: int, folder: Path) -> Turn:
    """Raises NotCompared, LaunchError."""
    before, results = len(relay.passed), folder / "ours"
    prompts = folder / "prompts.jsonl"
    prompts.write_text(json.dumps({"prompt": QUESTION}) + "\n", encoding="utf-8")
    command = [sys.executable, "-m", "locust", "-f", str(ROOT / "locustfile.py"), "--headless", "-H", relay.url]
    command += ["-u", "1", "-t", f"{seconds}s", "--settle", "0s", "--engine", engine, "--model", model]
    command += ["--prompts", str(prompts), "--prompt-tokens", "1:500", "--max-tokens", str(_TOKENS)]
    command += ["--metrics-port", "0", "--server-metrics", "off", "--preflight", "off", "--results", str(results)]
    run_client(command, _core_of_clients(), _LIMIT_S, folder / "ours.txt", {})
    folders = list(results.glob("*/summary.json"))
    if not folders:
        raise NotCompared(f"our own run left no results: {(folder / 'ours.txt').read_text()[-300:]}")
    results = load_results(folders[0].parent)
    requests = load_requests(results, COLUMNS)
    ok = requests.where(requests.ok).figures
    delay = json.loads(folders[0].read_text(encoding="utf-8"))["levels"][0]["hold"]["client_delay_s"]["mean"]
    shutil.rmtree(results)
    return Turn(
        "--as vllm",
        len(ok["first_event"]),
        float((ok["first_event"] + ok["connect"]).mean()) * 1e3,
        relay_ms(relay.passed[before:]),
        float(ok["connect"].mean()) * 1e3,
        delay * 1e3,
    )


def their_turn(relay: Relay, model: str, program: str, requests: int, folder: Path) -> Turn:
    """Raises NotCompared, LaunchError."""
    before = len(relay.passed)
    command = bench_serve(program, relay.url, folder, model, requests, at_once=1, tokens=_TOKENS)
    run_client(command, _core_of_clients(), _LIMIT_S, folder / "theirs.txt", {"HF_HUB_OFFLINE": "1"})
    try:
        seen = [request.ttft_ns for request in read_vllm_bench(folder) if request.ttft_ns is not None]
    except OSError:
        raise NotCompared(f"{program} left no result: {(folder / 'theirs.txt').read_text()[-300:]}") from None
    # It sends a request of its own before it begins.
    passed = relay.passed[before:][-len(seen) :]
    return Turn("vllm bench", len(seen), mean(seen) / 1e6, relay_ms(passed), None, None)


def _core_of_clients() -> int:
    return min(os.sched_getaffinity(0))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(allow_abbrev=False, prog="python -m benchmarks.two_clients", description=__doc__)
    parser.add_argument("--host", required=True, help="a server of OpenAI's chat dialect, like http://127.0.0.1:8080")
    parser.add_argument("--model", required=True, help="what to request")
    parser.add_argument("--engine", default="llamacpp", help="what it is (default: llamacpp)")
    parser.add_argument("--vllm", required=True, metavar="PATH", help="vLLM's program")
    parser.add_argument("--turns", type=int, default=3, help="of each client (default: 3)")
    args = parser.parse_args(arguments)
    relay = Relay(args.host)
    relay.start()
    try:
        for _ in range(args.turns):
            with TemporaryDirectory() as folder:
                print(our_turn(relay, args.model, args.engine, 15, Path(folder)).line(), flush=True)
            with TemporaryDirectory() as folder:
                print(their_turn(relay, args.model, args.vllm, 150, Path(folder)).line(), flush=True)
    except (NotCompared, LaunchError) as error:
        print(f"two-clients: {error}", file=sys.stderr)
        return 2
    finally:
        relay.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
