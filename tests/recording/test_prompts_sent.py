"""Repeated prompts and cached tokens, counted over all workers of a run."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from metrics.ledger import Ledger
from metrics.objectives import Objectives
from metrics.prompts_sent import PromptFigures
from metrics.records import Report
from metrics.stage import Stage
from metrics.summary import level_summary
from metrics.timeline import Outcome, Timeline

Make = Callable[..., Timeline]
A, B, C = "00000000000000aa", "00000000000000bb", "00000000000000cc"


@pytest.fixture
def run(report: Callable[..., Report], stage: Callable[..., Stage]) -> Callable[..., Ledger]:
    """Books of two levels, with the requests of each worker."""

    def books(*workers: list[Timeline]) -> Ledger:
        stages = [stage(0), stage(1, system_prompt="on")]
        ledger = Ledger(Objectives())
        for number, each in enumerate(stages):
            ledger.begin_stage(each, number * 20.0)
        for worker, timelines in enumerate(workers):
            ledger.apply(report(timelines, stages, worker=worker))
        return ledger

    return books


def prompts_of(ledger: Ledger, stage: int) -> PromptFigures:
    return level_summary(ledger.levels[stage], 99.0, Objectives()).hold.prompts


def test_a_text_repeats_whichever_worker_and_level_sent_it_first(run: Callable[..., Ledger], timeline: Make) -> None:
    ledger = run(
        [timeline(prompt_hash=A), timeline(prompt_hash=B), timeline(prompt_hash=A)],
        [timeline(prompt_hash=B), timeline(stage=1, prompt_hash=A), timeline(stage=1, prompt_hash=C)],
    )
    assert (prompts_of(ledger, 0).requests, prompts_of(ledger, 0).repeated) == (4, 2)
    assert (prompts_of(ledger, 1).repeated, prompts_of(ledger, 1).repeated_share) == (1, 0.5)
    assert ledger.prompts.stats.figures().repeated_share == 0.5


@pytest.mark.parametrize("outcome", [Outcome.REFUSED, Outcome.CLIENT_LIMIT])
def test_what_never_reached_the_server_was_not_sent(
    outcome: Outcome, run: Callable[..., Ledger], timeline: Make
) -> None:
    ledger = run([timeline((), outcome=outcome, prompt_hash=A), timeline(prompt_hash=A), timeline()])
    assert ledger.prompts.stats.figures() == PromptFigures(1, 0, 0.0)


def test_cached_tokens_are_a_share_of_those_of_the_requests_that_tell(
    run: Callable[..., Ledger], timeline: Make
) -> None:
    usage = {"prompt_tokens_source": "usage"}
    ledger = run(
        [
            timeline(prompt_hash=A, prompt_tokens=100, cached_tokens=16, **usage),
            timeline(prompt_hash=B, prompt_tokens=60, cached_tokens=0, **usage),
            timeline(prompt_hash=C, prompt_tokens=80, **usage),
            timeline(prompt_hash="", prompt_tokens=999, cached_tokens=999, **usage),
        ]
    )
    figures = ledger.prompts.stats.figures()
    assert (figures.prompt_tokens_mean, figures.cached_share) == (80.0, 0.1)
