"""Which requests of a trace are replayed and when: windows, samples, speeds, ticks."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from tests.prompts.traces import trace_examples as examples
from tokenswarm.metrics.trace_replay import TraceReplay, TraceSpread
from tokenswarm.prompts.traces.replay_plan import ReplayPlan, plan_replay, replay_plan
from tokenswarm.prompts.traces.trace_records import Trace, TraceError, TraceFormat


def trace_of(times_s: list[float], sessions: list[int] | None = None, *, has_times: bool = True) -> Trace:
    number = len(times_s)
    return Trace(
        "t",
        TraceFormat.MOONCAKE,
        np.array(times_s, dtype=float),
        np.arange(1, number + 1),
        np.arange(101, number + 101),
        np.array(sessions if sessions else [-1] * number),
        (),
        0,
        has_times,
        number,
        {},
        "0",
    )


def plan(times_s: list[float], sessions: list[int] | None = None, **options: object) -> ReplayPlan:
    return plan_replay(trace_of(times_s, sessions), TraceReplay("t", **options))  # type: ignore[arg-type]


def test_requests_are_due_when_they_were_recorded() -> None:
    found = plan([0, 1, 1, 6])
    assert found.times_s.tolist() == [0, 1, 1, 6]
    assert found.duration_s == 8  # the last request is followed by a gap of the mean length
    assert found.input_tokens.tolist() == [1, 2, 3, 4]
    assert found.output_tokens.tolist() == [101, 102, 103, 104]


def test_speed_divides_all_times() -> None:
    found = plan([0, 1, 1, 6], speed=4)
    assert (found.times_s.tolist(), found.duration_s) == ([0, 0.25, 0.25, 1.5], 2)


def test_a_rate_is_the_mean_of_the_replay() -> None:
    found = plan([0, 1, 1, 6], rate=8)
    assert found.duration_s == pytest.approx(4 / 8)
    assert found.times_s.tolist() == pytest.approx([0, 1 / 16, 1 / 16, 6 / 16])
    assert found.speed == pytest.approx(16)


def test_a_window_is_of_the_recorded_time() -> None:
    found = plan([0, 10, 12, 20, 25], from_s=10, until_s=20, speed=2)
    assert found.places.tolist() == [1, 2]
    assert (found.times_s.tolist(), found.duration_s) == ([0, 1], 5)
    assert plan([0, 10, 12, 20, 25], from_s=11).places.tolist() == [2, 3, 4]
    with pytest.raises(TraceError, match=r"--trace-window holds no request: those of t arrive within 25s"):
        plan([0, 10, 12, 20, 25], from_s=13, until_s=20)


def test_a_sample_has_whole_sessions() -> None:
    sessions = [number % 200 if number % 3 else -1 for number in range(3000)]
    times_s = [float(number) for number in range(3000)]
    tenth, fifth = (plan(times_s, sessions, sample=share, seed=3) for share in (0.1, 0.2))
    known = {session for session in sessions if session >= 0}
    for found, share in ((tenth, 0.1), (fifth, 0.2)):
        kept = set(found.sessions.tolist()) - {-1}
        for session in kept:
            assert sessions.count(session) == found.sessions.tolist().count(session)
        alone = found.sessions.tolist().count(-1)
        assert len(kept) + alone == round(share * (len(known) + sessions.count(-1)))
    assert set(tenth.places.tolist()) < set(fifth.places.tolist())
    assert plan(times_s, sessions, sample=0.1, seed=3).places.tolist() == tenth.places.tolist()
    assert plan(times_s, sessions, sample=0.1, seed=4).places.tolist() != tenth.places.tolist()


def ticks_of(seed: int = 1, ticks: int = 400) -> list[float]:
    """Times as Mooncake has them: about nine requests every 3 s."""
    counts = np.random.default_rng(seed).poisson(9, ticks)
    return np.repeat(np.arange(ticks) * 3.0, counts).tolist()


def test_requests_of_one_timestamp_are_counted() -> None:
    shared = plan([0, 3, 3, 3, 6, 9, 9]).shared_timestamps
    assert (shared.share, shared.together, shared.tick_s) == (pytest.approx(5 / 7), 2.5, 3)
    assert plan([0, 3, 6]).shared_timestamps.share == 0


@pytest.mark.parametrize(("spread", "cv"), [(TraceSpread.UNIFORM, 0.0), (TraceSpread.POISSON, 1.0)])
def test_ticks_are_spread_with_unchanged_totals(spread: TraceSpread, cv: float) -> None:
    times_s = ticks_of()
    found = plan(times_s, spread=spread)
    assert found.duration_s == 1200
    in_ticks = np.floor(found.times_s / 3).astype(int)
    assert in_ticks.tolist() == [round(time_s / 3) for time_s in times_s]
    gaps = [np.diff(found.times_s[in_ticks == tick]) for tick in np.unique(in_ticks)]
    if not cv:
        assert all(float(np.ptp(each)) < 1e-6 for each in gaps if len(each))
        return
    # Of n + 1 parts of a tick by n random moments, each has a mean of 1 / (n + 1) of it, and a CV of sqrt(n / (n + 2)).
    scaled = [(each * (len(each) + 2) / 3 - 1) * ((len(each) + 3) / (len(each) + 1)) ** 0.5 for each in gaps]
    assert np.concatenate(scaled).std() == pytest.approx(cv, abs=0.05)
    # As a server sees it, ticks and all.
    assert np.diff(found.times_s).std() / np.diff(found.times_s).mean() == pytest.approx(cv, abs=0.05)


def test_a_tick_that_nothing_follows_is_as_long_as_others() -> None:
    found = plan([0, 0, 3, 3, 6, 6, 90, 90, 93, 93], spread=TraceSpread.POISSON)
    assert found.times_s[5] < 9
    assert all(one <= other for one, other in pairwise(found.times_s.tolist()))
    assert found.times_s[-1] < found.duration_s


def test_a_trace_without_times_needs_a_rate() -> None:
    trace = trace_of([0] * 10, has_times=False)
    with pytest.raises(TraceError, match="--trace-rate"):
        plan_replay(trace, TraceReplay("t"))
    found = plan_replay(trace, TraceReplay("t", rate=2))
    assert found.duration_s == 5
    assert np.diff(found.times_s).tolist() == pytest.approx([0.5] * 9)
    random = plan_replay(trace, TraceReplay("t", rate=2, spread=TraceSpread.POISSON))
    assert random.duration_s == 5
    assert len(set(np.diff(random.times_s).round(9).tolist())) == 9


def test_a_plan_is_made_again_where_its_file_has_changed(tmp_path: Path) -> None:
    (file := tmp_path / "trace.jsonl").write_text(examples.MOONCAKE)
    first = replay_plan(TraceReplay(str(file)))
    assert replay_plan(TraceReplay(str(file))) is first
    assert len(first) == 3
    file.write_text(examples.MOONCAKE.splitlines()[0])
    assert len(replay_plan(TraceReplay(str(file)))) == 1
