"""What a process prints is written by a thread: whoever reads it, or does not, holds up nobody else."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

import pytest

from tests.runs.harness import ROOT
from tests.unread_pipe import full_pipe
from tokenswarm.run_control.output_queue import OutputQueue, QueuedStream


@pytest.fixture
def pipe() -> Iterator[tuple[int, TextIO, int]]:
    reader, writer, held_bytes = full_pipe()
    stream = os.fdopen(writer, "w", encoding="utf-8")
    yield reader, stream, held_bytes
    stream.close()
    os.close(reader)


def read_all(reader: int, held_bytes: int, ending: bytes) -> list[str]:
    """The lines behind what was there, until one has this ending."""
    found = b""
    while not found.endswith(ending):
        found += os.read(reader, 1 << 20)
    return found[held_bytes:].decode().splitlines()


def test_lines_wait_for_a_reader_that_has_stopped_and_come_in_their_order(pipe: tuple[int, TextIO, int]) -> None:
    reader, stream, held_bytes = pipe
    out: Any = QueuedStream(stream, queue := OutputQueue(stream))
    for number in range(50):
        print("line", number, file=out, flush=True)
    assert not queue.settle(0.0)
    assert read_all(reader, held_bytes, b"line 49\n") == [f"line {number}" for number in range(50)]
    assert queue.settle(60.0)


def test_the_oldest_lines_make_way_and_how_many_is_reported(pipe: tuple[int, TextIO, int]) -> None:
    reader, stream, held_bytes = pipe
    out: Any = QueuedStream(stream, OutputQueue(stream, most_lines=10))
    for number in range(50):
        print("line", number, file=out)
    lines = read_all(reader, held_bytes, b"line 49\n")
    ours = [line for line in lines if line.startswith("tokenswarm: ")]
    shown = [line for line in lines if line not in ours]
    assert shown[-10:] == [f"line {number}" for number in range(40, 50)]
    assert ours == [
        f"tokenswarm: {50 - len(shown)} lines before this one were not read in time and are lost; files are not "
        "affected"
    ]


def test_lines_that_come_after_a_wait_for_the_reader_make_way_for_later_ones(pipe: tuple[int, TextIO, int]) -> None:
    reader, stream, held_bytes = pipe
    out: Any = QueuedStream(stream, queue := OutputQueue(stream, most_lines=10))
    print("first", file=out)
    assert not queue.settle(0.0)
    for number in range(50):
        print("line", number, file=out)
    lines = read_all(reader, held_bytes, b"line 49\n")
    assert lines[-9:] == [f"line {number}" for number in range(41, 50)]
    assert queue.settle(60.0)


def test_a_stream_that_somebody_closes_ends_nothing_else(tmp_path: Path) -> None:
    with (tmp_path / "out").open("w", encoding="utf-8") as stream:
        out: Any = QueuedStream(stream, queue := OutputQueue(stream))
    print("nowhere", file=out)
    assert queue.settle(60.0)


def test_a_character_that_the_output_does_not_have_is_written_out(tmp_path: Any) -> None:
    with (tmp_path / "out").open("w", encoding="ascii") as stream:
        out: Any = QueuedStream(stream, queue := OutputQueue(stream))
        print("50 % → 60 %", file=out)
        assert queue.settle(60.0)
    assert (tmp_path / "out").read_text() == "50 % \\u2192 60 %\n"


PROGRAM = """
import os, sys
from tokenswarm.run_control import output_queue
from tokenswarm.sanitize import guard_output
output_queue.PATIENCE_S = 0.2
output_queue.queue_output()
guard_output()
for number in range(100):
    print("out", number, flush=True)
    print("error", number, file=sys.stderr)
if os.fork() == 0:
    print("of the child")
    sys.exit(3)
os.wait()
sys.exit(7)
"""


def ended(program: str = PROGRAM, **streams: int) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-c", program], env=environment, text=True, timeout=60, check=False, **streams
    )


#: Prints where other code than ours ends with the process.
LATE_PROGRAM = """
import atexit, sys
atexit.register(lambda: [print("late", number) for number in range(300)])
from tokenswarm.run_control import output_queue
from tokenswarm.sanitize import guard_output
output_queue.PATIENCE_S = 0.2
output_queue.queue_output()
guard_output()
sys.stdout.write("no end of line, ")
"""


@pytest.mark.slow
def test_what_is_printed_while_the_process_ends_is_written() -> None:
    done = ended(LATE_PROGRAM, stdout=subprocess.PIPE)
    assert done.stdout.replace("no end of line, ", "").splitlines() == [f"late {number}" for number in range(300)]
    assert done.stdout.count("no end of line, ") == 1
    _, writer, _ = full_pipe()
    assert ended(LATE_PROGRAM, stdout=writer).returncode == 0


@pytest.mark.slow
def test_a_process_writes_all_before_it_ends_and_so_do_those_that_it_forks() -> None:
    done = ended(stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    lines = done.stdout.splitlines()
    assert done.returncode == 7
    assert sorted(lines) == sorted([*(f"out {number}" for number in range(100)), "of the child"])
    assert done.stderr.splitlines() == [f"error {number}" for number in range(100)]
    together = ended(stdout=subprocess.PIPE, stderr=subprocess.STDOUT).stdout.splitlines()
    own = [line for line in together if line != "of the child"]
    assert own == [line for number in range(100) for line in (f"out {number}", f"error {number}")]


@pytest.mark.slow
@pytest.mark.parametrize("output", ["full pipe", "/dev/full", "closed pipe"])
def test_a_process_ends_as_ever_where_its_output_cannot_be_written(output: str) -> None:
    reader, writer, _ = full_pipe()
    if output == "/dev/full":
        writer = os.open("/dev/full", os.O_WRONLY)
    elif output == "closed pipe":
        os.close(reader)
    done = ended(stdout=writer, stderr=subprocess.PIPE)
    assert done.returncode == 7
    said = [line for line in done.stderr.splitlines() if not line.startswith("error ")]
    # Each process, one sentence; one that is forked after it needs no other.
    assert len(said) in {"full pipe": (2,), "/dev/full": (1, 2), "closed pipe": (0,)}[output], said
    done = ended(stdout=subprocess.PIPE, stderr=writer)
    assert done.returncode == 7
    assert len(done.stdout.splitlines()) == 101
