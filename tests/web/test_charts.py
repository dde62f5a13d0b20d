"""The live charts in a real browser, over static files: what is drawn for which points."""

from __future__ import annotations

import functools
import http.server
import itertools
import re
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from tokenswarm.web.routes import STATIC

pytestmark = pytest.mark.slow

WINDOW_S = 5.0
COLUMNS = (
    *(
        "start_s",
        "end_s",
        "level_index",
        "tokens_per_s",
        "ttft_p50_s",
        "ttft_p95_s",
        "ttft_p99_s",
        "gap_p50_s",
        "gap_p99_s",
    ),
    *("users", "in_flight", "failures", "client_delay_p99_s"),
)
LEVEL = {"index": 0, "began_s": 0.0, "ended_s": None, "ramp_s": 10.0, "level_time_s": 60.0}
PAGE = """<!doctype html><html lang="en" data-theme="light"><link rel="stylesheet" href="page.css"><body>
<main><section><div id="charts" class="charts"></div></section></main><script type="module">
import { Charts } from "./charts.js"; window.charts = new Charts(document.getElementById("charts"));
</script></body></html>"""


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        """Requests are not logged."""


@pytest.fixture
def page(browser: Browser, tmp_path: Path) -> Iterator[Page]:
    """A page with the charts alone, 1,000 pixels wide."""
    folder = tmp_path / "static"
    shutil.copytree(STATIC, folder)
    (folder / "charts.html").write_text(PAGE)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(QuietHandler, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    opened = browser.new_page(viewport={"width": 1000, "height": 900})
    errors: list[str] = []
    opened.on("pageerror", lambda error: errors.append(str(error)))
    opened.goto(f"http://127.0.0.1:{server.server_port}/charts.html")
    opened.wait_for_function("window.charts !== undefined")
    yield opened
    opened.close()
    server.shutdown()
    server.server_close()
    assert errors == []


def point(index: int, **values: Any) -> list[Any]:
    """The window of this index: 10 users, nothing else known, but for `values`."""
    row = dict.fromkeys(COLUMNS) | {"level_index": 0, "users": 10, "in_flight": 8, "failures": {}}
    row |= {"start_s": index * WINDOW_S, "end_s": (index + 1) * WINDOW_S} | values
    return [index, *(row[column] for column in COLUMNS)]


def show(page: Page, points: list[list[Any]], now_s: float, level: dict[str, Any] | None = None) -> None:
    page.evaluate(
        "([columns, points, level, now_s]) => { charts.update(columns, points); charts.draw([level], now_s); }",
        [COLUMNS, points, level or LEVEL, now_s],
    )


def points_of(page: Page, plot: int, column: str) -> list[list[float]]:
    points: list[list[float]] = page.evaluate(f"document.getElementById('charts').plots[{plot}].points('{column}')")
    return points


def strokes(page: Page, plot: int) -> list[list[tuple[float, float]]]:
    """Of the plot's first line: its unbroken pieces, as (x, y) in pixels."""
    path = page.locator(".plot").nth(plot).locator("path.line").first.get_attribute("d") or ""
    return [[(float(x), float(y)) for x, y in re.findall(r"([\d.]+) ([\d.]+)", piece)] for piece in path.split("M")[1:]]


def test_a_line_breaks_where_a_value_is_missing_and_a_point_is_replaced_by_its_index(page: Page) -> None:
    rates = [100.0, 200.0, None, 400.0]
    show(page, [point(i, tokens_per_s=rate) for i, rate in enumerate(rates)], 20)
    assert points_of(page, 0, "tokens_per_s") == [[2.5, 100], [7.5, 200], [17.5, 400]]
    assert [len(piece) for piece in strokes(page, 0)] == [2, 1]
    show(page, [point(2, tokens_per_s=300.0)], 20)
    ((*ys,),) = [[y for _, y in piece] for piece in strokes(page, 0)]
    distances = [one - other for one, other in itertools.pairwise(ys)]
    assert distances == pytest.approx([distances[0]] * 3, abs=0.2)  # pixels grow with the value
    assert distances[0] > 0


def test_latencies_are_in_milliseconds_on_an_axis_with_round_numbers(page: Page) -> None:
    show(page, [point(i, ttft_p50_s=0.05, ttft_p95_s=0.08, ttft_p99_s=0.1) for i in range(4)], 20)
    assert points_of(page, 1, "ttft_p99_s")[0] == [2.5, 100]
    axis = page.locator(".plot").nth(1).locator("text.y").all_text_contents()
    assert axis == ["0", "50", "100"]
    assert page.locator(".plot").nth(1).locator("text.x").all_text_contents()[:2] == ["0:00", "0:05"]


def test_users_are_drawn_from_zero_and_constant_in_the_hold(page: Page) -> None:
    show(page, [point(i, users=min(10, 6 * (i + 1))) for i in range(4)], 20)
    found = [[0, 0], [5, 6], [10, 10], [10, 10], [10, 10], [15, 10], [15, 10], [20, 10]]
    assert points_of(page, 3, "users") == found


def test_counts_are_a_slope_in_the_ramp_and_steps_after_it(page: Page) -> None:
    """Each step is the count at its end, over the time since the count before."""
    counts = (3, 8, 10, 7, 9)  # the ramp ends with the second
    show(page, [point(i, users=10, in_flight=count) for i, count in enumerate(counts)], 25)
    ramp, held = points_of(page, 3, "in_flight")[:4], points_of(page, 3, "in_flight")[4:]
    assert ramp == [[0, 0], [5, 3], [10, 8], [10, 8]]
    assert held == [[10, 10], [15, 10], [15, 7], [20, 7], [20, 9], [25, 9]]


def test_users_fall_in_steps_after_the_hold(page: Page) -> None:
    """Counted at the ends of windows: a slope would look like a slow drain."""
    level = LEVEL | {"ramp_s": 0.0, "level_time_s": 11.0}
    counts = ((10, 9), (10, 9), (4, 3), (0, 0))
    show(page, [point(i, users=users, in_flight=sent) for i, (users, sent) in enumerate(counts)], 20, level)
    assert points_of(page, 3, "users")[-6:] == [[10, 10], [11, 10], [11, 4], [15, 4], [15, 0], [20, 0]]
    assert points_of(page, 3, "in_flight")[-6:] == [[10, 9], [11, 9], [11, 3], [15, 3], [15, 0], [20, 0]]


def test_outcomes_are_in_the_legend_once_they_occur(page: Page) -> None:
    legend = page.locator(".charts figure").nth(5).locator(".key li")
    show(page, [point(0)], 5)
    assert legend.all_inner_texts() == ["no failures"]
    assert page.locator(".plot").nth(5).locator("text.y").all_text_contents() == ["0", "1"]  # counts have no halves
    show(page, [point(1, failures={"timeout": 3})], 10)
    assert legend.all_inner_texts() == ["timeout"]
    assert [count for _, count in points_of(page, 5, "timeout")] == [0, 3]


def test_the_rates_of_an_open_loop_are_drawn_and_its_users_are_not(page: Page) -> None:
    legends = [page.locator(".charts figure").nth(place).locator(".key li") for place in (3, 4)]
    show(page, [point(0, users=5, in_flight=5)], 5)
    assert [legend.all_inner_texts() for legend in legends] == [["users", "in flight"], ["sent", "completed"]]
    page.evaluate("charts.clear()")
    columns = (*COLUMNS, "offered_rate", "sent_rate", "completed_rate")
    rates = (20.0, 19.8, 18.5)
    page.evaluate("([columns, points]) => charts.update(columns, points)", [columns, [[*point(0), *rates]]])
    page.evaluate("level => charts.draw([level], 5)", LEVEL)
    assert [legend.all_inner_texts() for legend in legends] == [["in flight"], ["offered", "sent", "completed"]]
    found = [points_of(page, 4, name) for name in ("offered_rate", "sent_rate", "completed_rate")]
    assert [value for ((_, value),) in found] == list(rates)


def test_the_hold_is_shaded(page: Page) -> None:
    show(page, [point(i, tokens_per_s=1.0) for i in range(4)], 20)
    shade = page.locator(".plot").first.locator(".shades rect")
    grid = page.locator(".plot").first.locator(".grid line").first
    left, right = (float(grid.get_attribute(name) or 0) for name in ("x1", "x2"))
    assert float(shade.get_attribute("x") or 0) == pytest.approx(left + (right - left) / 2)  # from 10 s to 20 s of 20 s
    assert float(shade.get_attribute("width") or 0) == pytest.approx((right - left) / 2)


def test_the_values_under_the_pointer_are_shown(page: Page) -> None:
    show(page, [point(i, ttft_p50_s=0.05 + i / 100, ttft_p95_s=0.2, ttft_p99_s=0.3) for i in range(4)], 20)
    plot = page.locator(".plot").nth(1)
    box = plot.bounding_box()
    assert box is not None
    ((_, _, (x, _), _),) = strokes(page, 1)
    page.mouse.move(box["x"] + x + 3, box["y"] + 60)
    assert plot.locator(".values").inner_text().splitlines() == ["0:13", "p50: 70 ms", "p95: 200 ms", "p99: 300 ms"]
    show(page, [point(2, ttft_p50_s=0.09, ttft_p95_s=0.2, ttft_p99_s=0.3)], 20)
    assert "p50: 90 ms" in plot.locator(".values").inner_text()  # they follow the data while the pointer rests
    page.mouse.move(box["x"] - 5, box["y"] - 40)
    assert not plot.locator(".values").is_visible()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_lines_have_the_colours_of_the_theme_and_differ_in_dash(page: Page, theme: str) -> None:
    show(page, [point(i, ttft_p50_s=0.05, ttft_p95_s=0.2, ttft_p99_s=0.3) for i in range(4)], 20)
    page.evaluate("theme => { document.documentElement.dataset.theme = theme; }", theme)
    style = "path => [getComputedStyle(path).stroke, getComputedStyle(path).strokeDasharray]"
    lines = [line.evaluate(style) for line in page.locator(".plot").nth(1).locator("path.line").all()]
    first = {"light": "rgb(0, 114, 178)", "dark": "rgb(86, 180, 233)"}
    assert lines[0][0] == first[theme]
    assert len({dash for _, dash in lines}) == len({colour for colour, _ in lines}) == 3


def test_a_new_run_begins_with_empty_charts(page: Page) -> None:
    show(page, [point(i, tokens_per_s=5.0) for i in range(4)], 20)
    page.evaluate("charts.clear(); charts.draw([], 0)")
    assert strokes(page, 0) == []


def test_charts_follow_the_width_of_the_page(page: Page) -> None:
    show(page, [point(i, tokens_per_s=5.0) for i in range(4)], 20)
    ((*wide,),) = strokes(page, 0)
    page.set_viewport_size({"width": 360, "height": 900})
    page.wait_for_function("document.querySelector('.plot svg').getAttribute('viewBox').split(' ')[2] < 360")
    ((*narrow,),) = strokes(page, 0)
    assert narrow[-1][0] < wide[-1][0]
    assert page.evaluate("document.documentElement.scrollWidth") == 360


TWELVE_HOURS = 8640
LONG = {"index": 0, "began_s": 0.0, "ended_s": None, "ramp_s": 20.0, "level_time_s": 12 * 3600.0}
PEAK, DIP, MISSING = 4321, 6000, range(2000, 2200)


def show_long(page: Page) -> None:
    """12 hours in windows of 5 s, with one peak, one dip and a time without values."""
    rates = {PEAK: 900.0, DIP: 5.0} | dict.fromkeys(MISSING)
    points = [point(i, tokens_per_s=rates.get(i, 100.0 + i % 7)) for i in range(TWELVE_HOURS)]
    show(page, points, TWELVE_HOURS * WINDOW_S, LONG)


def shown_range(page: Page) -> str:
    return page.inner_text(".chart-tools .quiet")


def drag(page: Page, from_x: float, to_x: float) -> None:
    """Over the first chart."""
    box = page.locator(".plot").first.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + from_x, box["y"] + 80)
    page.mouse.down()
    page.mouse.move(box["x"] + to_x, box["y"] + 80)
    page.mouse.up()


def test_a_long_run_is_drawn_in_few_points_that_keep_peaks_dips_and_gaps(page: Page) -> None:
    show_long(page)
    pieces = strokes(page, 0)
    width = page.locator(".plot").first.evaluate("it => it.clientWidth")
    drawn = [y for piece in pieces for _, y in piece]
    assert len(drawn) < width
    assert len(pieces) == 2  # it breaks where there are no values
    top = 1.1 * 900
    height = max(drawn) - min(drawn)
    assert height == pytest.approx((900 - 5) / top * (210 - 10 - 24), abs=0.3)  # pixels from the dip to the peak
    assert page.locator(".plot").first.locator("path.dots").get_attribute("d") == ""
    assert re.fullmatch(r"0:00 to 12:00:00; drawn: the lowest and highest of every \d+ windows", shown_range(page))
    assert len(points_of(page, 0, "tokens_per_s")) == TWELVE_HOURS - len(MISSING)  # all are kept


def test_a_few_far_higher_latencies_do_not_flatten_the_others(page: Page) -> None:
    """12 hours with a spike of 20 s: it is marked at the end of the axis, and has its own axis once it is zoomed."""
    spike = {PEAK: 9.0}
    points = [
        point(i, ttft_p50_s=spike.get(i, 0.1), ttft_p95_s=spike.get(i, 0.1) * 2, ttft_p99_s=spike.get(i, 0.1) * 2.2)
        for i in range(TWELVE_HOURS)
    ]
    show(page, points, TWELVE_HOURS * WINDOW_S, LONG)
    plot = page.locator(".plot").nth(1)
    axis = [float(text) for text in plot.locator("text.y").all_text_contents()]
    assert 220 <= axis[-1] <= 400
    assert plot.locator(".beyond-note").inner_text() == "▲ up to 19,800 ms"
    marks = [mark.get_attribute("d") or "" for mark in plot.locator("path.beyond").all()]
    assert [mark.count("M") for mark in marks] == [1, 1, 1]
    x = page.evaluate(f"document.getElementById('charts').plots[1].x({(PEAK + 0.5) * WINDOW_S})")
    assert float(marks[0].removeprefix("M").split()[0]) == pytest.approx(x, abs=0.1)
    page.evaluate(f"charts.zoom([{(PEAK - 9) * WINDOW_S}, {(PEAK + 9) * WINDOW_S}])")
    assert float(plot.locator("text.y").all_text_contents()[-1].replace(",", "")) >= 15_000
    assert plot.locator(".beyond-note").is_hidden()


def test_a_range_is_zoomed_by_dragging_in_all_charts_and_shows_each_window(page: Page) -> None:
    show_long(page)
    plot = page.locator(".plot").first
    at = "document.getElementById('charts').plots[0].x"
    drag(page, *page.evaluate(f"[{at}(20700), {at}(22500)]"))  # half an hour around the peak, at 6:00:08
    page.get_by_role("button", name="Zoom in").click()
    start, end = re.findall(r"\d+:\d\d:\d\d", shown_range(page))
    assert "5:50" < start < "6:00:05" < end < "6:10"
    assert sum(len(piece) for piece in strokes(page, 0)) < 200
    axes = [page.locator(".plot").nth(i).locator("text.x").all_text_contents() for i in (0, 4)]
    assert axes[0] == axes[1] != []
    box = plot.bounding_box()
    assert box is not None
    x, _ = min((point for piece in strokes(page, 0) for point in piece), key=lambda point: point[1])
    page.mouse.move(box["x"] + x, box["y"] + 60)
    assert plot.locator(".values").inner_text().splitlines() == ["6:00:08", "all users: 900 tokens/s"]
    show(page, [point(TWELVE_HOURS, tokens_per_s=1.0)], TWELVE_HOURS * WINDOW_S + 5, LONG)
    assert [start, end] == re.findall(r"\d+:\d\d:\d\d", shown_range(page))  # it stays while the run goes on
    page.mouse.dblclick(box["x"] + x, box["y"] + 60)
    assert shown_range(page).startswith("0:00 to 12:00:05")


def test_ranges_and_values_are_reached_by_keyboard(page: Page) -> None:
    show_long(page)
    page.get_by_role("button", name="Last 5 min").press("Enter")
    assert shown_range(page) == "11:55:00 to 12:00:00"
    assert page.get_by_role("button", name="Last 5 min").get_attribute("aria-pressed") == "true"
    page.keyboard.press("Tab")
    chart = page.get_by_role("img", name="Token rate").first
    chart.focus()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    shown = page.locator(".plot").first.locator(".values")
    assert shown.inner_text().splitlines() == ["11:59:53", "all users: 100 tokens/s"]
    page.keyboard.press("Escape")
    assert not shown.is_visible()
    page.get_by_role("button", name="Earlier").click()
    assert shown_range(page) == "11:52:30 to 11:57:30"
    page.get_by_role("button", name="Zoom out").click()
    assert shown_range(page) == "11:50:00 to 12:00:00"
    page.get_by_role("button", name="Whole run").click()
    assert shown_range(page).startswith("0:00 to 12:00:00")
