"""What a run is made of: the users, one shape, the recorder and what shows its figures.

    locust -f locustfile.py --headless -H http://gpu:8000 --engine vllm

Bad options end in one sentence: on the command line with exit code 2, in the web page with the run not begun.
"""

import logging
import os
import signal
import sys
from math import isinf

from locust import events
from locust.argument_parser import default_args_dict
from locust.runners import WorkerRunner

import metrics.options
import reports.options
import shapes.options
import users.options
from metrics import transport
from metrics.hooks import Recording
from metrics.master_port import check_master_port
from metrics.protocol import FORKED_CLUSTER
from metrics.run import EXIT_INTERRUPTED, INTERRUPTED_EARLY, RunFacts
from metrics.stage import Stage
from page.mount import WebPage
from page.options import add_options as add_page_options
from page.options import is_web_option, login_when_password_given
from reports.judge import Judge
from reports.sink import TerminalSink
from shapes.plan import Level
from shapes.run_shape import RunShape
from users.chat import ChatUser, SystemPromptChatUser
from users.hooks import Crew

logger = logging.getLogger("tokenswarm")
EXIT_BAD_SETUP = 2

judge = Judge()
recording = Recording(events, sinks=[TerminalSink(judge)], judge=judge)
crew = Crew(events)


def check_start(environment, options, host):
    """What would refuse a run that is asked for from the page."""
    plan = [stage_of(level) for level in shapes.options.plan_of(options)]
    shapes.options.pauses_of(options)
    judge.prepare(reports.options.JudgingOptions.of(options), plan)
    recording.check(options)
    crew.check(options, host, environment, wait=False)


page = WebPage(recording.live, check_start)


def stage_of(level: Level) -> Stage:
    """The shape's level as the recorder knows it."""
    level_time_s = None if isinf(level.level_time_s) else level.level_time_s
    return Stage(level.stage, level.system_prompt, str(level.users), level.users, level.ramp_s, level_time_s)


RunShape.user_classes = {"off": ChatUser, "on": SystemPromptChatUser}
RunShape.on_level = staticmethod(lambda level: recording.begin_stage(stage_of(level)))
RunShape.on_end = staticmethod(recording.end_plan)


def end_at_once_when_interrupted():
    """A forked worker that a Ctrl-C meets before it is set up has nothing to lose and nothing to tell: the terminal
    sends it to the whole group, and the master answers for all."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, lambda *_: os._exit(EXIT_INTERRUPTED))


os.register_at_fork(after_in_child=end_at_once_when_interrupted)


@events.init_command_line_parser.add_listener
def add_options(parser, **_):
    users.options.add_options(parser)
    shapes.options.add_options(parser)
    metrics.options.add_options(parser)
    reports.options.add_options(parser)
    add_page_options(parser)
    login_when_password_given(parser)
    show_chosen_shape(parser)
    parser.set_defaults(only_summary=True)  # a line each five seconds instead of Locust's table each two
    bind_to_this_machine(parser)
    prepare_to_fork(parser)


def show_chosen_shape(parser):
    """The page's form shows the shape that the command line selects."""
    options, _ = parser.parse_known_args()
    if shapes.options.is_free(options):
        parser.set_defaults(shape="free")


def bind_to_this_machine(parser):
    """Locust listens on all addresses unless told otherwise. Here nobody else's machine sees the page, nor the port for
    workers where --processes forks them (who then know which it is); --master is to be reached from others."""
    parser.set_defaults(web_host="127.0.0.1")
    options, _ = parser.parse_known_args()
    if options.processes and not options.worker:
        parser.set_defaults(master_bind_host="127.0.0.1", master_port=options.master_bind_port, cluster=FORKED_CLUSTER)


def prepare_to_fork(parser):
    """Locust forks before it tells of anything else. Its page asks for the options again and again: a port is tried
    once, and prompts that were loaded are kept."""
    options, _ = parser.parse_known_args()
    recording.forks_workers = bool(options.processes and not options.worker)
    try:
        transport.install(options.cluster_key_file)
        if options.master or recording.forks_workers:
            check_master_port(options.master_bind_host, options.master_bind_port)
        if options.processes:
            crew.load(options)
    except ValueError as error:
        print(f"tokenswarm: {error}", file=sys.stderr)
        sys.exit(EXIT_BAD_SETUP)


@events.init.add_listener
def prepare(environment, **_):
    """What can be wrong is found now, before a run begins. A worker has no plan of its own, and no page."""
    options = environment.parsed_options
    on_worker = isinstance(environment.runner, WorkerRunner)
    try:
        recording.on_late_stage = lambda: begin_run(environment)
        recording.attach(environment)
        recording.request_admission()
        if not on_worker:
            shapes.options.choose_free_shape(options)
            plan = [stage_of(level) for level in shapes.options.plan_of(options)]
            shapes.options.pauses_of(options)
            judge.prepare(reports.options.JudgingOptions.of(options), plan)
        crew.attach(environment)
        if not on_worker:
            page.attach(environment)
        if environment.web_ui:
            crew.send_key_only_to([environment.host, *page.allowed_targets], options)
        if options.headless and not on_worker:
            crew.check(options, environment.host, environment)
        recording.join()
    except ValueError as error:
        print(f"tokenswarm: {error}", file=sys.stderr)
        if on_worker:
            recording.refuse_run(str(error))
        sys.exit(EXIT_BAD_SETUP)
    except KeyboardInterrupt:
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
            facts = crew.facts(environment)
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
        logger.error("The run does not begin: %s", error)
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
