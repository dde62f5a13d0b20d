"""The live page in a real browser without a server: what stays in sight when a run is over."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
import pytest
from playwright.sync_api import Browser, expect

from tests.web.browser_page import BrowserPage
from tokenswarm.recording.live_series import Point
from tokenswarm.reports.html.document import Page, Section, Text, html_of
from tokenswarm.reports.palette import DARK, LIGHT
from tokenswarm.web.live_view import LevelRow

pytestmark = pytest.mark.slow

FINISHED = LevelRow(
    index=0,
    system_prompt="off",
    name="10",
    label="10 users",
    users=10,
    ramp_s=1.0,
    level_time_s=60.0,
    state="over",
    began_s=0.0,
    ended_s=60.0,
    complete=True,
    requests=100,
    token_rate=900.0,
    ttft_p50_s=0.1,
    ttft_p95_s=0.2,
    ttft_p99_s=0.3,
    tpot_p50_s=0.01,
)
TOTALS = dict.fromkeys(("offered_rate", "sent_rate", "completed_rate", "tokens_per_s"))
PROGRESS = dict.fromkeys(("left_s", "share", "index", "phase", "phase_left_s"))
RUN: dict[str, Any] = {
    "state": "stopped",
    "refusal": None,
    "run": "20260701-a",
    "folder": "results/20260701-a",
    "recover": "",
    "users": 0,
    "workers_missing": 0,
    "status": "finished",
    "facts": {"host": "http://gpu:8000", "engine": "vllm", "engine_version": "", "model": "", "shape": "ladder"},
    "revision": 1,
    "columns": Point._fields,
    "points": [],
    "warnings": [f"SUSPECT: reason {number}." for number in range(20)],
    "conditions": [],
    "progress": PROGRESS | {"elapsed_s": 60.0, "ends_with_requests": False},
    "levels": [msgspec.to_builtins(FINISHED)],
    "workers": [],
    "hints": [],
    "validity": {"verdict": "suspect", "reasons": []},
    "capacity": "",
    "totals": TOTALS | {"requests": 100, "failures": 0, "in_flight": 0},
}


def test_the_verdict_and_the_report_stay_in_sight_on_a_phone(browser: Browser) -> None:
    answers = {"live.json": RUN, "runs/latest/report.html": "<!doctype html><h1>The report</h1>"}
    shown = BrowserPage(browser, answers, viewport={"width": 400, "height": 700})
    page = shown.page
    page.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
    result = page.get_by_role("link", name="The last run is suspect: show its report")
    expect(result).to_be_in_viewport()
    assert page.evaluate("document.documentElement.scrollWidth") == 400
    result.click()
    expect(page.get_by_role("dialog", name="Report of 20260701-a")).to_be_visible()
    expect(page.frame_locator("#reader iframe").locator("h1")).to_have_text("The report")
    assert shown.wrong == []
    page.close()


def test_a_search_says_no_number_of_levels_that_nobody_knows(browser: Browser) -> None:
    running = msgspec.structs.replace(FINISHED, index=1, state="running", began_s=61.0)
    progress = {"elapsed_s": 70.0, "index": 1, "phase": "hold", "phase_left_s": 50.0, "ends_with_requests": False}
    live = RUN | {
        "state": "running",
        "status": "running",
        "facts": RUN["facts"] | {"shape": "capacity"},
        "levels": [msgspec.to_builtins(FINISHED), msgspec.to_builtins(running)],
        "progress": PROGRESS | progress,
    }
    shown = BrowserPage(browser, {"live.json": live})
    expect(shown.page.locator("#where")).to_have_text(
        "Probe 2: 10 users without system prompt · hold, 0:50 left. The search ends when it has found the limit."
    )
    assert shown.wrong == []
    shown.page.close()


def test_a_run_between_two_levels_is_not_called_over(browser: Browser) -> None:
    planned = msgspec.structs.replace(FINISHED, index=1, name="50", label="50 users", state="planned", began_s=None)
    of_run = {"state": "running", "status": "running"}
    live = RUN | of_run | {"levels": msgspec.to_builtins([FINISHED, planned])}
    shown = BrowserPage(browser, {"live.json": live})
    expect(shown.page.locator("#where")).to_have_text("Next: 50 users without system prompt.")
    shown.answers["live.json"] = RUN | of_run
    expect(shown.page.locator("#where")).to_have_text("The last level is over; the run is ending.")
    shown.answers["live.json"] = RUN | of_run | {"facts": RUN["facts"] | {"shape": "capacity"}}
    expect(shown.page.locator("#where")).to_have_text("The search chooses its next load.")
    expect(shown.page.locator("#spoken")).to_have_text("")
    shown.page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_report_inside_has_the_theme_of_the_page(browser: Browser, scheme: Literal["light", "dark"]) -> None:
    """Also where that is not the system's."""
    report = html_of(Page("Report", [], [Section("", [Text("words")])], "end"))
    answers = {"live.json": RUN, "runs/latest/report.html": report}
    shown = BrowserPage(browser, answers, viewport={"width": 1400, "height": 900}, color_scheme=scheme)
    shown.page.get_by_role("button", name="Dark or light").click()
    shown.page.click("#result")
    ground = "it => getComputedStyle(it).backgroundColor"
    other = DARK if scheme == "light" else LIGHT
    red, green, blue = (int(other["paper"][at : at + 2], 16) for at in (1, 3, 5))
    assert shown.page.frame_locator("#reader iframe").locator("html").evaluate(ground) == f"rgb({red}, {green}, {blue})"
    shown.page.close()


def test_values_of_tiles_are_on_one_line_whatever_their_captions(browser: Browser) -> None:
    shown = BrowserPage(browser, {"live.json": RUN}, viewport={"width": 1400, "height": 900})
    expect(shown.page.locator("#tiles > div").last).to_be_visible()
    tiles = shown.page.locator("#tiles > div").all()
    rows: dict[float, set[float]] = {}
    for tile in tiles:
        box, value = tile.bounding_box(), tile.locator("dd").bounding_box()
        assert box is not None
        assert value is not None
        rows.setdefault(box["y"], set()).add(value["y"])
    assert all(len(places) == 1 for places in rows.values())
    assert tiles[0].locator("small").inner_text() == "hold, 10 users"  # all levels are without a system prompt
    shown.page.close()


def test_one_reason_is_shown_and_the_others_are_folded_so_that_progress_and_figures_are_in_sight(
    browser: Browser,
) -> None:
    long = "SUSPECT: 20 users without system prompt: the load generator was too slow. " + "Run on a free machine. " * 9
    live = RUN | {"warnings": [long, "SUSPECT: second.", "SUSPECT: third."]}
    shown = BrowserPage(browser, {"live.json": live}, viewport={"width": 400, "height": 800})
    page = shown.page
    for place in ("#where", "#tiles > div >> nth=0"):
        expect(page.locator(place)).to_be_in_viewport(ratio=1)
    assert [words.strip() for words in page.locator("#reasons li:visible").all_inner_texts()] == [long.strip()]
    page.get_by_text("2 more reasons").click()
    assert page.locator("#reasons li:visible").all_inner_texts()[1:] == ["SUSPECT: second.", "SUSPECT: third."]
    page.close()


def test_the_only_reason_has_nothing_behind_it(browser: Browser) -> None:
    shown = BrowserPage(browser, {"live.json": RUN | {"warnings": ["SUSPECT: first."]}})
    expect(shown.page.locator("#reasons li")).to_have_text(["SUSPECT: first."])
    expect(shown.page.locator("#reasons summary")).to_be_hidden()
    shown.page.close()


@pytest.mark.parametrize("status", ["finished", "interrupted", "failed"])
def test_a_run_that_is_over_has_one_word_everywhere(browser: Browser, status: str) -> None:
    shown = BrowserPage(browser, {"live.json": RUN | {"status": status}})
    expect(shown.page.locator("#state")).to_have_text(status)
    expect(shown.page.locator("#run-heading")).to_have_text(f"Last run ({status})")
    expect(shown.page.locator("#where")).to_have_text(f"{status.capitalize()} after 1:00.")
    shown.page.close()


def test_figures_of_a_level_come_first_and_its_name_stays_in_sight_on_a_phone(browser: Browser) -> None:
    with_prompt = msgspec.structs.replace(FINISHED, index=1, system_prompt="on")
    levels = [msgspec.structs.replace(level, within_objectives=0.97) for level in (FINISHED, with_prompt)]
    live = RUN | {"levels": msgspec.to_builtins(levels)}
    shown = BrowserPage(browser, {"live.json": live}, viewport={"width": 400, "height": 800})
    page = shown.page
    expect(page.locator("#levels tbody tr")).to_have_count(2)
    rows = page.locator("#levels tbody tr").all()
    seen = page.locator("#levels thead th").evaluate_all(
        "cells => cells.filter((it) => it.getBoundingClientRect().right <= innerWidth).map((it) => it.textContent)"
    )
    assert seen[:5] == ["Users", "Tokens/s", "TTFT p50", "p95", "Met the SLO"]
    assert [row.locator("th, td").all_inner_texts()[:5] for row in rows] == [
        ["10", "900", "100 ms", "200 ms", "97 %"],
        ["10 +sys", "900", "100 ms", "200 ms", "97 %"],
    ]
    page.locator(".wide:has(#levels)").scroll_into_view_if_needed()
    page.locator(".wide:has(#levels)").evaluate("it => it.scrollTo(it.scrollWidth, 0)")
    for last in ("tbody tr:last-child th", "tbody tr:last-child td:last-child"):
        expect(page.locator(f"#levels {last}")).to_be_in_viewport(ratio=0.95)
    page.close()


def test_the_way_back_has_a_word_on_a_phone(browser: Browser) -> None:
    shown = BrowserPage(browser, {"live.json": RUN}, viewport={"width": 400, "height": 800})
    brand = shown.page.get_by_role("link", name="Locust", exact=False).first
    assert brand.evaluate("it => getComputedStyle(it).fontSize") != "0px"
    header = shown.page.locator("header").bounding_box()
    assert header is not None
    assert header["height"] < 70  # one row, also with a way to log out
    shown.page.close()


def test_the_plan_beside_start_is_marked_until_it_is_of_the_fields_as_they_are(browser: Browser) -> None:
    levels = {
        "name": "levels",
        "kind": "text",
        "label": "Levels",
        "help": "",
        "value": "10,50",
        "suggestions": [],
        "only_with": [],
        "only_if": None,
    }
    answers = {
        "form.json": [{"title": "Load", "folded": False, "fields": [levels]}],
        "plan.json": {"plan": "10, 50 users", "errors": []},
    }
    shown = BrowserPage(browser, answers)
    plan = shown.page.locator("#intended")
    expect(plan).to_have_text("Start runs: 10, 50 users.")
    expect(plan).not_to_have_attribute("aria-busy", "true")
    shown.answers["plan.json"] = {"plan": "5, 20 users", "errors": []}
    fill = """it => {
        it.value = "5,20";
        it.dispatchEvent(new Event("input", { bubbles: true }));
        const plan = document.getElementById("intended");
        return [plan.getAttribute("aria-busy"), getComputedStyle(plan, "::after").content];
    }"""
    assert shown.page.locator("#option-levels").evaluate(fill) == ["true", '" Being updated …"']
    expect(plan).to_have_text("Start runs: 5, 20 users.")
    expect(plan).not_to_have_attribute("aria-busy", "true")
    assert plan.evaluate("it => getComputedStyle(it, '::after').content") == "none"
    assert "plan.json?levels=5%2C20" in shown.asked
    shown.page.close()
