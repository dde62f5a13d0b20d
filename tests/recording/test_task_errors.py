"""Errors of tasks in the verdict of a run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.run_fixtures import make_books, make_level, make_reports
from tokenswarm.metrics.objectives import Objectives
from tokenswarm.metrics.timeline import Timeline
from tokenswarm.recording.aggregator import Aggregator
from tokenswarm.recording.server_samples import ServerSamples
from tokenswarm.recording.task_errors import (
    ReportedError,
    TaskErrors,
    hook_error_text,
    listener_error_text,
    task_error_issues,
    task_error_text,
)
from tokenswarm.recording.validity import run_validity
from tokenswarm.run_folder.schema import IssueKind

ROOT = Path(__file__).resolve().parents[2]
TRACEBACK = """
  File "/x/locust/user/task.py", line 344, in run
    self.go()
  File "/home/me/own.py", line 12, in ask
    1 / 0
"""


def test_the_most_frequent_error_is_shown_with_its_place() -> None:
    seldom = {"count": 2, "msg": "other", "traceback": ""}
    frequent = {"count": 30, "msg": "division\nby zero.", "traceback": TRACEBACK}
    errors = TaskErrors.of([seldom, frequent])
    assert (errors.count, errors.example) == (32, "division by zero (own.py, line 12, in ask)")
    assert TaskErrors.of([]).count == 0


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (KeyError("oops"), "KeyError: 'oops'"),
        (ValueError(), "ValueError"),
        (OSError("two\nlines"), "OSError: two\nlines"),
        (ReportedError("on_start of Mine raised KeyError"), "on_start of Mine raised KeyError"),
    ],
)
def test_the_text_of_an_error_has_its_type(error: Exception, text: str) -> None:
    assert task_error_text(error) == text


@pytest.mark.parametrize(
    "raised_in",
    [
        f"{ROOT}/client/own_requests.py",
        "/opt/venv/lib/python3.13/site-packages/tokenswarm/users/streaming_user.py",
        "/usr/lib/python3.12/json/decoder.py",
        "src/gevent/event.pyx",
        "<frozen importlib._bootstrap>",
    ],
)
def test_the_place_is_the_line_of_the_locustfile_and_not_where_a_library_raised(raised_in: str) -> None:
    """The locustfile may be one of the repository's examples."""
    own = TRACEBACK.replace("/home/me/own.py", f"{ROOT}/examples/own.py")
    traceback = f'{own}  File "{raised_in}", line 99, in checked\n    raise\n'
    error = {"count": 1, "msg": "prompt takes a text, got 5", "traceback": traceback}
    assert TaskErrors.of([error]).example == "prompt takes a text, got 5 (own.py, line 12, in ask)"
    alone = {"count": 1, "msg": "no", "traceback": f'  File "{raised_in}", line 99, in checked\n'}
    assert TaskErrors.of([alone]).example.endswith("line 99, in checked)")


def test_an_error_in_a_wait_time_of_locusts_names_the_wait_time_and_no_file_of_locusts() -> None:
    """`between("1", "2")`, say: no line of the locustfile is called."""
    traceback = """
  File "/opt/lib/python3.13/site-packages/locust/user/task.py", line 444, in wait_time
    return self.user.wait_time()
  File "/opt/lib/python3.13/site-packages/locust/user/wait_time.py", line 20, in <lambda>
"""
    errors = TaskErrors.of([{"count": 1, "msg": "unsupported operand", "traceback": traceback}])
    assert errors.example == (
        "unsupported operand (in wait_time of a user class: its values must be numbers of seconds)"
    )


def test_a_run_whose_tasks_raised_errors_is_suspect(timeline: Callable[..., Timeline]) -> None:
    books = make_books([timeline([2.5, 3.0], sent_s=2.2)], level=make_level(users=1, level_time_s=10.0))
    books.close(10.0)
    before = run_validity(books, ServerSamples(), None)
    books.task_errors = TaskErrors(3, "division by zero")
    found = run_validity(books, ServerSamples(), None)
    assert IssueKind.TASK_ERRORS not in {issue.kind for issue in before.issues}
    (issue,) = [issue for issue in found.issues if issue.kind == IssueKind.TASK_ERRORS]
    assert (found.verdict, issue.values) == ("suspect", {"errors": 3})


def test_a_run_that_was_stopped_before_any_hold_has_measured_nothing(timeline: Callable[..., Timeline]) -> None:
    level = make_level(users=2, ramp_s=4.0, level_time_s=10.0)
    books = Aggregator(Objectives())
    books.begin_level(level, 0.0)
    for report in make_reports([timeline([0.5, 0.9], sent_s=0.2)], [level]):
        books.apply(report)
    books.stop(1.0, interrupted=True)
    books.close(1.0)
    assert IssueKind.NOTHING_MEASURED in {issue.kind for issue in run_validity(books, ServerSamples(), None).issues}


def test_users_that_cannot_be_created_are_the_only_reason_that_they_are_missing() -> None:
    text = "W cannot be created: ValueError: no config file (own.py, line 7, in __init__)"
    books = make_books([], level=make_level(users=4, ramp_s=0.0, level_time_s=10.0))
    books.levels[0].user_seconds.update(dict.fromkeys(range(10), 2.0))
    books.task_errors = TaskErrors.of([{"count": 2, "msg": text, "traceback": TRACEBACK}])
    books.close(10.0)
    found = {issue.kind: issue for issue in run_validity(books, ServerSamples(), None).issues}
    assert IssueKind.TASK_ERRORS not in found
    assert found[IssueKind.USERS_NOT_CREATED].values == {"errors": 2}
    assert found[IssueKind.USERS_NOT_CREATED].message.startswith(f"{text}, 2 times")
    assert found[IssueKind.FEWER_USERS].message.endswith(f"): {text}")


def test_errors_of_listeners_are_no_errors_of_tasks_and_no_reason_for_missing_requests() -> None:
    def ask() -> None:
        try:
            raise KeyError("x")
        except KeyError as error:
            texts.append(listener_error_text("count", "request_timed", error))

    texts: list[str] = []
    ask()
    (text,) = texts
    assert text.startswith("the listener count of request_timed raised KeyError: 'x' (test_task_errors.py, line ")
    errors = TaskErrors.of([{"count": 7, "msg": text, "traceback": TRACEBACK}])
    (issue,) = task_error_issues(errors)
    assert (issue.kind, issue.values) == (IssueKind.LISTENER_ERRORS, {"errors": 7})
    assert f"{text}, 7 times" in issue.message
    assert (errors.count, errors.missing_load, errors.in_words) == (0, False, f"{text}, 7 times")


def test_errors_of_on_start_and_on_stop_are_named_for_what_they_are() -> None:
    errors = []
    for hook in ("on_start", "on_stop"):
        try:
            raise ValueError("no login")
        except ValueError as error:
            errors.append({"count": 2, "msg": hook_error_text(hook, "Mine", error), "traceback": TRACEBACK})
    found = TaskErrors.of(errors)
    started, stopped = task_error_issues(found)
    assert (started.kind, started.values) == (IssueKind.USERS_NOT_STARTED, {"errors": 2})
    assert (stopped.kind, stopped.values) == (IssueKind.ON_STOP_ERRORS, {"errors": 2})
    assert started.message.startswith("on_start of Mine raised ValueError: no login (test_task_errors.py, line ")
    assert (found.count, found.missing_load, found.missing_users) == (0, True, str(found))
    assert "tasks" not in found.in_words and "on_stop of Mine raised" in found.in_words
    only_stopped = TaskErrors.of(errors[1:])
    assert (only_stopped.missing_load, only_stopped.missing_users) == (False, "")


@pytest.mark.parametrize(
    "kind",
    [
        "on_start of {} raised KeyError: 'x' (own.py, line 7, in on_start)",
        "on_stop of {} raised KeyError: 'x' (own.py, line 7, in on_stop)",
        "{} cannot be created: KeyError: 'x' (own.py, line 7, in __init__)",
        "the listener {} of request_timed raised KeyError: 'x' (own.py, line 7, in count)",
    ],
)
def test_each_of_several_kinds_has_its_own_number(kind: str) -> None:
    """One of two processes, too: both raise the same, and their tracebacks may differ."""
    raised = {"A": 4, "B": 30, "C": 1, "D": 1, "E": 1}
    kinds = [{"count": count, "msg": kind.format(name), "traceback": ""} for name, count in raised.items()]
    found = TaskErrors.of([*kinds, kinds[0] | {"traceback": TRACEBACK}])
    (issue,) = task_error_issues(found)
    a, b, c = (kind.format(name) for name in "ABC")
    assert issue.values == {"errors": 41}
    assert issue.message.startswith(f"{b}, 30 times; {a}, 8 times; {c}, once; and 2 other errors: what ")
    assert f"{b}" in found.in_words and f"{a}" in found.in_words


@pytest.mark.parametrize("event", ["request", "test_start", "an event"])
def test_errors_of_listeners_to_any_event_are_listeners(event: str) -> None:
    text = listener_error_text("Mine.count", event, KeyError("x"))
    assert TaskErrors.of([{"count": 1, "msg": text, "traceback": ""}]).listeners.count == 1
