"""Objectives of single requests."""

from __future__ import annotations

from collections.abc import Callable
from math import inf, nan

import numpy as np
import pytest

from tokenswarm.metrics.objectives import (
    GOOD_UP_TO,
    ObjectiveError,
    Objectives,
    score_number,
    score_numbers,
    worst_score,
)
from tokenswarm.metrics.timeline import Outcome
from tokenswarm.recording.worker_report import RequestRow


def is_good(slo: str, row: RequestRow) -> bool:
    return score_number(worst_score(Objectives.parse(slo).scores(row))) <= GOOD_UP_TO


@pytest.mark.parametrize(
    ("text", "objectives"),
    [
        ("", Objectives()),
        ("   ", Objectives()),
        ("ttft=500ms", Objectives(ttft_s=0.5)),
        ("ttft=500ms tpot=50ms e2e=10s", Objectives(0.5, 0.05, 10.0)),
        ("e2e=1.5s,ttft=250us", Objectives(ttft_s=0.00025, e2e_s=1.5)),
        ("ttft<500ms tpot<=50ms", Objectives(ttft_s=0.5, tpot_s=0.05)),
        ("ttft_scheduled=1s e2e_scheduled=2s", Objectives(ttft_scheduled_s=1.0, e2e_scheduled_s=2.0)),
    ],
)
def test_objectives_are_read_in_any_order_and_unit(text: str, objectives: Objectives) -> None:
    assert Objectives.parse(text) == objectives


@pytest.mark.parametrize("text", ["ttft", "ttft=500", "ttft=500 ms", "ttft=-1s", "itl=5ms", "p95=1s", "ttft>1s"])
def test_a_term_that_cannot_be_read_is_told_with_what_was_expected(text: str) -> None:
    with pytest.raises(ObjectiveError, match="--slo takes terms like ttft=500ms, tpot=50ms or e2e=10s") as refused:
        Objectives.parse(text)
    assert repr(text.split(maxsplit=1)[0]) in str(refused.value)


def test_a_figure_with_two_bounds_is_refused() -> None:
    with pytest.raises(ObjectiveError, match="--slo names ttft twice"):
        Objectives.parse("ttft=1s tpot=5ms ttft=2s")


def test_only_the_bounds_that_are_set_are_told() -> None:
    assert Objectives.parse("tpot=50ms").bounds == {"tpot_s": 0.05}
    assert Objectives().bounds == {}


@pytest.mark.parametrize(
    ("slo", "met"),
    [
        ("ttft=100ms", True),  # TTFT is 100 ms, TPOT 100 ms, E2E 400 ms
        ("ttft=99ms", False),
        ("tpot=100ms", True),
        ("tpot=99ms", False),
        ("e2e=400ms", True),
        ("e2e=399ms", False),
        ("ttft=100ms tpot=100ms e2e=400ms", True),
        ("ttft=100ms tpot=99ms e2e=400ms", False),
    ],
)
def test_a_request_is_good_when_it_is_within_every_bound(slo: str, met: bool, row: Callable[..., RequestRow]) -> None:
    assert is_good(slo, row((3.1, 3.2, 3.3, 3.4))) is met


@pytest.mark.parametrize(
    ("slo", "met"),
    [
        ("ttft_scheduled=350ms", True),  # it was due 250 ms before it was sent: 350 ms, and 650 ms to the end
        ("ttft_scheduled=349ms", False),
        ("e2e_scheduled=650ms", True),
        ("e2e_scheduled=649ms", False),
        ("ttft=100ms e2e=400ms", True),
    ],
)
def test_times_from_scheduled_hold_the_wait_at_the_client(slo: str, met: bool, row: Callable[..., RequestRow]) -> None:
    assert is_good(slo, row((3.1, 3.2, 3.3, 3.4), scheduled_ns=2_750_000_000)) is met


def test_an_answer_of_one_token_meets_any_tpot_but_not_any_ttft(row: Callable[..., RequestRow]) -> None:
    one = row((3.1,))
    assert is_good("tpot=1us", one)
    assert not is_good("tpot=1us ttft=50ms", one)


def test_a_missing_figure_misses_its_bound_and_no_other(row: Callable[..., RequestRow]) -> None:
    without_count = row((3.1, 3.2), tokens=0)
    assert without_count.tpot_ns is None
    assert not is_good("tpot=10s", without_count)
    assert is_good("ttft=10s", without_count)


@pytest.mark.parametrize("outcome", [outcome for outcome in Outcome if outcome is not Outcome.OK])
def test_only_a_request_that_was_ok_can_be_good(outcome: Outcome, row: Callable[..., RequestRow]) -> None:
    assert not is_good("ttft=10s", row(outcome=outcome))


@pytest.mark.parametrize(("text", "share"), [("95%", 0.95), ("99.5 %", 0.995), ("0.9", 0.9), ("100%", 1.0), ("1", 1.0)])
def test_a_share_may_be_in_percent_or_a_fraction(text: str, share: float) -> None:
    assert Objectives.parse("ttft=1s", text).share == pytest.approx(share)


@pytest.mark.parametrize("text", ["", "0%", "101%", "95", "most", "-5%"])
def test_a_share_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ObjectiveError, match=r"^--slo-share takes a share like 95% or 0\.95, above 0"):
        Objectives.parse("ttft=1s", text)


@pytest.mark.parametrize(
    ("score", "number"),
    [(0.0, 0), (0.5, 512), (1.0, 1024), (1.0000001, 1025), (2.0, 2048), (1000.0, 65_535), (inf, 65_535), (nan, 65_535)],
)
def test_a_score_as_a_whole_number_keeps_what_is_good(score: float, number: int) -> None:
    assert score_number(score) == number
    assert score_numbers(np.array([score])).tolist() == [number]
