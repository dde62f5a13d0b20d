"""Other tools' result files, checked by what reads them: llm-d's own package, the keys of vLLM and AIPerf, and figures
worked out on paper."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from llmd_benchmark_report import load_benchmark_report

from tests.forked_process import run_command
from tests.reports.folders import Course, write_csv, write_folder
from tests.reports.test_as_other_tools import A, B, C
from tokenswarm.reports.other_formats.write_formats import write_formats
from tokenswarm.run_folder.reader import ReportError, Results, load_results
from tokenswarm.run_folder.schema import REQUEST_COLUMNS

Write = Callable[..., Path]
Make = Callable[..., dict[str, Any]]

#: Of `vllm bench serve --save-result` (vllm/benchmarks/serve.py, November 2026), without --save-detailed.
VLLM_KEYS = {
    *("date", "endpoint_type", "backend", "label", "model_id", "tokenizer_id", "num_prompts"),
    *("request_rate", "burstiness", "max_concurrency", "duration", "completed", "failed"),
    *("total_input_tokens", "total_output_tokens", "request_throughput", "request_goodput", "output_throughput"),
    *("total_token_throughput", "latencies", "queue_times", "max_output_tokens_per_s", "max_concurrent_requests"),
    "rtfx",
    *(f"{which}_{name}_ms" for name in ("ttft", "tpot", "itl", "e2el") for which in ("mean", "median", "std", "p99")),
}
#: Those that AIPerf 0.13 requires of a record's metadata (MetricRecordMetadata).
AIPERF_METADATA = {"session_num", "request_start_ns", "request_end_ns", "worker_id", "record_processor_id"}
AIPERF_METADATA |= {"benchmark_phase", "was_cancelled"}
#: Of a level in which 5 requests/s are due.
OPEN_LOOP = {
    "requested_rate": 5.0,
    **dict.fromkeys(("sent_rate", "completed_rate", "in_flight_mean", "in_flight_max"), 5.0),
}


@pytest.fixture
def three(write_run: Write, make_level: Make) -> Results:
    """The three requests of the hand-made timeline, in one level."""
    level = make_level(0, 1, outcomes={"ok": 2, "timeout": 1})
    level["whole"] |= {"seconds": 4.0, "token_rate": 1.75}
    folder = write_run([level])
    rows = [each | {"scheduled_s": each["sent_s"], "worker": 0} for each in (A, B, C)]
    rows = [rows[0] | {"prompt_tokens": 7, "headers_ms": 80.0}, rows[1] | {"prompt_tokens": 8}, rows[2]]
    write_csv(folder / "requests.csv", REQUEST_COLUMNS, rows)
    return load_results(folder)


@pytest.fixture
def two_levels(tmp_path: Path) -> Results:
    return load_results(write_folder(tmp_path / "run", [Course(10, failures=3), Course(50, "on")], seed=1))


def documents(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_vllm_result_has_vllms_keys_and_figures(three: Results, tmp_path: Path) -> None:
    assert write_formats(three, "vllm", tmp_path / "result.json") == [tmp_path / "result.json"]
    (found,) = documents(tmp_path / "result.json")
    assert set(found) == VLLM_KEYS
    expected = {
        "completed": 2,
        "failed": 1,
        "num_prompts": 3,
        "total_input_tokens": 15,
        "total_output_tokens": 6,
        "duration": 1.28,
        "output_throughput": 6 / 1.28,
        "total_token_throughput": 21 / 1.28,
        "mean_ttft_ms": 160.0,
        "std_ttft_ms": 40.0,
        "p99_ttft_ms": 120 + 0.99 * 80,
        "mean_tpot_ms": 77.5,
        "mean_itl_ms": 370 / 7,
        "mean_e2el_ms": 345.0,
        "max_concurrency": 1,
        "request_rate": "inf",
        # A from its connecting at 0.98 s to 1.41 s, B from 2.0 s: their seconds are 0 and 1.
        "max_concurrent_requests": 1,
    }
    assert {name: found[name] for name in expected} == pytest.approx(expected)
    assert found["latencies"] == pytest.approx([0.43, 0.26])


def test_aiperf_records_have_its_fields_and_figures(three: Results, tmp_path: Path) -> None:
    write_formats(three, "aiperf", tmp_path / "records.jsonl")
    first, second, third = documents(tmp_path / "records.jsonl")
    assert set(first) == {"metadata", "metrics", "error"}
    assert set(first["metadata"]) >= AIPERF_METADATA
    values = {name: metric["value"] for name, metric in first["metrics"].items()}
    assert values == pytest.approx(
        {
            "request_latency": 420.0,
            "time_to_first_token": 170.0,
            "inter_token_latency": 62.5,
            "output_token_throughput_per_user": 16.0,
            "output_sequence_length": 5,
            "input_sequence_length": 7,
        }
    )
    assert "inter_token_latency" not in second["metrics"]
    assert (third["metrics"], third["error"]["type"]) == ({}, "timeout")
    times = [record["metadata"]["request_start_ns"] for record in (first, second, third)]
    assert [(time - times[0]) / 1e6 for time in times] == pytest.approx([0.0, 1020.0, 1520.0])
    assert first["metadata"]["request_end_ns"] - times[0] == pytest.approx(440e6)
    assert first["metadata"]["request_ack_ns"] - times[0] == pytest.approx(100e6)


def test_an_abandoned_request_is_a_cancelled_one_for_aiperf(write_run: Write, make_level: Make, tmp_path: Path) -> None:
    folder = write_run([make_level(0, 1, outcomes={"ok": 1, "abandoned": 1})])
    left = {"outcome": "abandoned", "abandoned_ms": 750.0, "abandons": "True", "duration_ms": "", "e2e_ms": ""}
    rows = [each | {"scheduled_s": each["sent_s"], "worker": 0} for each in (A, B)]
    write_csv(folder / "requests.csv", REQUEST_COLUMNS, [rows[0], rows[1] | left])
    write_formats(load_results(folder), "aiperf", tmp_path / "records.jsonl")
    first, second = (record["metadata"] for record in documents(tmp_path / "records.jsonl"))
    assert (first["was_cancelled"], first["cancellation_time_ns"]) == (False, None)
    assert second["was_cancelled"] is True
    waited_ns = second["cancellation_time_ns"] - second["request_start_ns"]
    assert waited_ns == pytest.approx(750e6 + (rows[1].get("connect_ms") or 0) * 1e6)


@pytest.mark.parametrize(("process", "burstiness"), [("poisson", 1.0), ("gamma:0.5", 0.5), ("constant", None)])
def test_connecting_ahead_of_the_due_time_is_no_wait(
    write_run: Write, make_level: Make, tmp_path: Path, process: str, burstiness: float | None
) -> None:
    """A connected for 20 ms, and was sent 5 ms after it was due."""
    level = make_level(0, 1, outcomes={"ok": 1}) | {"open_loop": OPEN_LOOP}
    arrivals = {"process": process, "rates": [[0.0, 5.0]], "mean_rate": 5.0}
    planned = {
        "index": 0,
        "system_prompt": "off",
        "level": "5/s",
        "users": 0,
        "ramp_s": 0.0,
        "level_time_s": 4.0,
        "arrivals": arrivals,
    }
    folder = write_run([level], run={"plan": [planned | {"arrivals": arrivals}]})
    write_csv(folder / "requests.csv", REQUEST_COLUMNS, [A | {"scheduled_s": 0.995, "worker": 0}])
    results = load_results(folder)
    write_formats(results, "vllm", tmp_path / "result.json")
    (found,) = documents(tmp_path / "result.json")
    assert (found["mean_ttft_ms"], found["request_rate"]) == (pytest.approx(105.0), 5.0)
    assert found["burstiness"] == burstiness
    write_formats(results, "aiperf", tmp_path / "records.jsonl")
    (record,) = documents(tmp_path / "records.jsonl")
    assert record["metrics"]["time_to_first_token"]["value"] == pytest.approx(155.0)
    times = record["metadata"]
    assert times["request_start_ns"] == pytest.approx(times["credit_issued_ns"], abs=1000)


def test_a_report_for_llmd_passes_its_own_check(two_levels: Results, tmp_path: Path) -> None:
    files = write_formats(two_levels, "llmd", tmp_path / "report.json")
    assert [file.name for file in files] == ["report-10-off.json", "report-50-on.json"]
    reports = [load_benchmark_report(documents(file)[0]) for file in files]
    first, second = (report.results.request_performance.aggregate for report in reports)
    hold = two_levels.summary.levels[0].hold
    assert (first.requests.total, first.requests.failures) == (hold.requests, 3)
    assert first.latency.time_to_first_token.mean == hold.ttft_s.mean
    assert first.latency.time_to_first_token.p99 == (hold.ttft_s.p99 and hold.ttft_s.p99.value)
    assert second.throughput.output_token_rate.mean == two_levels.summary.levels[1].hold.token_rate
    assert [report.scenario.load.standardized.concurrency for report in reports] == [10, 50]
    assert len({report.run.uid for report in reports}) == 2
    assert len({report.run.eid for report in reports}) == 1


def test_a_level_without_an_answer_is_refused(write_run: Write, make_level: Make, tmp_path: Path) -> None:
    folder = write_run([make_level(0, 1, outcomes={"timeout": 1})])
    write_csv(folder / "requests.csv", REQUEST_COLUMNS, [C | {"scheduled_s": 2.5}])
    with pytest.raises(ReportError):
        write_formats(load_results(folder), "vllm", tmp_path / "result.json")
    assert not (tmp_path / "result.json").exists()


@pytest.mark.slow
def test_the_command_writes_the_formats_that_it_is_told(two_levels: Results, tmp_path: Path) -> None:
    arguments = ("report", str(two_levels.folder), "--to", "llmd", str(tmp_path / "a.json"))
    ended = run_command(*arguments, "--to", "aiperf", str(tmp_path / "b.jsonl"))
    assert ended.returncode == 0, ended.stderr
    assert sorted(file.name for file in tmp_path.glob("*.json*")) == [
        *("a-10-off.json", "a-50-on.json", "b-10-off.jsonl", "b-50-on.jsonl")
    ]
    assert len(documents(tmp_path / "b-10-off.jsonl")) == 400


@pytest.mark.parametrize("wrong", [("csv", "x.json"), ("vllm", "no/such/folder.json")])
def test_a_wrong_format_or_file_is_refused_in_one_sentence(
    two_levels: Results, tmp_path: Path, wrong: tuple[str, str]
) -> None:
    ended = run_command("report", str(two_levels.folder), "--to", *wrong)
    assert (ended.returncode, ended.stderr.count("\n")) == (2, 1)
    assert wrong[0] in ended.stderr or wrong[1] in ended.stderr
