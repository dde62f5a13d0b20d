"""Metrics and spans as a receiver gets them, compared with the files of the run."""

from __future__ import annotations

import json
import shutil
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.forked_process import run_command
from tests.reports.folders import write_csv
from tests.reports.services.exported_run import COUNTED, TRACE, rows_of, summary_of
from tests.reports.services.otlp_receiver import Answer, Receiver, attributes, rejecting
from tokenswarm.metrics.buckets import EXPOSED
from tokenswarm.reports.services.otlp_export import export_otlp
from tokenswarm.run_folder.reader import ReportError, Results, load_results
from tokenswarm.run_folder.schema import REQUEST_COLUMNS

pytest.importorskip("opentelemetry.proto", reason="the extra opentelemetry is not installed")

OLDER = Path(__file__).resolve().parents[2] / "run_folder"
BEGAN_NS = int(datetime.fromisoformat("2024-06-05T14:03:00Z").timestamp()) * 10**9


def by_level(points: list[tuple[dict[str, Any], Any]]) -> dict[str, Any]:
    found = {of["tokenswarm.level.name"]: point for of, point in points}
    assert len(found) == len(points)
    return found


def ok_rows(results: Results, level: str) -> list[dict[str, str]]:
    return [row for row in rows_of(results.folder) if row["level"] == level and row["outcome"] == "ok"]


def test_the_recorded_histograms_arrive_with_their_buckets_and_sums(exported: Results, receiver: Receiver) -> None:
    export_otlp(exported, receiver.url)
    for figure, column in COUNTED.items():
        assert receiver.metrics[f"tokenswarm.{figure.removesuffix('_s')}"].unit == "s"
        points = by_level(receiver.points(f"tokenswarm.{figure.removesuffix('_s')}"))
        assert set(points) == {"10", "50"}
        for level, point in points.items():
            values_s = [float(row[column]) / 1e3 for row in ok_rows(exported, level)]
            bounds = list(EXPOSED[figure])
            below = [sum(value <= bound for value in values_s) for bound in bounds]
            assert list(point.explicit_bounds) == bounds
            assert [sum(point.bucket_counts[: place + 1]) for place in range(len(bounds))] == below
            assert point.count == sum(point.bucket_counts) == len(values_s)
            assert point.sum == pytest.approx(sum(values_s))
    hold = summary_of(exported.folder)["levels"][0]["hold"]["ttft_s"]
    first = by_level(receiver.points("tokenswarm.ttft"))["10"]
    assert (first.min, first.max) == (hold["min"], hold["max"])


def test_the_conventions_metrics_are_counted_from_the_requests(exported: Results, receiver: Receiver) -> None:
    export_otlp(exported, receiver.url)
    durations = by_level(receiver.points("gen_ai.client.operation.duration"))
    chunks = by_level(receiver.points("gen_ai.client.operation.time_to_first_chunk"))
    for level in ("10", "50"):
        rows = ok_rows(exported, level)
        seconds = [float(row["duration_ms"]) / 1e3 for row in rows]
        assert durations[level].sum == pytest.approx(sum(seconds))
        assert durations[level].count == chunks[level].count == len(rows)
        bounds = [0.01 * 2**power for power in range(14)]
        assert list(durations[level].explicit_bounds) == pytest.approx(bounds)
        below = [sum(value <= bound for value in seconds) for bound in bounds]
        assert 0 < below[8] < len(seconds)
        assert [sum(durations[level].bucket_counts[: place + 1]) for place in range(14)] == below
        assert chunks[level].sum == pytest.approx(sum(float(row["first_event_ms"]) for row in rows) / 1e3)
    tokens = {
        (of["tokenswarm.level.name"], of["gen_ai.token.type"]): point
        for of, point in receiver.points("gen_ai.client.token.usage")
    }
    rows = ok_rows(exported, "10")
    assert tokens["10", "output"].sum == 101 * len(rows)
    # The prompt of the second is only estimated.
    assert tokens["10", "input"].sum == sum(int(row["prompt_tokens"]) for row in rows) - 8
    assert tokens["10", "input"].count == len(rows) - 1


def test_metrics_are_of_the_hold_and_spans_of_all_phases(exported: Results, receiver: Receiver) -> None:
    rows = rows_of(exported.folder)
    rows[0]["phase"], rows[1]["phase"], rows[2]["phase"] = "ramp", "warm-up", "drain"
    write_csv(exported.folder / "requests.csv", REQUEST_COLUMNS, rows)
    export_otlp(exported, receiver.url)
    assert by_level(receiver.points("gen_ai.client.operation.duration"))["10"].count == 57 - 3
    phases = [attributes(span)["tokenswarm.phase"] for span in receiver.spans[:4]]
    assert phases == ["ramp", "warm-up", "drain", "hold"]


def test_rates_and_outcomes_arrive_as_numbers_of_each_level(exported: Results, receiver: Receiver) -> None:
    export_otlp(exported, receiver.url)
    levels = {level["level"]: level["hold"] for level in summary_of(exported.folder)["levels"]}
    for name in ("token_rate", "good_token_rate", "request_rate"):
        points = by_level(receiver.points(f"tokenswarm.{name}"))
        assert {level: point.as_double for level, point in points.items()} == {
            level: hold[name] for level, hold in levels.items()
        }
    outcomes = {
        (of["tokenswarm.level.name"], of["tokenswarm.outcome"]): point.as_int
        for of, point in receiver.points("tokenswarm.requests")
    }
    assert outcomes == {("10", "ok"): 57, ("10", "timeout"): 3, ("50", "ok"): 70, ("50", "timeout"): 0}
    assert receiver.metrics["tokenswarm.requests"].sum.is_monotonic


def test_a_data_point_says_of_which_level_run_and_server_it_is_and_when(exported: Results, receiver: Receiver) -> None:
    export_otlp(exported, receiver.url)
    ((first, point), (second, _)) = receiver.points("tokenswarm.token_rate")
    assert first == {
        "tokenswarm.run.id": "20240605-140300-vllm",
        "tokenswarm.run.name": "nightly",
        "tokenswarm.level.name": "10",
        "tokenswarm.level.index": 0,
        "tokenswarm.level.users": 10,
        "tokenswarm.system_prompt": "off",
        "tokenswarm.engine.name": "vllm",
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "vllm",
        "gen_ai.request.model": "llama-3-8b",
        "server.address": "gpu",
        "server.port": 8000,
    }
    assert (second["tokenswarm.level.users"], second["tokenswarm.system_prompt"]) == (50, "on")
    # The hold follows 20 s of ramp, and has 280 s.
    assert point.start_time_unix_nano == BEGAN_NS + 20 * 10**9
    assert point.time_unix_nano == BEGAN_NS + 300 * 10**9
    of_run = attributes(receiver.requests[0].resource_metrics[0].resource)
    assert of_run["service.name"] == "tokenswarm"
    assert (of_run["tokenswarm.run.tag.gpu"], of_run["tokenswarm.run.validity"]) == ("H100", "valid")


def test_the_load_of_an_open_loop_is_a_rate(exported: Results, receiver: Receiver) -> None:
    document = summary_of(exported.folder)
    rates = dict.fromkeys(("sent_rate", "completed_rate", "in_flight_mean", "in_flight_max"), 5.0)
    document["levels"][0] |= {"open_loop": {"requested_rate": 2.5, **rates}, "level": "2.5/s"}
    (exported.folder / "summary.json").write_text(json.dumps(document))
    export_otlp(load_results(exported.folder), receiver.url)
    first, _ = receiver.points("tokenswarm.token_rate")[0]
    assert (first["tokenswarm.level.rate"], first["tokenswarm.level.name"]) == (2.5, "2.5/s")
    assert "tokenswarm.level.users" not in first


def test_each_request_is_a_span_with_its_times_tokens_and_outcome(exported: Results, receiver: Receiver) -> None:
    export_otlp(exported, receiver.url)
    rows, spans = rows_of(exported.folder), receiver.spans
    assert [attributes(span)["tokenswarm.request.id"] for span in spans] == [row["id"] for row in rows]
    for row, span in zip(rows, spans, strict=True):
        of = attributes(span)
        sent_ns = BEGAN_NS + round(float(row["sent_s"]) * 1e9)
        ok = row["outcome"] == "ok"
        assert span.start_time_unix_nano == sent_ns
        lasted_ms = float(row["duration_ms"] if ok else row["headers_ms"])
        assert span.end_time_unix_nano == sent_ns + round(lasted_ms * 1e6)
        assert span.kind == span.SPAN_KIND_CLIENT
        assert span.status.code == (span.status.STATUS_CODE_UNSET if ok else span.status.STATUS_CODE_ERROR)
        assert of["tokenswarm.outcome"] == of.get("error.type", "ok") == row["outcome"]
        assert of["gen_ai.usage.output_tokens"] == int(row["output_tokens"])
        if ok:
            assert of["tokenswarm.ttft"] == pytest.approx(float(row["ttft_ms"]) / 1e3)
            assert of["gen_ai.response.finish_reasons"] == ["stop"]
            assert span.events[0].name == "tokenswarm.first_token"
            assert span.events[0].time_unix_nano == sent_ns + round(float(row["ttft_ms"]) * 1e6)
            assert span.events[-1].time_unix_nano == sent_ns + round(float(row["e2e_ms"]) * 1e6)
    assert [len(span.events) for span in spans[:4]] == [2, 2, 3, 2]
    first, second = attributes(spans[0]), attributes(spans[1])
    assert (spans[0].name, first["gen_ai.usage.input_tokens"]) == ("chat llama-3-8b", 7)
    assert (spans[1].name, second["server.address"], second["server.port"]) == ("chat llama-3-70b", "other", 443)
    assert "gen_ai.usage.input_tokens" not in second


def test_a_span_joins_the_trace_that_its_request_sent(exported: Results, receiver: Receiver) -> None:
    export_otlp(exported, receiver.url)
    first, *others = receiver.spans
    assert (first.trace_id.hex(), first.span_id.hex()) == (TRACE, TRACE[:16])
    assert len({span.trace_id for span in others}) == len(others)
    assert {(len(span.trace_id), len(span.span_id)) for span in others} == {(16, 8)}
    before = [(span.trace_id, span.span_id) for span in receiver.spans]
    receiver.requests.clear()
    export_otlp(exported, receiver.url)
    assert [(span.trace_id, span.span_id) for span in receiver.spans] == before


def test_spans_are_sent_in_batches_and_only_of_requests_that_were_sent(exported: Results, receiver: Receiver) -> None:
    rows = rows_of(exported.folder)[:1] * 1100
    rows = [row | {"id": f"0-{place}", "sent_s": "" if place == 7 else "1.5"} for place, row in enumerate(rows)]
    write_csv(exported.folder / "requests.csv", REQUEST_COLUMNS, rows)
    export_otlp(exported, receiver.url)
    batches = [each.resource_spans[0].scope_spans[0].spans for each in receiver.requests[1:]]
    assert [len(batch) for batch in batches] == [512, 512, 75]


def test_a_cut_request_is_no_error_and_one_of_an_unknown_outcome_is(exported: Results, receiver: Receiver) -> None:
    outcomes = ("cut", "abandoned", "refused_by_limit", "http_error", "of_a_newer_version")
    rows = [row | {"outcome": outcome, "error": "busy"} for row, outcome in zip(rows_of(exported.folder), outcomes)]
    rows[1] |= {"duration_ms": "", "abandoned_ms": "750"}
    write_csv(exported.folder / "requests.csv", REQUEST_COLUMNS, rows)
    export_otlp(exported, receiver.url)
    assert [span.status.code for span in receiver.spans] == [0, 0, 0, 2, 2]
    assert [span.status.message for span in receiver.spans] == ["", "", "", "busy", "busy"]
    left = receiver.spans[1]
    assert left.end_time_unix_nano - left.start_time_unix_nano == 750 * 10**6


@pytest.mark.parametrize(
    ("path", "paths"),
    [
        ("", ["/v1/metrics", "/v1/traces"]),
        ("/", ["/v1/metrics", "/v1/traces"]),
        ("/below/", ["/below/v1/metrics", "/below/v1/traces"]),
        ("/v1/metrics", ["/v1/metrics"]),
        ("/v1/traces/", ["/v1/traces"]),
    ],
)
def test_the_url_chooses_what_is_sent(exported: Results, receiver: Receiver, path: str, paths: list[str]) -> None:
    sent = export_otlp(exported, receiver.url + path)
    assert receiver.paths == paths
    assert ("130 spans" in sent) == ("metrics" not in path)


def test_levels_of_one_name_have_no_histogram_of_the_file(exported: Results, receiver: Receiver) -> None:
    levels = exported.summary.levels
    twice = msgspec.structs.replace(
        exported.summary, levels=(levels[0], msgspec.structs.replace(levels[0], index=2), levels[1])
    )
    export_otlp(msgspec.structs.replace(exported, summary=twice), receiver.url)
    assert [of["tokenswarm.level.name"] for of, _ in receiver.points("tokenswarm.ttft")] == ["50"]
    assert len(receiver.points("tokenswarm.token_rate")) == 3


@pytest.mark.parametrize("format_", [1, 2])
def test_a_folder_of_an_older_format_is_exported_with_what_it_has(
    format_: int, receiver: Receiver, tmp_path: Path
) -> None:
    shutil.copytree(OLDER / f"format_{format_}", tmp_path / "run")
    results = load_results(tmp_path / "run")
    export_otlp(results, receiver.url)
    assert len(receiver.spans) == len(rows_of(results.folder))
    holds = [level.hold for level in results.summary.levels]
    assert [point.as_double for _, point in receiver.points("tokenswarm.token_rate")] == [h.token_rate for h in holds]
    if format_ == 2:
        assert [p.count for _, p in receiver.points("tokenswarm.ttft")] == [hold.ttft_s.count for hold in holds]
    else:
        assert "tokenswarm.ttft" not in receiver.metrics


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, "is missing; the folder is not as a run left it"),
        ("metric,system_prompt,level,scope,le,count\nttft_s,off,10,hold,soon,3\n", "soon and 3.0 are no bucket"),
        ("metric,system_prompt,level,scope,le,count\nttft_s,off,10,hold,0.1,\n", "0.1 and nan are no bucket"),
        ("metric,system_prompt,level,scope,le,count\nttft_s,off,10,hold,0.1,many\n", "is not as a run writes it"),
    ],
)
def test_a_damaged_file_of_histograms_is_one_sentence(
    exported: Results, receiver: Receiver, text: str | None, reason: str
) -> None:
    path = exported.folder / "histograms.csv"
    path.unlink() if text is None else path.write_text(text)
    with pytest.raises(ReportError, match=reason) as refused:
        export_otlp(exported, receiver.url)
    assert str(refused.value).startswith(f"{path} ")
    assert receiver.requests == []


@pytest.mark.parametrize(
    ("changes", "signal"),
    [
        ({"level_index": ""}, "metrics"),
        ({"sent_s": "1e300"}, "traces"),
        ({"sent_s": "nan"}, "traces"),
        ({"output_tokens": "inf"}, "traces"),
        ({"ttft_ms": "-1e300"}, "traces"),
    ],
)
def test_a_row_that_no_run_writes_is_named(
    exported: Results, receiver: Receiver, changes: dict[str, str], signal: str
) -> None:
    rows = rows_of(exported.folder)
    rows[5] |= changes
    write_csv(exported.folder / "requests.csv", REQUEST_COLUMNS, rows)
    with pytest.raises(ReportError, match=r"requests.csv is not as a run writes it: the row of request '0-5' cannot"):
        export_otlp(exported, f"{receiver.url}/v1/{signal}")


# The command.


def report(results: Results, *arguments: str) -> Any:
    return run_command("report", str(results.folder), *arguments)


@pytest.mark.slow
def test_the_exit_code_says_whether_all_was_taken(exported: Results, receiver: Receiver, tmp_path: Path) -> None:
    receiver.answers += [Answer(), Answer(), rejecting(3, "too old")]
    to_each = ("--to", "llmd", str(tmp_path / "a.json"), *("--to", "otlp", receiver.url) * 2)
    ended = report(exported, *to_each)
    assert (ended.returncode, ended.stderr.count("\n")) == (6, 1)
    assert f"Exported to otlp: {receiver.url} (24 data points and 130 spans)\n" in ended.stdout
    assert "rejected 3 of 24 data points and 130 spans, and took the others: too old." in ended.stderr
    assert (tmp_path / "a-10-off.json").exists()


@pytest.mark.slow
def test_the_code_of_a_failed_condition_comes_first(exported: Results, receiver: Receiver) -> None:
    receiver.answers.append(Answer(400))
    ended = report(exported, "--to", "otlp", receiver.url, "--fail-if", "p95(ttft) > 1ms")
    assert (ended.returncode, ended.stderr.count("(400)")) == (5, 1)
