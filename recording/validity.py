"""Whether a run's figures are reliable: whether its client, its load or another load may have changed them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from math import ceil, inf
from typing import NamedTuple, Protocol

from msgspec.structs import replace

from tokenswarm.metrics.client_health import SelfCheck
from tokenswarm.metrics.concurrency import ENOUGH_SHARE, Concurrency
from tokenswarm.metrics.histogram import Histogram
from tokenswarm.metrics.level import Scope, arrivals_in_words, level_text
from tokenswarm.metrics.quantiles import quantile, share_interval
from tokenswarm.metrics.timeline import Outcome
from tokenswarm.recording.abandon_issues import abandon_issues
from tokenswarm.recording.aggregator import Aggregator, LevelStats, measured_levels
from tokenswarm.recording.cache_issues import cache_issues
from tokenswarm.recording.connection_issues import connection_issues
from tokenswarm.recording.gap_issues import gap_issues
from tokenswarm.recording.length_issues import length_issues
from tokenswarm.recording.load_audit import load_audit
from tokenswarm.recording.longer_level import longer_level
from tokenswarm.recording.lump_issues import WHOLE_LEVEL, lump_issues
from tokenswarm.recording.mix_issues import mix_issues
from tokenswarm.recording.open_loop import open_loop_figures
from tokenswarm.recording.other_load import other_load
from tokenswarm.recording.scope_stats import ScopeStats
from tokenswarm.recording.server_samples import ServerSamples
from tokenswarm.recording.task_errors import TaskErrors, task_error_issues
from tokenswarm.recording.user_issues import user_issues
from tokenswarm.recording.worker_stats import WorkerStats
from tokenswarm.run_folder.schema import WINDOW_S, IssueKind, Validity, ValidityIssue

#: A client's own error above this share of a result's median matters for the result.
_SUSPECT_SHARE = 0.05
#: Up to this share of the reads may lack the kernel's receive time: the first of each host, for example.
NEGLIGIBLE_SHARE = 0.001
#: Uncertain TTFTs matter where significantly more than this share of a level's are (the 95 % interval of their share
#: lies above it), and at least so many: one in a short run is chance.
_UNCERTAIN_SHARE = 0.01
_FEWEST_UNCERTAIN = 2
#: An event loop that is later than this (p99), and later than _SUSPECT_SHARE of the median TTFT, changes the load.
_LATE_LOOP_S = 0.25
#: What to do where the load generator was too slow, at the end of a message.
_TOO_SLOW_ADVICE = (
    "Stop other programs on the load generator's machine; if a worker used most of its core, also use more processes "
    "(--processes -1: one per core)"
)
_NOTHING_MEASURED = "the run ended before a request was sent in the hold of a level: nothing was measured"
#: Windows that a message names.
_MOST_NAMED = 5

Issues = Iterator[ValidityIssue]


class Watched(Protocol):
    """Statistics of reads: of a scope of a level, or of a worker."""

    @property
    def reads(self) -> int: ...
    @property
    def reads_with_kernel_time(self) -> int: ...
    @property
    def client_delay_s(self) -> Histogram: ...
    @property
    def loop_lag_s(self) -> Histogram: ...


class _Median(NamedTuple):
    figure: str
    value_s: float


def level_name(level: LevelStats) -> str:
    """A level as a reason names it."""
    return level_text(level.level.name, level.level.system_prompt)


def validity_issues(aggregator: Aggregator, server: ServerSamples) -> list[ValidityIssue]:
    """Why the run's figures may not be what went over the wire, or not its server's under this load alone; empty if
    there is no sign of that."""
    issues: list[ValidityIssue] = []
    sources: Counter[str] = Counter()
    for index, level in measured_levels(aggregator).items():
        whole = level.scopes[Scope.WHOLE]
        sources += whole.token_sources
        lumps = list(lump_issues(whole))
        of_level = [
            *_load_issues(level, aggregator, server),
            *delay_issues(whole, medians_of(whole)),
            *_uncertainty_issues(whole, in_lumps=bool(lumps)),
            *_usage_issues(whole),
            *lumps,
            *length_issues(whole),
            *cache_issues(level, aggregator, server),
            *abandon_issues(level.left, len(aggregator.levels)),
            *mix_issues(level.mix[Scope.WHOLE], aggregator.mix, len(aggregator.levels)),
        ]
        issues += [replace(issue, level=index) for issue in of_level]
    smallest = smallest_medians(aggregator)
    for number, worker in aggregator.workers.items():
        issues += [replace(issue, worker=number) for issue in self_check_issues(worker.self_check, smallest)]
    if len(sources) > 1:
        counts = ", ".join(f"{count} by {source}" for source, count in sorted(sources.items()))
        message = f"token counts come from different sources ({counts})"
        issues.append(ValidityIssue(kind=IssueKind.MIXED_TOKEN_SOURCES, message=message, values=dict(sources)))
    return issues


def validity(issues: Sequence[ValidityIssue], levels: Iterable[LevelStats] = ()) -> Validity:
    """The verdict that these issues make. levels: those that they name."""
    names = {level.level.index: level_name(level) for level in levels}
    reasons = []
    for issue in issues:
        where = names.get(issue.level, "") if issue.level is not None else ""
        where = f"worker {issue.worker}" if issue.worker is not None else where
        reasons.append(f"{where}: {issue.message}" if where else issue.message)
    return Validity("suspect" if issues else "valid", tuple(reasons), tuple(issues))


def run_validity(
    aggregator: Aggregator, server: ServerSamples, defect: str | None, *, recovered: bool = False, ended: bool = True
) -> Validity:
    """The verdict on a run. defect: why it failed, None where it did not; recovered: whether it is why the run was
    recovered, which makes it suspect; ended: whether no more levels can begin."""
    failed = [ValidityIssue(kind=IssueKind.RUN_FAILED, message=defect)] if defect else []
    levels = measured_levels(aggregator).values()
    if ended and not any(_is_measured(level) for level in levels) and not (levels and defect):
        failed.append(ValidityIssue(kind=IssueKind.NOTHING_MEASURED, message=_NOTHING_MEASURED))
    if not defect or aggregator.recorded:  # else they are the defect
        failed += task_error_issues(aggregator.task_errors)
    found = validity(failed + validity_issues(aggregator, server), aggregator.levels.values())
    return replace(found, verdict="failed") if defect and not recovered else found


def _is_measured(level: LevelStats) -> bool:
    """Whether a request was sent in its hold, or its hold was as long as planned."""
    return bool(level.scopes[Scope.HOLD].requests) or (level.complete and not level.level.has_open_end)


def worker_issues(worker: WorkerStats, smallest: Sequence[_Median]) -> list[ValidityIssue]:
    """Why this worker's figures may be unreliable. smallest: of the run, see smallest_medians."""
    return [
        *delay_issues(worker, smallest),
        *_lag_issues(worker.loop_lag_s, smallest),
        *self_check_issues(worker.self_check, smallest),
    ]


def _load_issues(level: LevelStats, aggregator: Aggregator, server: ServerSamples) -> Issues:
    """Whether the load was what the level's name says, to its end."""
    hold, whole = level.scopes[Scope.HOLD], level.scopes[Scope.WHOLE]
    yield from _concurrency_issues(aggregator.concurrency(level), aggregator.task_errors)
    yield from user_issues(level.think, level.sessions)
    yield from connection_issues(aggregator, level, server)
    yield from _lag_issues(hold.loop_lag_s, medians_of(hold))
    yield from _silent_window_issues(aggregator, level)
    yield from _open_loop_issues(aggregator, level)
    yield from _request_limit_issues(aggregator, level)
    if (other := other_load(aggregator, level, server)) is not None:
        yield other
    if not level.complete or level.length_s == inf:
        return
    if not hold.requests and whole.requests:
        yield _no_request_in_hold(level, whole, aggregator.task_errors)
    elif cut := level.cut_by_timeout:
        yield ValidityIssue(
            kind=IssueKind.CANCELLED_IN_DRAIN,
            message=f"{cut:,} of {hold.requests:,} requests sent in the hold were cut at the drain "
            "timeout: the slowest have no latency",
            values={"cancelled": cut, "requests": hold.requests},
        )


def _no_request_in_hold(level: LevelStats, whole: ScopeStats, errors: TaskErrors) -> ValidityIssue:
    """errors: those of the locustfile."""
    longest_s, values = whole.e2e_s.maximum, {}
    reason = "requests take longer than it lasts"
    advice = longer_level(level.level)
    if longest_s is not None and level.finished_s is not None:
        reason, advice = "all had been sent before its ramp was over", "give more --requests or a shorter --ramp"
    elif longest_s is not None:
        enough_s = float(ceil(level.level.ramp_s + 2 * longest_s))
        if enough_s <= level.length_s:
            reason = "users ended with an error of the locustfile" if errors.count else "users waited, or had ended"
            reason = errors.missing_users or reason
            advice = "check the tasks and wait times of its users"
        else:
            advice, values = longer_level(level.level, enough_s), {"level_time_s": enough_s}
    return ValidityIssue(
        kind=IssueKind.NO_REQUEST_IN_HOLD,
        message=f"no request was sent in the hold: {reason}; {advice}",
        values=values,
    )


def delay_issues(stats: Watched, medians: Iterable[_Median]) -> Issues:
    """Whether arrivals without a kernel time may have been read too late for these medians."""
    without = stats.reads - stats.reads_with_kernel_time
    if without <= NEGLIGIBLE_SHARE * stats.reads:
        return
    values = {"reads_without_kernel_time": float(without), "reads": float(stats.reads)}
    known = f"{without:,} of {stats.reads:,} reads have no receive time of the kernel"
    # A read's delay is only seen beside the kernel's time. Where most have none, the loop's lag stands in for it.
    if stats.client_delay_s.count >= without or not stats.loop_lag_s.count:
        what, late = "client delay", quantile(stats.client_delay_s, 0.99)
    else:
        what, late = "event-loop lag", quantile(stats.loop_lag_s, 0.99)
    if late is None:
        yield ValidityIssue(
            kind=IssueKind.UNKNOWN_CLIENT_DELAY,
            message=f"{known}, so latencies include the time until the client read them, which is unknown",
            values=values,
        )
        return
    for figure, median_s in medians:
        if late.value > _SUSPECT_SHARE * median_s:
            yield ValidityIssue(
                kind=IssueKind.CLIENT_DELAY,
                message=f"{known}, so latencies include the time until the client read them: {what} (p99 "
                f"{_ms(late.value)}) is more than {_of_median(figure, median_s)}. Measure on Linux without "
                f"--stamps user. {_TOO_SLOW_ADVICE}",
                values=values | {"delay_p99_s": late.value, "median_s": median_s},
            )


def _uncertainty_issues(scope: ScopeStats, *, in_lumps: bool) -> Issues:
    """Whether too many first outputs may have arrived much earlier than recorded, as they were read together with later
    ones. in_lumps: whether they came so, for which this machine need not have been busy."""
    median, uncertain = quantile(scope.ttft_s, 0.5), scope.ttft_uncertainty_s
    if median is None or not uncertain.count:
        return
    bound_s = _SUSPECT_SHARE * median.value
    late = uncertain.count - uncertain.counts_at_or_below((bound_s,))[0]
    if late < _FEWEST_UNCERTAIN or share_interval(late, uncertain.count)[0] <= _UNCERTAIN_SHARE:
        return
    most_s = uncertain.maximum or 0.0
    cause = "" if in_lumps else "the load generator was too slow: "
    advice = "" if in_lumps else f". {_TOO_SLOW_ADVICE}"
    yield ValidityIssue(
        kind=IssueKind.UNCERTAIN_TTFT,
        message=f"{cause}in {late:,} of {uncertain.count:,} requests ({WHOLE_LEVEL}), the first token was read "
        f"together with later ones. Their true TTFT may be lower than reported, by up to {_ms(most_s)}. The limit: "
        f"no more than about {_percent(_UNCERTAIN_SHARE)} of a level's requests uncertain by over "
        f"{bound_s * 1000:,.2f} ms ({_percent(_SUSPECT_SHARE)} of the whole level's median TTFT, {_ms(median.value)}). "
        "No true TTFT is higher than reported: a ttft objective that is met stays met. Where the true TTFT is lower, "
        f"the rest of the answer took longer: the true TPOT may be a little higher{advice}",
        values={"uncertain": late, "first_outputs": uncertain.count, "max_s": most_s, "median_s": median.value},
    )


def _concurrency_issues(found: Concurrency | None, errors: TaskErrors) -> Issues:
    """Whether the requested users were there in the hold. errors: those of the locustfile."""
    if found is None or found.as_requested:
        return
    late = "started late, or their process stood still or was lost"
    unknown = (
        f"they ended with an error of the locustfile, which is to be mended first; others {late}"
        if errors.count
        else f"they {late}. {_TOO_SLOW_ADVICE}"
    )
    yield ValidityIssue(
        kind=IssueKind.FEWER_USERS,
        message=f"fewer than {_percent(ENOUGH_SHARE)} of the {found.requested:,} users were there for "
        f"{found.short_s:,} of {found.seconds:,} s of the hold ({_percent(found.short_share)}; mean {found.mean:,.1f}, "
        f"minimum {found.min:,.1f}): {errors.missing_users or unknown}",
        values={"requested": found.requested, "short_s": found.short_s, "mean": found.mean, "min": found.min},
    )


def _lag_issues(loop_lag_s: Histogram, medians: Iterable[_Median]) -> Issues:
    """Whether the client's event loop was so late that its users sent later than they should have, whoever took the
    timestamps."""
    lag = quantile(loop_lag_s, 0.99)
    ttft_s = min((median.value_s for median in medians if median.figure == "TTFT"), default=0.0)
    bound_s = max(_LATE_LOOP_S, _SUSPECT_SHARE * ttft_s)
    if lag is not None and lag.value > bound_s:
        yield ValidityIssue(
            kind=IssueKind.LATE_LOOP,
            message=f"the client's event loop was late by {_ms(lag.value)} (p99), more than {_ms(bound_s)}: its users "
            "sent their next requests later than they should have, so that the server had less to do. "
            f"{_TOO_SLOW_ADVICE}",
            values={"lag_p99_s": lag.value, "bound_s": bound_s},
        )


def _silent_window_issues(aggregator: Aggregator, level: LevelStats) -> Issues:
    """Whether windows of the hold had users and no token, where requests are not that slow by themselves. Tokens are
    known when their request ends: a running level has no such windows yet."""
    ended_s, planned, hold = level.ended_s, level.level, level.scopes[Scope.HOLD]
    if ended_s is None or ended_s > aggregator.reported_until_s or planned.arrivals is not None:
        return
    if planned.think_time is not None or planned.own_users or level.think.pauses:  # all users may think at once
        return
    slow = (quantile(hold.ttft_s, 0.5), quantile(hold.gap_s, 0.99))
    if any(found is not None and found.value >= WINDOW_S for found in slow):
        return
    hold_began_s, hold_ends_s = level.hold_s(ended_s)
    silent = [
        f"{start_s:g} to {start_s + WINDOW_S:g} s"
        for number, window in enumerate(aggregator.windows_of(level, ended_s))
        if (start_s := number * WINDOW_S) >= hold_began_s
        and start_s + WINDOW_S <= hold_ends_s
        and not window.output_tokens
        and level.users_between(start_s, start_s + WINDOW_S) >= planned.users / 2
    ]
    if silent:
        named = ", ".join(silent[:_MOST_NAMED]) + (" and more" if len(silent) > _MOST_NAMED else "")
        windows = "1 window" if len(silent) == 1 else f"{len(silent):,} windows"
        yield ValidityIssue(
            kind=IssueKind.SILENT_WINDOWS,
            message=f"no token arrived in {windows} of 5 s although users were there ({named} of the level)",
            values={"windows": len(silent)},
        )


def _open_loop_issues(aggregator: Aggregator, level: LevelStats) -> Issues:
    """Whether requests were sent when they were due. A limit of requests in flight delays them on purpose."""
    arrivals, hold = level.level.arrivals, level.scopes[Scope.HOLD]
    if arrivals is None:
        return
    lag, median = quantile(hold.lag_s, 0.99), quantile(hold.ttft_s, 0.5)
    kept = arrivals.max_in_flight is None and not arrivals.at_once
    bound_s = _SUSPECT_SHARE * median.value if median else inf
    if kept and lag and median and lag.value > bound_s:
        yield ValidityIssue(
            kind=IssueKind.SEND_LAG,
            message=f"the load generator could not keep the schedule: the lag (time sent minus time due) was "
            f"{_ms(lag.value)} at p99; the limit is {bound_s * 1000:,.2f} ms "
            f"({_percent(_SUSPECT_SHARE)} of the median TTFT, {_ms(median.value)}). {_TOO_SLOW_ADVICE}",
            values={"lag_p99_s": lag.value, "median_s": median.value, "bound_s": bound_s},
        )
    if level.ended_s is None or level.ended_s > aggregator.reported_until_s:
        return  # requests that have been sent are known when they have ended
    figures = open_loop_figures(level, level.ended_s)
    if figures is not None:
        yield from gap_issues(level, figures)
    if figures is not None and figures.not_sent and figures.offered:
        yield ValidityIssue(
            kind=IssueKind.NOT_SENT,
            message=f"{figures.not_sent:,} of {figures.offered:,} requests that were due were not sent: the load was "
            "lower than requested",
            values={"not_sent": figures.not_sent, "offered": figures.offered},
        )
    yield from _audit_issues(level, not_sent=figures.not_sent or 0 if figures else 0)


def _audit_issues(level: LevelStats, not_sent: int) -> Issues:
    """Whether what was sent has the rate and the gaps of the requested arrivals. not_sent: requests that were due; they
    are missing in both."""
    audit = load_audit(level, level.ended_s or 0.0, None)
    if audit is None or level.level.arrivals is None or not_sent:
        return
    if not audit.as_requested:
        yield ValidityIssue(
            kind=IssueKind.ARRIVAL_RATE,
            message=f"{audit.measured:.4g} {audit.unit} were sent where {audit.requested:.4g} were requested, a "
            "difference larger than chance",
            values={"measured": audit.measured, "requested": audit.requested},
        )
    gaps = audit.gaps
    if gaps is not None and gaps.as_requested is False and level.level.arrivals.max_in_flight is None:
        yield ValidityIssue(
            kind=IssueKind.ARRIVAL_GAPS,
            message=f"the gaps between {gaps.gaps:,} requests are not those of "
            f"{arrivals_in_words(level.level.name, gaps.process)} (Kolmogorov-Smirnov distance "
            f"{gaps.distance_tolerated:.2g} where gaps that differ by less than "
            f"{_ms(gaps.tolerance_s)} do not count): the client could not keep the schedule",
            values={"distance": gaps.distance_tolerated, "chance": gaps.chance_tolerated, "gaps": gaps.gaps},
        )


def _request_limit_issues(aggregator: Aggregator, level: LevelStats) -> Issues:
    """Whether a closed loop sent as many requests as it should have before its time was over."""
    requests = level.level.requests
    if requests is None or level.level.arrivals is not None or level.interrupted or level.ended_s is None:
        return
    if level.ended_s <= aggregator.reported_until_s and (missing := requests - level.shares.recorded):
        cause = f"before the level's time was over; {longer_level(level.level)}"
        if level.finished_s is not None:
            cause = f"by lost workers: {', '.join(map(str, level.shares.lost))}"
        yield ValidityIssue(
            kind=IssueKind.NOT_SENT,
            message=f"{missing:,} of {requests:,} requests were not sent {cause}",
            values={"not_sent": missing, "offered": requests},
        )


def _usage_issues(scope: ScopeStats) -> Issues:
    """Whether the server reported impossible token counts."""
    if rejected := scope.requests_with_rejected_usage:
        ok = scope.outcomes[Outcome.OK]
        yield ValidityIssue(
            kind=IssueKind.IMPOSSIBLE_TOKEN_COUNTS,
            message=f"for {rejected:,} of {ok:,} responses ({WHOLE_LEVEL}) the server reported more output "
            "tokens than --max-tokens or their bytes allow; these counts are not used",
            values={"responses": rejected, "ok": ok},
        )


def self_check_issues(check: SelfCheck | None, medians: Iterable[_Median]) -> Issues:
    """Whether the timing error that a client found in itself matters for these medians."""
    if check is None:
        return
    errors = {"TTFT": check.ttft_error_s, "gap": check.gap_error_s}
    for figure, median_s in medians:
        if (error := errors[figure]) is not None and error.p99 > _SUSPECT_SHARE * median_s:
            yield ValidityIssue(
                kind=IssueKind.SELF_CHECK_ERROR,
                message=f"the client calibration before the load found a {figure} error (p99 {_ms(error.p99)}) of more "
                f"than {_of_median(figure, median_s)}",
                values={"error_p99_s": error.p99, "median_s": median_s},
            )


def medians_of(scope: ScopeStats) -> list[_Median]:
    """The medians that a client's delay is compared with."""
    return [
        _Median(figure, median[0])
        for figure, histogram in (("TTFT", scope.ttft_s), ("gap", scope.gap_s))
        if (median := histogram.values_at((0.5,))) and median[0]
    ]


def smallest_medians(aggregator: Aggregator) -> list[_Median]:
    """Of all levels, figure by figure: what a worker's own error is compared with."""
    medians = [
        median for level in measured_levels(aggregator).values() for median in medians_of(level.scopes[Scope.WHOLE])
    ]
    figures = dict.fromkeys(median.figure for median in medians)
    return [min((m for m in medians if m.figure == figure), key=lambda m: m.value_s) for figure in figures]


def _of_median(figure: str, median_s: float) -> str:
    return f"{_percent(_SUSPECT_SHARE)} of the median {figure} ({_ms(median_s)})"


def _percent(share: float) -> str:
    return f"{share * 100:.0f} %"


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms"
