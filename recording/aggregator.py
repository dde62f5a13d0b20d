"""A run's statistics: every ended request once, by level and scope, and by window. All sinks read these numbers."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass, field, replace
from math import ceil, floor, inf

from tokenswarm.metrics.abandonment import Abandonment
from tokenswarm.metrics.client_health import SelfCheck
from tokenswarm.metrics.concurrency import Concurrency, concurrency_of
from tokenswarm.metrics.level import SCOPES_OF_REQUEST, Level, Phase, Scope
from tokenswarm.metrics.mix import NO_MIX, RunMix
from tokenswarm.metrics.objectives import GOOD_UP_TO, Objectives, score_number, worst_score
from tokenswarm.metrics.think_pauses import ThinkPauses
from tokenswarm.metrics.timeline import Outcome
from tokenswarm.recording.abandon_stats import AbandonStats
from tokenswarm.recording.expected_hits import ExpectedHits
from tokenswarm.recording.mix_stats import MixStats, RunNames
from tokenswarm.recording.probe_requests import ProbeRequests
from tokenswarm.recording.prompts_sent import SentPrompts
from tokenswarm.recording.request_flow import RequestFlow
from tokenswarm.recording.scope_stats import ScopeStats
from tokenswarm.recording.sent_times import SentTimes
from tokenswarm.recording.server_reach import ServerReach
from tokenswarm.recording.session_stats import SessionStats, note_dry
from tokenswarm.recording.task_errors import NO_TASK_ERRORS
from tokenswarm.recording.window_stats import WindowStats
from tokenswarm.recording.worker_report import Report, RequestRow, UnusableReport
from tokenswarm.recording.worker_shares import WorkerShares
from tokenswarm.recording.worker_stats import WorkerStats
from tokenswarm.run_folder.load_audit import LoadAudit
from tokenswarm.run_folder.schema import WINDOW_S
from tokenswarm.shapes.level_arrivals import DueRequests
from tokenswarm.shapes.splits import Splits

#: Workers report every 3 s: what happened so long ago is known.
_REPORTED_AFTER_S = 5.0
#: A rest shorter than this is no window of its own.
_SHORTEST_WINDOW_S = 1e-3


@dataclass(slots=True)
class LevelStats:
    """One level of the run. began_s: since the run began; ended_s: when it was over, None while it runs.
    output_tokens: of all its ended requests, whenever their tokens arrived. user_seconds: seconds that users were
    there, all users added up, by second of the level. stopped_s: when the run was stopped while this level ran,
    None where it was not; interrupted: before the plan was done. Of the requests sent in the hold, cut_in_drain were
    cut in the drain, cut_by_timeout of them when the drain timeout was over. Of an open loop, flow: requests sent
    and ended; due: how many of them its schedule has; splits: which worker sends which arrival, None without workers;
    arrivals_begun: by worker, see Report; sent_times: of its hold; audited: its load, with the number of requests that
    it is known of. think: the pauses between requests of users; sessions: of its requests. arrived: requests of
    an open loop that were due by its schedule and have ended, of sessions the first turns. shares: its ended requests,
    the last of which ended at last_ended_s of the run, and what is not to come of lost workers. reach: whether the
    server answered to the end. mix: by model, host and name, in each scope. left: None where users wait for each
    response. probe: of a probe of a capacity search, its requests."""

    level: Level
    began_s: float
    ended_s: float | None = None
    output_tokens: int = 0
    user_seconds: dict[int, float] = field(default_factory=dict)
    stopped_s: float | None = None
    interrupted: bool = False
    cut_in_drain: int = 0
    cut_by_timeout: int = 0
    flow: RequestFlow = field(default_factory=RequestFlow)
    due: DueRequests | None = None
    sent_times: SentTimes | None = None
    audited: tuple[int, LoadAudit] | None = None
    think: ThinkPauses = field(default_factory=ThinkPauses)
    sessions: SessionStats = field(default_factory=SessionStats)
    arrived: int = 0
    shares: WorkerShares = field(default_factory=WorkerShares)
    failures: int = 0
    last_ended_s: float = 0.0
    reach: ServerReach = field(default_factory=ServerReach)
    splits: Splits | None = None
    arrivals_begun: dict[int, int] = field(default_factory=dict)
    probe: ProbeRequests | None = None
    scopes: dict[Scope, ScopeStats] = field(default_factory=lambda: {scope: ScopeStats() for scope in Scope})
    mix: dict[Scope, MixStats] = field(default_factory=lambda: {scope: MixStats(NO_MIX) for scope in Scope})
    left: AbandonStats | None = None

    @property
    def finished_s(self) -> float | None:
        """When the last of its requests had ended, since the level began; None before, and where no number is set."""
        requests = self.level.requests if self.level.ends_with_requests else None
        return max(0.0, self.last_ended_s - self.began_s) if self.shares.complete(requests) else None

    @property
    def length_s(self) -> float:
        """How long the level lasts, its drain left out; inf where its end is open."""
        return min(s for s in (self.level.level_time_s, self.finished_s, self.sessions.ran_dry_s) if s is not None)

    @property
    def load_s(self) -> float:
        """The same, or less where the run was stopped before: streams may have gone on for longer."""
        return self.length_s if self.stopped_s is None else min(self.length_s, self.stopped_s - self.began_s)

    def phase_at(self, elapsed_s: float) -> Phase:
        """The phase so many seconds after the level began."""
        return self.level.phase_at(elapsed_s) if elapsed_s < self.load_s else Phase.DRAIN

    def seconds(self, part: Scope, now_s: float) -> float:
        """How long the part lasted, or has lasted by now if the level is not over."""
        elapsed_s = (now_s if self.ended_s is None else self.ended_s) - self.began_s
        elapsed_s = max(0.0, min(elapsed_s, self.load_s))  # before an open-loop level's lead is over
        return max(0.0, elapsed_s - self.level.ramp_s) if part is Scope.HOLD else elapsed_s

    def users_between(self, start_s: float, end_s: float) -> float:
        """Mean of the users that were there between two moments of the level, the first a whole second."""
        seconds = range(floor(start_s), ceil(end_s - _SHORTEST_WINDOW_S))
        return sum(self.user_seconds.get(second, 0.0) for second in seconds) / (end_s - start_s)

    def offered_between(self, start_s: float, end_s: float) -> int | None:
        """Requests that were due between two moments of the level by its schedule, none after the level was stopped.
        None in a closed loop, where sessions arrive, and where the file of arrivals is gone."""
        if self.due is None or (self.level.arrivals is not None and self.level.arrivals.sessions):
            return None
        _, over_s = self.hold_s(inf)
        counts = [self.due.before(max(0.0, min(when_s, over_s))) for when_s in (start_s, end_s)]
        return None if counts[0] is None or counts[1] is None else counts[1] - counts[0]

    def hold_s(self, until_s: float) -> tuple[float, float]:
        """When the hold begins and ends, since the level began, as far as it lies before until_s of the run."""
        ended_s = until_s if self.ended_s is None else min(self.ended_s, until_s)
        return self.level.ramp_s, min(self.load_s, ended_s - self.began_s)

    def is_in_open_hold(self, now_s: float) -> bool:
        """Whether the level lasts until the run is stopped, and its ramp is over."""
        return self.level.has_open_end and now_s - self.began_s >= self.level.ramp_s

    def enter_load(self, row: RequestRow) -> None:
        """Count a request that has ended as a part of the level's load: of its arrivals, its users or its sessions."""
        arrivals, of_users = self.level.arrivals, self.level.arrivals is None
        sent_s, ended_s = (when_ns / 1e9 - self.began_s for when_ns in (row.sent_ns, row.ended_ns))
        arrives = row.turn <= 1 and not row.depth
        if self.left is not None:
            self.left.add(row, row.phase is Phase.HOLD)
        if self.sent_times is not None and row.phase is Phase.HOLD and arrives:
            self.sent_times.add(sent_s)
        whose = row.user if of_users else row.session
        if row.agent:  # of a user or a session several may think at once
            whose = f"{row.session}/{row.agent}"
        if of_users or (whose and row.session_turns > 1):
            ready_ns = row.sent_ns - row.connect_ns - (row.join_ns or 0)
            self.think.add(whose, row.think_ns, ready_ns, row.ended_ns)
        session_ended = self.sessions.add(row, row.phase is Phase.HOLD) if row.session else True
        if arrivals is not None:
            self.arrived += arrives and row.phase is Phase.HOLD
            if arrives:
                self.flow.begin(sent_s)
            if session_ended:
                self.flow.end(ended_s, completed=row.outcome is Outcome.OK)
        if (arrivals is not None and session_ended) or (row.agent and row.turn >= row.session_turns):
            self.think.forget(whose)

    def add_cut(self, elapsed_s: float, drain_s: float) -> None:
        """Count a request sent in the hold that was cut so long after the level began: by the drain timeout drain_s, by
        an interruption, or because its worker left."""
        level_time_s = self.level.level_time_s
        if level_time_s is None or elapsed_s < level_time_s:
            return
        self.cut_in_drain += 1
        self.cut_by_timeout += elapsed_s >= level_time_s + drain_s

    @property
    def complete(self) -> bool:
        """Whether its load lasted as long as it should have, and no interruption cut requests of its hold."""
        if self.ended_s is None:
            return False
        if self.level.has_open_end:
            return not self.interrupted
        if self.interrupted and (self.load_s < self.length_s or self.cut_in_drain > self.cut_by_timeout):
            return False
        return self.ended_s - self.began_s >= self.length_s


class Aggregator:
    """Takes levels and reports, keeps the statistics. Pure: its times are the run's, given by the caller."""

    def __init__(
        self,
        objectives: Objectives,
        drain_s: float = 0.0,
        mix: RunMix = NO_MIX,
        abandonment: Abandonment | None = None,
    ) -> None:
        """drain_s: how long streams may go on after their level; the drain timeout. mix: models and hosts that requests
        may be of. abandonment: which of them users leave."""
        self.objectives = objectives
        self.mix = mix
        self._names = RunNames()
        self.abandonment = abandonment
        self.drain_s = drain_s
        #: The pause after each level but a warm-up.
        self.settle_s = 0.0
        self.closed = False
        #: Whether all levels were run.
        self.plan_ended = False
        self._observed_s = 0.0
        self.levels: dict[int, LevelStats] = {}
        self.windows: dict[tuple[int, int], WindowStats] = {}
        self.workers: dict[int, WorkerStats] = {}
        self.recorded = 0
        self.failures = 0
        self.warm_up_failures = 0
        self.output_tokens = 0
        self.output_events = 0
        self.prompts = SentPrompts()
        self.expected_hits = ExpectedHits()
        #: Of tasks of a locustfile's own, as far as they are known.
        self.task_errors = NO_TASK_ERRORS
        #: Why no user of a locustfile's own that streams was there, as a sentence; "" where one was.
        self.why_no_streaming_users = ""

    def begin_level(self, level: Level, now_s: float) -> None:
        """The next level begins, after its lead; the one before is over."""
        before = next(reversed(self.levels.values()), None)
        if level.cache_flushed and not (before and before.level.warm_up):
            self.prompts.flush(level.index)
            self.expected_hits.flush(level.index)
        self.end_level(now_s)
        by_scope = {scope: MixStats(self.mix) for scope in Scope}
        self.levels[level.index] = stats = LevelStats(level, now_s + level.lead_s, mix=by_scope)
        stats.left = AbandonStats(self.abandonment) if self.abandonment else None
        if level.probe:
            stats.probe = ProbeRequests(self.objectives, stats.began_s)
        if level.arrivals is not None:
            stats.due, stats.sent_times = DueRequests(level), SentTimes(level.arrivals.mean_rate)

    def enter_self_check(self, worker: int, check: SelfCheck) -> None:
        """What a worker found out about itself before the load."""
        self.workers.setdefault(worker, WorkerStats()).self_check = check

    def close(self, now_s: float) -> None:
        """The run is over: every report that will come has been entered."""
        self.end_level(now_s)
        self.closed = True

    @property
    def reported_until_s(self) -> float:
        """Until when all workers should have reported what happened, in the run's time."""
        return inf if self.closed else self._observed_s - _REPORTED_AFTER_S

    def concurrency(self, level: LevelStats) -> Concurrency | None:
        """Requested against actual users in a level's hold, as far as it is reported so far. None where no whole second
        of it is, where no process reports its users, in an open loop, and where a locustfile's shape sets them."""
        if level.level.arrivals is not None or level.level.own_shape or not level.user_seconds:
            return None
        return concurrency_of(level.user_seconds, level.level.users, *level.hold_s(self.reported_until_s))

    @property
    def users_of_late(self) -> float | None:
        """Mean of the users that were there in the latest five seconds of the running level that are reported; None
        before there are any."""
        if (level := self.running_level) is None:
            return None
        until_s = floor(self.reported_until_s - level.began_s) if not self.closed else 0
        return level.users_between(max(0, until_s - 5), until_s) if until_s > 0 else None

    def end_level(self, now_s: float) -> None:
        """The running level, if there is one, is over."""
        if (level := self.running_level) is not None:
            level.ended_s = now_s

    def stop(self, now_s: float, *, interrupted: bool) -> None:
        """The run is stopped now; interrupted: before its plan was done."""
        if (level := self.running_level) is not None and level.stopped_s is None:
            level.stopped_s, level.interrupted = now_s, interrupted

    @property
    def running_level(self) -> LevelStats | None:
        level = next(reversed(self.levels.values()), None)
        return level if level is not None and level.ended_s is None else None

    @property
    def ended(self) -> int:
        """Requests that ended on the workers, by their own count."""
        return sum(worker.ended for worker in self.workers.values())

    @property
    def in_flight(self) -> int:
        return sum(worker.in_flight for worker in self.workers.values())

    @property
    def arrived_events(self) -> int:
        """Events with output so far, those of running requests included."""
        return sum(worker.output_events for worker in self.workers.values())

    @property
    def complete(self) -> bool:
        """Whether every request that ended anywhere is counted. One in flight by its worker's last
        report is not: at a run's end nothing is in flight."""
        return self.ended == self.recorded and not self.in_flight

    def apply(self, report: Report) -> bool:
        """Enter a report. One that was entered before is ignored, and False comes back. Raises UnusableReport, having
        entered nothing, for one that does not follow the last, or has data of a level that never began or of a model or
        host that the run does not have."""
        known = self.workers.get(report.worker)
        if not _is_next(report, known.reports if known else 0, self.levels, self.mix):
            return False
        worker = self.workers.setdefault(report.worker, WorkerStats())
        worker.reports = report.number
        worker.ended = report.ended
        worker.in_flight = report.in_flight
        worker.output_events = report.output_events
        for row in report.rows:
            self._enter(row)
            worker.completed += row.outcome is Outcome.OK
            worker.reads += row.reads
            worker.reads_with_kernel_time += row.reads_with_kernel_time
        for place, tokens in report.tokens_by_window.items():
            self.windows.setdefault(place, WindowStats()).output_tokens += tokens
        for (level_index, second), users in report.user_seconds.items():
            seconds = self.levels[level_index].user_seconds
            seconds[second] = seconds.get(second, 0.0) + users
        for level_index, number in report.arrivals_begun.items():
            self.levels[level_index].arrivals_begun[report.worker] = number
        note_dry(self.levels, report.dry_ns)
        if (level := self.running_level) is not None and level.probe is not None:
            level.probe.take_open(report, level.level.index)
        _add_histograms(report, worker, self.levels)
        worker.add_health(report.health)
        return True

    def skip_to(self, worker: int, number: int) -> None:
        """The worker's reports before that number which were not entered are lost: the one of that number is next."""
        stats = self.workers.setdefault(worker, WorkerStats())
        stats.reports = max(stats.reports, number - 1)

    def observe(self, users: int, now_s: float) -> None:
        """Note the state of things in the window that `now_s` lies in."""
        self._observed_s = now_s
        if (level := self.running_level) is not None:
            window = self._window(level, now_s)
            window.users = users
            window.in_flight = self.in_flight

    def windows_of(self, level: LevelStats, now_s: float, first: int = 0) -> list[WindowStats]:
        """A level's windows in order, from number `first` on, without a hole. What lies behind the last edge belongs to
        the last window: the level's end and the last arrival are read one after the other."""
        over_s = now_s if level.ended_s is None else level.ended_s
        count = max(1, ceil((over_s - level.began_s - _SHORTEST_WINDOW_S) / WINDOW_S))
        level_index = level.level.index
        windows = [self.windows.get((level_index, number)) or WindowStats() for number in range(first, count)]
        behind = [number for of, number in self.windows if of == level_index and number >= count]
        if behind and windows:
            last = replace(windows[-1], ttfts_ns=windows[-1].ttfts_ns[:])
            for number in behind:
                last.add(self.windows[level_index, number])
            windows[-1] = last
        return windows

    def _enter(self, row: RequestRow) -> None:
        self.recorded += 1
        level = self.levels[row.level_index]
        failed, warming = row.outcome.is_failure, level.level.warm_up
        self.failures += failed and not warming
        self.warm_up_failures += failed and warming
        level.failures += failed
        self.output_tokens += row.output_tokens
        self.output_events += row.output_events
        level.output_tokens += row.output_tokens
        level.shares.add(row.worker)
        level.reach.add(row)
        level.last_ended_s = max(level.last_ended_s, row.ended_ns / 1e9)
        if row.outcome is Outcome.CUT and row.phase is Phase.HOLD:
            level.add_cut(row.ended_ns / 1e9 - level.began_s, self.drain_s)
        score = score_number(worst_score(self.objectives.scores(row)) if row.outcome is Outcome.OK else inf)
        within = score <= GOOD_UP_TO
        name = self._names.counted_as(row.name)
        for part, tokens in row.tokens_by_scope.items():
            level.scopes[part].add_tokens(tokens, row.outcome, within)
            level.mix[part].add_tokens(row, tokens, name)
        first_level = self.prompts.enter(row, counts=not warming)
        for part in SCOPES_OF_REQUEST[row.phase]:
            level.scopes[part].add(row, within, score)
            level.mix[part].add(row, name, repeats=first_level is not None)
            level.scopes[part].prompts.add(row, first_level)
            if level.level.arrivals is not None:
                level.scopes[part].add_scheduled(row)
        of_prompts = [level.scopes[part].prompts for part in SCOPES_OF_REQUEST[row.phase]]
        self.expected_hits.enter(row, of_prompts if warming else [self.prompts.stats, *of_prompts])
        level.enter_load(row)
        if level.probe is not None and row.phase is Phase.HOLD:
            level.probe.add(row)
        sent = self._window(level, row.sent_ns / 1e9)
        sent.requests_sent += 1
        if row.has_latencies and row.ttft_ns is not None:
            sent.ttfts_ns.append(row.ttft_ns)
        ended = self._window(level, row.ended_ns / 1e9)
        ended.requests_ended += 1
        ended.requests_completed += row.outcome is Outcome.OK
        ended.failures += failed

    def _window(self, level: LevelStats, when_s: float) -> WindowStats:
        number = max(0, int((when_s - level.began_s) / WINDOW_S))
        place = (level.level.index, number)
        if (window := self.windows.get(place)) is None:
            window = self.windows[place] = WindowStats()
        return window


def measured_levels(aggregator: Aggregator) -> dict[int, LevelStats]:
    """The levels that figures are of, by their index: all but warm-ups."""
    return {index: level for index, level in aggregator.levels.items() if not level.level.warm_up}


def plan_done(aggregator: Aggregator) -> bool:
    """Whether the run came to its plan's end. One that lasts until it is stopped did if a request was sent in its hold,
    as far as reports have come."""
    open_ended = [level for level in aggregator.levels.values() if level.level.has_open_end]
    return aggregator.plan_ended or any(level.scopes[Scope.HOLD].requests for level in open_ended)


def _is_next(report: Report, entered: int, levels: Container[int], mix: RunMix) -> bool:
    """Whether the report follows the `entered` ones; False for one of these. Raises UnusableReport."""
    if report.number <= entered:
        return False
    if report.number != entered + 1:
        raise UnusableReport(f"report {report.number} came after report {entered}")
    if unknown := [index for index in report.level_indexes if index not in levels]:
        raise UnusableReport(f"it has data of level {min(unknown)}, which never began")
    most_models, most_hosts = max(1, len(mix.models)), max(1, len(mix.hosts))
    if any(row.model_index >= most_models or row.host_index >= most_hosts for row in report.rows):
        raise UnusableReport("it has requests to a model or a host that the run does not have")
    return True


def _add_histograms(report: Report, worker: WorkerStats, levels: Mapping[int, LevelStats]) -> None:
    for (index, phase), histogram in report.gaps.items():
        for scope in SCOPES_OF_REQUEST[phase]:
            levels[index].scopes[scope].gap_s.add(histogram)
    for (index, phase), histogram in report.delays.items():
        worker.client_delay_s.add(histogram)
        for scope in SCOPES_OF_REQUEST[phase]:
            levels[index].scopes[scope].client_delay_s.add(histogram)
    for (index, phase), histogram in report.health.loop_lag.items():
        for scope in SCOPES_OF_REQUEST[phase]:
            levels[index].scopes[scope].loop_lag_s.add(histogram)
