"""Conditions held against a run: verdicts, the exit code, and the files that a pipeline reads."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from reports.conditions import parse_conditions, parse_pass_conditions
from reports.judgement import Finding, Judgement, Verdict, judge_run, judgement_lines
from reports.junit import junit_xml
from reports.markdown import run_markdown, verdict_words
from reports.results import Results, load_results

Json = dict[str, Any]
Make = Callable[..., Json]
Write = Callable[..., Path]
MET, BROKEN, UNDECIDED = Verdict.MET, Verdict.BROKEN, Verdict.UNDECIDED


@pytest.fixture
def two_levels(write_run: Write, make_level: Make) -> Results:
    """10 and 50 users, 400 requests each: medians of TTFT are 60 and 188 ms; at 50 users, 8 requests failed."""
    goodput = {"requests_per_s": 1.25, "tokens_per_s": 250.0, "fraction": 0.875}
    levels = [
        make_level(0, 10, goodput=goodput),
        make_level(1, 50, outcomes={"ok": 390, "timeout": 8, "cut": 2}, goodput=goodput),
    ]
    return load_results(write_run(levels))


def verdicts(conditions: str, results: Results) -> list[Verdict]:
    return [finding.verdict for finding in judge_run(parse_conditions(conditions), results).findings]


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("p50(ttft) > 100ms", [MET, BROKEN]),
        ("p50(ttft) > 60ms", [MET, BROKEN]),  # at the bound is not beyond it
        ("p50(ttft) >= 60ms", [BROKEN, BROKEN]),
        ("p50(ttft)@10 > 10ms", [BROKEN]),
        ("p50(ttft)@10/off > 100ms", [MET]),
        ("mean(ttft) > 100ms", [MET, BROKEN]),
        ("max(e2e) > 12s", [BROKEN, BROKEN]),
        ("p95(gap) > 31ms", [MET, MET]),
        ("user_rate_p50 < 48 tok/s", [MET, MET]),
        ("rate < 500", [BROKEN, MET]),
        ("request_rate < 1 req/s", [MET, MET]),
        ("failures > 0", [MET, BROKEN]),
        ("failures > 8", [MET, MET]),
        ("failures > 1.9%", [MET, BROKEN]),
        ("failures > 2%", [MET, MET]),
        ("goodput < 88%", [BROKEN, BROKEN]),
        ("goodput < 1.25 req/s", [MET, MET]),
        ("suspect", [MET]),
    ],
)
def test_a_condition_is_held_against_each_level_that_it_is_said_of(
    condition: str, expected: list[Verdict], two_levels: Results
) -> None:
    assert verdicts(condition, two_levels) == expected


def test_a_finding_tells_the_figure_its_interval_and_the_level(two_levels: Results) -> None:
    judgement = judge_run(parse_conditions("p50(ttft)@50 > 100ms, failures@50 > 1"), two_levels)
    assert judgement.findings == [
        Finding(
            "fail if p50(ttft)@50 > 100ms", "50 users without system prompt", BROKEN, "188 ms (177–203 ms at 95 %)"
        ),
        Finding("fail if failures@50 > 1", "50 users without system prompt", BROKEN, "8 failures of 400"),
    ]
    assert judgement.exit_code == 5


def test_the_slow_end_of_a_rate_is_judged_by_its_low_percentiles(write_run: Write, make_level: Make) -> None:
    """Of this server's requests the fastest reach 30 tokens/s, and every twentieth stays below 12."""
    level = make_level(0, 10)
    bound = {"low": 0.0, "high": 99.0, "certified": True}
    level["hold"]["request_token_rate"] |= {"p95": {"value": 30.0, **bound}, "p5": {"value": 12.0, **bound}, "min": 3.0}
    results = load_results(write_run([level]))
    conditions = parse_conditions("p5(user_rate) < 20, min(user_rate) < 2") + parse_pass_conditions(
        "p5(user_rate) >= 20, p50(ttft) <= 10s"
    )
    assert [finding.verdict for finding in judge_run(conditions, results).findings] == [BROKEN, MET, BROKEN, MET]


def test_a_percentile_that_is_not_certified_is_judged_and_marked(write_run: Write, make_level: Make) -> None:
    results = load_results(write_run([make_level(0, 10, outcomes={"ok": 80})]))
    (finding,) = judge_run(parse_conditions("p99(ttft) > 1ms"), results).findings
    assert finding.verdict is BROKEN
    assert finding.told.endswith("(not certified at n = 80)")


def test_a_figure_that_is_not_there_breaks_its_condition(write_run: Write, make_level: Make) -> None:
    results = load_results(write_run([make_level(0, 10, outcomes={"timeout": 5})]))
    judgement = judge_run(parse_conditions("p95(ttft) > 1h".replace("1h", "3600s")), results)
    assert [finding.verdict for finding in judgement.findings] == [BROKEN]
    assert verdicts("rate < 1", results) == [BROKEN]
    assert verdicts("goodput < 1%", results) == [BROKEN]


def test_a_level_that_the_run_has_not_breaks_its_condition(two_levels: Results) -> None:
    assert verdicts("rate@100 < 1", two_levels) == [BROKEN]


@pytest.mark.parametrize(
    ("found", "doubts", "code"),
    [
        ([], [], 0),
        ([MET, MET], [], 0),
        ([MET, BROKEN], [], 5),
        ([MET, UNDECIDED], [], 3),
        ([UNDECIDED, BROKEN], [], 5),
        ([MET], ["it is suspect"], 3),
        ([BROKEN], ["it is suspect"], 3),
    ],
)
def test_the_exit_code_says_the_worst_and_a_run_in_doubt_never_passes(
    found: list[Verdict], doubts: list[str], code: int
) -> None:
    findings = [Finding("rate < 5", "10 users", verdict, "7 tok/s") for verdict in found]
    assert Judgement("a run", findings, doubts).exit_code == code


def test_a_suspect_run_is_in_doubt_whatever_its_figures(write_run: Write) -> None:
    results = load_results(write_run(summary={"validity": {"verdict": "suspect", "reasons": ["the client lagged"]}}))
    judgement = judge_run(parse_conditions("rate < 1"), results)
    assert {finding.verdict for finding in judgement.findings} == {MET}
    assert (judgement.doubts, judgement.exit_code) == (["the client lagged"], 3)
    assert judgement_lines(judgement)[-1] == (
        "  NOT TO BE BELIEVED, so that nothing above is a pass: the client lagged"
    )
    assert verdicts("suspect", results) == [BROKEN]


def test_a_finding_that_does_not_fit_a_line_has_two(two_levels: Results) -> None:
    judgement = judge_run(parse_conditions("rate < 1, p50(ttft) > 100ms"), two_levels)
    told = [finding.told for finding in judgement.findings]
    wide, narrow = judgement_lines(judgement, 200)[1:], judgement_lines(judgement, 80)[1:]
    assert len({line.index(text) for line, text in zip(wide, told, strict=True)}) == 1
    assert [line.strip() for line in narrow[1::2]] == told
    assert max(map(len, narrow)) <= 80 < max(map(len, wide))


def test_nothing_is_said_where_nothing_was_asked(two_levels: Results) -> None:
    assert judgement_lines(judge_run([], two_levels)) == []


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
    "system-out": (set(), set(), set()),
}


def assert_valid(element: ET.Element) -> None:
    needed, allowed, children = SCHEMA[element.tag]
    assert needed <= set(element.attrib) <= needed | allowed, element.tag
    assert {child.tag for child in element} <= children
    for child in element:
        assert_valid(child)


def junit(findings: list[Finding], doubts: list[str]) -> ET.Element:
    began = datetime(2026, 11, 23, 4, 30, tzinfo=UTC)
    return ET.fromstring(junit_xml(Judgement("vllm, <a run>", findings, doubts), began))


def test_the_junit_file_is_valid_and_its_counts_are_those_of_its_cases() -> None:
    findings = [Finding(f"rate < {n}", "10 users", verdict, f"told {n}") for n, verdict in enumerate(Verdict)]
    root = junit(findings, ["it is suspect"])
    assert_valid(root)
    (suite,) = root
    assert suite.attrib["timestamp"] == "2026-11-23T04:30:00"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", suite.attrib["timestamp"])
    for element in (root, suite):
        assert int(element.attrib["tests"]) == len(suite.findall("testcase")) == 4
        assert int(element.attrib["failures"]) == len(suite.findall("testcase/failure")) == 1
        assert int(element.attrib["errors"]) == len(suite.findall("testcase/error")) == 2
    (failure,) = suite.iter("failure")
    assert (failure.attrib["message"], failure.text) == ("told 1", "told 1")


def test_a_sound_run_without_conditions_is_one_case_that_passes() -> None:
    (suite,) = junit([], [])
    assert [len(case) for case in suite] == [0]


def test_words_that_xml_cannot_hold_are_replaced() -> None:
    root = junit([Finding('rate < 5 & "so"', "10 users", BROKEN, "a\x00b\x1b[1m\ud800")], [])
    (failure,) = root.iter("failure")
    assert failure.attrib["message"] == "a�b�[1m�"
    assert [case.attrib["name"] for case in root.iter("testcase")][1] == 'rate < 5 & "so"'


# Markdown


def test_the_markdown_holds_the_table_s_own_figures_and_the_verdicts(two_levels: Results) -> None:
    text = run_markdown(two_levels, judge_run(parse_conditions("p50(ttft) > 100ms"), two_levels))
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


def test_markdown_says_first_that_a_run_is_in_doubt(write_run: Write) -> None:
    validity = {"verdict": "suspect", "reasons": ["a | b <c>"]}
    results = load_results(write_run(summary={"validity": validity}))
    text = run_markdown(results, judge_run([], results))
    assert text.startswith("## Tokenswarm: vllm, not to be believed\n")
    assert "- **In doubt:** a \\| b &lt;c>" in text


def test_the_words_of_a_verdict() -> None:
    def words(*found: Verdict) -> str:
        return verdict_words(Judgement("", [Finding("", "", verdict, "") for verdict in found], []))

    assert words() == "valid"
    assert words(MET, MET) == "all conditions passed"
    assert words(MET, UNDECIDED) == "1 of 2 conditions inconclusive"
