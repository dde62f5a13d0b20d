"""How often a gate fails where nothing changed, and how often it finds what did: measured over hundreds of pairs."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from tests.reports.simulated_runs import SimulatedServer, simulate_run
from tokenswarm.reports.checks.check_report import CheckStatus
from tokenswarm.reports.checks.conditions import parse_conditions
from tokenswarm.reports.compare.comparison import COMPARED, Standing, standing_of
from tokenswarm.reports.compare.gate_command import check_measured
from tokenswarm.reports.stats.changes import change_between

pytestmark = pytest.mark.slow

PAIRS = 400
#: Eight comparisons: four conditions at two levels.
CONDITIONS = parse_conditions("p50(ttft) > +5%, p95(ttft) > +5%, p50(tpot) > +5%, rate < -5%", relative=True)
#: Without a bound, every change for the worse that is called one fails.
ANY_CHANGE = parse_conditions("p50(ttft) > +0%, p95(ttft) > +0%, p50(tpot) > +0%, rate < -0%", relative=True)


def gates(
    base: SimulatedServer,
    new: SimulatedServer,
    runs: int,
    conditions: object = CONDITIONS,
    pairs: int = PAIRS,
    **how: float,
) -> Counter[CheckStatus]:
    """The worst verdict of each of so many gates, of so many runs a side."""
    random = np.random.default_rng(runs)
    worst: Counter[CheckStatus] = Counter()
    for _ in range(pairs):
        sides = [[simulate_run(server, random) for _ in range(runs)] for server in (base, new)]
        found = {result.status for result in check_measured(conditions, *sides, **how)}  # type: ignore[arg-type]
        worst[
            next(
                verdict
                for verdict in (CheckStatus.FAIL, CheckStatus.INCONCLUSIVE, CheckStatus.PASS)
                if verdict in found
            )
        ] += 1
    return worst


@pytest.mark.parametrize("variation", [0.0, 0.03, 0.08])
def test_three_runs_a_side_of_one_server_fail_a_gate_one_time_in_twenty_at_most(variation: float) -> None:
    server = SimulatedServer(run_variation=variation)
    found = gates(server, server, 3, ANY_CHANGE)
    assert found[CheckStatus.FAIL] <= 0.05 * PAIRS
    assert found[CheckStatus.INCONCLUSIVE] == 0
    # A bound leaves fewer to be broken.
    assert gates(server, server, 3, CONDITIONS, pairs=40)[CheckStatus.FAIL] <= 0.05 * 40


@pytest.mark.parametrize("variation", [0.0, 0.03, 0.05])
def test_one_run_a_side_of_one_server_fails_no_more_often(variation: float) -> None:
    server = SimulatedServer(run_variation=variation)
    found = gates(server, server, 1)
    assert found[CheckStatus.FAIL] <= 0.05 * PAIRS


def test_what_a_run_varies_within_itself_alone_would_fail_every_third_gate() -> None:
    """Why run-to-run variation is assumed where it is not measured."""
    server = SimulatedServer(run_variation=0.05)
    assert gates(server, server, 1, pairs=100, variation=0.0)[CheckStatus.FAIL] > 33


@pytest.mark.parametrize(("runs", "slowness", "variation"), [(3, 1.2, 0.03), (5, 1.2, 0.05), (1, 1.4, 0.05)])
def test_a_server_that_became_slower_is_found_mostly(runs: int, slowness: float, variation: float) -> None:
    base, new = SimulatedServer(run_variation=variation), SimulatedServer(slowness, variation)
    assert gates(base, new, runs, pairs=100)[CheckStatus.FAIL] >= 80


def test_one_run_a_side_is_inconclusive_where_runs_of_one_server_may_differ_so_much() -> None:
    base, new = SimulatedServer(run_variation=0.03), SimulatedServer(1.1, 0.03)
    found = gates(base, new, 1, pairs=100)
    assert found[CheckStatus.INCONCLUSIVE] > 50
    assert found[CheckStatus.PASS] < 20


def test_better_is_said_of_equal_servers_six_times_in_a_hundred_at_most() -> None:
    """500 pairs of three runs a side, six figures at two levels: how often a comparison calls one of them better."""
    random, server = np.random.default_rng(7), SimulatedServer(run_variation=0.03)
    better, worse, judged = 0, 0, 0
    for _ in range(500):
        sides = [[simulate_run(server, random) for _ in range(3)] for _ in range(2)]
        for compared in COMPARED:
            for level in range(2):
                base, new = (
                    [run.estimate(run.results.summary.levels[level], compared.figure) for run in runs] for runs in sides
                )
                known = [[one for one in side if one is not None] for side in (base, new)]
                standing = standing_of(compared, change_between(*known, share=compared.share))
                better, worse = better + (standing is Standing.BETTER), worse + (standing is Standing.WORSE)
                judged += 1
    print(f"better {better / judged:.3f}, worse {worse / judged:.3f} of {judged}")
    assert judged == 500 * 12
    assert better <= 0.06 * judged
    assert better + worse <= 0.06 * judged
