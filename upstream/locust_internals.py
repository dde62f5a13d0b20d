"""The private names of Locust that Tokenswarm uses, and the functions of Locust that it replaces.

Each item says what Locust does without it and where. A test in tests/upstream fails when a private name is gone, or
when Locust no longer has the defect and the item can be removed.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from functools import cache
from math import inf
from typing import Any

import locust.argument_parser
import locust.html
import locust.runners
from locust import User
from locust.dispatch import UsersDispatcher
from locust.rpc import zmqrpc
from locust.runners import STATE_INIT, MasterRunner, WorkerNode, WorkerRunner
from locust.user.task import LOCUST_STATE_STOPPING

#: The version of Locust that everything here was last checked with.
CHECKED_WITH = "2.47.0"

#: Of LocustArgumentParser: the options that its form shows, and which of them are of a kind.
_FORM_PROPERTIES = (
    *("args_included_in_web_ui", "secret_args_included_in_web_ui"),
    *("required_args_included_in_web_ui", "multiple_args_included_in_web_ui"),
)

#: How many users of each class each worker has, by the worker's name in Locust.
UsersOnWorkers = dict[str, dict[str, int]]


class RebalancingDispatcher(UsersDispatcher):
    """Spreads users over workers, and sends the new distribution at once when a worker joins or leaves.

    Locust starts another ramp for that, unless one is in progress. That ramp blocks the reader of the workers' messages
    for a second, and a worker that joins or leaves in that second is overlooked: its users are missing until the next
    level. Here a ramp in progress continues from the new distribution.

    Upstream: https://github.com/locustio/locust/blob/2.47.0/locust/dispatch.py#L226-L280 and
    https://github.com/locustio/locust/pull/1886
    """

    def __init__(
        self,
        worker_nodes: list[WorkerNode],
        user_classes: list[type[User]],
        send: Callable[[UsersOnWorkers], None],
        adjust: Callable[[UsersOnWorkers], UsersOnWorkers] = lambda users_on_workers: users_on_workers,
    ) -> None:
        """send: has each worker run the given numbers of users. adjust: returns the numbers that are sent in place of
        those that Locust distributes."""
        super().__init__(worker_nodes, user_classes)
        self._send = send
        self._adjust = adjust
        self._step: UsersOnWorkers = {}

    def __next__(self) -> UsersOnWorkers:
        """The next step of a ramp. Locust sends it a moment later."""
        self._step = self._adjust(super().__next__())
        return self._step

    @property
    def dispatch_in_progress(self) -> bool:
        """Always true, so that Locust starts no ramp of its own when a worker joins or leaves."""
        return True

    def add_worker(self, worker_node: WorkerNode) -> None:
        """Give the worker its share of the users now. A known worker is given a new share."""
        self._worker_nodes = [node for node in self._worker_nodes if node.id != worker_node.id]
        super().add_worker(worker_node)
        self._send_now()

    def remove_worker(self, worker_node: WorkerNode) -> None:
        """Give the worker's users to the others now; if there are none, to workers that join later."""
        if all(node.id != worker_node.id for node in self._worker_nodes):
            return
        super().remove_worker(worker_node)
        self._send_now()

    def _send_now(self) -> None:
        if self._rebalance:
            self._rebalance = False
            users_on_workers = self._adjust(self._fast_users_on_workers_copy(self._users_on_workers))
            # A step that Locust has yet to send would undo this one: it gets the same numbers.
            for counts in self._step.values():
                counts.update(dict.fromkeys(counts, 0))
            for name, counts in users_on_workers.items():
                self._step.setdefault(name, {}).update(counts)
            self._send(users_on_workers)


def remove_from_dispatcher(runner: MasterRunner, worker: WorkerNode) -> None:
    """Give this worker's users to the others while it still drains its streams.

    Locust does so only when a worker has left or is missing, and has no public name for its dispatcher.

    Upstream: https://github.com/locustio/locust/blob/2.47.0/locust/runners.py#L1090-L1101
    """
    if (dispatcher := runner._users_dispatcher) is not None:
        dispatcher.remove_worker(worker)


def disable_ramp_rebalancing(runner: MasterRunner) -> None:
    """Have Locust start no ramp when a worker joins or goes missing, whatever --enable-rebalancing says.

    RebalancingDispatcher has already spread the users; a second ramp blocks the reader of the workers' messages.

    Upstream: https://github.com/locustio/locust/blob/2.47.0/locust/runners.py#L712-L715 and
    https://github.com/locustio/locust/pull/1886
    """
    runner.rebalancing_enabled = lambda: False  # type: ignore[method-assign]


def keep_missing_workers() -> None:
    """Have Locust keep workers that are silent for more than a minute.

    Locust removes such a worker and restarts the ramp of the current level, which stops all users but one. Its users
    were given to other workers after four seconds, so there is nothing left to do.

    Upstream: https://github.com/locustio/locust/blob/2.47.0/locust/runners.py#L935-L965
    """
    locust.runners.HEARTBEAT_DEAD_INTERNAL = -inf  # type: ignore[assignment]


def intercept_messages(runner: MasterRunner | WorkerRunner, handle: Callable[..., None]) -> Callable[..., None]:
    """Have `handle` called with each received message in place of Locust's handler, which is returned.

    An exception in Locust's handler ends the greenlet that reads all messages, on a master and on a worker, and the
    process goes on without it. A master also counts everybody who sends `client_ready` as a worker.

    Upstream: https://github.com/locustio/locust/blob/2.47.0/locust/runners.py#L1018-L1173 and
    https://github.com/locustio/locust/issues/3515
    """
    handle_of_locust: Callable[..., None] = runner.handle_message
    runner.handle_message = handle  # type: ignore[method-assign]
    return handle_of_locust


def keep_idle_master_ready(runner: MasterRunner) -> None:
    """Have a master without workers stay in the state `ready`.

    Locust takes it for one whose run was stopped, and its page shows `stopped` before the first run.

    Upstream: https://github.com/locustio/locust/blob/2.47.0/locust/runners.py#L922-L926
    """
    check_stopped = runner.check_stopped

    def check_stopped_unless_idle() -> None:
        if runner.clients or runner.state != STATE_INIT:
            check_stopped()

    runner.check_stopped = check_stopped_unless_idle  # type: ignore[method-assign]


def before_quit(runner: MasterRunner, action: Callable[[], None]) -> None:
    """Call `action` first when the master quits, and quit once.

    Locust sends `quit` to the workers that it counts; workers that still load would wait for a master that is gone. It
    quits four times where a shape ends, and waits for half a second each time.

    Upstream: https://github.com/locustio/locust/blob/2.47.0/locust/runners.py#L913-L920 and
    https://github.com/locustio/locust/blob/2.47.0/locust/main.py#L480-L700
    """
    quit_runner = runner.quit
    has_quit = False

    def act_and_quit() -> None:
        nonlocal has_quit
        action()
        if not has_quit:
            quit_runner()
            has_quit = True

    runner.quit = act_and_quit  # type: ignore[method-assign]


def replace_start_worker(runner: WorkerRunner, start: Callable[..., None]) -> None:
    """Have `start` called with the numbers of users that the master wants, in place of Locust's method.

    Locust counts a user that ends its last task as one that continues: a worker that is sent 5 users instead of 10, and
    then 10 again, soon has 5.

    Upstream: https://github.com/locustio/locust/blob/2.47.0/locust/runners.py#L1300-L1330
    """
    runner.start_worker = start  # type: ignore[method-assign]


def is_stopping(user: User) -> bool:
    """Whether this user ends its last task. Locust has no public name for a user's state.

    Upstream: https://github.com/locustio/locust/blob/2.47.0/locust/user/users.py#L210-L228
    """
    return bool(user._state == LOCUST_STATE_STOPPING)


def use_sockets(client: Callable[[str, int, str], Any], server: Callable[[str, int], Any]) -> None:
    """Have runners that are made from now on use these in place of zmqrpc.Client and zmqrpc.Server.

    Locust's sockets end the greenlet that reads all messages when one cannot be decoded, accept messages of any size
    from everybody who reaches the port, and cannot be configured.

    Upstream: https://github.com/locustio/locust/blob/2.47.0/locust/rpc/zmqrpc.py and
    https://github.com/locustio/locust/issues/2260
    """
    zmqrpc.Client = client  # type: ignore[assignment, misc]
    zmqrpc.Server = server  # type: ignore[assignment, misc]


def cache_default_arguments() -> None:
    """Have Locust compute the default values of its options once in this process.

    Locust's worker makes a parser for each option of each `spawn` message, which blocks its event loop for 70 ms.

    Upstream: https://github.com/locustio/locust/blob/2.47.0/locust/runners.py#L1397-L1403 and
    https://github.com/locustio/locust/blob/2.47.0/locust/argument_parser.py#L920-L926
    """
    if not hasattr(locust.argument_parser.default_args_dict, "cache_info"):
        locust.argument_parser.default_args_dict = cache(locust.argument_parser.default_args_dict)


class _CachedForm:
    """A property of Locust's parser, computed again only when options were added: see cache_form_options.

    Upstream: https://github.com/locustio/locust/blob/2.47.0/locust/argument_parser.py#L88-L114
    """

    def __init__(self, name: str, listed: property) -> None:
        self._key = f"_cached_{name}"
        self.listed = listed

    def __get__(self, parser: Any, _: type) -> Any:
        if parser is None:
            return self
        number = len(parser._actions)
        known = vars(parser).get(self._key)
        if known is None or known[0] != number:
            known = vars(parser)[self._key] = number, self.listed.__get__(parser)
        return known[1]


def cache_form_options() -> None:
    """Have Locust's parser list the options of its form once, and again only when it has more options.

    Locust lists them again for each pair of options: with Tokenswarm's, that takes a third of a second for each page
    and each start from it, in which the event loop is blocked.

    Upstream: https://github.com/locustio/locust/blob/2.47.0/locust/argument_parser.py#L88-L114 and
    https://github.com/locustio/locust/blob/2.47.0/locust/argument_parser.py#L938-L961
    """
    parser_class = locust.argument_parser.LocustArgumentParser
    for name in _FORM_PROPERTIES:
        listed = vars(parser_class)[name]
        if not isinstance(listed, _CachedForm):
            setattr(parser_class, name, _CachedForm(name, listed))


def extend_html_report(section: Callable[[], str]) -> None:
    """Insert what `section` returns at the end of Locust's HTML report, as a download and as --html.

    Locust has no hook for its report.

    Upstream: https://github.com/locustio/locust/blob/2.47.0/locust/html.py#L29-L120
    """
    render = locust.html.render_template_from

    def render_with_section(file: str, *arguments: Any, **named: Any) -> str:
        text: str = render(file, *arguments, **named)
        if file != "report.html":
            return text
        before, end, after = text.rpartition("</body>")  # the report's scripts hold the same text in a string
        return before + section() + end + after

    locust.html.render_template_from = render_with_section


class WaitingLogFilter(logging.Filter):
    """Lets Locust log once in ten seconds, not each second, that its master waits for workers; never after `stop`.

    Locust has no option for this, and writes these lines with the root logger.

    Upstream: https://github.com/locustio/locust/blob/2.47.0/locust/main.py#L536-L559
    """

    MESSAGE = "Waiting for workers to be ready, "
    INTERVAL_S = 10.0

    def __init__(self, clock_s: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock_s = clock_s
        self._logged_s = -inf

    def attach(self) -> None:
        """Filter what the root logger itself logs from now on."""
        logging.getLogger().addFilter(self)

    def detach(self) -> None:
        """Filter no more."""
        logging.getLogger().removeFilter(self)

    def stop(self) -> None:
        """The master quits: it no longer waits."""
        self._logged_s = inf

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether this line is logged."""
        if not str(record.msg).startswith(self.MESSAGE) or record.levelno < logging.INFO:
            return True
        now_s = self._clock_s()
        if now_s - self._logged_s < self.INTERVAL_S:
            return False
        self._logged_s = now_s
        return True


class HeldPageLine(logging.Filter):
    """Holds back the line with the address of Locust's page until `release`.

    Locust logs it before its init event, whose listeners may yet end the process.

    Upstream: https://github.com/locustio/locust/blob/2.47.0/locust/main.py#L466-L505
    """

    LOGGER = "locust.main"
    LINE = "Starting web interface at "

    def __init__(self) -> None:
        super().__init__()
        self._held: logging.LogRecord | None = None

    def attach(self) -> None:
        """Wait for the line from now on."""
        logging.getLogger(self.LOGGER).addFilter(self)

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether this line is logged now."""
        if not record.getMessage().startswith(self.LINE):
            return True
        self._held = record
        return False

    def release(self) -> None:
        """Log the line, if it has come, and hold none any more."""
        logger = logging.getLogger(self.LOGGER)
        logger.removeFilter(self)
        held, self._held = self._held, None
        if held is not None:
            logger.handle(held)
