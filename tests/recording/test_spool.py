"""A worker's spool: the reports that its master has not got are read back as they were, each request once."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from metrics.ended import LocustCount
from metrics.ledger import Ledger
from metrics.objectives import Objectives
from metrics.options import RecordingOptions
from metrics.recorder import Recorder
from metrics.records import Report
from metrics.spool import Spool, SpooledWorker, read_spools
from metrics.spool_place import worker_spool_folder
from metrics.stage import Part, Stage
from metrics.timeline import Outcome, Timeline
from tests.metrics.test_recording import options

RUN = 7
S = 1_000_000_000
COUNT = LocustCount("CHAT", "no system prompt", 12.5, 100)
MakeTimeline = Callable[..., Timeline]
MakeStage = Callable[..., Stage]


class Worker:
    """A recorder with a spool; `errors` are the spool's."""

    def __init__(self, folder: Path, timeline: MakeTimeline, stage: Stage, number: int = 3) -> None:
        self.folder, self._timeline = folder, timeline
        self.errors: list[str] = []
        self.spool = Spool(folder, RUN, number, self.errors.append)
        self.recorder = Recorder(number, self.spool)
        self.recorder.begin_stage(stage, 0, 0)
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
def worker(tmp_path: Path, timeline: MakeTimeline, stage: MakeStage) -> Worker:
    return Worker(tmp_path / "spool", timeline, stage(level_time_s=None))


def ledger_of(reports: list[Report], stage: Stage) -> Ledger:
    ledger = Ledger(Objectives(), 0.0)
    ledger.begin_stage(stage, 0.0)
    for report in reports:
        assert ledger.apply(Report.decode(report.encode()))
    return ledger


def figures(ledger: Ledger) -> object:
    whole = ledger.levels[0].parts[Part.WHOLE]
    histograms = (whole.ttft_s, whole.gap_s, whole.e2e_s, whole.client_delay_s, whole.loop_lag_s)
    encoded = [histogram.encode() for histogram in histograms]
    windows = {place: (window.requests_ended, window.output_tokens) for place, window in ledger.windows.items()}
    users = ledger.levels[0].user_seconds
    return ledger.recorded, ledger.fired, ledger.in_flight, whole.outcomes, encoded, windows, users


def test_reports_read_back_make_the_same_statistics(worker: Worker, stage: MakeStage) -> None:
    taken = []
    for number in range(5):
        worker.request(tokens=3 + number)
        worker.request(outcome=Outcome.CUT)
        taken.append(worker.report())
    left = worker.killed()
    assert [spooled.report.number for spooled in left.reports] == [1, 2, 3, 4, 5]
    plan = stage(level_time_s=None)
    assert figures(ledger_of([spooled.report for spooled in left.reports], plan)) == figures(ledger_of(taken, plan))
    assert [spooled.in_locust for spooled in left.reports] == [[COUNT, COUNT]] * 5
    assert (left.unended, left.torn_bytes) == (0, 0)


def test_what_ended_after_the_last_report_is_a_report_more(worker: Worker, stage: MakeStage) -> None:
    worker.request()
    first = worker.report()
    worker.request()
    worker.recorder.request_began()
    worker.recorder.request_began()
    worker.recorder.request_began()
    worker.recorder.request_ended(recorded=False)
    left = worker.killed()
    (spooled,) = left.after(1)
    assert (spooled.report.number, spooled.report.fired, spooled.report.in_flight) == (2, 2, 2)
    assert left.unended == 2
    ledger = ledger_of([first, spooled.report], stage(level_time_s=None))
    assert (ledger.recorded, ledger.fired, ledger.in_flight) == (2, 2, 2)
    assert not ledger.apply(spooled.report)
    assert ledger.recorded == 2


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


def test_what_is_acknowledged_is_deleted_and_the_rest_still_follows(worker: Worker, stage: MakeStage) -> None:
    reports = []
    for _ in range(60):
        for _ in range(10):
            worker.request(tokens=300)
        reports.append(worker.report())
        worker.recorder.acknowledge(reports[-1].number - 2)
    size = sum(path.stat().st_size for path in worker.folder.iterdir())
    assert size < 2_500_000  # of some 3 kB a request
    worker.request()
    left = worker.killed()
    missing = [spooled.report for spooled in left.after(58)]
    assert [report.number for report in missing] == [59, 60, 61]
    ledger = ledger_of([*reports[:58], *missing], stage(level_time_s=None))
    assert (ledger.recorded, ledger.fired) == (601, 601)


def test_spools_of_other_runs_and_other_files_are_left_out(
    worker: Worker, timeline: MakeTimeline, stage: MakeStage
) -> None:
    worker.request()
    (worker.folder / "worker-9-abc.000000000.spool").write_bytes(b"anything")
    (worker.folder / "notes.txt").write_text("mine")
    other = Worker(worker.folder, timeline, stage(level_time_s=None), number=4)
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
