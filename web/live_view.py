"""The current run as JSON for the page; figures are computed again only where they can have changed."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
from msgspec.structs import replace

from tokenswarm.metrics.level import Level, Scope, users_of
from tokenswarm.metrics.timeline import Outcome
from tokenswarm.recording.aggregator import Aggregator, LevelStats
from tokenswarm.recording.core_hints import hints
from tokenswarm.recording.live_series import LiveSeries, Point, RequestRates
from tokenswarm.recording.mix_stats import MemberStats
from tokenswarm.recording.open_loop import open_loop_figures
from tokenswarm.recording.progress import time_left
from tokenswarm.recording.prometheus import LiveRun
from tokenswarm.recording.prompt_notices import live_notices
from tokenswarm.recording.session_stats import SessionStats
from tokenswarm.recording.validity import run_validity, smallest_medians, validity, worker_issues
from tokenswarm.recording.worker_stats import WorkerStats
from tokenswarm.reports.system_prompt_note import system_prompt_length
from tokenswarm.run_folder.schema import RunFacts, Status, Validity

#: How old a verdict may be during a run: it reads every histogram.
_VERDICT_S = 15.0
#: How old the tables of workers and levels may be.
_TABLES_S = 4.0


class PlanProgress(msgspec.Struct, frozen=True):
    """How far the plan is. In seconds; left_s counts the pauses after levels and no drains, None where the end is open.
    ends_with_requests: whether the running level or one after it ends when its requests have, whatever time is left."""

    elapsed_s: float
    left_s: float | None
    share: float | None
    index: int | None
    phase: str | None
    phase_left_s: float | None
    ends_with_requests: bool = False


class OpenLoopRow(msgspec.Struct, frozen=True):
    """What the row of an open-loop level has besides, of its hold; rates in requests/s. unstable: whether its backlog
    grew. None where it is not known, or not yet."""

    offered_rate: float | None = None
    sent_rate: float | None = None
    completed_rate: float | None = None
    in_flight_mean: float | None = None
    unstable: bool | None = None
    lag_p99_s: float | None = None
    ttft_scheduled_p99_s: float | None = None


class SessionRow(msgspec.Struct, frozen=True):
    """The sessions of a level so far, ramp included. turns_mean, duration_p50_s: of completed ones, None before."""

    started: int
    completed: int
    failed: int
    abandoned: int
    turns_mean: float | None = None
    duration_p50_s: float | None = None


class NameRow(msgspec.Struct, frozen=True):
    """The requests of one name in a level's hold so far. ttft_p50_s, ttft_p99_s, e2e_p95_s: None before there are
    any."""

    name: str
    requests: int
    failures: int
    ttft_p50_s: float | None = None
    ttft_p99_s: float | None = None
    tpot_p50_s: float | None = None
    e2e_p95_s: float | None = None


class LevelRow(msgspec.Struct, frozen=True):
    """A level of the plan, or a warm-up. label: its name with its noun, `50 users`; state: planned, running or over;
    figures are of its hold, None where there are none yet; open_loop: None in a closed loop; sessions: None where
    requests belong to none; names: where requests have names."""

    index: int
    system_prompt: str
    name: str = msgspec.field(name="level")
    label: str
    users: int
    ramp_s: float
    level_time_s: float | None
    state: str
    warm_up: bool = False
    began_s: float | None = None
    ended_s: float | None = None
    complete: bool = False
    requests: int = 0
    failures: int = 0
    cut: int = 0
    abandoned: int = 0
    token_rate: float | None = None
    request_rate: float | None = None
    within_objectives: float | None = None
    ttft_p50_s: float | None = None
    ttft_p95_s: float | None = None
    ttft_p99_s: float | None = None
    tpot_p50_s: float | None = None
    gap_p99_s: float | None = None
    e2e_p95_s: float | None = None
    open_loop: OpenLoopRow | None = None
    sessions: SessionRow | None = None
    names: tuple[NameRow, ...] = ()


#: Fields of a LevelRow that the plan says.
_OF_THE_PLAN = ("index", "system_prompt", "name", "users", "ramp_s", "level_time_s", "warm_up")


class WorkerRow(msgspec.Struct, frozen=True):
    """A worker's figures since the run began. tokens_per_s: recent, None when the run is over; cpu_utilization: of one
    core, 0 to 1, recent, and of the whole run when that is over."""

    worker: int
    requests: int
    in_flight: int
    tokens_per_s: float | None
    cpu_utilization: float | None
    client_delay_p99_s: float | None
    loop_lag_p99_s: float | None
    validity: Validity


class _Aged:
    """A value that is computed again when it is too old or when its key changes."""

    def __init__(self, lifetime_s: float, clock_s: Callable[[], float]) -> None:
        self._lifetime_s = lifetime_s
        self._clock_s = clock_s
        self._key: object = None
        self._until_s = 0.0
        self._value: Any = None

    def get(self, key: object, make: Callable[[], Any]) -> Any:
        now_s = self._clock_s()
        if key != self._key or now_s >= self._until_s:
            self._value, self._key, self._until_s = make(), key, now_s + self._lifetime_s
        return self._value


class LiveView:
    """Gives each page, with each of its polls, what has changed since the last one. Several pages may poll."""

    def __init__(self, live: LiveRun, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._live = live
        self._verdict = _Aged(_VERDICT_S, clock_s)
        self._tables = _Aged(_TABLES_S, clock_s)
        self._levels: dict[tuple[str, int], LevelRow] = {}

    @property
    def run(self) -> str | None:
        """The name of the run's folder; None before the first."""
        return None if self._live.folder is None else self._live.folder.name

    @property
    def is_running(self) -> bool:
        """Whether there is a run that has not ended."""
        return self._live.folder is not None and self._live.status is Status.RUNNING

    def document(self, run: str, revision: int) -> dict[str, Any]:
        """The page's document. Of the points, those that have changed since `revision` of the run named `run`."""
        live = self._live
        connected, missing = live.workers()
        document: dict[str, Any] = {
            "run": self.run,
            "users": live.user_count(),
            "workers_connected": connected,
            "workers_missing": missing,
        }
        if live.aggregator is None or live.facts is None:
            return document
        aggregator, facts, now_s = live.aggregator, live.facts, live.now_s()
        over = live.status is not Status.RUNNING
        points = live.series.points(aggregator, now_s, revision if run == self.run else 0)
        levels, workers, advice, counts = self._tables.get(
            (self.run, over, len(aggregator.levels)),
            lambda: self._make_tables(aggregator, facts, live.series, now_s, over),
        )
        return document | {
            "status": live.status.value,
            "facts": {
                **{name: getattr(facts, name) for name in ("host", "engine", "engine_version", "model", "shape")},
                "prompts": facts.prompts.get("source") or facts.options.get("prompts"),
                "system_prompt": system_prompt_length(facts.prompts, facts.plan),
            },
            "revision": live.series.revision,
            "columns": Point._fields,
            "points": [(index, *point) for index, point in points],
            "progress": progress(facts.plan, aggregator, now_s),
            "levels": levels,
            "workers": workers,
            "hints": advice,
            "validity": self._validity(aggregator),
            "capacity": live.capacity(),
            "totals": {
                **counts,
                "output_tokens": aggregator.output_tokens,
                "in_flight": aggregator.in_flight,
                "tokens_per_s": None if over else live.series.recent_tokens_per_s(aggregator),
                **_recent_rates(None if over else live.series.recent_request_rates(aggregator)),
            },
        }

    @property
    def is_open_loop(self) -> bool:
        """Whether the current run, or the last one, has no users, as its requests are sent at a rate."""
        facts = self._live.facts
        return facts is not None and any(level.arrivals is not None for level in facts.plan)

    @property
    def in_flight(self) -> int:
        """Requests sent and not ended."""
        return 0 if self._live.aggregator is None else self._live.aggregator.in_flight

    def levels(self) -> list[LevelRow]:
        """The levels of the current run, or of the last one; warm-ups have no figures and are left out."""
        live = self._live
        if live.aggregator is None or live.facts is None:
            return []
        rows = self._level_rows(live.aggregator, live.facts, live.series, live.now_s())
        return [row for row in rows if not row.warm_up]

    def validity(self) -> Validity:
        """Whether its figures are reliable; valid before there is a run."""
        return Validity("valid") if self._live.aggregator is None else self._validity(self._live.aggregator)

    def _validity(self, aggregator: Aggregator) -> Validity:
        live = self._live
        verdict: Validity = self._verdict.get(
            (self.run, live.status, live.defect()),
            lambda: run_validity(aggregator, live.server, live.defect(), ended=live.status is not Status.RUNNING),
        )
        return verdict

    def _make_tables(
        self, aggregator: Aggregator, facts: RunFacts, series: LiveSeries, now_s: float, over: bool
    ) -> tuple[list[LevelRow], list[WorkerRow], list[str], dict[str, int]]:
        """Levels, workers, hints and the whole run's counts of one moment: beside each other they must agree."""
        counts = {"requests": aggregator.recorded, "failures": aggregator.failures}
        smallest = smallest_medians(aggregator)
        rates = {each: None if over else series.tokens_per_s(each, aggregator) for each in aggregator.workers}
        workers = [
            _worker_row(number, worker, rates[number], validity(worker_issues(worker, smallest)), over)
            for number, worker in sorted(aggregator.workers.items())
        ]
        notices = live_notices(aggregator, self._live.server, str(facts.prompts.get("reuse") or "always"), now_s)
        advice = [*hints(aggregator).values(), *notices]
        return self._level_rows(aggregator, facts, series, now_s), workers, advice, counts

    def _level_rows(self, aggregator: Aggregator, facts: RunFacts, series: LiveSeries, now_s: float) -> list[LevelRow]:
        return [self._level_row(level, aggregator, series, now_s) for level in facts.plan]

    def _level_row(self, level: Level, aggregator: Aggregator, series: LiveSeries, now_s: float) -> LevelRow:
        stats = aggregator.levels.get(level.index)
        if stats is None:
            return LevelRow(**_planned(level), state="planned")
        key = (f"{self.run} {stats.scopes[Scope.WHOLE].requests}", level.index)
        if stats.ended_s is not None and key in self._levels:
            return self._levels[key]
        row = level_row(stats, aggregator, series, now_s)
        if stats.ended_s is not None:
            self._levels = {known: each for known, each in self._levels.items() if known[1] != level.index}
            self._levels[key] = row
        return row


def _planned(level: Level) -> dict[str, Any]:
    """What the plan says of a level, as far as its row shows it."""
    planned = {name: getattr(level, name) for name in _OF_THE_PLAN}
    return planned | {"label": users_of(level.name), "open_loop": OpenLoopRow() if level.arrivals else None}


def _recent_rates(rates: RequestRates | None) -> dict[str, float | None]:
    return {f"{name}_rate": getattr(rates, name, None) for name in RequestRates._fields}


def _open_loop_row(level: LevelStats, series: LiveSeries, now_s: float) -> OpenLoopRow | None:
    """While the level runs, rates are of what was reported: the statistics count requests when they have ended."""
    if level.level.arrivals is None:
        return None
    hold = level.scopes[Scope.HOLD]
    (lag_s,) = hold.lag_s.values_at((0.99,)) or (None,)
    (ttft_s,) = hold.ttft_scheduled_s.values_at((0.99,)) or (None,)
    row = OpenLoopRow(lag_p99_s=lag_s, ttft_scheduled_p99_s=ttft_s)
    if level.ended_s is None:
        _, end_s = level.hold_s(now_s)
        rates = series.request_rates_between(level.began_s, level.began_s + end_s, level)
        if rates is None:
            return row
        return replace(row, offered_rate=rates.offered, sent_rate=rates.sent, completed_rate=rates.completed)
    figures = open_loop_figures(level, now_s)
    if figures is None:
        return row
    names = ("offered_rate", "sent_rate", "completed_rate", "in_flight_mean", "unstable")
    return replace(row, **{name: getattr(figures, name) for name in names})


def level_row(level: LevelStats, aggregator: Aggregator, series: LiveSeries, now_s: float) -> LevelRow:
    """A level that has begun. While it runs, its token rate is of the events that arrived in its hold so far: the
    aggregator counts a request's tokens when it ends."""
    hold = level.scopes[Scope.HOLD]
    seconds = level.seconds(Scope.HOLD, now_s)
    token_rate = hold.output_tokens / seconds if seconds > 0 else None
    if level.ended_s is None and seconds > 0:
        hold_began_s = level.began_s + level.level.ramp_s
        token_rate = series.tokens_per_s_between(hold_began_s, hold_began_s + seconds, aggregator)
    ttft_s = hold.ttft_s.values_at((0.5, 0.95, 0.99)) or (None, None, None)
    (tpot_s,) = hold.tpot_s.values_at((0.5,)) or (None,)
    (gap_s,) = hold.gap_s.values_at((0.99,)) or (None,)
    (e2e_s,) = hold.e2e_s.values_at((0.95,)) or (None,)
    return LevelRow(
        **_planned(level.level) | {"open_loop": _open_loop_row(level, series, now_s)},
        state="running" if level.ended_s is None else "over",
        began_s=level.began_s,
        ended_s=level.ended_s,
        complete=level.complete,
        requests=hold.requests,
        failures=sum(count for name, count in hold.outcomes.items() if Outcome(name).is_failure),
        cut=hold.outcomes[Outcome.CUT],
        abandoned=hold.outcomes[Outcome.ABANDONED],
        token_rate=token_rate,
        request_rate=hold.outcomes[Outcome.OK] / seconds if seconds > 0 else None,
        within_objectives=hold.good_share if aggregator.objectives.bounds else None,
        ttft_p50_s=ttft_s[0],
        ttft_p95_s=ttft_s[1],
        ttft_p99_s=ttft_s[2],
        tpot_p50_s=tpot_s,
        gap_p99_s=gap_s,
        e2e_p95_s=e2e_s,
        sessions=_session_row(level.sessions),
        names=_name_rows(level.mix[Scope.HOLD].names),
    )


def _name_rows(names: Mapping[str, MemberStats]) -> tuple[NameRow, ...]:
    rows = []
    for name, found in sorted(names.items()):
        ttft_s = found.ttft_s.values_at((0.5, 0.99)) or (None, None)
        (tpot_s,) = found.tpot_s.values_at((0.5,)) or (None,)
        (e2e_s,) = found.e2e_s.values_at((0.95,)) or (None,)
        rows.append(NameRow(name, found.requests, found.failures, ttft_s[0], ttft_s[1], tpot_s, e2e_s))
    return tuple(rows)


def _session_row(found: SessionStats) -> SessionRow | None:
    if not found.started:
        return None
    (duration_s,) = found.duration_s.values_at((0.5,)) or (None,)
    return SessionRow(
        started=found.started,
        completed=found.completed,
        failed=found.failed,
        abandoned=found.abandoned,
        turns_mean=found.completed_turns / found.completed if found.completed else None,
        duration_p50_s=duration_s,
    )


def progress(plan: Sequence[Level], aggregator: Aggregator, now_s: float) -> PlanProgress:
    """How far the plan is now."""
    running = aggregator.running_level
    ahead = [level for level in plan if level.index not in aggregator.levels]
    if running is None:
        return PlanProgress(now_s, 0.0, None, None, None, None)
    elapsed_s = now_s - running.began_s
    level = running.level
    phase = running.phase_at(elapsed_s).value
    ends_s = {"ramp": level.ramp_s, "hold": level.level_time_s, "warm-up": level.level_time_s}.get(phase)
    phase_left_s = None if ends_s is None else ends_s - elapsed_s
    by_requests = any(each.ends_with_requests for each in (level, *ahead))
    left_s, share = time_left(plan, aggregator, now_s) or (None, None)
    return PlanProgress(now_s, left_s, share, level.index, phase, phase_left_s, by_requests)


def _worker_row(
    number: int, worker: WorkerStats, tokens_per_s: float | None, verdict: Validity, over: bool
) -> WorkerRow:
    (delay_s,) = worker.client_delay_s.values_at((0.99,)) or (None,)
    (lag_s,) = worker.loop_lag_s.values_at((0.99,)) or (None,)
    return WorkerRow(
        worker=number,
        requests=worker.ended,
        in_flight=worker.in_flight,
        tokens_per_s=tokens_per_s,
        cpu_utilization=(worker.whole_use if over else worker.latest_use).utilization,
        client_delay_p99_s=delay_s,
        loop_lag_p99_s=lag_s,
        validity=verdict,
    )
