"""The points of a comparison in its Pareto planes: their place, and which of them are grey."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.text import Annotation

from tests.reports.folders import Course, write_folder
from tests.reports.reading import Tables
from tokenswarm import main
from tokenswarm.reports.compare.comparison import RunComparison
from tokenswarm.reports.compare.pareto import PLANES, ParetoPoint, pareto_points
from tokenswarm.reports.compare.pareto_charts import figure_of
from tokenswarm.run_folder.reader import load_results

RUNS = 3
BY_USER, BY_TTFT, _ = PLANES


def write_servers(folder: Path, servers: dict[str, Sequence[Course]], **summary: object) -> list[Path]:
    """Three runs of each server."""
    return [
        write_folder(folder / f"{name}-{run}", courses, seed=100 * place + run, summary={"engine": name} | summary)
        for place, (name, courses) in enumerate(servers.items())
        for run in range(RUNS)
    ]


def compared(folders: Sequence[Path]) -> RunComparison:
    return RunComparison([load_results(folder) for folder in folders])


def marks(points: Sequence[ParetoPoint]) -> dict[tuple[str, str], tuple[bool, bool]]:
    """Of each server and level: whether it is on the front, and whether it is grey."""
    return {(point.server.label, point.level.name): (point.on_front, point.dominated) for point in points}


def test_only_what_is_significantly_worse_in_both_figures_is_grey(tmp_path: Path) -> None:
    servers = {
        "vllm": [Course(10, ttft_s=0.2, token_rate=1000), Course(50, ttft_s=0.5, token_rate=3000)],
        "tgi": [Course(10, ttft_s=0.4, token_rate=800), Course(50, ttft_s=0.5, token_rate=2500)],
    }
    found = marks(pareto_points(compared(write_servers(tmp_path, servers)), BY_TTFT, "off"))
    assert found["vllm", "10"] == (True, False)
    assert found["vllm", "50"] == (True, False)
    assert found["tgi", "10"] == (False, True)
    assert found["tgi", "50"][1] is False  # its TTFT may be the same


def test_repeated_runs_are_one_point_with_the_spread_of_the_runs(tmp_path: Path) -> None:
    folders = write_servers(tmp_path, {"vllm": [Course(10)], "tgi": [Course(10, ttft_s=0.3)]})
    points = pareto_points(compared(folders), BY_TTFT, "off")
    assert len(points) == 2
    values = [level.hold.ttft_s.p50.value for run in folders[:RUNS] for level in load_results(run).summary.levels]  # type: ignore[union-attr]
    assert points[0].across.estimate.value == pytest.approx(sum(values) / RUNS)
    assert (points[0].across.smallest, points[0].across.largest) == (min(values), max(values))


def test_rates_are_per_gpu_where_every_run_says_how_many_there_are(tmp_path: Path) -> None:
    of_servers = {"vllm": [Course(10, token_rate=4000)], "tgi": [Course(10, token_rate=3000)]}
    hardware = {"gpus": 4, "name": "H100", "usd_per_gpu_hour": None}
    (tmp_path / "with").mkdir()
    (tmp_path / "without").mkdir()
    per_server = pareto_points(compared(write_servers(tmp_path / "without", of_servers)), BY_USER, "off")
    per_gpu = pareto_points(compared(write_servers(tmp_path / "with", of_servers, hardware=hardware)), BY_USER, "off")
    for of_gpu, of_server in zip(per_gpu, per_server, strict=True):
        assert of_gpu.up.estimate.value == pytest.approx(of_server.up.estimate.value / 4)
        assert of_gpu.up.estimate.high == pytest.approx((of_server.up.estimate.high or 0.0) / 4)


@pytest.mark.slow
def test_the_page_has_a_chart_and_a_table_of_each_plane(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    servers = {"vllm": [Course(10), Course(50)], "tgi": [Course(10, ttft_s=0.4, token_rate=1500), Course(50)]}
    folders = write_servers(tmp_path, servers)
    page, charts = tmp_path / "c.html", tmp_path / "charts"
    assert main(["compare", *map(str, folders), "--html", str(page), "--png", str(charts)]) == 0
    assert f"Chart: {charts / 'pareto.png'}" in capsys.readouterr().out
    assert (charts / "pareto.png").read_bytes().startswith(b"\x89PNG")
    reading = Tables(page.read_text(encoding="utf-8"))
    columns = reading.columns("The points of Throughput against TTFT p50")
    assert columns["server"] == ["vllm", "vllm", "tgi", "tgi"]
    assert columns["dominated"][2] == "significantly"


def test_a_box_has_no_edge_where_its_interval_has_no_end(tmp_path: Path) -> None:
    few = [
        write_folder(
            tmp_path / "few", [Course(10, requests=44, correlation=0.95, ttft_s=0.4)], seed=1, summary={"engine": "tgi"}
        )
    ]
    many = [write_folder(tmp_path / "many", [Course(10)], seed=2, summary={"engine": "vllm"})]
    comparison = compared([*few, *many])
    (short, _) = pareto_points(comparison, BY_TTFT, "off")
    assert (short.across.estimate.low, short.across.estimate.high) == (0.0, None)
    _, by_ttft, by_p95 = figure_of(comparison).axes  # type: ignore[union-attr]
    assert edges(by_ttft) == (1, 1)  # of two points
    assert edges(by_p95) == (1, 2)
    said = " ".join(" ".join(text.get_text() for text in figure_of(comparison).texts).split())  # type: ignore[union-attr]
    assert "The number beside a point is its users." in said
    assert "Arrow: this end of the interval is not known." in said
    (few_p95, many_p95) = pareto_points(comparison, PLANES[2], "off")
    assert (few_p95.across.estimate.high, many_p95.across.estimate.high is None) == (None, False)
    assert arrows(by_p95) == [("right", pytest.approx(few_p95.across.estimate.value * 1000))]


def arrows(axes: Axes) -> list[tuple[str, float]]:
    """Of the arrows along the horizontal axis: where they point, and at what value they begin."""
    found = [text for text in axes.texts if isinstance(text, Annotation) and text.arrow_patch is not None]
    return [("right" if text.xyann[0] > 0 else "left", text.xy[0]) for text in found if text.xyann[0]]


def edges(axes: Axes) -> tuple[int, int]:
    """How many upright edges end a box to the right of its value, and to the left."""
    values = [float(x) for line in axes.lines if line.get_marker() in ("o", "s") for x in np.asarray(line.get_xdata())]
    upright = [
        float(xs[0])
        for line in axes.lines
        if line.get_marker() == "None" and len(xs := np.asarray(line.get_xdata())) == 2 and xs[0] == xs[1]
    ]
    nearest = [(x, min(values, key=lambda value: abs(value - x))) for x in upright]
    return sum(x > value for x, value in nearest), sum(x < value for x, value in nearest)
