"""Requested against measured load of a level that is over."""

from __future__ import annotations

from collections.abc import Iterator
from math import sqrt

import numpy as np

from tokenswarm.metrics.concurrency import Concurrency
from tokenswarm.metrics.gap_audit import LEAST_CHANCE, counts_per_bin, dispersion, gap_fit
from tokenswarm.metrics.intervals import Series
from tokenswarm.metrics.level import Scope
from tokenswarm.recording.aggregator import LevelStats
from tokenswarm.recording.sent_times import Block, SentTimes
from tokenswarm.run_folder.load_audit import GapAudit, LoadAudit
from tokenswarm.shapes.arrival_notation import ArrivalsError
from tokenswarm.shapes.level_arrivals import ArrivalLaw, arrival_law, schedule_of

#: A rate may differ from the requested one by so many standard deviations of its process, and by this share.
_DEVIATIONS = 3.0
_RATE_SHARE = 0.01
#: Gaps may differ by this, and by this share of the median TTFT: as the lag may.
_TOLERANCE_S = 0.001
_TOLERANCE_SHARE = 0.05


def load_audit(level: LevelStats, until_s: float, concurrency: Concurrency | None) -> LoadAudit | None:
    """Of the hold as far as it lies before until_s of the run. None while the level runs, and where nothing is known.
    concurrency: of a closed loop."""
    if level.level.arrivals is not None:
        return _of_open_loop(level, until_s)
    if concurrency is None or level.ended_s is None:
        return None
    return LoadAudit(
        unit="users",
        requested=concurrency.requested,
        measured=round(concurrency.mean, 4),
        measured_min=round(concurrency.min, 4),
        as_requested=concurrency.as_requested,
    )


def _of_open_loop(level: LevelStats, until_s: float) -> LoadAudit | None:
    """It is kept until further requests are counted: verdicts are made again and again."""
    hold, arrivals = level.scopes[Scope.HOLD], level.level.arrivals
    _, end_s = level.hold_s(until_s)
    if level.ended_s is None or end_s <= 0 or arrivals is None or arrivals.at_once or level.due is None:
        return None
    sent = level.arrived
    if level.audited is not None and level.audited[0] == hold.requests:
        return level.audited[1]
    try:
        law = arrival_law(level.level)
    except ArrivalsError:
        return None
    expected = law.rates.expected(end_s)
    if arrivals.file_sha256:  # a part of its times need not have the mean rate of all
        expected = level.due.before(end_s) or 0
    allowed = _DEVIATIONS * sqrt(law.gap_variance * expected) + _RATE_SHARE * expected + 1
    lag_p50_s, lag_p99_s = hold.lag_s.values_at((0.5, 0.99)) or (None, None)
    audit = LoadAudit(
        unit="sessions/s" if arrivals.sessions else "requests/s",
        requested=expected / end_s,
        measured=sent / end_s,
        as_requested=abs(sent - expected) <= allowed,
        lag_p50_s=lag_p50_s,
        lag_p99_s=lag_p99_s,
        lag_max_s=hold.lag_s.maximum,
        gaps=_gap_audit(level, law, end_s) if level.sent_times else None,
    )
    level.audited = hold.requests, audit
    return audit


def _gap_audit(level: LevelStats, law: ArrivalLaw, end_s: float) -> GapAudit | None:
    assert level.sent_times is not None and level.level.arrivals is not None
    (median_s,) = level.scopes[Scope.HOLD].ttft_s.values_at((0.5,)) or (0.0,)
    tolerance_s = max(_TOLERANCE_S, _TOLERANCE_SHARE * median_s)
    blocks = list(level.sent_times.blocks(end_s))
    if not blocks:
        return None
    operational = [law.rates.expected_of(block.times_s) for block in blocks]
    gaps = np.concatenate([np.diff(times) for times in operational])
    tolerances = np.concatenate([tolerance_s * law.rates.rate_at(block.times_s[1:]) for block in blocks])
    exact, tolerant = gap_fit(gaps, law.gaps_below), gap_fit(gaps, law.gaps_below, tolerances)
    if exact is None or tolerant is None:
        return None
    has_distribution = law.gap_variance > 0
    return GapAudit(
        process=level.level.arrivals.process,
        gaps=exact.gaps,
        distance=exact.distance if has_distribution else None,
        chance=exact.chance if has_distribution else None,
        tolerance_s=tolerance_s,
        distance_tolerated=tolerant.distance,
        chance_tolerated=tolerant.chance,
        dispersion=_dispersion(law, blocks, [block.times_s for block in blocks]),
        dispersion_requested=_dispersion(law, blocks, _due_in(level, level.sent_times, blocks)),
        as_requested=tolerant.chance >= LEAST_CHANCE if tolerant.is_enough else None,
    )


def _dispersion(law: ArrivalLaw, blocks: list[Block], times_s: list[Series]) -> float | None:
    """times_s: of each block, in order."""
    counts = []
    for block, times in zip(blocks, times_s, strict=True):
        from_time, until_time = law.rates.expected_of(np.array([block.from_s, block.until_s])).tolist()
        counts.append(counts_per_bin(law.rates.expected_of(times), from_time, until_time))
    return dispersion(np.concatenate(counts))


def _due_in(level: LevelStats, kept: SentTimes, blocks: list[Block]) -> list[Series]:
    """The times at which requests were due, of each block."""
    due_s = np.concatenate([np.empty(0), *_due_before(level, kept, blocks[-1].until_s)])
    edges = [np.searchsorted(due_s, (block.from_s, block.until_s)) for block in blocks]
    return [due_s[first:behind] for first, behind in edges]


def _due_before(level: LevelStats, kept: SentTimes, until_s: float) -> Iterator[Series]:
    for times_s in schedule_of(level.level).blocks():
        yield times_s[kept.keeps(times_s)]
        if times_s[-1] >= until_s:
            return
