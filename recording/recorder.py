"""The worker's side: takes timelines as requests end, and gives them out in numbered reports."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator
from math import inf
from operator import attrgetter
from typing import Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from tokenswarm.metrics.client_health import HealthMeter
from tokenswarm.metrics.concurrency import ConcurrencyMeter
from tokenswarm.metrics.level import Level, RunningLevel, tokens_by_scope, tokens_by_window
from tokenswarm.metrics.timeline import Outcome, Timeline, rate_of
from tokenswarm.recording.ended_requests import EndedRequest, LocustCount, ReportBuilder
from tokenswarm.recording.kept_requests import KeptRequests, RecordPlan
from tokenswarm.recording.spool import Spool
from tokenswarm.recording.worker_report import MOST_ROWS, OpenRequest, Report, RequestRow
from tokenswarm.run_folder.schema import WINDOW_S

_WINDOW_NS = int(WINDOW_S * 1e9)
#: What is known of a request when it is sent, and a row has as its timeline does.
_OF_SENT_PROMPT = (
    *("input_tokens_requested", "output_tokens_requested", "custom_id", "server_request_id", "trace_id"),
    *("model_index", "host_index", "session", "turn", "session_turns", "prefix_group"),
    *("abandons", "abandon_late_ns"),
    *("agent", "depth", "session_requests", "join_ns", "name"),
)
_of_sent_prompt = attrgetter(*_OF_SENT_PROMPT)


class OpenStream(Protocol):
    """A request while it runs. Times on this process's perf_counter_ns; None where it has not come to that."""

    @property
    def sent_ns(self) -> int | None: ...
    @property
    def first_output_ns(self) -> int | None: ...
    @property
    def abandons(self) -> bool: ...


class Recorder:
    """Counts what its users do. `in_flight`, `output_events` and `ended` are live; the rest goes out with the next
    report, and with it what `health` measured of this process. spool: where ended requests are kept until their report
    is acknowledged, None to keep them in memory alone. most_rows: how many requests a report has at most."""

    def __init__(self, worker: int, spool: Spool | None = None, most_rows: int = MOST_ROWS) -> None:
        self.worker = worker
        self.most_rows = most_rows
        self.spool = spool
        #: Why requests that are cut from now on are cut, where it is not that the run stops them.
        self.cut_reason: str | None = None
        self.in_flight = 0
        self.output_events = 0
        #: Of this worker in this run: a session that is begun again must not draw the same numbers again.
        self.prompts_drawn = 0
        self._users_begun = 0
        #: Requests of each level that users of this process send, None for no limit, and have begun.
        self._shares: dict[int, int | None] = {}
        self._begun: Counter[int] = Counter()
        #: What the run keeps of requests, and what writes it; None where nothing is kept.
        self.record_plan = RecordPlan()
        self.kept: KeptRequests | None = None
        self.levels: dict[int, RunningLevel] = {}
        #: Of open-loop levels: the first arrival that was not begun. This process has begun all of its own before it.
        self.arrivals_begun: dict[int, int] = {}
        #: Of levels that a user had no further session for: when their load ended, on the run's clock, None where the
        #: master ends it.
        self.dry_ns: dict[int, int | None] = {}
        self._dry_reported = 0
        self.health = HealthMeter()
        self._concurrency = ConcurrencyMeter()
        self.ended = 0
        self._reports = 0
        self._pending = ReportBuilder()
        self._full: deque[Report] = deque()
        #: Requests of probes that run, with their level's index.
        self._open: dict[int, tuple[int, OpenStream]] = {}
        self._woke_ns = 0

    def begin_level(self, level: Level, run_began_ns: int, began_ns: int, share: int | None = None) -> None:
        """Requests sent from now on belong to this level. Times on this process's perf_counter_ns. share: how many of
        the level's requests the users of this process send, None for all."""
        self.levels[level.index] = RunningLevel(level, run_began_ns, began_ns)
        self._shares[level.index] = level.requests if share is None else share

    def takes_request(self, level_index: int) -> bool:
        """Whether a user may begin one more request of the level; it then counts as begun."""
        share, begun = self._shares.get(level_index), self._begun[level_index]
        if share is not None and begun >= share:
            return False
        self._begun[level_index] += 1
        return True

    def stop(self, now_ns: int) -> None:
        """The run is stopped now, on this process's perf_counter_ns: the running level is in its drain from here on."""
        if (begun := self.current_level) is not None and begun.stopped_ns == inf:
            self.levels[begun.level.index] = begun._replace(stopped_ns=now_ns)

    def ran_dry(self, level_index: int, now_ns: int, *, is_alone: bool) -> None:
        """A user of the level has no further session to begin. is_alone: whether no other process sends load; the
        level's load then ends now, on this process's perf_counter_ns, and else when the master ends it."""
        if (begun := self.levels.get(level_index)) is None or level_index in self.dry_ns:
            return
        self.dry_ns[level_index] = round(now_ns - begun.run_began_ns) if is_alone else None
        if is_alone:
            self.levels[level_index] = begun._replace(stopped_ns=min(begun.stopped_ns, now_ns))

    def next_user(self) -> int:
        """The number of a user that begins to send: 1, 2, … of this worker in this run."""
        self._users_begun += 1
        return self._users_begun

    def shift(self, by_ns: int) -> None:
        """The run's clock turned out to be so much later on this process's: later times are in the better one."""
        for number, begun in self.levels.items():
            self.levels[number] = begun._replace(
                run_began_ns=begun.run_began_ns + by_ns, began_ns=begun.began_ns + by_ns
            )

    def request_began(self, level_index: int = 0, arrival: int | None = None, stream: OpenStream | None = None) -> None:
        """A request is about to be sent. arrival: its number in an open-loop level; stream: the request itself."""
        self.in_flight += 1
        if stream is not None and (begun := self.levels.get(level_index)) is not None and begun.level.probe:
            self._open[id(stream)] = level_index, stream
        if arrival is not None:
            self.arrivals_begun[level_index] = max(arrival + 1, self.arrivals_begun.get(level_index, 0))
        if self.spool is not None:
            self.spool.began(None if arrival is None else (level_index, arrival))

    def request_ended(self, recorded: bool, stream: OpenStream | None = None) -> None:
        """A request is not under way any more. recorded: whether it will be given to `record`."""
        self.in_flight -= 1
        self._open.pop(id(stream), None)
        if self.spool is not None and not recorded:
            self.spool.dropped()

    @property
    def pending_reports(self) -> int:
        """How many reports the requests fill that have ended since the last one; one more where a user had no further
        session."""
        is_begun = bool(self._pending.rows) or len(self.dry_ns) > self._dry_reported
        return len(self._full) + is_begun

    def saw_output(self, events: int) -> None:
        """So many events with output came, on streams that may still run."""
        self.output_events += events

    @property
    def current_level(self) -> RunningLevel | None:
        """The level that a request sent now belongs to."""
        return next(reversed(self.levels.values()), None)

    def start(self, now_ns: int, cpu_ns: int) -> None:
        """This process is watched from now on. now_ns: perf_counter_ns; cpu_ns: process_time_ns."""
        self.health.start(now_ns, cpu_ns)
        self._concurrency.start(now_ns)

    def woke(self, due_ns: int, now_ns: int, cpu_ns: int, users: int) -> None:
        """A short sleep of this process that was due at due_ns ended now, with so many users alive: see HealthMeter and
        ConcurrencyMeter."""
        self._woke_ns = now_ns
        if (begun := self.current_level) is not None:
            # A loop that was stuck to the end of the hold and beyond was late in the hold.
            phase = begun.phase_at(max(due_ns, begun.began_ns))
            if begun.level.warm_up:
                self.health.start(now_ns, cpu_ns)
            else:
                self.health.woke((begun.level.index, phase), due_ns, now_ns, cpu_ns)
            self._concurrency.woke(begun, users, due_ns, now_ns)

    def record(self, timeline: Timeline, in_locust: LocustCount | None = None) -> RequestRow:
        """Enter a request that has ended. in_locust: what Locust counts for it."""
        self.ended += 1  # first, and its row last: a request that fails here remains unaccounted for everywhere
        begun = self.levels[timeline.level_index]
        gaps_ns = timeline.gaps_ns
        row = _row_of(timeline, gaps_ns, begun, self.worker, self.ended)
        if self.cut_reason is not None and timeline.outcome is Outcome.CUT:
            row = msgspec.structs.replace(row, error=self.cut_reason)
        ended = EndedRequest(
            row,
            (timeline.level_index, row.phase),
            tokens_by_window(timeline, begun.began_ns, _WINDOW_NS),
            gaps_ns.tobytes() if row.has_latencies and not begun.level.warm_up else b"",
            b"" if begun.level.warm_up else timeline.delays_ns.tobytes(),
            in_locust,
        )
        if self.spool is not None:
            self.spool.ended(ended)
        self._pending.add(ended)
        if len(self._pending.rows) >= self.most_rows:
            self._full.append(self._take())
        return ended.row

    def take_reports(self) -> list[Report]:
        """All since the last report, in one report or several, none of them too large."""
        return [self.take_report() for _ in range(len(self._full) + 1)]

    def take_report(self) -> Report:
        """The next report: of all since the last, but of most_rows requests at most. The caller sees to it that it
        arrives."""
        return self._full.popleft() if self._full else self._take()

    def _take(self) -> Report:
        self._reports += 1
        report = self._pending.take(
            self.worker, self._reports, self.ended, self.in_flight, self.output_events, self.health.take()
        )
        report.user_seconds = self._concurrency.take()
        report.arrivals_begun = dict(self.arrivals_begun)
        if (begun := self.current_level) is not None and begun.level.probe:
            report.open_requests = list(_open_requests(self._open.values(), begun.run_began_ns))
            report.reported_ns = self._woke_ns - begun.run_began_ns
        report.dry_ns = dict(self.dry_ns)
        self._dry_reported = len(self.dry_ns)
        if self.spool is not None:
            self.spool.took(report)
        return report

    def leave_spool(self) -> None:
        """The run has ended without all that is in the spool: it stays, for `tokenswarm recover`."""
        if self.spool is not None:
            self.spool.close()
            self.spool = None

    def acknowledge(self, number: int) -> None:
        """The reports up to this one have arrived."""
        if self.spool is not None:
            self.spool.acknowledge(number)


def _open_requests(running: Iterable[tuple[int, OpenStream]], run_began_ns: int) -> Iterator[OpenRequest]:
    for level_index, stream in running:
        if (sent_ns := stream.sent_ns) is not None:
            first_ns = stream.first_output_ns
            ttft_ns = None if first_ns is None else first_ns - sent_ns
            yield OpenRequest(level_index, sent_ns - run_began_ns, ttft_ns, stream.abandons)


def _row_of(
    timeline: Timeline, gaps_ns: NDArray[np.int64], begun: RunningLevel, worker: int, number: int
) -> RequestRow:
    run_began_ns, tpot_ns = begun.run_began_ns, timeline.tpot_ns
    return RequestRow(
        worker=worker,
        number=number,
        user=timeline.user,
        level_index=timeline.level_index,
        phase=begun.phase_of(timeline.scheduled_ns),
        outcome=timeline.outcome,
        scheduled_ns=timeline.scheduled_ns - run_began_ns,
        sent_ns=timeline.sent_ns - run_began_ns,
        ended_ns=timeline.over_ns - run_began_ns,
        connect_ns=timeline.connect_ns,
        output_tokens=timeline.output_tokens,
        output_tokens_source=timeline.output_tokens_source,
        output_events=timeline.output_events,
        output_arrivals=timeline.output_arrivals,
        tokens_by_scope={part: tokens for part, tokens in tokens_by_scope(timeline, begun).items() if tokens},
        stamps=timeline.stamps,
        reads=timeline.reads,
        reads_with_kernel_time=timeline.kernel_stamps,
        gaps_measured=timeline.gaps_measured,
        status=timeline.status,
        headers_ns=_since(timeline.sent_ns, timeline.headers_ns),
        ttft_ns=timeline.ttft_ns,
        ttft_uncertainty_ns=timeline.ttft_uncertainty_ns,
        ttfvt_ns=timeline.ttfvt_ns,
        tpot_ns=tpot_ns,
        token_rate=rate_of(tpot_ns),
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
        retries=timeline.retries,
        output_tokens_rejected=timeline.output_tokens_rejected,
        first_event_tokens=timeline.first_event_tokens,
        unstreamed_tokens=timeline.unstreamed_tokens,
        deviations=dict(timeline.deviations),
        think_ns=timeline.think_ns,
        shared_parts=_shared_parts(timeline),
        **dict(zip(_OF_SENT_PROMPT, _of_sent_prompt(timeline), strict=True)),
    )


def _shared_parts(timeline: Timeline) -> tuple[tuple[int, int, int], ...] | None:
    if timeline.shareable is None:
        return None
    return timeline.shareable.in_blocks(timeline.prompt_tokens if timeline.prompt_tokens_source == "usage" else None)


def _since(sent_ns: int, when_ns: int | None) -> int | None:
    return None if when_ns is None else when_ns - sent_ns
