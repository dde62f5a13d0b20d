"""How exactly a trace is replayed: lengths, times and prefix-cache hits, against the simulator's own log.

    python -m benchmarks.trace_replay FILE [options of a replay, such as --trace-window :60s --trace-speed 10]

Printed are the requests whose prompt tokens at the server are the recorded ones; how late requests were sent (all of
them, and those that no other one was due shortly before); and the hits that were to be expected of what was sent beside
those that the simulator had. Client and simulator have a core each: on a busy machine the lag is the machine's.
"""

from __future__ import annotations

import csv
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from benchmarks.launch import ROOT, run_client, running_simulator
from tokenswarm.run_folder.reader import runs_in
from tokenswarm.run_folder.schema import Summary

#: A request that is due so long after the one before does not wait for it.
_ALONE_S = 0.005
#: More than the replay of a window takes.
_LIMIT_S = 3600.0


def _simulator(log: Path, core: int) -> AbstractContextManager[str]:
    """The address of a simulator that computes prompts at once, and caches all of them, while it runs on this core. It
    stands for a server on another machine, so that with one core it gives way to the client."""
    return running_simulator(
        *("--dialect", "vllm", "--profile", "fast"),
        *("--truth-log", str(log), "--max-model-len", "1000000", "--cache-blocks", "10000000"),
        *("--prefill-ms", "0", "--prefill-tokens-per-s", "100000000", "--max-batch", "2000"),
        *("--step-tokens", "10000000", "--kv-blocks", "10000000"),
        niceness=10,
        core=core,
    )


def measured(words: Sequence[str], scratch: Path) -> list[str]:
    """Run it, and return lines of text. words: --trace and what belongs to it."""
    results, log, output = scratch / "results", scratch / "truth.csv", scratch / "output.txt"
    cores = sorted(os.sched_getaffinity(0))
    with _simulator(log, cores[-1]) as host:
        command = [sys.executable, "-m", "locust", "-f", str(ROOT / "locustfile.py"), "--headless", "-H", host]
        replay = [*command, "--trace", *words, "--results", str(results), "--settle", "0s"]
        run_client(replay, cores[0], _LIMIT_S, output, {})
    folders = runs_in(results)
    if not folders:
        sys.exit(output.read_text(errors="replace"))
    (folder,) = folders
    summary = msgspec.json.decode((folder / "summary.json").read_bytes(), type=Summary)
    return [*_lines(_rows_of(folder / "requests.csv"), _rows_of(log)), _hits(summary)]


def _lines(rows: Sequence[dict[str, str]], served: Sequence[dict[str, str]]) -> Iterator[str]:
    requested = Counter((row["input_tokens_requested"], row["output_tokens_requested"]) for row in rows)
    at_server = Counter((row["prompt_tokens"], row["tokens"]) for row in served)
    yield f"requests: {len(rows):,}; with the recorded lengths at the server: {(requested & at_server).total():,}"
    due_s, sent_s = (np.array([float(row[name]) for row in rows]) for name in ("scheduled_s", "sent_s"))
    order = np.lexsort((sent_s, due_s))
    lag_ms = (sent_s - due_s)[order] * 1e3
    alone = np.diff(due_s[order], prepend=-np.inf) > _ALONE_S
    yield f"sent late: {_percentiles(lag_ms)}"
    yield f"sent late, of those due at least {_ALONE_S * 1e3:g} ms after others: {_percentiles(lag_ms[alone])}"


def _percentiles(lag_ms: NDArray[np.float64]) -> str:
    if not len(lag_ms):
        return "none"
    p50, p99 = np.percentile(lag_ms, (50, 99))
    return f"p50 {p50:.2f} ms, p99 {p99:.2f} ms, most {lag_ms.max():.2f} ms ({len(lag_ms):,})"


def _hits(summary: Summary) -> str:
    found = summary.levels[0].hold.prompts
    if found.expected_share_min is None or found.expected_share_max is None or found.cached_share is None:
        return "prefix-cache hits: not known"
    expected = f"{found.expected_share_min:.2%} to {found.expected_share_max:.2%}"
    return f"prefix-cache hits: expected {expected} of the prompt tokens, {found.cached_share:.2%} at the server"


def _rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def main() -> None:
    """Measure the replay that the command line describes."""
    words = sys.argv[1:]
    if not words or words[0].startswith("-"):
        sys.exit((__doc__ or "").strip())
    print(f"{' '.join(words)} (load of the machine before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores)")
    with tempfile.TemporaryDirectory() as scratch:
        print("\n".join(f"  {line}" for line in measured(words, Path(scratch))), flush=True)


if __name__ == "__main__":
    main()
