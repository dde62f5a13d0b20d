"""Repeated prompts and cached tokens, counted over all workers of a run."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tokenswarm.metrics.level import Level
from tokenswarm.metrics.objectives import Objectives
from tokenswarm.metrics.timeline import Outcome, Timeline
from tokenswarm.recording.aggregator import Aggregator
from tokenswarm.recording.server_samples import ServerSamples
from tokenswarm.recording.summary import level_summary
from tokenswarm.recording.validity import validity_issues
from tokenswarm.recording.worker_report import Report
from tokenswarm.run_folder.prompt_figures import PromptFigures
from tokenswarm.run_folder.schema import IssueKind

Make = Callable[..., Timeline]
A, B, C = "00000000000000aa", "00000000000000bb", "00000000000000cc"


@pytest.fixture
def run(report: Callable[..., Report], a_level: Callable[..., Level]) -> Callable[..., Aggregator]:
    """Books of two levels, with the requests of each worker."""

    def books(*workers: list[Timeline]) -> Aggregator:
        stages = [a_level(0), a_level(1, system_prompt="on")]
        aggregator = Aggregator(Objectives())
        for number, each in enumerate(stages):
            aggregator.begin_level(each, number * 20.0)
        for worker, timelines in enumerate(workers):
            aggregator.apply(report(timelines, stages, worker=worker))
        return aggregator

    return books


def prompts_of(aggregator: Aggregator, stage: int) -> PromptFigures:
    return level_summary(aggregator.levels[stage], 99.0, Objectives()).hold.prompts


def test_a_text_repeats_whichever_worker_and_level_sent_it_first(
    run: Callable[..., Aggregator], timeline: Make
) -> None:
    aggregator = run(
        [timeline(prompt_hash=A), timeline(prompt_hash=B), timeline(prompt_hash=A)],
        [timeline(prompt_hash=B), timeline(level_index=1, prompt_hash=A), timeline(level_index=1, prompt_hash=C)],
    )
    assert (prompts_of(aggregator, 0).requests, prompts_of(aggregator, 0).repeated) == (4, 2)
    assert (prompts_of(aggregator, 1).repeated, prompts_of(aggregator, 1).repeated_share) == (1, 0.5)
    assert aggregator.prompts.stats.figures().repeated_share == 0.5


@pytest.mark.parametrize("outcome", [Outcome.REFUSED, Outcome.CLIENT_LIMIT])
def test_what_never_reached_the_server_was_not_sent(
    outcome: Outcome, run: Callable[..., Aggregator], timeline: Make
) -> None:
    aggregator = run([timeline((), outcome=outcome, prompt_hash=A), timeline(prompt_hash=A), timeline()])
    assert aggregator.prompts.stats.figures() == PromptFigures(1, 0, 0.0)


def test_cached_tokens_are_a_share_of_those_of_the_requests_that_tell(
    run: Callable[..., Aggregator], timeline: Make
) -> None:
    usage = {"prompt_tokens_source": "usage"}
    aggregator = run(
        [
            timeline(prompt_hash=A, prompt_tokens=100, cached_tokens=16, **usage),
            timeline(prompt_hash=B, prompt_tokens=60, cached_tokens=0, **usage),
            timeline(prompt_hash=C, prompt_tokens=80, **usage),
            timeline(prompt_hash="", prompt_tokens=999, cached_tokens=999, **usage),
        ]
    )
    figures = aggregator.prompts.stats.figures()
    assert (figures.prompt_tokens_mean, figures.cached_share) == (80.0, 0.1)


def test_texts_of_an_earlier_level_are_counted_apart_unless_the_cache_was_flushed(
    report: Callable[..., Report], a_level: Callable[..., Level], timeline: Make
) -> None:
    def repeated(flushed: bool | None) -> tuple[int, int]:
        levels = [a_level(0), a_level(1, cache_flushed=flushed)]
        aggregator = Aggregator(Objectives())
        for number, each in enumerate(levels):
            aggregator.begin_level(each, number * 20.0)
        sent = [(0, A), (0, A), (1, A), (1, B), (1, B)]
        aggregator.apply(report([timeline(level_index=index, prompt_hash=text) for index, text in sent], levels))
        found = aggregator.prompts.stats.figures()
        assert prompts_of(aggregator, 1).repeated_from_earlier_levels == found.repeated_from_earlier_levels
        return found.repeated, found.repeated_from_earlier_levels

    assert repeated(None) == repeated(False) == (3, 1)
    assert repeated(True) == (2, 0)


def test_a_level_finds_what_its_warm_up_left_behind_the_flush(
    report: Callable[..., Report], a_level: Callable[..., Level], timeline: Make
) -> None:
    levels = [a_level(0, warm_up=True, cache_flushed=True), a_level(1, cache_flushed=True)]
    aggregator = Aggregator(Objectives())
    for number, each in enumerate(levels):
        aggregator.begin_level(each, number * 20.0)
    aggregator.apply(report([timeline(level_index=index, prompt_hash=A) for index in (0, 1)], levels))
    assert prompts_of(aggregator, 1).repeated == 1


@pytest.mark.parametrize(
    ("cached_tokens", "turn", "requests", "kinds"),
    [
        (96, 0, 20, [IssueKind.PREFIX_HITS]),  # all but the last block
        (96, 0, 19, []),
        (80, 0, 20, []),
        (96, 2, 20, []),
        (None, 0, 20, []),
    ],
)
def test_texts_that_were_cached_before_they_were_sent_make_a_run_suspect(
    cached_tokens: int | None,
    turn: int,
    requests: int,
    kinds: list[IssueKind],
    report: Callable[..., Report],
    a_level: Callable[..., Level],
    timeline: Make,
) -> None:
    usage = {"prompt_tokens": 100, "prompt_tokens_source": "usage", "cached_tokens": cached_tokens, "turn": turn}
    sent = [timeline(prompt_hash=f"{number:016x}", **usage) for number in range(requests)]
    aggregator = Aggregator(Objectives())
    aggregator.begin_level(a_level(), 0.0)
    aggregator.apply(report([*sent, *sent], [a_level()]))
    aggregator.close(20.0)
    prompts = prompts_of(aggregator, 0)
    assert prompts.repeated == requests
    if cached_tokens is not None and not turn:
        assert (prompts.first_sent, prompts.first_sent_cached_share) == (requests, float(cached_tokens == 96))
    else:
        assert (prompts.first_sent, prompts.first_sent_cached_share) == (0, None)
    assert [issue.kind for issue in validity_issues(aggregator, ServerSamples())] == kinds
