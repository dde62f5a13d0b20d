"""One line says where a run stands."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from tests.golden.texts import HOLDING
from tokenswarm.metrics.level import Arrivals, Level, planned_length_s
from tokenswarm.recording.live_series import RequestRates
from tokenswarm.recording.progress import TimeLeft
from tokenswarm.reports.level_names import levels_in_words
from tokenswarm.reports.progress_line import WITHOUT_DRAINS, plan_lines, progress_bar, progress_legend, progress_line


def test_the_line_tells_everything_with_its_unit() -> None:
    shown = [field.strip() for field in progress_line(HOLDING).split("  ") if field.strip()]
    assert shown[:4] == ["12:34", "level 2/6", "prompt off", "hold: 50/50 users"]
    assert shown[4:] == ["2,431 tok/s", "TTFT p50", "253 ms", "1 failed", "10:00 left"]
    assert "left" not in progress_line(replace(HOLDING, left=None))


@pytest.mark.parametrize("is_open", [False, True])
@pytest.mark.parametrize("as_bar", [False, True])
@pytest.mark.parametrize("has_end", [False, True])
def test_the_legend_has_the_fields_of_the_line_or_bar(is_open: bool, as_bar: bool, has_end: bool) -> None:
    progress = replace(HOLDING, ttft_p50_s=0.0123, failures=0, left=HOLDING.left if has_end else None)
    level = Level(0, "off", "50", 50, level_time_s=60.0 if has_end else None)
    if is_open:
        progress = replace(progress, users_target=0, request_rates=RequestRates(20.0, 19.8, 17.4))
        arrivals = Arrivals("poisson", ((0.0, 5.0),), 5.0)
        level = Level(0, "off", "5/s", level_time_s=level.level_time_s, arrivals=arrivals)
    shown = progress_bar(progress, 200).replace("]  ", "] ") if as_bar else progress_line(progress)
    fields = [field.strip() for field in shown.split("  ") if field.strip()]
    explained = progress_legend([level], as_bar=as_bar).partition(": ")[2].split("; ")
    assert len(explained) == len(fields)
    for unit, words in (("tok/s", "tokens/s"), ("TTFT", "TTFT"), ("failed", "failed"), ("left", "left")):
        assert [unit in field for field in fields] == [words in field for field in explained]


def test_the_line_of_an_open_loop_has_its_rates_in_place_of_users() -> None:
    line = progress_line(replace(HOLDING, users=1, users_target=0, request_rates=RequestRates(20.0, 19.81, 17.4)))
    shown = [field.strip() for field in line.split("  ") if field.strip()]
    assert shown[2:5] == ["hold", "20.0/19.8/17.4 req/s", "48 in flight"]
    assert shown[-2:] == ["1 failed", "10:00 left"]


def test_a_window_without_tokens_shows_dashes_not_zeros() -> None:
    line = progress_line(replace(HOLDING, tokens_per_s=None, ttft_p50_s=None))
    assert "     – tok/s  TTFT p50       –" in line


def test_a_line_of_a_large_run_keeps_within_120_columns() -> None:
    large = replace(HOLDING, level_number=10, levels=12, tokens_per_s=123_456.0, users=1000, users_target=1000)
    long = replace(large, elapsed_s=35_999, failures=1_234, left=TimeLeft(35_999.0, 0.5))
    assert len(progress_line(long)) < 120
    open_loop = replace(large, users_target=0, in_flight=123, failures=12, request_rates=RequestRates(99.5, 99.5, 99.5))
    assert len(progress_line(open_loop)) < 120


def test_fields_keep_their_place_from_line_to_line() -> None:
    ramping = replace(HOLDING, elapsed_s=3, users=4, phase="ramp", system_prompt="on", tokens_per_s=9.5, ttft_p50_s=1.5)
    first, second = progress_line(ramping), progress_line(HOLDING)
    for word in ("level", "prompt", "tok/s", "TTFT"):
        assert first.index(word) == second.index(word)


@pytest.mark.parametrize(
    ("limits", "words"),
    [({"level_time_s": 30.0}, "warm-up of 30 s"), ({"requests": 50, "level_time_s": None}, "warm-up of 50 requests")],
)
def test_the_plan_names_the_warm_up(limits: dict[str, Any], words: str) -> None:
    warming = Level(0, "off", "10", 10, 1.0, warm_up=True, **limits)
    level = Level(1, "off", "10", 10, 1.30692, 60.0)
    assert words in plan_lines([warming, level], 5.0, {})[0]
    if limits["level_time_s"]:  # there is no pause after a warm-up
        assert "; 1 min 40 s in all" in plan_lines([warming, level], 10.0, {})[0]
    assert "ramp 1.31 s" in plan_lines([level], 5.0, {})[0]
    assert "warm-up" not in plan_lines([level], 5.0, {})[0]


def test_the_plan_lasts_as_long_as_its_levels_pauses_and_leads_but_for_the_drains() -> None:
    arrivals = Arrivals("poisson", ((0.0, 5.0),), 5.0)
    open_loop = [Level(0, "off", "5/s", level_time_s=4.0, arrivals=arrivals)]
    closed = [Level(n, "off", "2", 2, 1.0, 185.0) for n in range(2)]
    assert f"; 10.5 s in all, pauses of 5 s included, {WITHOUT_DRAINS}" in plan_lines(open_loop, 5.0, {})[0]
    assert f"; 6 min 20 s in all, pauses of 5 s included, {WITHOUT_DRAINS}" in plan_lines(closed, 5.0, {})[0]
    assert f"; 6 min 10 s in all, {WITHOUT_DRAINS}" in plan_lines(closed, 0.0, {})[0]
    assert planned_length_s([Level(0, "off", "2", 2)], 5.0) is None


def test_between_levels_no_rate_is_shown() -> None:
    idle = replace(HOLDING, users=0, phase="drain", in_flight=0)
    assert "tok/s" not in progress_line(idle)
    rates = RequestRates(20.0, 19.81, 17.4)
    assert "   –/   –/   – req/s" in progress_line(replace(idle, users_target=0, request_rates=rates))


@pytest.mark.parametrize("name", ["1", "1/s", "1 sessions/s"])
def test_the_name_of_a_level_of_one_is_singular(name: str) -> None:
    assert not re.search(r"(user|request|session)s", levels_in_words([Level(0, "off", name)]))
    assert re.search(r"(user|request|session)s", levels_in_words([Level(0, "off", f"1{name}")]))


def test_rates_of_one_unit_have_it_once() -> None:
    levels = [Level(n, "off", name) for n, name in enumerate(("5/s", "10/s"))]
    assert levels_in_words(levels) == "5, 10 requests/s without system prompt"
    levels = [Level(n, "off", name) for n, name in enumerate(("0.5 sessions/s", "2 sessions/s"))]
    assert levels_in_words(levels) == "0.5, 2 sessions/s without system prompt"


def test_a_probe_of_a_search_has_a_number_and_no_total() -> None:
    probe = replace(HOLDING, searches=True)
    assert f"probe {HOLDING.level_number}  prompt" in progress_line(probe)
    assert f"probe {HOLDING.level_number} hold" in progress_bar(probe, 200)
    assert (
        "Plan: a capacity search; its first probe: 2 users"
        in plan_lines([Level(0, "off", "2", 2, probe=True)], 5.0, {})[0]
    )
