"""A run rebuilt from its log and spools: the same figures as if it had ended there, whatever was cut off."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import msgspec
import pytest

from tests.run_control.recording_bench import (
    Bench,
    Greenlets,
    MakeLevel,
    MakeTimeline,
    rows_of,
    told_of,
)
from tokenswarm.metrics.level import LEAD_S, Arrivals, Level
from tokenswarm.recording.capacity_run import CapacityRun
from tokenswarm.recording.frames import MAGIC, FrameReader
from tokenswarm.recording.recovery import RecoveryError, recover
from tokenswarm.run_folder.capacity_figures import CapacityFigures
from tokenswarm.run_folder.completeness import RUN_LOG
from tokenswarm.run_folder.reader import ReportError as FolderError
from tokenswarm.shapes.capacity.search import ProbeOutcome, Verdict
from tokenswarm.shapes.capacity.search_range import SearchRange
from tokenswarm.shapes.plan import PlannedLevel, SearchPlan
from tokenswarm.shapes.splits import Splits


@pytest.fixture
def request_at(timeline: MakeTimeline) -> MakeTimeline:
    """An answer sent so many seconds after the run began, which was at 1,000 s; a token each 100 ms."""

    def make(sent_s: float, tokens: int = 4, **changes: object) -> object:
        arrivals_s = [1000 + sent_s + (place + 1) / 10 for place in range(tokens)]
        return timeline(arrivals_s, sent_s=1000 + sent_s, **changes)

    return make


def send(bench: Bench, timeline: object, ended: bool = True) -> None:
    recorder = bench.recording.recorder
    assert recorder is not None
    recorder.request_began()
    if ended:
        recorder.request_ended(recorded=True)
        bench.fire(timeline)


def tick(bench: Bench, times: int) -> None:
    """So many seconds pass."""
    bench.greenlets.tick(bench.greenlets._ticks + times)


def as_killed(bench: Bench, tmp_path: Path) -> Path:
    """The run's folder as SIGKILL would leave it now: a copy, which no process has open."""
    killed = tmp_path / "killed" / bench.folder.name
    shutil.rmtree(killed, ignore_errors=True)
    shutil.copytree(bench.folder, killed)
    return killed


def test_a_recovered_run_has_the_figures_of_one_that_ended_there(
    bench: Bench, request_at: MakeTimeline, a_level: MakeLevel, tmp_path: Path
) -> None:
    plan = (a_level(0), a_level(1, users=50, system_prompt="on"))
    bench.begin(*plan)
    send(bench, request_at(1.0))
    send(bench, request_at(3.0))
    tick(bench, 4)
    bench.recording.server_log.server_found("http://gpu:8000/metrics", None, None)
    bench.recording.server_log.take_server_values({"requests_running": 3.0}, 0)
    bench.at(14.0)
    bench.recording.begin_level(plan[1])
    send(bench, request_at(17.0, level_index=1, tokens=6))
    bench.at(18.0)
    tick(bench, 1)
    send(bench, request_at(17.5, level_index=1))
    send(bench, None, ended=False)
    killed = as_killed(bench, tmp_path)
    assert told_of(killed, "run.json")["status"] == "running"

    recovery = recover(killed)
    assert (recovery.requests, recovery.from_workers, recovery.unended, recovery.torn_bytes) == (4, 1, 1, 0)
    assert not (killed / ".reserve").exists()
    assert told_of(killed, "run.json")["status"] == told_of(killed, "summary.json")["status"] == "recovered"
    bench.at(19.0)
    bench.stop()
    whole, recovered = told_of(bench.folder, "summary.json"), told_of(killed, "summary.json")
    for of_whole, of_recovered in zip(whole["levels"], recovered["levels"], strict=True):
        for name in ("ttft_s", "gap_s", "e2e_s", "tpot_s", "client_delay_s", "loop_lag_s"):
            assert of_recovered["whole"][name] == of_whole["whole"][name]
        assert of_recovered["whole"]["outcomes"] == of_whole["whole"]["outcomes"]
    for name in ("requests.csv", "server.csv"):
        assert (killed / name).read_text() == (bench.folder / name).read_text()
    histograms = rows_of(killed, "histograms.csv")
    assert [row for row in histograms if row["scope"] == "whole"] == [
        row for row in rows_of(bench.folder, "histograms.csv") if row["scope"] == "whole"
    ]
    assert recovered["accounting"] == {"ended": 4, "recorded": 4, "rows": 4, "complete": False, "unaccounted": 1}
    tokens = sum(float(row["output_tokens"]) for row in rows_of(killed, "windows.csv"))
    assert tokens == pytest.approx(4 + 4 + 6 + 4)


def test_what_a_capacity_search_had_found_is_recovered(
    bench: Bench, request_at: MakeTimeline, a_level: MakeLevel, tmp_path: Path
) -> None:
    bench.begin(a_level(0, users=10))
    run = bench.recording.controller.run
    assert run is not None
    of = SearchRange(1.0, 100.0)
    template = PlannedLevel(0, "off", 10, 2.0, 12.0, probe=True)
    run.capacity = CapacityRun(SearchPlan(of, template), run.aggregator.objectives)
    send(bench, request_at(3.0))
    tick(bench, 4)
    run.capacity.search.record(ProbeOutcome(of.first, Verdict.PASS, leans_good=True))
    run.begin_level(a_level(1, users=20))
    found = run.capacity.figures(run.aggregator)
    folder = as_killed(bench, tmp_path)
    recover(folder)
    assert (found.best, len(found.probes)) == (of.first, 1)
    assert msgspec.convert(told_of(folder, "summary.json")["capacity_search"], CapacityFigures) == found


def test_what_a_worker_owed_of_an_open_loop_is_recovered(
    bench: Bench, request_at: MakeTimeline, tmp_path: Path
) -> None:
    """Of one request a second, worker 1 owed the second and the fourth; from the fifth on, worker 0 has all."""
    bench.begin(Level(0, "off", "1/s", level_time_s=60.0, arrivals=Arrivals("constant", ((0.0, 1.0),), 1.0)))
    run = bench.recording.controller.run
    assert run is not None
    run.take_splits(0, Splits.among([0, 1]).followed_by(4, [0]))
    for second in (0.0, 2.0, 4.0):
        send(bench, request_at(LEAD_S + second))
    tick(bench, 8)
    killed = as_killed(bench, tmp_path)
    recover(killed)
    (level,) = told_of(killed, "summary.json")["levels"]
    assert level["open_loop"]["not_sent_by_workers"] == [{"worker": 1, "requests": 2, "from_s": 1.0, "until_s": 3.0}]


def test_cut_off_anywhere_a_run_is_recovered_as_far_as_its_log_is_whole(
    bench: Bench, request_at: MakeTimeline, a_level: MakeLevel, tmp_path: Path
) -> None:
    bench.begin(a_level())
    for second in range(1, 4):
        send(bench, request_at(float(second)))
        tick(bench, 1)
    killed = as_killed(bench, tmp_path)
    log = killed / "spool" / RUN_LOG
    whole = log.read_bytes()
    head = len(MAGIC) + 9 + len(next(iter(FrameReader(log)))[1])
    for spool in log.parent.glob("worker-*"):
        spool.unlink()
    counts = []
    for length in (head, head + 5, *range(head + 200, len(whole), (len(whole) - head) // 6), len(whole)):
        log.write_bytes(whole[:length])
        recovery = recover(killed)
        assert len(rows_of(killed, "requests.csv")) == recovery.requests
        json.loads((killed / "run.json").read_text())
        counts.append(recovery.requests)
    assert counts == sorted(counts)
    assert (counts[0], counts[-1]) == (0, 3)
    log.write_bytes(whole[: head - 1])
    with pytest.raises(RecoveryError, match="not the log of a run"):
        recover(killed)


def reason_of(folder: Path) -> str:
    return "; ".join(told_of(folder, "summary.json")["validity"]["reasons"])


def killed_run(bench: Bench, request_at: MakeTimeline, a_level: MakeLevel, tmp_path: Path) -> Path:
    """Of two levels with three requests each, of which one is in each report."""
    plan = (a_level(0), a_level(1, users=50))
    bench.begin(*plan)
    for level in plan:
        if level.index:
            bench.at(14.0)
            bench.recording.begin_level(level)
        for second in range(1, 4):
            send(bench, request_at(14.0 * level.index + second, level_index=level.index))
            tick(bench, 1)
    return as_killed(bench, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("spools", [True, False])
def test_damaged_anywhere_a_run_is_recovered_but_for_what_was_there(
    bench: Bench, request_at: MakeTimeline, a_level: MakeLevel, tmp_path: Path, spools: bool
) -> None:
    killed = killed_run(bench, request_at, a_level, tmp_path)
    log = killed / "spool" / RUN_LOG
    whole = log.read_bytes()
    if not spools:
        for spool in log.parent.glob("worker-*"):
            spool.unlink()
    for place in range(0, len(whole), len(whole) // 60):
        damaged = bytearray(whole)
        damaged[place] ^= 0x5A
        log.write_bytes(damaged)
        recovery = recover(killed)
        assert recovery.torn_bytes > 0
        assert recovery.requests >= (6 if spools else 5)
        assert len(rows_of(killed, "requests.csv")) == recovery.requests
        numbers = [row["id"] for row in rows_of(killed, "requests.csv")]
        assert len(set(numbers)) == len(numbers)
        assert f"{recovery.torn_bytes:,} bytes of the spools were cut short or damaged" in reason_of(killed)


def test_a_lost_report_is_counted_where_no_spool_has_it(
    bench: Bench, request_at: MakeTimeline, a_level: MakeLevel, tmp_path: Path
) -> None:
    killed = killed_run(bench, request_at, a_level, tmp_path)
    log = killed / "spool" / RUN_LOG
    for spool in log.parent.glob("worker-*"):
        spool.unlink()
    content = log.read_bytes()
    second = [payload for kind, payload in FrameReader(log) if kind == 3][1]
    log.write_bytes(content.replace(second, bytes(len(second))))
    recovery = recover(killed)
    assert (recovery.requests, recovery.lost) == (5, 1)
    books = told_of(killed, "summary.json")["accounting"]
    assert (books["ended"], books["recorded"], books["complete"]) == (6, 5, False)
    assert "1 ended request is lost" in reason_of(killed)


def test_a_run_that_goes_on_is_not_touched(bench: Bench, request_at: MakeTimeline, a_level: MakeLevel) -> None:
    bench.begin(a_level())
    send(bench, request_at(1.0))
    before = {path.name: path.read_bytes() for path in bench.folder.iterdir() if path.is_file()}
    with pytest.raises(RecoveryError, match="is still being written"):
        recover(bench.folder)
    assert {path.name: path.read_bytes() for path in bench.folder.iterdir() if path.is_file()} == before


def test_a_run_that_ended_by_itself_needs_no_recovery(
    bench: Bench, request_at: MakeTimeline, a_level: MakeLevel
) -> None:
    bench.begin(a_level())
    send(bench, request_at(1.0))
    bench.recording.end_plan()
    bench.stop()
    assert not (bench.folder / "spool").exists()
    assert recover(bench.folder).done
    assert told_of(bench.folder, "run.json")["status"] == "finished"


def test_without_a_spool_nothing_is_recovered(tmp_path: Path, greenlets: Greenlets, a_level: MakeLevel) -> None:
    bench = Bench(tmp_path / "results", greenlets, spool_folder="off")
    bench.begin(a_level())
    with pytest.raises(RecoveryError, match="has no spool to recover from"):
        recover(as_killed(bench, tmp_path))
    with pytest.raises(FolderError, match="There is no folder"):
        recover(tmp_path / "nowhere")
    with pytest.raises(RecoveryError, match="is not a folder"):
        recover(bench.folder, [tmp_path / "nowhere"])
    bench.runner.quit()


def test_spools_in_a_folder_of_their_own_are_found_and_removed(
    tmp_path: Path, greenlets: Greenlets, request_at: MakeTimeline, a_level: MakeLevel
) -> None:
    bench = Bench(tmp_path / "results", greenlets, spool_folder=str(tmp_path / "spools"))
    bench.begin(a_level())
    send(bench, request_at(1.0))
    tick(bench, 1)
    (place,) = (tmp_path / "spools").iterdir()
    assert place.name == f"{bench.folder.name}-spool"
    copy = tmp_path / "copy"
    shutil.copytree(tmp_path / "spools", copy)
    killed = as_killed(bench, tmp_path)
    bench.recording.end_plan()
    bench.stop()
    assert list((tmp_path / "spools").iterdir()) == []
    assert recover(killed, [copy]).requests == 1
    bench.runner.quit()


def test_spools_in_the_folder_of_the_results_are_found_and_removed_and_the_results_stay(
    tmp_path: Path, greenlets: Greenlets, request_at: MakeTimeline, a_level: MakeLevel
) -> None:
    bench = Bench(tmp_path / "results", greenlets, spool_folder=str(tmp_path / "results"))
    bench.begin(a_level())
    send(bench, request_at(1.0))
    folder, place = sorted(path for path in (tmp_path / "results").iterdir() if path.name != "latest")
    shutil.copytree(place, tmp_path / "copy")
    shutil.copytree(folder, tmp_path / "killed")
    bench.recording.end_plan()
    bench.stop()
    assert len(rows_of(bench.folder, "requests.csv")) == 1  # and it is the only folder there
    shutil.copytree(tmp_path / "copy", place)  # as SIGKILL would have left it
    assert recover(tmp_path / "killed").requests == 1
    bench.runner.quit()


def test_rows_hold_what_csv_must_quote(
    bench: Bench, request_at: MakeTimeline, a_level: MakeLevel, tmp_path: Path
) -> None:
    bench.begin(a_level())
    send(bench, request_at(1.0, finish_reason='a "quoted",\nreason'))
    killed = as_killed(bench, tmp_path)
    recover(killed)
    with (killed / "requests.csv").open(newline="", encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    assert "quoted" in row["finish_reason"]


def test_a_recovered_folder_gets_its_run_json_last(
    bench: Bench, request_at: MakeTimeline, a_level: MakeLevel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until then it is that of a run that was killed, and can be recovered again."""
    bench.begin(a_level(0))
    send(bench, request_at(3.0))
    killed = as_killed(bench, tmp_path)
    replace, placed = Path.replace, []

    def noted(source: Path, target: Path) -> Path:
        if target.parent == killed:
            placed.append(target.name)
        return replace(source, target)

    monkeypatch.setattr(Path, "replace", noted)
    recover(killed)
    assert {"requests.csv", "summary.json", "windows.csv"} < set(placed)
    assert placed[-1] == "run.json"
