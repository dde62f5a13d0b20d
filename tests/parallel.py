"""`pytest --jobs 6`: tests in several processes side by side, each forked from this one once the tests are collected.

Whole runs of Locust mostly wait, so several share a core. (pytest-xdist does not start beside gevent's patching: its
threads are older than the patch.) A process that has ended its tests takes the next: those of a module that share
fixtures go together, every other whole run goes by itself. Tests marked `alone` follow when all others have ended. This
process reports every test as if it had run it.

Whole runs leave half of the processors' time over. One more process, which gives way to all others, has it for tests
that only compute.
"""

from __future__ import annotations

import gc
import os
import signal
import time
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import groupby
from multiprocessing.connection import Connection, wait
from typing import Any

import pytest
from gevent import monkey
from gevent.os import fork_gevent

from tests.forked_process import start_fork_servers

# gevent's own close is put off, and its own waitpid waits for what its own fork told it.
_close, _waitpid = monkey.get_original("os", ["close", "waitpid"])
_Batch = list[pytest.Item]
_INDEX_BYTES = 4
_STOPS_WITHIN_S = 20.0
#: Modules with the longest batches: a browser's, a real server's, searches, runs whose workers or masters are lost.
_LONGEST_FIRST = (
    *("test_page_runs", "test_capacity_runs", "test_scrape", "test_llamacpp", "test_killed_runs", "test_cluster_runs"),
    *("test_worker_runs", "test_abandon_runs", "test_trace_runs", "test_agent_runs"),
    *("test_prompt_reuse_runs", "test_open_loop_runs", "test_secret_runs", "test_web_security_runs"),
)
_OF_WHOLE_RUNS = ("runs", "deploy", "llamacpp", "bentoml")
#: Folders whose tests only compute: how much of the processor they get changes nothing in their results.
_ONLY_COMPUTE = frozenset(
    (
        "golden",
        "metrics",
        "option_parser",
        "prompts",
        "recording",
        "reports",
        "run_folder",
        "sanitize",
        "shapes",
        "workload",
    )
)
#: Of the process that runs them beside others: these run first. With 15, a command that a test starts took two minutes
#: on a busy machine.
_GIVES_WAY = 5


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--jobs", type=int, default=1, help="processes that run tests side by side (default: 1)")


@pytest.hookimpl(tryfirst=True)
def pytest_collection(session: pytest.Session) -> None:
    """Where all tests are asked for, what they fork processes from is imported while they are collected."""
    config = session.config
    of_all = config.args_source is pytest.Config.ArgsSource.TESTPATHS and not config.option.keyword
    if of_all and config.getoption("jobs") > 1 and not config.option.collectonly:
        start_fork_servers()


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool | None:
    config = session.config
    jobs: int = config.getoption("jobs")
    if jobs < 2 or config.option.collectonly or session.testsfailed:
        return None
    config._tmp_path_factory.getbasetemp()  # type: ignore[attr-defined] # made once, before there are several processes
    if reporter := config.pluginmanager.getplugin("terminalreporter"):
        reporter.showfspath = False  # files take turns: each turn would be a line
    if sum(_is_slow(item) for item in session.items) > jobs:
        start_fork_servers()
    gc.collect()
    gc.freeze()  # what was collected stays: looked through again and again, it would be copied for each process
    beside = [item for item in session.items if not item.get_closest_marker("alone")]
    alone = [item for item in session.items if item.get_closest_marker("alone")]
    batches = _batches(beside)
    computing = [batch for batch in batches if _only_computes(batch)]
    others = [batch for batch in batches if not _only_computes(batch)]
    _Jobs(session, others, computing).run(jobs)
    _Jobs(session, _batches(alone), []).run(1)
    return True


def _batches(items: Sequence[pytest.Item]) -> list[_Batch]:
    """Tests that one process runs in a row. Whole runs first, those that take longest before others: none is to be left
    when all others have ended."""
    batches: list[_Batch] = []
    for _, of_module in groupby(items, lambda item: item.path):
        together: _Batch = []
        for item in of_module:
            if _is_slow(item) and not _shares_fixtures(item):
                batches.append([item])
            else:
                together.append(item)
        if together:
            batches.append(together)
    return sorted(batches, key=lambda batch: (not _is_slow(batch[0]), _rank(batch[0]), -len(batch)))


def _is_slow(item: pytest.Item) -> bool:
    return item.get_closest_marker("slow") is not None


def _only_computes(batch: _Batch) -> bool:
    return batch[0].path.parent.name in _ONLY_COMPUTE


def _rank(item: pytest.Item) -> int:
    """Its module's place in the list, or behind it: whole runs, which wait, and then what computes."""
    name = item.path.stem
    if name in _LONGEST_FIRST:
        return _LONGEST_FIRST.index(name)
    return len(_LONGEST_FIRST) + (item.path.parent.name not in _OF_WHOLE_RUNS)


def _shares_fixtures(item: pytest.Item) -> bool:
    fixtures = item._fixtureinfo.name2fixturedefs.values()  # type: ignore[attr-defined]
    return any(fixture.scope in ("module", "class") for defined in fixtures for fixture in defined)


def _exit_code(pid: int) -> int | None:
    """Of a process that ends. None where gevent has taken it already."""
    try:
        return os.waitstatus_to_exitcode(_waitpid(pid, 0)[1])
    except ChildProcessError:
        return None


def _queue(indexes: Sequence[int]) -> int:
    """What is left to run: each process reads the next batch's index from this descriptor."""
    reader, writer = os.pipe()
    os.write(writer, b"".join(index.to_bytes(_INDEX_BYTES, "big") for index in indexes))
    _close(writer)
    return reader


class _Worker:
    """A process that runs tests. left: those of its batch that have not ended."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.left: dict[str, pytest.Item] = {}


class _Jobs:
    """Batches of tests, and the processes that run them: first those of `others`."""

    def __init__(self, session: pytest.Session, others: list[_Batch], computing: list[_Batch]) -> None:
        self._session = session
        self._hook = session.config.hook
        self._batches = [*others, *computing]
        self._workers: dict[Connection, _Worker] = {}
        self._others = _queue(range(len(others)))
        self._computing = _queue(range(len(others), len(self._batches)))

    def run(self, jobs: int) -> None:
        """Run all. Raises what pytest's own loop raises when it is to stop early."""
        try:
            for _ in range(min(jobs, len(self._batches))):
                self._start(self._others, self._computing)
            if jobs < len(self._batches):
                self._start(self._computing, gives_way=_GIVES_WAY)
            while self._workers:
                for connection in wait(list(self._workers)):
                    self._take_from(connection)  # type: ignore[arg-type]
                if self._session.shouldfail:
                    raise self._session.Failed(self._session.shouldfail)
                if self._session.shouldstop:
                    raise self._session.Interrupted(self._session.shouldstop)
            for batch in self._next_batches(self._others, self._computing):
                self._fail(batch, "not run: no process was left")
        finally:
            self._stop()

    def _start(self, *queues: int, gives_way: int = 0) -> None:
        self._session.config.get_terminal_writer().flush()
        receiver, sender = os.pipe()
        pid = fork_gevent()
        if pid:
            _close(sender)
            self._workers[Connection(receiver, writable=False)] = _Worker(pid)
            return
        _close(receiver)
        os.nice(gives_way)
        os.setpgid(0, 0)  # Ctrl-C interrupts the parent, which then interrupts this process, once
        try:
            self._work(Connection(sender, readable=False), queues)
        except KeyboardInterrupt:
            os._exit(2)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)

    def _work(self, sender: Connection, queues: Sequence[int]) -> None:
        """Run batches until none is left, in a process of its own."""
        config = self._session.config
        capture = config.pluginmanager.getplugin("capturemanager")
        capture.stop_global_capturing()  # its files are the parent's and the other processes' too
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # the parent reports
        capture.start_global_capturing()
        capture.suspend_global_capture()
        config.pluginmanager.register(_Sender(config, sender))
        try:
            for batch in self._next_batches(*queues, sender=sender):
                for item, following in zip(batch, [*batch[1:], None]):
                    self._hook.pytest_runtest_protocol(item=item, nextitem=following)
                    if self._session.shouldfail or self._session.shouldstop:
                        return
        finally:
            self._session._setupstate.teardown_exact(None)  # type: ignore[attr-defined]

    def _next_batches(self, *queues: int, sender: Connection | None = None) -> Iterator[_Batch]:
        for queue in queues:
            while index := os.read(queue, _INDEX_BYTES):
                number = int.from_bytes(index, "big")
                if sender is not None:
                    sender.send(number)
                yield self._batches[number]

    def _take_from(self, connection: Connection) -> None:
        worker = self._workers[connection]
        try:
            message = connection.recv()
        except EOFError:
            del self._workers[connection]
            self._fail(
                list(worker.left.values()), f"its process {worker.pid} ended, exit code {_exit_code(worker.pid)}"
            )
            return
        if isinstance(message, int):
            worker.left = {item.nodeid: item for item in self._batches[message]}
        elif isinstance(message, dict):
            self._hook.pytest_warning_recorded.call_historic(kwargs=message)
        else:
            nodeid, location, reports = message
            del worker.left[nodeid]
            self._report(nodeid, location, [self._read(report) for report in reports])

    def _read(self, report: dict[str, Any]) -> pytest.TestReport:
        read: pytest.TestReport = self._hook.pytest_report_from_serializable(config=self._session.config, data=report)
        return read

    def _report(self, nodeid: str, location: Any, reports: Sequence[pytest.TestReport]) -> None:
        self._hook.pytest_runtest_logstart(nodeid=nodeid, location=location)
        for report in reports:
            self._hook.pytest_runtest_logreport(report=report)
        self._hook.pytest_runtest_logfinish(nodeid=nodeid, location=location)

    def _fail(self, items: Sequence[pytest.Item], reason: str) -> None:
        for item in items:
            report = pytest.TestReport(item.nodeid, item.location, {}, "failed", reason, "call")
            self._report(item.nodeid, item.location, [report])

    def _stop(self) -> None:
        """End the processes that are left: with an interrupt, so that they end what their tests started."""
        for worker in self._workers.values():
            os.kill(worker.pid, signal.SIGINT)
        deadline = time.monotonic() + _STOPS_WITHIN_S
        for connection, worker in self._workers.items():
            with suppress(EOFError):
                while connection.poll(max(0.0, deadline - time.monotonic())):
                    connection.recv()
                os.kill(worker.pid, signal.SIGKILL)
            _exit_code(worker.pid)
        self._workers.clear()
        _close(self._others)
        _close(self._computing)


class _Sender:
    """A plugin that sends what happens in this process to the one that reports it."""

    def __init__(self, config: pytest.Config, connection: Connection) -> None:
        self._config = config
        self._connection = connection
        self._reports: list[dict[str, Any]] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._reports.append(self._config.hook.pytest_report_to_serializable(config=self._config, report=report))

    def pytest_runtest_logfinish(self, nodeid: str, location: Any) -> None:
        self._connection.send((nodeid, location, self._reports))
        self._reports = []

    def pytest_warning_recorded(
        self, warning_message: warnings.WarningMessage, when: str, nodeid: str, location: Any
    ) -> None:
        text, category = str(warning_message.message), warning_message.category
        sent = warnings.WarningMessage(text, category, warning_message.filename, warning_message.lineno)
        self._connection.send({"warning_message": sent, "when": when, "nodeid": nodeid, "location": location})
