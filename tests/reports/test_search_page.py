"""The page of a capacity search: levels by load, verdicts of the probes; and texts of charts, which are whole."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from tests.reports.folders import Course, write_folder
from tests.reports.reading import Tables
from tokenswarm.metrics.intervals import Series
from tokenswarm.reports.charts import ttft_figure
from tokenswarm.reports.checks.check_report import check_run
from tokenswarm.reports.html.chart_style import svg_of
from tokenswarm.reports.html.document import Page, html_of
from tokenswarm.reports.html.level_charts import spread, ttft_chart
from tokenswarm.reports.html.load_charts import throughput_figure
from tokenswarm.reports.html.run_page import page_of
from tokenswarm.reports.html.time_charts import spans_of
from tokenswarm.reports.html.time_series import load_time_series
from tokenswarm.reports.markdown import run_markdown
from tokenswarm.reports.search_levels import in_load_order, slo_verdict
from tokenswarm.reports.text_table import summary_table
from tokenswarm.run_folder.reader import Results, load_results

PROBES = ((10, "pass", True), (50, "fail", False), (20, "inconclusive", True))


@pytest.fixture
def search(tmp_path: Path) -> Results:
    """Probes of 10, 50 and 20 users, the last of which met its SLO by chance."""
    probes = [
        {"index": index, "level": str(users), "load": users, "verdict": verdict}
        for index, (users, verdict, _) in enumerate(PROBES)
    ]
    facts = {"unit": "users", "low": 1, "high": 100, "precision": 0.05, "share": 0.95, "conclusion": "unfinished"}
    found = facts | {"best": 10, "failing": 50, "probes": probes, "inconclusive": [20]}
    summary = {"capacity_search": found, "objectives": {"ttft_s": 0.3}, "objective_share": 0.95}
    return load_results(
        write_folder(tmp_path / "run", [Course(users) for users, *_ in PROBES], seed=1, summary=summary)
    )


def page(results: Results) -> Page:
    return page_of(results, check_run([], results))


def test_levels_stand_by_load_with_their_probes_verdicts_and_the_probes_in_the_order_of_time(search: Results) -> None:
    tables = Tables(html_of(page(search)))
    levels = tables.columns("Results by level")
    assert levels["users"] == ["10", "20", "50"]
    assert levels["SLO"] == ["met", "inconclusive", "missed"]
    assert tables.columns("Fairness by level")["level"] == ["10 users", "20 users", "50 users"]
    assert tables.columns("Probes of the search")["load"] == ["10 users", "50 users", "20 users"]


def test_tables_of_text_stand_by_load_too(search: Results) -> None:
    table = summary_table(search)
    assert [line.split()[0] for line in table.splitlines() if line.split()[1:2] == ["off"]][:3] == ["10", "20", "50"]
    rows = [line for line in run_markdown(search, check_run([], search)).splitlines() if re.match(r"\| \d+ ", line)]
    assert [row.split()[1] for row in rows[:3]] == ["10", "20", "50"]


def test_the_timeline_keeps_the_order_of_time(search: Results) -> None:
    results = in_load_order(search)
    spans = spans_of(results, load_time_series(results))
    assert [span.level.users for span in spans] == [10, 50, 20]


@pytest.mark.slow
def test_what_is_true_of_all_levels_is_said_once(search: Results, tmp_path: Path) -> None:
    assert "<small>without system prompt</small>" not in html_of(page(search))
    both = load_results(write_folder(tmp_path / "both", [Course(10), Course(10, "on")], seed=1))
    rows = Tables(html_of(page(both))).columns("Results by level")["users"]
    assert html_of(page(both)).count("<small>without system prompt</small>") >= 1
    assert len(rows) == 2


def test_a_probe_without_a_verdict_is_neither_met_nor_missed_in_the_chart(search: Results) -> None:
    summary = in_load_order(search).summary
    verdicts = {level.index: slo_verdict(summary, level) for level in summary.levels}
    (axes,) = throughput_figure(summary.levels, {}, verdicts, 10).axes
    places = {str(line.get_label()): list(np.asarray(line.get_xdata())) for line in axes.lines}
    assert (places["SLO met"], places["SLO missed"], places["inconclusive"]) == ([10], [50], [20])


@pytest.mark.parametrize(("bound_s", "drawn"), [(0.3, True), (30.0, False)], ids=["on the axis", "beyond it"])
def test_the_bars_of_ttft_have_the_line_of_the_slo(search: Results, bound_s: float, drawn: bool) -> None:
    (axes,) = ttft_chart(search.summary.levels, bound_s).axes
    legend = axes.get_legend()
    assert legend is not None
    (words,) = [text.get_text() for text in legend.get_texts()]
    assert words.startswith("SLO: ttft ≤ ")
    assert words.endswith("beyond the axis") is not drawn
    lines = [line for line in axes.lines if line.get_linestyle() == "--" and len(set(line.get_xdata())) == 1]
    assert len(lines) == drawn


@pytest.mark.parametrize("number", [1, 3, 10, 24])
def test_a_legend_of_many_levels_is_whole(number: int) -> None:
    values: Series = np.linspace(0.1, 0.2, 50)
    figure = spread({f"{users} users": (values, values * 5) for users in range(1, number + 1)}, "TTFT")
    FigureCanvasAgg(figure).draw()
    legend = figure.axes[0].get_legend()
    assert legend is not None
    place, whole = legend.get_window_extent(), figure.bbox
    assert (place.y0 >= whole.y0, place.x0 >= whole.x0, place.x1 <= whole.x1) == (True, True, True)
    assert len(legend.get_texts()) == number


def test_letters_are_as_large_as_the_page_sets_them() -> None:
    svg = svg_of(spread({"1 user": (np.array([0.1, 0.2]), np.array([0.5, 1.0]))}, "TTFT"), "a")
    assert "font-size: 1.1em" in svg
    assert "px" not in svg


@pytest.mark.parametrize("modes", [("off",), ("off", "on")])
@pytest.mark.parametrize("users", [1, 100_000])
def test_the_bars_of_ttft_have_all_their_texts_inside(tmp_path: Path, modes: tuple[str, ...], users: int) -> None:
    levels = load_results(
        write_folder(tmp_path / "run", [Course(users, mode) for mode in modes], seed=1)
    ).summary.levels
    figure = ttft_chart(levels, 0.3)
    FigureCanvasAgg(figure).draw()
    (axes,) = figure.axes
    legend = axes.get_legend()
    assert legend is not None
    whole = figure.bbox
    for text in (*axes.texts, *axes.get_yticklabels(), *legend.get_texts()):
        place = text.get_window_extent()
        assert place.x0 >= whole.x0, text
        assert place.x1 <= whole.x1, text
        assert place.y0 >= whole.y0, text


@pytest.mark.slow
@pytest.mark.parametrize(("number", "folded"), [(3, 0), (12, 9)])
def test_many_reasons_leave_space_for_the_figures(tmp_path: Path, number: int, folded: int) -> None:
    """All of them are on the page, the first three at once; a chart alone has the number of the others."""
    reasons = [f"reason {place} of this run" for place in range(number)]
    summary = {"validity": {"verdict": "suspect", "reasons": reasons}}
    results = load_results(write_folder(tmp_path / "run", [Course()], seed=1, summary=summary))
    html = html_of(page(results))
    assert all(f"eason {place} of this run" in html for place in range(number))
    assert (f"Suspect. {folded} more reasons" in html) is bool(folded)
    texts = [text.get_text() for text in ttft_figure(results).texts]
    assert sum("reason" in text for text in texts) == (3 if folded else number)
    # Of its own warnings, one is about the files of this folder.
    assert (f"{folded + 1} more warnings are in the report." in texts) is bool(folded)
