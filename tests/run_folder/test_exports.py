"""Requests in other formats, read back by the libraries that others read them with."""

from __future__ import annotations

from pathlib import Path

import pytest
from hdrh.histogram import HdrHistogram
from hdrh.log import HistogramLogReader
from pyarrow import parquet

from tests.reports.folders import Course, write_folder
from tests.run_fixtures import make_level, make_row
from tokenswarm.metrics.mix import MixMember, RunMix
from tokenswarm.recording.journal import Journal
from tokenswarm.run_folder.exports import write_hlog, write_parquet
from tokenswarm.run_folder.reader import ReportError, Results, load_results
from tokenswarm.run_folder.schema import REQUEST_COLUMNS

#: Columns that a request without a fault leaves empty.
UNSET = {"output_tokens_rejected", "first_event_tokens", "deviations"}
UNSET |= {
    "input_tokens_requested",
    "output_tokens_requested",
    "trace_id",
    "think_ms",
    "prefix_group",
    "join_ms",
    "name",
}
UNSET |= {"abandoned_ms", "abandon_late_ms"}


@pytest.fixture
def results(tmp_path: Path) -> Results:
    return load_results(write_folder(tmp_path / "run", [Course(10, failures=3), Course(50, "on")], seed=1))


def test_parquet_holds_every_row_and_column_with_its_type(results: Results, tmp_path: Path) -> None:
    file = tmp_path / "requests.parquet"
    assert write_parquet(results, file) == 800
    table = parquet.read_table(file)
    assert table.column_names == list(REQUEST_COLUMNS)
    assert table.num_rows == 800
    types = {name: str(table.schema.field(name).type) for name in ("ttft_ms", "output_tokens", "user", "gaps_measured")}
    assert types == {"ttft_ms": "double", "output_tokens": "int64", "user": "string", "gaps_measured": "bool"}
    assert table["outcome"].to_pylist().count("timeout") == 3
    assert table["ttft_ms"].null_count == 3


def test_parquet_takes_what_a_run_writes_in_every_column(results: Results, tmp_path: Path) -> None:
    journal = Journal(tmp_path, "written")
    row = make_row(
        **dict.fromkeys(("headers_ns", "first_body_ns", "first_event_ns", "last_event_ns"), 3_050_000_000),
        **dict.fromkeys(("prompt_tokens_source", "finish_reason", "error"), "text"),
        **dict.fromkeys(("connect_ns", "prompt_tokens", "cached_tokens", "events", "ttft_uncertainty_ns"), 7),
        prompt_id="a row",
        prompt_hash="00ff00ff00ff00ff",
        custom_id="r1",
        server_request_id="req_9",
        deviations={"missing_end": 1},
        session="5",
        turn=2,
        session_turns=3,
        agent="main.1",
        depth=1,
    )
    mix = RunMix((MixMember("llama"),), (MixMember("http://gpu:8000"),))
    journal.write_requests([row], {0: make_level()}, mix)
    journal.close()
    (journal.folder / "requests.csv").replace(results.folder / "requests.csv")
    assert write_parquet(results, tmp_path / "one.parquet") == 1
    (told,) = parquet.read_table(tmp_path / "one.parquet").to_pylist()
    assert (told["prompt_id"], told["prompt_hash"], told["cached_tokens"]) == ("a row", "00ff00ff00ff00ff", 7)
    assert (told["custom_id"], told["server_request_id"], told["deviations"]) == ("r1", "req_9", "missing_end=1")
    assert (told["model"], told["host"]) == ("llama", "http://gpu:8000")
    assert (told["session"], told["turn"], told["session_turns"]) == ("5", 2, 3)
    assert (told["agent"], told["depth"]) == ("main.1", 1)
    assert {name for name, value in told.items() if value is None} <= UNSET


def test_the_log_holds_each_level_s_latencies_in_microseconds_under_its_tag(results: Results, tmp_path: Path) -> None:
    file = tmp_path / "run.hlog"
    assert write_hlog(results, file) == 8
    reader = HistogramLogReader(str(file), HdrHistogram(1, 3_600_000_000, 3))
    found = {}
    while (histogram := reader.get_next_interval_histogram()) is not None:
        found[histogram.get_tag()] = histogram
    assert list(found)[:4] == ["ttft-off-10", "ttfvt-off-10", "tpot-off-10", "e2e-off-10"]
    ttft, level = found["ttft-on-50"], results.summary.levels[1]
    assert (ttft.get_total_count(), found["ttft-off-10"].get_total_count()) == (400, 397)
    assert level.hold.ttft_s.p95 is not None
    assert ttft.get_value_at_percentile(95) == pytest.approx(level.hold.ttft_s.p95.value * 1e6, rel=0.002)


def test_a_file_that_cannot_be_written_is_one_sentence(results: Results, tmp_path: Path) -> None:
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere" / "file")
    for write in (write_parquet, write_hlog):
        for target in (tmp_path / "nowhere" / "file", tmp_path / "dangling"):
            with pytest.raises(ReportError) as refused:
                write(results, target)
            assert str(refused.value) == f"{target} cannot be written: No such file or directory."
    (results.folder / "requests.csv").unlink()
    with pytest.raises(ReportError) as refused:
        write_parquet(results, tmp_path / "file")
    assert str(refused.value) == f"{results.folder / 'requests.csv'} is missing."
