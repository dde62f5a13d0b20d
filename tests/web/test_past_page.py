"""The list of past runs in a real browser: it is searched, sorted and compared, and shows documents inside the page."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from tests.web.browser_page import BrowserPage

pytestmark = pytest.mark.slow

REPORT = """<!doctype html><html><body><a href="#deep">To the end</a><p style="height: 5000px"></p><p id="deep">Deep</p>
<script>parent.document.title = "reached"</script><form action="/swarm"></form></body></html>"""


def run(folder: str, **values: Any) -> dict[str, Any]:
    """A finished run as runs.json has it."""
    rate = values.pop("rate", None)
    headline = None if rate is None else {"token_rate": rate, "ttft_p50_s": 1 / rate, "level": "5"}
    plain = {
        "folder": folder,
        "status": "finished",
        "started_at": "2026-07-01T10:00:00Z",
        "engine": "vllm",
        "name": "",
        "model": "llama",
        "host": "http://gpu-1:8000",
        "levels": ["5"],
        "validity": "valid",
        "note": "",
        "tags": {},
        "files": ["report.html", "requests.csv"],
        "recover": "",
        "comparable": True,
    }
    return plain | values | {"headline": headline}


RUNS = [
    run("20260704-d", rate=50.0, host="http://gpu-2:8000"),
    run("20260703-c", status="damaged", validity=None, comparable=False, files=[]),
    run("20260702-b", rate=1200.0, name="nightly", tags={"gpu": "H100", "branch": "<b>main</b>"}),
    run("20260701-a", rate=300.0, validity="suspect", engine="sglang"),
]
OLDEST_FIRST = "run=20260701-a&run=20260702-b&run=20260704-d"


@pytest.fixture
def opened(browser: Browser) -> Iterator[Callable[..., BrowserPage]]:
    """open(**more answers)"""
    pages: list[BrowserPage] = []

    def make(width: int = 1400, **answers: Any) -> BrowserPage:
        shown = {"runs.json": RUNS, "runs/20260704-d/report.html": REPORT}
        pages.append(BrowserPage(browser, shown | answers, viewport={"width": width, "height": 800}))
        return pages[-1]

    yield make
    for each in pages:
        each.page.close()


def folders(shown: BrowserPage) -> list[str]:
    """Those of the list, from top to bottom: the last letter of each."""
    cells = shown.page.locator("#past tbody th").all_inner_texts()
    return [word[-1] for cell in cells for word in cell.split() if word.startswith("2026")]


@pytest.fixture(scope="module")
def listed(browser: Browser) -> Iterator[BrowserPage]:
    """The list alone, of several tests."""
    shown = BrowserPage(browser, {"runs.json": RUNS}, viewport={"width": 1400, "height": 800})
    yield shown
    shown.page.close()


def test_runs_are_found_by_name_tag_engine_server_and_verdict(listed: BrowserPage) -> None:
    for words, found in {
        "nightly": "b",
        "gpu=h100": "b",
        "SGLang": "a",
        "gpu-2": "d",
        "suspect": "a",
        "damaged": "c",
        "vllm valid": "db",
        "nothing like it": "",
        "": "dcba",
    }.items():
        listed.page.get_by_label("Search").fill(words)
        assert folders(listed) == list(found), words
        assert listed.page.inner_text("#found") == (f"{len(found)} of 4 runs" if words else "")


def test_names_and_tags_are_shown_as_text(listed: BrowserPage) -> None:
    shown = listed
    cell = shown.page.locator("#past tbody tr").nth(2).locator("th")
    assert cell.inner_text().split() == ["nightly", "20260702-b", "gpu=H100", "branch=<b>main</b>"]
    expect(shown.page.get_by_role("checkbox", name="Choose nightly")).to_be_visible()
    assert shown.wrong == []


def test_columns_sort_by_their_values_with_unknown_ones_last(listed: BrowserPage) -> None:
    shown = listed
    rate = shown.page.get_by_role("button", name="Most tokens/s")
    rate.click()
    assert folders(shown) == ["b", "a", "d", "c"]
    heading = shown.page.get_by_role("columnheader", name="Most tokens/s")
    assert heading.get_attribute("aria-sort") == "descending"
    shown.page.keyboard.press("Enter")  # the heading keeps the focus
    assert folders(shown) == ["d", "a", "b", "c"]
    shown.page.get_by_role("button", name="Run", exact=True).click()
    assert folders(shown) == ["a", "c", "d", "b"]
    shown.page.get_by_role("button", name="Started").click()
    assert folders(shown) == ["d", "c", "b", "a"]


def test_no_column_is_cut_on_a_wide_screen(opened: Callable[..., BrowserPage]) -> None:
    levels = [str(users) for users in range(10, 200, 10)]
    long = run(
        "20260704-120000-vllm",
        rate=9.0,
        levels=levels,
        model="org/a-model-of-70b-instruct",
        host="http://10.1.2.3:8000",
    )
    shown = opened(**{"runs.json": [long, *RUNS]})
    place = shown.page.locator(".wide:has(#past)")
    assert place.evaluate("it => it.scrollWidth - it.clientWidth") == 0
    assert (
        shown.page.locator("#past .pill").evaluate_all("pills => Math.max(...pills.map((it) => it.offsetHeight))") < 30
    )


def test_chosen_runs_stay_chosen_and_are_drawn_oldest_first(opened: Callable[..., BrowserPage]) -> None:
    page_of = {"trend": {"page": "<p>The trend</p>"}, "compare": {"message": "shape differs", "can_allow": True}}
    shown = opened(**page_of)
    page = shown.page
    for name in ("nightly", "20260704-d"):
        page.get_by_role("checkbox", name=f"Choose {name}").check()
    assert page.is_enabled("#compare")
    assert page.is_disabled("#trend")
    page.fill("#search", "sglang")
    assert page.inner_text("#found").endswith("2 of the chosen runs are not among them")
    page.get_by_role("checkbox", name="Choose 20260701-a").check()
    page.click("#trend")
    expect(page.get_by_role("dialog", name="Trend of 3 runs")).to_be_visible()
    expect(page.frame_locator("#reader iframe").locator("p")).to_have_text("The trend")
    assert f"trend?{OLDEST_FIRST}" in shown.asked
    page.get_by_role("button", name="Close").click()
    page.click("#compare")
    expect(page.locator("#unlike")).to_contain_text("shape differs")
    shown.answers["compare"] = {"page": "<p>Compared anyway</p>"}
    page.get_by_role("button", name="Compare anyway").click()
    expect(page.frame_locator("#reader iframe").locator("p")).to_have_text("Compared anyway")
    assert f"compare?{OLDEST_FIRST}&allow=1" in shown.asked


def test_a_report_opens_inside_without_scripts_and_its_links_stay_in_it(opened: Callable[..., BrowserPage]) -> None:
    shown = opened(width=400)
    page = shown.page
    link = page.get_by_role("link", name="Report").first
    page.locator("#start-heading").click()  # folded
    figures = page.locator("#past tbody tr").first.locator("td")
    for shown_on_phones in (link, page.locator("#past .pill").first, figures.nth(1), figures.nth(2)):
        place = shown_on_phones.bounding_box()
        assert place is not None
        assert place["x"] + place["width"] <= 400
    link.click()
    dialog = page.get_by_role("dialog", name="Report of 20260704-d")
    expect(dialog).to_be_visible()
    report = page.frame_locator("#reader iframe")
    report.get_by_role("link", name="To the end").click()
    expect(report.locator("#deep")).to_be_in_viewport()
    assert page.title() == "Tokens"
    assert page.locator("#reader-alone").get_attribute("href") == link.evaluate("it => it.href")
    assert page.evaluate("document.documentElement.scrollWidth") == 400
    page.get_by_role("button", name="Close").click()
    expect(dialog).to_be_hidden()
    assert page.evaluate("document.activeElement.textContent") == "Report"  # where it was opened
    link.click()
    report.locator("#deep").click()  # so that the report has the keys
    assert page.evaluate("document.activeElement.tagName") == "IFRAME"
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    assert all("sandboxed" in words for words in shown.wrong)  # the browser says that it ran no script
