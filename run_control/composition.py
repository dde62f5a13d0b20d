"""What a run is made of: the users, one shape, the recording, and what shows its figures.

Importing this module puts them together, once in a process: Tokenswarm's locustfile.py does it, and `from tokenswarm
import StreamingUser` in a locustfile of a user's own.
"""

import tokenswarm.run_control.early_interrupt

# isort: split
import tokenswarm.run_control.early_arguments  # noqa: F401  as soon as interrupts are handled

# isort: split
from functools import partial

from locust import events

from tokenswarm.reports.checks.run_checks import RunChecks
from tokenswarm.reports.terminal import TerminalSink
from tokenswarm.run_control.output_queue import queue_output
from tokenswarm.run_control.recording_hooks import Recording
from tokenswarm.run_control.refused_start import refuse_listener
from tokenswarm.run_control.results_upload import ResultsUpload
from tokenswarm.run_control.run_start import RunStart
from tokenswarm.sanitize import guard_output
from tokenswarm.shapes.run_shape import RunShape
from tokenswarm.users.chat import ChatUser, SystemPromptChatUser
from tokenswarm.users.listener_errors import LISTENER_ERRORS
from tokenswarm.users.run_lifecycle import RunLifecycle

queue_output()
guard_output()

checks = RunChecks()
recording = Recording(
    events,
    sinks=[TerminalSink(checks)],
    upload=ResultsUpload(lambda: checks.output),
    check=checks,
    unreliable_because=lambda: checks.unreliable_because,
)
start = RunStart(recording, checks, RunLifecycle(events))
LISTENER_ERRORS.catch(events, partial(refuse_listener, recording))

RunShape.user_classes = {"off": ChatUser, "on": SystemPromptChatUser}
RunShape.plan_run = staticmethod(start.plan_run)
RunShape.on_unusable = staticmethod(start.refuse)
RunShape.on_level = staticmethod(start.begin_level)
RunShape.level_done = staticmethod(start.is_level_done)
RunShape.on_load_end = staticmethod(start.end_load)
RunShape.following = staticmethod(start.next_probe)
RunShape.on_end = staticmethod(recording.end_plan)
RunShape.on_error = staticmethod(recording.abort_run)

events.init_command_line_parser.add_listener(start.add_options)
events.init.add_listener(start.prepare)
events.test_start.add_listener(start.begin)
events.test_stopping.add_listener(start.stopping)
events.test_stop.add_listener(start.end)
