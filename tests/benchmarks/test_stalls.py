"""A client that stands still now and then: the figures of a run's two records, and their table."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import stalls
from benchmarks.figures import Spread, StallRow
from benchmarks.readme import BENCH, ROOT, BenchFigures, sections
from benchmarks.records import Cost
from benchmarks.stalls import CASES, StallCase, StallRun, measure, row
from benchmarks.table import stalls_table
from tests.benchmarks.conftest import MakeServed

FINE = Cost(0, 1.0, 1)


def results(folder: Path, ttfts_ms: list[float]) -> Path:
    run = folder / "results" / "20240605-140300-vllm"
    run.mkdir(parents=True)
    lines = [f"ok,{number:.9f},{ttft},25.0,64" for number, ttft in enumerate(ttfts_ms)]
    (run / "requests.csv").write_text("\n".join(["outcome,sent_s,ttft_ms,gap_max_ms,output_events", *lines, ""]))
    validity = {"verdict": "suspect", "issues": [{"kind": "late_loop"}, {"kind": "late_loop"}]}
    (run / "summary.json").write_text(json.dumps({"validity": validity}))
    return folder / "results"


def test_a_row_has_the_errors_of_the_requests_after_the_ramp(tmp_path: Path, served: MakeServed) -> None:
    logged = [served(number, 100 + 1000.0 * number, tokens=64) for number in range(4)]
    found = row("kernel", 100, StallRun(results(tmp_path, [299.0, 200.5, 201.0, 200.0]), logged, FINE))
    assert (found.case, found.users, found.note, found.verdict) == ("kernel", 100, "late_loop", "suspect")
    assert found.ttft_error_ms == Spread(2, 0.0, 1.0, 1.0)
    assert found.gap_error_ms is not None
    assert found.gap_error_ms.count == 2


def test_records_of_other_requests_have_no_errors(tmp_path: Path, served: MakeServed) -> None:
    found = row("tap", 100, StallRun(results(tmp_path, [200.0]), [served(0, 1.0), served(1, 2.0)], FINE))
    assert found.ttft_error_ms is None
    assert found.note.startswith("not matched: ")


def test_a_client_that_failed_is_a_row_that_says_so(tmp_path: Path) -> None:
    assert row("tap", 100, StallRun(tmp_path, [], Cost(1, 1.0, 1))).note == "it failed"


def test_without_a_packet_socket_the_rows_of_the_tap_say_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[StallCase] = []
    monkeypatch.setattr(stalls, "tap_refusal", lambda: "Operation not permitted")
    monkeypatch.setattr(stalls, "run", lambda case, *_: ran.append(case))
    monkeypatch.setattr(stalls, "row", lambda case, users, _: StallRow(case, users))
    rows = measure([100], 1.0, (0, 1), tmp_path)
    assert [each.case for each in rows] == [case.name for case in CASES]
    assert [case.stamps for case in ran] == ["user", "kernel", "kernel"]
    assert [each.note for each in rows if "tap" in each.case] == ["no packet socket: Operation not permitted"] * 2


def test_the_table_shows_each_row() -> None:
    rows = [
        StallRow("tap", 500, "", Spread(900, 0.0074, 0.0131, 0.0912), Spread(900, 0.001, 0.02, 0.3), "valid", 0.52),
        StallRow("kernel, TLS", 500, "it failed"),
    ]
    lines = stalls_table(rows).splitlines()
    figures = ["0.007", "0.013", "0.091", "0.001", "0.020", "0.300", "0.520"]
    assert lines[-2].split() == ["500", "tap", "900", *figures, "valid"]
    assert lines[-1].split() == ["500", "kernel,", "TLS", *"––––––––", "(it", "failed)"]


def test_figures_without_stalls_are_shown_as_not_measured() -> None:
    document = json.loads((ROOT / BENCH).read_text())
    document.pop("stalls", None)
    assert sections(BenchFigures(document))["stalls"] == "Not measured yet.\n"
