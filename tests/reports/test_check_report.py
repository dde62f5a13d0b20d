"""Conditions held against a run: verdicts, the exit code, and the files that a pipeline reads."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from tokenswarm.reports.checks.check_report import CheckReport, CheckResult, CheckStatus, Reason, check_lines, check_run
from tokenswarm.reports.checks.conditions import parse_conditions, parse_pass_conditions
from tokenswarm.reports.checks.junit import junit_xml
from tokenswarm.reports.markdown import run_markdown, status_words
from tokenswarm.run_folder.reader import Results, load_results

Json = dict[str, Any]
Make = Callable[..., Json]
Write = Callable[..., Path]
PASS, FAIL, INCONCLUSIVE, UNKNOWN = CheckStatus.PASS, CheckStatus.FAIL, CheckStatus.INCONCLUSIVE, CheckStatus.UNKNOWN


@pytest.fixture
def two_levels(write_run: Write, make_level: Make) -> Results:
    """10 and 50 users, 400 requests each: medians of TTFT are 60 and 188 ms; at 50 users, 8 requests failed."""
    goodput = {"requests_per_s": 1.25, "tokens_per_s": 250.0, "fraction": 0.875}
    levels = [
        make_level(0, 10, goodput=goodput),
        make_level(1, 50, outcomes={"ok": 390, "timeout": 8, "cut": 2}, goodput=goodput),
    ]
    return load_results(write_run(levels))


def verdicts(conditions: str, results: Results) -> list[CheckStatus]:
    return [result.status for result in check_run(parse_conditions(conditions), results).check_results]


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("p50(ttft) > 100ms", [PASS, FAIL]),
        ("p50(ttft) > 60ms", [PASS, FAIL]),  # at the bound is not beyond it
        ("p50(ttft) >= 60ms", [FAIL, FAIL]),
        ("p50(ttft)@10 > 10ms", [FAIL]),
        ("p50(ttft)@10/off > 100ms", [PASS]),
        ("mean(ttft) > 100ms", [PASS, FAIL]),
        ("max(e2e) > 12s", [FAIL, FAIL]),
        ("p95(gap) > 31ms", [PASS, PASS]),
        ("user_rate_p50 < 48 tok/s", [PASS, PASS]),
        ("rate < 500", [FAIL, PASS]),
        ("request_rate < 1 req/s", [PASS, PASS]),
        ("failures > 0", [PASS, FAIL]),
        ("failures > 8", [PASS, PASS]),
        ("failures > 1.9%", [PASS, FAIL]),
        ("failures > 2%", [PASS, PASS]),
        ("goodput < 88%", [FAIL, FAIL]),
        ("goodput < 1.25 req/s", [PASS, PASS]),
        ("suspect", [PASS]),
    ],
)
def test_a_condition_is_held_against_each_level_that_it_is_said_of(
    condition: str, expected: list[CheckStatus], two_levels: Results
) -> None:
    assert verdicts(condition, two_levels) == expected


def test_a_finding_tells_the_figure_its_interval_and_the_level(two_levels: Results) -> None:
    checks = check_run(parse_conditions("p50(ttft)@50 > 100ms, failures@50 > 1"), two_levels)
    assert checks.check_results == [
        CheckResult(
            "fail if p50(ttft)@50 > 100ms", "50 users without system prompt", FAIL, "188 ms (177–203 ms at 95 %)"
        ),
        CheckResult("fail if failures@50 > 1", "50 users without system prompt", FAIL, "8 failures of 400"),
    ]
    assert checks.exit_code == 5


def test_the_slow_end_of_a_rate_is_judged_by_its_low_percentiles(write_run: Write, make_level: Make) -> None:
    """Of this server's requests the fastest reach 30 tokens/s, and every twentieth stays below 12."""
    level = make_level(0, 10)
    bound = {"low": 0.0, "high": 99.0, "certified": True}
    level["hold"]["request_token_rate"] |= {"p95": {"value": 30.0, **bound}, "p5": {"value": 12.0, **bound}, "min": 3.0}
    results = load_results(write_run([level]))
    conditions = parse_conditions("p5(user_rate) < 20, min(user_rate) < 2") + parse_pass_conditions(
        "p5(user_rate) >= 20, p50(ttft) <= 10s"
    )
    assert [result.status for result in check_run(conditions, results).check_results] == [FAIL, PASS, FAIL, PASS]


def test_a_percentile_that_is_not_certified_is_judged_and_marked(write_run: Write, make_level: Make) -> None:
    results = load_results(write_run([make_level(0, 10, outcomes={"ok": 80})]))
    (result,) = check_run(parse_conditions("p99(ttft) > 1ms"), results).check_results
    assert result.status is FAIL
    assert "80 requests" in result.text
    assert "299" in result.text  # as many would do


def test_a_figure_that_was_not_measured_leaves_its_condition_unknown(write_run: Write, make_level: Make) -> None:
    results = load_results(write_run([make_level(0, 10, outcomes={"timeout": 5})]))
    checks = check_run(parse_conditions("p95(ttft) > 1h".replace("1h", "3600s")), results)
    assert [result.status for result in checks.check_results] == [UNKNOWN]
    assert checks.exit_code == 3
    assert verdicts("rate < 1", results) == [UNKNOWN]
    assert verdicts("goodput < 1%", results) == [UNKNOWN]


def test_a_level_that_the_run_has_not_breaks_its_condition(two_levels: Results) -> None:
    assert verdicts("rate@100 < 1", two_levels) == [FAIL]


@pytest.mark.parametrize(
    ("found", "unreliable", "code"),
    [
        ([], [], 0),
        ([PASS, PASS], [], 0),
        ([PASS, FAIL], [], 5),
        ([PASS, INCONCLUSIVE], [], 3),
        ([INCONCLUSIVE, FAIL], [], 5),
        ([PASS, UNKNOWN], [], 3),
        ([UNKNOWN, FAIL], [], 5),
        ([PASS], ["it is suspect"], 3),
        ([FAIL], ["it is suspect"], 3),
    ],
)
def test_the_exit_code_says_the_worst_and_a_run_in_doubt_never_passes(
    found: list[CheckStatus], unreliable: list[str], code: int
) -> None:
    check_results = [CheckResult("rate < 5", "10 users", verdict, "7 tok/s") for verdict in found]
    report = CheckReport("a run", check_results, [Reason("suspect", text) for text in unreliable])
    assert report.exit_code == code
    assert bool(report.unreliable_because) == (code == 3)
    assert ("suspect" in report.unreliable_because) == bool(unreliable)


def test_a_suspect_run_is_in_doubt_whatever_its_figures(write_run: Write) -> None:
    results = load_results(write_run(summary={"validity": {"verdict": "suspect", "reasons": ["the client lagged"]}}))
    checks = check_run(parse_conditions("rate < 1"), results)
    assert {result.status for result in checks.check_results} == {CheckStatus.UNRELIABLE}
    assert (checks.unreliable, checks.exit_code) == ([Reason("suspect", "the client lagged")], 3)
    assert not [line for line in check_lines(checks) if "pass  " in line]
    assert check_lines(checks)[-1].endswith(": the client lagged.")
    suite = ET.fromstring(junit_xml(checks, datetime.now(UTC)))
    assert (suite.get("failures"), suite.get("errors")) == ("0", str(len(checks.check_results) + 1))
    assert verdicts("suspect", results) == [FAIL]


def test_a_finding_that_does_not_fit_a_line_has_two(two_levels: Results) -> None:
    checks = check_run(parse_conditions("rate < 1, p50(ttft) > 100ms"), two_levels)
    told = [result.text for result in checks.check_results]
    wide, narrow = check_lines(checks, 200)[1:], check_lines(checks, 80)[1:]
    assert len({line.index(text) for line, text in zip(wide, told, strict=True)}) == 1
    assert [line.strip() for line in narrow[1::2]] == told
    assert max(map(len, narrow)) <= 80 < max(map(len, wide))


def test_nothing_is_said_where_nothing_was_asked(two_levels: Results) -> None:
    assert check_lines(check_run([], two_levels)) == []


# JUnit

#: The schema that Jenkins' JUnit plug-in publishes (jenkins-junit.xsd): per element, attributes it must and may have,
#: and the children it may hold.
SCHEMA: dict[str, tuple[set[str], set[str], set[str]]] = {
    "testsuites": (set(), {"name", "time", "tests", "failures", "disabled", "errors"}, {"testsuite"}),
    "testsuite": (
        {"name", "tests"},
        {"failures", "errors", "time", "disabled", "skipped", "timestamp", "hostname", "id", "package"},
        {"properties", "testcase", "system-out", "system-err"},
    ),
    "testcase": (
        {"name", "classname"},
        {"assertions", "time", "status"},
        {"skipped", "error", "failure", "system-out", "system-err"},
    ),
    "failure": (set(), {"type", "message"}, set()),
    "error": (set(), {"type", "message"}, set()),
    "skipped": (set(), {"type", "message"}, set()),
    "system-out": (set(), set(), set()),
}


def assert_valid(element: ET.Element) -> None:
    needed, allowed, children = SCHEMA[element.tag]
    assert needed <= set(element.attrib) <= needed | allowed, element.tag
    assert {child.tag for child in element} <= children
    for child in element:
        assert_valid(child)


def junit(check_results: list[CheckResult], unreliable: list[str]) -> ET.Element:
    began = datetime(2026, 11, 23, 4, 30, tzinfo=UTC)
    return ET.fromstring(
        junit_xml(CheckReport("vllm, <a run>", check_results, [Reason("suspect", text) for text in unreliable]), began)
    )


def test_the_junit_file_is_valid_and_its_counts_are_those_of_its_cases() -> None:
    check_results = [
        CheckResult(f"rate < {n}", "10 users", verdict, f"told {n}") for n, verdict in enumerate(CheckStatus)
    ]
    root = junit(check_results, ["it is suspect"])
    assert_valid(root)
    (suite,) = root
    assert suite.attrib["timestamp"] == "2026-11-23T04:30:00"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", suite.attrib["timestamp"])
    for element in (root, suite):
        assert int(element.attrib["tests"]) == len(suite.findall("testcase")) == 6
        assert int(element.attrib["failures"]) == len(suite.findall("testcase/failure")) == 1
        assert int(element.attrib["errors"]) == len(suite.findall("testcase/error")) == 4
    (failure,) = suite.iter("failure")
    assert (failure.attrib["message"], failure.text) == ("told 1", "told 1")


def test_a_sound_run_without_conditions_is_one_case_that_passes() -> None:
    (suite,) = junit([], [])
    assert [len(case) for case in suite] == [0]


def test_an_unstable_level_is_a_skipped_case_and_its_latencies_are_marked(write_run: Write, make_level: Make) -> None:
    load = {"requested_rate": 20.0, "sent_rate": 20.0, "completed_rate": 15.0}
    load |= {"in_flight_mean": 90.0, "in_flight_max": 200.0}
    levels = [make_level(0, 10) | {"open_loop": load | {"unstable": unstable}} for unstable in (False, True)]
    levels[1] |= {"index": 1, "level": "20/s"}
    results = load_results(write_run(levels))
    checks = check_run(parse_conditions("p95(ttft) > 100s, rate < 1"), results)
    assert ["UNSTABLE" in result.text for result in checks.check_results] == [False, True, False, False]
    root = ET.fromstring(junit_xml(checks, datetime(2026, 11, 23, tzinfo=UTC)))
    assert_valid(root)
    (suite,) = root
    assert (suite.attrib["skipped"], suite.attrib["tests"], suite.attrib["failures"]) == ("1", "6", "0")
    (case,) = suite.findall("testcase[skipped]")
    assert "20/s" in case.attrib["classname"] or "20 requests/s" in case.attrib["classname"]
    table = run_markdown(results, checks).splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table if line.startswith("|")]
    cells = [dict(zip(rows[0], row)) for row in rows[2:4]]
    names = ("TTFT p50", "TTFT p95", "TTFT p99", "TPOT p50")
    assert [[each[name].endswith("~") for name in names] for each in cells] == [[False] * 4, [True] * 4]
    assert not cells[1]["tokens/s all"].endswith("~")


def test_words_that_xml_cannot_hold_are_replaced() -> None:
    root = junit([CheckResult('rate < 5 & "so"', "10 users", FAIL, "a\x00b\x1b[1m\ud800")], [])
    (failure,) = root.iter("failure")
    assert failure.attrib["message"] == "a�b�[1m�"
    assert [case.attrib["name"] for case in root.iter("testcase")][1] == 'rate < 5 & "so"'


# Markdown


def test_the_markdown_holds_the_table_s_own_figures_and_the_verdicts(two_levels: Results) -> None:
    text = run_markdown(two_levels, check_run(parse_conditions("p50(ttft) > 100ms"), two_levels))
    assert text.startswith("## Tokenswarm: vllm, 1 of 2 conditions failed\n")
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]
    headings, _, ten, fifty = rows[:4]
    assert dict(zip(headings, ten))["TTFT p50"] == "60.0 ms"
    assert dict(zip(headings, fifty))["requests failed"] == "8"
    assert rows[-1] == [
        "**fail**",
        "<code>fail if p50(ttft) > 100ms</code>",
        "50 users without system prompt",
        "188 ms (177–203 ms at 95 %)",
    ]


SUSPECT = {"validity": {"verdict": "suspect", "reasons": ["a | b <c>"]}}
UNACCOUNTED = {"accounting": {"ended": 2, "recorded": 1, "rows": 1, "complete": False}}


@pytest.mark.parametrize(
    ("summary", "state", "reason"),
    [
        (SUSPECT, "suspect", "a \\| b &lt;c>"),
        (SUSPECT | {"status": "failed"}, "failed", "a \\| b &lt;c>"),
        ({"status": "interrupted"}, "interrupted", "the run is interrupted"),
        (UNACCOUNTED, "incomplete", "not all of its requests are accounted for"),
    ],
)
def test_markdown_and_terminal_name_what_is_wrong_with_a_run(
    write_run: Write, summary: dict[str, Any], state: str, reason: str
) -> None:
    results = load_results(write_run(summary=summary))
    checks = check_run(parse_conditions("rate < 1"), results)
    text = run_markdown(results, checks)
    assert text.startswith(f"## Tokenswarm: vllm, {state}\n")
    in_list, in_quote = f"- **{state.capitalize()}:** {reason}", f"> **{state.upper()}: {reason}"
    assert (in_list in text) != (in_quote in text)  # once
    assert f" {state.upper()}: " in "\n".join(check_lines(checks))


def test_the_words_of_a_verdict() -> None:
    def words(*found: CheckStatus) -> str:
        return status_words(CheckReport("", [CheckResult("", "", verdict, "") for verdict in found], []))

    assert words() == "valid"
    assert words(PASS, PASS) == "all conditions passed"
    assert words(PASS, INCONCLUSIVE) == "1 of 2 conditions inconclusive"
