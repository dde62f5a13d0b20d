"""Folders of older formats, each written by the last version of its format, give the same numbers as then."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pyarrow.parquet
import pytest

from tests.run_folder.numbers import FORMAT_1, FORMAT_2, NUMBERS, all_numbers
from tokenswarm.metrics.intervals import independent_at
from tokenswarm.metrics.quantiles import quantile
from tokenswarm.metrics.timed_histogram import TimedHistogram
from tokenswarm.reports.checks.check_report import check_run
from tokenswarm.reports.checks.conditions import Figure, parse_conditions
from tokenswarm.reports.stats.estimates import RunData
from tokenswarm.reports.text_table import summary_table
from tokenswarm.run_folder.exports import write_parquet
from tokenswarm.run_folder.reader import load_results


@pytest.fixture
def format_1(tmp_path: Path) -> Path:
    return shutil.copytree(FORMAT_1, tmp_path / "run")


def test_every_number_is_what_the_version_that_wrote_the_folder_reported(tmp_path: Path) -> None:
    expected, found = json.loads(NUMBERS.read_text(encoding="utf-8")), all_numbers(tmp_path)
    assert found.keys() == expected.keys()
    for folder, numbers in expected.items():
        for name, value in numbers.items():
            assert found[folder][name] == value, f"{name} of {folder}"


def test_the_table_of_a_folder_of_format_1_tells_its_summary(format_1: Path) -> None:
    told = json.loads((format_1 / "summary.json").read_text(encoding="utf-8"))
    results = load_results(format_1)
    assert told["format"] == 1
    assert [level.users for level in results.summary.levels] == [1, 2]
    for level, of_level in zip(results.summary.levels, told["levels"], strict=True):
        assert level.hold.token_rate == of_level["hold"]["token_rate"]
        assert level.hold.goodput is not None
        assert level.hold.goodput.fraction == of_level["hold"]["goodput"]["fraction"]
    table = summary_table(results)
    assert "Verdict: SUSPECT" in table
    assert told["validity"]["reasons"][0] in " ".join(table.split())
    assert "Levels at which" not in table  # the share was not stated then


@pytest.mark.parametrize(
    "figure", [Figure(name, p) for name in ("ttft", "tpot", "e2e") for p in ("p50", "p90", "p95")], ids=str
)
def test_a_comparison_has_the_intervals_of_a_run_s_own_table(figure: Figure) -> None:
    """Which are those of its histograms."""
    assert figure.p is not None
    results = load_results(FORMAT_2)
    measured = RunData(results)
    for level in results.summary.levels:
        histogram = TimedHistogram()
        for place, latency_s in enumerate(measured.requests.of(level).latencies(figure.name)):
            histogram.record_at(round(latency_s * 1e6), place * 10_000_000)
        shown = quantile(histogram, figure.p, independent_at(histogram.series(), figure.p))
        estimate = measured.estimate(level, figure)
        assert shown is not None
        assert estimate is not None
        assert (estimate.value, estimate.low, estimate.high) == (shown.value, shown.low, shown.high)


def test_its_journals_are_read_judged_and_exported(format_1: Path, tmp_path: Path) -> None:
    results = load_results(format_1)
    checks = check_run(parse_conditions("p95(ttft) > 1us, failures > 0"), results)
    assert (checks.exit_code, len(checks.check_results)) == (3, 4)  # suspect
    measured = RunData(results)
    for level in results.summary.levels:
        assert level.hold.ttft_s.p50 is not None
        latencies = measured.requests.of(level).latencies("ttft")
        assert len(latencies) == level.hold.ttft_s.count
    rows = write_parquet(results, tmp_path / "old.parquet")
    columns = pyarrow.parquet.read_table(tmp_path / "old.parquet").column_names
    assert rows == results.summary.accounting.rows
    assert "ttft_ms" in columns
    assert "first_event_ms" not in columns
