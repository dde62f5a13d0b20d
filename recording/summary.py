"""A run's statistics as the figures of summary.json and summary.csv."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from tokenswarm.metrics.concurrency import Concurrency
from tokenswarm.metrics.intervals import share_within
from tokenswarm.metrics.level import Scope, SystemPrompt
from tokenswarm.metrics.mix import NO_MIX, MixMember, RunMix
from tokenswarm.metrics.objectives import GOOD_UP_TO, Objectives
from tokenswarm.metrics.quantiles import quantile
from tokenswarm.metrics.timeline import Outcome
from tokenswarm.recording.abandon_summary import abandon_figures
from tokenswarm.recording.aggregator import Aggregator, LevelStats
from tokenswarm.recording.core_hints import fullest_hold
from tokenswarm.recording.distributions import distribution, rate_distribution
from tokenswarm.recording.load_audit import load_audit
from tokenswarm.recording.mix_stats import MemberStats, MixStats
from tokenswarm.recording.open_loop import open_loop_figures
from tokenswarm.recording.scope_stats import ScopeStats
from tokenswarm.recording.server_samples import ServerSamples
from tokenswarm.recording.session_summary import session_figures
from tokenswarm.recording.validity import smallest_medians, validity, worker_issues
from tokenswarm.recording.worker_stats import WorkerStats
from tokenswarm.run_folder.concurrency_summary import ConcurrencySummary
from tokenswarm.run_folder.length_figures import LengthFigures
from tokenswarm.run_folder.mix_figures import MemberFigures
from tokenswarm.run_folder.schema import (
    Capacity,
    Figures,
    Goodput,
    LevelSummary,
    ServerFigures,
    Validity,
    WorkerSummary,
)
from tokenswarm.run_folder.think_time_figures import RECORDED_DELAYS, ThinkTimeFigures
from tokenswarm.run_folder.warm_up_summary import WarmUpSummary


class MixFigures(NamedTuple):
    """Of each model, of each host and of each name."""

    models: tuple[MemberFigures, ...] = ()
    hosts: tuple[MemberFigures, ...] = ()
    names: tuple[MemberFigures, ...] = ()


NO_MEMBERS = MixFigures()


def figures(
    stats: ScopeStats,
    seconds: float,
    objectives: Objectives,
    server: ServerFigures | None = None,
    *,
    open_loop: bool = False,
    members: MixFigures = NO_MEMBERS,
) -> Figures:
    """The figures of one part that lasted so many seconds. open_loop: with times from scheduled; members: those of
    each model, host and name."""

    def rate(amount: float) -> float | None:
        return amount / seconds if seconds > 0 else None

    return Figures(
        seconds=seconds,
        requests=stats.requests,
        outcomes=dict(stats.outcomes),
        failures=_failures(stats.outcomes),
        output_tokens=stats.output_tokens,
        token_rate=rate(stats.output_tokens),
        good_token_rate=rate(stats.good_output_tokens),
        request_rate=rate(stats.outcomes[Outcome.OK]),
        goodput=_goodput(stats, seconds) if objectives.bounds and seconds > 0 else None,
        output_tokens_sources=dict(stats.token_sources),
        stamps=dict(stats.stamps),
        requests_with_gaps=stats.requests_with_gaps,
        requests_with_uncertain_ttft=stats.requests_with_uncertain_ttft,
        ttft_s=distribution(stats.ttft_s),
        ttft_uncertainty_s=distribution(stats.ttft_uncertainty_s),
        ttfvt_s=distribution(stats.ttfvt_s),
        tpot_s=distribution(stats.tpot_s),
        gap_s=distribution(stats.gap_s),
        e2e_s=distribution(stats.e2e_s),
        lag_s=distribution(stats.lag_s) if open_loop else None,
        ttft_scheduled_s=distribution(stats.ttft_scheduled_s) if open_loop else None,
        e2e_scheduled_s=distribution(stats.e2e_scheduled_s) if open_loop else None,
        request_token_rate=rate_distribution(stats.request_token_rate),
        connect_s=distribution(stats.connect_s),
        client_delay_s=distribution(stats.client_delay_s),
        loop_lag_s=distribution(stats.loop_lag_s),
        server=server,
        prompts=stats.prompts.figures(),
        retries=stats.retries,
        requests_with_rejected_usage=stats.requests_with_rejected_usage,
        requests_without_tpot=stats.requests_without_tpot,
        outputs_per_arrival=_rounded(stats.outputs_per_arrival),
        tokens_per_event=_rounded(stats.tokens_per_event),
        models=members.models,
        hosts=members.hosts,
        names=members.names,
        deviations=dict(sorted(stats.deviations.items())),
        input_lengths=LengthFigures.of(stats.input_lengths),
        output_lengths=LengthFigures.of(stats.output_lengths),
        requests_not_judged=stats.requests_not_judged,
    )


def mix_figures(stats: MixStats, mix: RunMix, seconds: float) -> MixFigures:
    """The figures of each model, host and name in a part that lasted so many seconds."""
    names = sorted(stats.names)
    return MixFigures(
        _member_figures(stats.models, mix.models, seconds),
        _member_figures(stats.hosts, mix.hosts, seconds),
        _member_figures([stats.names[name] for name in names], [MixMember(name) for name in names], seconds),
    )


def _member_figures(
    stats: Sequence[MemberStats], members: Sequence[MixMember], seconds: float
) -> tuple[MemberFigures, ...]:
    requests = sum(each.requests for each in stats)
    return tuple(
        MemberFigures(
            name=member.name,
            requests=each.requests,
            repeated=each.repeated,
            share=each.requests / requests if requests else None,
            requested_share=member.share,
            outcomes=dict(each.outcomes),
            failures=each.failures,
            output_tokens=each.output_tokens,
            token_rate=each.output_tokens / seconds if seconds > 0 else None,
            request_rate=each.outcomes[Outcome.OK] / seconds if seconds > 0 else None,
            ttft_s=distribution(each.ttft_s),
            tpot_s=distribution(each.tpot_s),
            e2e_s=distribution(each.e2e_s),
            request_token_rate=rate_distribution(each.request_token_rate),
        )
        for each, member in zip(stats, members)
    )


def _failures(outcomes: Mapping[str, int]) -> int:
    return sum(count for name, count in outcomes.items() if Outcome(name).is_failure)


def _rounded(mean: float | None) -> float | None:
    return None if mean is None else round(mean, 4)


def _goodput(stats: ScopeStats, seconds: float) -> Goodput:
    share = share_within(stats.judged.series(), GOOD_UP_TO)
    return Goodput(
        requests_per_s=stats.requests_within_objectives / seconds,
        tokens_per_s=stats.tokens_within_objectives / seconds,
        fraction=stats.good_share,
        fraction_low=share.low if share else None,
        fraction_high=share.high if share else None,
    )


def level_summary(
    level: LevelStats,
    now_s: float,
    objectives: Objectives,
    server: ServerSamples | None = None,
    concurrency: Concurrency | None = None,
    mix: RunMix = NO_MIX,
) -> LevelSummary:
    """One level's figures, as of now if it still runs. mix: names its models and hosts."""

    def part(which: Scope) -> Figures:
        of_server = server.figures(level, which, now_s) if server else None
        open_loop = level.level.arrivals is not None
        seconds = level.seconds(which, now_s)
        members = mix_figures(level.mix[which], mix, seconds)
        return figures(level.scopes[which], seconds, objectives, of_server, open_loop=open_loop, members=members)

    hold = part(Scope.HOLD)
    open_loop = open_loop_figures(level, now_s)
    stable = open_loop is None or not open_loop.unstable
    met = stable and hold.goodput is not None and (hold.goodput.fraction or 0.0) >= objectives.share
    return LevelSummary(
        index=level.level.index,
        system_prompt=level.level.system_prompt,
        level=level.level.name,
        users=level.level.users,
        complete=level.complete,
        meets_objectives=met and level.complete if objectives.bounds else None,
        hold=hold,
        whole=part(Scope.WHOLE),
        concurrency=ConcurrencySummary.of(concurrency),
        open_loop=open_loop,
        load_audit=load_audit(level, now_s, concurrency),
        think_time=_think_time(level),
        sessions=session_figures(level.sessions),
        cache_flushed=level.level.cache_flushed,
        abandonment=abandon_figures(level, now_s, server) if level.left else None,
    )


def _think_time(level: LevelStats) -> ThinkTimeFigures | None:
    planned, found = level.level.think_time, level.think
    if planned is None and not found.pauses:
        return None
    notation = RECORDED_DELAYS if planned is None else planned.notation
    expected_s = found.requested_mean_s or 0.0 if planned is None else planned.mean_s
    return ThinkTimeFigures(notation, expected_s, found.pauses, found.requested_mean_s, found.actual_mean_s)


def warm_up_summaries(aggregator: Aggregator, now_s: float) -> tuple[WarmUpSummary, ...]:
    """The warm-ups that have begun by now."""
    return tuple(
        WarmUpSummary(
            index=level.level.index,
            system_prompt=level.level.system_prompt,
            level=level.level.name,
            seconds=level.seconds(Scope.WHOLE, now_s),
            requests=level.shares.recorded,
            failures=level.failures,
        )
        for level in aggregator.levels.values()
        if level.level.warm_up
    )


def worker_summaries(aggregator: Aggregator) -> list[WorkerSummary]:
    """Every worker that has reported, in the order of their numbers."""
    smallest = smallest_medians(aggregator)
    return [
        _worker_summary(number, worker, validity(worker_issues(worker, smallest)))
        for number, worker in sorted(aggregator.workers.items())
    ]


def _worker_summary(number: int, worker: WorkerStats, verdict: Validity) -> WorkerSummary:
    fullest, lag, delay = fullest_hold(worker), quantile(worker.loop_lag_s, 0.99), quantile(worker.client_delay_s, 0.99)
    return WorkerSummary(
        worker=number,
        requests=worker.ended,
        cpu_utilization=worker.whole_use.utilization,
        cpu_utilization_hold_max=fullest[1].utilization if fullest else None,
        loop_lag_p99_s=lag.value if lag else None,
        client_delay_p99_s=delay.value if delay else None,
        self_check=worker.self_check,
        validity=verdict,
    )


class JudgedLevel(Protocol):
    """What capacities are found from."""

    @property
    def system_prompt(self) -> SystemPrompt: ...
    @property
    def level(self) -> str: ...
    @property
    def users(self) -> int: ...
    @property
    def load(self) -> float: ...
    @property
    def meets_objectives(self) -> bool | None: ...


def capacities(levels: Sequence[JudgedLevel]) -> list[Capacity]:
    """For each system-prompt mode that has levels, in the run's order; none without objectives. A level that meets what
    a smaller one missed is no capacity: something other than its load decided."""
    found: dict[SystemPrompt, JudgedLevel | None] = {}
    missed: set[str] = set()
    for level in sorted(levels, key=lambda level: level.load):
        if level.meets_objectives is None:
            continue
        mode = level.system_prompt
        found.setdefault(mode, None)
        if not level.meets_objectives:
            missed.add(mode)
        elif mode not in missed:
            found[mode] = level
    in_order = dict.fromkeys(level.system_prompt for level in levels if level.system_prompt in found)
    return [
        Capacity(mode, largest.level, largest.users) if (largest := found[mode]) else Capacity(mode, None, None)
        for mode in in_order
    ]
