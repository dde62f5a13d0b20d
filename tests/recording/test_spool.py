"""A worker's spool: the reports that its master has not got are read back as they were, each request once."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.run_control.recording_bench import options
from tokenswarm.metrics.level import Level, Scope
from tokenswarm.metrics.objectives import Objectives
from tokenswarm.metrics.timeline import Outcome, Timeline
from tokenswarm.recording.aggregator import Aggregator
from tokenswarm.recording.ended_requests import LocustCount
from tokenswarm.recording.recorder import Recorder
from tokenswarm.recording.recording_options import RecordingOptions
from tokenswarm.recording.spool import Spool, SpooledWorker, read_spools
from tokenswarm.recording.spool_place import worker_spool_folder
from tokenswarm.recording.worker_report import Report

RUN = 7
S = 1_000_000_000
COUNT = LocustCount("CHAT", "no system prompt", 12.5, 100)
MakeTimeline = Callable[..., Timeline]
MakeLevel = Callable[..., Level]


class Worker:
    """A recorder with a spool; `errors` are the spool's."""

    def __init__(self, folder: Path, timeline: MakeTimeline, stage: Level, number: int = 3) -> None:
        self.folder, self._timeline = folder, timeline
        self.errors: list[str] = []
        self.spool = Spool(folder, RUN, number, self.errors.append)
        self.recorder = Recorder(number, self.spool)
        self.recorder.begin_level(stage, 0, 0)
        self.now_s = 0.0

    def request(self, tokens: int = 4, **changes: object) -> None:
        self.now_s += 0.5
        arrivals_s = [self.now_s + (place + 1) / 10 for place in range(tokens)]
        self.recorder.request_began()
        self.recorder.request_ended(recorded=True)
        self.recorder.record(self._timeline(arrivals_s, sent_s=self.now_s, delays_ns=[1000, 5000], **changes), COUNT)

    def report(self) -> Report:
        due_ns = round(self.now_s * S)
        self.recorder.woke(due_ns, due_ns + 2_000_000, 1_000_000, users=3)
        return self.recorder.take_report()

    def killed(self) -> SpooledWorker:
        """What it leaves."""
        self.spool.close()
        (left,) = read_spools(self.folder, RUN)
        return left


@pytest.fixture
def worker(tmp_path: Path, timeline: MakeTimeline, a_level: MakeLevel) -> Worker:
    return Worker(tmp_path / "spool", timeline, a_level(level_time_s=None))


def aggregator_of(reports: list[Report], stage: Level) -> Aggregator:
    aggregator = Aggregator(Objectives(), 0.0)
    aggregator.begin_level(stage, 0.0)
    for report in reports:
        assert aggregator.apply(Report.decode(report.encode()))
    return aggregator


def figures(aggregator: Aggregator) -> object:
    whole = aggregator.levels[0].scopes[Scope.WHOLE]
    histograms = (whole.ttft_s, whole.gap_s, whole.e2e_s, whole.client_delay_s, whole.loop_lag_s)
    encoded = [histogram.encode() for histogram in histograms]
    windows = {place: (window.requests_ended, window.output_tokens) for place, window in aggregator.windows.items()}
    users = aggregator.levels[0].user_seconds
    return aggregator.recorded, aggregator.ended, aggregator.in_flight, whole.outcomes, encoded, windows, users


def test_reports_read_back_make_the_same_statistics(worker: Worker, a_level: MakeLevel) -> None:
    taken = []
    for number in range(5):
        worker.request(tokens=3 + number)
        worker.request(outcome=Outcome.CUT)
        taken.append(worker.report())
    left = worker.killed()
    assert [spooled.report.number for spooled in left.reports] == [1, 2, 3, 4, 5]
    plan = a_level(level_time_s=None)
    assert figures(aggregator_of([spooled.report for spooled in left.reports], plan)) == figures(
        aggregator_of(taken, plan)
    )
    assert [spooled.in_locust for spooled in left.reports] == [[COUNT, COUNT]] * 5
    assert (left.unended, left.torn_bytes) == (0, 0)


def test_the_arrivals_that_were_begun_are_known_of_a_killed_worker(worker: Worker, a_level: MakeLevel) -> None:
    """It has begun all of its own before the one that is named."""
    worker.recorder.request_began(0, 3)
    first = worker.report()
    assert Report.decode(first.encode()).arrivals_begun == {0: 4}
    worker.recorder.request_began(0, 6)
    worker.recorder.request_began(0, 9)
    left = worker.killed()
    assert [spooled.report.arrivals_begun for spooled in left.reports] == [{0: 4}, {0: 10}]
    reports = [first, left.reports[1].report]
    assert aggregator_of(reports, a_level(level_time_s=None)).levels[0].arrivals_begun == {3: 10}


def test_what_ended_after_the_last_report_is_a_report_more(worker: Worker, a_level: MakeLevel) -> None:
    worker.request()
    first = worker.report()
    worker.request()
    worker.recorder.request_began()
    worker.recorder.request_began()
    worker.recorder.request_began()
    worker.recorder.request_ended(recorded=False)
    left = worker.killed()
    (spooled,) = left.after(1)
    assert (spooled.report.number, spooled.report.ended, spooled.report.in_flight) == (2, 2, 2)
    assert left.unended == 2
    aggregator = aggregator_of([first, spooled.report], a_level(level_time_s=None))
    assert (aggregator.recorded, aggregator.ended, aggregator.in_flight) == (2, 2, 2)
    assert not aggregator.apply(spooled.report)
    assert aggregator.recorded == 2


def test_a_torn_last_frame_loses_its_request_alone(worker: Worker) -> None:
    for _ in range(3):
        worker.request()
    worker.spool.close()
    (path,) = worker.folder.iterdir()
    os.truncate(path, path.stat().st_size - 7)
    left = worker.killed()
    (spooled,) = left.reports
    assert [row.number for row in spooled.report.rows] == [1, 2]
    assert left.torn_bytes > 0
    assert left.unended == 1


@pytest.mark.slow
@pytest.mark.parametrize("known", range(6))
def test_damage_anywhere_counts_no_request_twice_and_loses_few(worker: Worker, a_level: MakeLevel, known: int) -> None:
    """known: how many reports the master has got."""
    taken = []
    for _ in range(5):
        worker.request()
        worker.request()
        taken.append(worker.report())
    worker.request()
    worker.spool.close()
    (path,) = worker.folder.iterdir()
    whole = path.read_bytes()
    plan = a_level(level_time_s=None)
    for place in range(0, len(whole) - 40, 37):
        damaged = bytearray(whole)
        damaged[place : place + 40] = b"\xff" * 40
        path.write_bytes(damaged)
        (left,) = read_spools(worker.folder, RUN)
        aggregator = aggregator_of(taken[:known], plan)
        rows = {row.number for report in taken[:known] for row in report.rows}
        for spooled in left.after(known):
            aggregator.skip_to(spooled.report.worker, spooled.report.number)
            assert aggregator.apply(spooled.report)
            assert not rows & {row.number for row in spooled.report.rows}
            rows |= {row.number for row in spooled.report.rows}
        assert left.torn_bytes > 0
        assert 11 - len(rows) <= 2
        assert aggregator.recorded == len(rows)


def test_what_is_acknowledged_is_deleted_and_the_rest_still_follows(
    worker: Worker, a_level: MakeLevel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tokenswarm.recording.spool._SEGMENT_BYTES", 30_000)
    reports = []
    for _ in range(60):
        for _ in range(10):
            worker.request(tokens=300)
        reports.append(worker.report())
        worker.recorder.acknowledge(reports[-1].number - 2)
    assert len(list(worker.folder.iterdir())) <= 3  # of more than twenty segments
    worker.request()
    left = worker.killed()
    missing = [spooled.report for spooled in left.after(58)]
    assert [report.number for report in missing] == [59, 60, 61]
    aggregator = aggregator_of([*reports[:58], *missing], a_level(level_time_s=None))
    assert (aggregator.recorded, aggregator.ended) == (601, 601)


def test_spools_of_other_runs_and_other_files_are_left_out(
    worker: Worker, timeline: MakeTimeline, a_level: MakeLevel
) -> None:
    worker.request()
    (worker.folder / "worker-9-abc.000000000.spool").write_bytes(b"anything")
    (worker.folder / "notes.txt").write_text("mine")
    other = Worker(worker.folder, timeline, a_level(level_time_s=None), number=4)
    other.spool.close()
    worker.spool.close()
    assert sorted(left.worker for left in read_spools(worker.folder, RUN)) == [3, 4]
    assert read_spools(worker.folder, RUN + 1) == []


def test_a_spool_that_cannot_be_written_says_so_once_and_the_requests_go_on_being_counted(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker.request()

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full)
        worker.request()
        worker.request()
    assert len(worker.errors) == 1
    assert "No space left on device" in worker.errors[0]
    assert len(worker.recorder.take_report().rows) == 3
    (spooled,) = worker.killed().reports
    assert len(spooled.report.rows) == 1


def test_a_removed_spool_leaves_nothing(worker: Worker) -> None:
    worker.request()
    worker.spool.remove()
    assert not worker.folder.exists()


def test_the_temporary_folder_of_another_user_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def folder_of(given: str) -> Path | None:
        return worker_spool_folder(RecordingOptions.of(options(tmp_path, spool_folder=given)), 5)

    assert folder_of(str(tmp_path)) == tmp_path / "run-5"
    assert folder_of("off") is None
    place = folder_of("")
    assert place is not None
    ours = place.parent
    assert ours.stat().st_mode & 0o077 == 0
    monkeypatch.setattr(os, "geteuid", lambda: 54321)
    ours.rename(ours.with_name("tokenswarm-spool-54321"))
    with pytest.raises(OSError, match="another user"):
        folder_of("")
