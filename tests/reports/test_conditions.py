"""What --fail-if says, and where it points when it cannot be read."""

from __future__ import annotations

import pytest

from tokenswarm.reports.checks.conditions import (
    Condition,
    ConditionError,
    Figure,
    parse_conditions,
    parse_pass_conditions,
)


def pointed(text: str, relative: bool = False) -> tuple[str, str]:
    """(the message, what the caret points at to the end of the text)."""
    with pytest.raises(ConditionError) as caught:
        parse_conditions(text, relative)
    message, repeated, caret = str(caught.value).split("\n")
    assert repeated == f"  {text}"
    assert caret.strip() == "^"
    assert message.startswith("--fail-if: ")
    return message.removeprefix("--fail-if: "), text[len(caret) - 3 :]


@pytest.mark.parametrize(
    ("text", "figure", "comparator", "bound"),
    [
        ("p95(ttft) > 500ms", Figure("ttft", "p95"), ">", 0.5),
        ("ttft_p95>500 ms", Figure("ttft", "p95"), ">", 0.5),
        ("p95(ttft_scheduled) > 500ms", Figure("ttft_scheduled", "p95"), ">", 0.5),
        ("e2e_scheduled_p99 > 2s", Figure("e2e_scheduled", "p99"), ">", 2.0),
        ("P99( gap ) >= 0.25 S", Figure("gap", "p99"), ">=", 0.25),
        ("mean(tpot) > 900us", Figure("tpot", "mean"), ">", 0.0009),
        ("max(e2e) > 10s", Figure("e2e", "max"), ">", 10.0),
        ("user_rate_p50 < 20", Figure("user_rate", "p50"), "<", 20.0),
        ("p10(user_rate) <= 20 tok/s", Figure("user_rate", "p10"), "<=", 20.0),
        ("min(user_rate) < 5", Figure("user_rate", "min"), "<", 5.0),
        ("p99(itl) > 30ms", Figure("gap", "p99"), ">", 0.03),
        ("itl_p99 > 30ms", Figure("gap", "p99"), ">", 0.03),
        ("rate < 2000 tok/s", Figure("rate"), "<", 2000.0),
        ("request_rate < 3.5 req/s", Figure("request_rate"), "<", 3.5),
        ("failures > 1%", Figure("failures"), ">", 0.01),
        ("failures > 1", Figure("failures"), ">", 1.0),
        ("goodput < 95 %", Figure("goodput"), "<", 0.95),
        ("goodput < 2 req/s", Figure("goodput"), "<", 2.0),
    ],
)
def test_a_condition_is_a_figure_a_comparator_and_a_bound(
    text: str, figure: Figure, comparator: str, bound: float
) -> None:
    (condition,) = parse_conditions(text)
    assert (condition.figure, condition.comparator, condition.bound) == (figure, comparator, bound)
    assert (condition.text, condition.level, condition.system_prompt) == (text, None, None)


@pytest.mark.parametrize(
    ("text", "level", "system_prompt"),
    [("rate@100 < 5", "100", None), ("p95(ttft) @ 50 / on > 1s", "50", "on"), ("rate@100/off<5", "100", "off")],
)
def test_a_condition_may_be_of_one_level_or_one_mode_of_it(text: str, level: str, system_prompt: str | None) -> None:
    (condition,) = parse_conditions(text)
    assert (condition.level, condition.system_prompt) == (level, system_prompt)
    assert condition.names(level, system_prompt or "on")
    assert not condition.names("7", system_prompt or "on")
    assert condition.names(level, "off" if system_prompt == "on" else "on") is (system_prompt is None)


@pytest.mark.parametrize("text", ["suspect, rate < 5 or failures > 0", "suspect or rate<5,failures > 0"])
def test_conditions_come_after_commas_or_the_word_or(text: str) -> None:
    suspect, rate, failures = parse_conditions(text)
    assert suspect == Condition("suspect")
    assert rate.figure == Figure("rate")
    assert (failures.text, failures.figure) == ("failures > 0", Figure("failures"))


def test_no_text_is_no_condition() -> None:
    assert parse_conditions("  ") == []


@pytest.mark.parametrize(
    ("text", "values", "at"),
    [
        ("p95(ttft) > 500", ["p95(ttft)", "us or ms or s"], ""),
        ("p95(ttft) > 500 or rate < 5", ["p95(ttft)", "us or ms or s"], "or rate < 5"),
        ("p95(ttft) > 500msec", ["p95(ttft)", "us or ms or s", "'msec'"], "msec"),
        ("rate < 5 ms", ["tok/s", "'ms'"], "ms"),
        ("goodput < 5", ["% or req/s"], ""),
        ("ttft > 5ms", ["p95(ttft)", "mean(ttft)"], "ttft > 5ms"),
        (
            "rate < 5, p95(foo) > 1s",
            ["ttft, ttfvt, tpot, gap, e2e, ttft_scheduled, e2e_scheduled, user_rate", "'foo'"],
            None,
        ),
        ("p96(ttft) > 1s", ["p1, p5, p10, p50, p90, p95, p99, mean, min, max", "'p96'"], None),
        ("p95(ttft > 1s", ["bracket", "p95(ttft"], "> 1s"),
        ("p95(ttft) = 1s", ["> >= < <=", "'='"], "= 1s"),
        ("p95(ttft) 1s", ["> >= < <=", "'1'"], "1s"),
        ("p95(ttft) >", ["number"], ""),
        ("p95(ttft) > ms", ["number", "'ms'"], "ms"),
        ("failures > -1", ["failures", "-1"], "-1"),
        ("failures > 0.01", ["failures > 1%"], "0.01"),
        ("p95(ttft) > 1s,", ["another condition"], ""),
        ("p95(e2e) > 5s rate < 6", ["comma", "'rate'"], "rate < 6"),
        ("rate@ < 5", ["@100"], None),
        ("rate@10/maybe < 5", ["on or off", "'maybe'"], "maybe < 5"),
        ("speed < 5", ["'speed'"], "speed < 5"),
        ("!", ["p95(ttft), rate, failures, goodput or suspect", "'!'"], "!"),
    ],
)
def test_what_cannot_be_read_is_pointed_at(text: str, values: list[str], at: str | None) -> None:
    message, rest = pointed(text)
    assert [value for value in values if value not in message] == []
    assert at is None or rest == at


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("p95(ttft) <= 500ms", "<= 500ms"),  # would fail the fast run and pass the slow one
        ("failures < 1%", "< 1%"),
        ("rate > 2000", "> 2000"),
        ("goodput >= 95%", ">= 95%"),
        ("p95(user_rate) < 20", "p95(user_rate) < 20"),  # passes when only the fastest 5 % reach 20
        ("p5(ttft) > 1s", "p5(ttft) > 1s"),
    ],
)
def test_a_condition_that_would_fail_the_better_run_is_refused(text: str, at: str) -> None:
    assert pointed(text)[1] == at


@pytest.mark.parametrize(
    ("text", "comparators"),
    [
        ("p95(ttft) <= 500ms", [">"]),
        ("p95(ttft) < 500ms, p5(user_rate) >= 20", [">=", "<"]),
        ("failures <= 1% and goodput > 95%", [">", "<="]),
    ],
)
def test_a_pass_condition_fails_where_it_is_not_true(text: str, comparators: list[str]) -> None:
    conditions = parse_pass_conditions(text)
    assert [condition.comparator for condition in conditions] == comparators
    assert [condition.label.removeprefix("pass if ") in text for condition in conditions] == [True] * len(conditions)


@pytest.mark.parametrize("text", ["p95(ttft) > 500ms", "rate <= 20", "suspect", "p99(user_rate) >= 20"])
def test_a_pass_condition_that_only_a_worse_run_meets_is_refused(text: str) -> None:
    with pytest.raises(ConditionError):
        parse_pass_conditions(text)


@pytest.mark.parametrize(
    ("text", "comparator", "bound"),
    [("ttft_p95 > +5%", ">", 0.05), ("p95(ttft)@50/on >= 12.5 %", ">=", 0.125), ("rate < -5%", "<", -0.05)],
)
def test_a_gate_s_bound_is_a_change(text: str, comparator: str, bound: float) -> None:
    (condition,) = parse_conditions(text, relative=True)
    assert (condition.comparator, condition.bound) == (comparator, bound)


@pytest.mark.parametrize(
    ("text", "message", "at"),
    [
        ("ttft_p95 > 500ms", "tokenswarm report NEW --fail-if", "ms"),
        ("ttft_p95 > -5%", "> +5%", "-5%"),
        ("rate < 5%", "< -5%", "5%"),
        ("max(ttft) > +5%", "max(ttft) has no interval", None),
        ("p95(gap) > +5%", "use tpot", None),
        (
            "ttft_p95 < -5%",
            "'p95(ttft) > +5%'",
            "< -5%",
        ),
        (
            "rate > +5%",
            "'rate < -5%'",
            "> +5%",
        ),
        ("suspect", "--allow suspect", "suspect"),
    ],
)
def test_a_gate_s_bound_that_nothing_could_break_or_keep_is_pointed_at(text: str, message: str, at: str | None) -> None:
    told, rest = pointed(text, relative=True)
    assert message in told
    assert at is None or rest == at
