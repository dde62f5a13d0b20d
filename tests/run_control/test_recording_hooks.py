"""The recorder inside a real Locust environment: a local runner, and a master with workers, without any network.

Clocks, sleeps and greenlets of tokenswarm.run_control.recording_hooks are stand-ins: nothing here waits.
"""

from __future__ import annotations

from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import gevent
import gevent.socket
import locust.log
import pytest
from locust.env import Environment
from locust.runners import STATE_RUNNING, STATE_SPAWNING, STATE_STOPPED, LocalRunner

from tests.run_control.recording_bench import (
    FILES,
    VALID,
    Bench,
    Greenlets,
    MakeLevel,
    MakeTimeline,
    fire_request,
    options,
    rows_of,
    told_of,
)
from tokenswarm.command_line.exit_codes import EXIT_INTERRUPTED, EXIT_UNRELIABLE
from tokenswarm.metrics.client_health import ErrorSpread, SelfCheck
from tokenswarm.metrics.level import Arrivals, Level
from tokenswarm.metrics.objectives import ObjectiveError
from tokenswarm.metrics.timeline import Outcome, Timeline
from tokenswarm.recording.journal import Journal, ResultsFolderError, check_folders
from tokenswarm.recording.progress import Progress
from tokenswarm.recording.recording_options import folders_of
from tokenswarm.run_control.recording_hooks import Recording


@pytest.fixture
def request_at(timeline: MakeTimeline) -> MakeTimeline:
    """An answer sent so many seconds after the run began, which was at 1,000 s; a token each 100 ms."""

    def make(sent_s: float, tokens: int = 4, **changes: Any) -> Timeline:
        arrivals_s = [1000 + sent_s + (place + 1) / 10 for place in range(tokens)]
        return timeline(arrivals_s, sent_s=1000 + sent_s, **changes)

    return make


def test_a_run_of_two_levels_leaves_a_complete_folder_with_balanced_books(
    bench: Bench, request_at: MakeTimeline, a_level: MakeLevel
) -> None:
    plan = (a_level(0), a_level(1, users=50, system_prompt="on"))
    bench.begin(*plan)
    bench.fire(request_at(1.0))
    bench.fire(request_at(3.0, outcome=Outcome.STREAM_ERROR))
    bench.fire(request_at(11.8))  # two of its four tokens come in the drain
    bench.at(14.0)
    bench.recording.begin_level(plan[1])
    bench.fire(request_at(17.0, level_index=1, tokens=6))
    bench.at(30.0)
    bench.recording.end_plan()
    bench.stop()

    bench.recording.begin_level(plan[1])  # of a run that has ended meanwhile
    run = told_of(bench.folder, "run.json")
    assert (run["status"], run["shape"], run["workers"], run["host"]) == ("finished", "ladder", 1, "http://gpu:8000")
    assert [level["level"] for level in run["plan"]] == ["10", "50"]
    assert run["ended_at"] >= run["started_at"]
    summary = told_of(bench.folder, "summary.json")
    assert summary["accounting"] == {"ended": 4, "recorded": 4, "rows": 4, "complete": True, "unaccounted": 0}
    assert (summary["status"], summary["validity"]) == ("finished", VALID)
    first, second = summary["levels"]
    assert (first["complete"], first["hold"]["requests"], first["whole"]["requests"]) == (True, 2, 3)
    assert first["hold"]["outcomes"] == {"stream_error": 1, "ok": 1}
    assert first["whole"]["output_tokens"] == pytest.approx(4 + 4 + 1)  # of 11.9 and 12.0 s, the second is late
    assert (second["complete"], second["hold"]["output_tokens"]) == (True, pytest.approx(6))
    rows = rows_of(bench.folder, "requests.csv")
    assert [(row["id"], row["level_index"], row["phase"], row["sent_s"]) for row in rows] == [
        ("0-1", "0", "ramp", "1.000000000"),
        ("0-2", "0", "hold", "3.000000000"),
        ("0-3", "0", "hold", "11.800000000"),
        ("0-4", "1", "hold", "17.000000000"),
    ]
    windows = rows_of(bench.folder, "windows.csv")
    assert sum(float(window["output_tokens"]) for window in windows) == pytest.approx(4 + 4 + 4 + 6)
    assert bench.screen.folders == [bench.folder]
    assert bench.environment.process_exit_code is None
    assert bench.recording.recorder is None


def test_a_run_is_finished_once(bench: Bench, request_at: MakeTimeline, a_level: MakeLevel) -> None:
    bench.begin(a_level())
    bench.fire(request_at(3.0))
    bench.recording.end_plan()
    bench.stop()
    bench.quit()
    assert bench.screen.folders == [bench.folder]
    assert told_of(bench.folder, "run.json")["status"] == "finished"


def test_a_folder_says_running_until_the_run_is_over(bench: Bench, a_level: MakeLevel) -> None:
    bench.begin(a_level())
    run = told_of(bench.folder, "run.json")
    assert (run["status"], run["ended_at"]) == ("running", None)


def test_a_request_that_cannot_be_recorded_fails_the_run(
    bench: Bench, request_at: MakeTimeline, a_level: MakeLevel
) -> None:
    bench.begin(a_level())
    bench.fire(request_at(3.0))
    bench.fire(request_at(3.0, level_index=7))  # a stage that never began
    bench.recording.end_plan()
    bench.stop()
    assert told_of(bench.folder, "run.json")["status"] == told_of(bench.folder, "summary.json")["status"] == "failed"
    assert len(rows_of(bench.folder, "requests.csv")) == 1
    summary = told_of(bench.folder, "summary.json")
    assert summary["accounting"] == {"ended": 2, "recorded": 1, "rows": 1, "complete": False, "unaccounted": 0}
    assert summary["validity"]["reasons"] == ["a request could not be recorded: KeyError(7)"]
    assert bench.environment.process_exit_code == EXIT_UNRELIABLE == 3


def test_a_recorder_that_raises_fails_the_run(
    bench: Bench,
    request_at: MakeTimeline,
    a_level: MakeLevel,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(*_: object) -> None:
        raise MemoryError("no room")

    bench.begin(a_level())
    bench.fire(request_at(3.0))
    monkeypatch.setattr(bench.recording.recorder, "record", broken)
    bench.fire(request_at(4.0))
    bench.recording.end_plan()
    bench.stop()
    assert told_of(bench.folder, "run.json")["status"] == "failed"
    assert bench.environment.process_exit_code == 3
    reason = "a request could not be recorded: MemoryError('no room')"
    assert reason in caplog.text
    assert told_of(bench.folder, "summary.json")["validity"]["reasons"] == [reason]


def test_a_request_that_nothing_recorded_fails_the_run(
    bench: Bench, request_at: MakeTimeline, a_level: MakeLevel, caplog: pytest.LogCaptureFixture
) -> None:
    bench.begin(a_level())
    bench.fire(request_at(3.0))
    process = bench.recording.controller.process
    recorder, process.recorder = process.recorder, None
    bench.fire(request_at(4.0))
    process.recorder = recorder
    bench.recording.end_plan()
    bench.stop()
    reason = "a request ended when nothing recorded it"
    assert f"The results of this run are unreliable: {reason}" in caplog.text
    summary = told_of(bench.folder, "summary.json")
    assert (summary["status"], summary["validity"]["reasons"]) == ("failed", [reason])
    assert summary["accounting"] == {"ended": 1, "recorded": 1, "rows": 1, "complete": True, "unaccounted": 0}
    assert bench.environment.process_exit_code == 3


def test_a_request_that_is_under_way_at_the_end_fails_the_run(
    bench: Bench, request_at: MakeTimeline, a_level: MakeLevel
) -> None:
    """Its row would be missing: a run's users are stopped before its books are closed."""
    bench.begin(a_level())
    bench.fire(request_at(3.0))
    assert bench.recording.recorder is not None
    bench.recording.recorder.in_flight = 2
    bench.recording.end_plan()
    bench.stop()
    summary = told_of(bench.folder, "summary.json")
    assert (summary["status"], summary["accounting"]["complete"]) == ("failed", False)
    assert summary["validity"]["reasons"] == [
        "requests unaccounted for: 1 ended on workers and 2 were in flight by the latest reports; "
        "1 are in the histograms, 1 are rows"
    ]
    assert bench.environment.process_exit_code == 3


def test_a_row_that_was_not_written_fails_the_run(
    bench: Bench, request_at: MakeTimeline, a_level: MakeLevel, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.begin(a_level())
    monkeypatch.setattr(Journal, "write_requests", lambda self, rows, stages: None)
    bench.fire(request_at(3.0))
    bench.recording.end_plan()
    bench.stop()
    summary = told_of(bench.folder, "summary.json")
    assert summary["accounting"] == {"ended": 1, "recorded": 1, "rows": 0, "complete": False, "unaccounted": 0}
    assert (summary["status"], summary["validity"]["verdict"]) == ("failed", "failed")
    assert bench.environment.process_exit_code == 3


def test_a_last_report_that_cannot_be_entered_fails_the_run_and_loses_nothing_that_was(
    bench: Bench, request_at: MakeTimeline, a_level: MakeLevel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Journal, *_: Any) -> None:
        raise OSError(28, "No space left on device")

    bench.begin(a_level())
    bench.fire(request_at(3.0))
    bench.greenlets.tick(2)
    monkeypatch.setattr(Journal, "write_requests", full)
    bench.fire(request_at(4.0))
    bench.recording.end_plan()
    bench.stop()
    summary = told_of(bench.folder, "summary.json")
    assert summary["accounting"] == {"ended": 2, "recorded": 2, "rows": 1, "complete": False, "unaccounted": 0}
    reason = f"the results in {bench.folder} cannot be written: No space left on device"
    assert (summary["status"], summary["validity"]["reasons"]) == ("failed", [reason])
    assert told_of(bench.folder, "run.json")["status"] == "failed"
    assert bench.screen.folders == [bench.folder]
    assert bench.environment.process_exit_code == 3


@pytest.mark.parametrize("what", ["write_windows", "write_summary", "write_run", "close"])
@pytest.mark.parametrize("headless", [False, True])
def test_results_that_cannot_be_written_fail_the_run_and_the_sinks_are_told_of_it_all_the_same(
    what: str,
    headless: bool,
    tmp_path: Path,
    greenlets: Greenlets,
    request_at: MakeTimeline,
    a_level: MakeLevel,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Locust would log the exception and end with exit code 0."""

    def full(self: Journal, *arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    bench = Bench(tmp_path / "results", greenlets, headless=headless)
    bench.begin(a_level())
    folders: list[Path] = []
    monkeypatch.setattr(bench.screen, "finished", folders.append)
    bench.fire(request_at(3.0))
    bench.recording.end_plan()
    monkeypatch.setattr(Journal, what, full)
    bench.stop()
    bench.quit()
    assert f"the results in {bench.folder} cannot be written: No space left on device" in caplog.text
    assert bench.environment.process_exit_code == EXIT_UNRELIABLE == 3
    assert not locust.log.unhandled_greenlet_exception
    assert folders == [bench.folder]
    assert told_of(bench.folder, "run.json")["status"] == "failed"
    assert len(rows_of(bench.folder, "requests.csv")) == 1
    bench.runner.quit()


def test_after_results_that_could_not_be_written_another_run_can_begin(
    bench: Bench, request_at: MakeTimeline, a_level: MakeLevel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Journal, *arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        bench.begin(a_level())
        bench.fire(request_at(3.0))
        patched.setattr(bench.screen, "finished", lambda folder: None)
        patched.setattr(Journal, "write_summary", full)
        bench.stop()
    bench.at(100.0)
    bench.begin(a_level())
    bench.fire(request_at(103.0))
    bench.recording.end_plan()
    bench.stop()
    (folder,) = bench.screen.folders
    summary = told_of(folder, "summary.json")
    assert (summary["status"], summary["validity"]["reasons"]) == ("finished", [])
    assert bench.environment.process_exit_code is None


def test_the_exit_code_is_logged_with_the_run_s_own_reason(
    bench: Bench, a_level: MakeLevel, caplog: pytest.LogCaptureFixture
) -> None:
    bench.begin(a_level())
    bench.at(20.0)
    bench.recording.end_plan()
    bench.stop()
    caplog.set_level("INFO")
    bench.quit(EXIT_UNRELIABLE)
    (line,) = [line for line in caplog.messages if line.startswith("Exit code 3")]
    assert told_of(bench.folder, "summary.json")["validity"]["reasons"][0] in line


def finish_with_one_request(bench: Bench, level: Level, timeline: Timeline) -> None:
    """A run that goes to its end."""
    bench.begin(level)
    bench.fire(timeline)
    bench.at(20.0)
    bench.recording.end_plan()
    bench.stop()


@pytest.mark.parametrize(
    ("option", "ended_with", "words"),
    [
        (1, 1, "requests failed, or code of the locustfile raised errors"),
        (7, 7, "requests failed, or code of the locustfile raised errors (the code is that of --exit-code-on-error)"),
        (5, 5, "requests failed, or code of the locustfile raised errors (the code is that of --exit-code-on-error)"),
        (7, 5, "a condition of --fail-if or --pass-if failed"),
    ],
)
def test_a_code_that_an_option_sets_has_the_words_of_what_happened(
    option: int,
    ended_with: int,
    words: str,
    bench: Bench,
    request_at: MakeTimeline,
    a_level: MakeLevel,
    caplog: pytest.LogCaptureFixture,
) -> None:
    finish_with_one_request(bench, a_level(), request_at(3.0))
    bench.environment.parsed_options.exit_code_on_error = option
    bench.environment.process_exit_code = None if option == ended_with else ended_with
    caplog.set_level("INFO")
    bench.quit(ended_with)
    assert f"Exit code {ended_with}: {words}" in caplog.messages


@pytest.mark.parametrize(
    ("failed", "errors", "words"),
    [
        (
            {("GET", "/missing"): 2, ("CHAT", "no system prompt"): 0},
            0,
            "2 requests of other users failed, *2 x GET /missing",
        ),
        ({("POST", "/login"): 1}, 0, "1 request of other users failed, *1 x POST /login"),
        ({("CHAT", "no system prompt"): 3}, 0, "requests failed"),
        ({("CHAT", "a"): 3, ("GET", "/x"): 1}, 0, "requests failed; 1 request of other users failed, *1 x GET /x"),
        (
            {("GET", f"/{number}"): number for number in range(1, 6)},
            0,
            "15 requests of other users failed, *5 x GET /5, 4 x GET /4, 3 x GET /3, 2 further names",
        ),
        ({}, 2, "tasks of the locustfile raised 2 errors, *KeyError"),
        (
            {("GET", "/x"): 1},
            1,
            "1 request of other users failed, *1 x GET /x; tasks of the locustfile raised an error*",
        ),
    ],
)
def test_the_last_line_says_whose_requests_failed_or_what_the_code_raised(
    failed: dict[tuple[str, str], int],
    errors: int,
    words: str,
    bench: Bench,
    a_level: MakeLevel,
    request_at: MakeTimeline,
    caplog: pytest.LogCaptureFixture,
) -> None:
    finish_with_one_request(bench, a_level(), request_at(3.0))
    bench.environment.parsed_options.exit_code_on_error = 1
    bench.environment.process_exit_code = None
    for (method, name), count in failed.items():
        bench.runner.stats.log_request(method, name, 5.0, 10)
        for _ in range(count):
            bench.runner.stats.log_error(method, name, "404")
    for _ in range(errors):
        bench.runner.log_exception("local", "KeyError", "KeyError\n")
    caplog.set_level("INFO")
    bench.quit(1)
    (line,) = [line for line in caplog.messages if line.startswith("Exit code")]
    assert fnmatch(line, f"Exit code 1: {words}"), line


def test_a_run_without_a_request_failed(bench: Bench, a_level: MakeLevel) -> None:
    bench.begin(a_level())
    bench.at(20.0)
    bench.recording.end_plan()
    bench.stop()
    assert told_of(bench.folder, "run.json")["status"] == "failed"
    summary = told_of(bench.folder, "summary.json")
    assert summary["accounting"] == {"ended": 0, "recorded": 0, "rows": 0, "complete": True, "unaccounted": 0}
    (reason,) = summary["validity"]["reasons"]
    assert reason.startswith("no request was recorded")
    assert "--level-time" in reason
    assert bench.environment.process_exit_code == 3


def test_a_run_whose_answers_a_check_refused_was_answered(
    bench: Bench, a_level: MakeLevel, timeline: MakeTimeline
) -> None:
    bench.begin(a_level())
    bench.fire(timeline((3.5,), sent_s=3.0, outcome=Outcome.WRONG_ANSWER, error="too short"))
    bench.at(20.0)
    bench.recording.end_plan()
    bench.stop()
    reason = told_of(bench.folder, "summary.json")["validity"]["reasons"][0]
    assert reason == "the locustfile's check refused every answer (1 wrong_answer)"


@pytest.mark.parametrize("end", ["stop", "quit"])
def test_a_plan_that_did_not_come_to_its_end_was_interrupted(
    end: str, bench: Bench, request_at: MakeTimeline, a_level: MakeLevel
) -> None:
    bench.begin(a_level())
    bench.fire(request_at(3.0))
    bench.at(7.0)
    getattr(bench, end)()
    assert told_of(bench.folder, "run.json")["status"] == "interrupted"
    (level,) = told_of(bench.folder, "summary.json")["levels"]
    assert (level["complete"], level["hold"]["seconds"], level["whole"]["seconds"]) == (False, 5.0, 7.0)
    assert bench.environment.process_exit_code == EXIT_INTERRUPTED == 4


@pytest.mark.parametrize(
    ("judged", "end", "code"), [(5, "plan", 5), (0, "plan", 0), (None, "plan", None), (5, "stop", 4), (0, "stop", 4)]
)
def test_what_a_judge_says_is_the_exit_code_of_a_run_that_went_to_its_end(
    judged: int | None, end: str, code: int | None, bench: Bench, request_at: MakeTimeline, a_level: MakeLevel
) -> None:
    seen: list[Path] = []

    def judge(folder: Path) -> int | None:
        assert {path.name for path in folder.iterdir()} >= FILES  # it is complete
        seen.append(folder)
        return judged

    bench.recording.controller._check = judge
    bench.begin(a_level())
    bench.fire(request_at(3.0))
    bench.at(7.0)
    if end == "plan":
        bench.recording.end_plan()
    bench.stop()
    assert seen == [bench.folder]
    assert bench.environment.process_exit_code == code


def test_a_judge_that_fails_fails_the_run(bench: Bench, request_at: MakeTimeline, a_level: MakeLevel) -> None:
    def judge(folder: Path) -> int | None:
        raise RuntimeError("no verdict")

    bench.recording.controller._check = judge
    bench.begin(a_level())
    bench.fire(request_at(3.0))
    bench.at(12.0)
    bench.recording.end_plan()
    bench.stop()
    assert bench.environment.process_exit_code == EXIT_UNRELIABLE


@pytest.mark.parametrize(
    ("sent_s", "stopped_s", "status", "issues", "code"),
    [
        (3.0, 7.0, "finished", [], None),
        (0.5, 1.5, "interrupted", ["nothing_measured"], EXIT_INTERRUPTED),
        (0.5, 2.1, "interrupted", ["nothing_measured"], EXIT_INTERRUPTED),
    ],
    ids=["in the hold", "in the ramp", "before the hold's first request"],
)
def test_a_plan_with_an_open_end_is_finished_when_it_is_stopped_in_its_hold(
    sent_s: float,
    stopped_s: float,
    status: str,
    issues: list[str],
    code: int | None,
    bench: Bench,
    request_at: MakeTimeline,
    a_level: MakeLevel,
) -> None:
    bench.begin(a_level(level_time_s=None))
    bench.fire(request_at(sent_s))
    bench.at(stopped_s)
    bench.environment.events.test_stopping.fire(environment=bench.environment)
    bench.stop()
    assert told_of(bench.folder, "run.json")["status"] == status
    validity = told_of(bench.folder, "summary.json")["validity"]
    assert [issue["kind"] for issue in validity["issues"]] == issues
    assert bench.environment.process_exit_code == code


@pytest.mark.parametrize("context", [{}, {"timeline": "a stranger's"}, {"user": "me"}, None])
def test_request_events_of_others_are_left_alone(
    context: dict[str, Any] | None, bench: Bench, request_at: MakeTimeline, a_level: MakeLevel
) -> None:
    fire_request(bench.environment, context)
    bench.begin(a_level())
    fire_request(bench.environment, context)
    bench.fire(request_at(3.0))
    bench.recording.end_plan()
    bench.stop()
    assert told_of(bench.folder, "summary.json")["accounting"]["ended"] == 1
    assert told_of(bench.folder, "run.json")["status"] == "finished"
    assert not locust.log.unhandled_greenlet_exception


def test_a_second_run_of_one_process_has_its_own_folder_and_books(
    bench: Bench, request_at: MakeTimeline, a_level: MakeLevel
) -> None:
    for began_s, requests in ((0.0, 3), (100.0, 2)):
        bench.at(began_s)
        bench.begin(a_level())
        for _ in range(requests):
            bench.fire(request_at(began_s + 3.0))
        bench.recording.end_plan()
        bench.stop()
    first, second = bench.screen.folders
    assert first != second
    assert [len(rows_of(folder, "requests.csv")) for folder in (first, second)] == [3, 2]
    assert {row["sent_s"] for row in rows_of(second, "requests.csv")} == {"3.000000000"}
    assert told_of(second, "summary.json")["accounting"]["complete"]


@pytest.mark.parametrize(
    ("ends", "exit_code"),
    [
        (["stopped", "good"], None),
        (["failed", "good"], None),
        (["good", "stopped"], EXIT_INTERRUPTED),
        (["good", "failed"], EXIT_UNRELIABLE),
        (["failed", "stopped"], EXIT_INTERRUPTED),
        (["stopped", "failed", "good", "stopped"], EXIT_INTERRUPTED),
    ],
)
def test_the_last_run_of_a_process_decides_its_exit_code(
    ends: list[str], exit_code: int | None, bench: Bench, request_at: MakeTimeline, a_level: MakeLevel
) -> None:
    for place, end in enumerate(ends):
        bench.at(place * 100.0)
        bench.begin(a_level())
        bench.fire(request_at(place * 100.0 + 3.0))
        if end == "failed":
            bench.fire(request_at(place * 100.0 + 3.0, level_index=7))
        if end != "stopped":
            bench.recording.end_plan()
        bench.stop()
    bench.quit()
    assert bench.environment.process_exit_code == exit_code
    words = {"good": "finished", "stopped": "interrupted", "failed": "failed"}
    assert [told_of(folder, "run.json")["status"] for folder in bench.screen.folders] == [words[end] for end in ends]


def test_without_a_page_figures_come_after_locusts_own_tables(
    tmp_path: Path, greenlets: Greenlets, request_at: MakeTimeline, a_level: MakeLevel
) -> None:
    bench = Bench(tmp_path / "results", greenlets, headless=True)
    bench.begin(a_level())
    bench.fire(request_at(3.0))
    bench.recording.end_plan()
    bench.stop()
    bench.environment.events.quitting.fire(environment=bench.environment, reverse=True)
    assert bench.screen.folders == []
    assert told_of(bench.folder, "run.json")["status"] == "finished"
    bench.environment.events.quit.fire(exit_code=0)
    assert bench.screen.folders == [bench.folder]
    bench.environment.events.quit.fire(exit_code=0)
    assert bench.screen.folders == [bench.folder]
    bench.runner.quit()


def test_with_a_page_figures_come_at_once_and_not_again_at_the_end(
    bench: Bench, request_at: MakeTimeline, a_level: MakeLevel
) -> None:
    bench.begin(a_level())
    bench.fire(request_at(3.0))
    bench.stop()
    assert bench.screen.folders == [bench.folder]
    bench.quit()
    assert bench.screen.folders == [bench.folder]


@pytest.mark.parametrize("state", [STATE_SPAWNING, STATE_RUNNING])
def test_a_process_that_is_ended_in_a_run_first_stops_its_users_whose_requests_are_then_in_the_books(
    state: str, bench: Bench, request_at: MakeTimeline, a_level: MakeLevel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a page, Locust itself stops them only after its `quitting`."""

    def stop_users() -> None:
        assert bench.recording.recorder is not None
        bench.recording.recorder.in_flight = 0
        bench.fire(request_at(6.0, outcome=Outcome.CUT))
        bench.runner.state = STATE_STOPPED
        bench.stop()

    bench.begin(a_level())
    bench.fire(request_at(3.0))
    assert bench.recording.recorder is not None
    bench.recording.recorder.in_flight = 1
    bench.at(7.0)
    bench.runner.state = state
    with monkeypatch.context() as patched:
        patched.setattr(bench.runner, "quit", stop_users)
        bench.quit()
    assert [row["outcome"] for row in rows_of(bench.folder, "requests.csv")] == ["ok", "cut"]
    summary = told_of(bench.folder, "summary.json")
    assert (summary["status"], summary["validity"]["verdict"]) == ("interrupted", "valid")
    assert summary["accounting"] == {"ended": 2, "recorded": 2, "rows": 2, "complete": True, "unaccounted": 0}
    assert bench.screen.folders == [bench.folder]
    assert bench.environment.process_exit_code == EXIT_INTERRUPTED


def test_users_that_were_stopped_before_are_not_stopped_again_at_the_end_of_the_process(
    bench: Bench, request_at: MakeTimeline, a_level: MakeLevel, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.begin(a_level())
    bench.fire(request_at(3.0))
    bench.runner.state = STATE_STOPPED
    stops: list[str] = []
    with monkeypatch.context() as patched:
        patched.setattr(bench.runner, "quit", lambda: stops.append("again"))
        bench.quit()
    assert stops == []
    assert told_of(bench.folder, "run.json")["status"] == "interrupted"


def test_a_run_that_begins_over_another_one_finishes_it(
    bench: Bench, request_at: MakeTimeline, a_level: MakeLevel
) -> None:
    bench.begin(a_level())
    bench.fire(request_at(3.0))
    bench.at(5.0)
    bench.begin(a_level())
    assert [told_of(folder, "run.json")["status"] for folder in sorted(bench.results.glob("2*"))] == [
        "interrupted",
        "running",
    ]


def test_the_books_are_kept_while_the_run_goes_on(bench: Bench, request_at: MakeTimeline, a_level: MakeLevel) -> None:
    """Rows each second; windows and progress each fifth."""

    def a_request_ends() -> None:
        assert bench.recording.recorder is not None
        bench.fire(request_at(3.0))
        bench.recording.recorder.in_flight = 6
        bench.recording.recorder.saw_output(50)

    seen: list[tuple[int, int, int]] = []

    def look() -> None:
        counts = [len(rows_of(bench.folder, name)) for name in ("requests.csv", "windows.csv")]
        seen.append((*counts, len(bench.screen.shown)))  # type: ignore[arg-type]

    bench.begin(a_level())
    bench.greenlets.at_tick = {3: a_request_ends, 4: look, 5: look}
    bench.greenlets.tick(15)
    assert seen == [(1, 0, 0), (1, 1, 1)]
    windows = rows_of(bench.folder, "windows.csv")
    assert [(window["start_s"], window["end_s"], window["output_tokens"]) for window in windows] == [
        ("0.000", "5.000", "4.000"),
        ("5.000", "10.000", "0.000"),
        ("10.000", "15.000", "0.000"),
    ]
    assert [(shown.elapsed_s, shown.phase, shown.in_flight, shown.tokens_per_s) for shown in bench.screen.shown] == [
        (5.0, "hold", 6, 10.0),
        (10.0, "hold", 6, None),
        (15.0, "drain", 6, None),
    ]


def test_users_are_noted_in_windows_and_progress(
    bench: Bench, a_level: MakeLevel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LocalRunner, "user_count", 7)
    bench.begin(a_level())
    bench.greenlets.tick(5)
    bench.stop()
    # The fifth second is the second window's: it is not there before the sixth.
    assert [window["users"] for window in rows_of(bench.folder, "windows.csv")] == ["7"]
    assert [shown.users for shown in bench.screen.shown] == [7]


def test_progress_counts_the_pauses_of_the_run(bench: Bench, a_level: MakeLevel) -> None:
    bench.begin(a_level(0, level_time_s=20.0), a_level(1, level_time_s=20.0), settle_s=3.0)
    bench.greenlets.tick(5)
    (shown,) = bench.screen.shown
    assert shown.left is not None and shown.left.seconds == 15.0 + 3.0 + 20.0 + 3.0


def test_the_books_are_served_from_the_beginning_to_the_end_of_the_process(
    tmp_path: Path, greenlets: Greenlets, request_at: MakeTimeline, a_level: MakeLevel, monkeypatch: pytest.MonkeyPatch
) -> None:
    with gevent.socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    def scraped() -> list[str]:
        with gevent.socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
            return b"".join(iter(lambda: connection.recv(65536), b"")).decode().splitlines()

    monkeypatch.setattr(LocalRunner, "user_count", 7)
    bench = Bench(tmp_path / "results", greenlets, metrics_port=port)
    assert "tokenswarm_users 7.0" in scraped()
    bench.begin(a_level())
    bench.fire(request_at(3.0))
    bench.recording.end_plan()
    bench.stop()
    labels = 'engine="vllm",level="10",model="llama",system_prompt="off"'
    assert f"tokenswarm_output_tokens_total{{{labels}}} 4.0" in scraped()
    bench.quit()
    with pytest.raises(ConnectionRefusedError):
        scraped()
    bench.runner.quit()


def test_a_process_in_which_no_run_began_waits_for_no_last_scrape(tmp_path: Path, greenlets: Greenlets) -> None:
    with gevent.socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    bench = Bench(tmp_path / "results", greenlets, metrics_port=port, metrics_linger="10m", headless=True)
    with gevent.Timeout(30):
        bench.quit()


def test_between_runs_the_book_keeper_rests(bench: Bench) -> None:
    bench.greenlets.tick(12)
    assert bench.screen.shown == []
    assert not bench.results.exists()


def test_books_that_cannot_be_kept_fail_the_run_but_not_the_keeper(
    bench: Bench, request_at: MakeTimeline, a_level: MakeLevel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(progress: Progress) -> None:
        raise OSError("terminal gone")

    bench.begin(a_level())
    bench.fire(request_at(3.0))
    monkeypatch.setattr(bench.screen, "progress", broken)
    monkeypatch.setattr(LocalRunner, "user_count", 10)
    bench.greenlets.tick(10)
    bench.fire(request_at(9.0))
    bench.recording.end_plan()
    bench.stop()
    assert told_of(bench.folder, "run.json")["status"] == "failed"
    assert len(rows_of(bench.folder, "requests.csv")) == 2
    assert told_of(bench.folder, "summary.json")["validity"]["reasons"] == [
        "the statistics could not be updated: OSError('terminal gone')"
    ]
    assert bench.environment.process_exit_code == 3


def test_a_run_that_cannot_write_its_folder_does_not_begin(bench: Bench, a_level: MakeLevel) -> None:
    bench.results.write_text("a file")
    with pytest.raises(ResultsFolderError, match="is a file"):
        bench.begin(a_level())
    bench.stop()
    assert bench.screen.folders == []


def test_a_spool_folder_that_cannot_be_written_is_found_out_before_any_run(
    bench: Bench, tmp_path: Path, greenlets: Greenlets
) -> None:
    """A run that fails for it as it begins would leave a folder with nothing in it."""
    (tmp_path / "file").write_text("")
    bad = {"spool_folder": str(tmp_path / "file" / "spools")}
    with pytest.raises(ResultsFolderError, match="--spool-folder .*file is a file"):
        check_folders(*folders_of(options(bench.results, **bad)))
    with pytest.raises(ResultsFolderError, match="--spool-folder"):
        Bench(tmp_path / "results", greenlets, **bad)


def test_a_results_folder_that_cannot_be_written_is_found_out_before_any_run(
    tmp_path: Path, greenlets: Greenlets
) -> None:
    taken = tmp_path / "taken"
    taken.write_text("a file")
    with pytest.raises(ResultsFolderError, match="is a file"):
        Bench(taken, greenlets)


def test_objectives_of_each_run_are_those_of_its_options(
    bench: Bench, request_at: MakeTimeline, a_level: MakeLevel
) -> None:
    assert bench.environment.parsed_options is not None
    bench.environment.parsed_options.slo = "ttft=200ms"
    bench.begin(a_level())
    bench.fire(request_at(3.0))
    bench.at(12.0)
    bench.recording.end_plan()
    bench.stop()
    summary = told_of(bench.folder, "summary.json")
    assert summary["objectives"] == {"ttft_s": 0.2}
    goodput = summary["levels"][0]["hold"]["goodput"]
    assert (goodput["requests_per_s"], goodput["tokens_per_s"], goodput["fraction"]) == (0.1, 0.4, 1.0)
    assert (summary["objective_share"], summary["capacity"]) == (
        0.95,
        [{"system_prompt": "off", "level": "10", "users": 10}],
    )
    bench.environment.parsed_options.slo = "soon"
    with pytest.raises(ObjectiveError, match="--slo takes terms"):
        bench.begin(a_level())


def test_reports_to_itself_are_small_only_while_requests_are_due(bench: Bench, a_level: MakeLevel) -> None:
    """Each costs time by itself; and one of many requests takes the time in which others are due."""
    rows = []
    arrivals = Arrivals("constant", ((0.0, 2.0),), 2.0)
    for level in (a_level(), Level(0, "off", "2/s", level_time_s=3.0, arrivals=arrivals)):
        bench.begin(level)
        assert bench.recording.recorder is not None
        rows.append(bench.recording.recorder.most_rows)
    assert rows == [64, 8]


def test_a_process_that_is_stopped_before_locust_is_ready_ends_without_an_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Locust logs what a listener raises, and goes on."""
    environment = Environment()
    Recording(environment.events, [])
    environment.events.test_stop.fire(environment=environment)
    environment.events.quitting.fire(environment=environment, reverse=True)
    environment.events.quit.fire(exit_code=0)
    assert not caplog.records


def test_a_headless_process_that_ends_before_any_run_has_was_interrupted(tmp_path: Path, greenlets: Greenlets) -> None:
    bench = Bench(tmp_path / "results", greenlets, headless=True)
    assert bench.environment.process_exit_code == EXIT_INTERRUPTED
    bench.runner.quit()


def test_what_workers_found_of_themselves_is_shown_and_in_both_files(
    bench: Bench, request_at: MakeTimeline, a_level: MakeLevel
) -> None:
    errors = ErrorSpread(0.00001, 0.0001, 0.0002)
    check = SelfCheck(5, 20, errors, None)
    bench.begin(a_level(), self_checks={0: check})
    assert bench.screen.checked == {0: check}
    assert told_of(bench.folder, "run.json")["self_checks"][0]["ttft_error_s"]["p99"] == 0.0001
    bench.fire(request_at(3.0))
    bench.at(12.0)
    bench.recording.end_plan()
    bench.stop()
    (worker,) = told_of(bench.folder, "summary.json")["workers"]
    assert (worker["self_check"]["users"], worker["requests"]) == (5, 1)
    assert told_of(bench.folder, "run.json")["validity"] == VALID
