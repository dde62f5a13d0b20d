"""How well an open loop of several workers keeps its schedule, against the simulator's own log of what it received.

    python -m benchmarks.open_loop [poisson] [constant] [killed] [--workers 4] [--seconds 60]

poisson: 200 requests/s; the number of requests, their gaps at the server against the exponential distribution, and the
lag. constant: 100 requests/s; the gaps at the server against 10 ms. killed: 50 requests/s of which one worker is killed
after a third of the time; what it left unsent, and for how long. The workers need cores of their own: on a busy machine
the lag is the machine's.
"""

from __future__ import annotations

import argparse
import csv
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from math import exp, sqrt
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
import numpy as np
import psutil
from numpy.typing import NDArray

from benchmarks.launch import ROOT, clean_environment, running_simulator
from tokenswarm.run_folder.reader import runs_in
from tokenswarm.run_folder.schema import RunDocument
from tokenswarm.shapes.arrival_schedule import arrivals
from tokenswarm.shapes.level_arrivals import schedule_of

Series: TypeAlias = NDArray[np.float64]
RATES = {"poisson": 200.0, "constant": 100.0, "killed": 50.0}
#: Bins of the index of dispersion.
_BIN_S = 0.02
_START_S = 60.0


class OpenLoopRun:
    """A run that has ended: its rows, its summary, and the server's rows, the preflight's left out."""

    def __init__(self, folder: Path, truth_log: Path, killed_s: float | None) -> None:
        """killed_s: when a worker was killed, on perf_counter; None where none was."""
        self.rows = _rows_of(folder / "requests.csv")
        self.summary: dict[str, Any] = msgspec.json.decode((folder / "summary.json").read_bytes())
        self.load: dict[str, Any] = self.summary["levels"][0]["open_loop"]
        self.served = _rows_of(truth_log)
        received_s = np.sort([int(row["t_wire_ns"]) / 1e9 for row in self.served])
        self.gaps_s: Series = np.diff(received_s)
        self.received_s: Series = received_s - received_s[0]
        #: Between requests one after another, of all workers together: as they were due, and as they were sent.
        self.gaps_due_s, self.gaps_sent_s = (
            np.diff(np.sort([float(row[column]) for row in self.rows])) for column in ("scheduled_s", "sent_s")
        )
        self.lag_ms: Series = np.array([float(row["sent_s"]) - float(row["scheduled_s"]) for row in self.rows]) * 1e3
        document = msgspec.json.decode((folder / "run.json").read_bytes(), type=RunDocument)
        first_due_s = next(arrivals(schedule_of(document.plan[0]))).due_s
        level_began_s = received_s[0] - first_due_s  # its first request was on time
        #: When a worker was killed, in seconds of the level.
        self.killed_s = None if killed_s is None else killed_s - level_began_s


def _rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def simulator(log: Path) -> AbstractContextManager[str]:
    """The simulator's address, while it runs. Its answers take 20 ms, in steps as long as those of a small model. It
    stands for a server on another machine, so that on few cores it gives way to the workers."""
    return running_simulator(
        *("--dialect", "vllm", "--truth-log", str(log)),
        *("--profile", "fast", "--prefill-ms", "0", "--step-ms", "10", "--max-batch", "2000", "--sequence-ms", "0"),
        *("--prefill-tokens-per-s", "100000000", "--no-prefill-alone"),
        niceness=10,
    )


def measure(case: str, workers: int, seconds: float, folder: Path) -> OpenLoopRun:
    """Run one case."""
    truth_log = folder / "truth.csv"
    with simulator(truth_log) as host:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "locust", "--headless", "--processes", str(workers), "-H", host),
                *("--rate", str(RATES[case]), "--arrivals", "constant" if case == "constant" else "poisson"),
                *("--level-time", f"{seconds:g}s", "--settle", "0s", "--max-tokens", "2", "--preflight", "off"),
                *("--results", str(folder / "results")),
            ],
            cwd=ROOT,
            env=clean_environment(),
            stdout=(folder / "output.txt").open("wb"),
            stderr=subprocess.STDOUT,
        )
        killed_s = _kill_one(process.pid, truth_log, seconds / 3) if case == "killed" else None
        process.wait()
    (results,) = runs_in(folder / "results")
    return OpenLoopRun(results, truth_log, killed_s)


def _kill_one(master: int, truth_log: Path, after_s: float) -> float:
    """Kill the last worker so long after the first requests; returns when."""
    deadline_s = time.monotonic() + _START_S
    while len(truth_log.read_text(encoding="utf-8").splitlines()) < 2 and time.monotonic() < deadline_s:
        time.sleep(0.05)
    time.sleep(after_s)
    psutil.Process(master).children()[-1].kill()
    return time.perf_counter()


def kolmogorov_smirnov(gaps_s: Series, rate: float) -> tuple[float, float]:
    """(largest distance from the exponential distribution, p value)."""
    n = len(gaps_s)
    expected = 1 - np.exp(-rate * np.sort(gaps_s))
    steps = np.arange(n + 1) / n
    distance = float(max((steps[1:] - expected).max(), (expected - steps[:-1]).max()))
    scaled = (sqrt(n) + 0.12 + 0.11 / sqrt(n)) * distance
    p = 2 * sum((-1) ** (k - 1) * exp(-2 * k * k * scaled * scaled) for k in range(1, 101))
    return distance, min(1.0, max(0.0, p))


def dispersion(times_s: Series) -> float:
    """Variance of the number of arrivals in bins of 20 ms, by their mean: 1 for Poisson arrivals."""
    counts = np.bincount((times_s / _BIN_S).astype(np.int64))[:-1]
    return float(counts.var(ddof=1) / counts.mean())


def report(case: str, run: OpenLoopRun, seconds: float) -> list[str]:
    """Lines of text."""
    p50, p99 = np.percentile(run.lag_ms, (50, 99))
    lines = [
        f"requests: {len(run.served):,} at the server, {len(run.rows):,} recorded, {run.load['offered']:,} due "
        f"(expected {RATES[case] * seconds:,.0f})",
        f"lag: p50 {p50:.2f} ms, p99 {p99:.2f} ms, most {run.lag_ms.max():.2f} ms",
        f"requests in flight: mean {run.load['in_flight_mean']:.1f}, most {run.load['in_flight_max']:.1f}",
    ]
    if case == "poisson":
        for where, gaps_s in (("due", run.gaps_due_s), ("sent", run.gaps_sent_s), ("at the server", run.gaps_s)):
            distance, p = kolmogorov_smirnov(gaps_s, RATES[case])
            lines.append(f"gaps {where}: Kolmogorov-Smirnov distance {distance:.4f}, p = {p:.3f}")
        lines.append(f"index of dispersion in bins of {_BIN_S * 1e3:.0f} ms: {dispersion(run.received_s):.3f}")
    elif case == "constant":
        errors_ms = np.abs(run.gaps_s - 1 / RATES[case]) * 1e3
        p50, p99 = np.percentile(errors_ms, (50, 99))
        lines.append(f"gaps at the server differ from 10 ms by: p50 {p50:.2f} ms, p99 {p99:.2f} ms")
    else:
        lines += _gap_lines(run)
    return lines


def _gap_lines(run: OpenLoopRun) -> Iterator[str]:
    unaccounted, not_sent, due = (
        run.summary["accounting"]["unaccounted"],
        run.load["not_sent"] or 0,
        run.load["offered"],
    )
    yield f"killed {run.killed_s:.2f} s after the level began, with {unaccounted} of its requests in flight"
    for gap in run.load["not_sent_by_workers"]:
        taken_over_s = gap["until_s"] - (run.killed_s or 0.0)
        yield (
            f"worker {gap['worker']} did not send {gap['requests']} requests, due from {gap['from_s']:.2f} to "
            f"{gap['until_s']:.2f} s: the last of them {taken_over_s:.2f} s after it was killed"
        )
    yield f"recorded {len(run.rows):,} + in flight {unaccounted} + not sent {not_sent} = due {due:,}"


def main() -> None:
    """Measure the cases that the command line names, all by default."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("cases", nargs="*", choices=[*RATES, []], default=[])
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=60.0)
    options = parser.parse_args()
    for case in options.cases or RATES:
        print(f"{case}, {RATES[case]:g}/s for {options.seconds:g} s over {options.workers} workers")
        print(f"  load of the machine before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
        with tempfile.TemporaryDirectory() as folder:
            run = measure(case, options.workers, options.seconds, Path(folder))
        print("\n".join(f"  {line}" for line in report(case, run, options.seconds)), flush=True)


if __name__ == "__main__":
    main()
