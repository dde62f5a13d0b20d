"""How a process ends its part of a run: what its first interrupt does, and what the next ones shorten.

The first: no more requests; streams may end for --stop-timeout, and are then cut; the results are completed. The
second: streams are cut now. The third: a master does not wait any longer for workers' final reports. Whatever comes
then, what is known is written; SIGKILL alone prevents that (and `tokenswarm recover` makes up for it).
"""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Callable

import gevent
from greenlet import greenlet
from locust.runners import Runner, WorkerRunner

from tokenswarm.cluster.master_link import MasterLink
from tokenswarm.cluster.worker_link import WorkerLink
from tokenswarm.command_line import refuse
from tokenswarm.command_line.exit_codes import EXIT_INTERRUPTED, INTERRUPTED_EARLY
from tokenswarm.run_control.interrupts import Interrupts

logger = logging.getLogger(__name__)

#: A wrapper that ends the whole group gives the master this long to say that the run ends.
_MASTER_FIRST_S = 1.0
#: Users that a stopping run has yet to stop are looked for so long, and so often.
_ABORT_S = 5.0
_POLL_S = 0.1


class Endings:
    """Of one process. run_began: whether a run of it has a folder; stopping: whether its run is being stopped, by
    whomever."""

    def __init__(self) -> None:
        self.interrupts = Interrupts(self._interrupted)
        self.run_began = self.stopping = False
        self._quitting = False
        self._runner: Runner
        self._main: greenlet
        self._headless = self._forked = False
        self._refused: SystemExit | None = None
        self._worker_link: WorkerLink | None = None
        self._master_link: MasterLink | None = None

    def attach(
        self,
        runner: Runner,
        headless: bool,
        worker_link: WorkerLink | None,
        master_link: MasterLink | None,
        forks: bool = False,
    ) -> None:
        """At Locust's init, in its main greenlet. forks: whether this process is, or was forked by, a master with
        workers of its own."""
        self._runner, self._main, self._headless = runner, gevent.getcurrent(), headless
        self._forked = forks and worker_link is not None
        self._worker_link, self._master_link = worker_link, master_link
        self._take_over()

    def ready(self, check: Callable[[], None]) -> None:
        """At the end of Locust's init: it sets a handler of its own for SIGTERM before its main greenlet next waits.
        check: called then, and before a run can begin; raises ValueError, which ends the process."""
        gevent.spawn(self._when_initialised, check)

    def _when_initialised(self, check: Callable[[], None]) -> None:
        self._take_over()
        try:
            check()
        except ValueError as error:
            try:
                refuse(error)
            except SystemExit as ended:
                self._end_refused(ended)

    def _end_refused(self, ended: SystemExit) -> None:
        """End the process with this exit code, its runner first."""
        self._refused = ended
        self._runner.quit()
        # Headless, the runner's end lets Locust's main greenlet go on and end by itself: the hub knows whether it has.
        gevent.get_hub().loop.run_callback(self._end_main, ended)

    def _end_main(self, ended: SystemExit) -> None:
        """In the hub."""
        if not self._quitting:
            self._main.throw(ended)

    def _take_over(self) -> None:
        if self._forked:
            # Ctrl-C goes to the whole group: the master lets its workers know of the end.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            self.interrupts.take_over((signal.SIGTERM,))
        else:
            self.interrupts.take_over()

    def quitting(self) -> None:
        """The process is about to end. Raises SystemExit where it was refused before a run."""
        self._quitting = True
        self._take_over()  # Locust sets its own when a headless run is over
        if self._refused is not None:
            raise self._refused

    def stop(self) -> None:
        """End the run, as its plan's end would."""
        # Headless, Locust's main greenlet waits for the shape and then ends the run.
        shape = self._runner.shape_greenlet if self._headless else None
        if shape is not None:
            shape.kill(block=False)
        else:
            self._runner.stop()

    def abort(self) -> None:
        """End the run now, its streams cut."""
        gevent.spawn(self.stop)
        for _ in range(round(_ABORT_S / _POLL_S)):
            self._shorten(2)
            if self._master_link is not None or not self._runner.user_count:
                return
            gevent.sleep(_POLL_S)

    def _interrupted(self, count: int) -> None:
        if isinstance(self._runner, WorkerRunner):
            self._interrupt_worker(count)
        elif not self._headless:
            self._interrupt_page(count)
        elif self._runner.shape_greenlet is None and not self.stopping:
            self._interrupt_early(count)
        elif count == 1 and not self.stopping:
            self._announce_stop()
            self.stop()
        else:
            self._shorten(count)

    def _announce_stop(self) -> None:
        """What the first interrupt of a headless run ends, which may be its preparation, such as the self-check."""
        if not self.run_began:
            print(INTERRUPTED_EARLY, file=sys.stderr)
            return
        parsed = self._runner.environment.parsed_options
        if stop_timeout_s := float((parsed and parsed.stop_timeout) or 0.0):
            logger.info(
                "Stopping the run: open requests may end within %g s (--stop-timeout), then its results are written. "
                "Press Ctrl-C again to cut these requests now",
                stop_timeout_s,
            )
        else:
            logger.info(
                "Stopping the run: open requests are cancelled and the results are written. With --stop-timeout, open "
                "requests get time to end"
            )

    def _interrupt_early(self, count: int) -> None:
        """Before its shape starts, Locust answers an interrupt with a traceback, and leaves workers waiting for it."""
        if count == 1:
            print(INTERRUPTED_EARLY, file=sys.stderr)
            self._runner.quit()
            # Meanwhile the run may have begun after all: it has a folder then, and ends like any other.
            if not self.run_began:
                gevent.kill(self._main, SystemExit(EXIT_INTERRUPTED))
            elif self._runner.shape_greenlet is not None:
                self.stop()

    def _interrupt_page(self, count: int) -> None:
        """A page's process serves until it is interrupted: Locust's main greenlet then ends it."""
        if self._quitting or count > 1:
            self._shorten(count)
            return
        environment, shape = self._runner.environment, self._runner.shape_greenlet
        assert environment.parsed_options is not None and environment.web_ui is not None
        autostarted, environment.parsed_options.autostart = environment.parsed_options.autostart, False
        if autostarted and shape is not None and not shape.dead:
            # With --autostart the main greenlet waits for the shape first. It takes a KeyboardInterrupt there for the
            # run's end alone, and then waits for the page, unless --autostart is off and the page is stopped.
            shape.kill(block=False)
            environment.web_ui.stop()  # type: ignore[no-untyped-call]
        else:
            gevent.kill(self._main, KeyboardInterrupt)

    def _interrupt_worker(self, count: int) -> None:
        assert self._worker_link is not None
        if self._forked and count == 1:
            gevent.sleep(_MASTER_FIRST_S)
            if self._worker_link.ends:
                return
        if not self._quitting and count == 1:
            gevent.kill(self._main, KeyboardInterrupt)
        elif count > 1:
            self._worker_link.cancel_streams()

    def _shorten(self, count: int) -> None:
        if self._master_link is None:
            self._runner.user_greenlets.kill(block=False)
        elif count <= 2:
            self._master_link.cancel_streams()
        else:
            self._master_link.stop_waiting()
