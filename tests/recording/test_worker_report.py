"""Reports as bytes, through Locust's own messages."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable

import msgspec
import pytest
from locust.rpc import Message

from tokenswarm.metrics.client_health import HealthMeter
from tokenswarm.metrics.level import Level, Phase
from tokenswarm.metrics.timeline import Outcome, Timeline
from tokenswarm.recording.worker_report import Report, RequestRow


@pytest.fixture
def full(report: Callable[..., Report], timeline: Callable[..., Timeline], a_level: Callable[..., Level]) -> Report:
    """Two stages, an answer, a failure with every kind of character in its words, a cut, and windows of each."""
    told = report(
        [
            timeline((3.1, 3.2, 7.5), finish_reason="length", prompt_tokens=40, prompt_tokens_source="usage"),
            timeline((), outcome=Outcome.HTTP_ERROR, status=503, error='busy, "sehr"\n\x00 – 忙'),
            timeline((3.1, 3.4), outcome=Outcome.CUT, level_index=1, kernel=False),
        ],
        [a_level(0), a_level(1, system_prompt="on")],
        worker=2,
    )
    told.in_flight, told.output_events = 9, 2**40
    meter = HealthMeter()
    meter.start(0, 0)
    meter.woke((0, Phase.HOLD), 20_000_000, 75_000_000, 30_000_000)
    meter.woke((1, Phase.DRAIN), 95_000_000, 95_200_000, 31_000_000)
    told.health = meter.take()
    return told


def everything(report: Report) -> list[object]:
    """All that a report says, its histograms as their bytes."""
    return [
        *(report.worker, report.number, report.ended, report.in_flight, report.output_events),
        *(report.rows, report.tokens_by_window),
        *(
            {place: histogram.encode() for place, histogram in each.items()}
            for each in (report.gaps, report.delays, report.health.loop_lag)
        ),
        report.health.core_use,
    ]


def test_a_report_survives_locusts_own_message(full: Report) -> None:
    sent = Message("stats", {"tokenswarm": (1_700_000_000_000_000_000, full.encode())}, "worker-1").serialize()
    run_id, encoded = Message.unserialize(sent).data["tokenswarm"]
    assert run_id == 1_700_000_000_000_000_000
    received = Report.decode(encoded)
    assert everything(received) == everything(full)
    places = [*received.gaps, *received.delays, *received.health.loop_lag, *received.health.core_use]
    assert {type(phase) for _stage, phase in places} == {Phase}


def test_a_report_of_nothing_survives_too() -> None:
    empty = Report(0, number=1, ended=0, in_flight=0, output_events=0)
    assert everything(Report.decode(empty.encode())) == everything(empty)


def test_a_decoded_histogram_goes_on_counting(full: Report) -> None:
    received = Report.decode(full.encode())
    for place, gaps in received.gaps.items():
        before = gaps.count
        gaps.add(full.gaps[place])
        assert gaps.count == 2 * before


@pytest.mark.parametrize(
    "encoded",
    [
        b"",
        b"not deflated at all",
        zlib.compress(b"\xc1"),
        zlib.compress(b"not msgpack at all"),
        zlib.compress(bytes(100_000_000), 1),
        zlib.compress(msgspec.msgpack.encode([1, 2, 3])),
        zlib.compress(msgspec.msgpack.encode({"worker": 1})),
        zlib.compress(msgspec.msgpack.encode([0, 1, "two", 0, 0, [], [], [], [], [], []])),
        zlib.compress(msgspec.msgpack.encode([0, 1, 0, 0, 0, [], [], [[0, "nowhere", b"", 0]], [], [], []])),
        zlib.compress(msgspec.msgpack.encode([0, 1, 0, 0, 0, [], [], [[0, "whole", b"", 0]], [], [], []])),
        zlib.compress(msgspec.msgpack.encode([0, 1, 0, 0, 0, [], [], [[0, "hold", b"no histogram", 0]], [], [], []])),
        zlib.compress(msgspec.msgpack.encode([0, 1, 0, 0, 0, [], [[0, 0, math.nan]], [], [], [], []])),
        zlib.compress(msgspec.msgpack.encode([0, 1, 0, 0, 0, [], [[0, 0, math.inf]], [], [], [], []])),
        zlib.compress(msgspec.msgpack.encode([0, 1, 2**63, 0, 0, [], [], [], [], [], []])),
    ],
    ids=[
        "nothing",
        "not deflated",
        "no code",
        "text",
        "too much",
        "too short",
        "a map",
        "a wrong type",
        "no such phase",
        "a part",
        "no histogram",
        "no number",
        "endless",
        "too many",
    ],
)
def test_bytes_that_are_no_report_are_refused_with_a_sentence(encoded: bytes) -> None:
    with pytest.raises(ValueError, match="these bytes are no"):
        Report.decode(encoded)


def test_a_report_cut_short_anywhere_is_refused(full: Report) -> None:
    encoded = full.encode()
    for end in range(0, len(encoded), 7):
        with pytest.raises(ValueError, match="these bytes are no"):
            Report.decode(encoded[:end])


def test_a_row_says_how_many_of_its_reads_have_the_kernels_time(row: Callable[..., RequestRow]) -> None:
    told = row((3.1, 3.2, 3.3), kernel_stamps=2)
    assert (told.reads, told.reads_with_kernel_time, told.stamps) == (3, 2, "mixed")


def test_rows_are_known_by_worker_and_number(row: Callable[..., RequestRow]) -> None:
    assert row().id == "0-1"
