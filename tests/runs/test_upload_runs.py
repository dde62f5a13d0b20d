"""--results URL in whole runs: what a run leaves is copied however it ended, and nothing is lost where that fails."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from tests.runs.harness import RunLocust, Simulator, Start, StartSimulator

pytestmark = pytest.mark.slow

PLAN = ("--levels", "2", "--ramp", "0s", "--system-prompt", "off", "--max-tokens", "4", "--engine", "vllm")
SECRET = "wJalrXUtnFEMI-K7MDENG-bPxRfiCY"
SECRETS = {"AWS_SECRET_ACCESS_KEY": SECRET, "AWS_ACCESS_KEY_ID": "AKIAEXAMPLE"}


@pytest.fixture
def simulator(start_simulator: StartSimulator) -> Simulator:
    return start_simulator("--profile", "fast", "--prefill-ms", "20", "--step-ms", "20")


def files_of(folder: Path) -> dict[str, int]:
    return {path.relative_to(folder).as_posix(): path.stat().st_size for path in folder.rglob("*") if path.is_file()}


def test_an_interrupted_run_is_copied_whole_with_its_page_and_charts(
    start_locust: Start, simulator: Simulator, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    place = ("--results", f"file://{store}", "--local-results", str(tmp_path / "results"))
    started = start_locust("--headless", "-H", simulator.host, *PLAN, "--level-time", "60s", *place, env=SECRETS)
    started.wait_for_requests(4)
    started.interrupt(signal.SIGINT)
    run = started.end()
    assert run.exit_code == 4, run.output
    (copy,) = store.iterdir()
    assert copy.name == run.folder.name
    here, there = files_of(run.folder), files_of(copy)
    uploaded = json.loads((run.folder / "uploaded.json").read_text())
    assert there == {name: size for name, size in here.items() if name != "uploaded.json"}
    assert {"run.json", "requests.csv", "report.html", "charts/ttft.png"} <= there.keys()
    assert (uploaded["url"], uploaded["files"]) == (f"file://{copy}", len(there))
    assert json.loads((copy / "run.json").read_text())["status"] == "interrupted"
    assert json.loads((copy / "run.json").read_text())["options"]["results"] == f"file://{store}"
    assert SECRET not in run.output + "".join(path.read_text(errors="replace") for path in copy.glob("*.*"))


def test_an_upload_that_fails_ends_with_6_and_the_folder_is_whole(
    run_locust: RunLocust, simulator: Simulator, tmp_path: Path
) -> None:
    place = ("--results", "file:///dev/null/store", "--local-results", str(tmp_path / "results"))
    run = run_locust("-H", simulator.host, *PLAN, "--requests", "4", *place)
    assert run.exit_code == 6, run.output
    assert run.document["status"] == "finished"
    assert len(run.requests) == 4
    assert f"tokenswarm upload {run.folder} file:///dev/null/store" in run.output
    assert not (run.folder / "uploaded.json").exists()
    assert run.output.count("Traceback") == 0
