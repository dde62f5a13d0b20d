"""A Recording on a local runner, whose clocks, sleeps and greenlets are stand-ins: nothing waits."""

from __future__ import annotations

import csv
import json
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gevent
import gevent.socket
import locust.log
import pytest
from locust.env import Environment
from locust.runners import LocalRunner

import tokenswarm.recording.active_run
import tokenswarm.run_control.process_recorder
import tokenswarm.run_control.recording_hooks
import tokenswarm.run_control.run_controller
from tokenswarm.metrics.client_health import NO_SELF_CHECKS, SelfCheck
from tokenswarm.metrics.level import Level
from tokenswarm.metrics.timeline import Timeline
from tokenswarm.recording.progress import Progress
from tokenswarm.recording.recording_options import RecordingOptions
from tokenswarm.run_control.recording_hooks import Recording
from tokenswarm.run_folder.schema import RunFacts

S = 1_000_000_000
FILES = {"run.json", "requests.csv", "windows.csv", "histograms.csv", "summary.json", "summary.csv"}
VALID = {"verdict": "valid", "reasons": [], "issues": []}
MakeTimeline = Callable[..., Timeline]
MakeLevel = Callable[..., Level]


class Clock:
    """Stands for the time module in the recorder: both clocks move together, and only when told to. The wall clock
    can be set in the course of a run."""

    def __init__(self) -> None:
        self.now_ns = 1000 * S
        self.set_forward_ns = 0

    def perf_counter_ns(self) -> int:
        return self.now_ns

    def time_ns(self) -> int:
        return self.now_ns + 1_700_000_000 * S + self.set_forward_ns


class Greenlets:
    """Stands for gevent in the recording hooks: what is spawned is kept, and a sleep moves the clock."""

    kill = staticmethod(gevent.kill)
    getcurrent = staticmethod(gevent.getcurrent)

    def signal_handler(self, *_: object) -> Any:
        """Leaves the test runner's own handlers alone."""
        return SimpleNamespace(cancel=lambda: None)

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.spawned: list[Callable[[], None]] = []
        self.later: list[tuple[float, Callable[[], None]]] = []
        self._tick = 0
        self._ticks = 0
        self.at_tick: dict[int, Callable[[], None]] = {}

    def spawn(self, function: Callable[..., None], *arguments: Any) -> None:
        self.spawned.append(lambda: function(*arguments))

    def spawn_later(self, seconds: float, function: Callable[..., None], *arguments: Any) -> None:
        self.later.append((seconds, lambda: function(*arguments)))

    def sleep(self, seconds: float) -> None:
        if self._tick == self._ticks:
            raise gevent.GreenletExit
        self.at_tick.get(self._tick, lambda: None)()
        self._tick += 1
        self.clock.now_ns += round(seconds * S)

    def tick(self, times: int) -> None:
        """Let the book-keeper wake so often; what is in `at_tick` happens before its next waking."""
        self._ticks = times
        with pytest.raises(gevent.GreenletExit):
            self.spawned[0]()


class Screen:
    """A sink that remembers."""

    def __init__(self) -> None:
        self.shown: list[Progress] = []
        self.folders: list[Path] = []
        self.planned: list[Level] = []
        self.checked: dict[int, SelfCheck] = {}

    def began(self, plan: Sequence[Level]) -> None:
        self.planned = list(plan)

    def self_checked(self, worker: int, check: SelfCheck) -> None:
        self.checked[worker] = check

    def progress(self, progress: Progress) -> None:
        self.shown.append(progress)

    def finished(self, folder: Path) -> None:
        assert {path.name for path in folder.iterdir()} >= FILES
        self.folders.append(folder)


class Bench:
    """A Recording on a local runner, and the folder that its runs go to."""

    def __init__(self, results: Path, greenlets: Greenlets, **changes: Any) -> None:
        self.greenlets, self.clock, self.results = greenlets, greenlets.clock, results
        self.environment = Environment(parsed_options=options(results, **changes))
        self.screen = Screen()
        self.recording = Recording(self.environment.events, [self.screen])
        self.runner: LocalRunner = self.environment.create_local_runner()
        self.recording.attach(self.environment)

    def begin(self, *plan: Level, self_checks: Mapping[int, SelfCheck] = NO_SELF_CHECKS, settle_s: float = 0.0) -> None:
        """A run of these levels begins."""
        assert self.environment.parsed_options is not None
        recording_options = RecordingOptions.of(self.environment.parsed_options)
        self.recording.begin_run(facts_of(*plan), recording_options, self_checks, settle_s=settle_s)

    def at(self, run_s: float, began_ns: int = 1000 * S) -> None:
        self.clock.now_ns = began_ns + round(run_s * S)

    def fire(self, timeline: Any, **context: Any) -> None:
        """A request event as a user fires it."""
        fire_request(self.environment, {"timeline": timeline, **context})

    def stop(self) -> None:
        """Locust's own end of a test."""
        self.environment.events.test_stop.fire(environment=self.environment)

    def quit(self, exit_code: int = 0) -> None:
        """Locust's own end of a process: its tables come between the two."""
        self.environment.events.quitting.fire(environment=self.environment, reverse=True)
        self.environment.events.quit.fire(exit_code=exit_code)

    @property
    def folder(self) -> Path:
        (folder,) = (path for path in self.results.iterdir() if not path.is_symlink())
        return folder


def options(results: Path, **changes: Any) -> Namespace:
    given = {
        "results": str(results),
        "slo": "",
        "slo_share": "95%",
        "metrics_host": "127.0.0.1",
        "metrics_port": 0,
        "metrics_linger": "0s",
        "headless": False,
        "cluster": "",
        "spool_folder": "",
        "stop_after_failures": "off",
        **dict.fromkeys(("gpus", "gpu_name", "gpu_price", "name"), ""),
        "tag": [],
        "record": "off",
        "processes": None,
        "stop_timeout": 0,
    }
    return Namespace(**(given | changes))


def fire_request(environment: Environment, context: dict[str, Any] | None) -> None:
    environment.events.request.fire(
        request_type="CHAT", name="chat", response_time=1.0, response_length=1, exception=None, context=context
    )


def facts_of(*plan: Level) -> RunFacts:
    return RunFacts("http://gpu:8000", "vllm", "llama", "ladder", plan, {"levels": "10"}, {"source": "sample"})


def told_of(folder: Path, name: str) -> Any:
    return json.loads((folder / name).read_text("utf-8"))


def rows_of(folder: Path, name: str) -> list[dict[str, str]]:
    with (folder / name).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def stand_ins(monkeypatch: pytest.MonkeyPatch) -> Greenlets:
    """Clocks and greenlets of a process that records."""
    clock = Clock()
    greenlets = Greenlets(clock)
    for module in (tokenswarm.run_control.process_recorder, tokenswarm.run_control.run_controller):
        monkeypatch.setattr(module, "time", clock)
        monkeypatch.setattr(module, "gevent", greenlets)
    monkeypatch.setattr(tokenswarm.recording.active_run, "time", clock)
    # Locust notes a listener's exception here, for its exit code.
    monkeypatch.setattr(locust.log, "unhandled_greenlet_exception", False)
    return greenlets


@pytest.fixture
def greenlets(monkeypatch: pytest.MonkeyPatch) -> Greenlets:
    return stand_ins(monkeypatch)


@pytest.fixture
def bench(tmp_path: Path, greenlets: Greenlets) -> Iterator[Bench]:
    bench = Bench(tmp_path / "results", greenlets)
    yield bench
    bench.runner.quit()
