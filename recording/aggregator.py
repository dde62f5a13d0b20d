"""A run's books: every ended request once, by level and part, and by window. One set of numbers, read by every sink."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import reduce
from math import ceil, floor, inf

from metrics.concurrency import Concurrency, concurrency_of
from metrics.health import CoreUse, SelfCheck, WorkerHealth
from metrics.histogram import Histogram
from metrics.objectives import Objectives
from metrics.prompts_sent import PromptStats, SentPrompts
from metrics.records import Report, ReportError, RequestRow
from metrics.stage import PARTS_OF_REQUEST, Part, Phase, Place, Stage
from metrics.timeline import Outcome

#: Length of a window of windows.csv.
WINDOW_S = 5.0
RATE_UNIT = 1e-3
#: Workers report every 3 s: what happened so long ago is known.
_REPORTED_AFTER_S = 5.0
#: A rest shorter than this is no window of its own.
_SHORTEST_WINDOW_S = 1e-3


@dataclass(slots=True)
class PartBooks:
    """Counts and histograms of one part of a level. Latencies are of requests that were ok and were sent in the part;
    tokens are those that arrived in it, whenever their request was sent."""

    requests: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    token_sources: Counter[str] = field(default_factory=Counter)
    stamps: Counter[str] = field(default_factory=Counter)
    reads: int = 0
    reads_with_kernel_time: int = 0
    requests_with_gaps: int = 0
    output_tokens: float = 0.0
    good_output_tokens: float = 0.0
    requests_within_objectives: int = 0
    tokens_within_objectives: float = 0.0
    ttft_s: Histogram = field(default_factory=Histogram)
    ttft_uncertainty_s: Histogram = field(default_factory=Histogram)
    requests_with_uncertain_ttft: int = 0
    retries: int = 0
    ttfvt_s: Histogram = field(default_factory=Histogram)
    tpot_s: Histogram = field(default_factory=Histogram)
    gap_s: Histogram = field(default_factory=Histogram)
    e2e_s: Histogram = field(default_factory=Histogram)
    request_token_rate: Histogram = field(default_factory=lambda: Histogram(RATE_UNIT))
    connect_s: Histogram = field(default_factory=Histogram)
    client_delay_s: Histogram = field(default_factory=Histogram)
    loop_lag_s: Histogram = field(default_factory=Histogram)
    prompts: PromptStats = field(default_factory=PromptStats)
    requests_with_rejected_usage: int = 0
    requests_without_tpot: int = 0

    def add(self, row: RequestRow, within_objectives: bool) -> None:
        """Count a request that was sent in this part; within_objectives: whether it met them all."""
        self.requests += 1
        self.outcomes[row.outcome] += 1
        self.retries += row.retries
        if row.outcome is not Outcome.OK:
            return
        self.token_sources[row.output_tokens_source] += 1
        self.stamps[row.stamps] += 1
        self.reads += row.reads
        self.reads_with_kernel_time += row.reads_with_kernel_time
        self.requests_with_gaps += row.gaps_measured
        self.requests_with_uncertain_ttft += bool(row.ttft_uncertainty_ns)
        self.requests_with_rejected_usage += row.output_tokens_rejected is not None
        self.requests_without_tpot += row.output_tokens > 1 and row.tpot_ns is None
        if within_objectives:
            self.requests_within_objectives += 1
        for histogram, duration_ns in (
            (self.ttft_s, row.ttft_ns),
            (self.ttft_uncertainty_s, row.ttft_uncertainty_ns),
            (self.ttfvt_s, row.ttfvt_ns),
            (self.tpot_s, row.tpot_ns),
            (self.e2e_s, row.e2e_ns),
        ):
            if duration_ns is not None:
                histogram.record(round(duration_ns / 1000))
        if row.connect_ns:
            self.connect_s.record(round(row.connect_ns / 1000))
        if row.token_rate is not None:
            self.request_token_rate.record(round(row.token_rate / RATE_UNIT))

    def add_tokens(self, tokens: float, outcome: Outcome, within_objectives: bool) -> None:
        """Count tokens of a request that arrived in this part; within_objectives: whether it met them all."""
        self.output_tokens += tokens
        if not outcome.is_failure:
            self.good_output_tokens += tokens
        if within_objectives:
            self.tokens_within_objectives += tokens


@dataclass(slots=True)
class LevelBooks:
    """One stage of the run. began_s: since the run began; ended_s: when it was over, None while it runs.
    output_tokens: of all its ended requests, whenever their tokens arrived. user_seconds: seconds that users were
    there, all users added up, by second of the stage. stopped_s: when the run was told to stop while this stage ran,
    None where it was not; interrupted: before the plan was done. Of the requests sent in the hold, cut_in_drain were
    cut in the drain, cut_by_timeout of them when the drain timeout was over."""

    stage: Stage
    began_s: float
    ended_s: float | None = None
    output_tokens: int = 0
    user_seconds: dict[int, float] = field(default_factory=dict)
    stopped_s: float | None = None
    interrupted: bool = False
    cut_in_drain: int = 0
    cut_by_timeout: int = 0
    parts: dict[Part, PartBooks] = field(default_factory=lambda: {part: PartBooks() for part in Part})

    def seconds(self, part: Part, now_s: float) -> float:
        """How long the part lasted, or has lasted by now if the level is not over."""
        elapsed_s = (now_s if self.ended_s is None else self.ended_s) - self.began_s
        if self.stage.level_time_s is not None:
            elapsed_s = min(elapsed_s, self.stage.level_time_s)
        return max(0.0, elapsed_s - self.stage.ramp_s) if part is Part.HOLD else elapsed_s

    def users_between(self, start_s: float, end_s: float) -> float:
        """Mean of the users that were there between two moments of the stage, the first a whole second."""
        seconds = range(floor(start_s), ceil(end_s - _SHORTEST_WINDOW_S))
        return sum(self.user_seconds.get(second, 0.0) for second in seconds) / (end_s - start_s)

    def hold_s(self, until_s: float) -> tuple[float, float]:
        """When the hold begins and ends, since the stage began, as far as it lies before until_s of the run."""
        ends_s = [end_s - self.began_s for end_s in (self.ended_s, self.stopped_s, until_s) if end_s is not None]
        level_time_s = inf if self.stage.level_time_s is None else self.stage.level_time_s
        return self.stage.ramp_s, min(level_time_s, *ends_s)

    @property
    def complete(self) -> bool:
        """Whether the level lasted as long as it should have, and no interruption cut requests of its hold."""
        if self.ended_s is None or self.stage.level_time_s is None:
            return self.ended_s is not None
        if self.interrupted and self.cut_in_drain > self.cut_by_timeout:
            return False
        return self.ended_s - self.began_s >= self.stage.level_time_s


@dataclass(slots=True)
class WindowBooks:
    """Five seconds of a stage. users and in_flight as they were at its end."""

    users: int = 0
    in_flight: int = 0
    requests_sent: int = 0
    requests_ended: int = 0
    failures: int = 0
    output_tokens: float = 0.0
    ttfts_ns: array[int] = field(default_factory=lambda: array("q"))

    def add(self, other: WindowBooks) -> None:
        """Count another window's requests and tokens in this one."""
        self.requests_sent += other.requests_sent
        self.requests_ended += other.requests_ended
        self.failures += other.failures
        self.output_tokens += other.output_tokens
        self.ttfts_ns.extend(other.ttfts_ns)


@dataclass(slots=True)
class WorkerBooks:
    """What one worker said last, and how it fared so far. latest_use: of the core, in its last report; self_check: None
    where none was made."""

    reports: int = 0
    fired: int = 0
    in_flight: int = 0
    output_events: int = 0
    reads: int = 0
    reads_with_kernel_time: int = 0
    self_check: SelfCheck | None = None
    loop_lag_s: Histogram = field(default_factory=Histogram)
    client_delay_s: Histogram = field(default_factory=Histogram)
    core_use: dict[Place, CoreUse] = field(default_factory=dict)
    latest_use: CoreUse = field(default_factory=CoreUse)

    def add_health(self, health: WorkerHealth) -> None:
        """How it fared since its last report."""
        for lag in health.loop_lag.values():
            self.loop_lag_s.add(lag)
        for place, use in health.core_use.items():
            self.core_use[place] = self.core_use.get(place, CoreUse()).plus(use)
        if health.core_use:
            self.latest_use = _sum_of(health.core_use.values())

    @property
    def whole_use(self) -> CoreUse:
        """Of the core, over the run."""
        return _sum_of(self.core_use.values())


def _sum_of(uses: Iterable[CoreUse]) -> CoreUse:
    return reduce(CoreUse.plus, uses, CoreUse())


class Ledger:
    """Takes stages and reports, keeps the books. Pure: its times are the run's, given by the caller."""

    def __init__(self, objectives: Objectives, drain_s: float = 0.0) -> None:
        """drain_s: how long streams may go on after their level; the drain timeout."""
        self.objectives = objectives
        self.drain_s = drain_s
        self.closed = False
        self._observed_s = 0.0
        self.levels: dict[int, LevelBooks] = {}
        self.windows: dict[tuple[int, int], WindowBooks] = {}
        self.workers: dict[int, WorkerBooks] = {}
        self.recorded = 0
        self.failures = 0
        self.output_tokens = 0
        self.output_events = 0
        self.prompts = SentPrompts()

    def begin_stage(self, stage: Stage, now_s: float) -> None:
        """The next level begins; the one before is over."""
        self.end_stage(now_s)
        self.levels[stage.stage] = LevelBooks(stage, now_s)

    def enter_self_check(self, worker: int, check: SelfCheck) -> None:
        """What a worker found out about itself before the load."""
        self.workers.setdefault(worker, WorkerBooks()).self_check = check

    def close(self, now_s: float) -> None:
        """The run is over: every report that will come has been entered."""
        self.end_stage(now_s)
        self.closed = True

    @property
    def reported_until_s(self) -> float:
        """Until when all workers should have reported what happened, in the run's time."""
        return inf if self.closed else self._observed_s - _REPORTED_AFTER_S

    def concurrency(self, level: LevelBooks) -> Concurrency | None:
        """Requested against actual users in a level's hold, as far as it is reported so far. None where no whole second
        of it is, or where no process reports its users."""
        if not any(each.user_seconds for each in self.levels.values()):
            return None
        return concurrency_of(level.user_seconds, level.stage.users, *level.hold_s(self.reported_until_s))

    @property
    def users_of_late(self) -> float | None:
        """Mean of the users that were there in the latest five seconds of the running level that are reported; None
        before there are any."""
        if (level := self.running_level) is None:
            return None
        until_s = floor(self.reported_until_s - level.began_s) if not self.closed else 0
        return level.users_between(max(0, until_s - 5), until_s) if until_s > 0 else None

    def end_stage(self, now_s: float) -> None:
        """The running level, if there is one, is over."""
        if (level := self.running_level) is not None:
            level.ended_s = now_s

    def stop(self, now_s: float, *, interrupted: bool) -> None:
        """The run is told to stop now; interrupted: before its plan was done."""
        if (level := self.running_level) is not None and level.stopped_s is None:
            level.stopped_s, level.interrupted = now_s, interrupted

    @property
    def running_level(self) -> LevelBooks | None:
        level = next(reversed(self.levels.values()), None)
        return level if level is not None and level.ended_s is None else None

    @property
    def fired(self) -> int:
        """Requests that ended on the workers, by their own count."""
        return sum(worker.fired for worker in self.workers.values())

    @property
    def in_flight(self) -> int:
        return sum(worker.in_flight for worker in self.workers.values())

    @property
    def arrived_events(self) -> int:
        """Events with output so far, those of running requests included."""
        return sum(worker.output_events for worker in self.workers.values())

    @property
    def balanced(self) -> bool:
        """Whether every request that ended anywhere is in the books. One that was under way when its worker was last
        heard of is not: at a run's end nothing is under way."""
        return self.fired == self.recorded and not self.in_flight

    def apply(self, report: Report) -> bool:
        """Enter a report. One that was entered before is ignored, and False comes back. Raises ReportError, having
        entered nothing, for one that does not follow the last or speaks of a stage that never was."""
        if not self._is_next(report):
            return False
        worker = self.workers.setdefault(report.worker, WorkerBooks())
        worker.reports = report.number
        worker.fired = report.fired
        worker.in_flight = report.in_flight
        worker.output_events = report.output_events
        for row in report.rows:
            self._enter(row)
            worker.reads += row.reads
            worker.reads_with_kernel_time += row.reads_with_kernel_time
        for place, tokens in report.tokens_by_window.items():
            self.windows.setdefault(place, WindowBooks()).output_tokens += tokens
        for (stage, second), users in report.user_seconds.items():
            seconds = self.levels[stage].user_seconds
            seconds[second] = seconds.get(second, 0.0) + users
        self._enter_histograms(worker, report)
        worker.add_health(report.health)
        return True

    def _enter_histograms(self, worker: WorkerBooks, report: Report) -> None:
        for (stage, phase), histogram in report.gaps.items():
            for part in PARTS_OF_REQUEST[phase]:
                self.levels[stage].parts[part].gap_s.add(histogram)
        for (stage, phase), histogram in report.delays.items():
            worker.client_delay_s.add(histogram)
            for part in PARTS_OF_REQUEST[phase]:
                self.levels[stage].parts[part].client_delay_s.add(histogram)
        for (stage, phase), histogram in report.health.loop_lag.items():
            for part in PARTS_OF_REQUEST[phase]:
                self.levels[stage].parts[part].loop_lag_s.add(histogram)

    def _is_next(self, report: Report) -> bool:
        known = self.workers.get(report.worker)
        entered = known.reports if known else 0
        if report.number <= entered:
            return False
        if report.number != entered + 1:
            raise ReportError(f"report {report.number} came after report {entered}")
        if unknown := report.stages - self.levels.keys():
            raise ReportError(f"it speaks of stage {min(unknown)}, which never began")
        return True

    def observe(self, users: int, now_s: float) -> None:
        """Note the state of things in the window that `now_s` lies in."""
        self._observed_s = now_s
        if (level := self.running_level) is not None:
            window = self._window(level, now_s)
            window.users = users
            window.in_flight = self.in_flight

    def windows_of(self, level: LevelBooks, now_s: float) -> list[WindowBooks]:
        """A level's windows in order, without a hole. What lies behind the last edge belongs to the last window: the
        level's end and the last arrival are read one after the other."""
        over_s = now_s if level.ended_s is None else level.ended_s
        count = max(1, ceil((over_s - level.began_s - _SHORTEST_WINDOW_S) / WINDOW_S))
        stage = level.stage.stage
        windows = [self.windows.get((stage, number)) or WindowBooks() for number in range(count)]
        behind = [number for of, number in self.windows if of == stage and number >= count]
        if behind:
            last = replace(windows[-1], ttfts_ns=windows[-1].ttfts_ns[:])
            for number in behind:
                last.add(self.windows[stage, number])
            windows[-1] = last
        return windows

    def _enter(self, row: RequestRow) -> None:
        self.recorded += 1
        failed = row.outcome.is_failure
        self.failures += failed
        self.output_tokens += row.output_tokens
        self.output_events += row.output_events
        level = self.levels[row.stage]
        level.output_tokens += row.output_tokens
        if row.outcome is Outcome.CUT and row.phase is Phase.HOLD:
            self._enter_cut(level, row.ended_ns / 1e9 - level.began_s)
        within = bool(self.objectives.bounds) and self.objectives.met(row)
        for part, tokens in row.tokens_by_part.items():
            level.parts[part].add_tokens(tokens, row.outcome, within)
        repeated = self.prompts.enter(row)
        for part in PARTS_OF_REQUEST[row.phase]:
            level.parts[part].add(row, within)
            level.parts[part].prompts.add(row, repeated)
        sent = self._window(level, row.sent_ns / 1e9)
        sent.requests_sent += 1
        if row.outcome == Outcome.OK and row.ttft_ns is not None:
            sent.ttfts_ns.append(row.ttft_ns)
        ended = self._window(level, row.ended_ns / 1e9)
        ended.requests_ended += 1
        ended.failures += failed

    def _enter_cut(self, level: LevelBooks, elapsed_s: float) -> None:
        """A request sent in the hold was cut so long after its level began: by the drain timeout, by an interruption,
        or because its worker left."""
        level_time_s = level.stage.level_time_s
        if level_time_s is None or elapsed_s < level_time_s:
            return
        level.cut_in_drain += 1
        level.cut_by_timeout += elapsed_s >= level_time_s + self.drain_s

    def _window(self, level: LevelBooks, when_s: float) -> WindowBooks:
        number = max(0, int((when_s - level.began_s) / WINDOW_S))
        place = (level.stage.stage, number)
        if (window := self.windows.get(place)) is None:
            window = self.windows[place] = WindowBooks()
        return window
