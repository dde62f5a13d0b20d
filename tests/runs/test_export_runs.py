"""A whole run that is exported: its spans join those of the server, and its metrics are those of its summary."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from tests.forked_process import run_command
from tests.reports.services.otlp_receiver import Receiver, attributes, receiving
from tests.runs.harness import Run, RunLocust, StartSimulator

pytestmark = pytest.mark.slow

SHORT = ("--levels", "2,3", "--ramp", "0.3s", "--level-time", "2s", "--settle", "0s", "--system-prompt", "off")


def test_a_run_is_exported_as_it_was_measured(
    run_locust: RunLocust, start_simulator: StartSimulator, tmp_path: Path
) -> None:
    log = tmp_path / "requests.jsonl"
    server = start_simulator("--dialect", "vllm", "--profile", "fast", "--request-log", str(log))
    more = ("--traceparent", "--max-tokens", "8", "--preflight", "off", "--name", "joined")
    run = run_locust("-H", server.host, *SHORT, *more)
    assert run.exit_code == 0, run.output
    with receiving() as receiver:
        ended = run_command("report", str(run.folder), "--to", "otlp", receiver.url)
    assert (ended.returncode, ended.stderr) == (0, "")
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    received = [line["headers"]["traceparent"].split("-")[1:3] for line in lines if line["method"] == "POST"]
    assert sorted([span.trace_id.hex(), span.span_id.hex()] for span in receiver.spans) == sorted(received)
    assert_metrics_are_those_of_the_summary(run, receiver)
    assert_tokens_add_up(run, receiver)


def assert_metrics_are_those_of_the_summary(run: Run, receiver: Receiver) -> None:
    for level in run.summary["levels"]:
        hold = level["hold"]
        for figure in ("ttft_s", "tpot_s", "gap_s", "e2e_s", "request_token_rate", "client_delay_s"):
            points = receiver.points(f"tokenswarm.{figure.removesuffix('_s')}")
            (point,) = (each for of, each in points if of["tokenswarm.level.name"] == level["level"])
            assert point.count == sum(point.bucket_counts) == hold[figure]["count"] > 0
            assert point.sum == pytest.approx(hold[figure]["count"] * hold[figure]["mean"])
            assert (point.min, point.max) == (hold[figure]["min"], hold[figure]["max"])
            # The median lies in the bucket that the middle of the counts is in.
            below, bounds = 0, [0.0, *point.explicit_bounds, float("inf")]
            for place, count in enumerate(point.bucket_counts):
                if below + count >= point.count / 2:
                    assert bounds[place] * 0.999 <= hold[figure]["p50"]["value"] <= bounds[place + 1] * 1.001
                    break
                below += count


def assert_tokens_add_up(run: Run, receiver: Receiver) -> None:
    in_spans: Counter[str] = Counter()
    for span in receiver.spans:
        of = attributes(span)
        if of["tokenswarm.phase"] == "hold" and of["tokenswarm.outcome"] == "ok":
            in_spans[of["tokenswarm.level.name"]] += of["gen_ai.usage.output_tokens"]
    used = receiver.points("gen_ai.client.token.usage")
    assert in_spans == {of["tokenswarm.level.name"]: p.sum for of, p in used if of["gen_ai.token.type"] == "output"}
    assert len(run.requests) == len(receiver.spans)
