"""The length of a run's system prompt: who counted it, and where reports show it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.reports.folders import Course, write_folder
from tokenswarm.metrics.level import Level
from tokenswarm.recording.prompt_notices import OWN_REUSE
from tokenswarm.reports.checks.check_report import CheckReport
from tokenswarm.reports.html.document import html_of
from tokenswarm.reports.html.run_page import page_of
from tokenswarm.reports.progress_line import plan_lines
from tokenswarm.reports.system_prompt_note import system_prompt_length, system_prompt_note
from tokenswarm.reports.text_table import summary_table
from tokenswarm.run_folder.reader import Results, load_results

ESTIMATED = {"system_prompt_tokens": 1279, "system_prompt_counting": "estimate (words)"}
COUNTED = {"system_prompt_tokens": 1281, "system_prompt_counting": "tokenizer llama"}
WITH, WITHOUT = Level(1, "on", "10", 10, 2.0, 12.0), Level(0, "off", "10", 10, 2.0, 12.0)


def run_of(path: Path, *modes: str, **facts: Any) -> Results:
    return load_results(
        write_folder(path, [Course(10, mode, requests=40) for mode in modes], 1, run={"prompts": facts})
    )


def with_usage(results: Results, means: dict[int, tuple[int, float]]) -> Results:
    """The same run; means: by level, its requests and the mean of their input tokens by the server's usage."""
    file = results.folder / "summary.json"
    summary = json.loads(file.read_text())
    for index, (requests, mean) in means.items():
        summary["levels"][index]["whole"]["prompts"] = {"requests": requests, "prompt_tokens_mean": mean}
    file.write_text(json.dumps(summary))
    return load_results(results.folder)


@pytest.mark.parametrize(("facts", "number", "about"), [(ESTIMATED, "1,279", True), (COUNTED, "1,281", False)])
def test_a_length_says_who_counted_it(facts: dict[str, Any], number: str, about: bool) -> None:
    found = system_prompt_length(facts, [WITHOUT, WITH])
    assert number in found
    assert facts["system_prompt_counting"] in found
    assert ("about" in found) is about
    assert found in plan_lines([WITHOUT, WITH], 5.0, facts)[0]


@pytest.mark.parametrize(
    ("facts", "levels"),
    [(ESTIMATED, [WITHOUT]), ({}, [WITH]), (ESTIMATED | {"reuse": OWN_REUSE}, [WITH])],
    ids=["no level has one", "older folder", "own code sends it"],
)
def test_no_length_is_shown_of_a_system_prompt_that_was_not_sent_or_counted(
    facts: dict[str, Any], levels: list[Level]
) -> None:
    assert system_prompt_length(facts, levels) == ""
    assert "system prompt:" not in plan_lines(levels, 5.0, facts)[0]


def test_the_means_of_prompts_are_of_all_requests_of_each_mode(tmp_path: Path) -> None:
    results = run_of(tmp_path / "run", "off", "off", "on", **ESTIMATED)
    assert re.findall(r"[\d.,]+\d", system_prompt_note(results)) == ["1,279"]  # the server gave no usage
    results = with_usage(results, {0: (10, 60.0), 1: (30, 80.0), 2: (20, 361.25)})
    assert re.findall(r"[\d.,]+\d", system_prompt_note(results)) == ["1,279", "75", "361"]


def test_the_table_and_the_page_show_the_length_beside_the_comparison(tmp_path: Path) -> None:
    results = run_of(tmp_path / "run", "off", "on", **COUNTED)
    note = system_prompt_note(results)
    assert note in summary_table(results, 400).splitlines()
    page = page_of(results, CheckReport("run", [], []))
    shown = [section.heading for section in page.sections if note in str(section.blocks)]
    assert shown == ["", "Effect of the system prompt"]
    assert "1281" in html_of(page)  # in the configuration
    plain = run_of(tmp_path / "plain", "off", **COUNTED)
    assert "1,281" not in summary_table(plain, 400)
    assert "1281" not in html_of(page_of(plain, CheckReport("run", [], [])))
