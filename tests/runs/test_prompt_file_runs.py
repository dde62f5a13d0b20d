"""Whole runs with prompt files of other tools: what their rows set is what the server gets and the results name."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.runs.harness import RunLocust, StartSimulator

pytestmark = pytest.mark.slow

SHORT = (
    "-u",
    "2",
    "-r",
    "2",
    "-t",
    "3s",
    "--system-prompt",
    "off",
    "--prompt-tokens",
    "1:99",
    "--prompt-reuse",
    "always",
)


def batch_row(number: int) -> dict[str, Any]:
    text = f"Name {number} rivers."
    kinds = [
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": text}], "max_tokens": 3 + number}),
        ("/v1/completions", {"prompt": text, "max_tokens": 3 + number, "temperature": 0.25}),
        ("/v1/responses", {"input": text, "max_output_tokens": 3 + number, "instructions": f"Be brief {number}."}),
    ]
    url, body = kinds[number % 3]
    return {"custom_id": f"=row-{number}", "method": "POST", "url": url, "body": {"model": "other", **body}}


def posts(log: Path) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    return [row for row in rows if row["method"] == "POST"]


def test_each_row_of_a_batch_file_is_sent_as_it_is_and_found_again(
    run_locust: RunLocust, start_simulator: StartSimulator, tmp_path: Path
) -> None:
    rows, log = tmp_path / "batch.jsonl", tmp_path / "requests.jsonl"
    rows.write_text("".join(json.dumps(batch_row(number)) + "\n" for number in range(6)))
    server = start_simulator("--dialect", "openai", "--request-log", str(log))
    run = run_locust("-H", server.host, *SHORT, "--prompts", str(rows), "--preflight", "on", "--traceparent")
    assert run.exit_code == 0, run.output
    of_run = [post for post in posts(log) if "traceparent" in post["headers"]]
    by_trace = {post["headers"]["traceparent"].split("-")[1]: post for post in of_run}
    assert len(by_trace) == len(of_run)
    preflight = sorted(post["path"] for post in posts(log) if "traceparent" not in post["headers"])
    assert preflight == ["/v1/chat/completions", "/v1/completions", "/v1/responses"]
    over = [row for row in run.requests if row["outcome"] != "cut"]
    assert {row["custom_id"] for row in over} == {f"'=row-{number}" for number in range(6)}, run.output
    for row in over:
        number = int(row["custom_id"].removeprefix("'=row-"))
        post, wanted = by_trace[row["trace_id"]], batch_row(number)
        assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-01", post["headers"]["traceparent"])
        assert post["path"] == wanted["url"]
        cap = "max_output_tokens" if number % 3 == 2 else "max_tokens"
        assert post["body"][cap] == 3 + number
        assert post["body"].get("temperature") == wanted["body"].get("temperature")
        assert post["body"]["model"] == "other"
        assert f"Name {number} rivers." in json.dumps(post["body"])
        assert (f"Be brief {number}." in json.dumps(post["body"])) is (number % 3 == 2)
    assert {(row["outcome"], row["output_tokens_source"], row["prompt_tokens_source"]) for row in over} == {
        ("ok", "usage", "usage")
    }
    assert all(row["server_request_id"].startswith("req_") for row in over)
    assert len({row["server_request_id"] for row in over}) == len(over)
    assert all(int(row["output_tokens"]) <= 3 + int(row["custom_id"][6:]) for row in over)


@pytest.mark.parametrize("column", ["input", "problem"])
def test_a_table_of_any_column_name_is_sent(
    run_locust: RunLocust, start_simulator: StartSimulator, tmp_path: Path, column: str
) -> None:
    file, log = tmp_path / "own.csv", tmp_path / "requests.jsonl"
    with file.open("w", newline="") as rows:
        writer = csv.writer(rows)
        writer.writerow(["id", column, "max_tokens", "seed", "notes"])
        writer.writerows([number, f"What of number {number}?", 5, number, "[}"] for number in range(20))
    server = start_simulator("--dialect", "vllm", "--request-log", str(log))
    run = run_locust("-H", server.host, *SHORT, "--prompts", str(file), "--prompts-column", column, "--seed", "3")
    assert run.exit_code == 0, run.output
    sent = {post["body"]["messages"][-1]["content"]: post["body"] for post in posts(log)}
    of_rows = [sent[f"What of number {number}?"] for number in range(20) if f"What of number {number}?" in sent]
    assert len(of_rows) >= 5
    assert all(
        body["max_tokens"] == 5 and f"number {body['seed']}?" in body["messages"][-1]["content"] for body in of_rows
    )
    facts = run.document["prompts"]
    assert (facts["rows_with_max_tokens"], facts["rows_with_body_overrides"]) == (20, 20)
    assert {row["trace_id"] for row in run.requests} == {""}
