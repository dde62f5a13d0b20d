"""`report.html`: what it says of a run, from sound to doubtful, and what it does where something is missing."""

from __future__ import annotations

import argparse
import csv
import dataclasses
import json
import logging
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

import tokenswarm.reports.report_command
import tokenswarm.reports.terminal
from tests.reports.conftest import level as level_json
from tests.reports.folders import Course, write_csv, write_folder
from tests.reports.reading import Tables, number_in
from tests.reports.test_document import Tags, references
from tests.run_folder.numbers import FORMAT_2
from tokenswarm.metrics.deviations import Deviation
from tokenswarm.reports import units
from tokenswarm.reports.charts import draw_charts
from tokenswarm.reports.checks.check_report import check_run
from tokenswarm.reports.checks.conditions import parse_conditions
from tokenswarm.reports.checks.run_checks import RunChecks
from tokenswarm.reports.html.chart_sections import gap_curves
from tokenswarm.reports.html.run_config import command_of
from tokenswarm.reports.html.run_page import draw_page
from tokenswarm.reports.html.time_charts import (
    Line,
    Span,
    axis_end,
    before_drains,
    over_time,
    sampled_line,
    spans_of,
    users_line,
)
from tokenswarm.reports.html.time_series import MOST_POINTS, load_time_series
from tokenswarm.reports.server_note import server_note
from tokenswarm.reports.stats.failures import failure_examples
from tokenswarm.reports.terminal import TerminalSink
from tokenswarm.reports.text_table import summary_table
from tokenswarm.run_folder.reader import load_results
from tokenswarm.run_folder.schema import LevelSummary

pytestmark = pytest.mark.slow

Write = Callable[..., Path]
Json = dict[str, Any]

LADDER = [
    Course(users=users, system_prompt=mode, token_rate=40 * users) for mode in ("off", "on") for users in (10, 50)
]
FORMAT_1 = Path(__file__).parents[1] / "run_folder/format_1"


def page(folder: Path, fail_if: str = "") -> str:
    results = load_results(folder)
    return draw_page(results, check_run(parse_conditions(fail_if), results)).read_text(encoding="utf-8")


def words(html: str) -> str:
    """The page's text as one line; charts and styles left out."""
    html = re.sub(r"<(style|svg).*?</\1>", "", html, flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]*>", " ", html).replace("&#39;", "'").replace("&gt;", ">").split())


def test_a_sound_run_from_top_to_bottom(tmp_path: Path) -> None:
    html = page(write_folder(tmp_path / "run", LADDER, seed=1), "p95(ttft) > 5s")
    text = words(html)
    assert "under load: 10 and 50 users without system prompt; then 10 and 50 users with system prompt" in text
    assert "Valid." in text
    assert "Conditions: all passed." in text
    assert "SUSPECT" not in text.upper()
    for heading in ("TTFT and token rate", "Latency distributions", "Timeline", "Drift within a level"):
        assert f"<h2>{heading}</h2>" in html
    for heading in ("Failures", "Server-side metrics"):
        assert f"<h2>{heading}</h2>" not in html
    assert "Not available" not in text


def test_it_asks_nobody_for_anything_and_is_small(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "run", LADDER, seed=1)
    html = page(folder)
    assert all(one == "data:," or one.startswith("#") for one in references(html))
    assert not {tag for tag, _ in Tags(html).tags} & {"script", "img", "iframe", "object", "embed", "base"}
    # The server that was tested is named, as text; nothing else has an address.
    assert set(re.findall(r"\w+://[\w.:]+", html)) == {"http://gpu:8000"}
    assert len(html.encode()) < 1_500_000
    identifiers = re.findall(r' id="([^"]*)"', html)
    assert len(set(identifiers)) == len(identifiers)


def test_tags_are_called_tags(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "run", [Course()], seed=1, run={"tags": {"kind": "nightly", "gpu": "h100"}})
    assert '<p class="quiet">tags: kind=nightly, gpu=h100</p>' in page(folder)


@pytest.mark.parametrize("tpot_ms", ["", "0.000000"], ids=["not available", "0, as it was written once"])
def test_a_run_whose_answers_each_came_in_one_arrival_has_its_page_and_charts(tmp_path: Path, tpot_ms: str) -> None:
    folder = write_folder(tmp_path / "run", LADDER, seed=1)
    with (folder / "requests.csv").open(newline="", encoding="utf-8") as file:
        rows = [row | {"tpot_ms": tpot_ms, "e2e_ms": row["ttft_ms"]} for row in csv.DictReader(file)]
    write_csv(folder / "requests.csv", list(rows[0]), rows)
    summary = json.loads((folder / "summary.json").read_text())
    nothing = dict.fromkeys(("mean", "min", "max", "p50", "p90", "p95", "p99")) | {"count": 0}
    zero = {"value": 0.0, "low": 0.0, "high": 0.0, "certified": True}
    zeros = dict.fromkeys(("p50", "p90", "p95", "p99"), zero) | {"count": 400, "mean": 0.0, "min": 0.0, "max": 0.0}
    for level in summary["levels"]:
        for part in (level["hold"], level["whole"]):
            part |= {"gap_s": nothing, "request_token_rate": nothing, "tpot_s": zeros if tpot_ms else nothing}
            if not tpot_ms:
                part["requests_without_tpot"] = 400
    (folder / "summary.json").write_text(json.dumps(summary))
    html = page(folder)
    assert "<h2>Latency distributions</h2>" in html
    told = "TPOT, tokens/s of one user and gaps are not available for 400 of 400 ok requests"
    assert words(html).count(told) == (0 if tpot_ms else 4)
    assert set(Tables(html).columns("Results by level")["tokens/s, one user"]) == {"–"}
    assert len(draw_charts(load_results(folder), folder)) == 2


def test_its_numbers_are_the_summary_s_and_their_intervals_the_journals(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "run", LADDER, seed=1)
    told = json.loads((folder / "summary.json").read_text())["levels"]
    columns = Tables(page(folder)).columns("Results by level")
    for level, p50, p95, rate in zip(
        told, columns["TTFT p50"], columns["TTFT p95"], columns["tokens/s, all"], strict=True
    ):
        hold = level["hold"]
        assert number_in(p50) == pytest.approx(hold["ttft_s"]["p50"]["value"], rel=0.0051)
        assert number_in(p95) == pytest.approx(hold["ttft_s"]["p95"]["value"], rel=0.0051)
        assert number_in(rate) == pytest.approx(hold["token_rate"], rel=0.0051)


def test_a_hold_too_short_for_an_interval_of_the_rate_says_what_it_takes(tmp_path: Path) -> None:
    short = words(page(Path(shutil.copytree(FORMAT_2, tmp_path / "short"))))
    long = words(page(write_folder(tmp_path / "long", LADDER, seed=1)))
    takes = "the hold is too short for an interval. A hold of 65 s has one"
    assert (takes in short, takes in long) == (True, False)


def test_a_fall_within_a_level_is_called_out_at_the_top_and_a_steady_level_is_not(tmp_path: Path) -> None:
    courses = [Course(users=10), Course(users=50, fall=0.3)]
    html = page(write_folder(tmp_path / "run", courses, seed=2))
    top = words(html[: html.index("<h2>TTFT and token rate")])
    assert top.count("The token rate fell within a level.") == 1
    called = re.search(
        r"within a level\. (50 users without system prompt): .*?: (−[\d.]+) % \(95 % interval (−[\d.]+) to (−[\d.]+)",
        top,
    )
    assert called, top
    change, low, high = (float(text.replace("−", "-")) for text in called.groups()[1:])
    assert low < change < high < 0
    assert Tables(html).columns("Token rate in the first")["trend"] == ["steady", "FALLS"]


def test_a_suspect_run_says_so_first_and_no_condition_is_a_pass(tmp_path: Path) -> None:
    suspect = {"validity": {"verdict": "suspect", "reasons": ["10 users: <late> & later"]}}
    text = words(page(write_folder(tmp_path / "run", LADDER, seed=1, summary=suspect), "failures > 1%"))
    assert text.index("Suspect.") < text.index("10 users: &lt;late> &amp; later")
    assert "so its conditions do not count" in text
    assert "Valid." not in text


@pytest.mark.parametrize("recorded", [True, False], ids=["as recorded", "older folder"])
def test_the_curve_of_gaps_is_of_the_recorded_gaps(tmp_path: Path, recorded: bool) -> None:
    """In Prometheus' buckets a median of 12.3 ms reads 17 or more; a folder that has no others still shows those."""
    folder = write_folder(tmp_path / "run", LADDER[:1], seed=1)
    buckets = [("gap_s", le, count) for le, count in ((0.01, 5), (0.025, 95), ("+Inf", 0))]
    if recorded:
        buckets += [("gap_s_recorded", 0.0095 + n * 0.0001, 1) for n in range(57)]
    lines = ["metric,system_prompt,level,part,le,count"]
    lines += [f"{metric},off,10,hold,{le},{count}" for metric, le, count in buckets]
    (folder / "histograms.csv").write_text("\n".join(lines) + "\n")
    curves, exact = gap_curves(load_results(folder))
    bounds_s, shares = curves[0]
    assert (exact, shares[-1]) == (recorded, 1.0)
    assert bool(abs(np.interp(0.5, shares, bounds_s) - 0.0123) < 0.0001) is recorded
    assert ("the dots are the bounds of the buckets" in page(folder)) is not recorded


def test_broken_conditions_stand_at_the_top_with_their_figures(tmp_path: Path) -> None:
    html = page(write_folder(tmp_path / "run", LADDER, seed=1), "p95(ttft)@10/off > 1ms, failures > 1%")
    top = html[: html.index("<h2>TTFT and token rate")]
    assert "Conditions: 1 of 5 failed" in words(top)
    columns = Tables(top).columns("Conditions and their results")
    assert (columns["result"], columns["level"]) == (["FAIL"], ["10 users without system prompt"])
    assert len(Tables(html[len(top) :]).columns("Conditions")["result"]) == 5


def test_objectives_and_the_largest_level_that_meets_them(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "run", LADDER[:2], seed=1)
    document = json.loads((folder / "summary.json").read_text())
    document |= {"format": 2, "objectives": {"ttft_s": 0.5}, "objective_share": 0.95}
    document["capacity"] = [{"system_prompt": "off", "level": "10", "users": 10}]
    for level, meets in zip(document["levels"], (True, False), strict=True):
        level["meets_objectives"] = meets
        level["hold"]["goodput"] = {"requests_per_s": 1.0, "tokens_per_s": 9.0, "fraction": 0.97 if meets else 0.5}
    (folder / "summary.json").write_text(json.dumps(document))
    html = page(folder)
    met = "SLO met at some levels. ttft ≤ 500 ms for 95 % of requests. Highest load that meets it: 10 users without"
    assert met in words(html)
    assert Tables(html).columns("Results by level")["SLO"] == ["met", "missed"]


def test_failures_by_outcome_with_the_first_of_each_error_in_its_own_words(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "run", [Course(failures=6), Course(users=50)], seed=1)
    with (folder / "requests.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    failed = [row for row in rows if row["outcome"] == "timeout"]
    for number, row in enumerate(failed):
        row |= {"error": "no first token\nin <120 s>" if number % 2 else "silence", "status": "200"}
    write_csv(folder / "requests.csv", list(rows[0]), rows)
    html = page(folder)
    assert "Failed requests: 6 of 800 requests (0.8 %)." in words(html)
    assert Tables(html).columns("By outcome")["timeout"] == ["6"]
    examples = Tables(html).columns("Examples")
    assert set(examples["error"]) == {"no first token in <120 s>", "silence"}
    assert set(examples["status"]) == {"200"}
    assert "in &lt;120 s&gt;" in html
    assert [one.level_index for one in failure_examples(load_results(folder))] == [0, 0]


def test_a_folder_without_journals_keeps_its_figures_and_says_what_is_missing(write_run: Write) -> None:
    folder = write_run()
    for name in ("windows.csv", "histograms.csv"):
        (folder / name).unlink()
    html = page(folder)
    text = words(html)
    assert number_in(Tables(html).columns("Results by level")["tokens/s, all"][0]) == pytest.approx(485)
    assert text.count("Not available.") >= 3
    assert "windows.csv is missing; the folder is not as a run left it." in text
    assert units.SAMPLE_TOO_SMALL in text


def test_a_folder_of_format_1_has_its_page(tmp_path: Path) -> None:
    html = page(shutil.copytree(FORMAT_1, tmp_path / "run"))
    assert "Not available: all levels" in words(html)
    assert "Not available." not in words(html)


def test_a_level_without_an_ok_request_is_drawn_as_none(write_run: Write, make_level: Callable[..., Json]) -> None:
    html = page(write_run([make_level(0, 10, outcomes={"timeout": 5}), make_level(1, 50)]))
    assert "no ok request" in html
    assert Tables(html).columns("Results by level")["TTFT p50"][0] == "–"


def test_the_server_s_own_metrics_are_drawn_on_the_run_s_time(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "run", LADDER[:1], seed=1)
    looks = [
        {"time_s": time_s, "level_index": 0, "metric": concept, "value": value}
        for time_s in range(0, 300, 5)
        for concept, value in (("requests_running", 10), ("gpu_utilization", 0.9))
    ]
    write_csv(folder / "server.csv", ["time_s", "level_index", "metric", "value"], looks)
    html = page(folder)
    assert "<h2>Server-side metrics</h2>" in html
    for title in ("Requests in the server", "Cache and GPU utilization", "Token rate against GPU utilization"):
        assert f"<b>{title}</b>" in html


def test_a_long_run_is_thinned_for_drawing_and_loses_no_failure(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "run", LADDER, seed=1)
    rows = [
        {
            "start_s": 5 * at,
            "end_s": 5 * at + 5,
            "level_index": at // 1000,
            "token_rate": 100 + at % 2,
            "failures": at % 7 == 0,
        }
        | {"ttft_p95_ms": 900 if at == 1500 else 200, "failures": int(at % 7 == 0)}
        for at in range(4000)
    ]
    write_csv(
        folder / "windows.csv", ["start_s", "end_s", "level_index", "token_rate", "ttft_p95_ms", "failures"], rows
    )
    series = load_time_series(load_results(folder))
    assert series.together == 12
    assert len(series.level_index) <= MOST_POINTS + 4
    assert series.failures.sum() == sum(row["failures"] for row in rows)
    assert series.token_rate == pytest.approx(np.full(len(series.level_index), 100.5), abs=0.51)
    assert series.ttft_p95_s.max() == 0.9
    assert (np.diff(series.level_index) >= 0).all()
    assert series.end_s[-1] == 20000
    assert np.isnan(series.users).all()


def test_the_command_that_repeats_a_run_carries_its_options(tmp_path: Path) -> None:
    options = {
        "engine": "auto",
        "max_tokens": 64,
        "ignore_eos": True,
        "self_check": False,
        "slo": "ttft=1s e2e=9s",
        "tokenizer": "",
        "results": "elsewhere",
        "metrics_port": 1,
        "levels": "10,50",
    }
    folder = write_folder(tmp_path / "run", LADDER, seed=1, run={"options": options})
    told = shlex.split(command_of(load_results(folder)))
    expected = "tokenswarm run -H http://gpu:8000 --engine auto --max-tokens 64 --ignore-eos --slo"
    assert told == [*expected.split(), "ttft=1s e2e=9s", "--levels", "10,50"]


def test_the_command_that_repeats_a_run_keeps_its_name_and_tags(tmp_path: Path) -> None:
    named = {"options": {"levels": "10"}, "name": "base line", "tags": {"gpu": "h100", "kind": "nightly"}}
    folder = write_folder(tmp_path / "run", LADDER[:1], seed=1, run=named)
    told = shlex.split(command_of(load_results(folder)))
    assert told[-6:] == ["--name", "base line", "--tag", "gpu=h100", "--tag", "kind=nightly"]


def test_a_free_run_is_repeated_with_locust_s_own_users_rate_and_time(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "run", LADDER[:1], seed=1, run={"shape": "free"})
    assert command_of(load_results(folder)).endswith("-u 10 -r 0.5 -t 300s")


def test_a_run_against_the_embedded_simulator_is_repeated_without_a_host(tmp_path: Path) -> None:
    """Its port is gone with the run; without a host a new one starts."""
    folder = write_folder(
        tmp_path / "run", LADDER, seed=1, run={"embedded_simulator": True, "options": {"levels": "10"}}
    )
    assert "-H" not in shlex.split(command_of(load_results(folder)))


def test_the_token_rate_is_not_drawn_into_a_drain(tmp_path: Path) -> None:
    """Nothing new is sent there: a line through it would end each level in a cliff that the server never had."""
    results = load_results(write_folder(tmp_path / "run", LADDER[:1], seed=1))
    rows = read_windows(results.folder)
    rows[-1] |= {"end_s": f"{float(rows[-1]['end_s']) + 3:.3f}", "token_rate": "1.000"}
    write_csv(results.folder / "windows.csv", list(rows[0]), rows)
    series = load_time_series(results)
    drawn = before_drains(series, spans_of(results, series))
    assert series.token_rate[-1] == 1.0
    assert np.isnan(drawn[-1])
    assert (drawn[:-1] == series.token_rate[:-1]).all()


def test_the_page_s_line_of_the_token_rate_ends_with_the_hold(tmp_path: Path) -> None:
    """Whatever the rate of a window in the drain, the chart is the same."""
    charts = []
    for drain_rate in ("1.000", "9000.000"):
        folder = write_folder(tmp_path / f"run-{drain_rate}", LADDER[:1], seed=1)
        rows = read_windows(folder)
        rows[-1] |= {"end_s": f"{float(rows[-1]['end_s']) + 3:.3f}", "token_rate": drain_rate}
        write_csv(folder / "windows.csv", list(rows[0]), rows)
        html = page(folder)
        section = html[html.index("<h2>Timeline") :]
        charts.append(re.findall(r"<path[^>]*>", section[: section.index("</svg>")]))
        assert len(charts[-1]) > 5
    assert charts[0] == charts[1]


def test_whole_numbers_of_users_and_failures_have_no_decimals_on_the_page(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "run", LADDER[:1], seed=1)
    rows = read_windows(folder)
    for number, row in enumerate(rows):
        row |= {"users": "5", "in_flight": "4", "failures": str(number % 2)}
    write_csv(folder / "windows.csv", list(rows[0]), rows)
    shown = Tables(page(folder)).columns("The points of the charts")
    assert set(shown["users"]) == {"5"}
    assert set(shown["in flight"]) == {"4"}
    assert set(shown["failures"]) == {"0", "1"}


def test_the_timeline_of_an_open_loop_has_its_rates_in_place_of_users(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "run", LADDER[:1], seed=1)
    rows = read_windows(folder)
    for row in rows:
        row |= {
            "users": "1",
            "in_flight": "4",
            "offered_rate": "20.000",
            "sent_rate": "19.800",
            "completed_rate": "17.4",
        }
    write_csv(folder / "windows.csv", list(rows[0]), rows)
    html = page(folder)
    shown = Tables(html).columns("The points of the charts")
    assert "users" not in shown
    found = [set(shown[name]) for name in ("offered/s", "sent/s", "completed/s", "in flight")]
    assert found == [{"20.0"}, {"19.8"}, {"17.4"}, {"4"}]
    section = html[html.index("<h2>Timeline") :]
    assert [title in section for title in ("Request rate", "Requests in flight")] == [True, True]


def test_requested_and_measured_load_are_a_section_and_a_line_of_each_level(
    write_run: Write, make_level: Callable[..., Json]
) -> None:
    gaps = {"process": "poisson", "gaps": 1199, "distance": 0.0213, "chance": 0.00042, "tolerance_s": 0.001}
    gaps |= {"distance_tolerated": 0.02, "chance_tolerated": 0.0005, "as_requested": False}
    gaps |= {"dispersion": 1.043, "dispersion_requested": 0.98}
    closed = {"unit": "users", "requested": 10, "measured": 9.8, "measured_min": 8.0, "as_requested": True}
    opened = {"unit": "requests/s", "requested": 20.0, "measured": 19.83, "as_requested": True, "gaps": gaps}
    opened |= {"lag_p50_s": 0.0001, "lag_p99_s": 0.002, "lag_max_s": 0.004}
    levels = [make_level(0, 10) | {"load_audit": closed}, make_level(1, 20) | {"load_audit": opened}]
    folder = write_run(levels)
    tables = Tables(page(folder))
    shown = tables.columns("Requested and measured users of each hold")
    names: tuple[str, ...] = ("users requested", "users on average", "in the second with the fewest", "result")
    assert [shown[name] for name in names] == [["10"], ["9.8"], ["8"], ["as requested"]]
    shown = tables.columns("Requested and measured request rate of each hold")
    names = ("requests/s requested", "requests/s sent", "arrivals: K-S distance", "K-S p")
    names += ("burstiness", "burstiness of the schedule", "lag p99", "result")
    figures = ("20.0", "19.8", "0.021", "< 0.001", "1.04", "0.98", "2.00 ms", "NOT AS REQUESTED")
    assert [shown[name] for name in names] == [[figure] for figure in figures]
    table = summary_table(load_results(folder), 200).splitlines()
    first = table.index("Requested and measured load:")
    assert ["NOT AS REQUESTED" in line for line in table[first + 1 : first + 3]] == [False, True]
    assert "Requested and measured load" not in page(write_run([make_level(0, 10)]))


def read_windows(folder: Path) -> list[dict[str, str]]:
    with (folder / "windows.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_what_a_short_run_cannot_certify_stands_below_the_change_and_not_beside_it(tmp_path: Path) -> None:
    few = [Course(users=10, system_prompt=mode, requests=5) for mode in ("off", "on")]
    html = page(write_folder(tmp_path / "run", few, 1))
    section = html[html.index("<h2>Effect of the system prompt") :]
    cells = re.findall(r"<td[^>]*>(.*?)</td>", section[: section.index("</table>")], flags=re.DOTALL)
    values = [re.split(r"<", cell, maxsplit=1)[0] for cell in cells]
    assert any(units.SAMPLE_TOO_SMALL in cell for cell in cells)
    assert not any(units.SAMPLE_TOO_SMALL in value for value in values)


def test_intervals_without_ends_have_one_sign(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "run", [Course(users=10, requests=5)], 1)
    summary = json.loads((folder / "summary.json").read_text())
    hold = summary["levels"][0]["hold"]
    for figures in (hold["ttft_s"]["p50"], hold["ttft_s"]["p95"], hold["request_token_rate"]["p50"]):
        figures |= {"low": None, "high": None, "certified": False}
    (folder / "summary.json").write_text(json.dumps(summary))
    html = page(folder)
    below = re.findall(r"<small>(.*?)</small>", html[html.index("<tbody>") : html.index("</tbody>")])
    assert below.count(units.SAMPLE_TOO_SMALL) == 3
    assert units.UNDEFINED not in below


def test_a_few_far_higher_latencies_do_not_flatten_the_others_over_time(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "run", [Course()], seed=1)
    rows = read_windows(folder)
    write_csv(
        folder / "windows.csv", list(rows[0]), [row | _ttft(9000 if at == 30 else 200) for at, row in enumerate(rows)]
    )
    assert "TTFT</b> ▲ beyond the axis: up to 9.00 s" in page(folder)
    write_csv(folder / "windows.csv", list(rows[0]), [row | _ttft(200 + at) for at, row in enumerate(rows)])
    assert "▲" not in page(folder)


def _ttft(ms: int) -> dict[str, str]:
    return {"ttft_p50_ms": str(ms), "ttft_p95_ms": str(2 * ms if ms < 9000 else ms)}


def test_values_beyond_an_axis_are_marked_at_its_end() -> None:
    values = np.full(100, 0.2)
    values[40] = 9.0
    end = axis_end([values / 2, values])
    assert end == pytest.approx(0.3)
    span = Span(msgspec.convert(level_json(0, 1), LevelSummary), 0.0, 0.0, 100.0, 100.0)
    (axes,) = over_time([span], [Line("", np.arange(100.0), values)], "s", end=end).axes
    (marks,) = [line for line in axes.lines if line.get_marker() == "^"]
    assert [*marks.get_xdata()] == [40.0]
    assert axes.get_ylim()[1] < 0.4
    assert axis_end([np.array([np.nan, 0.1, 9.0])]) is None  # too few to say which are usual
    assert axis_end([]) is None


def test_a_value_without_neighbours_is_drawn_as_a_point() -> None:
    nan, times = np.nan, np.arange(6.0)
    span = Span(msgspec.convert(level_json(0, 1), LevelSummary), 0.0, 0.0, 6.0, 6.0)
    figure = over_time([span], [Line("", times, np.array([1.0, nan, 2.0, 3.0, nan, 4.0]))], "tokens/s")
    (points,) = [line for line in figure.axes[0].lines if line.get_marker() == "o"]
    assert [*points.get_xdata()] == [0.0, 5.0]


def test_a_level_that_ended_as_it_began_is_drawn() -> None:
    span = Span(msgspec.convert(level_json(0, 1), LevelSummary), 0.0, 0.0, 0.0, 0.0)
    figure = over_time([span], [Line("", np.empty(0), np.empty(0))], "tokens/s")
    assert figure.axes[0].get_xlim() == (0.0, 1.0)


def test_a_page_that_cannot_be_drawn_is_said_loudly_after_the_figures(
    write_run: Write,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object) -> Path:
        raise RuntimeError("no ink")

    monkeypatch.setattr(tokenswarm.reports.terminal, "draw_page", fail)
    with caplog.at_level(logging.ERROR, "tokenswarm"):
        TerminalSink(RunChecks()).finished(folder := write_run())
    assert "Verdict: valid" in capsys.readouterr().out
    assert (folder / "charts" / "token_rate.png").exists()
    assert "The report could not be made: RuntimeError('no ink')" in caplog.text


def test_the_page_of_an_unwritable_folder_is_one_sentence(write_run: Write) -> None:
    folder = write_run()
    (folder / "report.html").mkdir()
    parser = argparse.ArgumentParser()
    tokenswarm.reports.report_command.add_arguments(parser)
    assert tokenswarm.reports.report_command.main(parser.parse_args([str(folder)])) == 2


@pytest.mark.skipif(not shutil.which("chromium"), reason="needs chromium")
def test_a_browser_has_nothing_to_complain_of(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "run", LADDER, seed=1)
    page(folder)
    command = ["chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--v=0"]
    command += [f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", (folder / "report.html").as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert "</html>" in done.stdout
    assert "CONSOLE" not in done.stderr


@pytest.mark.parametrize("ramp_s", [20.0, 7.0])
def test_users_are_drawn_as_they_ramped_up_stayed_and_left(tmp_path: Path, ramp_s: float) -> None:
    """From no user at a level's beginning, flat from the ramp's end to the hold's end, gone when its drain is over."""
    results = load_results(write_folder(tmp_path / "run", LADDER[:2], seed=1))
    rows = read_windows(results.folder)
    windows = [float(row["start_s"]) for row in rows if row["level_index"] == "0"]
    for row in rows:
        at_s = float(row["end_s"]) - (320.0 if row["level_index"] == "1" else 0.0)
        row["users"] = str(int(10 * min(1.0, at_s / ramp_s)))
    drain = rows[len(windows) - 1] | {"start_s": "300.000", "end_s": "305.000", "users": "0"}
    rows.insert(len(windows), drain)
    write_csv(results.folder / "windows.csv", list(rows[0]), rows)
    series = load_time_series(results)
    spans = [dataclasses.replace(span, hold_began_s=span.began_s + ramp_s) for span in spans_of(results, series)]
    line = users_line(series, spans, series.users)
    times_s = (
        0.0,
        ramp_s,
        150.0,
        299.99,
        300.01,
        305.0,
        320.0,
    )  # at the end of the hold they are gone, without a slope
    at = {when_s: np.interp(when_s, line.time_s, line.values) for when_s in times_s}
    assert at == {0.0: 0, ramp_s: 10, 150.0: 10, 299.99: 10, 300.01: 0, 305.0: 0, 320.0: 0}
    assert (np.diff(line.time_s) >= 0).all()


def test_requests_in_flight_are_drawn_in_steps_from_the_end_of_the_ramp(tmp_path: Path) -> None:
    results = load_results(write_folder(tmp_path / "run", LADDER[:1], seed=1))
    series = load_time_series(results)
    (span,) = spans_of(results, series)
    counts = np.where(np.arange(len(series.end_s)) % 2, 7.0, 10.0)
    line = users_line(series, [span], counts)
    after = line.time_s > span.hold_began_s
    times_s, values = line.time_s[after], line.values[after]
    assert len(times_s) > 20
    assert ((np.diff(times_s) == 0) | (np.diff(values) == 0)).all()  # level or upright, never a slope
    middles = (series.start_s + series.end_s)[series.start_s > span.hold_began_s] / 2
    assert np.interp(middles, line.time_s, line.values).tolist() == counts[series.start_s > span.hold_began_s].tolist()


def test_requests_in_the_server_fall_at_the_end_of_a_hold_however_late_the_next_sample_is(tmp_path: Path) -> None:
    results = load_results(write_folder(tmp_path / "run", LADDER[:2], seed=1))
    (first, second) = spans_of(results, load_time_series(results))
    first = dataclasses.replace(first, hold_ended_s=first.ended_s - 8.0)
    last_s, soon_s, later_s = (first.hold_ended_s + after_s for after_s in (-1.0, 0.5, 5.0))
    times_s = np.array([10.0, last_s, soon_s, later_s, second.began_s + 1.0])
    values = np.array([9.0, 10.0, 4.0, 0.0, 50.0])
    line = sampled_line("running", times_s, values, [first, second])
    at = [
        float(np.interp(first.hold_ended_s + after_s, line.time_s, line.values))
        for after_s in (-0.01, 0.01, 0.49, 0.51, 5.0)
    ]
    assert at == [10.0, 4.0, 4.0, 0.0, 0.0]
    assert line.values[-1] == 50.0


def test_responses_that_differ_from_their_protocol_are_named_on_the_page(
    write_run: Write, make_level: Callable[..., Json]
) -> None:
    levels = [make_level(0, 10, deviations={"missing_end": 7}), make_level(1, 50, deviations={"missing_end": 2})]
    told = f"9 responses of the whole levels {Deviation.MISSING_END.text}"
    assert words(page(write_run(levels))).count(told) == 1
    assert told not in words(page(write_run([make_level(0, 10)])))


def test_what_the_preflight_noticed_and_adapted_is_on_table_and_page(write_run: Write) -> None:
    requests = {"adapted": ["requests leave stream_options out"], "notices": ["outputs come in lumps (9 in 2)"]}
    folder = write_run(run={"requests": requests})
    table, report = " ".join(summary_table(load_results(folder)).split()), words(page(folder)).lower()
    for text in (*requests["adapted"], *requests["notices"]):
        assert text in table
        assert text in report


def test_facts_of_the_prompts_are_named_in_words(write_run: Write) -> None:
    prompts = {"head_tokens_off": 24, "words_add_up": True, "nonce_source": "drawn", "token_counting": "usage"}
    prompts |= {"cache": "share", "reuse": "never", "left_out_of_other_roles": 0, "count": 303}
    html = page(write_run(run={"prompts": prompts}))
    assert not any(name.replace("_", " ") in html for name in ("head_tokens_off", "words_add_up", "nonce_source"))
    for words in (
        "tokens besides the words, without system prompt",
        "random, drawn for this run",
        "the server (usage)",
        "prefix cache (--cache)",
        "share: prompts that begin like earlier ones, with a system prompt for example, may find that beginning in it",
        "texts to draw from",
        "never: texts may be drawn again, but each request begins its text with random characters of its own",
        "rows left out, roles other than user, assistant, system",
    ):
        assert words in html


@pytest.mark.parametrize(("verdict", "cell"), [("valid", "kept"), ("suspect", "EXCEEDED")])
def test_a_worker_is_judged_by_its_own_delays(write_run: Write, verdict: str, cell: str) -> None:
    worker = {"worker": 0, "requests": 10, "validity": {"verdict": verdict, "reasons": [], "issues": []}}
    text = words(page(write_run(summary={"workers": [worker]})))
    assert f"event-loop lag p99 limits of the whole run 0 10 – – – {cell}" in text


def test_below_the_workers_stand_the_levels_in_which_the_client_was_too_slow(
    write_run: Write, make_level: Callable[..., Json]
) -> None:
    worker = {"worker": 0, "requests": 10, "validity": {"verdict": "valid", "reasons": [], "issues": []}}
    issue = {"kind": "uncertain_ttft", "message": "late", "level": 1}
    levels = [make_level(0, 10), make_level(1, 50)]
    valid = {"verdict": "valid", "reasons": [], "issues": []}
    suspect = {"verdict": "suspect", "reasons": ["late"], "issues": [issue]}
    for validity, named in ((valid, False), (suspect, True)):
        folder = write_run(levels, summary={"workers": [worker], "validity": validity})
        below = words(page(folder)).partition("limits of the whole run 0 10")[2].partition("All figures")[0]
        assert ("50 users" in below) == named
        assert "10 users" not in below


@pytest.mark.parametrize(
    ("host", "on_loopback"),
    [
        ("http://127.0.0.1:8000", True),
        ("http://localhost:8000, http://[::1]:8001", True),
        ("http://gpu:8000", False),
        ("http://localhost:8000, http://10.0.0.7:8000", False),
        ("", False),
    ],
)
def test_only_a_host_elsewhere_has_a_network_before_it(write_run: Write, host: str, on_loopback: bool) -> None:
    note = server_note(load_results(write_run(summary={"host": host})))
    assert ("network" in note, "loopback" in note) == (not on_loopback, on_loopback)
