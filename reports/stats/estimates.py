"""The figures of a level with their intervals: the summary's own values, their intervals from the journals.

Percentiles, means and rates of one run differ from another's by chance too; how much is estimated from its requests
in the order of time and from its windows. Read once, and only where they are needed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from tokenswarm.metrics import intervals
from tokenswarm.metrics.drift import Drift, drift_of
from tokenswarm.metrics.fairness import Fairness, fairness_of
from tokenswarm.metrics.histogram import as_recorded
from tokenswarm.metrics.intervals import Estimate
from tokenswarm.metrics.objectives import Objectives
from tokenswarm.metrics.quantiles import Quantile
from tokenswarm.reports.checks.conditions import TIMES, Figure
from tokenswarm.reports.checks.good_requests import good_share
from tokenswarm.run_folder.csv_reader import Requests, Windows, load_requests, load_windows
from tokenswarm.run_folder.distribution import Distribution
from tokenswarm.run_folder.reader import Results
from tokenswarm.run_folder.schema import LevelSummary

_FROM_REQUESTS = tuple(name for name in TIMES if name != "gap")
#: Figures that are shares, from 0 to 1.
SHARES = ("failures", "goodput")


@dataclass(frozen=True, slots=True)
class Effect:
    """Effect of the system prompt to a figure at a level: with it / without it."""

    level: str
    figure: Figure
    ratio: Estimate | None


def value_of(level: LevelSummary, figure: Figure) -> float | None:
    """The figure of a level's hold as summary.json has it: in seconds, a second, or as a share. None: undefined."""
    if figure.function is not None:
        values = distribution_of(level, figure)
        found = getattr(values, figure.function) if values is not None else None
        return found.value if isinstance(found, Quantile) else found
    return _SCALARS[figure.name](level)


def distribution_of(level: LevelSummary, figure: Figure) -> Distribution | None:
    """The distribution that the figure is of, None where the folder is too old to hold it."""
    name = "request_token_rate" if figure.name == "user_rate" else f"{figure.name}_s"
    found: Distribution | None = getattr(level.hold, name)
    return found


_SCALARS: dict[str, Callable[[LevelSummary], float | None]] = {
    "rate": lambda level: level.hold.token_rate,
    "request_rate": lambda level: level.hold.request_rate,
    "failures": lambda level: level.hold.failures / level.hold.requests if level.hold.requests else None,
    "goodput": lambda level: level.hold.goodput.fraction if level.hold.goodput else None,
}


class RunData:
    """A run with its journals, read when they are first used. Every method may raise ReportError."""

    def __init__(self, results: Results) -> None:
        self.results = results

    @cached_property
    def requests(self) -> Requests:
        return load_requests(self.results, [*_FROM_REQUESTS, "output_tokens", "output_events"])

    @cached_property
    def windows(self) -> Windows:
        return load_windows(self.results)

    def estimate(self, level: LevelSummary, figure: Figure) -> Estimate | None:
        """The figure of a level's hold with its interval, which has no ends where nothing is recorded to estimate them
        from. None where the figure is undefined."""
        value = value_of(level, figure)
        if value is None:
            return None
        found = self._interval(level, figure)
        if found is None:
            return Estimate(value, None, None, 0)
        # The value is the summary's, to the digit; the interval stands around it as around the journals' own.
        kept = figure.p is not None or figure.name in SHARES
        shift = 0.0 if kept else value - found.value
        low, high = (None if end is None else end + shift for end in (found.low, found.high))
        return replace(found, value=value, low=low, high=high)

    def drift(self, level: LevelSummary) -> Drift | None:
        """Whether the level's token rate changed in its hold; None where that has too few windows."""
        return drift_of(self.windows.hold_rates(self.results, level))

    def fairness(self, level: LevelSummary) -> Fairness | None:
        """How evenly the users of the level's hold were served."""
        requests = self.requests.of(level)
        requests = requests.where(requests.has_latencies)
        streaming_s = requests.figures["e2e"] - requests.figures["ttft"]
        return fairness_of(requests.user, requests.figures["output_tokens"], streaming_s, requests.figures["ttft"])

    def system_prompt_effects(self, figures: list[Figure]) -> list[Effect]:
        """With the system prompt against without, for each level that ran both ways."""
        by_mode = {(level.level, level.system_prompt): level for level in self.results.summary.levels}
        effects = []
        for (name, mode), level in by_mode.items():
            without = by_mode.get((name, "off"))
            if mode != "on" or without is None:
                continue
            for figure in figures:
                one, other = self.estimate(level, figure), self.estimate(without, figure)
                effects.append(Effect(name, figure, intervals.ratio(one, other) if one and other else None))
        return effects

    def _interval(self, level: LevelSummary, figure: Figure) -> Estimate | None:
        if figure.function is None:
            return self._scalar(level, figure)
        # Of gaps only the histogram is kept, and those of one moment are the same for all users.
        if figure.name == "gap" or figure.function == "max":
            return None
        if figure.name == "user_rate":
            tpot_s = self.requests.of(level).latencies("tpot")
            series = 1 / tpot_s[tpot_s > 0]
        else:
            series = self.requests.of(level).latencies(figure.name)
        if figure.p is None:
            return intervals.mean_of(series)
        # As summary.json has them, so that a comparison shows the same interval as the run's own page.
        unit = 1e-3 if figure.name == "user_rate" else 1e-6
        return intervals.quantile_of(as_recorded(series, unit), figure.p)

    def _scalar(self, level: LevelSummary, figure: Figure) -> Estimate | None:
        if figure.name == "rate":
            return intervals.rate_of(self.windows.hold_rates(self.results, level))
        requests = self.requests.of(level)
        if figure.name == "failures":
            return intervals.share_of(requests.failed)
        if figure.name == "goodput":
            return good_share(requests, Objectives(**self.results.summary.objectives))
        starts_s, ends_s = self.windows.hold_spans(self.results, level)
        if not len(starts_s):
            return None
        places = np.searchsorted(starts_s, requests.sent_s[requests.ok], side="right") - 1
        counts = np.bincount(places[places >= 0], minlength=len(starts_s))[: len(starts_s)]
        return intervals.rate_of(counts / (ends_s - starts_s))
