"""What --fail-if says, and where it points when it cannot be read."""

from __future__ import annotations

import pytest

from reports.conditions import Condition, ConditionError, Figure, parse_conditions, parse_pass_conditions


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
    ("text", "message", "at"),
    [
        ("p95(ttft) > 500", "p95(ttft) takes its bound in us or ms or s, got none", ""),
        ("p95(ttft) > 500 or rate < 5", "p95(ttft) takes its bound in us or ms or s, got none", "or rate < 5"),
        ("p95(ttft) > 500msec", "p95(ttft) takes its bound in us or ms or s, got 'msec'", "msec"),
        ("rate < 5 ms", "rate takes its bound in tok/s, got 'ms'", "ms"),
        ("goodput < 5", "goodput takes its bound in % or req/s, got none", ""),
        ("ttft > 5ms", "ttft has many values; say which, like p95(ttft) or mean(ttft)", "ttft > 5ms"),
        (
            "rate < 5, p95(foo) > 1s",
            "p95 is taken of one of ttft, ttfvt, tpot, gap, e2e, user_rate, not of 'foo'",
            None,
        ),
        (
            "p96(ttft) > 1s",
            "expected one of p1, p5, p10, p50, p90, p95, p99, mean, min, max before the bracket, got 'p96'",
            None,
        ),
        ("p95(ttft > 1s", "expected a closing bracket after p95(ttft", "> 1s"),
        ("p95(ttft) = 1s", "expected one of > >= < <=, got '='", "= 1s"),
        ("p95(ttft) 1s", "expected one of > >= < <= after p95(ttft), got '1'", "1s"),
        ("p95(ttft) >", "expected a number, but the text ends here", ""),
        ("p95(ttft) > ms", "expected a number, got 'ms'", "ms"),
        ("failures > -1", "failures is never below zero, got -1", "-1"),
        ("p95(ttft) > 1s,", "expected another condition after ','", ""),
        ("p95(e2e) > 5s rate < 6", "expected a comma or `or` between two conditions, got 'rate'", "rate < 6"),
        ("rate@ < 5", "expected a level behind @, like @100 or @100/on", None),
        ("rate@10/maybe < 5", "expected on or off behind the level, the system prompt's, got 'maybe'", "maybe < 5"),
        ("speed < 5", None, "speed < 5"),
        ("!", "expected a figure like p95(ttft), rate, failures, goodput or suspect, got '!'", "!"),
    ],
)
def test_what_cannot_be_read_is_pointed_at(text: str, message: str | None, at: str | None) -> None:
    told, rest = pointed(text)
    assert message is None or told == message
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
        ("ttft_p95 > 500ms", "a change is in percent: 500%", "ms"),
        ("ttft_p95 > -5%", "a rise is written with a plus: > +5%, and a fall with <", "-5%"),
        ("rate < 5%", "a fall is written with a minus: < -5%, and a rise with >", "5%"),
        ("max(ttft) > +5%", "max(ttft) has no interval, so that no change of it can be told from chance", None),
        ("p95(gap) > +5%", "gaps of one moment are one for all users: no change can be told; use tpot", None),
        (
            "ttft_p95 < -5%",
            "a run that is better would fail; write the change for the worse, like 'p95(ttft) > +5%'",
            "< -5%",
        ),
        (
            "rate > +5%",
            "a run that is better would fail; write the change for the worse, like 'rate < -5%'",
            "> +5%",
        ),
        ("suspect", "suspect has no change; a suspect run is refused unless --allow suspect", "suspect"),
    ],
)
def test_a_gate_s_bound_that_nothing_could_break_or_keep_is_pointed_at(text: str, message: str, at: str | None) -> None:
    told, rest = pointed(text, relative=True)
    assert told == message
    assert at is None or rest == at
