"""The run's folder, read back as anything else would read it."""

from __future__ import annotations

import csv
import errno
import json
import os
import re
import tempfile
from array import array
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tokenswarm.recording.journal
from tokenswarm.metrics.buckets import EXPOSED
from tokenswarm.metrics.level import Arrivals, Level
from tokenswarm.metrics.mix import MixMember, RunMix
from tokenswarm.metrics.objectives import Objectives
from tokenswarm.metrics.timeline import Outcome, Timeline
from tokenswarm.recording.aggregator import Aggregator
from tokenswarm.recording.journal import Journal, ResultsFolderError, _csv_line, _TailRewriter, check_writable
from tokenswarm.recording.recorder import Recorder
from tokenswarm.recording.summary import level_summary
from tokenswarm.recording.window_stats import WindowStats
from tokenswarm.recording.worker_report import Report, RequestRow
from tokenswarm.run_folder.files import LineFile
from tokenswarm.run_folder.schema import (
    HISTOGRAM_COLUMNS,
    RECORDED_GAPS,
    REQUEST_COLUMNS,
    WINDOW_COLUMNS,
    RequestAccounting,
    Status,
    Summary,
    Validity,
)

S = 1_000_000_000
MakeBooks = Callable[..., Aggregator]
MakeTimeline = Callable[..., Timeline]
MakeRow = Callable[..., RequestRow]


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "results", "20260701-120000-vllm")


def summary_of(aggregator: Aggregator) -> Summary:
    levels = [level_summary(level, 999.0, aggregator.objectives) for level in aggregator.levels.values()]
    books = RequestAccounting(aggregator.ended, aggregator.recorded, aggregator.recorded, aggregator.complete)
    return Summary(
        status=Status.FINISHED,
        engine="vllm",
        model="llama",
        host="http://gpu",
        validity=Validity("valid"),
        accounting=books,
        objectives={},
        levels=levels,
    )


# requests.csv


def test_a_row_can_be_read_while_the_run_goes_on(journal: Journal, row: MakeRow, a_level: Callable[..., Level]) -> None:
    assert rows_of(journal.folder / "requests.csv") == []
    for count in (1, 2, 3):
        journal.write_requests([row()], {0: a_level()})
        assert len(rows_of(journal.folder / "requests.csv")) == journal.rows == count


def test_a_request_is_told_in_the_units_of_its_columns(
    journal: Journal, row: MakeRow, a_level: Callable[..., Level]
) -> None:
    told = row(
        (3.1, 3.3, 3.4),
        over_s=3.5,
        run_began_s=0.25,
        tokens=6,
        connect_ns=3_000_000,
        headers_ns=3 * S + 40_000_000,
        delays_ns=[20_000, 70_000, 1],
        prompt_tokens=40,
        prompt_tokens_source="usage",
        finish_reason="stop",
        first_body_ns=3 * S + 45_000_000,
        first_event_ns=3 * S + 50_000_000,
        last_event_ns=3 * S + 410_000_000,
        events=5,
        ttft_uncertainty_ns=1_250_000,
        prompt_id="17",
        prompt_hash="00ff00ff00ff00ff",
        cached_tokens=16,
        output_tokens_rejected=1_000_000,
        first_event_tokens=2,
        unstreamed_tokens=0,
        deviations={"missing_end": 1, "named_events": 3},
        input_tokens_requested=41,
        output_tokens_requested=7,
        custom_id="=r1",
        server_request_id="req_9",
        trace_id="0af7651916cd43dd8448eb211c80319c",
        session="ec41dd6b-17",
        turn=2,
        session_turns=8,
        prefix_group=0,
        agent="main.2",
        depth=1,
        join_ns=2_000_000,
        name="+summarise",
        think_ns=1_500_000_000,
        model_index=1,
    )
    mix = RunMix((MixMember("base"), MixMember("=sql")), (MixMember("http://gpu:8000"),))
    journal.write_requests([told], {0: a_level(system_prompt="on")}, mix)
    assert rows_of(journal.folder / "requests.csv") == [
        {
            "id": "0-1",
            "worker": "0",
            "user": "0.1",
            "level_index": "0",
            "system_prompt": "on",
            "level": "10",
            "phase": "hold",
            "outcome": "ok",
            "status": "200",
            "scheduled_s": "2.750000000",
            "sent_s": "2.750000000",
            "connect_ms": "3.000000",
            "headers_ms": "40.000000",
            "ttft_ms": "100.000000",
            "ttfvt_ms": "100.000000",
            "tpot_ms": "75.000000",
            "e2e_ms": "400.000000",
            "duration_ms": "500.000000",
            "output_tokens": "6",
            "output_tokens_source": "usage",
            "output_events": "3",
            "output_arrivals": "3",
            "prompt_tokens": "40",
            "prompt_tokens_source": "usage",
            "gaps_measured": "True",
            "gap_max_ms": "200.000000",
            "client_delay_max_ms": "0.070000",
            "stamps": "kernel",
            "finish_reason": "stop",
            "error": "",
            "first_body_ms": "45.000000",
            "first_event_ms": "50.000000",
            "last_event_ms": "410.000000",
            "events": "5",
            "ttft_uncertainty_ms": "1.250000",
            "reads": "3",
            "prompt_id": "17",
            "prompt_hash": "00ff00ff00ff00ff",
            "cached_tokens": "16",
            "retries": "0",
            "output_tokens_rejected": "1000000",
            "first_event_tokens": "2",
            "unstreamed_tokens": "0",
            "deviations": "missing_end=1 named_events=3",
            "input_tokens_requested": "41",
            "output_tokens_requested": "7",
            "custom_id": "'=r1",
            "server_request_id": "req_9",
            "trace_id": "0af7651916cd43dd8448eb211c80319c",
            "think_ms": "1500.000000",
            "model": "'=sql",
            "host": "http://gpu:8000",
            "session": "ec41dd6b-17",
            "turn": "2",
            "session_turns": "8",
            "prefix_group": "0",
            "abandons": "False",
            "abandoned_ms": "",
            "abandon_late_ms": "",
            "agent": "main.2",
            "depth": "1",
            "join_ms": "2.000000",
            "name": "'+summarise",
        }
    ]


def test_what_is_undefined_is_empty(journal: Journal, row: MakeRow, a_level: Callable[..., Level]) -> None:
    journal.write_requests([row((), outcome=Outcome.REFUSED, status=None, error="refused")], {0: a_level()})
    (told,) = rows_of(journal.folder / "requests.csv")
    empty = {"status", "headers_ms", "ttft_ms", "ttfvt_ms", "tpot_ms", "e2e_ms", "duration_ms"}
    empty |= {"prompt_tokens", "prompt_tokens_source", "gap_max_ms", "client_delay_max_ms", "finish_reason"}
    empty |= {"first_body_ms", "first_event_ms", "last_event_ms", "ttft_uncertainty_ms"}
    empty |= {"prompt_id", "prompt_hash", "cached_tokens", "output_tokens_rejected", "first_event_tokens", "deviations"}
    empty |= {
        "input_tokens_requested",
        "output_tokens_requested",
        "custom_id",
        "server_request_id",
        "trace_id",
        "think_ms",
        "model",
        "host",
        "session",
        "turn",
        "session_turns",
        "prefix_group",
        "abandoned_ms",
        "abandon_late_ms",
        "agent",
        "depth",
        "join_ms",
        "name",
    }
    assert {name for name, value in told.items() if value == ""} == empty
    assert tuple(told) == REQUEST_COLUMNS


def test_an_abandoned_request_says_how_long_its_user_waited_and_how_late_it_left(
    journal: Journal, row: MakeRow, a_level: Callable[..., Level]
) -> None:
    left = row(outcome=Outcome.ABANDONED, over_s=5.002, abandons=True, abandon_late_ns=2_000_000)
    journal.write_requests([left], {0: a_level()})
    (told,) = rows_of(journal.folder / "requests.csv")
    shown = ("outcome", "abandons", "abandoned_ms", "abandon_late_ms", "duration_ms")
    assert [told[name] for name in shown] == ["abandoned", "True", "2002.000000", "2.000000", ""]


@pytest.mark.parametrize(
    ("error", "written"),
    [
        *((text, text) for text in ('said "no", twice', "one,two,,", '"', "'; –, 忙", " leading and trailing ", "a=b")),
        ("first line\nsecond\r\nthird\x00", r"first line\x0asecond\x0d\x0athird\x00"),
        ("\x1b]0;title\x07 \u202edesrever\u2028", r"\x1b]0;title\x07 \u202edesrever\u2028"),
        *((f"{start}1+cmd|' /C calc'!A0", f"'{start}1+cmd|' /C calc'!A0") for start in "=+-@＝＋－＠"),
        ("\t=1", r"\x09=1"),
        ("\r=1", r"\x0d=1"),
    ],
)
def test_text_of_a_server_is_harmless_in_every_cell_and_numbers_stay_numbers(
    error: str, written: str, journal: Journal, row: MakeRow, a_level: Callable[..., Level]
) -> None:
    rows = [row((), outcome=Outcome.HTTP_ERROR, error=error, finish_reason=error, scheduled_ns=-1_000_000), row()]
    journal.write_requests(rows, {0: a_level()})
    told, other = rows_of(journal.folder / "requests.csv")
    assert (told["error"], told["finish_reason"], other["error"]) == (written, written, "")
    assert told["scheduled_s"] == "-0.001000000"


# windows.csv

cells = st.one_of(st.integers(0, 9), st.sampled_from(["", "ä", "忙", "💧", 'a "b", c', "two\nlines", "two\r\nlines"]))
row_lists = st.lists(st.lists(st.tuples(cells, cells), max_size=5), min_size=1, max_size=8)


@pytest.mark.slow
@given(row_lists)
def test_rewriting_from_the_first_change_leaves_what_a_full_rewrite_would(
    sequence: list[list[tuple[Any, Any]]],
) -> None:
    """Rows come, change and go, in any order, with cells whose characters take one to four bytes."""
    with tempfile.TemporaryDirectory() as folder:
        path, whole = Path(folder, "tail.csv"), Path(folder, "whole.csv")
        file = LineFile(path, "ä,b\r\n")
        tail = _TailRewriter(file)
        for rows in sequence:
            tail.write([_csv_line(row) for row in rows])
            with whole.open("w", newline="", encoding="utf-8") as full:
                csv.writer(full).writerows([["ä", "b"], *rows])
            assert path.read_bytes() == whole.read_bytes()
        file.close()


def test_rows_that_have_not_changed_are_not_written_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = LineFile(tmp_path / "tail.csv", "a\r\n")
    tail = _TailRewriter(file)
    tail.write(["ä\r\n", "2\r\n"])
    written: list[bytes] = []
    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", lambda fd, data, place: written.append(data) or len(data))
        tail.write(["ä\r\n", "3\r\n", "4\r\n"])
    file.close()
    assert written == [b"3\r\n4\r\n"]


def test_a_window_tells_what_happened_in_it(journal: Journal, books: MakeBooks, timeline: MakeTimeline) -> None:
    aggregator = books(
        [
            timeline((4.0, 6.0), sent_s=3.0, over_s=6.0),
            timeline((3.5, 4.5), sent_s=3.0, over_s=4.5),
            timeline((5.5,), sent_s=5.2, outcome=Outcome.TIMEOUT, over_s=11.0),
        ]
    )
    aggregator.windows[0, 1].users, aggregator.windows[0, 1].in_flight = 10, 2
    aggregator.levels[0].user_seconds = {second: 8.0 if second == 7 else 10.0 for second in range(5, 12)}
    journal.write_windows(aggregator, 999.0)
    told = rows_of(journal.folder / "windows.csv")
    assert tuple(told[0]) == WINDOW_COLUMNS
    assert [tuple(window.values()) for window in told] == [
        (
            "0.000",
            "5.000",
            "0",
            "off",
            "10",
            "ramp",
            "0",
            "0",
            "2",
            "1",
            "0",
            "3.000",
            "0.600",
            "500.000000",
            "1000.000000",
            "0.000",
            *("", "1", "", "0.400", "0.200"),
        ),
        (
            *("5.000", "10.000", "0", "off", "10", "hold", "10", "2", "1", "1", "0", "2.000", "0.400", "", "", "9.600"),
            *("", "1", "", "0.200", "0.200"),
        ),
        (
            *("10.000", "12.000", "0", "off", "10", "hold", "0", "0", "0", "1", "1", "0.000", "0.000", "", ""),
            *("10.000", "", "0", "", "0.000", "0.000"),
        ),
    ]


def test_a_window_of_an_open_loop_has_what_was_offered_sent_and_completed(
    journal: Journal, report: Callable[..., Report], timeline: MakeTimeline
) -> None:
    """Two a second are due for seven seconds; the run is stopped after six, and lasts to the eighth."""
    level = Level(0, "off", "2/s", level_time_s=7.0, arrivals=Arrivals("constant", ((0.0, 2.0),), 2.0))
    aggregator = Aggregator(Objectives())
    aggregator.begin_level(level, -level.lead_s)
    sent = [timeline((n / 2 + 0.1, n / 2 + 0.6), sent_s=n / 2, over_s=n / 2 + 0.6) for n in range(11)]
    aggregator.apply(report([*sent, timeline((), sent_s=5.5, outcome=Outcome.TIMEOUT)], [level]))
    aggregator.stop(6.0, interrupted=True)
    aggregator.end_level(8.0)
    journal.write_windows(aggregator, 8.0)
    first, second = rows_of(journal.folder / "windows.csv")
    names = ("requests_offered", "requests_completed", "offered_rate", "sent_rate", "completed_rate")
    assert [first[name] for name in names] == ["10", "9", "2.000", "2.000", "1.800"]
    assert [second[name] for name in names] == ["2", "2", "0.667", "0.667", "0.667"]


def test_a_window_without_length_has_no_rate(journal: Journal, a_level: Callable[..., Level]) -> None:
    aggregator = Aggregator(Objectives())
    aggregator.begin_level(a_level(), 100.0)
    aggregator.windows[0, 0] = WindowStats(output_tokens=3.0)
    journal.write_windows(aggregator, 100.0)
    (told,) = rows_of(journal.folder / "windows.csv")
    assert (told["output_tokens"], told["token_rate"], told["ttft_p50_ms"]) == ("3.000", "", "")


def test_a_request_cut_half_a_millisecond_behind_the_last_edge_is_in_the_last_row(
    journal: Journal, report: Callable[..., Report], timeline: MakeTimeline, a_level: Callable[..., Level]
) -> None:
    """Stopped at 5 s to the dot: the cut request's end and its last token come just after."""
    aggregator = Aggregator(Objectives())
    aggregator.begin_level(a_level(), 0.0)
    cut = timeline((4.5, 5.0004), sent_s=4.0, over_s=5.0005, outcome=Outcome.CUT)
    aggregator.apply(report([cut], [a_level()]))
    aggregator.end_level(5.0006)
    journal.write_windows(aggregator, 999.0)
    (told,) = rows_of(journal.folder / "windows.csv")
    assert (told["start_s"], told["end_s"]) == ("0.000", "5.001")
    assert (told["requests_sent"], told["requests_ended"], told["output_tokens"]) == ("1", "1", "2.000")
    assert told["token_rate"] == "0.400"  # 2 tokens in 5.0006 s


def test_windows_beyond_a_levels_end_are_told_in_its_last_row(
    journal: Journal, report: Callable[..., Report], timeline: MakeTimeline, a_level: Callable[..., Level]
) -> None:
    aggregator = Aggregator(Objectives())
    aggregator.begin_level(a_level(), 0.0)
    late = timeline((11.0, 13.0, 16.0, 31.0), sent_s=10.5, over_s=31.0)
    aggregator.apply(report([late, timeline((), sent_s=27.0, over_s=29.0, outcome=Outcome.TIMEOUT)], [a_level()]))
    aggregator.end_level(12.0)
    journal.write_windows(aggregator, 999.0)
    told = rows_of(journal.folder / "windows.csv")
    names = ("start_s", "end_s", "requests_sent", "requests_ended", "failures", "output_tokens", "token_rate")
    assert [tuple(window[name] for name in (*names, "ttft_p50_ms")) for window in told] == [
        ("0.000", "5.000", "0", "0", "0", "0.000", "0.000", ""),
        ("5.000", "10.000", "0", "0", "0", "0.000", "0.000", ""),
        ("10.000", "12.000", "2", "2", "1", "4.000", "2.000", "500.000000"),
    ]


def test_a_running_levels_last_window_ends_now(journal: Journal, a_level: Callable[..., Level]) -> None:
    aggregator = Aggregator(Objectives())
    aggregator.begin_level(a_level(), 100.0)
    edges = []
    for now_s in (100.0, 103.0, 105.0, 107.5):
        journal.write_windows(aggregator, now_s)
        edges.append([(window["start_s"], window["end_s"]) for window in rows_of(journal.folder / "windows.csv")])
    assert edges == [
        [("100.000", "100.000")],
        [("100.000", "103.000")],
        [("100.000", "105.000")],
        [("100.000", "105.000"), ("105.000", "107.500")],
    ]


def test_of_a_long_run_only_the_windows_that_changed_are_made_anew(
    journal: Journal,
    timeline: MakeTimeline,
    report: Callable[..., Report],
    a_level: Callable[..., Level],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    level = a_level(level_time_s=None)
    made: list[float] = []
    cells_of = tokenswarm.recording.journal._window_cells
    monkeypatch.setattr(
        tokenswarm.recording.journal,
        "_window_cells",
        lambda *given: made.append(given[2]) or cells_of(*given),  # type: ignore[func-returns-value]
    )
    aggregator = Aggregator(Objectives())
    aggregator.begin_level(level, 100.0)
    journal.write_windows(aggregator, 1098.0)
    assert len(made) == 200
    made.clear()
    # One request changes the windows in which it was sent (401 s into the level), ended (806 s) and got tokens: the
    # worker that made this report began the level 100 s before the aggregator did, so these were 901 and 906 s into it.
    late = report([timeline((901.0, 906.0), sent_s=501.0)], [level])
    late.user_seconds = {(0, 600): 4.0}
    aggregator.apply(late)
    journal.write_windows(aggregator, 1099.0)
    assert made == [400.0, 600.0, 805.0, 900.0, 905.0, 995.0]
    whole = Journal(tmp_path, "whole")
    whole.write_windows(aggregator, 1099.0)
    assert rows_of(journal.folder / "windows.csv") == rows_of(whole.folder / "windows.csv")
    whole.close()


def test_the_second_levels_windows_follow_the_firsts(journal: Journal, a_level: Callable[..., Level]) -> None:
    aggregator = Aggregator(Objectives())
    aggregator.begin_level(a_level(0), 0.0)
    aggregator.begin_level(a_level(1, system_prompt="on"), 14.0)
    journal.write_windows(aggregator, 20.0)
    told = [
        (window["level_index"], window["start_s"], window["end_s"], window["phase"])
        for window in rows_of(journal.folder / "windows.csv")
    ]
    assert told == [
        ("0", "0.000", "5.000", "ramp"),
        ("0", "5.000", "10.000", "hold"),
        ("0", "10.000", "14.000", "hold"),
        ("1", "14.000", "19.000", "ramp"),
        ("1", "19.000", "20.000", "hold"),
    ]


@pytest.mark.slow
@given(
    requests=st.lists(
        st.tuples(st.integers(0, 14 * S), st.lists(st.integers(1, 3 * S), min_size=1, max_size=8), st.integers(1, 600)),
        min_size=1,
        max_size=8,
    ),
    ended_ms=st.one_of(st.integers(1, 41_000), st.sampled_from([5_000, 10_000, 15_000])),
)
def test_windows_sum_to_the_tokens_of_the_requests(requests: list[tuple[int, list[int], int]], ended_ms: int) -> None:
    """Streams of any pattern, seen by a reader after each of them: what came late is entered where it arrived, and
    what came behind the level's end in its last window."""
    stage, aggregator, recorder = Level(0, "off", "10", 10, 2.0, 12.0), Aggregator(Objectives()), Recorder(0)
    aggregator.begin_level(stage, 0.0)
    recorder.begin_level(stage, 0, 0)
    with tempfile.TemporaryDirectory() as folder:
        journal = Journal(Path(folder), "run")
        for sent_ns, gaps_ns, tokens in requests:
            arrivals_ns = [sent_ns + sum(gaps_ns[: place + 1]) for place in range(len(gaps_ns))]
            recorder.record(_answered(sent_ns, arrivals_ns, tokens))
            aggregator.apply(recorder.take_report())
            journal.write_windows(aggregator, 12.0)
        aggregator.end_level(ended_ms / 1000)
        journal.write_windows(aggregator, 999.0)
        journal.close()
        told = rows_of(Path(folder, "run", "windows.csv"))
    wanted = sum(tokens for _, _, tokens in requests)
    assert sum(float(window["output_tokens"]) for window in told) == pytest.approx(wanted, abs=0.0005 * len(told))
    assert sum(int(window["requests_sent"]) for window in told) == len(requests)
    assert sum(int(window["requests_ended"]) for window in told) == len(requests)
    assert told[-1]["end_s"] == f"{ended_ms / 1000:.3f}"


def _answered(sent_ns: int, arrivals_ns: Sequence[int], tokens: int) -> Timeline:
    return Timeline(
        user="0.1",
        level_index=0,
        outcome=Outcome.OK,
        scheduled_ns=sent_ns,
        sent_ns=sent_ns,
        over_ns=arrivals_ns[-1],
        first_ns=arrivals_ns[0],
        last_ns=arrivals_ns[-1],
        outputs_ns=array("q", arrivals_ns),
        output_tokens=tokens,
    )


# The rest of the folder


def test_histograms_csv_sums_to_the_summarys_counts(journal: Journal, books: MakeBooks, timeline: MakeTimeline) -> None:
    aggregator = books(
        [timeline((3.1, 3.1 + n / 50, 9.5), sent_s=3.0) for n in range(1, 40)]
        + [timeline((1.4, 2000.0), sent_s=1.0), timeline((), outcome=Outcome.TIMEOUT)]
    )
    summary = summary_of(aggregator)
    journal.write_summary(summary, aggregator)
    told = rows_of(journal.folder / "histograms.csv")
    assert tuple(told[0]) == HISTOGRAM_COLUMNS
    counts: Counter[tuple[str, str]] = Counter()
    for line in told:
        assert int(line["count"]) >= 0
        if line["metric"] == RECORDED_GAPS:
            continue
        counts[line["metric"], line["scope"]] += int(line["count"])
    for part in ("hold", "whole"):
        for metric, bounds in EXPOSED.items():
            figures = getattr(summary.levels[0], part)
            assert counts[metric, part] == getattr(figures, metric).count > 0
            les = [line["le"] for line in told if (line["metric"], line["scope"]) == (metric, part)]
            assert [float(le) for le in les] == [*bounds, float("inf")]
            assert les[-1] == "+Inf"


def test_histograms_csv_keeps_gaps_as_they_were_recorded(
    journal: Journal, books: MakeBooks, timeline: MakeTimeline
) -> None:
    """Prometheus' buckets of 10, 25 and 50 ms say nothing of a median of 12.3."""
    aggregator = books([timeline((3.1, 3.1123, 3.1246, 3.1369), sent_s=3.0), timeline((3.1, 3.14), sent_s=3.0)])
    journal.write_summary(summary_of(aggregator), aggregator)
    lines = [line for line in rows_of(journal.folder / "histograms.csv") if line["metric"] == RECORDED_GAPS]
    assert {line["scope"] for line in lines} == {"hold"}
    assert [int(line["count"]) for line in lines] == [3, 1]
    assert [float(line["le"]) for line in lines] == pytest.approx([0.0123, 0.04], rel=0.001)


def test_histograms_csv_counts_a_bucket_and_not_all_below_it(
    journal: Journal, books: MakeBooks, timeline: MakeTimeline
) -> None:
    aggregator = books([timeline((3.0 + ttft_s,)) for ttft_s in (0.07, 0.09, 0.095, 0.1, 0.3, 0.5, 0.501)])
    journal.write_summary(summary_of(aggregator), aggregator)
    counts = {
        line["le"]: int(line["count"])
        for line in rows_of(journal.folder / "histograms.csv")
        if (line["metric"], line["scope"]) == ("ttft_s", "hold")
    }
    assert {le: count for le, count in counts.items() if count} == {"0.08": 1, "0.1": 3, "0.5": 2, "0.75": 1}


def test_summary_csv_says_what_summary_json_says(journal: Journal, books: MakeBooks, timeline: MakeTimeline) -> None:
    aggregator = books([timeline((3.1, 3.2 + n / 100)) for n in range(70)], slo="ttft=1s")
    journal.write_summary(summary_of(aggregator), aggregator)
    (level,) = json.loads((journal.folder / "summary.json").read_text())["levels"]
    hold, whole = rows_of(journal.folder / "summary.csv")
    assert (hold["scope"], whole["scope"]) == ("hold", "whole")
    for told, figures in ((hold, level["hold"]), (whole, level["whole"])):
        for name in ("seconds", "output_tokens", "token_rate", "good_token_rate", "request_rate"):
            assert float(told[name]) == figures[name]
        for name in ("requests_per_s", "tokens_per_s", "fraction"):
            assert float(told[f"goodput_{name}"]) == figures["goodput"][name]
        for metric in EXPOSED:
            for name in ("count", "mean", "min", "max"):
                assert float(told[f"{metric}_{name}"]) == figures[metric][name]
            for p in ("p50", "p90", "p95", "p99"):
                quantile = figures[metric][p]
                assert float(told[f"{metric}_{p}"]) == quantile["value"]
                for end in ("low", "high"):
                    assert told[f"{metric}_{p}_{end}"] == ("" if quantile[end] is None else str(quantile[end]))
                assert told[f"{metric}_{p}_certified"] == str(quantile["certified"])


def test_a_run_without_levels_still_has_readable_files(journal: Journal) -> None:
    aggregator = Aggregator(Objectives())
    journal.write_windows(aggregator, 1.0)
    journal.write_summary(summary_of(aggregator), aggregator)
    assert rows_of(journal.folder / "windows.csv") == rows_of(journal.folder / "summary.csv") == []
    assert json.loads((journal.folder / "summary.json").read_text())["levels"] == []


def test_run_json_is_replaced_as_a_whole(journal: Journal) -> None:
    journal.write_run({"status": "running"})
    journal.write_run({"status": "finished", "model": "忙"})
    assert json.loads((journal.folder / "run.json").read_text("utf-8")) == {"status": "finished", "model": "忙"}
    assert {path.name for path in journal.folder.iterdir()} == {
        *("run.json", "requests.csv", "windows.csv", "server.csv", ".reserve")
    }
    journal.close()
    assert not (journal.folder / ".reserve").exists()


def test_a_folder_that_is_taken_gets_a_number(tmp_path: Path) -> None:
    names = [Journal(tmp_path / "new" / "parent", "run").folder.name for _ in range(3)]
    assert names == ["run", "run-2", "run-3"]


def test_finding_out_whether_a_folder_can_be_written_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for parent in (tmp_path / "new" / "results", Path("new"), Path("new/below"), Path("new/../other"), tmp_path):
        check_writable(parent)
        assert list(tmp_path.iterdir()) == []
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(ResultsFolderError):
        check_writable(tmp_path / "link" / "results")


def test_a_disk_that_is_full_is_found_before_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(ResultsFolderError, match="No space left on device"):
        check_writable(tmp_path)


def test_documents_hold_no_secret_whoever_repeats_it(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLM_API_KEY", "sk-0123456789abcdef")
    journal.write_run({"model": "model of sk-0123456789abcdef", "notes": [{"text": "\x1b[31m SK-0123456789ABCDEF"}]})
    written = json.loads((journal.folder / "run.json").read_text())
    assert written == {"model": "model of [secret]", "notes": [{"text": "\\x1b[31m [secret]"}]}


@pytest.mark.parametrize("use", [check_writable, lambda parent: Journal(parent, "run")])
def test_a_parent_that_cannot_hold_folders_is_refused_in_a_sentence(use: Callable[[Path], Any], tmp_path: Path) -> None:
    file = tmp_path / "taken"
    file.write_text("")
    for parent in (file, file / "below"):
        with pytest.raises(ResultsFolderError, match=rf"^--results .* {re.escape(str(file))} is a file; [^.]+\.$"):
            use(parent)
