"""Nothing that leaves a process holds the API key or obeys the server, whatever the server puts into its answers."""

from __future__ import annotations

import csv
import io
import json
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.runs.harness import ROOT, RunLocust, Start, environment, free_port
from tests.runs.repeating import KEY, MISCHIEF, RepeatingServer, traces

pytestmark = pytest.mark.slow

WITH_KEY = {"LLM_API_KEY": KEY}
LEVEL = ("--engine", "vllm", "--model", "tiny", "--levels", "3", "--ramp", "0s", "--level-time", "3s")
PAGES = (
    *("/tokenswarm/live.json", "/tokenswarm/form.json", "/tokenswarm/runs.json", "/stats/requests", "/exceptions"),
    *("/logs", "/stats/failures/csv", "/exceptions/csv", "/stats/report", "/"),
)


@pytest.fixture
def repeating() -> Iterator[RepeatingServer]:
    server = RepeatingServer()
    yield server
    server.stop()


def assert_harmless(name: str, content: bytes) -> None:
    text = content.decode("utf-8", "replace")
    lower = text.lower()
    assert [trace for trace in traces() if trace in lower] == [], name
    assert [mark for mark in MISCHIEF if ord(mark) not in range(32, 127) and mark in text] == [], name
    if name.endswith(".csv"):
        cells = [cell for row in csv.reader(io.StringIO(text, newline="")) for cell in row]
        assert [cell for cell in cells if cell.startswith(("=", "@", "\t", "\r", "+H", "-H"))] == [], name
        assert max(map(len, cells), default=0) < 2000, name


def assert_all_harmless(folder: Path) -> set[str]:
    """Every file in the folder, but for pictures. The names of all."""
    files = {file for file in folder.rglob("*") if file.is_file()}
    for file in files:
        if file.suffix != ".png":
            assert_harmless(str(file.relative_to(folder)), file.read_bytes())
    return {file.name for file in files}


def tokenswarm(folder: Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    """The command's output, checked; it runs in the folder."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "tokenswarm.py"), *arguments],
        cwd=folder,
        env=environment(**WITH_KEY),
        capture_output=True,
        timeout=120,
    )
    assert_harmless(" ".join(arguments), done.stdout)
    assert_harmless(" ".join(arguments), done.stderr)
    assert b"Traceback" not in done.stderr
    return done


def test_a_run_and_all_that_is_made_of_it_hold_neither_the_key_nor_commands(
    run_locust: RunLocust, repeating: RepeatingServer, tmp_path: Path
) -> None:
    run = run_locust(
        *("-H", repeating.host, *LEVEL, "--csv", "locust", "--csv-full-history", "--html", "locust.html", "--json"),
        *("--junit", "junit.xml", "--markdown", "run.md", "--fail-if", "failures > 99%", "--logfile", "locust.log"),
        *("--server-metrics", f"{repeating.host}/metrics", "--gpu-metrics-url", f"{repeating.host}/metrics"),
        env=WITH_KEY,
        pictures=True,
    )
    assert_harmless("output", run.output.encode())
    assert "Traceback" not in run.output
    outcomes = {row["outcome"] for row in run.requests}
    assert {"ok", "http_error", "stream_error", "truncated"} <= outcomes
    assert any("[secret]" in row["error"] for row in run.requests)
    assert any("[secret]" in row["finish_reason"] for row in run.requests)
    folder = str(run.folder)
    assert tokenswarm(tmp_path, "report", folder, "--junit", "again.xml", "--markdown", "again.md").returncode in {0, 3}
    other = shutil.copytree(run.folder, tmp_path / "other")
    (other / "run.json").write_text(json.dumps(run.document | {"started_at": "2026-07-01T12:00:00Z"}))
    compared = ("compare", folder, str(other), "--label", "=a", "--label", "@b", "--html", "c.html", "--csv", "c.csv")
    assert tokenswarm(tmp_path, *compared, "--markdown", "c.md").returncode == 0
    for how in ((), ("--json",)):
        told = tokenswarm(tmp_path, "probe", "-H", repeating.host, "--engine", "vllm", "--model", "tiny", *how)
        assert told.stdout or told.stderr
    written = assert_all_harmless(tmp_path)
    assert {"run.json", "report.html", "locust_failures.csv", "locust.html", "locust.log", "c.csv"} <= written


def test_the_page_and_the_metrics_hold_neither_the_key_nor_commands(
    start_locust: Start, repeating: RepeatingServer
) -> None:
    port, metrics = free_port(), free_port()
    started = start_locust(
        *("-H", repeating.host, *LEVEL, "--processes", "2", "--autostart", "--autoquit", "0"),
        *("--web-port", str(port), "--metrics-port", str(metrics)),
        env=WITH_KEY,
        pictures=True,
    )
    started.wait_for_requests(12)
    urls = [f"http://127.0.0.1:{metrics}/metrics", *(f"http://127.0.0.1:{port}{page}" for page in PAGES)]
    read = 0
    for url in urls:
        with suppress(OSError), urllib.request.urlopen(url, timeout=10) as answer:
            assert_harmless(url, answer.read())
            read += 1
    assert read == len(urls)
    run = started.end()
    assert_harmless("output", run.output.encode())
    assert_all_harmless(run.results)
