"""The GitHub action and the GitLab template of deploy/ci: as data, and their shell steps against the simulator."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import jsonschema
import pytest
import yaml
from check_jsonschema.builtin_schemas import get_builtin_schema

from tests.deploy.harness import DEPLOY
from tests.option_parser import parser_of_all_options
from tests.reports.folders import Course, write_folder
from tests.runs.harness import ROOT, environment, run_folders
from tests.test_docs_commands import Command, commands_in, errors_of

CI = DEPLOY / "ci"
ACTION, EXAMPLE, GITLAB = (
    yaml.safe_load((CI / name).read_text(encoding="utf-8"))
    for name in ("action.yml", "example-workflow.yml", "gitlab.yml")
)
STEPS = {step.get("name", step.get("uses")): step for step in ACTION["runs"]["steps"]}
TEMPLATE = GITLAB[".tokenswarm"]
LOAD = ("--levels=2", "--ramp=0s", "--level-time=2s", "--settle=0s", "--max-tokens=4", "--system-prompt=off")


def example_steps() -> list[dict[str, Any]]:
    return list(EXAMPLE["jobs"]["gate"]["steps"])


def scripts() -> dict[str, str]:
    """Every text that a shell runs, by where it stands."""
    found = {f"action: {name}": step["run"] for name, step in STEPS.items() if "run" in step}
    found |= {f"example: {step['name']}": step["run"] for step in example_steps() if "run" in step}
    return found | {
        f"GitLab {number}": text for number, text in enumerate(TEMPLATE["before_script"] + TEMPLATE["script"])
    }


@pytest.mark.parametrize(
    ("schema", "document"),
    [("github-actions", ACTION), ("github-workflows", EXAMPLE), ("gitlab-ci", GITLAB)],
    ids=["action", "example", "GitLab"],
)
def test_each_file_is_of_its_schema(schema: str, document: Any) -> None:
    text = json.dumps(document, default=str).replace('"true": "pull_request"', '"on": "pull_request"')  # YAML 1.1: on
    jsonschema.validate(json.loads(text), get_builtin_schema(f"vendor.{schema}"))


def tokenswarm_commands() -> Iterator[tuple[str, ...]]:
    for text in scripts().values():
        placed = re.sub(r"\$\w*RESULTS/", "", text.replace('"${words[@]}"', ""))  # a file's folder has to be there
        yield from (words for words in commands_in(placed) if words[0] == "tokenswarm")


def test_every_command_of_the_steps_is_read_by_its_program() -> None:
    commands = list(tokenswarm_commands())
    assert [words[1] for words in commands] == ["run", "gate", "simulate", "simulate", "run", "gate"]
    assert {
        " ".join(words): errors for words in commands if (errors := errors_of(Command("", words, whole=True)))
    } == {}


def test_options_of_the_example_are_read_and_its_inputs_are_the_actions() -> None:
    options = EXAMPLE["jobs"]["gate"]["env"]["OPTIONS"].split()
    uses = [step["with"] for step in example_steps() if step.get("uses") == "./deploy/ci"]
    assert len(uses) == 2
    for inputs in uses:
        assert set(inputs) <= set(ACTION["inputs"])
        words = ("tokenswarm", "run", *options, *(("--fail-if", inputs["fail-if"]) if "fail-if" in inputs else ()))
        assert errors_of(Command("", words, whole=True)) == []
    gate = ("tokenswarm", "gate", "A", "B", "--fail-if", ACTION["inputs"]["change-fail-if"]["default"])
    assert errors_of(Command("", gate, whole=True)) == []


def test_the_page_shows_inputs_and_variables_that_there_are() -> None:
    page = (ROOT / "docs" / "how-to" / "gate-in-ci.md").read_text(encoding="utf-8")
    step, template = map(yaml.safe_load, re.findall(r"^```yaml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL))
    assert set(step[0]["with"]) <= set(ACTION["inputs"])
    assert errors_of(Command("", ("tokenswarm", "run", *step[0]["with"]["options"].split()), whole=True)) == []
    inputs = {name for row in re.findall(r"^\| (`.*?`) \|", page, re.MULTILINE) for name in re.findall(r"`(.+?)`", row)}
    assert inputs == set(ACTION["inputs"])
    job = template["load-test"]
    assert job["extends"] in GITLAB
    known = {action.env_var for action in parser_of_all_options()._actions if getattr(action, "env_var", None)}
    assert set(job["variables"]) <= known | set(TEMPLATE["variables"])
    named = set(re.findall(r"LOAD_TEST_\w+", page))
    assert named == {name for name in TEMPLATE["variables"] if name.startswith("LOAD_TEST_")}


def test_no_input_becomes_part_of_a_script() -> None:
    assert [name for name, text in scripts().items() if "${{" in text] == []
    used = set(re.findall(r"inputs\.([\w-]+)", yaml.safe_dump(ACTION["runs"])))
    assert used == set(ACTION["inputs"])


def test_the_action_installs_the_project_that_it_is_part_of() -> None:
    script = STEPS["Install Tokenswarm"]["run"]
    (above,) = re.findall(r'source="\$GITHUB_ACTION_PATH/(.*)"', script)
    source = (CI / above).resolve()
    assert (source / "pyproject.toml").is_file()
    assert (source / "constraints.txt").is_file()
    assert '--constraint "$source/constraints.txt" "$source"' in script


#: The Tokenswarm of this environment.
REAL = f'exec {sys.executable} -P -m tokenswarm "$@"'
#: One that keeps its words, a line each, and ends with the codes of a file, one after the other.
RECORDING = """
printf '%s\\n' "$@" >> words.txt; echo >> words.txt
code=$(head -n 1 codes.txt); sed -i 1d codes.txt; exit "$code"
"""


def bash(script: str, folder: Path, tokenswarm: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """As GitHub runs a step of `shell: bash`."""
    programs = folder / "runner" / "tokenswarm" / "bin"
    programs.mkdir(parents=True, exist_ok=True)
    (programs / "tokenswarm").write_text(f"#!/bin/sh\n{tokenswarm}\n")
    (programs / "tokenswarm").chmod(0o755)
    given = {
        "RUNNER_TEMP": str(folder / "runner"),
        "GITHUB_STEP_SUMMARY": str(folder / "summary.md"),
        "PATH": f"{programs}:{os.environ['PATH']}",
    }
    command = ["bash", "--noprofile", "--norc", "-e", "-o", "pipefail", "-c", script]
    return subprocess.run(
        command, cwd=folder, env=environment(**given, **variables), capture_output=True, text=True, timeout=240
    )


def step(name: str, folder: Path, tokenswarm: str = REAL, **inputs: str) -> subprocess.CompletedProcess[str]:
    """A step of the action with its variables, those of no input empty."""
    return bash(STEPS[name]["run"], folder, tokenswarm, **(dict.fromkeys(STEPS[name]["env"], "") | inputs))


@pytest.mark.slow
def test_the_run_step_loads_the_simulator_and_leaves_summary_and_results(tmp_path: Path) -> None:
    options = "\n".join(LOAD) + "\n\n"
    done = step("Run", tmp_path, OPTIONS=options, FAIL_IF="p50(ttft) > 1us", RUNS="1", RESULTS="the runs")
    assert done.returncode in (5, 3), done.stdout + done.stderr  # 3: on a busy machine the run is suspect
    (folder,) = (path for path in run_folders(tmp_path / "the runs") if path.is_dir())
    summary = json.loads((folder / "summary.json").read_text())
    assert [(level["users"], level["system_prompt"]) for level in summary["levels"]] == [(2, "off")]
    assert (tmp_path / "summary.md").read_text().startswith("## Tokenswarm: vllm")
    suite = ET.parse(tmp_path / "the runs" / "run-1.xml").getroot()
    assert [case.find("failure") is not None for case in suite.iter("testcase") if "ttft" in str(case.get("name"))] == [
        True
    ]


def test_the_run_step_makes_all_runs_and_ends_with_the_first_exit_code_that_is_not_0(tmp_path: Path) -> None:
    (tmp_path / "codes.txt").write_text("0\n5\n3\n")
    inputs = {
        "SERVER": "http://gpu:8000",
        "FAIL_IF": "p95(ttft) > 1s",
        "OPTIONS": "--levels=1\n--slo=ttft=1s tpot=1s\n",
    }
    assert step("Run", tmp_path, RECORDING, RUNS="3", RESULTS="the runs", **inputs).returncode == 5
    calls = [call.split("\n") for call in (tmp_path / "words.txt").read_text().strip("\n").split("\n\n")]
    assert len(calls) == 3
    for number, words in enumerate(calls, 1):
        files = ["--markdown", str(tmp_path / "summary.md"), "--junit", f"the runs/run-{number}.xml"]
        assert words[:7] == ["run", "--results", "the runs", *files]
        assert words[7:11] == ["--host", "http://gpu:8000", "--fail-if", "p95(ttft) > 1s"]
        assert words[11:] == ["--levels=1", "--slo=ttft=1s tpot=1s"]


def runs(folder: Path, name: str, **course: Any) -> None:
    """Three runs in a folder of theirs."""
    (folder / name).mkdir()
    for seed in range(3):
        write_folder(folder / name / f"run-{seed}", [Course(**course)], seed + 10 * len(name))
    (folder / name / "latest").symlink_to("run-2")  # as a run leaves it


@pytest.mark.slow
def test_the_comparing_step_fails_for_a_slower_server_and_for_no_equal_one(tmp_path: Path) -> None:
    runs(tmp_path, "base")
    runs(tmp_path, "equal")
    runs(tmp_path, "slower", ttft_s=0.4)
    codes = {
        name: step(
            "Compare with the base", tmp_path, BASE="base", RESULTS=name, CHANGE_FAIL_IF="ttft_p95 > +10%"
        ).returncode
        for name in ("equal", "slower")
    }
    assert codes == {"equal": 0, "slower": 5}
    assert (tmp_path / "slower" / "gate.xml").is_file()
    assert "ttft" in (tmp_path / "summary.md").read_text()


def variables_of(job: Mapping[str, Any], **changes: str) -> dict[str, str]:
    return {name: str(value) for name, value in job["variables"].items()} | changes


def test_the_gitlab_script_makes_all_runs_and_compares(tmp_path: Path) -> None:
    (tmp_path / "codes.txt").write_text("0\n0\n3\n")
    for name in ("base/A", "base/B", "tokenswarm-results/C"):
        (tmp_path / name).mkdir(parents=True)
    variables = variables_of(TEMPLATE, LOAD_TEST_BASE="base", LOAD_TEST_RUNS="2")
    assert bash("\n".join(TEMPLATE["script"]), tmp_path, RECORDING, **variables).returncode == 3
    *runs_made, gate = [call.split("\n") for call in (tmp_path / "words.txt").read_text().strip("\n").split("\n\n")]
    assert [words[0] for words in runs_made] == ["run", "run"]
    assert gate[:6] == ["gate", "--base", "base/A/", "base/B/", "--new", "tokenswarm-results/C/"]
    assert gate[6:8] == ["--fail-if", TEMPLATE["variables"]["LOAD_TEST_CHANGE_FAIL_IF"]]


def test_every_variable_of_the_gitlab_job_that_is_no_option_is_used() -> None:
    options = {action.env_var for action in parser_of_all_options()._actions if getattr(action, "env_var", None)}
    script = "\n".join(TEMPLATE["before_script"] + TEMPLATE["script"])
    assert all(name in options or f"${{{name}" in script or f"${name}" in script for name in TEMPLATE["variables"])
    assert "TOKENSWARM_RESULTS" in options


def test_the_gitlab_job_does_not_install_what_nobody_named(tmp_path: Path) -> None:
    done = bash("\n".join(TEMPLATE["before_script"]), tmp_path, REAL, **variables_of(TEMPLATE))
    assert done.returncode != 0
    assert "LOAD_TEST_PACKAGE" in done.stderr


def test_results_are_kept_also_of_a_run_that_failed() -> None:
    upload = ACTION["runs"]["steps"][-1]
    assert upload["uses"].startswith("actions/upload-artifact@")
    assert "always()" in upload["if"]
    assert TEMPLATE["artifacts"]["when"] == "always"
