"""What is drawn is what was measured."""

from __future__ import annotations

import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from tokenswarm.reports import units
from tokenswarm.reports.charts import draw_charts, token_rate_figure, ttft_figure
from tokenswarm.reports.text_table import NOT_COMPLETE, NOT_COMPLETE_NOTE
from tokenswarm.run_folder.reader import ReportError, load_results

pytestmark = pytest.mark.slow

Json = dict[str, Any]
Make = Callable[..., Json]
Write = Callable[..., Path]


def bars(axes: Axes) -> list[Rectangle]:
    """The bars from top to bottom."""
    found = [patch for patch in axes.patches if isinstance(patch, Rectangle)]
    return sorted(found, key=lambda bar: bar.get_y())


def labels(axes: Axes) -> list[str]:
    """The texts behind the bars from top to bottom."""
    return [text.get_text() for text in sorted(axes.texts, key=lambda text: text.xy[1])]  # type: ignore[attr-defined]


def intervals(axes: Axes) -> list[tuple[float, float]]:
    """The ends of the error bars from top to bottom."""
    found = []
    for container in axes.containers:
        if isinstance(container, ErrorbarContainer):
            ((low, high),) = container.lines[2][0].get_segments()
            found.append((low[1], low[0], high[0]))
    return [(low, high) for _, low, high in sorted(found)]


def diamonds(axes: Axes) -> list[float]:
    """The values of the p95 markers from top to bottom."""
    found = [line for line in axes.lines if line.get_marker() == "D"]
    return [float(line.get_xdata()[0]) for line in sorted(found, key=lambda line: line.get_ydata()[0])]  # type: ignore[index, arg-type, return-value]


def words(figure: Figure) -> str:
    return "\n".join(text.get_text() for text in figure.texts)


def in_order(ladder: list[Json]) -> list[Json]:
    """Levels as they stand on the chart: by users, without the system prompt before with."""
    return sorted(ladder, key=lambda level: (level["users"], level["system_prompt"]))


def test_ttft_bars_intervals_and_markers_are_the_summary_s(
    write_run: Write, make_ladder: Callable[[], list[Json]]
) -> None:
    ladder = make_ladder()
    (axes,) = ttft_figure(load_results(write_run(ladder))).axes
    ttft = [level["hold"]["ttft_s"] for level in in_order(ladder)]
    assert axes.get_xlabel().startswith("TTFT (ms)")
    assert [bar.get_width() for bar in bars(axes)] == pytest.approx([one["p50"]["value"] * 1000 for one in ttft])
    assert [low for low, _ in intervals(axes)] == pytest.approx([one["p50"]["low"] * 1000 for one in ttft])
    assert [high for _, high in intervals(axes)] == pytest.approx([one["p50"]["high"] * 1000 for one in ttft])
    assert diamonds(axes) == pytest.approx([one["p95"]["value"] * 1000 for one in ttft])
    assert labels(axes)[0] == "p50 60.0 ms, p95 126 ms"  # too close for one each
    assert labels(axes)[-2:] == ["p50 348 ms", "p95 731 ms"]
    assert axes.get_xlim()[0] == 0
    assert axes.get_xlim()[1] > max(diamonds(axes))


def test_ttft_above_a_second_is_drawn_in_seconds(write_run: Write, make_level: Make) -> None:
    (axes,) = ttft_figure(load_results(write_run([make_level(0, 10, ttft_s=1.5)]))).axes
    assert axes.get_xlabel().startswith("TTFT (s)")
    assert bars(axes)[0].get_width() == pytest.approx(1.5)


def test_token_rate_bars_and_labels_are_the_summary_s(write_run: Write, make_ladder: Callable[[], list[Json]]) -> None:
    ladder = make_ladder()
    (axes,) = token_rate_figure(load_results(write_run(ladder))).axes
    assert axes.get_xlabel().startswith("output tokens/s")
    assert [bar.get_width() for bar in bars(axes)] == [level["hold"]["token_rate"] for level in in_order(ladder)]
    assert labels(axes) == ["485", "485", "2,425", "2,425", "4,850", "4,850"]
    assert axes.get_xlim()[0] == 0


@pytest.mark.parametrize("draw", [ttft_figure, token_rate_figure])
def test_the_two_modes_stand_side_by_side_and_differ_by_more_than_colour(
    write_run: Write, draw: Callable[..., Figure]
) -> None:
    (axes,) = draw(load_results(write_run())).axes
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["10 users", "50 users", "100 users"]
    for index, bar in enumerate(bars(axes)):
        assert bar.get_y() + bar.get_height() / 2 == pytest.approx(index // 2 + (-0.19 if index % 2 == 0 else 0.19))
        assert bar.get_hatch() == ("" if index % 2 == 0 else "//")
    off, on = bars(axes)[:2]
    assert off.get_facecolor() != on.get_facecolor()
    legend = axes.get_legend()
    assert legend is not None
    named = [text.get_text() for text in legend.get_texts()]
    assert named == ["without system prompt", "with system prompt"]


def test_one_mode_alone_is_centred_and_alone_in_the_legend(write_run: Write, make_level: Make) -> None:
    (axes,) = token_rate_figure(load_results(write_run([make_level(0, 10, "on"), make_level(1, 50, "on")]))).axes
    assert [bar.get_y() + bar.get_height() / 2 for bar in bars(axes)] == pytest.approx([0, 1])
    legend = axes.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["with system prompt"]


def test_a_level_run_twice_is_drawn_twice(write_run: Write, make_level: Make) -> None:
    (axes,) = token_rate_figure(load_results(write_run([make_level(0, 10), make_level(1, 50), make_level(2, 10)]))).axes
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["10 users", "50 users", "10 users"]
    assert [bar.get_width() for bar in bars(axes)] == [485.0, 2425.0, 485.0]


@pytest.mark.parametrize("draw", [ttft_figure, token_rate_figure])
def test_a_level_without_a_value_is_a_gap_that_says_why(
    write_run: Write, make_level: Make, draw: Callable[..., Figure]
) -> None:
    levels = [make_level(0, 10, outcomes={"http_error": 9}), make_level(1, 50, outcomes={}), make_level(2, 100)]
    (axes,) = draw(load_results(write_run(levels))).axes
    assert labels(axes)[:2] == ["no ok request", "no request"]
    assert len(bars(axes)) == 1
    assert bars(axes)[0].get_y() > 1


@pytest.mark.parametrize("draw", [ttft_figure, token_rate_figure])
def test_a_run_without_any_value_still_draws(write_run: Write, make_level: Make, draw: Callable[..., Figure]) -> None:
    (axes,) = draw(load_results(write_run([make_level(0, 10, outcomes={"refused": 3})]))).axes
    assert bars(axes) == []
    assert list(axes.get_xticks()) == []


def test_an_interval_without_an_upper_end_reaches_down_alone(write_run: Write, make_level: Make) -> None:
    (axes,) = (figure := ttft_figure(load_results(write_run([make_level(0, 10, ttft_s=0.1, outcomes={"ok": 3})])))).axes
    assert intervals(axes) == [pytest.approx((94.0, 100.0))]
    assert labels(axes) == ["p50 100 ms*", "p95 210 ms*"]
    assert units.NOT_CERTIFIED_SHORT in words(figure).replace("\n", " ")
    assert "many more" in words(figure)


def test_an_interval_without_a_lower_end_reaches_up_alone(write_run: Write, make_level: Make) -> None:
    level = make_level(0, 10, ttft_s=0.1)
    level["hold"]["ttft_s"]["p50"] |= {"low": 0.0, "high": 0.12, "certified": False}
    (axes,) = ttft_figure(load_results(write_run([level]))).axes
    assert intervals(axes) == [pytest.approx((100.0, 120.0))]


def test_an_interval_that_misses_its_value_by_rounding_is_drawn(write_run: Write, make_level: Make) -> None:
    level = make_level(0, 10, ttft_s=0.1)
    level["hold"]["ttft_s"]["p50"] |= {"low": 0.1001, "high": 0.0999}
    (axes,) = ttft_figure(load_results(write_run([level]))).axes
    assert intervals(axes) == [pytest.approx((100.0, 100.0))]


def test_the_title_and_the_line_below_say_what_was_run(write_run: Write) -> None:
    results = load_results(write_run())
    assert words(ttft_figure(results)).splitlines() == [
        "Time to first token (TTFT): vllm, llama-3-8b",
        "http://gpu:8000 · 2024-06-05 14:03 UTC · run finished · figures valid",
    ]
    assert words(token_rate_figure(results)).startswith("Token generation rate: vllm, llama-3-8b\n")


@pytest.mark.parametrize("draw", [ttft_figure, token_rate_figure])
def test_doubt_about_a_run_stands_on_the_chart_itself(
    write_run: Write, make_level: Make, draw: Callable[..., Figure]
) -> None:
    folder = write_run(
        [make_level(0, 10, complete=False)],
        summary={
            "status": "interrupted",
            "validity": {"verdict": "suspect", "reasons": ["no kernel stamps"]},
            "accounting": {"ended": 3, "recorded": 2, "rows": 1, "complete": False},
        },
    )
    figure = draw(load_results(folder))
    said = words(figure)
    for alarm in ("INTERRUPTED: ", "SUSPECT: ", "no kernel stamps", "REQUESTS UNACCOUNTED FOR: ", "NOT COMPLETE: "):
        assert alarm in said
    assert figure.axes[0].get_yticklabels()[0].get_text() == f"10 users{NOT_COMPLETE}"
    assert NOT_COMPLETE_NOTE in said


@pytest.mark.parametrize("draw", [ttft_figure, token_rate_figure])
@pytest.mark.parametrize("levels", [1, 3, 4, 6, 10])
@pytest.mark.parametrize("worst", [False, True])
def test_no_text_is_cut_off_or_runs_into_another(
    write_run: Write, make_level: Make, draw: Callable[..., Figure], levels: int, worst: bool
) -> None:
    ladder = [
        make_level(index, users, mode, complete=not worst, outcomes={"ok": 20 * users})
        for index, (mode, users) in enumerate((mode, 2**power) for mode in ("off", "on") for power in range(levels))
    ]
    reasons = ["no kernel stamps on worker-1 and p99 of the client delay (31 ms) is 42 % of the TTFT median"] * 2
    model = "meta-llama/Meta-Llama-3.1-70B-Instruct-AWQ-INT4-with-a-long-name/$x_1$"
    doubt = {"model": model, "validity": {"verdict": "suspect", "reasons": reasons}}
    figure = draw(load_results(write_run(ladder, summary=doubt if worst else None)))
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # type: ignore[no-untyped-call]
    (axes,) = figure.axes
    legend = axes.get_legend()
    assert legend is not None
    renderer = canvas.get_renderer()  # type: ignore[no-untyped-call]
    boxes = [text.get_window_extent(renderer) for text in (*figure.texts, *axes.texts, axes.xaxis.label)]
    boxes.append(legend.get_window_extent(renderer))
    boxes += [tick.get_window_extent(renderer) for tick in axes.get_yticklabels()]
    page = figure.bbox
    for index, box in enumerate(boxes):
        assert page.x0 <= box.x0 < box.x1 <= page.x1
        assert page.y0 <= box.y0 < box.y1 <= page.y1
        for other in boxes[:index]:
            assert not box.overlaps(other)
    for text in axes.texts:
        for bar in bars(axes):
            assert not text.get_window_extent(renderer).overlaps(bar.get_window_extent(renderer))


def test_both_charts_are_written_large_enough_to_read(write_run: Write) -> None:
    folder = write_run()
    paths = draw_charts(load_results(folder), folder)
    assert paths == [folder / "charts" / "ttft.png", folder / "charts" / "token_rate.png"]
    for path in paths:
        data = path.read_bytes()
        assert data.startswith(b"\x89PNG\r\n\x1a\n")
        width, height = struct.unpack(">II", data[16:24])
        assert width == 1600
        assert height >= 900
        assert len(data) > 15_000


def test_drawing_again_replaces_older_charts(write_run: Write) -> None:
    folder = write_run()
    (folder / "charts").mkdir()
    (folder / "charts" / "ttft.png").write_bytes(b"old")
    draw_charts(load_results(folder), folder)
    assert (folder / "charts" / "ttft.png").read_bytes() != b"old"


def test_a_folder_that_cannot_be_written_to_is_one_sentence(write_run: Write) -> None:
    folder = write_run()
    (folder / "charts").write_text("a file in the way")
    with pytest.raises(ReportError, match=r"^The charts cannot be written to .*charts: File exists\.$"):
        draw_charts(load_results(folder), folder)


def test_drawing_leaves_pyplot_and_its_backend_alone(write_run: Write) -> None:
    folder = write_run()
    code = (
        "import sys; from tokenswarm.reports.charts import draw_charts; "
        "from tokenswarm.run_folder.reader import load_results; "
        "assert 'matplotlib' not in sys.modules; "
        f"draw_charts(load_results({str(folder)!r}), {str(folder)!r}); "
        "import matplotlib; assert 'matplotlib.pyplot' not in sys.modules; "
        "assert matplotlib.get_backend(auto_select=False) is None"
    )
    subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        cwd=Path(__file__).parents[2],
        env={"PATH": "/usr/bin:/bin"},
        timeout=60,
    )
