"""When a probe is decided."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tests.shapes.capacity.servers import TARGET, LatencyServer, QueueServer, run_probe
from tokenswarm.shapes.capacity.probe_verdict import LOOKS, Stability, decide, look_times, share_bounds
from tokenswarm.shapes.capacity.search import Verdict

TRIALS = 200
GOOD, MISS, OPEN = 0.1, 2.0, np.nan


def found(
    scores: list[float], stability: Stability = Stability.STEADY, *, fewest: int = 30, last: bool = False
) -> Verdict | None:
    return decide(np.array(scores), TARGET, stability, fewest=fewest, last=last).verdict


@pytest.mark.slow
@pytest.mark.parametrize(
    "server",
    [
        lambda seed: LatencyServer(60, seed),
        lambda seed: LatencyServer(60, seed, memory_s=10),
        lambda seed: QueueServer(8, 1.0, seed),
        lambda seed: QueueServer(8, 0.3, seed),
    ],
    ids=["latencies", "long memory", "queue", "queue with a short bound"],
)
def test_servers_exactly_at_the_target_seldom_pass_and_seldom_fail(
    server: Callable[[int], LatencyServer | QueueServer],
) -> None:
    """At most 5 % of the trials. Requests are correlated over 2 to 20 s, the probe lasts 300 s."""
    verdicts = []
    for seed in range(TRIALS):
        of = server(seed)
        verdicts.append(run_probe(of.probe, of.capacity, 300)[0].verdict)
    assert verdicts.count(Verdict.PASS) <= 0.05 * TRIALS
    assert verdicts.count(Verdict.FAIL) <= 0.05 * TRIALS


@pytest.mark.parametrize(("load", "verdict"), [(30.0, Verdict.PASS), (80.0, Verdict.FAIL)])
def test_a_load_far_from_the_capacity_is_decided_early(load: float, verdict: Verdict) -> None:
    for seed in range(20):
        decision, after_s = run_probe(LatencyServer(60, seed).probe, load, 300)
        assert decision.verdict is verdict
        assert after_s < 100


def test_looks_are_further_and_further_apart_and_end_with_the_probe() -> None:
    times_s = look_times(300)
    assert len(times_s) == LOOKS
    assert times_s[-1] == 300
    np.testing.assert_allclose(np.diff(np.log(times_s)), np.log(1.6))


def test_few_requests_decide_nothing() -> None:
    assert found([MISS] * 29) is None
    assert found([MISS] * 29, last=True) is Verdict.INCONCLUSIVE
    assert found([MISS] * 30) is Verdict.FAIL
    assert found([MISS] * 30, fewest=31) is None
    assert found([]) is None
    assert found([], last=True) is Verdict.INCONCLUSIVE


def test_a_pass_needs_so_many_requests_that_the_interval_lies_above_the_target() -> None:
    assert found([GOOD] * 150) is None
    assert found([GOOD] * 250) is Verdict.PASS
    assert found([GOOD] * 150, last=True) is Verdict.INCONCLUSIVE


def test_requests_that_still_run_count_for_neither_side() -> None:
    """As misses they would leave the pass in doubt, as good ones the fail."""
    assert found([*[GOOD] * 300, *[OPEN] * 20]) is None
    assert found([*[GOOD] * 400, *[OPEN] * 2]) is Verdict.PASS
    assert found([*[MISS] * 40, *[OPEN] * 300]) is Verdict.FAIL
    assert found([*[GOOD] * 280, *[MISS] * 20, *[OPEN] * 200]) is None


def test_a_server_that_does_not_keep_up_fails_however_good_its_answers_are() -> None:
    assert found([GOOD] * 300, Stability.GROWING) is None
    assert found([GOOD] * 300, Stability.GROWING, last=True) is Verdict.FAIL
    assert found([GOOD] * 300, Stability.SUSPECT) is None
    assert found([GOOD] * 300, Stability.SUSPECT, last=True) is Verdict.INCONCLUSIVE
    assert found([MISS] * 300, Stability.SUSPECT) is Verdict.FAIL


def test_misses_that_come_together_are_worth_less() -> None:
    spread, together = np.full(2000, GOOD), np.full(2000, GOOD)
    spread[::40] = MISS
    together[500:550] = MISS
    one, other = share_bounds(spread, TARGET), share_bounds(together, TARGET)
    assert one is not None
    assert other is not None
    assert one.share == other.share == 0.975
    assert one.low > TARGET > other.low
    assert one.independent > 10 * other.independent


def test_a_miss_by_failure_has_no_figure_and_counts_all_the_same() -> None:
    bounds = share_bounds(np.array([GOOD, np.inf, GOOD, MISS]), TARGET)
    assert bounds is not None
    assert bounds.share == 0.5


def test_the_ends_of_none_and_of_all_are_exact() -> None:
    none, every = share_bounds(np.full(43, MISS), TARGET), share_bounds(np.full(43, GOOD), TARGET)
    assert none is not None
    assert every is not None
    assert (none.low, every.high) == (0.0, 1.0)
