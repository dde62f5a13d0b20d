"""Errors of listeners of a locustfile's own, to Locust's events and to Tokenswarm's: counted with those of its tasks,
and each listener's logged once."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from traceback import format_tb, walk_tb
from types import TracebackType
from typing import Any, NoReturn

from locust.env import Environment
from locust.event import EventHook
from locust.runners import MasterRunner

from tokenswarm.recording.task_errors import ReportedError, listener_error_text
from tokenswarm.upstream.event_listeners import catch_failed_listeners
from tokenswarm.users.run_events import Listener

logger = logging.getLogger(__name__)
#: What an event of the locustfile's own is called.
_OWN_EVENT = "an event"
#: A process in which a listener of these fails is not what its locustfile says; Locust ends it after the second one.
_BEFORE_RUNS = ("init_command_line_parser", "init")


class ListenerErrors:
    """Of this process."""

    def __init__(self) -> None:
        self._logged: set[tuple[str, str]] = set()

    def catch(self, events: Any, refuse: Callable[[str], NoReturn]) -> None:
        """Report those of listeners to Locust's events, too, from now on. events: Locust's. refuse: ends the process,
        as a listener failed before it was ready."""

        def report(hook: EventHook, listener: Listener, error: Exception | SystemExit) -> bool:
            if not _is_own(listener) or hook is events.user_error:  # to which it would be reported
                return False
            name = next((name for name, each in vars(events).items() if each is hook), _OWN_EVENT)
            if name in _BEFORE_RUNS and not (isinstance(error, SystemExit) and _is_raised_here(error)):
                refuse(listener_error_text(_name(listener), name, error))
            if isinstance(error, SystemExit):
                return False
            self.report(events, listener, error, name)
            return True

        catch_failed_listeners(report)

    def report(self, events: Any, listener: Listener, error: Exception, event: str = "request_timed") -> None:
        """Enter it in Locust's errors, which a worker sends to its master. events: Locust's."""
        name = _name(listener)
        text = listener_error_text(name, event, error)
        if (name, event) not in self._logged:
            self._logged.add((name, event))
            logger.error("%s. Further errors of it are counted, and not logged", text)
        events.user_error.fire(user_instance=None, exception=ReportedError(text), tb=error.__traceback__)


def enter_those_of_master(environment: Environment) -> None:
    """At Locust's init, on a master: it enters what workers send in Locust's errors, and nothing of its own."""
    runner = environment.runner
    if not isinstance(runner, MasterRunner):
        return

    def enter(exception: Exception, tb: TracebackType | None, **_: object) -> None:
        runner.log_exception("master", str(exception), "".join(format_tb(tb)))

    environment.events.user_error.add_listener(enter)  # type: ignore[no-untyped-call]


def _name(listener: Listener) -> str:
    name: str = getattr(listener, "__qualname__", type(listener).__qualname__)
    return name.replace("<locals>.", "")


def _is_raised_here(error: SystemExit) -> bool:
    """Whether Tokenswarm has ended the program, and said why: by a refusal, or by the handler of Ctrl-C."""
    places = [frame.f_globals for frame, _ in walk_tb(error.__traceback__)]
    module, file = (str(places[-1].get(name, "")) for name in ("__name__", "__file__"))
    return module.partition(".")[0] == "tokenswarm" or Path(file).name == "early_interrupt.py"


def _is_own(listener: Any) -> bool:
    """Whether it is none of Locust's and Tokenswarm's own, whose errors are defects."""
    while isinstance(listener, partial):
        listener = listener.func
    module = str(getattr(listener, "__module__", ""))
    return module.partition(".")[0] not in ("locust", "tokenswarm")


LISTENER_ERRORS = ListenerErrors()
