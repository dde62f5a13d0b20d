"""How far reported TTFTs are off where hundreds of requests are sent together, against the paced server's own log.

    python -m benchmarks.bursts [--requests 500,1000] [--seconds 8]

The client is one process on one core, the server another on another core. In each case all answers have one length, so
that users who begin together go on together: requests are sent while hundreds of others end, and first tokens come
meanwhile. The kernel stamps each packet, but of two packets that wait in one socket it keeps the second one's time: a
TTFT is late where the client does not read for longer than the time between two tokens. Figures are written to
benchmarks/results/bursts.json.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.client_log import read_tokenswarm
from benchmarks.figures import BurstRow, accuracy, percentile
from benchmarks.floor import OUTPUT
from benchmarks.launch import busy_s, run_client, truth_server
from benchmarks.matching import MatchError, match
from benchmarks.part import measure_part, parse_numbers
from benchmarks.records import Cost, Pace, Served
from benchmarks.table import bursts_table
from tokenswarm.simulator.paced_log import read_server_log

REQUESTS = (500, 1000)
SECONDS = 8.0
#: A slow server, whose first answers come when all requests have been sent; and a quick one, whose come before.
SLOW = Pace(64, 64, tokens_per_s=40, ttft_ms=200)
QUICK = Pace(64, 64, tokens_per_s=100, ttft_ms=20)
#: As an engine's batch: the tokens of all streams are written together.
IN_STEP = Pace(64, 64, tokens_per_s=40, ttft_ms=200, in_step=True)
_BETWEEN_TICKS_S = 3
#: Starting, the last answers, and charts, on a machine that has other things to do as well.
_BEYOND_LOAD_S = 60.0


@dataclass(frozen=True, slots=True)
class BurstCase:
    """`options` gives the options of a load of so many requests at once, for so many seconds; the folder is for files
    that they name. most: the largest number that the case is measured with."""

    name: str
    pace: Pace
    options: Callable[[int, float, Path], list[str]]
    most: int


def _users(requests: int, seconds: float, _folder: Path) -> list[str]:
    return ["-u", str(requests), "-r", str(requests), "-t", f"{seconds:g}s"]


def _at_once(requests: int, _seconds: float, _folder: Path) -> list[str]:
    return ["--rate", "inf", "--requests", str(requests)]


def _ticks(requests: int, seconds: float, folder: Path) -> list[str]:
    """Arrivals of a file: all requests of a tick are due at one time."""
    ticks = range(max(1, round(seconds / _BETWEEN_TICKS_S)))
    times = folder / "times.txt"
    times.write_text("".join(f"{1 + _BETWEEN_TICKS_S * tick}\n" * requests for tick in ticks), encoding="utf-8")
    return ["--arrivals", str(times)]


CASES = (
    BurstCase("users started together", SLOW, _users, most=1000),
    BurstCase("users started together, tokens in step", IN_STEP, _users, most=1000),
    BurstCase("arrivals due together", SLOW, _ticks, most=1000),
    # A thousand users with so short answers would take more than a core.
    BurstCase("users together, quick server", QUICK, _users, most=500),
    BurstCase("--rate inf, quick server", QUICK, _at_once, most=1000),
)


@dataclass(frozen=True, slots=True)
class BurstRun:
    """One case, run: where the client left its results, what the server logged, and how many cores others kept busy."""

    folder: Path
    served: list[Served]
    cost: Cost
    other_load: float | None


def run(case: BurstCase, requests: int, seconds: float, cores: tuple[int, int], folder: Path) -> BurstRun:
    """cores: the client's and the server's. Raises LaunchError."""
    client_core, server_core = cores
    before_s, began_s = busy_s(cores), time.monotonic()
    with truth_server(server_core, folder / "server.csv", pace=case.pace) as server:
        command = [
            *(sys.executable, "-m", "locust", "-f", "locustfile.py", "--headless", "-H", server.url),
            *("--engine", "vllm", "--model", "truth", "--max-tokens", str(case.pace.tokens_max)),
            *("--settle", "0s", "--metrics-port", "0", "--server-metrics", "off", "--preflight", "off"),
            *("--results", str(folder / "results"), *case.options(requests, seconds, folder)),
        ]
        cost, _ = run_client(command, client_core, seconds + _BEYOND_LOAD_S, folder / OUTPUT, {})
    after_s, took_s = busy_s(cores), time.monotonic() - began_s
    other_s = None if before_s is None or after_s is None else after_s - before_s - cost.cpu_s - server.cost.cpu_s
    other_load = None if other_s is None else max(0.0, other_s / took_s)
    return BurstRun(folder / "results", read_server_log(server.log), cost, other_load)


def row(case: str, requests: int, of: BurstRun) -> BurstRow:
    """The figures of a run."""
    if not of.cost.in_time or of.cost.exit_code:
        return BurstRow(case, requests, "it did not end in time" if not of.cost.in_time else "it failed")
    summary = next(of.folder.glob("*/summary.json"))
    verdict = json.loads(summary.read_text(encoding="utf-8"))["validity"]
    arrived_ns = sorted(served.wire_ns for served in of.served)[:requests]
    note = ", ".join(dict.fromkeys(issue["kind"] for issue in verdict["issues"]))
    errors = None
    try:
        errors = accuracy(match(read_tokenswarm(of.folder), of.served), ramp_s=0).ttft_error_ms
    except MatchError as error:
        note = f"not matched: {error}"
    return BurstRow(
        case=case,
        requests=requests,
        note=note,
        ttft_error_ms=errors,
        sent_within_ms=(arrived_ns[-1] - arrived_ns[0]) / 1e6 if arrived_ns else None,
        verdict=verdict["verdict"],
        late_p99_ms=percentile([served.late_max_ns / 1e6 for served in of.served], 0.99) if of.served else None,
        other_load=of.other_load,
    )


def measure(numbers: Sequence[int], seconds: float, cores: tuple[int, int], folder: Path) -> list[BurstRow]:
    """All cases with so many requests at once; each is printed when it starts. Raises LaunchError."""
    rows = []
    for case in CASES:
        for requests in numbers:
            if requests > case.most:
                continue
            print(f"{requests} requests at once: {case.name} …", flush=True)
            run_folder = folder / f"{CASES.index(case)}-{requests}"
            run_folder.mkdir(parents=True)
            rows.append(row(case.name, requests, run(case, requests, seconds, cores, run_folder)))
    return rows


def main() -> int:
    """0, or 2 with one sentence where it cannot be done here."""
    parser = argparse.ArgumentParser(allow_abbrev=False, prog="python -m benchmarks.bursts", description=__doc__)
    parser.add_argument("--requests", type=parse_numbers, default=REQUESTS, metavar="N,N", help="sent together")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of each run")
    args = parser.parse_args()
    return measure_part(
        "bursts", lambda cores, folder: measure(args.requests, args.seconds, cores, folder), bursts_table
    )


if __name__ == "__main__":
    sys.exit(main())
