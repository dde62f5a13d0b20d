"""Completes and checks what the command line or the page's form holds, across all packages."""

from __future__ import annotations

from argparse import Namespace

import reports.options
import shapes.options
from metrics import transport
from metrics.hooks import Recording
from metrics.listening import choose_ports
from options import Given, collect_errors
from page.options import WebOptions, turn_on_login
from reports.judge import Judge
from startup.plans import plan_of
from users.address import base_url
from users.hooks import Crew


class StartChecks:
    """The checks of one process. notices: sentences to log once logging is set up."""

    def __init__(self, judge: Judge, recording: Recording, crew: Crew) -> None:
        self._judge = judge
        self._recording = recording
        self._crew = crew
        self.notices: list[str] = []

    def complete(self, given: Given) -> None:
        """Fill in what follows from the options that were given. Raises PlanError, OptionErrors for those that exclude
        each other."""
        options = given.options
        if not options.worker:
            shapes.options.check_conflicts(options, given.sources)
        shapes.options.choose_free_shape(options)
        turn_on_login(options)
        if options.host:
            options.host = base_url(options.host)

    def check(self, given: Given) -> None:
        """Everything that the options can be wrong about, before Locust forks. A worker has its master's plan, no page,
        and no port. Raises ValueError."""
        options = given.options
        transport.install(options.cluster_key_file)
        if options.worker or options.list_commands or options.show_task_ratio or options.show_task_ratio_json:
            return
        self._recording.forks_workers = bool(options.processes)
        self._recording.metrics_port_given = "metrics_port" in given.sources
        with collect_errors() as errors:
            self.notices += errors.of(choose_ports, given) or []
            errors.of(self.check_run, options, options.host or "")
            if not options.headless:
                errors.of(WebOptions.of, options)

    def check_run(self, options: Namespace, host: str) -> None:
        """What the options of a run can be wrong about, its server left aside. Raises ValueError."""
        with collect_errors() as errors:
            plan = errors.of(plan_of, options)
            errors.of(shapes.options.pauses_of, options)
            judging = errors.of(reports.options.JudgingOptions.of, options)
            if plan and judging:
                errors.of(self._judge.prepare, judging, plan)
            errors.of(self._recording.check, options)
            errors.of(self._crew.check_options, options, host)
