"""What a run is made of: the users, one shape, the recorder and what shows its figures.

    locust -f locustfile.py --headless -H http://gpu:8000 --engine vllm

Bad options end in one sentence: on the command line with exit code 2, in the web page with the run not begun.
"""

import logging
import sys

from locust import events
from locust.runners import WorkerRunner

import metrics.early_interrupt  # first: what follows takes a second or two to import
import metrics.options
import reports.options
import shapes.options
import users.options
from metrics.exit_codes import EXIT_INTERRUPTED, EXIT_UNUSABLE, INTERRUPTED_EARLY
from metrics.hooks import Recording
from metrics.run import RunFacts
from options import CommandLine, refuse
from page.mount import WebPage
from page.options import add_options as add_page_options
from reports.judge import Judge
from reports.sink import TerminalSink
from sanitize import guard_output
from shapes.own_code import check_own_code
from shapes.run_shape import RunShape
from startup import StartChecks, modes_of, plan_of, run_options, stage_of
from users.chat import ChatUser, SystemPromptChatUser
from users.hooks import Crew

logger = logging.getLogger("tokenswarm")

guard_output()
judge = Judge()
recording = Recording(events, sinks=[TerminalSink(judge)], judge=judge)
crew = Crew(events)
checks = StartChecks(judge, recording, crew)
command_line = CommandLine(checks.complete, checks.check)


def check_start(environment, options, host):
    """What would refuse a run that is asked for from the page."""
    checks.check_run(options, host)
    crew.check(options, host, environment, modes_of(options), wait=False)


page = WebPage(recording.live, check_start)


RunShape.user_classes = {"off": ChatUser, "on": SystemPromptChatUser}
RunShape.on_level = staticmethod(lambda level: recording.begin_stage(stage_of(level)))
RunShape.on_end = staticmethod(recording.end_plan)


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
        for notice in command_line.notices + checks.notices:
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
        print(INTERRUPTED_EARLY, file=sys.stderr)
        sys.exit(EXIT_INTERRUPTED)


@events.test_start.add_listener
def begin_run(environment, **_):
    if environment.runner is None:
        return  # a worker that joins in mid-run is told to spawn users while it still connects: its stage comes later
    options, shape = environment.parsed_options, environment.shape_class
    try:
        if not isinstance(environment.runner, WorkerRunner):
            recording.await_workers()
            drain_s, _settle_s = shapes.options.pauses_of(options)
            most_users = max(stage.users for stage in plan_of(options))
            crew.share_users(environment, most_users)
            facts = crew.facts(environment, modes_of(options))
            self_checks = crew.self_checks(environment, most_users)
            plan = [stage_of(level) for level in shape.begin()]
            judge.prepare(reports.options.JudgingOptions.of(options), plan)
            recording.begin_run(
                RunFacts(**facts, shape=options.shape, plan=plan, options=run_options(options)),
                self_checks,
                drain_s,
            )
            crew.watch_server(environment, facts["engine"], recording)
            crew.allow_drain(environment, drain_s)
        if recording.recorder is not None:
            crew.begin(environment, recording.recorder)
    except ValueError as error:
        logger.error("Run not started: %s", error)
        page.refuse(str(error))
        environment.process_exit_code = EXIT_UNUSABLE
        if isinstance(environment.runner, WorkerRunner):
            recording.refuse_run(str(error))
        elif shape is not None:
            shape.refuse()


@events.test_stop.add_listener
def end_run(environment, **_):
    if isinstance(environment.shape_class, RunShape):
        environment.shape_class.end()
