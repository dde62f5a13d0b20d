"""Requests that are sent together: which loads, and the figures of a run's two records."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.bursts import CASES, BurstRun, row
from benchmarks.figures import BurstRow, Spread
from benchmarks.readme import BENCH, ROOT, BenchFigures, sections
from benchmarks.records import Cost
from benchmarks.table import bursts_table
from tests.benchmarks.conftest import MakeServed

FINE = Cost(0, 1.0, 1)


def results(folder: Path, ttfts_ms: list[float], sent_ms: list[float]) -> Path:
    run = folder / "results" / "20240605-140300-vllm"
    run.mkdir(parents=True)
    lines = [f"ok,{sent / 1e3:.9f},{ttft},,64" for sent, ttft in zip(sent_ms, ttfts_ms, strict=True)]
    (run / "requests.csv").write_text("\n".join(["outcome,sent_s,ttft_ms,gap_max_ms,output_events", *lines, ""]))
    validity = {"verdict": "suspect", "issues": [{"kind": "send_lag"}, {"kind": "send_lag"}]}
    (run / "summary.json").write_text(json.dumps({"validity": validity}))
    return folder / "results"


def test_a_row_has_the_errors_of_all_requests_and_the_length_of_the_first_burst(tmp_path: Path, served: MakeServed):
    at_ms = [1000.0, 1010.0, 1060.0, 3000.0]
    folder = results(tmp_path, [200.5, 201.0, 200.0, 200.0], [each - 900 for each in at_ms])
    logged = [served(number, each, tokens=64) for number, each in enumerate(at_ms)]
    found = row("together", 3, BurstRun(folder, logged, FINE, other_load=0.25))
    assert found == BurstRow("together", 3, "send_lag", Spread(4, 0.0, 1.0, 1.0), 60.0, "suspect", 0.0, 0.25)


def test_records_of_other_requests_have_no_errors(tmp_path: Path, served: MakeServed):
    folder = results(tmp_path, [200.0], [100.0])
    found = row("together", 2, BurstRun(folder, [served(0, 1.0), served(1, 2.0)], FINE, None))
    assert found.ttft_error_ms is None
    assert found.note.startswith("not matched: ")


def test_a_client_that_failed_is_a_row_that_says_so(tmp_path: Path):
    assert row("together", 2, BurstRun(tmp_path, [], Cost(1, 1.0, 1), None)).note == "it failed"


def test_every_case_sends_so_many_at_once(tmp_path: Path):
    for case in CASES:
        words = case.options(500, 8.0, tmp_path)
        if "--arrivals" in words:
            times = Path(words[-1]).read_text().split()
            assert {times.count(each) for each in times} == {500}
            assert len(set(times)) > 1
        else:
            assert "500" in words


def test_the_table_shows_each_row():
    rows = [
        BurstRow("users", 1000, "", Spread(5000, 0.0074, 0.0131, 0.0912), 107.4, "valid", 0.52, 0.123),
        BurstRow("odd", 500, "it failed"),
    ]
    lines = bursts_table(rows).splitlines()
    assert lines[-2].split() == ["1,000", "users", "5,000", "0.007", "0.013", "0.091", "107", "0.520", "0.123", "valid"]
    assert lines[-1].split() == ["500", "odd", *"–––––––", "(it", "failed)"]


def test_figures_without_bursts_are_shown_as_not_measured():
    document = json.loads((ROOT / BENCH).read_text())
    document.pop("bursts", None)
    assert sections(BenchFigures(document))["bursts"] == "Not measured yet.\n"
