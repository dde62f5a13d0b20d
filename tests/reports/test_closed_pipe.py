"""Commands whose reader has gone (`tokenswarm gate … | true`): files and exit codes are those of any other run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.forked_process import close
from tests.reports.folders import Course, write_folder

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


def run_unread(*arguments: str | Path, unbuffered: bool) -> int:
    """The exit code of a command whose standard output is a pipe that nobody reads."""
    reader, writer = os.pipe()
    close(reader)
    try:
        done = subprocess.run(
            [sys.executable, *(["-u"] if unbuffered else []), ROOT / "tokenswarm.py", *map(str, arguments)],
            cwd=ROOT,
            stdout=writer,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
        )
    finally:
        os.close(writer)
    assert done.stderr == ""
    return done.returncode


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "base", (Course(),), 1)


@pytest.fixture
def worse(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "worse", (Course(ttft_s=0.5),), 2)


@pytest.mark.parametrize("unbuffered", [False, True], ids=["at the end", "in the middle"])
def test_a_closed_pipe_takes_no_file_and_no_exit_code(
    base: Path, worse: Path, tmp_path: Path, unbuffered: bool
) -> None:
    junit, parquet, page, charts = (tmp_path / name for name in ("gate.xml", "run.parquet", "page.html", "charts"))
    gate = ("gate", base, worse, "--fail-if", "p50(ttft) > +5%", "--junit", junit)
    assert run_unread(*gate, unbuffered=unbuffered) == 5
    report = ("report", worse, "--fail-if", "p50(ttft) > 1ms", "--parquet", parquet)
    assert run_unread(*report, unbuffered=unbuffered) == 5
    compare = ("compare", base, worse, "--label", "a", "--label", "b", "--html", page, "--png", charts)
    assert run_unread(*compare, unbuffered=unbuffered) == 0
    for file in (junit, parquet, page, worse / "report.html", worse / "charts" / "ttft.png", charts / "ttft.png"):
        assert file.stat().st_size, file


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
@pytest.mark.parametrize(
    ("command", "exit_code"),
    [
        (("report", "WORSE", "--fail-if", "p50(ttft) > 1ms"), 5),
        (("report", "WORSE"), 2),
        (("gate", "BASE", "AGAIN", "--fail-if", "p50(ttft) > +5%"), 2),
        (("compare", "BASE", "WORSE", "--label", "a", "--label", "b", "--html", "PAGE"), 2),
    ],
    ids=lambda value: " ".join(value[:1]) if isinstance(value, tuple) else str(value),
)
def test_an_output_that_is_full_takes_no_file_and_makes_no_success(
    command: tuple[str, ...], exit_code: int, base: Path, worse: Path, tmp_path: Path
) -> None:
    again = write_folder(tmp_path / "again", (Course(),), 3)
    files = {"BASE": str(base), "AGAIN": str(again), "WORSE": str(worse), "PAGE": str(tmp_path / "page.html")}
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, ROOT / "tokenswarm.py", *(files.get(word, word) for word in command)],
            cwd=ROOT,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
        )
    assert done.returncode == exit_code, done.stderr
    lost = "the output could not be written (No space left on device); files are not affected"
    assert [line for line in done.stderr.splitlines() if "could not be written" in line] == [f"tokenswarm: {lost}"]
    assert "Traceback" not in done.stderr
    if command[0] != "gate":
        assert (tmp_path / "page.html" if command[0] == "compare" else worse / "report.html").stat().st_size
