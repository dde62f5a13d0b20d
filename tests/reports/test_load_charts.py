"""The heat map's cells, and the load at which the line of the SLO stands."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.patches import Patch

from tests.reports.folders import Course, write_folder
from tokenswarm import main
from tokenswarm.reports import units
from tokenswarm.reports.html.chart_style import log_ticks
from tokenswarm.reports.html.load_charts import COLUMNS, ROWS, heat_cells, heat_figure, slo_load, throughput_figure
from tokenswarm.reports.html.time_charts import broken, over_time, spans_of
from tokenswarm.reports.html.time_series import load_time_series
from tokenswarm.run_folder.reader import load_results


def test_the_cells_of_a_column_are_shares_of_its_requests() -> None:
    random = np.random.default_rng(1)
    sent_s, ttft_s = np.sort(random.uniform(10, 310, 5000)), random.lognormal(-2, 0.5, 5000)
    time_edges, ttft_edges, shares = heat_cells(sent_s, ttft_s)
    assert shares.shape == (COLUMNS, ROWS)
    assert (time_edges[0], time_edges[-1]) == (sent_s.min(), sent_s.max())
    assert shares.sum(axis=1) == pytest.approx(np.ones(COLUMNS))  # none is lost at an edge
    inside = (sent_s >= time_edges[3]) & (sent_s < time_edges[4])
    slow = inside & (ttft_s >= ttft_edges[12]) & (ttft_s < ttft_edges[13])
    assert shares[3, 12] == pytest.approx(slow.sum() / inside.sum())


def test_a_stall_is_dark_where_it_was() -> None:
    sent_s, ttft_s = np.arange(0, 480, 0.1), np.full(4800, 0.1)
    ttft_s[2000:2100] = 5.0
    _, _, shares = heat_cells(sent_s, ttft_s)
    assert set(np.flatnonzero(shares[:, -1])) == {20}


def test_equal_times_have_a_cell_too() -> None:
    _, _, shares = heat_cells(np.array([5.0]), np.array([0.2]))
    assert (shares.shape, shares.sum()) == ((1, ROWS), 1.0)


def test_the_heat_map_has_the_timelines_axis_the_levels_names_and_a_legend_of_shares(tmp_path: Path) -> None:
    results = load_results(write_folder(tmp_path / "run", [Course(10), Course(50)], seed=1))
    series = load_time_series(results)
    spans = spans_of(results, series)
    (timeline,) = over_time(spans, [broken(series, series.ttft_p50_s)], "s").axes
    cells = heat_cells(np.linspace(100, 400, 900), np.linspace(0.1, 0.4, 900))
    axes, strip = heat_figure(*cells, spans, float(series.middle_s[0])).axes
    assert axes.get_xlim() == timeline.get_xlim()
    assert [text.get_text() for text in axes.texts] == ["10", "50"]
    shades = [patch.get_alpha() for patch in strip.patches]
    assert {patch.get_alpha() for patch in axes.patches} <= set(shades)
    limits = [float(label.get_text()) for label in strip.get_xticklabels()]
    assert limits == pytest.approx([100 * part * cells[2].max() for part in (0, *shades)], abs=0.06)


def test_each_cell_has_the_shade_of_its_share_and_an_empty_one_none() -> None:
    random = np.random.default_rng(3)
    time_edges, ttft_edges, shares = heat_cells(random.uniform(0, 100, 90), random.uniform(0.1, 0.4, 90))
    axes, _ = heat_figure(time_edges, ttft_edges, shares).axes
    middles_s = (time_edges[1:] + time_edges[:-1]) / 2
    middles_ms = (ttft_edges[1:] + ttft_edges[:-1]) / 2 * 1000
    for (column, row), share in np.ndenumerate(shares):
        middle = middles_s[column], middles_ms[row]
        found = [patch.get_alpha() for patch in axes.patches if _covers(patch, middle)]
        assert found == ([np.ceil(share / shares.max() * 8) / 8] if share else [])


def _covers(patch: Patch, point: tuple[float, float]) -> bool:
    """Whether one of its rectangles does."""
    corners = np.asarray(patch.get_path().vertices).reshape(-1, 5, 2)
    return bool(((corners.min(axis=1) < point) & (point < corners.max(axis=1))).all(axis=1).any())


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (8.0, 42.0, [10, 20, 30, 40]),
        (12.0, 480.0, [20, 50, 100, 200]),
        (0.5, 60000.0, [1, 10, 100, 1000, 10000]),
        (19.3, 20.4, [19.4, 20]),
        (101.0, 105.0, [102, 103, 104]),
    ],
)
def test_a_logarithmic_axis_has_three_marks_at_least(low: float, high: float, ticks: list[float]) -> None:
    found = log_ticks(low, high)
    assert len(found) >= 3
    assert set(ticks) <= {round(tick, 9) for tick in found}
    assert all(low <= tick <= high for tick in found)
    assert all(len(units.tick(tick)) <= 6 for tick in found)


def test_every_range_has_marks_that_can_be_read() -> None:
    random = np.random.default_rng(2)
    for low in 10 ** random.uniform(-1, 4, 500):
        found = log_ticks(low, high := low * 10 ** random.uniform(0.02, 4))
        assert 3 <= len(found) <= 14, (low, high, found)


def test_throughput_has_marks_at_whole_users_and_no_name_for_a_level_without_an_slo(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "run", [Course(1), Course(2), Course(3)], seed=1)
    (axes,) = throughput_figure(load_results(folder).summary.levels, {}, {0: None, 1: None, 2: None}, None).axes
    assert all(tick == int(tick) for tick in axes.get_xticks())
    assert {1, 2, 3} <= set(axes.get_xticks())
    assert axes.get_legend() is None


@pytest.mark.slow
def test_the_page_has_both_charts_and_the_line_of_the_slo(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    courses = [Course(10, ttft_s=0.1), Course(50, ttft_s=0.2), Course(100, ttft_s=0.9)]
    folder = write_folder(tmp_path / "run", courses, seed=1)
    assert main(["report", str(folder), "--slo", "ttft=800ms"]) == 0
    capsys.readouterr()
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "<b>Throughput against users</b>" in page
    assert "The highest load within the SLO is 50." in page
    assert "Heat map of TTFT by the time at which requests were sent" in page
    assert slo_load(load_results(folder).summary, "off") is None  # the folder itself has no objectives
