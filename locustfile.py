"""What a run is made of: the users, one shape, the recorder and what shows its figures.

    locust -f locustfile.py --headless -H http://gpu:8000 --engine vllm

Bad options end in one sentence: on the command line with exit code 2, in the web page with the run not begun.
"""

import logging
import sys
from math import isinf

from locust import events
from locust.argument_parser import default_args_dict
from locust.runners import WorkerRunner

import metrics.early_interrupt  # first: what follows takes a second or two to import
import metrics.options
import reports.options
import shapes.options
import users.options
from metrics import transport
from metrics.exit_codes import EXIT_INTERRUPTED, INTERRUPTED_EARLY
from metrics.hooks import Recording
from metrics.listening import choose_ports
from metrics.run import RunFacts
from metrics.stage import Stage
from options import CommandLine, Given, collect_errors, refuse
from page.mount import WebPage
from page.options import WebOptions, is_web_option, turn_on_login
from page.options import add_options as add_page_options
from reports.judge import Judge
from reports.sink import TerminalSink
from shapes.own_code import check_own_code
from shapes.plan import Level
from shapes.run_shape import RunShape
from users.address import base_url
from users.chat import ChatUser, SystemPromptChatUser
from users.hooks import Crew

logger = logging.getLogger("tokenswarm")
EXIT_BAD_SETUP = 2

judge = Judge()
recording = Recording(events, sinks=[TerminalSink(judge)], judge=judge)
crew = Crew(events)


def check_start(environment, options, host):
    """What would refuse a run that is asked for from the page."""
    check_run(options, host)
    crew.check(options, host, environment, modes_of(options), wait=False)


page = WebPage(recording.live, check_start)


def stage_of(level: Level) -> Stage:
    """The shape's level as the recorder knows it."""
    level_time_s = None if isinf(level.level_time_s) else level.level_time_s
    return Stage(level.stage, level.system_prompt, str(level.users), level.users, level.ramp_s, level_time_s)


RunShape.user_classes = {"off": ChatUser, "on": SystemPromptChatUser}
RunShape.on_level = staticmethod(lambda level: recording.begin_stage(stage_of(level)))
RunShape.on_end = staticmethod(recording.end_plan)


def complete(given: Given) -> None:
    """What follows from the options that were given."""
    if not given.options.worker:
        shapes.options.check_conflicts(given.options, given.sources)
    shapes.options.choose_free_shape(given.options)
    turn_on_login(given.options)
    if given.options.host:
        given.options.host = base_url(given.options.host)


def check(given: Given) -> None:
    """Everything that the options can be wrong about, before Locust forks. A worker has its master's plan, no page, and
    no port."""
    options = given.options
    transport.install(options.cluster_key_file)
    if options.worker or options.list_commands or options.show_task_ratio or options.show_task_ratio_json:
        return
    recording.forks_workers = bool(options.processes)
    recording.metrics_port_given = "metrics_port" in given.sources
    try:
        with collect_errors() as errors:
            command_line.notices += errors.of(choose_ports, given) or []
            errors.of(check_run, options, options.host or "")
            if not options.headless:
                errors.of(WebOptions.of, options)
    except KeyboardInterrupt:
        end_interrupted()


def check_run(options, host):
    """What the options of a run can be wrong about, its server left aside."""
    with collect_errors() as errors:
        plan = errors.of(plan_of, options)
        errors.of(shapes.options.pauses_of, options)
        judging = errors.of(reports.options.JudgingOptions.of, options)
        if plan and judging:
            errors.of(judge.prepare, judging, plan)
        errors.of(recording.check, options)
        errors.of(crew.check_options, options, host)


def plan_of(options) -> list[Stage]:
    return [stage_of(level) for level in shapes.options.plan_of(options)]


def modes_of(options) -> set[str]:
    """The plan's system-prompt modes."""
    return {stage.system_prompt for stage in plan_of(options)}


command_line = CommandLine(complete, check)


@events.init_command_line_parser.add_listener
def add_options(parser, **_):
    users.options.add_options(parser)
    shapes.options.add_options(parser)
    metrics.options.add_options(parser)
    reports.options.add_options(parser)
    add_page_options(parser)
    # A line each five seconds instead of Locust's table each two; and a page that nobody else's machine sees.
    parser.set_defaults(only_summary=True, web_host="127.0.0.1")
    command_line.attach(parser)


@events.init.add_listener
def prepare(environment, **_):
    """What can be wrong is found now, before a run begins. A worker has no plan of its own, and no page."""
    options = environment.parsed_options
    on_worker = isinstance(environment.runner, WorkerRunner)
    try:
        for notice in command_line.notices:
            logger.warning("%s", notice)
        recording.on_late_stage = lambda: begin_run(environment)
        recording.attach(environment)
        recording.request_admission()
        if not on_worker:
            check_own_code(environment, modes_of(options))
        crew.attach(environment)
        if not on_worker:
            page.attach(environment)
        if environment.web_ui:
            crew.send_key_only_to([environment.host, *page.allowed_targets], options)
        if options.headless and not on_worker:
            crew.check(options, environment.host, environment, modes_of(options))
        recording.join()
    except ValueError as error:
        if on_worker:
            recording.refuse_run(str(error))
        refuse(error)
    except KeyboardInterrupt:
        end_interrupted()


def end_interrupted():
    """Ctrl-C before there is a run."""
    print(INTERRUPTED_EARLY, file=sys.stderr)
    sys.exit(EXIT_INTERRUPTED)


@events.test_start.add_listener
def begin_run(environment, **_):
    if environment.runner is None:
        return  # a worker that joins in mid-run is told to spawn users while it still connects: its stage comes later
    shape = environment.shape_class
    try:
        if not isinstance(environment.runner, WorkerRunner):
            recording.await_workers()
            drain_s, _settle_s = shapes.options.pauses_of(environment.parsed_options)
            facts = crew.facts(environment, modes_of(environment.parsed_options))
            most_users = max(level.users for level in shapes.options.plan_of(environment.parsed_options))
            checks = crew.self_checks(environment, most_users)
            plan = [stage_of(level) for level in shape.begin()]
            judge.prepare(reports.options.JudgingOptions.of(environment.parsed_options), plan)
            recording.begin_run(
                RunFacts(**facts, shape=environment.parsed_options.shape, plan=plan, options=own_options(environment)),
                checks,
                drain_s,
            )
            crew.watch_server(environment, facts["engine"], recording)
            crew.allow_drain(environment, drain_s)
        if recording.recorder is not None:
            crew.begin(environment, recording.recorder)
    except ValueError as error:
        logger.error("Run not started: %s", error)
        page.refuse(str(error))
        environment.process_exit_code = EXIT_BAD_SETUP
        if isinstance(environment.runner, WorkerRunner):
            recording.refuse_run(str(error))
        elif shape is not None:
            shape.refuse()


@events.test_stop.add_listener
def end_run(environment, **_):
    if isinstance(environment.shape_class, RunShape):
        environment.shape_class.end()


def own_options(environment):
    """Tokenswarm's options as they stand, for run.json."""
    others = {*default_args_dict(), users.options.KEY_SERVERS}
    options = vars(environment.parsed_options)
    return {name: value for name, value in options.items() if name not in others and not is_web_option(name)}
