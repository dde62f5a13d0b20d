"""What the documents promise is there."""

from __future__ import annotations

import re
from argparse import Action, ArgumentParser
from pathlib import Path

import pytest
from msgspec import Struct
from msgspec.structs import fields

import tokenswarm.probe.probe_command
import tokenswarm.reports.compare.compare_command
from tests import draw_concepts, draw_load, draw_report
from tests.option_parser import parser_of_all_options
from tests.options_page import is_own, updated
from tokenswarm.command_line.exit_codes import MEANINGS
from tokenswarm.engines import ENGINES
from tokenswarm.metrics.buckets import EXPOSED
from tokenswarm.prompts.row_formats import (
    BODY_COLUMNS,
    EXTRA_COLUMNS,
    IMAGE_COLUMNS,
    LENGTH_COLUMNS,
    SYSTEM_COLUMNS,
    TEXT_COLUMNS,
)
from tokenswarm.recording.prometheus import _HELP
from tokenswarm.reports.checks.conditions import (
    FUNCTIONS,
    LATENCIES,
    SCALARS,
    SUSPECT,
    ConditionError,
    parse_conditions,
)
from tokenswarm.reports.compare.comparability import FIELD_NAMES
from tokenswarm.reports.stats.as_other_tools import TOOLS
from tokenswarm.run_folder.schema import (
    HISTOGRAM_COLUMNS,
    REQUEST_COLUMNS,
    SERVER_COLUMNS,
    WINDOW_COLUMNS,
    IssueKind,
    RunDocument,
    Summary,
)
from tokenswarm.web.start_policy import ADDRESSES, FILES

ROOT = Path(__file__).resolve().parents[1]
OPTIONS = (ROOT / "docs" / "options.md").read_text(encoding="utf-8")


def own_options() -> list[Action]:
    """Tokenswarm's, without Locust's."""
    return [action for action in parser_of_all_options()._actions if is_own(action)]


def test_the_document_of_options_has_the_parsers_options_groups_and_texts() -> None:
    assert updated(OPTIONS, parser_of_all_options()) == OPTIONS, "run python -m tests.options_page"


def test_every_option_is_once_in_the_document_with_its_variable() -> None:
    rows = [line.split(" | ") for line in OPTIONS.splitlines() if line.startswith("| `--")]
    documented = [(re.findall(r"`(--[a-z-]+)`", row[0]), row[2]) for row in rows]
    assert sorted(documented) == sorted((action.option_strings, f"`{action.env_var}`") for action in own_options())
    assert all(row[3].strip(" |") for row in rows)


def test_no_help_has_a_percent_sign_which_forms_show_as_argparse_wants_it() -> None:
    assert [action.dest for action in own_options() if "%" in (action.help or "")] == []


def test_no_help_has_a_link_of_markdown() -> None:
    assert [action.dest for action in parser_of_all_options()._actions if "](" in (action.help or "")] == []


def test_the_document_names_every_option_that_the_pages_form_does_not_have() -> None:
    (listed,) = re.findall(r"^The page's form does not have (.*?)\.$", OPTIONS, re.MULTILINE | re.DOTALL)
    flags = [action.option_strings[0] for action in own_options() if not action.include_in_web_ui]
    assert re.findall(r"`(--[a-z-]+)`", listed) == flags


def test_every_column_of_a_prompt_file_is_in_its_document() -> None:
    text = (ROOT / "docs" / "prompts.md").read_text(encoding="utf-8")
    columns = (*TEXT_COLUMNS, "context", "category", "custom_id", *LENGTH_COLUMNS, *SYSTEM_COLUMNS, *BODY_COLUMNS)
    assert all(f"`{column}`" in text for column in (*columns, *EXTRA_COLUMNS, *IMAGE_COLUMNS))


def test_every_engine_has_its_row_in_the_document_of_engines() -> None:
    text = (ROOT / "docs" / "engines.md").read_text(encoding="utf-8")
    rows = [line.split("`")[1] for line in text.splitlines() if line.startswith("| `")]
    assert sorted(rows) == sorted(ENGINES)
    for name, engine in ENGINES.items():
        (row,) = [line for line in text.splitlines() if line.startswith(f"| `{name}` |")]
        assert f"`{engine.path}`" in row
        assert ("| no |" not in row) is engine.honours_ignore_eos


def test_the_document_of_requests_names_the_options_that_probe_does_not_take() -> None:
    text = (ROOT / "docs" / "requests.md").read_text(encoding="utf-8")
    (exceptions,) = re.findall(
        r"^`tokenswarm probe` takes the options of this page too, except (.*?):", text, re.M | re.S
    )
    parser = ArgumentParser()
    tokenswarm.probe.probe_command.add_arguments(parser)
    taken = {flag for action in parser._actions for flag in action.option_strings}
    lacking = set(re.findall(r"`(--[a-z-]+)", exceptions)) - {"--model", "--timeout"}
    assert not lacking & taken
    body = text[text.index("## Where requests go") : text.index("## What the preflight does")]
    named = set(re.findall(r"`(--[a-z-]+)", body)) & {
        flag for action in own_options() for flag in action.option_strings
    }
    of_prompts = {
        "--prompts",
        "--prompt-tokens",
        "--input-tokens",
        "--ignore-eos",
        "--prompt-reuse",
        "--seed",
        "--system-prompt",
    }
    of_the_run = {"--levels", "--server-metrics", "--gpu-metrics-url", "--record"}
    assert named - taken - of_prompts - of_the_run == lacking


def test_the_readme_is_read_in_a_minute_and_says_what_a_fresh_machine_does() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(readme.split()) <= 700
    assert all(command in readme for command in ("`make demo`", "`make test`", "Python 3.11", "pip install ."))


def test_the_document_of_the_folder_names_every_file_of_a_run() -> None:
    text = (ROOT / "docs" / "run-folder.md").read_text(encoding="utf-8")
    journals = ("requests.csv", "windows.csv", "server.csv", "histograms.csv")
    for name in ("run.json", *journals, "summary.json", "summary.csv"):
        assert f"`{name}`" in text


@pytest.mark.parametrize(
    ("file", "columns"),
    [
        ("requests.csv", REQUEST_COLUMNS),
        ("windows.csv", WINDOW_COLUMNS),
        ("server.csv", SERVER_COLUMNS),
        ("histograms.csv", HISTOGRAM_COLUMNS),
    ],
)
def test_every_column_of_a_file_is_in_its_document_in_the_files_order(file: str, columns: tuple[str, ...]) -> None:
    text = (ROOT / "docs" / "files.md").read_text(encoding="utf-8")
    section = text.partition(f"\n## `{file}`\n")[2].partition("\n## ")[0]
    heads = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    assert tuple(re.findall(r"`(\w+)`", " ".join(heads))) == columns


@pytest.mark.parametrize(("file", "record"), [("summary.json", Summary), ("run.json", RunDocument)])
def test_the_keys_of_a_document_are_those_of_the_file(file: str, record: type[Struct]) -> None:
    text = (ROOT / "docs" / "files.md").read_text(encoding="utf-8")
    section = text.partition(f"\n## `{file}`\n")[2].partition("\n## ")[0]
    heads = " ".join(line.split("|")[1] for line in section.splitlines() if line.startswith("| `"))
    assert set(re.findall(r"`(\w+)`", heads)) == {field.encode_name for field in fields(record)}


def test_every_exposed_histogram_is_in_the_document_of_metrics() -> None:
    text = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    assert all(f"`{_HELP[field][0]}`" in text for field in EXPOSED)


def test_every_figure_function_and_field_of_a_condition_is_in_its_document() -> None:
    text = (ROOT / "docs" / "conditions.md").read_text(encoding="utf-8")
    for name in (*LATENCIES, "user_rate", *SCALARS, SUSPECT, *FIELD_NAMES):
        assert f"`{name}`" in text, name
    assert all(f"`{function}(…)`" in text for function in FUNCTIONS)


def test_the_document_of_comparisons_has_every_option_and_field() -> None:
    text = (ROOT / "docs" / "comparison.md").read_text(encoding="utf-8")
    parser = ArgumentParser()
    tokenswarm.reports.compare.compare_command.add_arguments(parser)
    options = [
        option for action in parser._actions for option in action.option_strings if option not in ("-h", "--help")
    ]
    assert len(options) == 10
    assert all(option in text for option in options)
    assert all(f"`{field}`" in text for field in FIELD_NAMES)


def test_the_document_of_exit_codes_has_every_one_with_its_meaning() -> None:
    text = (ROOT / "docs" / "exit-codes.md").read_text(encoding="utf-8")
    rows = [line for line in text[: text.index("\n## ")].splitlines() if line.startswith("| ")]
    assert rows == ["| code | means |", *(f"| {code} | {meaning} |" for code, meaning in MEANINGS.items())]


def test_the_document_of_the_folder_names_every_tool_to_count_as() -> None:
    text = (ROOT / "docs" / "run-folder.md").read_text(encoding="utf-8")
    assert all(f"`{tool}`" in text or f"--as {tool}" in text for tool in TOOLS)


def test_every_reason_of_a_verdict_has_its_meaning_cause_and_fix() -> None:
    text = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    entries = dict(re.findall(r"^### `(\w+)`\n(.*?)(?=^##|\Z)", text, re.MULTILINE | re.DOTALL))
    assert sorted(entries) == sorted(IssueKind)
    for kind, entry in entries.items():
        assert re.findall(r"^- \*\*(\w+)\*\*: \S", entry, re.MULTILINE) == ["Meaning", "Cause", "Fix"], kind
    index = text[: text.index("\n## The run ended badly")]
    assert sorted(re.findall(r"\[`(\w+)`\]\(#\1\)", index)) == sorted(IssueKind)


def test_the_pictures_of_load_and_concepts_are_as_they_are_drawn() -> None:
    for name, text in draw_load.pictures().items():
        assert (ROOT / "docs" / name).read_text(encoding="utf-8") == text, "run python -m tests.draw_load"
    for name, text in draw_concepts.pictures().items():
        assert (ROOT / "docs" / "images" / name).read_text(encoding="utf-8") == text, (
            "run python -m tests.draw_concepts"
        )


def test_the_picture_of_the_readme_is_there_and_small() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    named = re.findall(r"docs/images/[\w-]+\.png", readme)
    assert len(named) == 2
    assert all(0 < (ROOT / name).stat().st_size <= draw_report.MOST_BYTES for name in named)


def test_options_of_the_pages_form_that_name_files_or_addresses_are_restricted() -> None:
    """The page may name only what the command line allows: an option of either kind has to stand in
    web/start_policy.py, or to be left out of the form (include_in_web_ui=False)."""
    named = re.compile(r"\b(file|files|folder|folders|path|address|url|http)\b", re.IGNORECASE)
    found = {
        action.dest
        for action in own_options()
        if action.include_in_web_ui and named.search(f"{action.dest.replace('_', ' ')} {action.help}")
    }
    assert found <= {*FILES, *ADDRESSES}
    assert {*FILES, *ADDRESSES} - {"host"} <= {action.dest for action in own_options()}


def test_a_message_that_a_document_quotes_is_the_programs() -> None:
    """One of three lines: what is wrong, the text that was given, and the caret below the place."""
    quoted = []
    for document in sorted((ROOT / "docs").rglob("*.md")):
        text = document.read_text(encoding="utf-8")
        quoted += re.findall(r"^    tokenswarm: (--fail-if: .*\n)    (  (.*)\n)    ( +\^)$", text, re.MULTILINE)
    for sentence, line, given, caret in quoted:
        with pytest.raises(ConditionError) as refused:
            parse_conditions(given)
        assert str(refused.value) == sentence + line + caret
    assert quoted
