"""A pod's process, as Locust's stand-in ends: its code and results wait until they are collected."""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path

import pytest

from tokenswarm.kube import pod_entry
from tokenswarm.kube.pod_entry import COLLECTED_FILE, EXIT_CODE_FILE


def leader(results: Path, monkeypatch: pytest.MonkeyPatch, code: str, *words: str) -> tuple[int, list[str]]:
    """The exit code of pod 0 whose run does `code`, and the words that the run was given."""
    given: list[str] = []

    def command(words: list[str]) -> list[str]:
        given.extend(words)
        return [sys.executable, "-c", code, str(results)]

    monkeypatch.setattr(pod_entry, "locust_command", command)
    monkeypatch.setattr(pod_entry, "_POLL_S", 0.01)
    monkeypatch.setattr(pod_entry.signal, "signal", lambda *_: None)
    arguments = ["--index", "0", "--results", str(results), *words]
    return pod_entry.main([*arguments, "--", "-H", "http://vllm:8000", "--stop", "--"]), given


RUN = "import pathlib, sys; folder = pathlib.Path(sys.argv[1]) / 'run'; folder.mkdir(); (folder / 'run.json').touch(); "


def test_results_wait_for_their_collection_and_the_code_is_the_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / EXIT_CODE_FILE).write_text("0")  # of an earlier run
    (tmp_path / COLLECTED_FILE).touch()
    seen: list[str] = []

    def collect() -> None:
        while not (tmp_path / "run" / "run.json").exists() or not (tmp_path / EXIT_CODE_FILE).exists():
            time.sleep(0.01)
        seen.append((tmp_path / EXIT_CODE_FILE).read_text())
        (tmp_path / COLLECTED_FILE).touch()

    collector = threading.Thread(target=collect)
    collector.start()
    code, given = leader(tmp_path, monkeypatch, RUN + "sys.exit(5)", "--workers", "3", "--collect-within", "60")
    collector.join()
    assert code == 5
    assert seen == ["5\n"]
    assert given[:4] == ["--headless", "--master", "--expect-workers", "3"]
    assert given[-4:] == ["-H", "http://vllm:8000", "--stop", "--"]


@pytest.mark.parametrize(
    ("does", "expected"),
    [
        ("import sys; sys.exit(2)", 2),  # refused before a run: there is nothing to collect
        (RUN + "(folder / 'uploaded.json').touch()", 0),
    ],
)
def test_a_pod_whose_results_are_elsewhere_or_none_ends_at_once(
    does: str, expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    began_s = time.monotonic()
    code, given = leader(tmp_path, monkeypatch, does, "--collect-within", "600")
    assert (code, given[:2]) == (expected, ["--headless", "-H"])
    assert time.monotonic() - began_s < 300


def test_a_worker_becomes_locust_when_its_masters_name_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[list[str]] = []
    known = iter([False, False, True])
    monkeypatch.setattr(pod_entry, "_POLL_S", 0.001)
    monkeypatch.setattr(pod_entry, "_is_known", lambda _: next(known))
    monkeypatch.setattr(pod_entry.os, "execv", lambda _, command: started.append(command))
    monkeypatch.setenv("JOB_COMPLETION_INDEX", "2")
    assert pod_entry.main(["--master-host", "run-1-0.run-1", "--", "-H", "x"]) == 0
    assert started[0][-3:] == ["--worker", "--master-host", "run-1-0.run-1"]
