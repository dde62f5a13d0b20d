"""`report.html`: what it says of a run, from sound to doubtful, and what it does where something is missing."""

from __future__ import annotations

import argparse
import csv
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

import reports.cli
import reports.sink
from reports.chart_sections import gap_curves
from reports.charts import draw_charts
from reports.conditions import parse_conditions
from reports.courses import MOST_POINTS, failure_examples, load_course
from reports.definition import command_of
from reports.judge import Judge
from reports.judgement import judge_run
from reports.results import Level, load_results
from reports.run_page import draw_page
from reports.sink import TerminalSink
from reports.time_charts import Line, Span, before_drains, over_time, spans_of
from tests.reports.conftest import level as level_json
from tests.reports.folders import Course, write_csv, write_folder
from tests.reports.reading import Tables, number_in
from tests.reports.test_page import Tags, references

Write = Callable[..., Path]
Json = dict[str, Any]

LADDER = [
    Course(users=users, system_prompt=mode, token_rate=40 * users) for mode in ("off", "on") for users in (10, 50)
]
FORMAT_1 = Path(__file__).parent / "format_1"


def page(folder: Path, fail_if: str = "") -> str:
    results = load_results(folder)
    return draw_page(results, judge_run(parse_conditions(fail_if), results)).read_text(encoding="utf-8")


def words(html: str) -> str:
    """The page's text as one line; charts and styles left out."""
    html = re.sub(r"<(style|svg).*?</\1>", "", html, flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]*>", " ", html).replace("&#39;", "'").replace("&gt;", ">").split())


def test_a_sound_run_from_top_to_bottom(tmp_path: Path) -> None:
    html = page(write_folder(tmp_path / "run", LADDER, seed=1), "p95(ttft) > 5s")
    text = words(html)
    assert "was asked by 10 and 50 users without system prompt; then by 10 and 50 users with system prompt" in text
    assert "Valid. Nothing was found" in text
    assert "Conditions: all conditions passed." in text
    assert "SUSPECT" not in text.upper()
    for heading in ("TTFT and token rate", "How latencies are spread", "The course of the run", "Drift within a level"):
        assert f"<h2>{heading}</h2>" in html
    for heading in ("Failures", "What the server told of itself"):
        assert f"<h2>{heading}</h2>" not in html
    assert "Cannot be told" not in text


def test_it_asks_nobody_for_anything_and_is_small(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "run", LADDER, seed=1)
    html = page(folder)
    assert all(one == "data:," or one.startswith("#") for one in references(html))
    assert not {tag for tag, _ in Tags(html).tags} & {"script", "img", "iframe", "object", "embed", "a", "base"}
    # The server that was tested is named, as text; nothing else has an address.
    assert set(re.findall(r"\w+://[\w.:]+", html)) == {"http://gpu:8000"}
    assert len(html.encode()) < 1_500_000
    identifiers = re.findall(r' id="([^"]*)"', html)
    assert len(set(identifiers)) == len(identifiers)


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
    assert "<h2>How latencies are spread</h2>" in html
    told = "TPOT, tokens/s of one user and gaps are not available for 400 of 400 ok requests"
    assert words(html).count(told) == (0 if tpot_ms else 4)
    assert set(Tables(html).columns("The levels")["tokens/s, one user"]) == {"–"}
    assert len(draw_charts(load_results(folder), folder)) == 2


def test_its_numbers_are_the_summary_s_and_their_intervals_the_journals(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "run", LADDER, seed=1)
    told = json.loads((folder / "summary.json").read_text())["levels"]
    columns = Tables(page(folder)).columns("The levels")
    for level, p50, p95, rate in zip(
        told, columns["TTFT p50"], columns["TTFT p95"], columns["tokens/s, all"], strict=True
    ):
        hold = level["hold"]
        assert number_in(p50) == pytest.approx(hold["ttft_s"]["p50"]["value"], rel=0.0051)
        assert number_in(p95) == pytest.approx(hold["ttft_s"]["p95"]["value"], rel=0.0051)
        assert number_in(rate) == pytest.approx(hold["token_rate"], rel=0.0051)


def test_a_fall_within_a_level_is_called_out_at_the_top_and_a_steady_level_is_not(tmp_path: Path) -> None:
    courses = [Course(users=10), Course(users=50, fall=0.3)]
    html = page(write_folder(tmp_path / "run", courses, seed=2))
    top = words(html[: html.index("<h2>TTFT and token rate")])
    assert top.count("The token rate fell within a level.") == 1
    called = re.search(
        r"within a level\. (50 users without system prompt): .*?: (−[\d.]+) % \((−[\d.]+) to (−[\d.]+)", top
    )
    assert called, top
    change, low, high = (float(text.replace("−", "-")) for text in called.groups()[1:])
    assert low < change < high < 0
    assert Tables(html).columns("The token rate of the hold's last fifth")["course"] == ["steady", "FALLS"]


def test_a_suspect_run_says_so_first_and_no_condition_is_a_pass(tmp_path: Path) -> None:
    suspect = {"validity": {"verdict": "suspect", "reasons": ["10 users: <late> & later"]}}
    text = words(page(write_folder(tmp_path / "run", LADDER, seed=1, summary=suspect), "failures > 1%"))
    assert "Suspect. The results are unreliable: 10 users: &lt;late> &amp; later." in text
    assert "not to be believed, so that none is a pass: 10 users" in text
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
    assert ("the dots are their bounds" in page(folder)) is not recorded


def test_broken_conditions_stand_at_the_top_with_their_figures(tmp_path: Path) -> None:
    html = page(write_folder(tmp_path / "run", LADDER, seed=1), "p95(ttft)@10/off > 1ms, failures > 1%")
    top = html[: html.index("<h2>TTFT and token rate")]
    assert "1 of 5 conditions failed" in words(top)
    columns = Tables(top).columns("Conditions, and what the run showed")
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
    assert "Objectives met at some levels. ttft ≤ 500 ms by 95 % of the requests: up to 10 users without" in words(html)
    assert Tables(html).columns("The levels")["objectives"] == ["met", "missed"]


def test_failures_by_outcome_with_the_first_of_each_error_in_its_own_words(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "run", [Course(failures=6), Course(users=50)], seed=1)
    with (folder / "requests.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    failed = [row for row in rows if row["outcome"] == "timeout"]
    for number, row in enumerate(failed):
        row |= {"error": "no first token\nin <120 s>" if number % 2 else "silence", "status": "200"}
    write_csv(folder / "requests.csv", list(rows[0]), rows)
    html = page(folder)
    assert "Requests failed: 6 of 800 requests (0.8 %)." in words(html)
    assert Tables(html).columns("Failed requests by outcome")["timeout"] == ["6"]
    examples = Tables(html).columns("Examples")
    assert set(examples["error"]) == {"no first token in <120 s>", "silence"}
    assert set(examples["status"]) == {"200"}
    assert "in &lt;120 s&gt;" in html
    assert [one.stage for one in failure_examples(load_results(folder))] == [0, 0]


def test_a_folder_without_journals_keeps_its_figures_and_says_what_is_missing(write_run: Write) -> None:
    html = page(write_run())
    text = words(html)
    assert number_in(Tables(html).columns("The levels")["tokens/s, all"][0]) == pytest.approx(485)
    assert text.count("Cannot be told.") >= 3
    assert "windows.csv is missing; the folder is not as a run left it." in text
    assert "no interval" in text


def test_a_folder_of_format_1_has_its_page(tmp_path: Path) -> None:
    html = page(shutil.copytree(FORMAT_1, tmp_path / "run"))
    assert "Too short to judge: every level" in words(html)
    assert "Cannot be told" not in words(html)


def test_a_level_without_an_ok_request_is_drawn_as_none(write_run: Write, make_level: Callable[..., Json]) -> None:
    html = page(write_run([make_level(0, 10, outcomes={"timeout": 5}), make_level(1, 50)]))
    assert "no ok request" in html
    assert Tables(html).columns("The levels")["TTFT p50"][0] == "–"


def test_the_server_s_own_metrics_are_drawn_on_the_run_s_time(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "run", LADDER[:1], seed=1)
    looks = [
        {"time_s": time_s, "stage": 0, "concept": concept, "value": value}
        for time_s in range(0, 300, 5)
        for concept, value in (("requests_running", 10), ("gpu_utilization", 0.9))
    ]
    write_csv(folder / "server.csv", ["time_s", "stage", "concept", "value"], looks)
    html = page(folder)
    assert "<h2>What the server told of itself</h2>" in html
    for title in ("Requests in the server", "How full the server is", "Token rate against GPU utilization"):
        assert f"<b>{title}</b>" in html


def test_a_long_run_is_thinned_for_drawing_and_loses_no_failure(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "run", LADDER, seed=1)
    rows = [
        {
            "start_s": 5 * at,
            "end_s": 5 * at + 5,
            "stage": at // 1000,
            "token_rate": 100 + at % 2,
            "failures": at % 7 == 0,
        }
        | {"ttft_p95_ms": 900 if at == 1500 else 200, "failures": int(at % 7 == 0)}
        for at in range(4000)
    ]
    write_csv(folder / "windows.csv", ["start_s", "end_s", "stage", "token_rate", "ttft_p95_ms", "failures"], rows)
    course = load_course(load_results(folder))
    assert course.together == 12
    assert len(course.stage) <= MOST_POINTS + 4
    assert course.failures.sum() == sum(row["failures"] for row in rows)
    assert course.token_rate == pytest.approx(np.full(len(course.stage), 100.5), abs=0.51)
    assert course.ttft_p95_s.max() == 0.9
    assert (np.diff(course.stage) >= 0).all()
    assert course.end_s[-1] == 20000
    assert np.isnan(course.users).all()


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
    expected = "locust --headless -H http://gpu:8000 --engine auto --max-tokens 64 --ignore-eos --slo"
    assert told == [*expected.split(), "ttft=1s e2e=9s", "--levels", "10,50"]


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
    course = load_course(results)
    drawn = before_drains(course, spans_of(results, course))
    assert course.token_rate[-1] == 1.0
    assert np.isnan(drawn[-1])
    assert (drawn[:-1] == course.token_rate[:-1]).all()


def read_windows(folder: Path) -> list[dict[str, str]]:
    with (folder / "windows.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_what_a_short_run_cannot_certify_stands_below_the_change_and_not_beside_it(tmp_path: Path) -> None:
    few = [Course(users=10, system_prompt=mode, requests=5) for mode in ("off", "on")]
    html = page(write_folder(tmp_path / "run", few, 1))
    section = html[html.index("What the system prompt does") :]
    cells = re.findall(r"<td[^>]*>(.*?)</td>", section[: section.index("</table>")], flags=re.DOTALL)
    values = [re.split(r"<", cell, maxsplit=1)[0] for cell in cells]
    assert any("not certified" in cell for cell in cells)
    assert not any("not certified" in value for value in values)


def test_a_value_without_neighbours_is_drawn_as_a_point() -> None:
    nan, times = np.nan, np.arange(6.0)
    span = Span(msgspec.convert(level_json(0, 1), Level), 0.0, 0.0, 6.0, 6.0)
    figure = over_time([span], [Line("", times, np.array([1.0, nan, 2.0, 3.0, nan, 4.0]))], "tokens/s")
    (points,) = [line for line in figure.axes[0].lines if line.get_marker() == "o"]
    assert [*points.get_xdata()] == [0.0, 5.0]


def test_a_page_that_cannot_be_drawn_is_said_loudly_after_the_figures(
    write_run: Write,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object) -> Path:
        raise RuntimeError("no ink")

    monkeypatch.setattr(reports.sink, "draw_page", fail)
    with caplog.at_level(logging.ERROR, "tokenswarm"):
        TerminalSink(Judge()).finished(folder := write_run())
    assert "Verdict: valid" in capsys.readouterr().out
    assert (folder / "charts" / "token_rate.png").exists()
    assert "The report could not be made: RuntimeError('no ink')" in caplog.text


def test_the_page_of_an_unwritable_folder_is_one_sentence(write_run: Write) -> None:
    folder = write_run()
    (folder / "report.html").mkdir()
    parser = argparse.ArgumentParser()
    reports.cli.add_arguments(parser)
    assert reports.cli.main(parser.parse_args([str(folder)])) == 2


@pytest.mark.skipif(not shutil.which("chromium"), reason="needs chromium")
def test_a_browser_has_nothing_to_complain_of(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "run", LADDER, seed=1)
    page(folder)
    command = ["chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--v=0"]
    command += [f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", (folder / "report.html").as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert "</html>" in done.stdout
    assert "CONSOLE" not in done.stderr
