"""The books as figures: what summary.json and summary.csv say.

History of the format of a results folder (run.json and summary.json name it; every version is read by reports/):
1  the first.
2  summary.json: objective_share and capacity, meets_objectives of each level, and the interval of goodput's fraction.
   run.json: the system prompt's fingerprint among the prompts' facts. requests.csv: first_body_ms, first_event_ms,
   last_event_ms and events, for the figures as others count them; ttft_uncertainty_ms, and reads. summary.json:
   ttft_uncertainty_s and requests_with_uncertain_ttft. Later in the same format: requests.csv: prompt_id, prompt_hash,
   cached_tokens; summary.json: `prompts` of each part and of the run; run.json: reuse, nonce and nonce_source among the
   prompts' facts; retries in requests.csv and summary.json.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import msgspec

from metrics.concurrency import Concurrency
from metrics.health import SelfCheck
from metrics.histogram import Histogram
from metrics.ledger import Ledger, LevelBooks, PartBooks, WorkerBooks
from metrics.objectives import Objectives
from metrics.prompts_sent import PromptFigures
from metrics.proof import (
    client_limit_reasons,
    concurrency_reasons,
    delay_reasons,
    fullest_hold,
    lag_reasons,
    level_name,
    medians_of,
    self_check_reasons_of,
    silent_window_reasons,
    smallest_medians,
    uncertainty_reasons,
    usage_reasons,
    worker_reasons,
)
from metrics.quantiles import Quantile, quantile, share_interval
from metrics.roster import WorkerEvent
from metrics.server import ServerBooks, ServerFigures
from metrics.stage import Part
from metrics.timeline import Outcome

#: Version of the folder; its history is this module's head.
FORMAT = 2


class Distribution(msgspec.Struct, frozen=True):
    """What is told of a histogram. In its unit: seconds, or tokens a second."""

    count: int
    mean: float | None
    min: float | None
    max: float | None
    p50: Quantile | None
    p90: Quantile | None
    p95: Quantile | None
    p99: Quantile | None


class RateDistribution(Distribution, frozen=True):
    """A distribution whose slow end is its low one."""

    p1: Quantile | None
    p5: Quantile | None
    p10: Quantile | None


class Goodput(msgspec.Struct, frozen=True):
    """Requests within every objective, a second; the same of their tokens; their share of all requests sent, with its
    95 % interval."""

    requests_per_s: float
    tokens_per_s: float
    fraction: float | None
    fraction_low: float | None
    fraction_high: float | None


class Figures(msgspec.Struct, frozen=True):
    """One part of one level. Rates are None where the part has no length; request_rate is of ok requests sent in it,
    requests_with_gaps of those whose gaps were measured, requests_with_uncertain_ttft of those whose first output may
    have come earlier than told, by ttft_uncertainty_s at most (0 for the others); server is None where the server tells
    nothing of itself. retries: how often requests were sent again, whatever became of them.
    requests_with_rejected_usage: ok requests whose server reported more output tokens than can be;
    requests_without_tpot: ok requests of several tokens, most of which came in one arrival."""

    seconds: float
    requests: int
    outcomes: dict[str, int]
    failures: int
    output_tokens: float
    token_rate: float | None
    good_token_rate: float | None
    request_rate: float | None
    goodput: Goodput | None
    output_tokens_sources: dict[str, int]
    stamps: dict[str, int]
    requests_with_gaps: int
    requests_with_uncertain_ttft: int
    ttft_s: Distribution
    ttft_uncertainty_s: Distribution
    ttfvt_s: Distribution
    tpot_s: Distribution
    gap_s: Distribution
    e2e_s: Distribution
    request_token_rate: RateDistribution
    connect_s: Distribution
    client_delay_s: Distribution
    loop_lag_s: Distribution
    server: ServerFigures | None
    prompts: PromptFigures = PromptFigures()
    retries: int = 0
    requests_with_rejected_usage: int = 0
    requests_without_tpot: int = 0


class ConcurrencySummary(msgspec.Struct, frozen=True):
    """Users that were there in the whole seconds of a hold: mean over them, the fewest, and the share of them (0 to 1)
    in which less than 95 % of the requested users were there."""

    requested: int
    mean: float
    min: float
    short_share: float

    @classmethod
    def of(cls, found: Concurrency | None) -> ConcurrencySummary | None:
        """As it is written down."""
        if found is None:
            return None
        mean, least, share = (round(figure, 4) for figure in (found.mean, found.min, found.short_share))
        return cls(found.requested, mean, least, share)


class LevelSummary(msgspec.Struct, frozen=True):
    """One level under one system-prompt mode. meets_objectives: of its hold, a level cut short meets none; None without
    objectives. concurrency: requested against actual users in the hold, None where it has no whole second."""

    stage: int
    system_prompt: str
    level: str
    users: int
    complete: bool
    meets_objectives: bool | None
    hold: Figures
    whole: Figures
    concurrency: ConcurrencySummary | None = None


class Capacity(msgspec.Struct, frozen=True):
    """The largest level of a system-prompt mode that meets the objectives as all the smaller ones do; None where not
    even the smallest does."""

    system_prompt: str
    level: str | None
    users: int | None


class Validity(msgspec.Struct, frozen=True):
    """`valid`, or `suspect` with the reasons."""

    verdict: str
    reasons: list[str]


class Books(msgspec.Struct, frozen=True):
    """Requests that ended on the workers, that are in the histograms, that are rows of requests.csv. unaccounted: that
    were under way when their worker was last heard of."""

    fired: int
    recorded: int
    rows: int
    balanced: bool
    unaccounted: int = 0


class WorkerSummary(msgspec.Struct, frozen=True):
    """One worker over the run. requests: that ended on it; utilizations: of one core, 0 to 1, over the run and in the
    hold that took most of it (None where no hold lasted three seconds)."""

    worker: int
    requests: int
    cpu_utilization: float | None
    cpu_utilization_hold_max: float | None
    loop_lag_p99_s: float | None
    client_delay_p99_s: float | None
    self_check: SelfCheck | None
    validity: Validity


class Summary(msgspec.Struct, frozen=True):
    """summary.json. hints: what to do for a better run, by worker that needs it."""

    format: int
    status: str
    engine: str
    model: str
    host: str
    validity: Validity
    books: Books
    objectives: dict[str, float]
    objective_share: float
    capacity: list[Capacity]
    levels: list[LevelSummary]
    workers: list[WorkerSummary]
    hints: list[str]
    events: list[WorkerEvent] = msgspec.field(default_factory=list)
    prompts: PromptFigures = PromptFigures()


def distribution(histogram: Histogram) -> Distribution:
    """Mean, range and percentiles of what was recorded."""
    return Distribution(
        histogram.count,
        histogram.mean,
        histogram.minimum,
        histogram.maximum,
        *(quantile(histogram, p) for p in (0.5, 0.9, 0.95, 0.99)),
    )


def rate_distribution(histogram: Histogram) -> RateDistribution:
    """The same with the percentiles of the low end."""
    shown: dict[str, Any] = msgspec.structs.asdict(distribution(histogram))
    shown |= {f"p{p}": quantile(histogram, p / 100) for p in (1, 5, 10)}
    return RateDistribution(**shown)


def figures(books: PartBooks, seconds: float, objectives: Objectives, server: ServerFigures | None = None) -> Figures:
    """The figures of one part that lasted so many seconds."""

    def rate(amount: float) -> float | None:
        return amount / seconds if seconds > 0 else None

    return Figures(
        seconds=seconds,
        requests=books.requests,
        outcomes=dict(books.outcomes),
        failures=sum(count for name, count in books.outcomes.items() if Outcome(name).is_failure),
        output_tokens=books.output_tokens,
        token_rate=rate(books.output_tokens),
        good_token_rate=rate(books.good_output_tokens),
        request_rate=rate(books.outcomes[Outcome.OK]),
        goodput=_goodput(books, seconds) if objectives.bounds and seconds > 0 else None,
        output_tokens_sources=dict(books.token_sources),
        stamps=dict(books.stamps),
        requests_with_gaps=books.requests_with_gaps,
        requests_with_uncertain_ttft=books.requests_with_uncertain_ttft,
        ttft_s=distribution(books.ttft_s),
        ttft_uncertainty_s=distribution(books.ttft_uncertainty_s),
        ttfvt_s=distribution(books.ttfvt_s),
        tpot_s=distribution(books.tpot_s),
        gap_s=distribution(books.gap_s),
        e2e_s=distribution(books.e2e_s),
        request_token_rate=rate_distribution(books.request_token_rate),
        connect_s=distribution(books.connect_s),
        client_delay_s=distribution(books.client_delay_s),
        loop_lag_s=distribution(books.loop_lag_s),
        server=server,
        prompts=books.prompts.figures(),
        retries=books.retries,
        requests_with_rejected_usage=books.requests_with_rejected_usage,
        requests_without_tpot=books.requests_without_tpot,
    )


def _goodput(books: PartBooks, seconds: float) -> Goodput:
    within, requests = books.requests_within_objectives, books.requests
    fraction = within / requests if requests else None
    low, high = share_interval(within, requests) if requests else (None, None)
    return Goodput(within / seconds, books.tokens_within_objectives / seconds, fraction, low, high)


def level_summary(
    level: LevelBooks,
    now_s: float,
    objectives: Objectives,
    server: ServerBooks | None = None,
    concurrency: Concurrency | None = None,
) -> LevelSummary:
    """One level's figures, as of now if it still runs."""

    def part(which: Part) -> Figures:
        of_server = server.figures(level, which, now_s) if server else None
        return figures(level.parts[which], level.seconds(which, now_s), objectives, of_server)

    hold = part(Part.HOLD)
    met = hold.goodput is not None and (hold.goodput.fraction or 0.0) >= objectives.share
    return LevelSummary(
        stage=level.stage.stage,
        system_prompt=level.stage.system_prompt,
        level=level.stage.level,
        users=level.stage.users,
        complete=level.complete,
        meets_objectives=met and level.complete if objectives.bounds else None,
        hold=hold,
        whole=part(Part.WHOLE),
        concurrency=ConcurrencySummary.of(concurrency),
    )


def worker_summaries(ledger: Ledger) -> list[WorkerSummary]:
    """Every worker that was heard of, in the order of their numbers."""
    smallest = smallest_medians(ledger)
    return [
        _worker_summary(number, worker, validity(worker_reasons(worker, smallest)))
        for number, worker in sorted(ledger.workers.items())
    ]


def _worker_summary(number: int, worker: WorkerBooks, verdict: Validity) -> WorkerSummary:
    fullest, lag, delay = fullest_hold(worker), quantile(worker.loop_lag_s, 0.99), quantile(worker.client_delay_s, 0.99)
    return WorkerSummary(
        worker=number,
        requests=worker.fired,
        cpu_utilization=worker.whole_use.utilization,
        cpu_utilization_hold_max=fullest[1].utilization if fullest else None,
        loop_lag_p99_s=lag.value if lag else None,
        client_delay_p99_s=delay.value if delay else None,
        self_check=worker.self_check,
        validity=verdict,
    )


def validity(reasons: list[str]) -> Validity:
    """The verdict that these reasons make."""
    return Validity("suspect" if reasons else "valid", reasons)


class JudgedLevel(Protocol):
    """What capacities are found from."""

    @property
    def system_prompt(self) -> str: ...
    @property
    def level(self) -> str: ...
    @property
    def users(self) -> int: ...
    @property
    def meets_objectives(self) -> bool | None: ...


def capacities(levels: Sequence[JudgedLevel]) -> list[Capacity]:
    """For each system-prompt mode that has levels, in the run's order; none without objectives. A level that meets what
    a smaller one missed is no capacity: something other than its load decided."""
    found: dict[str, JudgedLevel | None] = {}
    missed: set[str] = set()
    for level in sorted(levels, key=lambda level: level.users):
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


def reasons_to_suspect(ledger: Ledger) -> list[str]:
    """Why the run's figures may not be what went over the wire; empty if nothing speaks against them."""
    reasons: list[str] = []
    sources: Counter[str] = Counter()
    for level in ledger.levels.values():
        whole = level.parts[Part.WHOLE]
        sources += whole.token_sources
        found = [
            *_load_reasons(level, ledger),
            *delay_reasons(whole, medians_of(whole)),
            *uncertainty_reasons(whole),
            *usage_reasons(whole),
        ]
        reasons += [f"{level_name(level)}: {reason}" for reason in found]
    reasons += self_check_reasons_of(ledger)
    if len(sources) > 1:
        told = ", ".join(f"{count} by {source}" for source, count in sorted(sources.items()))
        reasons.append(f"token counts come from different sources ({told})")
    return reasons


def _load_reasons(level: LevelBooks, ledger: Ledger) -> Iterator[str]:
    """Whether the level was what its name says, to its end."""
    hold = level.parts[Part.HOLD]
    yield from concurrency_reasons(ledger.concurrency(level))
    yield from client_limit_reasons(level.parts[Part.WHOLE])
    yield from lag_reasons(hold.loop_lag_s, medians_of(hold))
    yield from silent_window_reasons(ledger, level)
    if not level.complete or level.stage.level_time_s is None:
        return
    if not hold.requests and level.parts[Part.WHOLE].requests:
        yield "no request was sent in the hold: answers take longer than it lasts"
    elif cut := level.cut_by_timeout:
        yield (
            f"{cut:,} of {hold.requests:,} requests sent in the hold were cut when the drain timeout was over: "
            "the slowest have no latency"
        )
