"""`pytest --jobs`: every test is reported once, with its own result, whatever happens to its process."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]
DIES = """
import os, signal
def test_before(): pass
def test_dies(): os.kill(os.getpid(), signal.SIGKILL)
def test_behind(): pass
"""
OTHERS = """
import pathlib, warnings, pytest
@pytest.fixture(scope="module")
def shared(): return []
def test_passes(shared): shared.append(1)
def test_shares(shared): assert shared == [1]
def test_fails(): assert 2 + 2 == 5
def test_is_skipped(): pytest.skip("not here")
def test_warns(): warnings.warn("look out")
@pytest.fixture
def broken(): raise OSError("no set-up")
def test_is_not_set_up(broken): pass
@pytest.mark.alone
def test_alone(): pathlib.Path("order").open("a").write("alone ")
"""
BESIDE = """
import pathlib
def test_beside(): pathlib.Path("order").open("a").write("beside ")
"""


def run(folder: Path, *arguments: str) -> tuple[int, str, dict[str, str]]:
    """Exit code, output, and how each test ended."""
    common = (
        "-c",
        os.devnull,
        "--rootdir",
        ".",
        "-p",
        "tests.parallel",
        "-p",
        "no:cacheprovider",
        "-o",
        "markers=alone",
    )
    command = [sys.executable, "-m", "pytest", *common, "--junitxml", "results.xml", *arguments, "."]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    ended = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    cases = [
        (case.get("name", ""), case[0].tag if len(case) else "passed")
        for case in ElementTree.parse(folder / "results.xml").iter("testcase")
    ]
    assert len(cases) == len(dict(cases))
    return ended.returncode, ended.stdout, dict(cases)


def test_every_test_is_reported_once_with_its_own_result(tmp_path: Path) -> None:
    for name, text in (("dies", DIES), ("others", OTHERS), ("beside", BESIDE)):
        (tmp_path / f"test_{name}.py").write_text(text)
    exit_code, output, results = run(tmp_path, "--jobs", "2")
    assert exit_code == 1
    assert results == {
        "test_before": "passed",
        "test_dies": "failure",
        "test_behind": "failure",
        "test_passes": "passed",
        "test_shares": "passed",
        "test_fails": "failure",
        "test_is_skipped": "skipped",
        "test_warns": "passed",
        "test_is_not_set_up": "error",
        "test_alone": "passed",
        "test_beside": "passed",
    }
    assert (tmp_path / "order").read_text() == "beside alone "
    assert re.fullmatch("=+ 3 failed, 6 passed, 1 skipped, .*, 1 error in .* =+", output.splitlines()[-1])
    assert "assert (2 + 2) == 5" in output
    assert "UserWarning: look out" in output


def test_when_no_process_is_left_what_remains_has_failed(tmp_path: Path) -> None:
    (tmp_path / "test_dies.py").write_text(DIES)
    (tmp_path / "test_dies_too.py").write_text(DIES.replace("def test_", "def test_too_"))
    (tmp_path / "test_late.py").write_text("def test_late(): pass")
    _, _, results = run(tmp_path, "--jobs", "2")
    assert results["test_late"] == "failure"


def test_the_first_failure_may_end_it(tmp_path: Path) -> None:
    (tmp_path / "test_fails.py").write_text("def test_fails(): assert False\ndef test_behind(): pass")
    (tmp_path / "test_waits.py").write_text("import time\ndef test_waits(): time.sleep(60)\ndef test_last(): pass")
    exit_code, _, results = run(tmp_path, "--jobs", "2", "-x")
    assert (exit_code, results) == (1, {"test_fails": "failure"})
