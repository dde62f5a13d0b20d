"""A run that is refused at test_start: Locust goes on from there to spawn users, and must not."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn

import gevent
from gevent import GreenletExit
from locust.exception import StopTest
from locust.runners import STATE_SPAWNING, MasterRunner, Runner, WorkerRunner

from tokenswarm.command_line import refuse
from tokenswarm.command_line.exit_codes import EXIT_UNUSABLE
from tokenswarm.run_control.recording_hooks import Recording


def end_before_users(runner: Runner) -> NoReturn:
    """In a listener of test_start, once the run is refused: end what would spawn users. Raises what ends it, which is
    none of the errors that Locust catches there."""
    if isinstance(runner, WorkerRunner):
        raise StopTest  # WorkerLink drops the message with the users: its greenlet reads all messages, and goes on
    if isinstance(runner, MasterRunner):
        # Here it is the greenlet of the shape, whose next tick would end the run. Locust stops a run that spawns.
        runner.update_state(STATE_SPAWNING)
        if not _is_headless(runner):  # else Locust's main greenlet waits for this one, and stops the run
            gevent.spawn(runner.stop)
    raise GreenletExit


def refuse_listener(recording: Recording, error: str) -> NoReturn:
    """A listener of the locustfile's failed before a run could be started: end the process."""
    refuse_process(recording, ValueError(f"{error}. Mend it there, and start again."))


def refuse_process(recording: Recording, error: ValueError) -> NoReturn:
    """End the process before a run, with the reason said once, whether it is this process's alone or all workers'."""
    if recording.refuse_process(str(error)):
        refuse(error)
    sys.exit(EXIT_UNUSABLE)


def late_begin(begin: Callable[[], object]) -> Callable[[], None]:
    """As a worker calls it that has its users already: nothing is left to end where the run is refused."""

    def begin_late() -> None:
        with suppress(StopTest):
            begin()

    return begin_late


def _is_headless(runner: Runner) -> bool:
    options = runner.environment.parsed_options
    return bool(options and options.headless)
