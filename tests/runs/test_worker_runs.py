"""A master with workers: whatever ends a run, and whatever becomes of a worker or of the way to it, each request is
counted once."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import statistics
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import msgpack
import psutil
import pytest
import zmq

from tests.runs.harness import (
    Run,
    RunLocust,
    Simulator,
    Start,
    Started,
    StartSimulator,
    assert_whole,
    free_port,
    read_csv,
    run_folders,
)
from tests.runs.test_web_runs import answers, get, post, until

pytestmark = pytest.mark.slow

#: Streams of about half a second.
STREAMS = ("--max-tokens", "40", "--engine", "vllm", "--ignore-eos")
LADDER = ("--levels", "8", "--ramp", "1s", "--level-time", "3s", "--system-prompt", "off")
LONG = ("--levels", "8", "--ramp", "1s", "--level-time", "60s", "--system-prompt", "off")


@pytest.fixture
def simulator(start_simulator: StartSimulator) -> Simulator:
    return start_simulator("--profile", "fast", "--prefill-ms", "20", "--step-ms", "12")


def counted_by_locust(path: Path) -> int:
    """Requests; the rows of TTFT and of token rates stand beside them."""
    entries = json.loads(path.with_suffix(".json").read_text())
    return sum(entry["num_requests"] for entry in entries if entry["method"] == "CHAT")


def assert_each_request_once(run: Run, simulator: Simulator) -> None:
    """What the server served, the rows, the histograms and the books are the same requests."""
    assert_whole(run)
    rows = run.requests
    served = read_csv(simulator.truth_log)
    # A request that is cut as it is sent may never have reached the server.
    never_arrived = sum(row["outcome"] == "cut" and not row["headers_ms"] for row in rows)
    assert len(rows) - never_arrived <= len(served) <= len(rows)
    assert sum(row["outcome"] == "ok" for row in rows) <= sum(row["outcome"] == "ok" for row in served)
    ok = [row for row in rows if row["outcome"] == "ok"]
    # On a busy machine most of an answer may come in one arrival: it has no TPOT then.
    for metric, column in (("ttft_s", "ttft_ms"), ("e2e_s", "e2e_ms"), ("tpot_s", "tpot_ms")):
        counts = [
            int(row["count"])
            for row in read_csv(run.folder / "histograms.csv")
            if row["metric"] == metric and row["scope"] == "whole"
        ]
        assert sum(counts) == sum(bool(row[column]) for row in ok)
    assert all(row["ttft_ms"] and row["e2e_ms"] for row in ok)


def workers_of(master: Started, number: int) -> list[psutil.Process]:
    """The processes that it forked, in the order of their making."""
    parent = psutil.Process(master.process.pid)
    until(lambda: len(parent.children()) >= number)
    return sorted(parent.children(), key=lambda child: child.pid)[:number]


#: With workers that are started by themselves, test_endings has those that are `make chaos` here.
ENDINGS = [*(pytest.param(ending, marks=pytest.mark.chaos) for ending in ("ladder", "SIGTERM")),
           "run time", "Ctrl-C, streams may end", "SIGTERM to all"]  # fmt: skip


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_master_and_four_workers_count_each_request_once_however_the_run_ends(
    ending: str, start_locust: Start, simulator: Simulator, tmp_path: Path
) -> None:
    plans = {"ladder": LADDER, "run time": ("-u", "8", "-r", "8", "-t", "3s")}
    # Streams that are to be cut are long: on a busy machine, short ones have arrived when their worker cuts them.
    more = {"Ctrl-C, streams may end": ("--stop-timeout", "10"), "SIGTERM": ("--max-tokens", "250")}.get(ending, ())
    started = start_locust(
        *("--headless", "--processes", "4", "-H", simulator.host, "--json-file", str(tmp_path / "locust")),
        *(*STREAMS, *plans.get(ending, LONG), *more),
    )
    if ending not in plans:
        started.wait_for_requests(12)
        number = signal.SIGTERM if "SIGTERM" in ending else signal.SIGINT
        started.interrupt(number, whole_group=ending != "SIGTERM")
    run = started.end()
    assert run.exit_code == (0 if ending in plans else 4), run.output
    assert_each_request_once(run, simulator)
    assert counted_by_locust(tmp_path / "locust") == len(run.requests)
    assert {row["worker"] for row in run.requests} == set("0123")
    outcomes = Counter(row["outcome"] for row in run.requests)
    if ending == "SIGTERM to all":  # workers leave by themselves or with their master
        assert set(outcomes) <= {"ok", "cut"}
        assert {event["event"] for event in run.summary["events"]} <= {"leaving", "left"}
    else:
        assert set(outcomes) == ({"ok", "cut"} if ending == "SIGTERM" else {"ok"})
        assert run.summary["events"] == []
    assert "Traceback" not in run.output


def test_two_runs_stopped_from_the_page_count_each_request_once(
    start_locust: Start, simulator: Simulator, tmp_path: Path
) -> None:
    port = free_port()
    started = start_locust(
        *("--processes", "4", "--expect-workers", "4", "-H", simulator.host, *STREAMS),
        *("--web-host", "127.0.0.1", "--web-port", str(port)),
    )
    url = f"http://127.0.0.1:{port}"
    until(answers(url))
    until(lambda: json.loads(get(f"{url}/stats/requests"))["workers"].__len__() == 4)
    form = {"levels": "8", "ramp": "1s", "level_time": "60s", "system_prompt": "off"}
    shown: list[int] = []
    folders: list[Path] = []
    for _ in range(2):
        until(lambda: post(f"{url}/swarm", **form)["success"])
        until(lambda: len(run_folders(started.results)) == len(folders) + 1)
        (folder,) = set(run_folders(started.results)) - set(folders)
        folders.append(folder)
        started.wait_for_requests(12, folder.name)
        post(f"{url}/stop")
        until((folder / "charts" / "token_rate.png").exists)
        time.sleep(2.5)  # Locust's page keeps its figures for two seconds
        shown.append(json.loads(get(f"{url}/stats/requests"))["stats"][-1]["num_requests"])
    started.process.terminate()
    output = started.end().output
    counts = []
    for number, folder in enumerate(folders):
        (tmp_path / str(number)).mkdir()
        run = Run(0, output, tmp_path / str(number))
        folder.rename(run.results / folder.name)
        assert_whole(run)
        counts.append(len(run.requests))
    assert counts == shown
    assert sum(counts) == len(read_csv(simulator.truth_log))
    assert "Traceback" not in output


def test_a_killed_worker_takes_only_what_it_had_not_reported_and_the_run_says_so(
    start_locust: Start, simulator: Simulator
) -> None:
    started = start_locust(
        *("--headless", "--processes", "3", "-H", simulator.host, *STREAMS),
        *("--levels", "6", "--ramp", "1s", "--level-time", "10s", "--system-prompt", "off"),
    )
    started.wait_for_requests(12)
    victim = workers_of(started, 3)[1]
    before = {row["id"] for row in read_csv(next(started.results.glob("*/requests.csv")))}
    victim.kill()
    run = started.end()
    assert run.exit_code == 3, run.output
    rows, summary = run.requests, run.summary
    assert before <= {row["id"] for row in rows}
    assert len({row["id"] for row in rows}) == len(rows)
    missing, lost = summary["events"]
    assert (missing["event"], lost["event"]) == ("missing", "lost")
    assert missing["worker"] == lost["worker"]
    assert 0 < lost["time_s"] < missing["time_s"] < 20
    books = summary["accounting"]
    assert not books["complete"]
    assert books["ended"] == books["recorded"] == books["rows"] == len(rows)
    assert 1 <= books["unaccounted"] <= 2
    (reason,) = (text for text in summary["validity"]["reasons"] if ") was lost: " in text)
    assert reason.startswith(f"worker {lost['worker']} ({lost['name']}) was lost: its last heartbeat was received ")
    assert f"with {books['unaccounted']} requests in flight" in reason
    assert reason in run.output
    served = len(read_csv(simulator.truth_log))
    assert len(rows) < served <= len(rows) + 3 * 2 / 0.4 * 2  # at most what two users can ask in two reports' time
    assert all(int(row["worker"]) == lost["worker"] or row["outcome"] == "ok" for row in rows)


def test_a_worker_that_is_put_aside_for_ten_seconds_loses_and_doubles_nothing(
    start_locust: Start, simulator: Simulator, tmp_path: Path
) -> None:
    started = start_locust(
        *("--headless", "--processes", "2", "-H", simulator.host, *STREAMS, "--json-file", str(tmp_path / "locust")),
        *("--levels", "4", "--ramp", "1s", "--level-time", "13s", "--system-prompt", "off"),
    )
    started.wait_for_requests(4)
    worker = workers_of(started, 2)[0]
    worker.suspend()
    time.sleep(10)
    worker.resume()
    run = started.end()
    assert run.exit_code == 0, run.output
    assert_each_request_once(run, simulator)
    assert len(run.requests) == len(read_csv(simulator.truth_log)) == counted_by_locust(tmp_path / "locust")
    missing, back = run.summary["events"]
    assert (missing["event"], back["event"]) == ("missing", "back")
    assert missing["worker"] == back["worker"]
    # Locust may move its users to the other worker, or not: without them, the level is not what it is called.
    (level,) = run.summary["levels"]
    assert level["concurrency"]["min"] <= 2
    assert level["concurrency"]["short_share"] > 2 / 12
    assert any("users were there for" in reason for reason in run.summary["validity"]["reasons"])


FAULTY = """
import random
from pathlib import Path

from locust import events
from locust.runners import MasterRunner

from locustfile import *

CAPTURED = Path(__file__).with_name("captured")
held = []


@events.init.add_listener
def spoil(environment, runner, **_):
    draw = random.Random(getattr(runner, "worker_index", 0))
    way, name = (runner.server, "send_to_client") if isinstance(runner, MasterRunner) else (runner.client, "send")
    send = getattr(way, name)
    captured = CAPTURED.with_suffix(f".{getattr(runner, 'worker_index', 'master')}").open("ab", buffering=0)

    def unreliable(message):
        captured.write(message.serialize())
        fate = draw.random() if message.type in ("stats", "tokenswarm_ack") else 1.0
        if fate < 0.3:
            return
        if fate < 0.45:
            held.append(message)
            return
        send(message)
        if fate < 0.6:
            send(message)
        if held and fate < 0.8:
            send(held.pop(draw.randrange(len(held))))

    setattr(way, name, unreliable)
"""


@pytest.mark.alone
def test_a_way_that_loses_repeats_and_reorders_changes_no_figure_and_carries_no_api_key(
    start_locust: Start, start_simulator: StartSimulator, tmp_path: Path
) -> None:
    key = {"LLM_API_KEY": "sk-secret-0123456789"}
    speed = ("--profile", "fast", "--prefill-ms", "20", "--step-ms", "12")
    simulator = start_simulator(*speed, "--api-key-env", "LLM_API_KEY", env=key)
    (tmp_path / "faulty.py").write_text(FAULTY)
    started = start_locust(
        *("--headless", "--processes", "3", "-H", simulator.host, *STREAMS, "-u", "6", "-r", "6", "-t", "4s"),
        locustfile=tmp_path / "faulty.py",
        env=key,
    )
    run = started.end()
    assert run.exit_code == 0, run.output
    assert_each_request_once(run, simulator)
    assert len(run.requests) == len(read_csv(simulator.truth_log))
    kinds = {issue["kind"] for issue in run.summary["validity"]["issues"]}
    assert kinds <= {"uncertain_ttft"}, run.output  # of a busy machine, which has nothing to do with the way
    captured = {path.suffix: path.read_bytes() for path in tmp_path.glob("captured.*")}
    assert set(captured) == {".master", ".0", ".1", ".2"}
    assert all(b"tokenswarm" in sent and b"sk-secret" not in sent for sent in captured.values())


@pytest.mark.slow
def test_a_run_whose_last_worker_left_says_so(start_locust: Start, simulator: Simulator) -> None:
    ports = ("--master-port", (port := str(free_port())), "--master-bind-port", port)
    master = start_locust("--headless", "--master", "-H", simulator.host, "-u", "2", "-t", "90s", *ports)
    worker = start_locust("--worker", *ports)
    master.wait_for_requests(2)
    worker.interrupt(signal.SIGTERM)
    worker.end()
    run = master.end()
    assert run.exit_code == 4, run.output
    (left,) = [event for event in run.summary["events"] if event["event"] == "left"]
    assert f"its last worker ({left['name']}) left" in " ".join(run.output.split())


def test_workers_join_and_leave_in_mid_run_and_a_stranger_is_turned_away(
    start_locust: Start, simulator: Simulator, tmp_path: Path
) -> None:
    (tmp_path / "other.py").write_text("from locustfile import *  # and something else\n")
    port = str(free_port())
    ports = ("--master-port", port, "--master-bind-port", port)
    plan = ("--levels", "4", "--ramp", "1s", "--level-time", "90s", "--system-prompt", "off", "--stop-timeout", "20")
    master = start_locust(
        *("--headless", "--master", "--expect-workers", "1", "-H", simulator.host, *STREAMS, *plan, *ports)
    )
    first = start_locust("--worker", *ports)
    master.wait_for_requests(4)
    second = start_locust("--worker", *ports)
    stranger = start_locust("--worker", *ports, locustfile=tmp_path / "other.py").end()
    assert stranger.exit_code == 2
    sentence = "its locustfile is not that of its master"
    assert re.search(f"the master rejects this worker: {sentence}", stranger.output)
    until(lambda: any(row["worker"] != "0" for row in read_csv(next(master.results.glob("*/requests.csv")))))
    first.interrupt(signal.SIGTERM)
    left = first.end()
    assert "Traceback" not in left.output
    recorded = len(read_csv(next(master.results.glob("*/requests.csv"))))
    master.wait_for_requests(recorded + 40)  # of five seconds or more
    master.interrupt()
    run = master.end()
    assert "Traceback" not in second.end().output
    assert run.exit_code == 4, run.output
    assert re.search(f"Worker .* is rejected: {sentence}", run.output)
    assert_each_request_once(run, simulator)
    joined, leaving, gone = run.summary["events"]
    assert [joined["event"], leaving["event"], gone["event"]] == ["joined", "leaving", "left"]
    assert "its last worker" not in run.output
    assert leaving["worker"] == gone["worker"] == 0
    # What streamed on it has ended there, and the level has all its users.
    assert {row["outcome"] for row in run.requests} == {"ok"}
    left_s = gone["time_s"]
    after = [row for row in run.requests if float(row["sent_s"]) > left_s + 2]
    assert {int(row["worker"]) for row in after} == {joined["worker"]}
    assert len({row["user"] for row in after}) == 4  # its share went over to the other


def test_a_master_that_is_interrupted_while_it_waits_for_workers_sends_home_those_that_came(
    start_locust: Start, simulator: Simulator
) -> None:
    port = str(free_port())
    ports = ("--master-port", port, "--master-bind-port", port)
    master = start_locust("--headless", "--master", "--expect-workers", "2", "-H", simulator.host, *ports)
    worker = start_locust("--worker", *ports)
    assert master.process.stdout is not None
    while "1 of 2 connected" not in (line := master.process.stdout.readline()):
        assert line, "it ended without waiting"
    master.interrupt(signal.SIGINT)
    run = master.end()
    assert run.exit_code == 4
    assert "tokenswarm: interrupted before the run began" in run.output
    assert "Traceback" not in run.output
    left = worker.end()
    assert left.exit_code == 0, left.output
    assert "Got quit message from master" in left.output
    assert "Traceback" not in left.output


def test_a_taken_port_is_told_before_any_worker_is_forked(run_locust: RunLocust) -> None:
    with socket.socket() as stranger:
        stranger.bind(("127.0.0.1", 0))
        stranger.listen()
        port = str(stranger.getsockname()[1])
        run = run_locust("--processes", "2", "--master-port", port, "--master-bind-port", port)
    assert run.exit_code == 2
    assert f"tokenswarm: the master cannot listen for workers on 127.0.0.1:{port} (Address already in use" in run.output
    assert "Traceback" not in run.output


def test_workers_could_not_find_a_port_that_the_master_does_not_name(run_locust: RunLocust) -> None:
    run = run_locust("--processes", "2", "--master-bind-port", "0")
    assert run.exit_code == 2
    assert "tokenswarm: --master-bind-port takes a port from 1 to 65535, got 0." in run.output


NONSENSE = [
    b"",
    b"\xc1",
    b"\x93\x01",
    b"GET / HTTP/1.1\r\n\r\n",
    *(
        msgpack.dumps(message)
        for message in (
            None,
            ["stats"],
            ["heartbeat", None, "ME"],
            ["stats", None, "ME"],
            ["spawning_complete", {}, "ME"],
            ["client_ready", 7, "ME"],
            ["exception", "no", "ME"],
            [["a list"], None, "ME"],
            ["tokenswarm_join", {"build": "../../../etc", "cluster": "", "sent_ns": 1}, "ME"],
            ["tokenswarm_join", {"build": [1]}, "ME"],
            ["tokenswarm_refused", None, "ME"],
            ["stats", {"tokenswarm": [1, 0, 0, 1, True, [b"x" * 1000]], "user_classes_count": {}}, "../../ME"],
        )
    ),
]


def test_nonsense_on_the_port_for_workers_harms_no_run(
    start_locust: Start, simulator: Simulator, tmp_path: Path
) -> None:
    port = str(free_port())
    context = zmq.Context()
    dealer = context.socket(zmq.DEALER)
    dealer.setsockopt(zmq.IDENTITY, b"ME")
    dealer.setsockopt(zmq.LINGER, 0)
    dealer.connect(f"tcp://127.0.0.1:{port}")
    for message in NONSENSE:  # the first that the master hears
        dealer.send(message)
    started = start_locust(
        *("--headless", "--processes", "2", "-H", simulator.host, *STREAMS, "-u", "4", "-r", "4", "-t", "4s"),
        *("--master-port", port, "--master-bind-port", port),
    )
    started.wait_for_requests(4)
    for message in NONSENSE:
        dealer.send(message)
    run = started.end()
    context.destroy()
    assert run.exit_code == 0, run.output
    assert "Traceback" not in run.output
    assert run.document["status"] == "finished"
    assert_each_request_once(run, simulator)
    assert {path.name for path in tmp_path.iterdir()} == {"results", "truth-0.csv"}


@pytest.fixture
def other_machine() -> Iterator[tuple[str, list[str]]]:
    """(this machine's address, the start of a command there): a namespace with a network and a monotonic clock of its
    own, which shows a day more."""
    name, veth = f"tsw{os.getpid()}", f"tsw{os.getpid() % 10_000}"
    there = ["ip", "netns", "exec", name]
    commands = [
        ["ip", "netns", "add", name],
        ["ip", "link", "add", f"{veth}a", "type", "veth", "peer", "name", f"{veth}b", "netns", name],
        ["ip", "address", "add", "10.213.77.1/30", "dev", f"{veth}a"],
        ["ip", "link", "set", f"{veth}a", "up"],
        [*there, "ip", "address", "add", "10.213.77.2/30", "dev", f"{veth}b"],
        [*there, "ip", "link", "set", f"{veth}b", "up"],
        [*there, "unshare", "--time", "--monotonic", "86400", "true"],
    ]
    try:
        for command in commands:
            try:
                subprocess.run(command, check=True, capture_output=True)
            except (OSError, subprocess.CalledProcessError) as error:
                pytest.skip(f"no namespaces here: {getattr(error, 'stderr', error)}")
        yield "10.213.77.1", [*there, "unshare", "--time", "--monotonic", "86400"]
    finally:
        subprocess.run(["ip", "netns", "del", name], capture_output=True)


class SlowWay(threading.Thread):
    """Passes on what comes to `address`, to a port of this machine and back, each piece so much later."""

    def __init__(self, address: str, port: int, delay_s: float) -> None:
        super().__init__(daemon=True)
        self._port, self._delay_s = port, delay_s
        self._listener = socket.create_server((address, 0))
        self.port = int(self._listener.getsockname()[1])

    def run(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(("127.0.0.1", self._port))
            except ConnectionRefusedError:  # the master is not there yet: its worker tries again
                near.close()
                continue
            for here, there in ((near, far), (far, near)):
                threading.Thread(target=self._pass_on, args=(here, there), daemon=True).start()

    def _pass_on(self, here: socket.socket, there: socket.socket) -> None:
        with suppress(OSError):
            while data := here.recv(65536):
                time.sleep(self._delay_s)
                there.sendall(data)
        there.close()

    def close(self) -> None:
        self._listener.close()


def test_a_worker_on_another_machine_with_another_clock_and_a_slow_way_tells_the_same_time(
    start_locust: Start, start_simulator: StartSimulator, other_machine: tuple[str, list[str]]
) -> None:
    here, there = other_machine
    simulator = start_simulator("--profile", "fast", "--prefill-ms", "20", "--step-ms", "12", "--host", here)
    port = free_port()
    way = SlowWay(here, port, 0.03)
    way.start()
    master = start_locust(
        *("--headless", "--master", "--expect-workers", "2", "-H", simulator.host, *STREAMS, *LADDER),
        *("--master-bind-port", str(port)),
    )
    near = start_locust("--worker", "--master-port", str(port))
    far = start_locust("--worker", "--master-host", here, "--master-port", str(way.port), within=there)
    run = master.end()
    for worker in (near, far):
        assert "Traceback" not in worker.end().output
    way.close()
    assert run.exit_code == 0, run.output
    assert_each_request_once(run, simulator)
    # In the order of sending, each request's time of the run stands as far from the server's own as any other's.
    rows = sorted(run.requests, key=lambda row: float(row["sent_s"]))
    served = sorted(int(row["t_wire_ns"]) / 1e9 for row in read_csv(simulator.truth_log))
    began_s = {
        worker: statistics.median(
            server_s - float(row["sent_s"]) for row, server_s in zip(rows, served) if row["worker"] == worker
        )
        for worker in "01"
    }
    assert abs(began_s["0"] - began_s["1"]) < 0.06  # half of the way there and back, and what a busy machine adds
    assert {row["phase"] for row in rows} <= {"ramp", "hold"}
