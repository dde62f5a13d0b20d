"""`tokenswarm trend`: departures from the baseline, exit codes, and the files that it writes."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest
from matplotlib.container import ErrorbarContainer
from matplotlib.text import Annotation

from tests.reports.folders import Course, write_folder
from tokenswarm import main
from tokenswarm.reports import units
from tokenswarm.reports.compare.comparison import TTFT, RunComparison, Standing
from tokenswarm.reports.compare.trend import Trend, TrendResult, TrendSeries
from tokenswarm.reports.compare.trend_page import draw_series, label_runs
from tokenswarm.reports.html.chart_style import canvas
from tokenswarm.reports.stats.changes import holm
from tokenswarm.run_folder.reader import load_results


def write_runs(folder: Path, ttfts_s: list[float], **changes: object) -> Path:
    """Runs of one level, a day apart, each with this median TTFT."""
    folder.mkdir()
    for number, ttft_s in enumerate(ttfts_s):
        run = {"started_at": f"2026-11-{number + 1:02d}T10:00:00Z"}
        write_folder(folder / f"run-{number:02d}", [Course(ttft_s=ttft_s)], seed=number, run=run, **changes)
    return folder


def trend(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = main(["trend", *map(str, arguments)])
    out, err = capsys.readouterr()
    return code, out, err


def results_of(file: Path, figure: str = "p50(ttft)") -> list[str]:
    with file.open(encoding="utf-8", newline="") as opened:
        return [row["result"] for row in csv.DictReader(opened) if row["figure"] == figure]


STEADY = [0.2, 0.203, 0.198, 0.201, 0.2, 0.199, 0.202]


@pytest.mark.filterwarnings("error:.*identical low and high")
def test_a_run_that_became_slower_departs_and_the_others_do_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, file, page = write_runs(tmp_path / "runs", [*STEADY, 0.3]), tmp_path / "t.csv", tmp_path / "t.html"
    code, out, _ = trend(capsys, folder, "--baseline", 4, "--csv", file, "--html", page, "--fail-if-worse")
    assert code == 5
    assert results_of(file) == ["baseline"] * 4 + ["no significant difference"] * 3 + ["worse"]
    assert results_of(file, "rate") == ["baseline"] * 4 + ["no significant difference"] * 4
    assert "run-07 departs from the baseline" in out
    assert page.read_text(encoding="utf-8").count("<svg") == 6  # the figures of one level


def test_without_a_departure_the_exit_code_is_0(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_runs(tmp_path / "runs", STEADY)
    code, out, _ = trend(capsys, *sorted(folder.iterdir(), reverse=True), "--fail-if-worse")  # in any order
    assert code == 0
    assert "No run departs from the baseline." in out


def test_a_change_for_the_worse_before_the_newest_run_does_not_fail(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, file = write_runs(tmp_path / "runs", [*STEADY[:5], 0.3, 0.2]), tmp_path / "t.csv"
    assert trend(capsys, folder, "--csv", file, "--baseline", 4, "--fail-if-worse")[0] == 0
    assert results_of(file)[-2:] == ["worse", "no significant difference"]


def test_runs_of_a_folder_with_other_settings_are_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_runs(tmp_path / "runs", STEADY)
    run = {"started_at": "2026-10-01T10:00:00Z"}
    write_folder(folder / "other", [Course(users=50)], seed=50, run=run)
    code, out, _ = trend(capsys, folder)
    assert code == 0
    assert "Trend of 7 runs" in out
    assert "1 run is left out (other): settings differ" in " ".join(out.split())
    assert "(levels in 1)" in " ".join(out.split())


def test_without_a_trend_the_runs_that_are_missing_are_counted_with_the_reasons(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    suspect = {"validity": {"verdict": "suspect", "reasons": ["late"], "issues": []}}
    folder = write_runs(tmp_path / "runs", STEADY[:3], summary=suspect)
    for number, users in enumerate((50, 70)):
        run = {"started_at": f"2026-10-0{number + 1}T10:00:00Z"}
        write_folder(folder / f"other-{users}", [Course(users=users)], seed=users, run=run)
    code, _, err = trend(capsys, folder)
    few, others = err.splitlines()
    assert code == 2
    assert "got 0 of 3 (3 runs: late)" in few
    assert "2 runs are left out (other-70, other-50)" in others
    assert "(levels in 2)" in others


def test_reasons_that_differ_in_their_numbers_are_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_runs(tmp_path / "runs", STEADY[:3])
    for number, run in enumerate(sorted(folder.iterdir())):
        file = run / "summary.json"
        summary = json.loads(file.read_bytes())
        reasons = [f"level {number}: late by {number}.5 ms"] if number else []
        summary["validity"] |= {"verdict": "suspect" if number else "valid", "reasons": reasons}
        file.write_text(json.dumps(summary))
    code, _, err = trend(capsys, folder, "--baseline", 2)
    assert code == 2
    assert "got 1 of 3 (2 runs with numbers of their own, in run-02: level 2: late by 2.5 ms)" in err


def test_a_folder_without_runs_is_named_as_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = trend(capsys, tmp_path)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert f"tokenswarm trend: {tmp_path} holds no runs; give the results folder of the runs" in err


def test_a_suspect_run_is_no_baseline_and_ends_with_3_where_it_is_the_newest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, file = write_runs(tmp_path / "runs", STEADY), tmp_path / "t.csv"
    suspect = {"validity": {"verdict": "suspect", "reasons": ["late"], "issues": []}}
    for name, day in (("first", "2026-10-01"), ("last", "2026-12-01")):
        run = {"started_at": f"{day}T10:00:00Z"}
        write_folder(folder / name, [Course()], seed=len(name) + 90, run=run, summary=suspect)
    code, out, _ = trend(capsys, folder, "--baseline", 4, "--csv", file, "--fail-if-worse")
    assert code == 3
    assert results_of(file)[:6] == ["no significant difference", *["baseline"] * 4, "no significant difference"]
    assert "first (SUSPECT)" in out


def write_uneven(folder: Path) -> Path:
    """Runs of one day: two of many requests, one that nothing bounds, one bounded above alone, one suspect."""
    folder.mkdir()
    suspect = {"validity": {"verdict": "suspect", "reasons": ["late"], "issues": []}}
    runs = [(0.2, 400, 0.0), (0.2, 400, 0.0), (0.7, 3, 0.0), (0.2, 60, 0.95), (0.2, 400, 0.0)]
    for number, (ttft_s, requests, correlation) in enumerate(runs):
        courses = [Course(ttft_s=ttft_s, requests=requests, correlation=correlation)]
        run = {"started_at": f"2026-11-30T{10 + number}:05:00Z"}
        write_folder(folder / f"run-{number}", courses, seed=number, run=run, summary=suspect if number == 4 else {})
    return folder


def series_of(folder: Path, figure: str) -> TrendSeries:
    trend = Trend([load_results(run) for run in folder.iterdir()], baseline=2)
    (found,) = [series for series in trend.series if str(series.compared.figure) == figure]
    return found


def test_comparisons_that_could_not_be_decided_are_counted_and_the_largest_change_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, file, page = write_uneven(tmp_path / "runs"), tmp_path / "t.csv", tmp_path / "t.html"
    _, out, _ = trend(capsys, folder, "--baseline", 2, "--csv", file, "--html", page)
    with file.open(encoding="utf-8", newline="") as opened:
        rows = [row for row in csv.DictReader(opened) if row["result"] != "baseline"]
    undecided = [row for row in rows if row["result"].startswith("inconclusive")]
    largest = max(float(row["change"]) for row in undecided if row["change_is"] == "ratio")
    assert len(undecided) > 3
    for text in (" ".join(out.split()), page.read_text(encoding="utf-8").partition("<figure>")[0]):
        assert "No run departs from the baseline." not in text
        assert f"{len(undecided)} of {len(rows)} comparisons could not be decided (too few runs or requests)." in text
        assert re.search(rf"The largest change among them: run-2, TTFT, [^:]+: ×{units.rate(largest)}\.", text)
        assert "1 of 5 runs is unreliable, and no part of the baseline: run-4 (SUSPECT)." in text


def test_two_runs_stand_to_each_other_as_in_a_comparison(tmp_path: Path) -> None:
    """A tenth more than one run each can tell from what differs from run to run."""
    folders = [
        write_folder(tmp_path / f"run-{number}", [Course(ttft_s=ttft_s)], seed=number, run={"started_at": day})
        for number, (ttft_s, day) in enumerate([(0.2, "2026-11-30T10:05:00Z"), (0.23, "2026-11-30T11:05:00Z")])
    ]
    runs = [load_results(folder) for folder in folders]
    (series,) = [series for series in Trend(runs).series if str(series.compared.figure) == "p50(ttft)"]
    (entry,) = [entry for entry in RunComparison(runs).entries if entry.compared is TTFT and entry.change is not None]
    assert (series.points[-1].result, entry.standing) == (TrendResult.INCONCLUSIVE, Standing.INCONCLUSIVE)
    assert series.points[-1].result.value == entry.standing.value


def test_a_chart_draws_no_end_of_an_interval_that_is_not_known(tmp_path: Path) -> None:
    series = series_of(write_uneven(tmp_path / "runs"), "p50(ttft)")
    ends = [series.compared.known_ends(point.estimate) for point in series.points]
    (_, axes) = canvas()
    unit = draw_series(axes, series)
    drawn = {}
    for container in axes.containers:
        assert isinstance(container, ErrorbarContainer)
        ((bottom, top),) = container.lines[2][0].get_segments()
        drawn[round(bottom[0])] = (bottom[1], top[1])
    assert (unit, ends[2]) == ("ms", (None, None))
    assert set(drawn) == {0, 1, 3, 4}
    value, high = series.points[3].estimate.value, ends[3][1]
    assert ends[3][0] is None
    assert high is not None
    assert drawn[3] == pytest.approx((value * 1000, high * 1000))
    arrows = [text for text in axes.texts if isinstance(text, Annotation) and text.arrow_patch is not None]
    assert [(text.xy[0], text.xyann[1] < 0) for text in arrows] == [(3, True)]


def test_a_suspect_run_has_a_marker_of_its_own_in_the_chart(tmp_path: Path) -> None:
    series = series_of(write_uneven(tmp_path / "runs"), "p50(ttft)")
    (_, axes) = canvas()
    draw_series(axes, series)
    rings = [line for line in axes.lines if line.get_markersize() == 12 and len(np.asarray(line.get_xdata()))]
    assert [list(np.asarray(line.get_xdata())) for line in rings] == [[4]]
    assert "unreliable run" in axes.get_legend_handles_labels()[1]


@pytest.mark.parametrize(
    ("moments", "names"),
    [
        (("11-29T10:00:00", "11-30T10:00:00"), ["11-29", "11-30"]),
        (("11-30T10:00:00", "11-30T10:01:00"), ["10:00", "10:01"]),
        (("11-30T10:00:07", "11-30T10:00:59"), ["10:00:07", "10:00:59"]),
        (("11-29T10:00:00", "11-30T09:00:00", "11-30T10:00:00"), ["11-29 10:00", "11-30 09:00", "11-30 10:00"]),
    ],
)
def test_runs_are_named_so_that_they_can_be_distinguished(
    moments: tuple[str, ...], names: list[str], tmp_path: Path
) -> None:
    for number, moment in enumerate(moments):
        run = {"started_at": f"2026-{moment}Z"}
        write_folder(tmp_path / f"run-{number}", [Course()], seed=number, run=run)
    trend = Trend([load_results(run) for run in tmp_path.iterdir()], baseline=1)
    (_, axes) = canvas()
    label_runs(axes, trend.series[0])
    assert [label.get_text() for label in axes.get_xticklabels()] == names


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--baseline", "7"), "A baseline of 7 runs takes 8 reliable runs at least, got 7 of 7."),
        (("--baseline", "0"), "--baseline takes a number of runs, like 5, got '0'."),
        (("--run-variation", "x"), "--run-variation takes a share from 0% to 100%, like 5%, got 'x'."),
    ],
)
def test_what_cannot_be_used_ends_with_2_and_a_sentence(
    options: tuple[str, ...], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = trend(capsys, write_runs(tmp_path / "runs", STEADY), *options)
    assert (code, err) == (2, f"tokenswarm trend: {sentence}\n")


def test_explicit_runs_with_other_settings_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_runs(tmp_path / "runs", STEADY[:3])
    write_folder(tmp_path / "other", [Course()], seed=9, run={"options": {"max_tokens": 7}})
    code, _, err = trend(capsys, *folder.iterdir(), tmp_path / "other")
    assert code == 2
    assert "max_tokens" in err


def test_of_twenty_series_without_a_change_one_at_most_shows_a_departure() -> None:
    """Chances of ten runs, uniform between equals: Holm's bound holds for all of them together."""
    chances = np.random.default_rng(3).random((4000, 10))
    assert sum(bool(holm(list(row), 0.025, 0.025)) for row in chances) <= 0.03 * 4000
    assert holm([0.001, 0.5, 0.02], 0.05, 0.025) == {0, 2}
