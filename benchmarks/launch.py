"""Processes pinned to a core each, and what they cost."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.records import USUAL_PACE, Cost, Pace

ROOT = Path(__file__).resolve().parents[1]
_POLL_S = 0.05
_END_S = 10.0
_PROC_STAT = Path("/proc/stat")


class LaunchError(RuntimeError):
    """Something could not be started, or did not end; the text says what."""


def run_client(
    command: Sequence[str], core: int, limit_s: float, output: Path, variables: dict[str, str]
) -> tuple[Cost, list[tuple[int, int]]]:
    """Run a client on `core` to its end, what it says going to `output`; killed if it takes longer than limit_s. Also
    returns what memory it held when: CLOCK_MONOTONIC in ns, and bytes.

    ru_maxrss counts what a process held before it became another program too, so this process must stay small.
    """
    with output.open("wb") as file:
        process = subprocess.Popen(
            command, cwd=ROOT, env=clean_environment() | variables, stdin=subprocess.DEVNULL, stdout=file, stderr=file
        )
        try:
            os.sched_setaffinity(process.pid, {core})
            memory: list[tuple[int, int]] = []
            return _cost(process, limit_s, memory), memory
        finally:
            _end(process)


@contextmanager
def running_simulator(*options: str, niceness: int = 0, core: int | None = None) -> Iterator[str]:
    """The address of `tokenswarm simulate` with these options at a free port, while it runs, pinned to this core if one
    is given. niceness: see setpriority(2); the larger, the more it gives way to other processes."""
    process = subprocess.Popen(
        [sys.executable, "tokenswarm.py", "simulate", "--port", "0", *options],
        cwd=ROOT,
        env=clean_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    os.setpriority(os.PRIO_PROCESS, process.pid, niceness)  # before it starts a thread
    if core is not None:
        os.sched_setaffinity(process.pid, {core})
    try:
        yield next(word.rstrip(",") for line in process.stdout for word in line.split() if word.startswith("http://"))
    finally:
        process.terminate()
        process.wait()


@dataclass
class TruthServer:
    """The server while it runs; `cost` is there when it has ended."""

    url: str
    log: Path
    process: subprocess.Popen[str]
    cost: Cost = field(default_factory=lambda: Cost(0, 0.0, 0))


@contextmanager
def truth_server(core: int, log: Path, tls: Path | None = None, pace: Pace = USUAL_PACE) -> Iterator[TruthServer]:
    """Run the truth server on `core`; at the end it has written `log`. `tls`: PEM file of the key and certificate that
    it shall speak TLS with. Raises LaunchError."""
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "tokenswarm.simulator.paced", "--log", str(log)),
            *("--tokens", str(pace.tokens_min), str(pace.tokens_max)),
            *("--tokens-per-s", str(pace.tokens_per_s), "--ttft-ms", str(pace.ttft_ms)),
            *(("--in-step",) if pace.in_step else ()),
            *(("--tls", str(tls)) if tls else ()),
        ],
        cwd=ROOT,
        env=clean_environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    os.sched_setaffinity(process.pid, {core})
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        if "://" not in line:
            raise LaunchError(f"the truth server did not start; it said {line!r}")
        server = TruthServer(line.split()[-1], log, process)
        yield server
        process.stdin.close()
        server.cost = _cost(process, _END_S)
        if server.cost.exit_code:
            raise LaunchError(f"the truth server ended with exit code {server.cost.exit_code}")
    finally:
        _end(process)


def clean_environment() -> dict[str, str]:
    """This process's environment without what would change a client."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("TOKENSWARM_", "LOCUST_", "LLM_"))
    }
    return kept | {"PYTHONUNBUFFERED": "1"}


def _end(process: subprocess.Popen[bytes] | subprocess.Popen[str]) -> None:
    if process.returncode is None:
        process.kill()
        process.wait()


def _cost(
    process: subprocess.Popen[bytes] | subprocess.Popen[str],
    limit_s: float,
    memory: list[tuple[int, int]] | None = None,
) -> Cost:
    """Wait for the end, noting down the memory meanwhile. wait4 returns the cost of this child and of the
    children that it waited for."""
    deadline_s = time.monotonic() + limit_s
    in_time = True
    while True:
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            process.returncode = os.waitstatus_to_exitcode(status)
            return Cost(process.returncode, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024, in_time)
        if in_time and time.monotonic() > deadline_s:
            in_time = False
            process.kill()
        if memory is not None:
            memory.append((time.perf_counter_ns(), held_bytes(process.pid)))
        time.sleep(_POLL_S)


def held_bytes(pid: int) -> int:
    """The resident memory of a process, 0 where the system does not say."""
    try:
        pages = Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]
    except (OSError, IndexError):
        return 0
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def busy_s(cores: Sequence[int]) -> float | None:
    """For how long these cores have been busy, or taken by another guest of the host, since the system started; None
    where the system does not say."""
    try:
        lines = _PROC_STAT.read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return busy_ticks(lines, cores) / os.sysconf("SC_CLK_TCK")


def busy_ticks(lines: Sequence[str], cores: Sequence[int]) -> int:
    """Of /proc/stat: user, nice, system, irq, softirq and steal; not idle, not iowait, and guests are in user."""
    wanted = {f"cpu{core}" for core in cores}
    ticks = 0
    for line in lines:
        name, *numbers = line.split()
        if name in wanted:
            user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, numbers[:8])
            ticks += user + nice + system + irq + softirq + steal
    return ticks
