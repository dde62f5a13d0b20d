"""From options to a run, inside Locust: the command line is read and checked, a node is prepared, a run is started."""

from __future__ import annotations

import logging
import sys
from argparse import Namespace
from functools import partial
from typing import Any

from locust.env import Environment
from locust.runners import MasterRunner, WorkerRunner

from tokenswarm.client.request_options import ChatOptions
from tokenswarm.client.session_seconds import session_seconds
from tokenswarm.cluster import transport
from tokenswarm.cluster.master_port import check_master_address
from tokenswarm.command_line import (
    CommandLine,
    Given,
    collect_errors,
    option_defaults,
    sentences_of,
    show_refusal,
)
from tokenswarm.command_line.exit_codes import EXIT_INTERRUPTED, EXIT_UNUSABLE, INTERRUPTED_EARLY
from tokenswarm.engines import load_engines_of_packages
from tokenswarm.reports.checks.run_checks import RunChecks
from tokenswarm.run_control.capacity_control import CapacityControl
from tokenswarm.run_control.load_end import end_load
from tokenswarm.run_control.own_options import (
    changed_for_shapes,
    check_own_options,
    check_streaming_users,
    prompts_of_own_code,
    take_own_host,
)
from tokenswarm.run_control.plan_text import plan_text
from tokenswarm.run_control.recording_hooks import Recording
from tokenswarm.run_control.refused_start import end_before_users, late_begin, refuse_process
from tokenswarm.run_control.run_inputs import RunInputs
from tokenswarm.run_control.run_parser import add_run_options
from tokenswarm.run_control.run_plan import RunPlan, level_of, run_options
from tokenswarm.run_control.run_watch import RunWatch
from tokenswarm.run_control.start_checks import check_command_line, check_run, complete_options, shows_stats_tables
from tokenswarm.run_control.stray_words import check_named_classes
from tokenswarm.run_control.user_creation import report_failed_users
from tokenswarm.run_folder.schema import RunFacts
from tokenswarm.shapes.class_weights import check_weights, idle_class_notices
from tokenswarm.shapes.own_code import (
    adopt_own_code,
    check_modes,
    check_own_classes,
    check_shape,
    check_tags,
    chosen_classes,
    foresee_own_code,
    own_code_facts,
    own_names,
)
from tokenswarm.shapes.plan import OWN_USERS, LoadPlan, PlannedLevel
from tokenswarm.shapes.run_shape import RunShape
from tokenswarm.shapes.task_tags import TagChoice
from tokenswarm.target.server_detection import ReadyServer
from tokenswarm.upstream.loaded_locustfiles import loaded_classes
from tokenswarm.upstream.locust_files import end_without_html_file, keep_log_going
from tokenswarm.upstream.locust_internals import HeldPageLine
from tokenswarm.upstream.locust_log_filters import (
    EventErrorFilter,
    IgnoredOptionsFilter,
    RoutineLogFilter,
    StatsTablesFilter,
    TaskErrorFilter,
)
from tokenswarm.users.changed_users import check_unchanged
from tokenswarm.users.listener_errors import enter_those_of_master
from tokenswarm.users.load_senders import sends_from_here
from tokenswarm.users.run_lifecycle import RunLifecycle
from tokenswarm.web.locust_page import WebPage

logger = logging.getLogger("tokenswarm")


class RunStart:
    """Of one process. Wrong options end in one sentence: on the command line with exit code 2, on the page with the run
    not started."""

    def __init__(self, recording: Recording, checks: RunChecks, lifecycle: RunLifecycle) -> None:
        self._recording, self._checks, self._lifecycle = recording, checks, lifecycle
        self._search = CapacityControl(recording.controller)
        self._page = WebPage(recording.live, self._check_run, self._find_server, plan_text)
        self._command_line = CommandLine(complete_options, self._check_command_line)
        self._ignored_options = IgnoredOptionsFilter()
        self._page_line = HeldPageLine()
        self._notices: list[str] = []
        #: Of each option of the command line, by its name.
        self._defaults: dict[str, Any] = {}
        #: Of the run that begins next, or goes on.
        self._plan: RunPlan | None = None
        #: The options when they were last checked.
        self._inputs: RunInputs | None = None
        self._watch = RunWatch()
        #: Of the run that goes on.
        self._environment: Environment | None = None
        #: As detected right before the run that starts next, None where that is left to the run itself.
        self._server: ReadyServer | None = None

    # Listeners and callbacks of Locust, in the order of their first call.

    def add_options(self, parser: Any, **_: Any) -> None:
        """At init_command_line_parser."""
        add_run_options(parser)
        self._defaults = option_defaults(parser)
        self._command_line.attach(parser)
        self._ignored_options.attach()

    def prepare(self, environment: Environment, **_: Any) -> None:
        """At init: find what is wrong before a run starts. A worker has no plan of its own, and no page."""
        on_worker = isinstance(environment.runner, WorkerRunner)
        RoutineLogFilter.attach()
        TaskErrorFilter.attach()
        EventErrorFilter.attach()
        enter_those_of_master(environment)
        keep_log_going()
        end_without_html_file()
        if not shows_stats_tables(self._command_line.given):
            StatsTablesFilter().attach()
        warnings = [*self._command_line.notices, *load_engines_of_packages()]
        if not (on_worker and self._recording.forks_workers):  # the master has the same, and logs them
            for warning in warnings:
                logger.warning("%s", warning)
            for notice in self._notices:
                logger.info("%s", notice)
        try:
            self._prepare(environment, on_worker)
        except ValueError as error:
            refuse_process(self._recording, error)
        except KeyboardInterrupt:
            print(INTERRUPTED_EARLY, file=sys.stderr)
            sys.exit(EXIT_INTERRUPTED)

    def plan_run(self, environment: Environment) -> LoadPlan:
        """The shape begins a run, with the options as they are now: they are parsed here and nowhere after. Raises
        ValueError."""
        assert environment.parsed_options is not None
        try:
            self._plan = RunPlan.of(environment.parsed_options)
        except ValueError as error:
            self.refuse(environment, error)
            raise
        self._inputs = RunInputs.of(environment, self._defaults)
        return self._plan.load

    def begin(self, environment: Environment, **_: Any) -> None:
        """At test_start, and on a worker that joins during a run when it has learned of the level. Where the run is
        refused, it raises what keeps Locust from spawning users."""
        if environment.runner is None:
            return  # such a worker gets its users while it still connects
        on_worker = isinstance(environment.runner, WorkerRunner)
        try:
            self._check_own_code(environment)
            if not on_worker:
                self._begin_run(environment)
            if self._recording.recorder is not None:
                self._lifecycle.begin(environment, self._recording.recorder, self._recording.controller.process.share)
        except ValueError as error:
            self.refuse(environment, error)
            end_before_users(environment.runner)
        except Exception as error:  # a defect: Locust would log it, and wait for ever for a run that never begins
            logger.exception("The run cannot begin")
            self.refuse(environment, ValueError(f"a defect of Tokenswarm: {type(error).__name__}: {error}"))
            end_before_users(environment.runner)
        else:
            self._inputs = RunInputs.of(environment, self._defaults)
            self._watch.begin(lambda: self._check_own_code(environment), self._recording.abort_run)

    def refuse(self, environment: Environment, error: ValueError) -> None:
        """End a run that cannot begin, and say why: on the standard error, or in the log and on the page."""
        options, shape = environment.parsed_options, environment.shape_class
        on_worker = isinstance(environment.runner, WorkerRunner)
        on_page = options is not None and not (options.headless or options.autostart or on_worker)
        if options is not None and options.headless and not on_worker:
            show_refusal(error)
        else:
            for sentence in sentences_of(error):
                logger.log(logging.WARNING if on_page else logging.ERROR, "Run not started: %s", sentence)
            if not on_worker:
                self._page.refuse(error)
        if not on_page:  # which serves on, and other runs are started there
            environment.process_exit_code = EXIT_UNUSABLE
        if isinstance(shape, RunShape) and not on_worker:
            shape.refuse()
        else:
            self._recording.refuse_run(str(error))

    def begin_level(self, level: PlannedLevel) -> None:
        """The shape comes to its next level."""
        assert self._environment is not None
        self._recording.begin_level(self._lifecycle.flushed(self._environment, level_of(level)))

    def end_load(self) -> None:
        """The shape of the locustfile ends the load of the running level."""
        end_load(self._recording.controller)

    def is_level_done(self) -> bool:
        """Whether the running level ends before its time."""
        return self._recording.is_level_done() or self._search.is_probe_decided()

    def next_probe(self) -> PlannedLevel | None:
        """The next level of a capacity search; None where it is over, and in a run without one."""
        return self._search.next_probe()

    def stopping(self, **_: Any) -> None:
        """At test_stopping."""
        self._watch.end()

    def end(self, environment: Environment, **_: Any) -> None:
        """At test_stop."""
        if isinstance(environment.shape_class, RunShape):
            environment.shape_class.end()

    def _check_command_line(self, given: Given) -> None:
        """Before Locust forks. A worker has its master's plan, no page, and no port. Raises ValueError."""
        options = given.options
        transport.install(options.cluster_key_file, log_waiting=bool(options.worker))
        if options.worker and not {"master_host", "master_port"} & set(given.unread):
            check_master_address(options.master_host, options.master_port)
        if options.list_commands:
            return
        user_classes, shapes = loaded_classes(options.locustfile)
        if options.worker or options.show_task_ratio or options.show_task_ratio_json:
            with collect_errors() as errors:
                errors.of(check_named_classes, given, user_classes)
                errors.of(check_weights, chosen_classes(options, user_classes))
            return
        self._recording.forks_workers = bool(options.processes)
        self._recording.metrics_port_given = "metrics_port" in given.sources
        chosen = foresee_own_code(options, user_classes, shapes)
        self._command_line.notices += idle_class_notices(chosen)
        with collect_errors() as errors:
            errors.of(check_named_classes, given, user_classes)
            # Locust says that it starts its page before there is an environment, in which they are checked again.
            errors.of(check_own_classes, chosen, TagChoice.of_options(options))
            errors.of(check_streaming_users, chosen)
            errors.of(check_unchanged, options, own_names(chosen))
            errors.of(check_own_options, options, self._defaults, given.sources)
            notices = errors.of(check_command_line, given)
        self._notices = notices or []
        self._page_line.attach()
        self._recording.other_ports = {options.web_port, options.master_bind_port}

    def _find_server(self, environment: Environment, options: Namespace, host: str) -> None:
        """Before a run that is started from the page. Raises ValueError where its server cannot be used."""
        modes = RunPlan.of(options).modes
        self._server = self._lifecycle.find_server(options, host, environment, modes, wait=False)

    def _prepare(self, environment: Environment, on_worker: bool) -> None:
        options, recording, lifecycle = environment.parsed_options, self._recording, self._lifecycle
        assert options is not None
        recording.on_late_level = late_begin(lambda: self.begin(environment))
        recording.attach(environment)
        recording.request_admission()
        adopt_own_code(environment)
        check_streaming_users(environment.user_classes)
        take_own_host(environment)
        report_failed_users(environment)
        if on_worker:
            lifecycle.attach(environment)
        else:
            check_own_options(options, self._defaults, self._command_line.given.sources)
            plan = RunPlan.of(options)
            check_unchanged(options, own_names(environment.user_classes))
            check_modes(environment, plan.modes)
            lifecycle.attach(environment)
            self._page.attach(environment)
            if environment.web_ui:
                lifecycle.send_key_only_to([environment.host or "", *self._page.allowed_targets], options)
            # Where workers elsewhere send, the server is detected before they are waited for. A process that sends by
            # itself does so when the run begins, as listeners of init and test_start may still make it impossible.
            if options.headless and not sends_from_here(environment):
                self._server = lifecycle.find_server(options, environment.host or "", environment, plan.modes)
        recording.join(lambda: self._check_after_init(environment))

    def _check_after_init(self, environment: Environment) -> None:
        """When all listeners of init have been called, those of a user's own too. A worker is checked when it is given
        users. Raises ValueError."""
        if isinstance(environment.runner, WorkerRunner) or self._recording.is_refused:
            return
        options, shape = environment.parsed_options, environment.shape_class
        assert options is not None
        try:
            check_unchanged(options, own_names(environment.user_classes))
            check_shape(environment)
            check_tags(environment)
            check_modes(environment, self._check_run(options, environment.host or "").modes)
        except ValueError:
            if isinstance(shape, RunShape):
                shape.refuse()  # while workers are let go, Locust may come to its first tick
            raise
        # Last: what other listeners of test_start change is then seen before the run has a folder.
        environment.events.test_start.remove_listener(self.begin)  # type: ignore[no-untyped-call]
        environment.events.test_start.add_listener(self.begin)  # type: ignore[no-untyped-call]
        self._page_line.release()

    def _check_run(self, options: Namespace, host: str) -> RunPlan:
        """As `check_run`, and with the locustfile's own classes."""
        plan, given = check_run(options, host), self._command_line.given
        in_form = changed_for_shapes(options, given.options)
        check_own_options(options, self._defaults, {*given.sources, *in_form})
        return plan

    def _check_own_code(self, environment: Environment) -> None:
        """Whether users, shape and options are those that were checked before. Raises ValueError."""
        assert environment.parsed_options is not None
        check_unchanged(environment.parsed_options, own_names(environment.user_classes), run_started=True)
        if not isinstance(environment.runner, WorkerRunner):
            check_shape(environment)
            if self._inputs is not None:
                self._inputs.check(environment, self._defaults)

    def _begin_run(self, environment: Environment) -> None:
        """Raises ValueError."""
        options, shape, lifecycle = environment.parsed_options, environment.shape_class, self._lifecycle
        plan = self._plan
        assert options is not None and plan is not None and isinstance(shape, RunShape)
        self._recording.await_workers()
        plan.check_workers(environment.runner.worker_count if isinstance(environment.runner, MasterRunner) else 1)
        lifecycle.share_users(environment, plan.most_connections(partial(session_seconds, ChatOptions.of(options))))
        server, self._server = self._server, None
        facts = lifecycle.facts(environment, plan.modes, server)
        self_checks = lifecycle.self_checks(environment, plan.most_users)
        first_level = lifecycle.flushed(environment, plan.levels[0])
        self._environment = environment
        shape.begin()
        self._checks.prepare(plan.checks, plan.levels)
        values, changed = run_options(options, self._defaults)
        own_code = own_code_facts(environment)
        if getattr(options, OWN_USERS, ()):
            facts["prompts"] = prompts_of_own_code(own_code)
        run_facts = RunFacts(
            **facts,
            shape=plan.shape,
            plan=plan.levels,
            options=values,
            changed_options=changed,
            name=plan.recording.name,
            tags=plan.recording.tags,
            own_code=own_code,
        )
        load = plan.load
        self._recording.begin_run(run_facts, plan.recording, self_checks, load.drain_s, load.settle_s, first_level)
        self._search.begin(load.search, plan.levels[-1].index)
        lifecycle.watch_server(environment, facts["engine"], self._recording.server_log)
        lifecycle.allow_drain(environment, load.drain_s)
