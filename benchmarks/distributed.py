"""What workers' reports cost a master: hundreds of real Locust workers in one process, over real sockets, with made-up
requests.

    python -m benchmarks.distributed [--workers 10,50,200] [--requests 5] [--tokens 128] [--seconds 20]

The master is the project's own, in a process of its own, with its journal and its statistics. Every worker is Locust's
WorkerRunner with our recorder: it sends a heartbeat each second and a report every three seconds, as in a run. Only its
users are missing: requests with made-up timelines end on it at a steady rate.
"""

from __future__ import annotations

import argparse
import logging
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from argparse import Namespace
from array import array
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import gevent
import numpy as np
import psutil
from locust import User, task
from locust.argument_parser import get_empty_argument_parser, setup_parser_arguments
from locust.env import Environment
from locust.rpc import Message

import tokenswarm.recording.recording_options
import tokenswarm.run_control.process_recorder
from tokenswarm.cluster import transport
from tokenswarm.metrics.timeline import Outcome, Timeline
from tokenswarm.metrics.token_counts import TokenSource
from tokenswarm.recording.recording_options import NO_SPOOL
from tokenswarm.run_control.recording_hooks import Recording
from tokenswarm.run_folder.reader import runs_in

ROOT = Path(__file__).resolve().parents[1]
_WARM_UP_S = 5.0
# Two hundred workers in one process share one event loop: each measures its lag a tenth as often as in a run.
tokenswarm.run_control.process_recorder.LAG_SLEEP_S = 0.2
_GAP_NS = 20_000_000


class IdleUser(User):
    """Sends nothing."""

    @task
    def wait(self) -> None:
        gevent.sleep(60)


#: Named as the project's own, which the master has.
USER_CLASSES = [type(name, (IdleUser,), {}) for name in ("ChatUser", "SystemPromptChatUser")]


@dataclass(slots=True)
class SentSizes:
    """Sizes in bytes of what the workers sent: our share of each report, and Locust's whole message."""

    ours: list[int] = field(default_factory=list)
    messages: list[int] = field(default_factory=list)


def worker_options() -> Namespace:
    """The options of a worker that is started without any, except that it keeps nothing on disk."""
    parser = get_empty_argument_parser(default_config_files=[])
    setup_parser_arguments(parser)
    tokenswarm.recording.recording_options.add_options(parser)
    options: Namespace = parser.parse_args(["--spool-folder", NO_SPOOL])
    return options


class Worker:
    """A Locust worker on which requests end."""

    def __init__(self, number: int, requests_per_s: float, tokens: int, sent: SentSizes) -> None:
        self._draw = np.random.default_rng(number)
        self._pause_s, self._tokens, self._sent = 1 / requests_per_s, tokens, sent
        self._number = number
        options = worker_options()
        self._environment = Environment(user_classes=USER_CLASSES, parsed_options=options)
        self._environment.parsed_locustfiles = [str(ROOT / "locustfile.py")]
        self._recording = Recording(self._environment.events, sinks=[])

    def connect(self, port: int) -> None:
        """Join the master; requests end here once it has begun a run."""
        runner = self._environment.create_worker_runner("127.0.0.1", port)
        self._recording.attach(self._environment)

        def measure(client_id: str, data: dict[str, Any]) -> None:
            self._sent.messages.append(len(Message("stats", data, client_id).serialize()))
            self._sent.ours.append(sum(map(len, data["tokenswarm"][-1])))

        runner.environment.events.report_to_master.add_listener(measure)  # the last: `data` is complete
        self._recording.request_admission()
        self._recording.join()
        gevent.spawn(self._go_on)

    @property
    def takes_part(self) -> bool:
        """Whether it has received the run's level."""
        return self._recording.recorder is not None

    def _go_on(self) -> None:
        gevent.sleep(self._draw.uniform(0, 1))
        while True:
            gevent.sleep(self._draw.exponential(self._pause_s))
            if (recorder := self._recording.recorder) is not None and recorder.current_level is not None:
                timeline = self._timeline(recorder.current_level.level.index)
                self._environment.events.request.fire(
                    request_type="CHAT",
                    name="no system prompt",
                    response_time=(timeline.over_ns - timeline.sent_ns) / 1e6,
                    response_length=timeline.bytes_received,
                    exception=None,
                    context={"timeline": timeline},
                )

    def _timeline(self, level_index: int) -> Timeline:
        """An answer that ended now: gaps and delays as a server and a client under load have them."""
        gaps_ns = (self._draw.lognormal(0, 0.3, self._tokens) * _GAP_NS).astype(np.int64)
        over_ns = time.perf_counter_ns()
        arrivals_ns = over_ns - gaps_ns[::-1].cumsum()[::-1] + gaps_ns[-1]
        sent_ns = int(arrivals_ns[0] - self._draw.lognormal(0, 0.5) * 200_000_000)
        first_ns, last_ns = int(arrivals_ns[0]), int(arrivals_ns[-1])
        return Timeline(
            user=f"{self._number}.{self._draw.integers(25)}",
            level_index=level_index,
            outcome=Outcome.OK,
            scheduled_ns=sent_ns,
            sent_ns=sent_ns,
            over_ns=over_ns,
            headers_ns=first_ns - 1_000_000,
            first_ns=first_ns,
            first_visible_ns=first_ns,
            last_ns=last_ns,
            end_ns=last_ns,
            outputs_ns=array("q", arrivals_ns.tobytes()),
            first_body_ns=first_ns,
            first_event_ns=first_ns,
            last_event_ns=last_ns,
            events=self._tokens,
            delays_ns=array("q", (self._draw.lognormal(0, 1, self._tokens) * 50_000).astype(np.int64).tobytes()),
            reads=self._tokens,
            kernel_stamps=self._tokens,
            output_tokens=self._tokens,
            output_tokens_source=TokenSource.USAGE,
            prompt_tokens=int(self._draw.integers(30, 150)),
            prompt_tokens_source="usage",
            bytes_received=self._tokens * 215,
            status=200,
            finish_reason="length",
        )


def free_port() -> int:
    """A port of the loopback that was free a moment ago."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def start_master(port: int, workers: int, seconds: float, results: Path) -> subprocess.Popen[bytes]:
    """The project's own master. It needs no server: its options say all that it would request from one."""
    plan = ("-u", workers, "-r", workers, "-t", f"{round(seconds + 60)}s", "--expect-workers", workers)
    server = ("-H", "http://127.0.0.1:9", "--engine", "vllm", "--model", "none", "--preflight", "off")
    where = ("--master-bind-host", "127.0.0.1", "--master-bind-port", port, "--metrics-port", 0, "--results", results)
    options = ("--headless", "--master", "--loglevel", "ERROR", *plan, *server, *where)
    command = [sys.executable, "-m", "locust", "-f", ROOT / "locustfile.py", *options]
    return subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT)


@dataclass(frozen=True, slots=True)
class MasterCost:
    """What was measured. Sizes are medians; a CPU of 1 is one core."""

    workers: int
    requests_per_s: float
    reports_per_s: float
    report_bytes: float
    message_bytes: float
    master_cpu: float
    workers_cpu: float
    master_rss_bytes: int

    HEAD: ClassVar[str] = (
        "workers  requests/s  reports/s  bytes a report  in a message of  master CPU  master RSS  (workers' CPU)"
    )

    def __str__(self) -> str:
        return (
            f"{self.workers:7}  {self.requests_per_s:10,.0f}  {self.reports_per_s:9.1f}  {self.report_bytes:14,.0f}  "
            f"{self.message_bytes:15,.0f}  {self.master_cpu:10.1%}  {self.master_rss_bytes / 1e6:7.0f} MB  "
            f"{self.workers_cpu:14.0%}"
        )


def measure(workers: int, requests_per_s: float, tokens: int, seconds: float) -> MasterCost:
    """One master with so many workers. Its first seconds are left out."""
    port, sent = free_port(), SentSizes()
    with tempfile.TemporaryDirectory(prefix="tokenswarm-") as folder:
        results = Path(folder)
        master = start_master(port, workers, seconds, results)
        try:
            nodes = [Worker(number, requests_per_s, tokens, sent) for number in range(workers)]
            gevent.joinall([gevent.spawn(worker.connect, port) for worker in nodes], raise_error=True)
            while not all(worker.takes_part for worker in nodes):
                gevent.sleep(0.1)
            gevent.sleep(_WARM_UP_S)
            sent.ours.clear()
            sent.messages.clear()
            process, own = psutil.Process(master.pid), psutil.Process()
            rows, cpu_s, own_cpu_s, began_s = rows_in(results), cpu_of(process), cpu_of(own), time.perf_counter()
            gevent.sleep(seconds)
            lasted_s = time.perf_counter() - began_s
            return MasterCost(
                workers,
                requests_per_s=(rows_in(results) - rows) / lasted_s,
                reports_per_s=len(sent.ours) / lasted_s,
                report_bytes=statistics.median(sent.ours),
                message_bytes=statistics.median(sent.messages),
                master_cpu=(cpu_of(process) - cpu_s) / lasted_s,
                workers_cpu=(cpu_of(own) - own_cpu_s) / lasted_s,
                master_rss_bytes=process.memory_info().rss,
            )
        finally:
            master.kill()
            master.wait()


def cpu_of(process: psutil.Process) -> float:
    """CPU time so far, in seconds."""
    times = process.cpu_times()
    return float(times.user + times.system)


def rows_in(results: Path) -> int:
    """How many requests the master has written to requests.csv."""
    return sum(max(0, (folder / "requests.csv").read_bytes().count(b"\n") - 1) for folder in runs_in(results))


def main() -> None:
    """A table with a row for each number of workers, each in a process of its own."""
    parser = argparse.ArgumentParser(
        allow_abbrev=False, prog="python -m benchmarks.distributed", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("--workers", default="10,50,200", help="numbers of workers")
    parser.add_argument("--requests", type=float, default=5.0, help="requests that end on each worker in a second")
    parser.add_argument("--tokens", type=int, default=128, help="output tokens of each, a gap each")
    parser.add_argument("--seconds", type=float, default=20.0, help="length of the measurement")
    args = parser.parse_args()
    logging.basicConfig(level=logging.ERROR)
    transport.install("")
    numbers = args.workers.split(",")
    if len(numbers) == 1:
        print(measure(int(args.workers), args.requests, args.tokens, args.seconds), flush=True)
        return
    print(MasterCost.HEAD, flush=True)
    given = ("--requests", args.requests, "--tokens", args.tokens, "--seconds", args.seconds)
    for number in numbers:
        command = [sys.executable, "-m", "benchmarks.distributed", "--workers", number, *map(str, given)]
        subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
