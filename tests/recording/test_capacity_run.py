"""A capacity search inside a run's statistics: when a probe is decided, and what it counts."""

from __future__ import annotations

from array import array
from collections.abc import Iterable

import msgspec
import numpy as np
import pytest

from tests.run_fixtures import S, make_level, make_row
from tests.shapes.capacity.servers import LatencyServer, QueueServer
from tokenswarm.metrics.level import Level, Phase
from tokenswarm.metrics.objectives import Objectives
from tokenswarm.metrics.timeline import Outcome
from tokenswarm.recording.aggregator import Aggregator
from tokenswarm.recording.capacity_run import CapacityRun, stability_of
from tokenswarm.recording.probe_requests import ProbeRequests
from tokenswarm.recording.worker_report import OpenRequest, Report, RequestRow
from tokenswarm.shapes.capacity.probe_verdict import Stability
from tokenswarm.shapes.capacity.search_range import SearchRange
from tokenswarm.shapes.plan import PlannedLevel, SearchPlan

SLO = Objectives.parse("ttft=1s e2e=8s", "90%")
PLAN = SearchPlan(SearchRange(1, 40), PlannedLevel(0, "off", 1, 2.0, 102.0, probe=True))


def probe_level(index: int, users: int) -> Level:
    return make_level(index, users, level_time_s=102.0, probe=True)


def row(sent_s: float, ttft_s: float) -> RequestRow:
    made = make_row((sent_s + ttft_s, sent_s + ttft_s + 0.1), sent_s=sent_s)
    return msgspec.structs.replace(made, phase=Phase.HOLD)  # of a level that is longer than the fixture's


def report(number: int, rows: Iterable[RequestRow], reported_s: float, running: Iterable[OpenRequest] = ()) -> Report:
    rows = list(rows)
    ended = number * 10_000
    return Report(0, number, ended, 0, 0, rows, open_requests=list(running), reported_ns=round(reported_s * S))


def probed(ttft_s: float, until_s: float, running: Iterable[OpenRequest] = ()) -> tuple[CapacityRun, Aggregator]:
    """A first probe of 2 users, five requests/s with this TTFT."""
    aggregator, run = Aggregator(SLO), CapacityRun(PLAN, SLO)
    aggregator.begin_level(probe_level(0, 2), 0.0)
    times_s = np.arange(2, until_s, 0.2)
    ttfts_s = ttft_s * np.random.default_rng(1).uniform(0.9, 1.1, len(times_s))
    aggregator.apply(report(1, [row(*pair) for pair in zip(times_s, ttfts_s, strict=True)], until_s, running))
    return run, aggregator


def test_a_probe_is_decided_at_a_look_and_the_next_load_follows() -> None:
    run, aggregator = probed(0.2, 30.0)
    assert not run.is_decided(aggregator)  # the first look is after 9.5 s of the hold, with too few requests
    assert not run.is_decided(aggregator)
    assert run.is_decided(aggregator)
    aggregator.end_level(31.0)
    following = run.next_probe(aggregator)
    assert following is not None
    assert (following.index, following.name, following.users) == (1, "4", 4)
    (figures,) = run.figures(aggregator).probes
    assert (figures.load, figures.verdict, figures.share, figures.level) == (2.0, "pass", 1.0, "2")


def test_a_probe_whose_requests_miss_fails_with_the_objective_that_limits_it() -> None:
    run, aggregator = probed(1.5, 20.0)
    assert run.is_decided(aggregator)
    aggregator.end_level(31.0)
    following = run.next_probe(aggregator)
    assert following is not None
    assert following.users == 1
    figures = run.figures(aggregator)
    assert (figures.failing, figures.best, figures.binding, figures.conclusion) == (2.0, None, "ttft_s", "unfinished")
    assert figures.probes[0].shares == {"ttft_s": 0.0, "e2e_s": 1.0}


def test_requests_that_hang_are_misses_by_their_age() -> None:
    """Nothing ends: each request is older than the bound of its first token."""
    running = [OpenRequest(0, round(at_s * S)) for at_s in np.arange(2, 28, 0.2)]
    aggregator, run = Aggregator(SLO), CapacityRun(PLAN, SLO)
    aggregator.begin_level(probe_level(0, 2), 0.0)
    aggregator.apply(report(1, [], 30.0, running))
    assert run.is_decided(aggregator)
    aggregator.end_level(31.0)
    run.next_probe(aggregator)
    assert run.figures(aggregator).probes[0].verdict == "fail"


def test_requests_that_stream_within_their_bounds_prove_nothing_yet() -> None:
    running = [OpenRequest(0, round(at_s * S), S // 2) for at_s in np.arange(23, 30, 0.2)]
    run, aggregator = probed(0.2, 23.0, running)
    aggregator.levels[0].probe.take_open(report(2, [], 30.0, running), 0)  # type: ignore[union-attr]
    for _ in range(4):
        assert not run.is_decided(aggregator)


def test_a_probe_without_a_decision_is_looked_at_once_more_when_all_of_it_has_ended() -> None:
    run, aggregator = probed(0.2, 12.0)
    for _ in range(3):
        assert not run.is_decided(aggregator)
    aggregator.end_level(110.0)
    following = run.next_probe(aggregator)
    assert following is not None
    assert following.users == 4  # all of its few requests are good
    (figures,) = run.figures(aggregator).probes
    assert (figures.verdict, run.figures(aggregator).inconclusive) == ("inconclusive", (2.0,))


def test_a_run_that_is_stopped_in_a_probe_counts_it_for_nothing() -> None:
    run, aggregator = probed(0.2, 12.0)
    figures = run.figures(aggregator)
    assert (figures.probes, figures.conclusion) == ((), "unfinished")


def test_a_request_that_was_cut_counts_by_what_it_proves() -> None:
    requests = ProbeRequests(SLO, 0.0)
    requests.add(make_row((), sent_s=3.0, over_s=4.5, outcome=Outcome.CUT))  # no token for 1.5 s
    requests.add(make_row((), sent_s=4.0, over_s=4.5, outcome=Outcome.CUT))
    requests.add(make_row((5.2,), sent_s=5.0, over_s=14.0, outcome=Outcome.CUT))  # 9 s old
    requests.add(make_row((), sent_s=6.0, outcome=Outcome.TIMEOUT))
    np.testing.assert_array_equal(requests.scores(0.0, 9.0), [1.5, np.nan, 9 / 8, np.inf])


def test_requests_in_flight_hold_those_that_run() -> None:
    requests = ProbeRequests(SLO, 0.0)
    requests.add(row(0.0, 1.4))
    requests.take_open(report(1, [], 4.0, [OpenRequest(0, 1 * S)]), 0)
    np.testing.assert_allclose(requests.in_flight(3.0), [1.0, 1.5, 1.0])
    assert requests.known_until_s == 4.0


def test_open_requests_travel_in_reports() -> None:
    sent = report(1, [row(3.0, 0.5)], 4.0, [OpenRequest(0, 3 * S, 7), OpenRequest(1, 5 * S)])
    received = Report.decode(sent.encode())
    assert (received.open_requests, received.reported_ns) == (sent.open_requests, 4 * S)


@pytest.mark.parametrize(("rise", "verdict"), [(0.0, "pass"), (0.5, "fail")])
def test_latencies_that_rise_all_the_time_fail_the_probe(rise: float, verdict: str) -> None:
    """Within the bound all the time: 0.4 s at first, and half a second more at the end."""
    aggregator, run = Aggregator(SLO), CapacityRun(PLAN, SLO)
    aggregator.begin_level(probe_level(0, 2), 0.0)
    noise = np.random.default_rng(1).uniform(-0.05, 0.05, 1000)
    rows = [row(2 + i / 10, 0.4 + rise * i / 1000 + noise[i]) for i in range(1000)]
    aggregator.apply(report(1, rows, 102.0))
    while not run.is_decided(aggregator) and run._probes[-1].looks < 5:
        pass
    aggregator.end_level(103.0)
    run.next_probe(aggregator)
    (figures,) = run.figures(aggregator).probes
    assert (figures.verdict, figures.reason) == (verdict, "drift" if verdict == "fail" else "")


def judged(server: LatencyServer | QueueServer, load: float, *, is_open: bool) -> Stability:
    """The last look at a probe of 300 s."""
    sent_s, scores = server.probe(load, 300.0)
    ended_s = sent_s + np.minimum(scores, 50.0) + (server.random.exponential(1.0, len(sent_s)) if is_open else 0.0)
    kept = (array("d", times) for times in (sent_s, ended_s, scores))
    requests = ProbeRequests(Objectives.parse("ttft=1s"), 0.0, *kept, array("b", [True] * len(sent_s)))
    return stability_of(requests, (3.0, 300.0), load if is_open else None)[0]


@pytest.mark.slow
def test_servers_that_keep_up_are_seldom_taken_for_ones_that_do_not() -> None:
    """At most one probe in a hundred, at half the capacity and at it; and an overload is found."""
    found = [judged(LatencyServer(60, seed), load, is_open=False) for load in (30, 60) for seed in range(100)]
    found += [judged(QueueServer(8, 1.0, seed), load, is_open=True) for load in (4, 6) for seed in range(100)]
    assert found.count(Stability.GROWING) <= 0.01 * len(found)
    overloaded = [judged(QueueServer(8, 1.0, seed), 9.0, is_open=True) for seed in range(20)]
    assert overloaded.count(Stability.GROWING) == 20
