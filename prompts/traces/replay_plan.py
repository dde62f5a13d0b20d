"""Which requests of a trace are replayed, and when each is due: a pure function of the trace and the options."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, lru_cache
from math import inf
from pathlib import Path

import numpy as np

from tokenswarm.command_line import timespan_text
from tokenswarm.metrics.trace_replay import TraceReplay, TraceSpread
from tokenswarm.prompts.row_formats import RowContent
from tokenswarm.prompts.traces.servegen import dataset_of
from tokenswarm.prompts.traces.servegen_clients import client_files
from tokenswarm.prompts.traces.shared_blocks import SharedBlocks
from tokenswarm.prompts.traces.trace_files import read_trace
from tokenswarm.prompts.traces.trace_records import TRACE, Counts, Times, Trace, TraceError, TraceFormat

#: The shortest gaps between different timestamps are as long as a recorded tick.
_TICK_QUANTILE = 0.05


@dataclass(frozen=True, slots=True)
class SharedTimestamps:
    """Of the requests of a replay, as recorded. share: of them that have a timestamp with others, 0 to 1; together: how
    many these have in the mean; tick_s: the time from one timestamp to the next, about."""

    share: float
    together: float
    tick_s: float


@dataclass(frozen=True, eq=False)
class ReplayPlan:
    """The requests of a replay by their number from 0, in the order in which they are due. times_s: from its beginning;
    duration_s: how long it takes; places: of each request, its place in the trace. speed: how many times as fast as
    recorded it is."""

    trace: Trace
    places: Counts
    times_s: Times
    duration_s: float
    speed: float
    shared_timestamps: SharedTimestamps

    def __len__(self) -> int:
        return len(self.places)

    @property
    def input_tokens(self) -> Counts:
        """Of each request."""
        return self.trace.input_tokens[self.places]

    @property
    def output_tokens(self) -> Counts:
        """Of each request; 0 where the trace does not say."""
        return self.trace.output_tokens[self.places]

    @property
    def sessions(self) -> Counts:
        """The number of each request's session, -1 for none."""
        return self.trace.sessions[self.places]

    @cached_property
    def shared_blocks(self) -> SharedBlocks | None:
        """Which beginnings the prompts share; None where the trace has no hash ids."""
        if not self.trace.block_tokens:
            return None
        tokens = self.input_tokens.tolist()
        return SharedBlocks(
            [(self.hash_ids(number), each) for number, each in enumerate(tokens)], self.trace.block_tokens
        )

    def content(self, number: int) -> RowContent | None:
        """What the request of this number says and sets for its body; None where that was not recorded."""
        return self.trace.contents.get(int(self.places[number]))

    def hash_ids(self, number: int) -> Sequence[int]:
        """Of the blocks that the prompt of the request of this number begins with."""
        return self.trace.hash_ids[self.places[number]] if self.trace.hash_ids else ()


def replay_plan(replay: TraceReplay) -> ReplayPlan:
    """The plan, kept from run to run of one process while its file stays the same. Raises TraceError."""
    return _plan_of(replay, _version_of(replay.path))


@lru_cache(maxsize=2)
def _plan_of(replay: TraceReplay, _version: object) -> ReplayPlan:
    window_s = (replay.from_s, inf if replay.until_s is None else replay.until_s)
    return plan_replay(_trace_of(replay.path, replay.format, replay.skips_bad, replay.seed, window_s, _version), replay)


@lru_cache(maxsize=2)
def _trace_of(
    path: str, kind: str, skips_bad: bool, seed: int, window_s: tuple[float, float], _version: object
) -> Trace:
    return read_trace(path, TraceFormat(kind), skip_bad=skips_bad, seed=seed, window_s=window_s)


def _version_of(path: str) -> object:
    """Changes with the file, and with one that belongs to it."""
    found: list[object] = []
    with suppress(OSError, ValueError):
        for file in client_files(Path(path).expanduser()):
            for each in (file, dataset_of(file)):
                with suppress(OSError):
                    about = each.stat()
                    found.append((each.name, about.st_mtime_ns, about.st_size, about.st_ino))
    return tuple(found)


def plan_replay(trace: Trace, replay: TraceReplay) -> ReplayPlan:
    """What the options make of a trace. Raises TraceError."""
    if not trace.has_times and replay.rate is None:
        raise TraceError(
            f"{TRACE} {trace.path}: {trace.format} traces have no times; say how many requests a second to send with "
            "--trace-rate."
        )
    places = _sampled(trace, _in_window(trace, replay), replay)
    times_s = trace.times_s[places] - replay.from_s
    shared = _shared_timestamps(times_s, _tick_s(trace.times_s))
    duration_s = _duration_s(trace, replay, times_s, shared)
    draws = np.random.Generator(np.random.PCG64([replay.seed, 1]))
    if trace.has_times:
        times_s = _spread(times_s, replay.spread, min(shared.tick_s, duration_s), duration_s, draws)
    else:
        evenly = replay.spread if replay.spread is not TraceSpread.OFF else TraceSpread.UNIFORM
        times_s = _spread(times_s, evenly, duration_s, duration_s, draws)
    speed = replay.speed if replay.rate is None else replay.rate * duration_s / len(places)
    return ReplayPlan(trace, places, times_s / speed, duration_s / speed, speed, shared)


def _in_window(trace: Trace, replay: TraceReplay) -> Counts:
    first = np.searchsorted(trace.times_s, replay.from_s, side="left")
    end = len(trace.times_s)
    if replay.until_s is not None:
        end = int(np.searchsorted(trace.times_s, replay.until_s, side="left"))
    if first >= end:
        lasts_s = float(trace.times_s[-1]) if trace.span_s is None else trace.span_s
        raise TraceError(
            f"--trace-window holds no request: those of {trace.path} arrive within {timespan_text(lasts_s)}; give "
            "another part."
        )
    return np.arange(first, end)


def _sampled(trace: Trace, places: Counts, replay: TraceReplay) -> Counts:
    """Those of a share of the sessions; a request without one is a session by itself."""
    if replay.sample >= 1:
        return places
    sessions = trace.sessions[places]
    alone = sessions < 0
    keys = np.where(alone, -1 - places, sessions)
    _, of_request = np.unique(keys, return_inverse=True)
    number = int(of_request.max()) + 1
    kept = max(1, round(replay.sample * number))
    order = np.random.Generator(np.random.PCG64([replay.seed, 0])).permutation(number)
    chosen = np.zeros(number, dtype=bool)
    chosen[order[:kept]] = True
    return places[chosen[of_request]]


def _shared_timestamps(times_s: Times, tick_s: float) -> SharedTimestamps:
    _, counts = np.unique(times_s, return_counts=True)
    together = counts[counts > 1]
    mean = float(together.mean()) if len(together) else 1.0
    return SharedTimestamps(float(together.sum()) / len(times_s), mean, tick_s)


def _tick_s(times_s: Times) -> float:
    """Of all of a trace; a second where all have one timestamp."""
    gaps = np.diff(np.unique(times_s)) if len(times_s) else times_s
    return float(np.quantile(gaps, _TICK_QUANTILE, method="lower")) if len(gaps) else 1.0


def _duration_s(trace: Trace, replay: TraceReplay, times_s: Times, shared: SharedTimestamps) -> float:
    """How long the recorded part lasts: its last request is followed by a gap too."""
    if replay.until_s is not None:
        return replay.until_s - replay.from_s
    if not trace.has_times:
        return float(len(times_s))
    last_s = float(times_s[-1])
    if trace.span_s is not None:
        return max(trace.span_s - replay.from_s, float(np.nextafter(last_s, np.inf)))
    return last_s + max(shared.tick_s, last_s / max(1, len(times_s) - 1))


def _spread(times_s: Times, spread: TraceSpread, tick_s: float, end_s: float, draws: np.random.Generator) -> Times:
    """Each request at a moment of its own within its tick, which ends with the next timestamp at the latest."""
    if spread is TraceSpread.OFF:
        return times_s
    different, begins, counts = np.unique(times_s, return_index=True, return_counts=True)
    lengths = np.minimum(tick_s, np.diff(different, append=end_s))
    if spread is TraceSpread.POISSON:
        shares = draws.random(len(times_s))
    else:
        shares = (np.arange(len(times_s)) - np.repeat(begins, counts) + 0.5) / np.repeat(counts, counts)
    moved = times_s + shares * np.repeat(lengths, counts)
    # A float may round up to the next timestamp.
    return np.sort(np.minimum(moved, np.nextafter(np.repeat(different + lengths, counts), -np.inf)))
