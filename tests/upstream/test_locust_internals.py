"""What Locust does without each item of locust_internals, and with it.

A test that fails in its first part says that Locust no longer has the defect: remove the item.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gevent
import locust.argument_parser
import locust.html
import locust.main
import locust.runners
import locust.stats
import pytest
import zmq.green as zmq
from gevent.pool import Group
from locust import User, task
from locust.argument_parser import get_empty_argument_parser
from locust.dispatch import UsersDispatcher
from locust.env import Environment
from locust.exception import RPCError
from locust.rpc import Message, zmqrpc
from locust.runners import STATE_INIT, STATE_MISSING, STATE_RUNNING, STATE_SPAWNING, STATE_STOPPED, MasterRunner

from tests.cluster.test_worker_users import Offline, Streaming, going_on, soon
from tests.run_control.recording_bench import options
from tokenswarm.cluster.worker_users import WorkerUsers
from tokenswarm.upstream import gevent_internals, locust_internals
from tokenswarm.upstream.locust_internals import (
    HeldPageLine,
    RebalancingDispatcher,
    WaitingLogFilter,
    before_quit,
    cache_default_arguments,
    cache_form_options,
    disable_ramp_rebalancing,
    extend_html_report,
    intercept_messages,
    is_stopping,
    keep_idle_master_ready,
    keep_missing_workers,
    remove_from_dispatcher,
    use_sockets,
)
from tokenswarm.upstream.locust_log_filters import RoutineLogFilter, StatsTablesFilter


class Idle(User):
    @task
    def idle(self) -> None:
        gevent.sleep(60)


class Master(MasterRunner):
    """A real master on a free port. `sent`: (kind, worker) of each message; `ramps`: how many were started."""

    def __init__(self, results: Any, rebalancing: bool = False) -> None:
        parsed = options(results, enable_rebalancing=rebalancing)
        environment = Environment(user_classes=[Idle], parsed_options=parsed)
        super().__init__(environment, "127.0.0.1", 0)
        environment.runner = self
        self.sent: list[tuple[str, str]] = []
        self.ramps = 0
        self.server.send_to_client = lambda message: self.sent.append((message.type, message.node_id))  # type: ignore[method-assign]

    def start(self, *_: Any, **__: Any) -> None:
        self.ramps += 1

    def connect(self, name: str) -> Any:
        self.handle_message(name, Message("client_ready", locust.__version__, name))
        return self.clients[name]

    def dispatch(self, users: int, dispatcher: UsersDispatcher) -> None:
        """A ramp that has come to its end."""
        self._users_dispatcher = dispatcher
        dispatcher.new_dispatch(users, 100.0)
        for _ in dispatcher:
            pass


@pytest.fixture
def make_master(tmp_path: Any) -> Iterator[Callable[..., Master]]:
    masters: list[Master] = []

    def make(**changes: Any) -> Master:
        masters.append(Master(tmp_path, **changes))
        return masters[-1]

    yield make
    for master in masters:
        master.greenlet.kill()
        master.server.close(linger=0)


@pytest.fixture
def master(make_master: Callable[..., Master]) -> Master:
    return make_master()


def test_locust_overlooks_a_worker_that_joins_when_a_ramp_ends(make_master: Callable[..., Master]) -> None:
    given: list[Any] = []
    for patched in (False, True):
        master = make_master()
        first = master.connect("first")
        ours = RebalancingDispatcher([first], [Idle], given.append)
        master.dispatch(10, ours if patched else UsersDispatcher([first], [Idle]))
        master.state = STATE_SPAWNING  # until the workers have confirmed their numbers
        master.connect("second")
        master.state = STATE_RUNNING
        assert [kind for kind, _ in master.sent if kind == "spawn"] == []
        assert master.ramps == 0
    assert given == [{"first": {"Idle": 5}, "second": {"Idle": 5}}]


def test_a_worker_that_drains_can_be_removed_from_the_dispatcher(master: Master) -> None:
    workers = [master.connect("first"), master.connect("second")]
    remove_from_dispatcher(master, workers[0])  # before a run there is none
    given: list[Any] = []
    master.dispatch(10, RebalancingDispatcher(workers, [Idle], given.append))
    remove_from_dispatcher(master, workers[0])
    assert given == [{"second": {"Idle": 10}}]


def test_locust_starts_a_ramp_of_its_own_when_a_worker_joins(make_master: Callable[..., Master]) -> None:
    for patched, ramps in ((False, 1), (True, 0)):
        master = make_master(rebalancing=True)
        if patched:
            disable_ramp_rebalancing(master)
        master.state, master.spawning_completed = STATE_RUNNING, True
        master.connect("first")
        assert master.ramps == ramps


def test_locust_restarts_the_ramp_when_a_worker_was_silent_for_a_minute(
    make_master: Callable[..., Master], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locust.runners, "HEARTBEAT_INTERVAL", 0.001)
    assert "\nHEARTBEAT_DEAD_INTERNAL = -60\n" in inspect.getsource(locust.runners)
    monkeypatch.setattr(locust.runners, "HEARTBEAT_DEAD_INTERNAL", -60)  # another test may have changed it
    for patched, known, ramps in ((False, False, 1), (True, True, 0)):
        if patched:
            keep_missing_workers()
        master = make_master()
        silent = master.connect("silent")
        silent.state, silent.heartbeat = STATE_MISSING, -50
        master.connect("other").heartbeat = 10**9
        master.state = STATE_RUNNING
        soon(lambda silent=silent, master=master: silent.heartbeat < -70 or bool(master.ramps))
        assert ("silent" in master.clients, master.ramps) == (known, ramps)


def test_a_malformed_message_ends_locusts_reader_on_a_master(master: Master) -> None:
    malformed = Message("heartbeat", None, "worker")
    master.connect("worker")
    with pytest.raises(TypeError):
        master.handle_message("worker", malformed)
    received: list[Any] = []
    handle_of_locust = intercept_messages(master, lambda name, message: received.append((name, message.type)))
    assert handle_of_locust == MasterRunner.handle_message.__get__(master)
    client = zmqrpc.Client("127.0.0.1", master.server.port, "worker")
    client.send(malformed)
    soon(lambda: received == [("worker", "heartbeat")])
    client.close(linger=0)


def test_a_malformed_message_ends_locusts_reader_on_a_worker(tmp_path: Any) -> None:
    worker = Offline(Environment(user_classes=[Idle], parsed_options=options(tmp_path)))
    malformed = Message("spawn", {}, "worker")
    with pytest.raises(KeyError):
        worker.handle_message(malformed)
    received: list[str] = []
    intercept_messages(worker, lambda message: received.append(message.type))
    inbox = [malformed]

    def receive() -> Any:
        if not inbox:
            raise gevent.GreenletExit
        return inbox.pop()

    worker.client = SimpleNamespace(recv=receive)  # type: ignore[assignment]
    gevent.spawn(worker.worker).join()  # Locust's loop
    worker.greenlet.kill()
    assert received == ["spawn"]


def test_locust_shows_a_master_without_workers_as_stopped(make_master: Callable[..., Master]) -> None:
    for patched, state in ((False, STATE_STOPPED), (True, STATE_INIT)):
        master = make_master()
        if patched:
            keep_idle_master_ready(master)
        master.check_stopped()
        assert master.state == state


def test_a_master_of_locusts_quits_as_often_as_it_is_told(make_master: Callable[..., Master]) -> None:
    for patched in (False, True):
        master = make_master()
        master.connect("counted")
        master.sent.clear()
        if patched:
            before_quit(master, lambda: None)
        master.quit()
        master.quit()
        assert master.sent == [("quit", "counted")] * (1 if patched else 2)


def test_a_master_of_locusts_that_quits_forgets_the_workers_that_still_load(make_master: Callable[..., Master]) -> None:
    for patched in (False, True):
        master = make_master()
        master.connect("counted")
        master.sent.clear()
        if patched:
            before_quit(master, lambda master=master: master.send_message("quit", client_id="loading"))
        master.quit()
        assert master.sent == [("quit", "loading")] * patched + [("quit", "counted")]


@pytest.mark.parametrize(("patched", "left"), [(False, 5), (True, 10)])
def test_locust_counts_users_that_end_their_last_task_as_users_that_continue(
    patched: bool, left: int, tmp_path: Any
) -> None:
    Streaming.streams = []
    environment = Environment(user_classes=[Streaming], parsed_options=options(tmp_path))
    environment.stop_timeout = 600
    runner = Offline(environment)
    if patched:
        WorkerUsers(runner, lambda: None)
    for wanted in (10, 5, 10):
        spawning = gevent.spawn(runner.start_worker, {"Streaming": wanted})
        soon(lambda spawning=spawning, wanted=wanted: spawning.ready() or going_on(runner) == wanted)
        soon(lambda wanted=wanted: going_on(runner) <= wanted and len(Streaming.streams) == runner.user_count)
        spawning.kill()  # as the next message does
    assert going_on(runner) == left
    runner.user_greenlets.kill()
    runner.greenlet.kill()


def test_a_users_state_has_no_public_name() -> None:
    assert not [name for name in dir(User) if "state" in name and not name.startswith("_")]
    group = Group()
    user = Streaming(Environment(user_classes=[Streaming]))
    Streaming.streams = []
    user.start(group)
    soon(lambda: bool(Streaming.streams))
    before = is_stopping(user)
    user.stop()
    assert (before, is_stopping(user)) == (False, True)
    group.kill()


def test_bytes_that_are_no_message_end_locusts_reader(tmp_path: Any) -> None:
    server = zmqrpc.Server("127.0.0.1", 0)
    sender = zmq.Context.instance().socket(zmq.DEALER)
    sender.setsockopt(zmq.IDENTITY, b"stranger")
    sender.connect(f"tcp://127.0.0.1:{server.port}")
    sender.send(b"\xc1")
    with pytest.raises(ValueError) as raised:  # noqa: PT011 - msgpack's
        server.recv_from_client()
    assert not isinstance(raised.value, RPCError)  # the one kind that Locust's reader survives
    assert not server.socket.getsockopt(zmq.MAXMSGSIZE) > 0
    sender.close(linger=0)
    server.close(linger=0)
    ours = SimpleNamespace(recv_from_client=lambda: gevent.sleep(60))
    use_sockets(lambda *_: ours, lambda *_: ours)
    environment = Environment(user_classes=[Idle], parsed_options=options(tmp_path))
    runner = environment.create_master_runner("127.0.0.1", 0)
    assert runner.server is ours
    runner.greenlet.kill()


def test_locusts_worker_makes_a_parser_for_each_option_of_a_message(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []

    def counted(**named: Any) -> Any:
        made.append(1)
        return get_empty_argument_parser(**named)

    monkeypatch.setattr(locust.argument_parser, "get_empty_argument_parser", counted)
    defaults = locust.argument_parser.default_args_dict
    defaults = getattr(defaults, "__wrapped__", defaults)  # another test may have cached it
    monkeypatch.setattr(locust.argument_parser, "default_args_dict", defaults)
    spawn = {"timestamp": 1, "user_classes_count": {}, "host": "", "stop_timeout": 0}
    spawn["parsed_options"] = {"one": 1, "two": 2, "three": 3}
    counts = []
    for patched in (False, True):
        worker = Offline(Environment(user_classes=[Idle], parsed_options=options(tmp_path)))
        worker.last_received_spawn_timestamp = 0
        if patched:
            cache_default_arguments()
        worker.handle_message(Message("spawn", spawn, "worker"))
        worker.greenlet.kill()
        counts.append(len(made))
        made.clear()
    assert counts == [3, 1]


def test_locusts_parser_lists_the_options_of_its_form_each_time_it_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    parser_class = locust.argument_parser.LocustArgumentParser
    names = [name for name in vars(parser_class) if name.endswith("args_included_in_web_ui")]
    assert len(names) == 4
    for name in names:
        known = vars(parser_class)[name]
        monkeypatch.setattr(parser_class, name, getattr(known, "listed", known))  # another test may have cached it
    parser = get_empty_argument_parser(default_config_files=[])
    parser.add_argument("--one", is_secret=True)
    assert all(getattr(parser, name) is not getattr(parser, name) for name in names)
    expected = {name: getattr(parser, name) for name in names}
    cache_form_options()
    cache_form_options()
    assert {name: getattr(parser, name) for name in names} == expected
    assert all(getattr(parser, name) is getattr(parser, name) for name in names)
    parser.add_argument("--two", is_secret=True)
    assert list(parser.secret_args_included_in_web_ui) == ["one", "two"]
    assert "two" in parser.args_included_in_web_ui


def test_locusts_report_has_no_hook(monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(inspect.signature(locust.html.get_html_report).parameters) == [
        *("environment", "show_download_link", "theme")
    ]
    source = inspect.getsource(locust.html.get_html_report)
    assert "return render_template_from(" in source
    assert '"report.html"' in source
    monkeypatch.setattr(locust.html, "render_template_from", lambda file, **_: f"<body>{file}</body> ")
    extend_html_report(lambda: "ours")
    assert locust.html.render_template_from("report.html") == "<body>report.htmlours</body> "
    assert locust.html.render_template_from("index.html") == "<body>index.html</body> "


def test_locust_logs_each_second_that_it_waits_for_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    source = inspect.getsource(locust.main)
    assert source.count(f'"{WaitingLogFilter.MESSAGE}') == 2
    assert "logging.info(\n" in source
    now_s = 0.0
    logged: list[float] = []
    root, handler = logging.getLogger(), logging.Handler()
    handler.emit = lambda record: logged.append(now_s)  # type: ignore[method-assign]
    thinned = WaitingLogFilter(lambda: now_s)
    monkeypatch.setattr(root, "filters", [])  # those of other tests' masters
    root.addHandler(handler)
    level = root.level
    root.setLevel(logging.INFO)
    thinned.attach()
    try:
        for second in range(25):
            now_s = float(second)
            root.info(f"{WaitingLogFilter.MESSAGE}%s of %s connected", 0, 2)
            if second == 3:
                root.info("something else")
        assert logged == [0, 3, 10, 20]
        thinned.stop()
        now_s = 100.0
        root.info(f"{WaitingLogFilter.MESSAGE}%s of %s connected", 0, 2)
        assert logged == [0, 3, 10, 20]
    finally:
        thinned.detach()
        root.removeHandler(handler)
        root.setLevel(level)


def test_each_item_names_its_source() -> None:
    items = [
        each
        for each in vars(locust_internals).values()
        if getattr(each, "__module__", "") == locust_internals.__name__ and hasattr(each, "__doc__")
    ]
    assert len(items) > 10
    for each in items:
        assert f"Upstream: https://github.com/locustio/locust/blob/{locust_internals.CHECKED_WITH}/" in each.__doc__


def test_the_pinned_versions_are_those_that_were_checked() -> None:
    """Who pins another version reads the sources again."""
    pinned = (Path(__file__).parents[2] / "constraints.txt").read_text(encoding="utf-8").splitlines()
    assert f"locust=={locust_internals.CHECKED_WITH}" in pinned
    assert f"gevent=={gevent_internals.CHECKED_WITH}" in pinned


@pytest.fixture
def lines_of(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], list[str]]]:
    """What is logged by a logger of Locust's that passes its filters."""
    handlers: list[tuple[logging.Logger, logging.Handler]] = []

    def lines(name: str) -> list[str]:
        logged: list[str] = []
        handler = logging.Handler()
        handler.emit = lambda record: logged.append(record.getMessage())  # type: ignore[method-assign]
        logger = logging.getLogger(name)
        logger.addHandler(handler)
        handlers.append((logger, handler))
        monkeypatch.setattr(logger, "level", logging.INFO)
        monkeypatch.setattr(logger, "filters", [])
        logger.manager._clear_cache()
        return logged

    yield lines
    for logger, handler in handlers:
        logger.removeHandler(handler)


def test_locust_logs_each_step_of_a_shape(
    lines_of: Callable[[str], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    modules = {"locust.runners": locust.runners, "locust.main": locust.main}
    for name, beginnings in RoutineLogFilter.LINES.items():
        source = inspect.getsource(modules[name])
        words = {"Shape test completed": '"Shape test completed"'}  # it is put together with what follows
        assert [each for each in beginnings if words.get(each, each) not in source] == []
        logged, logger = lines_of(name), logging.getLogger(name)
        for attached in (False, True):
            if attached:
                RoutineLogFilter.attach()
                RoutineLogFilter.attach()
                assert len(logger.filters) == 1
            for beginning in beginnings:
                logger.info(f"{beginning} %d", 1)
            logger.info("something else")
            logger.warning(f"{beginnings[0]} failed")
        routine = [f"{beginning} 1" for beginning in beginnings]
        others = ["something else", f"{beginnings[0]} failed"]
        assert logged == [*routine, *others, *others]
        if warning := RoutineLogFilter.WARNINGS.get(name):
            assert source.count(warning) >= 2  # of a process alone, and of a master
            logger.warning(f"{warning} (>100)")
            assert logged == [*routine, *others, *others]
        monkeypatch.setattr(logging.getLogger(), "level", logging.DEBUG)
        logger.manager._clear_cache()
        logger.info(beginnings[0])
        assert logged[-1] == beginnings[0]
        monkeypatch.undo()


def test_locust_says_that_its_page_is_left_running_at_each_end_of_a_run(lines_of: Callable[[str], list[str]]) -> None:
    source = inspect.getsource(locust.main)
    assert RoutineLogFilter.ONCE in source
    assert source.count("stop_and_optionally_quit") == 3  # it is defined, and called by the shape and by the run time
    logged, logger = lines_of("locust.main"), logging.getLogger("locust.main")
    RoutineLogFilter.attach()
    for _ in range(2):
        logger.info(f"{RoutineLogFilter.ONCE} indefinitely")
        logger.info("something else")
    assert logged == [f"{RoutineLogFilter.ONCE} indefinitely", "something else", "something else"]


def test_the_line_with_the_address_of_the_page_comes_once_it_is_released(
    lines_of: Callable[[str], list[str]],
) -> None:
    source = inspect.getsource(locust.main)
    assert source.index(HeldPageLine.LINE) < source.index("events.init.fire")
    logged, logger = lines_of(HeldPageLine.LOGGER), logging.getLogger(HeldPageLine.LOGGER)
    (line := HeldPageLine()).attach()
    address = f"{HeldPageLine.LINE}http://127.0.0.1:8090"
    for each in ("one", address, "two"):
        logger.info(each)
    assert logged == ["one", "two"]
    line.release()
    line.release()
    assert logged == ["one", "two", address]
    logger.info(address)
    assert logged[3:] == [address]
    assert logger.filters == []


def test_locust_prints_its_tables_at_the_end_whatever_its_options_say(lines_of: Callable[[str], list[str]]) -> None:
    stats = locust.stats.RequestStats()
    stats.log_request("CHAT", "no system prompt", 300, 10)
    stats.log_error("CHAT", "no system prompt", "http_error: 404")
    logged = lines_of(StatsTablesFilter.LOGGER)
    for attached in (False, True):
        tables = StatsTablesFilter()
        if attached:
            logged.clear()
            tables.attach()
        locust.stats.print_stats(stats, current=False)
        locust.stats.print_percentile_stats(stats)
        locust.stats.print_error_report(stats)
        tables.detach()
        names = [line for line in logged if "no system prompt" in line]
        assert len(names) == (1 if attached else 3)
    assert logged[0] == "Error report"
    shutdown = inspect.getsource(locust.main).partition("def shutdown")[2]
    assert "print_percentile_stats(" in shutdown.partition("events.quit.fire")[0]
