"""One hand-made timeline, counted as each tool counts: every number here was worked out on paper.

Times in milliseconds since sending, 20 after connecting began; tokens by usage:

    request A   first bytes 90, role 100, tokens at 150 200 300 400, finish 410, end 420; 5 tokens in 4 events
    request B   first bytes 200, role 200, one token at 250, finish 260, end 300; on a kept connection
    request C   failed

A was sent at 1.0 s into the run, B at 2.0 s, C at 2.5 s; the level lasted 4 s.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.reports.folders import write_csv
from tokenswarm.reports.stats.as_other_tools import COLUMNS, TOOLS, report_as, statistics_as
from tokenswarm.run_folder.csv_reader import load_requests
from tokenswarm.run_folder.reader import ReportError, load_results
from tokenswarm.run_folder.schema import REQUEST_COLUMNS

Write = Callable[..., Path]
Make = Callable[..., dict[str, Any]]

A = {
    "id": "0-1",
    "user": "0.1",
    "level_index": 0,
    "phase": "ramp",
    "outcome": "ok",
    "sent_s": 1.0,
    "connect_ms": 20.0,
    "first_body_ms": 90.0,
    "first_event_ms": 100.0,
    "ttft_ms": 150.0,
    "e2e_ms": 400.0,
    "last_event_ms": 410.0,
    "duration_ms": 420.0,
    "tpot_ms": 62.5,
    "output_tokens": 5,
    "output_events": 4,
    "events": 6,
}
B = {
    "id": "0-2",
    "user": "0.1",
    "level_index": 0,
    "phase": "hold",
    "outcome": "ok",
    "sent_s": 2.0,
    "connect_ms": 0.0,
    "first_body_ms": 200.0,
    "first_event_ms": 200.0,
    "ttft_ms": 250.0,
    "e2e_ms": 250.0,
    "last_event_ms": 260.0,
    "duration_ms": 300.0,
    "output_tokens": 1,
    "output_events": 1,
    "events": 3,
}
C = {
    "id": "0-3",
    "user": "0.1",
    "level_index": 0,
    "phase": "hold",
    "outcome": "timeout",
    "sent_s": 2.5,
    "connect_ms": 0.0,
}


def counted(tool: str, write_run: Write, make_level: Make, rows: list[dict[str, Any]]) -> dict[str, float]:
    level = make_level(0, 1, outcomes={"ok": 2, "timeout": 1})
    level["whole"] |= {"seconds": 4.0, "token_rate": 1.75}
    folder = write_run([level])
    write_csv(folder / "requests.csv", REQUEST_COLUMNS, rows)
    results = load_results(folder)
    found = statistics_as(tool, load_requests(results, COLUMNS), results.summary.levels[0])
    return {name: value * 1000 if unit == "ms" else value for name, value, unit in found}


EXPECTED = {
    # Role to finish, connecting inside: A 120 to 430, B 200 to 260. TPOT of A alone: 310 / 4; the gaps sum to 310 + 60
    # over 5 + 2 of them. From A's connecting (0.98 s) to B's last event (2.26 s).
    "vllm": {
        "Request throughput": 2 / 1.28,
        "Output token throughput": 6 / 1.28,
        "mean TTFT": 160.0,
        "median TTFT": 160.0,
        "P99 TTFT": 120 + 0.99 * 80,
        "mean TPOT": 77.5,
        "Mean ITL": 370 / 7,
        "mean E2EL": 345.0,
    },
    # First to last token. ITL of A alone: 250 / 4, a user rate of 16. To B's last token, at 2.25 s.
    "aiperf": {
        "Time to First Token mean": (170 + 250) / 2,
        "Request Latency mean": (420 + 250) / 2,
        "Inter Token Latency mean": 62.5,
        "Output Token Throughput Per User mean": 16.0,
        "Request Throughput": 2 / 1.27,
        "Output Token Throughput": 6 / 1.27,
    },
    # TPOT with TTFT inside: 400 / 5 and 250 / 1. ITL weighted: 250 / 4. To the streams' ends, the last at 2.3 s.
    "guidellm": {
        "Time to First Token mean": 200.0,
        "Time Per Output Token mean": (80 + 250) / 2,
        "Inter Token Latency mean": 62.5,
        "Request Latency mean": (420 + 300) / 2,
        "Requests Per Second": 2 / 1.32,
        "Output Tokens Per Second": 6 / 1.32,
    },
    # TPOT to the stream's end: (440 − 170) / 4. Over the whole 4 s.
    "genai-bench": {
        "TTFT mean": 210.0,
        "TPOT mean": 67.5,
        "E2E Latency mean": (440 + 300) / 2,
        "Requests Per Second": 0.5,
        "Output Throughput": 1.5,
    },
    # The first bytes: 110 and 200. All three that started; tokens as they arrived in the level.
    "llm-bench": {
        "Mean time to first token": 155.0,
        "Mean response latency": 370.0,
        "Response tokens/s": 1.75,
        "Requests/s": 0.75,
    },
}


@pytest.mark.parametrize("tool", TOOLS)
def test_a_run_is_counted_by_the_definitions_of_each_tool(tool: str, write_run: Write, make_level: Make) -> None:
    found = counted(tool, write_run, make_level, [A, B, C])
    for name, value in EXPECTED[tool].items():
        assert found[name] == pytest.approx(value), name


def test_a_figure_that_no_request_has_is_undefined(write_run: Write, make_level: Make) -> None:
    found = counted("vllm", write_run, make_level, [B])
    assert math.isnan(found["mean TPOT"])
    assert found["mean TTFT"] == 200.0


def test_the_text_names_the_tool_each_level_and_what_it_cannot_tell(write_run: Write, make_level: Make) -> None:
    folder = write_run([make_level(0, 1), make_level(1, 1, "on")])
    write_csv(folder / "requests.csv", REQUEST_COLUMNS, [A, B | {"level_index": 1}])
    results = load_results(folder)
    text = report_as("vllm", load_requests(results, COLUMNS), results)
    assert "As vllm bench serve would count it: 1 user without system prompt, ramp included" in text
    assert "As vllm bench serve would count it: 1 user with system prompt, ramp included" in text
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert "mean TTFT 120.00 ms" in lines
    assert "mean TPOT –" in lines  # B had one token
    assert lines[-1].startswith("Note: percentiles of its ITL")


def test_what_an_older_journal_does_not_tell_is_refused_and_not_made_up(write_run: Write, make_level: Make) -> None:
    old = {name: value for name, value in A.items() if not name.startswith(("first_", "last_", "events"))}
    with pytest.raises(ReportError, match="^vllm bench serve counts from the first event"):
        counted("vllm", write_run, make_level, [old])
    assert counted("aiperf", write_run, make_level, [old])["Inter Token Latency mean"] == pytest.approx(62.5)


def test_a_level_without_an_ok_request_is_refused(write_run: Write, make_level: Make) -> None:
    with pytest.raises(ReportError, match="no request of 1 user without system prompt was ok"):
        counted("aiperf", write_run, make_level, [C])
