"""What a level records of its arrivals is enough to have the same times again."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from tests.prompts.traces.trace_examples import MOONCAKE
from tokenswarm.metrics.level import Arrivals, Level
from tokenswarm.metrics.trace_replay import TraceReplay
from tokenswarm.shapes.arrival_notation import ArrivalsError
from tokenswarm.shapes.arrival_process import Poisson, seed_of
from tokenswarm.shapes.arrival_schedule import GeneratedSchedule, arrivals
from tokenswarm.shapes.level_arrivals import DueRequests, schedule_of
from tokenswarm.shapes.rate_schedule import RateSchedule


def open_level(arrivals: Arrivals, index: int = 0) -> Level:
    return Level(index, "off", "20/s", level_time_s=10.0, arrivals=arrivals)


def test_a_level_has_the_times_of_its_process_rate_and_seed() -> None:
    level = open_level(Arrivals("poisson", ((0.0, 20.0),), 20.0, seed="7"), index=3)
    pure = GeneratedSchedule(Poisson(), RateSchedule.constant(20.0), seed_of("7", 3), 10.0)
    found = list(arrivals(schedule_of(level)))
    assert found == list(arrivals(pure))
    due = DueRequests(level)
    for _ in range(2):  # remembered, and counted anew as the time falls
        assert due.before(10.0) == len(found)
        assert due.before(found[5].due_s) == 5
        assert due.before(found[9].due_s + 1e-9) == 10


def test_a_file_that_has_changed_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "times.txt"
    file.write_text("0\n1\n")
    level = open_level(Arrivals(str(file), (), 0.2, file_sha256=hashlib.sha256(b"0\n1\n").hexdigest()))
    assert [due.due_s for due in arrivals(schedule_of(level))] == [0.0, 1.0]
    file.write_text("0\n2\n")
    with pytest.raises(ArrivalsError, match="has changed"):
        schedule_of(level)


def test_a_trace_that_has_changed_or_is_gone_is_refused(tmp_path: Path) -> None:
    (file := tmp_path / "trace.jsonl").write_text(MOONCAKE)
    sha256 = hashlib.sha256(MOONCAKE.encode()).hexdigest()
    replay = TraceReplay(str(file), speed=5.0)
    level = open_level(Arrivals(str(file), (), 0.2, file_sha256=sha256, trace=replay))
    assert [due.due_s for due in arrivals(schedule_of(level))] == [0.0, 0.25, 0.25]
    assert DueRequests(level).before(0.25) == 1
    file.write_text(MOONCAKE.replace("900", "901"))
    with pytest.raises(ArrivalsError, match=f"--trace: the file {file} has changed since the run began"):
        schedule_of(level)
    file.unlink()
    with pytest.raises(ArrivalsError, match="does not exist"):
        schedule_of(level)
