"""The run as it stands, as JSON for the page: figures of the books, made anew only where they can have changed."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from metrics.ledger import Ledger, LevelBooks, WorkerBooks
from metrics.live import LiveSeries, Point
from metrics.prometheus import LiveRun
from metrics.prompt_notices import live_notices
from metrics.proof import hints, smallest_medians, worker_reasons
from metrics.run import RunFacts, Status
from metrics.stage import Part, Stage
from metrics.summary import Validity, reasons_to_suspect, validity
from metrics.timeline import Outcome

#: How old a verdict may be while the run goes on: it looks at every histogram.
_VERDICT_S = 15.0
#: The same of the workers' and the levels' tables.
_TABLES_S = 4.0


class Progress(msgspec.Struct, frozen=True):
    """Where the plan stands. Seconds; left_s counts no drains, and is None where the end is open."""

    elapsed_s: float
    left_s: float | None
    share: float | None
    stage: int | None
    phase: str | None
    phase_left_s: float | None


class LevelRow(msgspec.Struct, frozen=True):
    """A level of the plan. state: planned, running or over; figures are of its hold, None where there are none yet."""

    stage: int
    system_prompt: str
    level: str
    users: int
    ramp_s: float
    level_time_s: float | None
    state: str
    began_s: float | None = None
    ended_s: float | None = None
    complete: bool = False
    requests: int = 0
    failures: int = 0
    cut: int = 0
    token_rate: float | None = None
    request_rate: float | None = None
    within_objectives: float | None = None
    ttft_p50_s: float | None = None
    ttft_p95_s: float | None = None
    ttft_p99_s: float | None = None
    tpot_p50_s: float | None = None
    gap_p99_s: float | None = None
    e2e_p95_s: float | None = None


class WorkerRow(msgspec.Struct, frozen=True):
    """A worker so far. cpu_utilization: of one core, 0 to 1, lately."""

    worker: int
    requests: int
    in_flight: int
    tokens_per_s: float | None
    cpu_utilization: float | None
    client_delay_p99_s: float | None
    loop_lag_p99_s: float | None
    validity: Validity


class _Aged:
    """A value that is made anew when it is too old, or when something else is asked for."""

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
    """Tells a page, poll by poll, what it does not know yet. Several pages may ask at once."""

    def __init__(self, live: LiveRun, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._live = live
        self._verdict = _Aged(_VERDICT_S, clock_s)
        self._tables = _Aged(_TABLES_S, clock_s)
        self._levels: dict[tuple[str, int], LevelRow] = {}

    @property
    def run(self) -> str | None:
        """The name of the run's folder; None before the first."""
        return None if self._live.folder is None else self._live.folder.name

    def document(self, run: str, revision: int) -> dict[str, Any]:
        """What is to be shown. Of the points, those that have changed since `revision` of the run that is named."""
        live = self._live
        connected, missing = live.workers()
        told: dict[str, Any] = {
            "run": self.run,
            "users": live.user_count(),
            "workers_connected": connected,
            "workers_missing": missing,
        }
        if live.ledger is None or live.facts is None:
            return told
        ledger, facts, now_s = live.ledger, live.facts, live.now_s()
        over = live.status is not Status.RUNNING
        points = live.series.points(ledger, now_s, revision if run == self.run else 0)
        levels, workers, advice = self._tables.get(
            (self.run, over, len(ledger.levels)), lambda: self._make_tables(ledger, facts, live.series, now_s)
        )
        return told | {
            "status": live.status.value,
            "facts": {
                **{name: getattr(facts, name) for name in ("host", "engine", "engine_version", "model", "shape")},
                "prompts": facts.prompts.get("source") or facts.options.get("prompts"),
            },
            "revision": live.series.revision,
            "columns": Point._fields,
            "points": [(index, *point) for index, point in points],
            "progress": progress(facts.plan, ledger, now_s),
            "levels": levels,
            "workers": workers,
            "hints": advice,
            "validity": self._validity(ledger),
            "totals": {
                "requests": ledger.recorded,
                "failures": ledger.failures,
                "output_tokens": ledger.output_tokens,
                "in_flight": ledger.in_flight,
                "tokens_per_s": None if over else live.series.recent_tokens_per_s(ledger),
            },
        }

    def levels(self) -> list[LevelRow]:
        """The levels of the run that is, or was."""
        live = self._live
        if live.ledger is None or live.facts is None:
            return []
        return self._level_rows(live.ledger, live.facts, live.series, live.now_s())

    def reasons(self) -> list[str]:
        """Why its figures may not be believed."""
        return [] if self._live.ledger is None else self._validity(self._live.ledger).reasons

    def _validity(self, ledger: Ledger) -> Validity:
        live = self._live
        verdict: Validity = self._verdict.get(
            (self.run, live.status, live.defect()), lambda: _verdict(live.defect(), ledger)
        )
        return verdict

    def _make_tables(
        self, ledger: Ledger, facts: RunFacts, series: LiveSeries, now_s: float
    ) -> tuple[list[LevelRow], list[WorkerRow], list[str]]:
        smallest = smallest_medians(ledger)
        workers = [
            _worker_row(number, worker, series.tokens_per_s(number, ledger), validity(worker_reasons(worker, smallest)))
            for number, worker in sorted(ledger.workers.items())
        ]
        notices = live_notices(ledger, self._live.server, str(facts.prompts.get("reuse") or "always"), now_s)
        return self._level_rows(ledger, facts, series, now_s), workers, [*hints(ledger).values(), *notices]

    def _level_rows(self, ledger: Ledger, facts: RunFacts, series: LiveSeries, now_s: float) -> list[LevelRow]:
        return [self._level_row(stage, ledger, series, now_s) for stage in facts.plan]

    def _level_row(self, stage: Stage, ledger: Ledger, series: LiveSeries, now_s: float) -> LevelRow:
        level = ledger.levels.get(stage.stage)
        if level is None:
            return LevelRow(**msgspec.structs.asdict(stage), state="planned")
        key = (f"{self.run} {level.parts[Part.WHOLE].requests}", stage.stage)
        if level.ended_s is not None and key in self._levels:
            return self._levels[key]
        row = level_row(level, ledger, series, now_s)
        if level.ended_s is not None:
            self._levels = {known: each for known, each in self._levels.items() if known[1] != stage.stage}
            self._levels[key] = row
        return row


def level_row(level: LevelBooks, ledger: Ledger, series: LiveSeries, now_s: float) -> LevelRow:
    """A level that has begun. While it runs, its token rate is of the events that arrived in its hold so far: what the
    books hold of a request comes when it ends."""
    hold = level.parts[Part.HOLD]
    seconds = level.seconds(Part.HOLD, now_s)
    token_rate = hold.output_tokens / seconds if seconds > 0 else None
    if level.ended_s is None and seconds > 0:
        hold_began_s = level.began_s + level.stage.ramp_s
        token_rate = series.tokens_per_s_between(hold_began_s, hold_began_s + seconds, ledger)
    ttft_s = hold.ttft_s.values_at((0.5, 0.95, 0.99)) or (None, None, None)
    (tpot_s,) = hold.tpot_s.values_at((0.5,)) or (None,)
    (gap_s,) = hold.gap_s.values_at((0.99,)) or (None,)
    (e2e_s,) = hold.e2e_s.values_at((0.95,)) or (None,)
    return LevelRow(
        **msgspec.structs.asdict(level.stage),
        state="running" if level.ended_s is None else "over",
        began_s=level.began_s,
        ended_s=level.ended_s,
        complete=level.complete,
        requests=hold.requests,
        failures=sum(count for name, count in hold.outcomes.items() if Outcome(name).is_failure),
        cut=hold.outcomes[Outcome.CUT],
        token_rate=token_rate,
        request_rate=hold.outcomes[Outcome.OK] / seconds if seconds > 0 else None,
        within_objectives=(
            hold.requests_within_objectives / hold.requests if ledger.objectives.bounds and hold.requests else None
        ),
        ttft_p50_s=ttft_s[0],
        ttft_p95_s=ttft_s[1],
        ttft_p99_s=ttft_s[2],
        tpot_p50_s=tpot_s,
        gap_p99_s=gap_s,
        e2e_p95_s=e2e_s,
    )


def progress(plan: Sequence[Stage], ledger: Ledger, now_s: float) -> Progress:
    """Where the plan stands now."""
    level = ledger.running_level
    ahead = [stage for stage in plan if stage.stage not in ledger.levels]
    if level is None:
        return Progress(now_s, 0.0, None, None, None, None)
    elapsed_s = now_s - level.began_s
    stage = level.stage
    phase = stage.phase_at(elapsed_s).value
    ends_s = {"ramp": stage.ramp_s, "hold": stage.level_time_s}.get(phase)
    phase_left_s = None if ends_s is None else ends_s - elapsed_s
    if stage.level_time_s is None:
        return Progress(now_s, None, None, stage.stage, phase, phase_left_s)
    whole_s = sum(each.level_time_s or 0.0 for each in plan)
    left_s = max(0.0, stage.level_time_s - elapsed_s) + sum(each.level_time_s or 0.0 for each in ahead)
    return Progress(now_s, left_s, 1 - left_s / whole_s, stage.stage, phase, phase_left_s)


def _worker_row(number: int, worker: WorkerBooks, tokens_per_s: float | None, verdict: Validity) -> WorkerRow:
    (delay_s,) = worker.client_delay_s.values_at((0.99,)) or (None,)
    (lag_s,) = worker.loop_lag_s.values_at((0.99,)) or (None,)
    return WorkerRow(
        worker=number,
        requests=worker.fired,
        in_flight=worker.in_flight,
        tokens_per_s=tokens_per_s,
        cpu_utilization=worker.latest_use.utilization,
        client_delay_p99_s=delay_s,
        loop_lag_p99_s=lag_s,
        validity=verdict,
    )


def _verdict(defect: str | None, ledger: Ledger) -> Validity:
    return validity(([defect] if defect else []) + reasons_to_suspect(ledger))
