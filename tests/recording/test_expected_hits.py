"""Expected prefix-cache hits: by what was sent before, in whatever order requests are reported; beside the simulator's
cache in virtual time; and what is said where the server's hits are others."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable

import pytest

from tokenswarm.metrics.level import Level
from tokenswarm.metrics.objectives import Objectives
from tokenswarm.metrics.shareable import Shareable, SharedPart, key_of, shared_beginnings
from tokenswarm.metrics.timeline import Outcome, Timeline
from tokenswarm.prompts.synthetic.shared_prefixes import PrefixPlan
from tokenswarm.recording.aggregator import Aggregator
from tokenswarm.recording.expected_hits import ExpectedHits
from tokenswarm.recording.prompts_sent import PromptStats
from tokenswarm.recording.server_samples import ServerSamples
from tokenswarm.recording.summary import level_summary
from tokenswarm.recording.validity import validity_issues
from tokenswarm.recording.worker_report import Report, RequestRow
from tokenswarm.run_folder.prompt_figures import PromptFigures
from tokenswarm.run_folder.schema import IssueKind
from tokenswarm.simulator.batching import Batch, Job, Speed
from tokenswarm.simulator.prefix_cache import block_keys

MakeRow = Callable[..., RequestRow]
GROUP = Shareable(16, (SharedPart(1, 160, 176),))
USAGE = {"prompt_tokens": 200, "prompt_tokens_source": "usage"}


def of(*rows: RequestRow, flushes: tuple[int, ...] = ()) -> PromptStats:
    expected, stats = ExpectedHits(), PromptStats()
    for level in flushes:
        expected.flush(level)
    for row in rows:
        expected.enter(row, [stats])
    return stats


def expected_tokens(stats: PromptStats) -> tuple[int, int]:
    return stats.expected_certain_tokens, stats.expected_possible_tokens


def test_a_beginning_is_found_once_a_request_with_it_had_its_first_token(row: MakeRow) -> None:
    def sent(at_s: float, first_s: float) -> RequestRow:
        return row((first_s, first_s + 1), sent_s=at_s, shareable=GROUP, **USAGE)

    first = sent(1.0, 2.0)
    assert expected_tokens(of(first)) == (0, 0)
    assert expected_tokens(of(first, sent(2.0, 2.5))) == (160, 176)
    assert expected_tokens(of(first, sent(1.9, 2.5))) == (0, 176)  # it may have waited in the server's queue
    assert expected_tokens(of(first, sent(1.5, 2.0))) == (0, 0)  # computed at the same time
    stats = of(first, sent(2.0, 2.5), sent(3.0, 3.5))
    assert stats.prompt_tokens_with_expected == 600
    figures = stats.figures()
    assert (figures.expected_share_min, figures.expected_share_max) == (320 / 600, 352 / 600)


def test_the_order_of_reports_does_not_matter(row: MakeRow) -> None:
    source = random.Random(1)
    rows = []
    for number in range(60):
        at_s = source.uniform(1, 30)
        first_s = at_s + source.uniform(0.1, 5)
        parts = (SharedPart(source.randrange(6), 32, 48), SharedPart(100 + source.randrange(9), 96, 112))
        outcome = Outcome.CUT if number % 7 == 0 else Outcome.OK
        rows.append(row((first_s,), sent_s=at_s, shareable=Shareable(16, parts), outcome=outcome, **USAGE))
    expected = expected_tokens(of(*rows))
    assert 0 < expected[0] < expected[1]
    for _ in range(20):
        source.shuffle(rows)
        assert expected_tokens(of(*rows)) == expected


def test_what_is_not_known_is_not_counted(row: MakeRow) -> None:
    first = row((2.0,), sent_s=1.0, shareable=GROUP, **USAGE)
    assert of(row((4.0,), sent_s=3.0, **USAGE)).figures().expected_share_max is None
    silent = row((4.0,), sent_s=3.0, shareable=GROUP)
    assert of(first, silent).prompt_tokens_with_expected == 200
    # It put its beginning into the cache all the same.
    assert expected_tokens(of(silent, row((6.0,), sent_s=5.0, shareable=GROUP, **USAGE))) == (160, 176)
    failed = row((), outcome=Outcome.HTTP_ERROR, shareable=GROUP)
    assert expected_tokens(of(failed, row((6.0,), sent_s=5.0, shareable=GROUP, **USAGE))) == (0, 0)


def test_nothing_is_found_behind_a_flush_nor_on_another_host_or_model(row: MakeRow) -> None:
    sent = [
        row((2.0 + 2 * index,), sent_s=1.0 + 2 * index, level_index=index, shareable=GROUP, **USAGE)
        for index in (0, 1, 2)
    ]
    assert expected_tokens(of(*sent)) == (320, 352)
    assert expected_tokens(of(*sent, flushes=(1,))) == (160, 176)
    assert expected_tokens(of(*sent, flushes=(1, 2))) == (0, 0)
    for place in ({"host_index": 1}, {"model_index": 1}):
        elsewhere = row((6.0,), sent_s=5.0, shareable=GROUP, **USAGE, **place)
        assert expected_tokens(of(sent[0], elsewhere)) == (0, 0)


@pytest.mark.slow
@pytest.mark.parametrize(("users", "capacity_blocks"), [(1, 100_000), (32, 100_000), (32, 500)])
def test_a_simulated_cache_is_hit_as_expected(users: int, capacity_blocks: int, row: MakeRow) -> None:
    """64 groups of 2,048 tokens, zipf 1.2, and 150 tokens of each request; 10 tokens of a chat template before, 5
    behind. Users send their next request at once."""
    plan, requests = PrefixPlan(2048, 64, 1.2), 1500
    batch = Batch(Speed(10, 0.2, 100_000, 1.0, max_batch=64, cache_blocks=capacity_blocks))
    rows, sent_ns, observed = [], {}, 0
    due = [(0, user) for user in range(users)]
    while len(rows) < requests:
        if due and (batch.due_ns is None or due[0][0] <= batch.due_ns):
            at_ns, _ = heapq.heappop(due)
            number = len(sent_ns)
            prefix = plan.group(1, number)
            tokens = [
                *("t" * 10),
                *(f"{prefix}/{place}" for place in range(2048)),
                *(f"{number}:{n}" for n in range(155)),
            ]
            batch.submit(Job(number, len(tokens), block_keys(tokens), 5, at_ns))
            sent_ns[number] = at_ns
            continue
        step = batch.advance(batch.due_ns or 0)
        assert step is not None
        for job in step.jobs:
            if job.produced == job.wanted:
                heapq.heappush(due, (step.due_ns, job.number))
                shared = Shareable(16, shared_beginnings("off", 15, plan.group(1, job.number), 2048))
                counted = {"prompt_tokens": job.prompt_tokens, "prompt_tokens_source": "usage"}
                times = {"sent_s": sent_ns[job.number] / 1e9, "over_s": step.due_ns / 1e9}
                rows.append(row((job.first_ns / 1e9,), shareable=shared, **times, **counted))
                observed += job.cached_tokens
    figures = of(*rows).figures()
    share = observed / sum(each.prompt_tokens or 0 for each in rows)
    least, most = figures.expected_share_min, figures.expected_share_max
    assert least is not None and most is not None
    if capacity_blocks > 64 * 128 + requests * 10:
        assert least - 1e-9 <= share <= most + 1e-9
        assert most - least < (0.01 if users == 1 else 0.05)
        assert 0.8 < share < 0.95
    else:
        assert share < least - 0.05


@pytest.fixture
def a_run(
    report: Callable[..., Report], timeline: Callable[..., Timeline], a_level: Callable[..., Level]
) -> Callable[..., Aggregator]:
    """A run of one level that is over, of requests of unlike prompts and so much found of each."""

    def make(cached_tokens: int | None, shareable: Shareable | None, requests: int = 50) -> Aggregator:
        aggregator = Aggregator(Objectives())
        aggregator.begin_level(a_level(), 0.0)
        timelines = [
            timeline(cached_tokens=cached_tokens, shareable=shareable, **USAGE, prompt_hash=f"{n:016x}")
            for n in range(requests)
        ]
        aggregator.apply(report(timelines, [a_level()]))
        aggregator.close(20.0)
        return aggregator

    return make


@pytest.mark.parametrize(
    ("cached_tokens", "shareable", "requests", "kinds"),
    [
        (192, Shareable(16), 50, [IssueKind.PREFIX_HITS]),
        (192, Shareable(16), 19, []),
        (176, None, 50, []),
        (None, Shareable(16), 50, []),
        (32, Shareable(16), 50, []),  # what a chat template begins with
        (48, Shareable(16), 50, [IssueKind.PREFIX_HITS]),
        (0, Shareable(16), 50, []),
    ],
)
def test_hits_that_the_run_does_not_explain_make_it_suspect(
    cached_tokens: int | None,
    shareable: Shareable | None,
    requests: int,
    kinds: list[IssueKind],
    a_run: Callable[..., Aggregator],
) -> None:
    aggregator = a_run(cached_tokens, shareable, requests)
    issues = [issue for issue in validity_issues(aggregator, ServerSamples()) if issue.kind == IssueKind.PREFIX_HITS]
    assert [issue.kind for issue in issues] == kinds
    if issues:
        assert issues[0].values == {"cached_share": (cached_tokens or 0) / 200, "expected_share_max": 0.0}


def test_summary_has_what_was_expected(a_run: Callable[..., Aggregator]) -> None:
    aggregator = a_run(0, GROUP)
    prompts = level_summary(aggregator.levels[0], 99.0, Objectives()).hold.prompts
    assert isinstance(prompts, PromptFigures)
    assert (prompts.expected_share_min, prompts.expected_share_max) == (0.0, 0.0)  # all sent at the same time
    assert prompts.cached_share == 0.0
    assert aggregator.prompts.stats.figures() == prompts
    assert key_of("a") < 1 << 56
