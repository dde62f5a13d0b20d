"""Runs in virtual time, held in memory: what a server would do, requests in bursts, and no two runs quite the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from tests.reports.conftest import distribution, figures, level, run_json, summary_json
from tokenswarm.reports.stats.estimates import RunData
from tokenswarm.run_folder.csv_reader import Requests, Windows
from tokenswarm.run_folder.reader import Results
from tokenswarm.run_folder.schema import RunDocument, Summary

USERS = (10, 50)
REQUESTS, WINDOWS, RAMP_WINDOWS = 400, 56, 4
STAGE_S, RAMP_S, WINDOW_S, TOKENS = 320.0, 20.0, 5.0, 101
#: How much a request's latency tells of the next one's, and a window's rate of the next.
CORRELATION = 0.5

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class SimulatedServer:
    """How a server is, and how much it varies: slowness scales times up and rates down; run_variation is the standard
    deviation of a figure from run to run, half of its variance shared by all figures of a run."""

    slowness: float = 1.0
    run_variation: float = 0.0
    failures: float = 0.01


class SimulatedRun(RunData):
    """A run whose journals are not on a disk."""

    def __init__(self, results: Results, requests: Requests, windows: Windows) -> None:
        super().__init__(results)
        self.__dict__ |= {"requests": requests, "windows": windows}  # in place of the cached properties


def simulate_run(server: SimulatedServer, random: np.random.Generator) -> SimulatedRun:
    """Two levels, some five minutes each."""
    own = server.run_variation / np.sqrt(2)
    of_run = random.normal(0, own)
    levels, requests, windows = [], [], []
    for stage, users in enumerate(USERS):
        effects = np.exp(of_run + random.normal(0, own, 3)) * server.slowness
        ttft_s = 0.2 * effects[0] * np.exp(0.4 * _bursts(random, REQUESTS))
        tpot_s = 0.02 * effects[1] * (1 + 0.05 * _bursts(random, REQUESTS))
        rates = 3000.0 / effects[2] * (1 + 0.03 * _bursts(random, WINDOWS))
        ok = random.random(REQUESTS) >= server.failures
        levels.append(_level(stage, users, ttft_s[ok], tpot_s[ok], rates, int((~ok).sum())))
        requests.append((stage, users, ttft_s, tpot_s, ok))
        windows.append((stage, rates))
    run = msgspec.convert(run_json(levels), RunDocument)
    summary = msgspec.convert(summary_json(levels), Summary)
    return SimulatedRun(Results(Path("simulated"), run, summary), _requests(requests), _windows(windows))


def _bursts(random: np.random.Generator, n: int) -> Floats:
    """Standard normal values, each correlated with the one before."""
    noise = random.standard_normal(n) * np.sqrt(1 - CORRELATION**2)
    noise[0] /= np.sqrt(1 - CORRELATION**2)
    # A filter of one pole, its first 40 terms: the rest are below 1e-12.
    return np.convolve(noise, CORRELATION ** np.arange(40))[:n]


def _level(stage: int, users: int, ttft_s: Floats, tpot_s: Floats, rates: Floats, failures: int) -> dict[str, object]:
    outcomes = {"ok": len(ttft_s), "timeout": failures}
    hold = figures(users, outcomes=outcomes, token_rate=float(rates.mean()))
    for name, values in (("ttft_s", ttft_s), ("tpot_s", tpot_s), ("request_token_rate", 1 / tpot_s)):
        p50, p95, p99 = (float(value) for value in np.quantile(values, [0.5, 0.95, 0.99], method="inverted_cdf"))
        hold[name] = distribution(p50, p95, p99, len(values)) | {"mean": float(values.mean())}
    return level(stage, users) | {"hold": hold, "whole": hold}


def _requests(levels: Sequence[tuple[int, int, Floats, Floats, NDArray[np.bool_]]]) -> Requests:
    sent_s = [stage * STAGE_S + RAMP_S + np.linspace(0, 279, REQUESTS) for stage, *_ in levels]
    ttft_s, tpot_s, ok = (np.concatenate([one[place] for one in levels]) for place in (2, 3, 4))
    return Requests(
        level_index=np.repeat(np.arange(len(levels), dtype=np.int32), REQUESTS),
        user=np.concatenate([np.arange(REQUESTS, dtype=np.int32) % users for _, users, *_ in levels]),
        hold=np.ones(len(ok), dtype=np.bool_),
        ok=ok,
        failed=~ok,
        sent_s=np.concatenate(sent_s),
        abandons=np.zeros(len(ok), dtype=np.bool_),
        figures={"ttft": ttft_s, "tpot": tpot_s, "e2e": ttft_s + (TOKENS - 1) * tpot_s},
    )


def _windows(levels: Sequence[tuple[int, Floats]]) -> Windows:
    count = RAMP_WINDOWS + WINDOWS
    starts = np.concatenate([stage * STAGE_S + WINDOW_S * np.arange(count) for stage, _ in levels])
    rates = [np.concatenate([np.zeros(RAMP_WINDOWS), rates]) for _, rates in levels]
    return Windows(
        np.repeat(np.arange(len(levels), dtype=np.int32), count), starts, starts + WINDOW_S, np.concatenate(rates)
    )
