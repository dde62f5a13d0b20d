"""The run's own proof: whether its client may have reached into the figures, and whether a core is too little."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, Protocol

from metrics.concurrency import ENOUGH_SHARE, Concurrency
from metrics.health import CoreUse, SelfCheck
from metrics.histogram import Histogram
from metrics.ledger import WINDOW_S, Ledger, LevelBooks, PartBooks, WorkerBooks
from metrics.quantiles import quantile, share_interval
from metrics.stage import PROMPT, Part, Phase
from metrics.timeline import Outcome

#: A client's own error above this share of a result's median reaches into the result.
_SUSPECT_SHARE = 0.05
#: So many reads may lack the kernel's receive time before it matters: the first of a host, say, move no percentile.
_NEGLIGIBLE_SHARE = 0.001
#: TTFTs that may be wrong reach into the results where significantly more than this share of a level's are (the 95 %
#: interval of their share lies above it), and at least so many: one in a short run is chance.
_UNCERTAIN_SHARE = 0.01
_FEWEST_UNCERTAIN = 2
#: A loop that is later than this (p99), and later than _SUSPECT_SHARE of the median TTFT, changes the load.
_LATE_LOOP_S = 0.25
#: Windows that a reason names.
_MOST_NAMED = 5
#: A worker that uses more than this of a core in a hold has nothing left for what comes together.
_FULL_CORE = 0.9
#: A shorter hold, or the beginning of one, says little of the core.
_JUDGED_AFTER_S = 3.0
#: Half of all events noticed later than this: the loop is never done with what there is to do.
_SATURATED_LAG_S = 0.02


class Watched(Protocol):
    """Books of what was read, of a part of a level or of a worker."""

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


def level_name(level: LevelBooks) -> str:
    """A level as a reason names it."""
    return f"{level.stage.level} users {PROMPT[level.stage.system_prompt]}"


def delay_reasons(books: Watched, medians: Iterable[_Median]) -> Iterator[str]:
    """Whether arrivals that have no kernel time may have been read too late for these figures."""
    without = books.reads - books.reads_with_kernel_time
    if without <= _NEGLIGIBLE_SHARE * books.reads:
        return
    told = f"{without:,} of {books.reads:,} reads without the kernel's receive time"
    # A read's delay is only seen beside the kernel's time. Where most have none, the loop's lag stands in for it.
    if books.client_delay_s.count >= without or not books.loop_lag_s.count:
        what, late = "the client's own delay", quantile(books.client_delay_s, 0.99)
    else:
        what, late = "the lag of the client's own loop", quantile(books.loop_lag_s, 0.99)
    if late is None:
        yield f"{told}, so that the client's own delay is not known"
        return
    for figure, median_s in medians:
        if late.value > _SUSPECT_SHARE * median_s:
            yield f"{told}, and {what} (p99 {_ms(late.value)}) is more than {_of_median(figure, median_s)}"


def uncertainty_reasons(part: PartBooks) -> Iterator[str]:
    """Whether too many first outputs may have arrived much earlier than recorded, as they were read together with what
    came behind them."""
    median, uncertain = quantile(part.ttft_s, 0.5), part.ttft_uncertainty_s
    if median is None or not uncertain.count:
        return
    bound_s = _SUSPECT_SHARE * median.value
    late = uncertain.count - uncertain.counts_at_or_below((bound_s,))[0]
    if late < _FEWEST_UNCERTAIN or share_interval(late, uncertain.count)[0] <= _UNCERTAIN_SHARE:
        return
    yield (
        f"{late:,} of {uncertain.count:,} first outputs ({late / uncertain.count:.1%}) may have arrived earlier than "
        f"recorded by more than {_of_median('TTFT', median.value)}, by up to {_ms(uncertain.maximum or 0.0)}: this "
        "machine read them late; measure where nothing else runs, or with more processes (--processes -1)"
    )


def concurrency_reasons(found: Concurrency | None) -> Iterator[str]:
    """Whether the users that were asked for were there in the hold."""
    if found is None or found.as_requested:
        return
    yield (
        f"fewer than {ENOUGH_SHARE:.0%} of the {found.requested:,} users were there for {found.short_s:,} of "
        f"{found.seconds:,} s of the hold ({found.short_share:.0%}; mean {found.mean:,.1f}, minimum {found.min:,.1f})"
    )


def lag_reasons(loop_lag_s: Histogram, medians: Iterable[_Median]) -> Iterator[str]:
    """Whether the client's loop was so late that its users sent later than they should have, whoever stamped the
    times."""
    lag = quantile(loop_lag_s, 0.99)
    ttft_s = min((median.value_s for median in medians if median.figure == "TTFT"), default=0.0)
    bound_s = max(_LATE_LOOP_S, _SUSPECT_SHARE * ttft_s)
    if lag is not None and lag.value > bound_s:
        yield (
            f"the client's loop was late by {_ms(lag.value)} (p99), more than {_ms(bound_s)}: its users sent later "
            "than they should have"
        )


def silent_window_reasons(ledger: Ledger, level: LevelBooks) -> Iterator[str]:
    """Whether windows of the hold had users and no token, where answers are not that slow by themselves. Tokens are
    known when their request ends: a level that runs has no such windows yet."""
    ended_s, stage, hold = level.ended_s, level.stage, level.parts[Part.HOLD]
    if ended_s is None or ended_s > ledger.reported_until_s:
        return
    slow = (quantile(hold.ttft_s, 0.5), quantile(hold.gap_s, 0.99))
    if any(found is not None and found.value >= WINDOW_S for found in slow):
        return
    hold_began_s, hold_ends_s = level.hold_s(ended_s)
    silent = [
        f"{start_s:g} to {start_s + WINDOW_S:g} s"
        for number, window in enumerate(ledger.windows_of(level, ended_s))
        if (start_s := number * WINDOW_S) >= hold_began_s
        and start_s + WINDOW_S <= hold_ends_s
        and not window.output_tokens
        and level.users_between(start_s, start_s + WINDOW_S) >= stage.users / 2
    ]
    if silent:
        named = ", ".join(silent[:_MOST_NAMED]) + (" and more" if len(silent) > _MOST_NAMED else "")
        windows = "1 window" if len(silent) == 1 else f"{len(silent):,} windows"
        yield f"no token arrived in {windows} of 5 s although users were there ({named} of the level)"


def usage_reasons(part: PartBooks) -> Iterator[str]:
    """Whether the server reported token counts that cannot be."""
    if rejected := part.requests_with_rejected_usage:
        yield (
            f"for {rejected:,} of {part.outcomes[Outcome.OK]:,} answers the server reported more output tokens than "
            "--max-tokens or their bytes allow; these counts are not used"
        )


def client_limit_reasons(part: PartBooks) -> Iterator[str]:
    """Whether requests failed because the client's own machine was out of files, ports or memory."""
    if failed := part.outcomes[Outcome.CLIENT_LIMIT]:
        yield (
            f"{failed:,} of {part.requests:,} requests failed because the client's machine reached a limit of its own "
            "(client_limit in requests.csv says which): the load was not what was asked for"
        )


def medians_of(part: PartBooks) -> list[_Median]:
    """The medians that a client's delay is held against."""
    return [
        _Median(figure, median[0])
        for figure, histogram in (("TTFT", part.ttft_s), ("gap", part.gap_s))
        if (median := histogram.values_at((0.5,))) and median[0]
    ]


def smallest_medians(ledger: Ledger) -> list[_Median]:
    """Of all levels, figure by figure: what a worker's own error is held against."""
    medians = [median for level in ledger.levels.values() for median in medians_of(level.parts[Part.WHOLE])]
    figures = dict.fromkeys(median.figure for median in medians)
    return [min((m for m in medians if m.figure == figure), key=lambda m: m.value_s) for figure in figures]


def worker_reasons(worker: WorkerBooks, smallest: Sequence[_Median]) -> list[str]:
    """Why this worker's requests may not be what went over the wire. smallest: of the run, see smallest_medians."""
    return [
        *delay_reasons(worker, smallest),
        *lag_reasons(worker.loop_lag_s, smallest),
        *self_check_reasons(worker.self_check, smallest),
    ]


def self_check_reasons_of(ledger: Ledger) -> Iterator[str]:
    """The same as far as the workers' self-checks say so, each worker named."""
    smallest = smallest_medians(ledger)
    for number, worker in ledger.workers.items():
        yield from (f"worker {number}: {reason}" for reason in self_check_reasons(worker.self_check, smallest))


def self_check_reasons(check: SelfCheck | None, medians: Iterable[_Median]) -> Iterator[str]:
    """Whether the error that a client found in itself reaches into these figures."""
    if check is None:
        return
    errors = {"TTFT": check.ttft_error_s, "gap": check.gap_error_s}
    for figure, median_s in medians:
        if (error := errors[figure]) is not None and error.p99 > _SUSPECT_SHARE * median_s:
            yield (
                f"in the self-check before the load its {figure} error (p99 {_ms(error.p99)}) was more than "
                f"{_of_median(figure, median_s)}"
            )


def hints(ledger: Ledger) -> dict[int, str]:
    """By worker that needs more than its core: the figure, and what to do."""
    told = {number: _core_hint(worker, ledger) for number, worker in ledger.workers.items()}
    return {number: f"worker {number} {words}" for number, words in told.items() if words}


def fullest_hold(worker: WorkerBooks) -> tuple[int, CoreUse] | None:
    """(stage, use of the core) of the hold in which the worker used most of it; None where none lasted long enough."""
    holds = [
        (stage, use)
        for (stage, phase), use in worker.core_use.items()
        if phase is Phase.HOLD and use.wall_s >= _JUDGED_AFTER_S
    ]
    return max(holds, key=lambda hold: hold[1].utilization or 0.0, default=None)


def _core_hint(worker: WorkerBooks, ledger: Ledger) -> str:
    fullest = fullest_hold(worker)
    if fullest is None:
        return ""
    stage, use = fullest
    lag = worker.loop_lag_s.values_at((0.5,))
    if (use.utilization or 0.0) > _FULL_CORE:
        figure = f"used {use.utilization:.0%} of a core in the hold of {level_name(ledger.levels[stage])}"
    elif lag is not None and lag[0] > _SATURATED_LAG_S:
        figure = f"noticed half of all events more than {_ms(lag[0])} late"
    else:
        return ""
    if worker.reads_with_kernel_time >= (1 - _NEGLIGIBLE_SHARE) * worker.reads:
        consequence = "times are the kernel's and still right, but its users asked again later than they could have"
    else:
        consequence = "times are its own, and late"
    return f"{figure}: give the load more processes (--processes -1: one a core) or more workers; {consequence}"


def _of_median(figure: str, median_s: float) -> str:
    return f"{_SUSPECT_SHARE:.0%} of the median {figure} ({_ms(median_s)})"


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms"
