"""How near TTFT over uncached input tokens comes to the speed at which the simulator computes prompts.

    python -m benchmarks.session_slope [--seconds 60] [--tokens-per-s 5000]

One user with sessions of about six turns, so that no request waits for another. Printed are the slope in summary.json,
that of the simulator's own log (received to first token), and the time of a prompt token that it was started with. The
first differs by what the client and the machine add: run it where nothing else runs.
"""

from __future__ import annotations

import argparse
import csv
import subprocess
import sys
import tempfile
from contextlib import AbstractContextManager
from pathlib import Path

import msgspec

from benchmarks.launch import ROOT, clean_environment, running_simulator
from tokenswarm.metrics.linear_fit import LinearFit
from tokenswarm.run_folder.reader import runs_in

#: A dialect whose usage has the cached tokens, and that takes answers of exact lengths.
_DIALECT = "lmdeploy"


def _simulator(log: Path, tokens_per_s: float) -> AbstractContextManager[str]:
    """The simulator's address, while it runs."""
    return running_simulator(
        *("--dialect", _DIALECT, "--profile", "fast"),
        *("--prefill-tokens-per-s", f"{tokens_per_s:g}", "--truth-log", str(log)),
        *("--max-model-len", "65536", "--cache-blocks", "1000000", "--step-tokens", "65536"),
    )


def measured(seconds: float, tokens_per_s: float) -> tuple[float, float]:
    """Seconds of TTFT for each uncached token: by summary.json, and by the simulator's log."""
    with tempfile.TemporaryDirectory() as scratch:
        results, log = Path(scratch) / "results", Path(scratch) / "truth.csv"
        with _simulator(log, tokens_per_s) as host:
            subprocess.run(
                [
                    *(sys.executable, "-m", "locust", "-f", str(ROOT / "locustfile.py"), "--headless", "-H", host),
                    *("-u", "1", "-r", "1", "-t", f"{seconds:g}s", "--results", str(results), "--metrics-port", "0"),
                    *("--turns", "n(6,2)", "--input-tokens", "u(100,1500)", "--output-tokens", "u(4,20)"),
                    *("--session-header", "X-Request-Id"),
                ],
                cwd=ROOT,
                env=clean_environment(),
                check=True,
                capture_output=True,
            )
        (folder,) = runs_in(results)
        summary = msgspec.json.decode((folder / "summary.json").read_bytes())
        by_client = summary["levels"][0]["sessions"]["ttft_per_uncached_token_s"]
        with log.open(newline="", encoding="utf-8") as file:
            fit = LinearFit()
            for row in csv.DictReader(file):
                if row["x_request_id"] and row["outcome"] == "ok":
                    uncached = int(row["prompt_tokens"]) - int(row["cached_tokens"])
                    fit.add(uncached, int(row["t_first_ns"]) - int(row["t_wire_ns"]))
    assert fit.slope is not None
    return by_client, fit.slope / 1e9


def main() -> None:
    """Print the result of one run."""
    parser = argparse.ArgumentParser(description="TTFT over uncached input tokens against the simulator")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--tokens-per-s", type=float, default=5_000.0)
    options = parser.parse_args()
    by_client, by_server = measured(options.seconds, options.tokens_per_s)
    nominal = 1 / options.tokens_per_s
    for name, slope in (("summary.json", by_client), ("the simulator's log", by_server)):
        print(f"TTFT by {name}: {slope * 1e6:.2f} µs a token ({100 * (slope / nominal - 1):+.1f} %)")
    print(f"The simulator computes a token in {nominal * 1e6:.2f} µs")


if __name__ == "__main__":
    main()
