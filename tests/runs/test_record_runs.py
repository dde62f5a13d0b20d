"""Whole runs that keep their requests: what is kept is what was sent and what came, and no header is in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.runs.harness import Run, RunLocust, StartSimulator

pytestmark = pytest.mark.slow

KEY, TENANT = "sk-2f9d04b7c61e", "tenant-77aa01bd3c"
SHORT = ("-u", "2", "-r", "2", "-t", "2s", "--system-prompt", "off", "--max-tokens", "8", "--preflight", "off")


def kept(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for path in sorted(folder.glob("*.jsonl")) for line in path.read_text().splitlines()]


def run_recording(
    run_locust: RunLocust, start_simulator: StartSimulator, tmp_path: Path, mode: str, *more: str
) -> tuple[Run, dict[str, Any]]:
    """The run, and the bodies that the server got, by the id of their trace."""
    log = tmp_path / "requests.jsonl"
    server = start_simulator("--dialect", "vllm", "--request-log", str(log))
    run = run_locust(
        *("-H", server.host, *SHORT, "--record", mode, "--traceparent", "--header", f"X-Tenant: {TENANT}", *more),
        env={"LLM_API_KEY": KEY},
        pictures=True,
    )
    assert run.exit_code == 0, run.output
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    sent = {row["headers"]["traceparent"].split("-")[1]: row for row in rows if row["method"] == "POST"}
    assert all(row["headers"]["authorization"] == f"Bearer {KEY}" for row in sent.values())
    return run, {trace: row["body"] for trace, row in sent.items()}


@pytest.mark.parametrize(
    ("mode", "topology"),
    [("bodies", ()), ("text", ("--processes", "2")), ("events", ("--processes", "2"))],
    ids=["bodies", "text of workers", "events of workers"],
)
def test_every_request_is_kept_with_what_came_back(
    run_locust: RunLocust, start_simulator: StartSimulator, tmp_path: Path, mode: str, topology: tuple[str, ...]
) -> None:
    run, sent = run_recording(run_locust, start_simulator, tmp_path, mode, *topology)
    rows = {row["id"]: row for row in run.requests}
    found = kept(run.folder / "records")
    assert sorted(line["id"] for line in found) == sorted(rows)
    for line in found:
        row = rows[line["id"]]
        body = sent.get(row["trace_id"])
        assert (line["outcome"], line["prompt_id"]) == (row["outcome"], row["prompt_id"])
        if body is None or row["outcome"] != "ok":
            continue
        if mode == "text":
            assert line["messages"] == body["messages"]
            assert line["text"] + line["reasoning"]
            continue
        assert line["request"] == body
        response = line["response"] if mode == "bodies" else "".join(read["data"] for read in line["reads"])
        assert response.startswith("data: {") and response.endswith("data: [DONE]\n\n")
        assert response.count("data: ") >= int(row["output_events"])
        if mode == "events":
            times = [read["after_ms"] for read in line["reads"]]
            assert times == sorted(times) and len(times) == int(row["reads"])
            assert float(row["ttft_ms"]) in [pytest.approx(time, abs=1e-5) for time in times]
    everything = b"".join(path.read_bytes() for path in run.folder.rglob("*") if path.is_file())
    assert KEY.encode() not in everything and TENANT.encode() not in everything
    assert b"uthorization" not in b"".join(path.read_bytes() for path in (run.folder / "records").iterdir())
