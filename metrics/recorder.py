"""The worker's side: takes timelines as requests end, and tells of them in numbered reports."""

from __future__ import annotations

from array import array

import numpy as np
from numpy.typing import NDArray

from metrics.health import HealthMeter
from metrics.histogram import Histogram
from metrics.ledger import WINDOW_S
from metrics.records import Report, RequestRow
from metrics.stage import Begun, Place, Stage, tokens_by_part, tokens_by_window
from metrics.timeline import Outcome, Timeline

_WINDOW_NS = int(WINDOW_S * 1e9)


class Recorder:
    """Counts what its users do. `in_flight`, `output_events` and `fired` are live; the rest goes out with the next
    report, and with it what `health` was told of this process."""

    def __init__(self, worker: int) -> None:
        self.worker = worker
        self.in_flight = 0
        self.output_events = 0
        #: Of this worker in this run: a session that is begun again must not draw the same numbers again.
        self.prompts_drawn = 0
        self.stages: dict[int, Begun] = {}
        self.health = HealthMeter()
        self.fired = 0
        self._reports = 0
        self._pending = self._empty_report()
        self._gaps_ns: dict[Place, array[int]] = {}
        self._delays_ns: dict[Place, array[int]] = {}

    def begin_stage(self, stage: Stage, run_began_ns: int, began_ns: int) -> None:
        """Requests sent from now on belong to this stage. Times on this process's perf_counter_ns."""
        self.stages[stage.stage] = Begun(stage, run_began_ns, began_ns)

    def shift(self, by_ns: int) -> None:
        """The run's clock turned out to be so much later on this process's: what comes is told in the better one."""
        for number, begun in self.stages.items():
            self.stages[number] = begun._replace(
                run_began_ns=begun.run_began_ns + by_ns, began_ns=begun.began_ns + by_ns
            )

    def saw_output(self, events: int) -> None:
        """So many events with output came, on streams that may still run."""
        self.output_events += events

    @property
    def current_stage(self) -> Begun | None:
        """The stage that a request sent now belongs to."""
        return next(reversed(self.stages.values()), None)

    def woke(self, due_ns: int, now_ns: int, cpu_ns: int) -> None:
        """A short sleep of this process that was due at due_ns ended now: see HealthMeter."""
        if (begun := self.current_stage) is not None:
            self.health.woke((begun.stage.stage, begun.phase_at(now_ns)), due_ns, now_ns, cpu_ns)

    def record(self, timeline: Timeline) -> RequestRow:
        """Enter a request that has ended."""
        self.fired += 1  # first, and its row last: a request that fails here leaves the books unbalanced everywhere
        begun = self.stages[timeline.stage]
        gaps_ns = timeline.gaps_ns
        row = _row_of(timeline, gaps_ns, begun, self.worker, self.fired)
        pending = self._pending
        for window, tokens in tokens_by_window(timeline, begun.began_ns, _WINDOW_NS).items():
            in_window = (timeline.stage, window)
            pending.tokens_by_window[in_window] = pending.tokens_by_window.get(in_window, 0.0) + tokens
        place = (timeline.stage, begun.phase_at(timeline.sent_ns))
        if timeline.outcome is Outcome.OK:
            self._gaps_ns.setdefault(place, array("q")).frombytes(gaps_ns.tobytes())
        self._delays_ns.setdefault(place, array("q")).extend(timeline.delays_ns)
        pending.rows.append(row)
        return row

    def take_report(self) -> Report:
        """All since the last report. The caller sees to it that it arrives."""
        self._reports += 1
        report, self._pending = self._pending, self._empty_report()
        report.gaps, self._gaps_ns = _histograms(self._gaps_ns), {}
        report.delays, self._delays_ns = _histograms(self._delays_ns), {}
        report.number = self._reports
        report.fired = self.fired
        report.in_flight = self.in_flight
        report.output_events = self.output_events
        report.health = self.health.take()
        return report

    def _empty_report(self) -> Report:
        return Report(self.worker, number=0, fired=0, in_flight=0, output_events=0)


def _histograms(durations_ns: dict[Place, array[int]]) -> dict[Place, Histogram]:
    """All at once: to enter the durations of each request by themselves costs ten times as much."""
    histograms: dict[Place, Histogram] = {}
    for place, many_ns in durations_ns.items():
        histograms[place] = Histogram()
        histograms[place].record_many(np.rint(np.frombuffer(many_ns, dtype=np.int64) / 1000).astype(np.int64))
    return histograms


def _row_of(timeline: Timeline, gaps_ns: NDArray[np.int64], begun: Begun, worker: int, number: int) -> RequestRow:
    run_began_ns = begun.run_began_ns
    return RequestRow(
        worker=worker,
        number=number,
        user=timeline.user,
        stage=timeline.stage,
        phase=begun.phase_at(timeline.sent_ns),
        outcome=timeline.outcome,
        scheduled_ns=timeline.scheduled_ns - run_began_ns,
        sent_ns=timeline.sent_ns - run_began_ns,
        ended_ns=timeline.over_ns - run_began_ns,
        connect_ns=timeline.connect_ns,
        output_tokens=timeline.output_tokens,
        output_tokens_source=timeline.output_tokens_source,
        output_events=timeline.output_events,
        output_arrivals=timeline.output_arrivals,
        tokens_by_part={part: tokens for part, tokens in tokens_by_part(timeline, begun).items() if tokens},
        stamps=timeline.stamps,
        reads=timeline.reads,
        reads_with_kernel_time=timeline.kernel_stamps,
        gaps_measured=timeline.gaps_measured,
        status=timeline.status,
        headers_ns=_since(timeline.sent_ns, timeline.headers_ns),
        ttft_ns=timeline.ttft_ns,
        ttft_uncertainty_ns=timeline.ttft_uncertainty_ns,
        ttfvt_ns=timeline.ttfvt_ns,
        tpot_ns=timeline.tpot_ns,
        token_rate=timeline.token_rate,
        e2e_ns=timeline.e2e_ns,
        duration_ns=timeline.duration_ns,
        prompt_tokens=timeline.prompt_tokens,
        prompt_tokens_source=timeline.prompt_tokens_source,
        gap_max_ns=int(gaps_ns.max()) if len(gaps_ns) else None,
        client_delay_max_ns=max(timeline.delays_ns, default=None),
        finish_reason=timeline.finish_reason,
        error=timeline.error,
        first_body_ns=_since(timeline.sent_ns, timeline.first_body_ns),
        first_event_ns=_since(timeline.sent_ns, timeline.first_event_ns),
        last_event_ns=_since(timeline.sent_ns, timeline.last_event_ns),
        events=timeline.events,
        prompt_id=timeline.prompt_id,
        prompt_hash=timeline.prompt_hash,
        cached_tokens=timeline.cached_tokens,
    )


def _since(sent_ns: int, when_ns: int | None) -> int | None:
    return None if when_ns is None else when_ns - sent_ns
