"""Objectives for single requests: what a good one is."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import inf, isfinite, isnan, nan
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tokenswarm.metrics.timeline import Outcome

_FIGURES = ("ttft", "tpot", "e2e", "ttft_scheduled", "e2e_scheduled")
_TERM = re.compile(r"(?P<figure>[a-z0-9_]+)(?:=|<=?)(?P<number>\d+(?:\.\d+)?)(?P<unit>us|ms|s)")
_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0}
_SHARE = re.compile(r"(?P<number>\d+(?:\.\d+)?)\s*(?P<percent>%?)")
DEFAULT_SHARE = 0.95
#: A score as a whole number: so many are the bound itself, and no more are kept.
GOOD_UP_TO, _MOST_SCORE = 1024, 65_535


class ObjectiveError(ValueError):
    """--slo or --slo-share could not be read; the text says what was expected."""


class TimedRequest(Protocol):
    """What of an ended request is held against objectives; times in ns, None where there is none."""

    @property
    def outcome(self) -> str: ...
    @property
    def sent_ns(self) -> int: ...
    @property
    def ended_ns(self) -> int: ...
    @property
    def output_tokens(self) -> int: ...
    @property
    def ttft_ns(self) -> int | None: ...
    @property
    def tpot_ns(self) -> float | None: ...
    @property
    def e2e_ns(self) -> int | None: ...
    @property
    def ttft_scheduled_ns(self) -> int | None: ...
    @property
    def e2e_scheduled_ns(self) -> int | None: ...


@dataclass(frozen=True, slots=True)
class Objectives:
    """Upper bounds in seconds; None sets no bound. ttft_scheduled_s, e2e_scheduled_s: of an open loop, from when the
    request was due. share (above 0, to 1): of a level's requests that must be within all
    of them for the level to meet its objectives."""

    ttft_s: float | None = None
    tpot_s: float | None = None
    e2e_s: float | None = None
    share: float = DEFAULT_SHARE
    ttft_scheduled_s: float | None = None
    e2e_scheduled_s: float | None = None

    @classmethod
    def parse(cls, text: str, share: str = f"{DEFAULT_SHARE:.0%}") -> Objectives:
        """Read `ttft=500ms tpot=50ms e2e=10s`, any of them, in any order, and a share like `95%` or `0.95`. Raises
        ObjectiveError."""
        bounds: dict[str, float] = {}
        for term in text.replace(",", " ").split():
            match = _TERM.fullmatch(term)
            if not match or match["figure"] not in _FIGURES:
                raise ObjectiveError(
                    f"--slo takes terms like ttft=500ms, tpot=50ms or e2e=10s (units us, ms, s), got {term!r}."
                )
            if f"{match['figure']}_s" in bounds:
                raise ObjectiveError(f"--slo names {match['figure']} twice: {text!r}; give each figure one bound.")
            bounds[f"{match['figure']}_s"] = float(match["number"]) * _SECONDS[match["unit"]]
        return cls(**bounds, share=parse_share(share))

    @property
    def bounds(self) -> dict[str, float]:
        """The bounds that are set, in seconds, by the figure's name."""
        named = {f"{figure}_s": getattr(self, f"{figure}_s") for figure in _FIGURES}
        return {name: bound for name, bound in named.items() if bound is not None}

    def scores(self, row: TimedRequest) -> dict[str, float]:
        """Each figure / its bound, by the figure's name: up to 1 where it is within; inf where it is missing, and of a
        request that was not ok. The TPOT of a one-token answer is within any bound. Of a request that was cut or left,
        what it proves: NaN where it was within its bound until then."""
        if row.outcome in (Outcome.CUT, Outcome.ABANDONED):
            return self.scores_so_far(row.ttft_ns, row.ended_ns - row.sent_ns)
        ok = row.outcome == Outcome.OK
        return {
            name: figure_ns / bound_ns if ok and figure_ns is not None else inf
            for name, bound_ns, figure_ns in self._compared(row)
        }

    def scores_so_far(self, ttft_ns: int | None, age_ns: float) -> dict[str, float]:
        """The same of a request that runs, and was sent so long ago. ttft_ns: None where its first token has not
        come."""
        first_ns = age_ns if ttft_ns is None else ttft_ns
        least_ns = {"ttft_s": first_ns, "ttft_scheduled_s": first_ns, "e2e_s": age_ns, "e2e_scheduled_s": age_ns}
        scores = {name: least_ns.get(name, 0.0) / (bound_s * 1e9) for name, bound_s in self.bounds.items()}
        return {name: score if score > 1.0 else nan for name, score in scores.items()}

    def _compared(self, row: TimedRequest) -> list[tuple[str, float, float | None]]:
        """(name, bound, figure) of each bound that is set, in ns."""
        tpot_ns = 0.0 if row.output_tokens == 1 else row.tpot_ns
        figures_ns = (
            ("ttft_s", row.ttft_ns),
            ("tpot_s", tpot_ns),
            ("e2e_s", row.e2e_ns),
            ("ttft_scheduled_s", row.ttft_scheduled_ns),
            ("e2e_scheduled_s", row.e2e_scheduled_ns),
        )
        bounds = ((name, getattr(self, name), figure_ns) for name, figure_ns in figures_ns)
        return [(name, bound_s * 1e9, figure_ns) for name, bound_s, figure_ns in bounds if bound_s is not None]


def score_number(score: float) -> int:
    """A score of `worst_score` as a whole number from 0 to 65,535: up to 1,024 where it is 1 at most, so that its
    request is good; 65,535 where it is not known."""
    if score <= 1.0:
        return round(score * GOOD_UP_TO)
    return min(_MOST_SCORE, max(GOOD_UP_TO + 1, round(score * GOOD_UP_TO))) if isfinite(score) else _MOST_SCORE


def score_numbers(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """The same of many."""
    numbers = np.rint(scores * GOOD_UP_TO)
    missed = np.where(np.isfinite(scores), np.clip(numbers, GOOD_UP_TO + 1, _MOST_SCORE), _MOST_SCORE)
    found: NDArray[np.float64] = np.where(scores <= 1.0, numbers, missed)
    return found


def worst_score(scores: Mapping[str, float]) -> float:
    """Of a request: up to 1 where it is good, above where it missed a bound; NaN where it is not known yet."""
    known = [score for score in scores.values() if not isnan(score)]
    worst = max(known, default=nan)
    return worst if len(known) == len(scores) or worst > 1.0 else nan


def parse_share(text: str) -> float:
    """Read a share like `95%` or `0.95`. Raises ObjectiveError."""
    match = _SHARE.fullmatch(text.strip())
    share = float(match["number"]) / (100 if match["percent"] else 1) if match else 0.0
    if not 0 < share <= 1:
        raise ObjectiveError(f"--slo-share takes a share like 95% or 0.95, above 0 % and at most 100 %, got {text!r}.")
    return share
