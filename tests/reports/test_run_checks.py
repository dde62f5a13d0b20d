"""What judges the runs of a process: before each it is told by what, after each it writes and says the exit code."""

from __future__ import annotations

import logging
import os
import re
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tokenswarm.metrics.level import Level
from tokenswarm.reports.checks.check_options import CheckOptions, add_arguments, conditions_of
from tokenswarm.reports.checks.conditions import ConditionError
from tokenswarm.reports.checks.run_checks import RunChecks
from tokenswarm.run_folder.reader import ReportError

Make = Callable[..., dict[str, Any]]
Write = Callable[..., Path]
PLAN = [Level(0, "off", "10", 10, 20.0, 300.0), Level(1, "off", "50", 50, 20.0, 300.0)]


def options(fail_if: str = "", junit: Path | str = "", markdown: Path | str = "", **others: Any) -> CheckOptions:
    return CheckOptions.of(Namespace(fail_if=fail_if, junit=str(junit), markdown=str(markdown), **others))


def judged(folder: Path, fail_if: str, **files: Path) -> int | None:
    judge = RunChecks()
    judge.prepare(options(fail_if, **files), PLAN)
    return judge(folder)


@pytest.fixture
def failing(write_run: Write, make_level: Make) -> Path:
    """Of 400 requests, 4 failed."""
    return write_run([make_level(0, 10), make_level(1, 50, outcomes={"ok": 396, "timeout": 4})])


@pytest.mark.parametrize(
    ("fail_if", "code"),
    [
        ("", None),
        ("p50(ttft) > 10s", None),  # Locust's own rule decides, and 4 failures break it
        ("failures > 1%", 0),
        ("failures > 0.5%", 5),
        ("p50(ttft) > 1ms", 5),
    ],
)
def test_the_exit_code_is_the_judge_s_where_it_was_asked(fail_if: str, code: int | None, failing: Path) -> None:
    assert judged(failing, fail_if) == code


def test_a_suspect_run_passes_no_condition_and_none_is_as_it_was(write_run: Write) -> None:
    folder = write_run(summary={"validity": {"verdict": "suspect", "reasons": ["the client lagged"]}})
    assert judged(folder, "p50(ttft) > 10s") == 3
    assert judged(folder, "") is None


def test_files_are_written_without_conditions_too(failing: Path, tmp_path: Path) -> None:
    junit, markdown = tmp_path / "junit.xml", tmp_path / "summary.md"
    assert judged(failing, "", junit=junit, markdown=markdown) is None
    assert "the results are reliable" in junit.read_text(encoding="utf-8")
    assert markdown.read_text(encoding="utf-8").startswith("## Tokenswarm: vllm, valid\n")


def test_a_file_that_cannot_be_written_in_the_end_is_told_and_fails(
    failing: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "reports").mkdir()
    judge = RunChecks()
    judge.prepare(options(junit=tmp_path / "reports" / "junit.xml"), PLAN)
    (tmp_path / "reports").rmdir()
    with caplog.at_level(logging.ERROR):
        assert judge(failing) == 2
    assert "junit.xml cannot be written: No such file or directory" in caplog.text
    assert "cannot be checked" not in caplog.text


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
@pytest.mark.parametrize("option", ["junit", "markdown"])
def test_a_device_is_refused_before_the_run(option: str) -> None:
    with pytest.raises(ReportError, match=rf"^--{option} takes a file, but /dev/full is a device\.$"):
        options(**{option: Path("/dev/full")})


@pytest.mark.parametrize("option", ["junit", "markdown"])
def test_a_pipe_is_refused_before_the_run(option: str, tmp_path: Path) -> None:
    """Nobody may read it: the end of the run would wait."""
    os.mkfifo(pipe := tmp_path / "pipe")
    with pytest.raises(ReportError, match=rf"^--{option} takes a file, but .*pipe is a pipe\.$"):
        options(**{option: pipe})


@pytest.mark.parametrize("option", ["junit", "markdown"])
def test_a_hyphen_is_no_file(option: str) -> None:
    with pytest.raises(ReportError, match=rf"^--{option} takes a file, got '-'"):
        options(**{option: "-"})


def test_a_file_in_no_folder_is_refused_before_the_run(tmp_path: Path) -> None:
    with pytest.raises(ReportError, match=r"^--markdown .* cannot be written: there is no folder .*nowhere\.$"):
        options(markdown=tmp_path / "nowhere" / "summary.md")
    with pytest.raises(ReportError, match=r"^--junit takes a file, but .* is a folder\.$"):
        options(junit=tmp_path)


def test_a_condition_of_a_level_that_the_plan_has_not_is_refused_before_the_run() -> None:
    with pytest.raises(ReportError, match="'rate@100 < 5'.*@10/off, @50/off"):
        RunChecks().prepare(options("rate < 5, rate@100 < 5"), PLAN)
    with pytest.raises(ReportError, match="'rate@50/on < 5'"):
        RunChecks().prepare(options("rate@50/on < 5"), PLAN)
    with pytest.raises(ReportError, match="^--pass-if: 'rate@100 > 5'"):
        RunChecks().prepare(options(pass_if="rate@100 > 5"), PLAN)


def test_goodput_needs_objectives() -> None:
    with pytest.raises(ReportError, match="^A condition names goodput, which needs objectives: give --slo"):
        options("goodput < 95%", slo="")
    assert len(options("goodput < 95%", slo="ttft=1s").conditions) == 1


def test_what_is_malformed_is_refused_before_the_run() -> None:
    with pytest.raises(ConditionError):
        options("p95(ttft) > 500")


@pytest.mark.parametrize("option", ["fail_if", "pass_if"])
@pytest.mark.parametrize(
    ("failing", "passing"),
    [
        ("failures > 200%", "failures <= 200%"),
        ("failures > 100%", "failures <= 100%"),
        ("failures >= 0%", "failures < 0%"),
        ("goodput < 101%", "goodput >= 101%"),
        ("goodput < 0%", "goodput >= 0%"),
        ("rate < 0", "rate >= 0"),
        ("p95(ttft) >= 0ms", "p95(ttft) < 0ms"),
    ],
)
def test_a_condition_that_is_the_same_for_every_run_is_refused(option: str, failing: str, passing: str) -> None:
    condition = failing if option == "fail_if" else passing
    with pytest.raises(ReportError, match=f"^--{option.replace('_', '-')} '{re.escape(condition)}'"):
        options(**{"slo": "ttft=1s", "fail_if": "", "pass_if": "", option: condition})
    assert conditions_of({option: condition})  # of a run that was made with it


@pytest.mark.parametrize("condition", ["rate < -100%", "failures > +100%", "ttft_p50 >= -100%"])
def test_a_change_that_cannot_be_is_refused(condition: str) -> None:
    with pytest.raises(ValueError, match=r"^--fail-if"):
        CheckOptions.of(Namespace(fail_if=condition, pass_if="", junit="", markdown=""), relative=True)


def test_bounds_that_only_some_runs_reach_are_taken() -> None:
    assert len(options("failures >= 100%, failures > 0, failures > 0%, rate <= 0, p50(ttft) > 0ms").conditions) == 5
    ends = Namespace(fail_if="ttft_p50 > +200%, rate < -99%, failures > +99%", pass_if="", junit="", markdown="")
    assert len(CheckOptions.of(ends, relative=True).conditions) == 3


def test_an_option_given_twice_silences_nothing() -> None:
    parser = ArgumentParser()
    add_arguments(parser, "conditions")
    given = parser.parse_args(["--fail-if", "rate < 5", "--fail-if", "failures > 0 or suspect"])
    assert [condition.text for condition in CheckOptions.of(given).conditions] == [
        "rate < 5",
        "failures > 0",
        "suspect",
    ]
