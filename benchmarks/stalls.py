"""How far reported times are off where the client stands still, by each source of timestamps.

    python -m benchmarks.stalls [--users 100,500] [--seconds 10]

The client is one process on one core that does nothing for 100 ms of every second (benchmarks/stalled_locustfile.py);
the paced server, on another core, logs when it wrote each token. What arrives meanwhile is read together: `kernel` has
the time of the last of it, `tap` that of each. Figures are written to benchmarks/results/stalls.json. `tap` needs
CAP_NET_RAW; without it these rows say so.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.certificate import AUTHORITY, CERTIFICATE, make_certificate
from benchmarks.client_log import read_tokenswarm
from benchmarks.figures import StallRow, accuracy, percentile
from benchmarks.floor import OUTPUT
from benchmarks.launch import run_client, truth_server
from benchmarks.matching import MatchError, match
from benchmarks.part import measure_part, parse_numbers
from benchmarks.records import Cost, Pace, Served
from benchmarks.table import stalls_table
from tokenswarm.simulator.paced_log import read_server_log
from tokenswarm.wire import tap_refusal

USERS = (100, 500)
SECONDS = 10.0
_RAMP_S = 2.0
PACE = Pace(32, 128, tokens_per_s=40, ttft_ms=200)
_LOCUSTFILE = "benchmarks/stalled_locustfile.py"
_BEYOND_LOAD_S = 60.0


@dataclass(frozen=True, slots=True)
class StallCase:
    """A source of timestamps, over TLS or not."""

    stamps: str
    tls: bool = False

    @property
    def name(self) -> str:
        return f"{self.stamps}, TLS" if self.tls else self.stamps


CASES = (StallCase("user"), StallCase("kernel"), StallCase("tap"), StallCase("kernel", True), StallCase("tap", True))


@dataclass(frozen=True, slots=True)
class StallRun:
    """One case, run: where the client left its results, and what the server logged."""

    folder: Path
    served: list[Served]
    cost: Cost


def run(case: StallCase, users: int, seconds: float, cores: tuple[int, int], folder: Path) -> StallRun:
    """cores: the client's and the server's. Raises LaunchError."""
    client_core, server_core = cores
    certificate = folder.parent / CERTIFICATE if case.tls else None
    with truth_server(server_core, folder / "server.csv", certificate, PACE) as server:
        command = [
            *(sys.executable, "-m", "locust", "-f", _LOCUSTFILE, "--headless", "-H", server.url),
            *("--engine", "vllm", "--model", "truth", "--max-tokens", str(PACE.tokens_max)),
            *("--settle", "0s", "--metrics-port", "0", "--server-metrics", "off", "--preflight", "off"),
            *("-u", str(users), "-r", f"{users / _RAMP_S:g}", "-t", f"{_RAMP_S + seconds:g}s"),
            *("--results", str(folder / "results"), "--stamps", case.stamps),
            *(("--tls-ca", str(folder.parent / AUTHORITY)) if case.tls else ()),
        ]
        cost, _ = run_client(command, client_core, seconds + _BEYOND_LOAD_S, folder / OUTPUT, {})
    return StallRun(folder / "results", read_server_log(server.log), cost)


def row(case: str, users: int, of: StallRun) -> StallRow:
    """The figures of a run."""
    if not of.cost.in_time or of.cost.exit_code:
        return StallRow(case, users, "it did not end in time" if not of.cost.in_time else "it failed")
    summary = next(of.folder.glob("*/summary.json"))
    verdict = json.loads(summary.read_text(encoding="utf-8"))["validity"]
    note = ", ".join(dict.fromkeys(issue["kind"] for issue in verdict["issues"]))
    try:
        errors = accuracy(match(read_tokenswarm(of.folder), of.served), _RAMP_S)
    except MatchError as error:
        return StallRow(case, users, f"not matched: {error}", verdict=verdict["verdict"])
    late_ms = [served.late_max_ns / 1e6 for served in of.served]
    return StallRow(
        case=case,
        users=users,
        note=note,
        ttft_error_ms=errors.ttft_error_ms,
        gap_error_ms=errors.gap_error_ms,
        verdict=verdict["verdict"],
        late_p99_ms=percentile(late_ms, 0.99) if late_ms else None,
    )


def measure(numbers: Sequence[int], seconds: float, cores: tuple[int, int], folder: Path) -> list[StallRow]:
    """All cases with so many users; each is printed when it starts. Raises LaunchError, OSError."""
    make_certificate(folder)
    rows, refusal = [], tap_refusal()
    for users in numbers:
        for case in CASES:
            if refusal and case.stamps == "tap":
                rows.append(StallRow(case.name, users, f"no packet socket: {refusal}"))
                continue
            print(f"{users} users, a client that stands still for 100 ms of each second: {case.name} …", flush=True)
            run_folder = folder / f"{CASES.index(case)}-{users}"
            run_folder.mkdir(parents=True)
            rows.append(row(case.name, users, run(case, users, seconds, cores, run_folder)))
    return rows


def main() -> int:
    """0, or 2 with one sentence where it cannot be done here."""
    parser = argparse.ArgumentParser(allow_abbrev=False, prog="python -m benchmarks.stalls", description=__doc__)
    parser.add_argument("--users", type=parse_numbers, default=USERS, metavar="N,N", help="at the same time")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of each run, after the ramp")
    args = parser.parse_args()
    return measure_part("stalls", lambda cores, folder: measure(args.users, args.seconds, cores, folder), stalls_table)


if __name__ == "__main__":
    sys.exit(main())
