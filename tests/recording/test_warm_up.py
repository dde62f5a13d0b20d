"""The load before a level: recorded and shown, and in no figure."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

from tests.run_fixtures import issues_of, make_timeline
from tokenswarm.metrics.level import Level, Phase, Scope
from tokenswarm.metrics.objectives import Objectives
from tokenswarm.metrics.timeline import Outcome, Timeline
from tokenswarm.recording.aggregator import Aggregator, measured_levels
from tokenswarm.recording.journal import Journal
from tokenswarm.recording.prometheus import LiveRun, RunCollector
from tokenswarm.recording.recorder import Recorder
from tokenswarm.recording.summary import warm_up_summaries
from tokenswarm.recording.worker_report import RequestRow
from tokenswarm.run_folder.schema import RunFacts
from tokenswarm.run_folder.warm_up_summary import WarmUpSummary
from tokenswarm.web.live_view import LiveView

WARM_UP = Level(0, "off", "2", 2, level_time_s=10.0, warm_up=True)
LEVEL = Level(1, "off", "2", 2, level_time_s=10.0)


def sent(level: Level, at_s: float, outcome: Outcome = Outcome.OK, ttft_s: float = 0.5) -> Timeline:
    return make_timeline(
        (at_s + ttft_s, at_s + ttft_s + 0.5),
        sent_s=at_s,
        over_s=at_s + ttft_s + 0.5,
        level_index=level.index,
        outcome=outcome,
        prompt_hash="00ff00ff00ff00ff",
    )


@pytest.fixture
def run() -> tuple[Aggregator, list[RequestRow]]:
    """A warm-up in which half of the requests fail and the others are slow, then a level of the same prompt."""
    aggregator, recorder = Aggregator(Objectives.parse("ttft=1s")), Recorder(0)
    recorder.start(0, 0)
    rows: list[RequestRow] = []

    def enter(level: Level, began_s: float, timelines: list[Timeline]) -> None:
        aggregator.begin_level(level, began_s)
        recorder.begin_level(level, 0, round(began_s * 1e9))
        rows.extend(recorder.record(timeline) for timeline in timelines)
        late_ns = round((began_s + 5.0) * 1e9)
        recorder.woke(late_ns, late_ns + 900_000_000 * level.warm_up, 0, users=2)
        for report in recorder.take_reports():
            aggregator.apply(report)

    failed = [sent(WARM_UP, second, Outcome.HTTP_ERROR) for second in range(3)]
    slow = [sent(WARM_UP, second, ttft_s=5.0) for second in (1.0, 2.0, 9.9)]
    enter(WARM_UP, 0.0, failed + slow)
    enter(LEVEL, 20.0, [sent(LEVEL, 20.0 + second) for second in range(8)])
    aggregator.close(31.0)
    return aggregator, rows


def test_its_requests_are_recorded_with_their_phase(run: tuple[Aggregator, list[RequestRow]]) -> None:
    aggregator, rows = run
    assert [row.phase for row in rows] == [Phase.WARM_UP] * 6 + [Phase.HOLD] * 8
    assert (aggregator.recorded, aggregator.ended) == (14, 14)
    assert warm_up_summaries(aggregator, 31.0) == (
        WarmUpSummary(index=0, system_prompt="off", level="2", seconds=10.0, requests=6, failures=3),
    )


def test_they_are_in_no_figure(run: tuple[Aggregator, list[RequestRow]]) -> None:
    aggregator, _ = run
    assert list(measured_levels(aggregator)) == [1]
    for scope in Scope:
        stats = measured_levels(aggregator)[1].scopes[scope]
        assert (stats.requests, stats.outcomes[Outcome.OK], stats.requests_within_objectives) == (8, 8, 8)
        assert (stats.ttft_s.count, stats.ttft_s.maximum) == (8, pytest.approx(0.5, rel=0.01))
        before = aggregator.levels[0].scopes[scope]
        assert (before.requests, before.output_tokens, before.gap_s.count, before.client_delay_s.count) == (0, 0, 0, 0)
    assert aggregator.failures == 0
    assert aggregator.workers[0].loop_lag_s.maximum == 0.0


def test_nothing_of_it_makes_the_run_suspect(run: tuple[Aggregator, list[RequestRow]]) -> None:
    assert 0 not in [issue.level for issue in issues_of(run[0])]


def test_its_prompts_count_as_sent_before(run: tuple[Aggregator, list[RequestRow]]) -> None:
    stats = run[0].prompts.stats
    assert (stats.requests, stats.repeated) == (8, 8)


def test_windows_show_it_and_histograms_do_not(run: tuple[Aggregator, list[RequestRow]], tmp_path: Path) -> None:
    aggregator, _ = run
    journal = Journal(tmp_path, "run")
    journal.write_windows(aggregator, 31.0)
    with (journal.folder / "windows.csv").open() as file:
        windows = list(csv.DictReader(file))
    found = [(row["level_index"], row["phase"], row["requests_sent"], row["failures"]) for row in windows]
    assert found[:2] == [("0", "warm-up", "5", "3"), ("0", "warm-up", "1", "0")]
    assert [phase for index, phase, *_ in found if index == "1"] == ["hold", "hold", "drain"]


def test_prometheus_and_the_page_have_the_level_alone(
    run: tuple[Aggregator, list[RequestRow]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    aggregator, _ = run
    live = LiveRun()
    live.facts = RunFacts("http://gpu:8000", "vllm", "llama", "ladder", [WARM_UP, LEVEL], {}, {})
    live.aggregator, live.folder = aggregator, tmp_path
    live.now_s = lambda: 31.0
    requests = next(each for each in RunCollector(live).collect() if each.name == "tokenswarm_requests")
    counts = {sample.labels["outcome"]: sample.value for sample in requests.samples if sample.value}
    assert counts == {"ok": 8}
    view = LiveView(live)
    assert [(row.index, row.requests) for row in view.levels()] == [(1, 8)]
    rows: list[Any] = view.document("", 0)["levels"]
    assert [(row.index, row.warm_up) for row in rows] == [(0, True), (1, False)]
