"""Latencies and the share of good requests are of those that nobody was to leave, also by report --slo."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from tests.reports.folders import Course, write_folder
from tests.run_fixtures import make_level, make_report, make_row, make_timeline
from tokenswarm.metrics.abandonment import Abandonment
from tokenswarm.metrics.level import Scope
from tokenswarm.metrics.objectives import Objectives
from tokenswarm.metrics.timeline import Outcome
from tokenswarm.recording.aggregator import Aggregator
from tokenswarm.recording.journal import Journal
from tokenswarm.recording.probe_requests import ProbeRequests
from tokenswarm.recording.summary import level_summary
from tokenswarm.recording.worker_report import OpenRequest, Report
from tokenswarm.reports.checks.good_requests import good_share
from tokenswarm.reports.checks.slo import with_objectives
from tokenswarm.reports.stats.estimates import RunData
from tokenswarm.run_folder.csv_reader import load_requests
from tokenswarm.run_folder.reader import Results, load_results
from tokenswarm.run_folder.schema import LevelSummary

LEAVE_S, BOUND = 2.0, Objectives.parse("e2e=3s")
#: Answer times from 0.55 s to 5.5 s: each once with a user that stays, four times with one that is to leave after 2 s.
TIMES_S = [round(0.55 + 0.05 * number, 2) for number in range(100)]
STAYERS = {"requests": 100, "good": 50}  # 0.55 s to 3.0 s
MEDIAN_S = 3.0


def request(sent_s: float, takes_s: float, *, abandons: bool) -> dict[str, Any]:
    leaves = abandons and takes_s > LEAVE_S
    arrivals = [sent_s + part * takes_s for part in (0.5, 1.0) if not leaves or part * takes_s <= LEAVE_S]
    outcome = Outcome.ABANDONED if leaves else Outcome.OK
    over_s = sent_s + min(takes_s, LEAVE_S) if leaves else sent_s + takes_s
    facts = {"abandons": abandons, "abandon_late_ns": 0 if leaves else None}
    return {"arrivals_s": arrivals, "sent_s": sent_s, "over_s": over_s, "outcome": outcome, **facts}


REQUESTS = [
    request(3.0 + number / 4, takes_s, abandons=copy > 0)
    for number, (takes_s, copy) in enumerate((takes_s, copy) for takes_s in TIMES_S for copy in range(5))
]


@pytest.fixture(scope="module")
def aggregator() -> Aggregator:
    level = make_level(users=20, level_time_s=200.0)
    found = Aggregator(BOUND, abandonment=Abandonment(0.8, "2s", after_s=2.0))
    found.begin_level(level, 0.0)
    found.apply(Report.decode(make_report([make_timeline(**each) for each in REQUESTS], [level]).encode()))
    found.close(200.0)
    return found


@pytest.fixture(scope="module")
def summary(aggregator: Aggregator) -> LevelSummary:
    return level_summary(aggregator.levels[0], 200.0, BOUND)


@pytest.fixture
def results(tmp_path: Path) -> Results:
    """A folder with these requests in requests.csv."""
    folder = write_folder(tmp_path / "run", [Course(10)], seed=1)
    journal = Journal(tmp_path, "written")
    level = make_level(users=20, level_time_s=200.0)
    journal.write_requests(make_report([make_timeline(**each) for each in REQUESTS], [level]).rows, {0: level})
    journal.close()
    (journal.folder / "requests.csv").replace(folder / "requests.csv")
    return load_results(folder)


def test_the_share_of_good_requests_is_of_those_that_nobody_was_to_leave(summary: LevelSummary) -> None:
    goodput = summary.hold.goodput
    assert goodput is not None and goodput.fraction == STAYERS["good"] / STAYERS["requests"]
    # Wilson's of 100 independent ones would begin at 0.40: here the good ones all come before the others.
    assert goodput.fraction_low is not None and 0.0 < goodput.fraction_low < 0.2
    assert summary.hold.requests - summary.hold.requests_not_judged == STAYERS["requests"]
    assert summary.meets_objectives is False


def test_latencies_are_of_these_too(summary: LevelSummary) -> None:
    hold = summary.hold
    for found, median_s in ((hold.e2e_s, MEDIAN_S), (hold.ttft_s, MEDIAN_S / 2), (hold.tpot_s, MEDIAN_S / 2)):
        assert found.count == STAYERS["requests"]
        assert found.p50 is not None and found.p50.value == pytest.approx(median_s, rel=0.02)
    assert hold.request_token_rate.count == hold.gap_s.count == STAYERS["requests"]  # type: ignore[union-attr]


def test_counts_outcomes_and_rates_are_of_all(summary: LevelSummary, aggregator: Aggregator) -> None:
    fast = sum(takes_s <= LEAVE_S for takes_s in TIMES_S)
    assert summary.hold.outcomes == {"ok": 100 + 4 * fast, "abandoned": 4 * (100 - fast)}
    assert summary.hold.requests == 500 and summary.hold.goodput is not None
    assert summary.hold.goodput.requests_per_s * summary.hold.seconds == pytest.approx(50 + 4 * fast)
    first_only = sum(2.0 < takes_s <= 4.0 for takes_s in TIMES_S)
    assert aggregator.levels[0].scopes[Scope.HOLD].output_tokens == pytest.approx(200 + 4 * (2 * fast + first_only))


def test_other_objectives_after_the_run_find_the_same_share(results: Results) -> None:
    (level,) = with_objectives(results, BOUND).summary.levels
    assert level.hold.goodput is not None and level.meets_objectives is False
    assert level.hold.goodput.fraction == STAYERS["good"] / STAYERS["requests"]
    (met,) = with_objectives(results, Objectives.parse("e2e=3s", "50%")).summary.levels
    assert met.meets_objectives
    share = good_share(load_requests(results, ["e2e"]).of(level), BOUND)
    assert share is not None and (share.value, share.count) == (0.5, 100)


def test_intervals_are_of_the_same_requests(results: Results) -> None:
    (level,) = results.summary.levels
    latencies = RunData(results).requests.of(level).latencies("e2e")
    assert len(latencies) == 100 and np.median(latencies) == pytest.approx(3.025)


def test_a_level_that_everybody_leaves_has_no_share() -> None:
    level = make_level(users=20, level_time_s=200.0)
    found = Aggregator(BOUND, abandonment=Abandonment(1.0, "2s", after_s=2.0))
    found.begin_level(level, 0.0)
    everybody = [make_timeline(**each) for each in REQUESTS if each["abandons"]]
    found.apply(Report.decode(make_report(everybody, [level]).encode()))
    found.close(200.0)
    summary = level_summary(found.levels[0], 200.0, BOUND)
    assert summary.hold.goodput is not None and summary.hold.goodput.fraction is None
    assert (summary.meets_objectives, summary.hold.ttft_s.count) == (False, 0)


def test_a_probe_of_a_capacity_search_is_judged_by_these() -> None:
    requests = ProbeRequests(BOUND, 0.0)
    for each in REQUESTS:
        requests.add(make_row(**each))
    running = [OpenRequest(0, 200_000_000_000, None, True), OpenRequest(0, 201_000_000_000)]
    requests.take_open(Report(0, 1, 0, 0, 0, [], open_requests=running, reported_ns=202_000_000_000), 0)
    scores = requests.scores(0.0, 300.0)
    assert (len(scores), int((scores <= 1.0).sum()), int(np.isnan(scores).sum())) == (101, 50, 1)
    assert requests.shares() == {"e2e_s": 0.5}
    assert requests.ended == 500


def test_a_file_without_the_column_leaves_none_out(results: Results) -> None:
    path = results.folder / "requests.csv"
    path.write_text(path.read_text().replace(",abandons,", ",was_something_else,", 1))
    assert not load_requests(results, ["e2e"]).abandons.any()


def test_open_requests_say_whether_their_users_are_to_leave() -> None:
    open_request = OpenRequest(0, 1, None, True)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(open_request), type=OpenRequest) == open_request


def test_the_recorded_interval_is_that_of_requests_csv(summary: LevelSummary, results: Results) -> None:
    share = good_share(load_requests(results, ["e2e"]).of(results.summary.levels[0]), BOUND)
    goodput = summary.hold.goodput
    assert share is not None and goodput is not None
    assert (goodput.fraction_low, goodput.fraction_high) == pytest.approx((share.low, share.high))
