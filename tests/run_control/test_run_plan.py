"""The options of a run as one record, and that checking them changes nothing."""

from __future__ import annotations

import json
import shlex
from argparse import ArgumentParser, Namespace
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest

import tokenswarm.client.custom_headers
import tokenswarm.client.request_options
import tokenswarm.recording.recording_options
import tokenswarm.reports.checks.check_options
import tokenswarm.shapes.shape_options
import tokenswarm.web.web_options
from tests.option_parser import parser_of_all_options
from tests.reports.folders import Course, write_folder
from tokenswarm.client.request_options import ChatOptions
from tokenswarm.client.session_seconds import session_seconds
from tokenswarm.command_line import OptionErrors, option_defaults, read_options
from tokenswarm.metrics.level import Level
from tokenswarm.reports.html.run_config import command_of
from tokenswarm.run_control.run_plan import RunPlan, run_options
from tokenswarm.run_control.start_checks import check_run, complete_options
from tokenswarm.run_folder.reader import load_results
from tokenswarm.shapes.plan import PlanError


@pytest.fixture
def parser() -> ArgumentParser:
    return parser_of_all_options()


@pytest.fixture
def parsed(parser: ArgumentParser, tmp_path: Path) -> Any:
    def parse(*arguments: str) -> Namespace:
        return parser.parse_args(["--results", str(tmp_path / "results"), *arguments])

    return parse


def test_the_plan_holds_what_the_options_say(parsed: Any) -> None:
    arguments = ("--levels", "2,4", "--ramp", "1s", "--level-time", "5s", "--drain-timeout", "7s", "--settle", "2s")
    plan = RunPlan.of(parsed(*arguments, "--fail-if", "failures > 1%"))
    off, on = plan.levels[:2], plan.levels[2:]
    assert off == (Level(0, "off", "2", 2, 1.0, 5.0), Level(1, "off", "4", 4, 1.0, 5.0))
    assert [level.system_prompt for level in on] == ["on", "on"]
    assert (plan.shape, plan.load.drain_s, plan.load.settle_s, plan.most_users) == ("ladder", 7.0, 2.0, 4)
    assert plan.modes == {"off", "on"}
    assert [condition.text for condition in plan.checks.conditions] == ["failures > 1%"]
    with pytest.raises(AttributeError):
        plan.shape = "free"  # type: ignore[misc]


def test_all_that_is_wrong_comes_at_once(parsed: Any) -> None:
    wrong = parsed("--levels", "none", "--slo", "ttft", "--fail-if", "nothing", "--metrics-port", "70000")
    with pytest.raises(OptionErrors) as errors:
        RunPlan.of(wrong)
    assert len(errors.value.sentences) == 4


def test_a_condition_of_a_level_that_is_not_planned_is_refused(parsed: Any) -> None:
    with pytest.raises(ValueError, match="names a level that is not there"):
        RunPlan.of(parsed("--levels", "2,4", "--fail-if", "p50(ttft)@3 > 1s"))


def test_a_check_changes_no_option(parsed: Any) -> None:
    options = parsed("--levels", "2")
    before = dict(vars(options))
    check_run(options, "http://127.0.0.1:1")
    assert vars(options) == before


def test_recorded_options_are_those_of_the_command_line(parser: ArgumentParser) -> None:
    options = parser.parse_args(["--levels", "2"])
    vars(options).update(workers_of_run=1, text_calibration={"x": 1})
    values, changed = run_options(options, option_defaults(parser))
    assert values["max_tokens"] == parser.get_default("max_tokens")
    assert changed == ["levels"]
    assert not {"web_port", "workers_of_run", "text_calibration", "num_users"} & set(values)


@pytest.mark.parametrize(
    ("arguments", "repeated"),
    [
        ([], {}),
        (["-u", "4", "-t", "9s"], {"num_users": 4, "run_time": 9}),
        (
            ["--header", "X-Tenant: acme", "--header", "Authorization: Bearer $KEY", "--stop=--x"],
            {"header": ["X-Tenant: $X_TENANT", "Authorization: Bearer $KEY"], "stop": "--x"},
        ),
        (["--rate", "2", "--level-time", "9s"], {"rate": "2", "level_time": "9s"}),
        (["--slo", "ttft=1s", "--slo-share", "99%"], {"slo": "ttft=1s", "slo_share": "99%"}),
        (["--input-tokens", "100", "--top-k=-1"], {"input_tokens": "100", "top_k": "-1"}),
    ],
    ids=lambda value: " ".join(value) or "defaults" if isinstance(value, list) else "",
)
def test_the_command_that_repeats_a_run_is_accepted(
    parser: ArgumentParser,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    repeated: dict[str, Any],
) -> None:
    monkeypatch.setattr(tokenswarm.client.custom_headers, "_given", {})
    monkeypatch.setenv("X_TENANT", "other")
    monkeypatch.setenv("KEY", "k-1")
    given = read_options(parser, ["-H", "http://gpu:8000", "--headless", *arguments])
    complete_options(given)
    vars(given.options).update(workers_of_run=1, engine="vllm", model="m")
    values, changed = run_options(given.options, option_defaults(parser))
    level = Level(0, "off", "4", 4, 1.0, 9.0)
    run = {
        "options": values,
        "changed_options": changed,
        "shape": given.options.shape,
        "plan": [msgspec.to_builtins(level)],
        "prompts": {"requested_lengths": "input"} if "--input-tokens" in arguments else {},
    }
    folder = write_folder(tmp_path / "run", [Course(4)], seed=1, run=run)
    words = shlex.split(command_of(load_results(folder)))
    assert words[:4] == ["tokenswarm", "run", "-H", "http://gpu:8000"]
    again = read_options(parser, ["--headless", *words[2:]])
    assert again.errors == []
    assert {name: getattr(again.options, name) for name in repeated} == repeated
    free = {"num_users", "spawn_rate", "run_time"}
    assert set(again.sources) - {"host", "headless", *free} == {"engine", "model", *repeated} - free
    complete_options(again)
    check_run(again.options, "http://gpu:8000")


@pytest.mark.parametrize(("limit", "workers", "refused"), [("3", 4, True), ("4", 4, False), ("0", 4, False)])
def test_a_limit_of_requests_in_flight_has_a_part_for_each_worker(
    parsed: Any, limit: str, workers: int, refused: bool
) -> None:
    options = parsed("--rate", "5", "--max-in-flight", limit)
    options.shape = "open"
    plan = RunPlan.of(options)
    if refused:
        with pytest.raises(PlanError):
            plan.check_workers(workers)
    else:
        plan.check_workers(workers)


def test_objectives_on_times_from_scheduled_need_an_open_loop(parsed: Any) -> None:
    conditions = ("--slo", "ttft_scheduled=1s", "--fail-if", "p95(e2e_scheduled) > 2s")
    with pytest.raises(OptionErrors) as refused:
        RunPlan.of(parsed("--levels", "5", *conditions))
    assert len(refused.value.sentences) == 2
    options = parsed("--headless", "--rate", "5", *conditions)
    options.shape = "open"
    assert RunPlan.of(options).recording.objectives.bounds == {"ttft_scheduled_s": 1.0}


def test_sessions_that_arrive_need_a_connection_each_for_as_long_as_they_last(parsed: Any) -> None:
    def connections(*arguments: str) -> int:
        options = parsed("--level-time", "10m", "--input-tokens", "100", "--shape", "open", *arguments)
        plan = RunPlan.of(options)
        return plan.most_connections(partial(session_seconds, ChatOptions.of(options)))

    assert connections("--rate", "20") == 20
    assert connections("--session-rate", "20", "--turns", "8") == 20 * 8
    assert connections("--session-rate", "20", "--turns", "8", "--think-time", "10s") == 20 * (8 + 7 * 10)
    assert connections("--session-rate", "20", "--turns", "u(2,4)", "--think-time", "exp(10s)") == pytest.approx(
        20 * (3 + 2 * 10), rel=0.05
    )
    assert connections("--session-rate", "20", "--turns", "8", "--think-time", "1h") == 20 * 600
    assert connections("--session-rate", "20", "--turns", "8", "--think-time", "10s", "--max-in-flight", "50") == 50


def test_delays_of_a_file_are_a_part_of_its_sessions(parsed: Any, tmp_path: Path) -> None:
    file = tmp_path / "chats.jsonl"
    turns = [{"text": "Hi"}, {"text": "And?", "delay": 1500}, {"text": "So?"}]
    rows = [{"session_id": "a", "turns": turns}, {"session_id": "b", "turns": turns[:1]}]
    file.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    options = ChatOptions.of(parsed("--prompts", str(file), "--prompt-tokens", "1:100"))
    assert session_seconds(options, think_mean_s=4.0) == pytest.approx((3 + 1.5 + 4.0 + 1) / 2)
