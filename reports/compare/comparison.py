"""Many runs side by side: each server's figures, pooled over its runs, and how they stand to another server's.

A server is called better or worse only where the interval of the change excludes that there is none, what differs from
run to run included: measured from the runs, or assumed where there are too few (stats/changes.py). Each comparison
stands at 95 % by itself: of twenty between equals, one is expected to find a difference.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from itertools import product
from typing import NamedTuple

from tokenswarm.command_line import collect_errors
from tokenswarm.metrics import intervals
from tokenswarm.metrics.drift import Drift
from tokenswarm.metrics.intervals import Estimate, Pooled
from tokenswarm.metrics.level import PROMPT, level_text
from tokenswarm.metrics.objectives import DEFAULT_SHARE, Objectives
from tokenswarm.reports import units
from tokenswarm.reports.checks.conditions import Figure
from tokenswarm.reports.checks.good_requests import good_share
from tokenswarm.reports.compare.comparability import (
    check_comparable,
    differences,
    prefix_hit_notices,
    reasons_unreliable,
    same_runs,
    state_of,
)
from tokenswarm.reports.compare.run_notices import ServerNotices, server_notices
from tokenswarm.reports.stats.changes import (
    ASSUMED_VARIATION,
    FEWEST_DEGREES,
    Change,
    assumed_variation,
    change_between,
)
from tokenswarm.reports.stats.estimates import RunData
from tokenswarm.run_folder.reader import ReportError, Results
from tokenswarm.run_folder.schema import LevelSummary


class Compared(NamedTuple):
    """A figure that is compared. share: it changes by percentage points, a ratio of shares near zero says nothing."""

    figure: Figure
    name: str
    higher_is_better: bool = False
    share: bool = False

    def known_ends(self, estimate: Estimate) -> tuple[float | None, float | None]:
        """The ends of its interval, None for one that is not known: 0 is below any time and any rate, and bounds no
        share without an upper end."""
        bounds_anything = (estimate.low or 0.0) <= 0.0 and not (self.share and estimate.high is not None)
        return None if bounds_anything or estimate.low is None else max(estimate.low, 0.0), estimate.high


TTFT = Compared(Figure("ttft", "p50"), "TTFT, median")
TTFT_P95 = Compared(Figure("ttft", "p95"), "TTFT, 95th percentile")
USER_RATE = Compared(Figure("user_rate", "p50"), "Token rate of one user, median", higher_is_better=True)
TOKEN_RATE = Compared(Figure("rate"), "Token rate, all users together", higher_is_better=True)
GOODPUT = Compared(Figure("goodput"), "Requests that met the SLO", higher_is_better=True, share=True)
COMPARED = (
    TTFT,
    TTFT_P95,
    Compared(Figure("ttft", "mean"), "TTFT, mean"),
    TOKEN_RATE,
    USER_RATE,
    Compared(Figure("failures"), "Failed requests", share=True),
)


class Standing(StrEnum):
    """How a server's figure compares to another's. TIED: the interval of the change includes none. INCONCLUSIVE: the
    sample is too small for an interval, or too few runs distinguish the change from run-to-run variation."""

    BASE = "base"
    BETTER = "better"
    WORSE = "worse"
    TIED = "no significant difference"
    INCONCLUSIVE = f"inconclusive ({units.TOO_FEW})"
    MISSING = "no figure"


class ComparedLevel(NamedTuple):
    """A level and its system-prompt mode; `name` is the level as a person calls it. load: users, or requests/s."""

    level: str
    system_prompt: str
    load: float
    name: str

    def __str__(self) -> str:
        return level_text(self.name, self.system_prompt)


@dataclass(frozen=True, slots=True)
class ComparedServer:
    """What is compared: the runs under one label."""

    label: str
    runs: tuple[RunData, ...]
    unreliable: tuple[str, ...]

    @property
    def name(self) -> str:
        """The label, marked wherever it stands if its figures are unreliable."""
        return (
            f"{self.label} ({state_of([run.results for run in self.runs]).upper()})" if self.unreliable else self.label
        )

    def levels(self, compared_level: ComparedLevel) -> list[tuple[RunData, LevelSummary]]:
        """That level of each of its runs."""
        return [
            (run, level)
            for run in self.runs
            for level in run.results.summary.levels
            if (level.level, level.system_prompt) == (compared_level.level, compared_level.system_prompt)
        ]


@dataclass(frozen=True, slots=True)
class Entry:
    """A figure of a server at a level. pooled: None where no run has it. change: the ratio to the base's, of a share
    the difference; None where it is not defined."""

    level: ComparedLevel
    server: ComparedServer
    compared: Compared
    pooled: Pooled | None
    change: Estimate | None
    standing: Standing


@dataclass(frozen=True, slots=True)
class SloCapacity:
    """How far a server meets the objectives under a system-prompt mode; None: not even at its smallest level."""

    server: ComparedServer
    system_prompt: str
    level: ComparedLevel | None


class RunComparison:
    """Runs grouped by server. Raises ReportError, OptionErrors where they are not to be compared."""

    def __init__(
        self,
        runs: Sequence[Results],
        labels: Sequence[str] = (),
        base: str | None = None,
        allowed: Collection[str] = (),
        objectives: Objectives | None = None,
        variation: float = ASSUMED_VARIATION,
    ) -> None:
        """variation: standard deviation from run to run, as a share, where there are too few runs to measure it."""
        self.variation = variation
        with collect_errors() as errors:
            self.servers = errors.of(_servers, runs, labels)
            self.levels = compared_levels(runs)
            if self.servers:
                self.base = errors.of(_base, self.servers, base)
            has_base = self.servers and self.base and len(self.servers) > 1
            errors.of(check_comparable, runs, allowed, not has_base or self._shares_level())
        self._given_objectives = objectives
        self.objectives = objectives or common_objectives(runs)
        self.notices = _allowed_differences(runs)
        if self.objectives is None and any(run.summary.objectives for run in runs):
            self.notices.append(_different_objectives(runs))

    @cached_property
    def server_notices(self) -> list[ServerNotices]:
        """What is wrong with the runs of each server that has such runs."""
        found = (server_notices(server.label, [run.results for run in server.runs]) for server in self.servers)
        return [notices for notices in found if notices is not None]

    @property
    def head_notices(self) -> list[str]:
        """All that is wrong, in a line each, without the reasons of single runs."""
        return [*self.notices, *(notices.line for notices in self.server_notices)]

    @cached_property
    def compared(self) -> tuple[Compared, ...]:
        """The figures, in order."""
        return (*COMPARED, GOODPUT) if self.objectives else COMPARED

    @cached_property
    def entries(self) -> list[Entry]:
        """Each figure at each level of each server, the base's own included."""
        found = []
        for compared, compared_level in product(self.compared, self.levels):
            base = self.pooled(compared, compared_level, self.base)
            for server in self.servers:
                pooled = base if server is self.base else self.pooled(compared, compared_level, server)
                found.append(self._entry(compared, compared_level, server, pooled, base))
        return found

    @property
    def assumes_variation(self) -> bool:
        """Whether there is a server with so few runs that its comparison rests on the assumed variation."""
        base = len(self.base.runs)
        others = [len(server.runs) for server in self.servers if server is not self.base]
        return self.variation > 0 and any(base + runs - 2 < FEWEST_DEGREES for runs in others)

    def of(self, compared: Compared, compared_level: ComparedLevel) -> list[Entry]:
        """The servers' entries of a figure at a level."""
        return [entry for entry in self.entries if (entry.compared, entry.level) == (compared, compared_level)]

    def leaders(self, compared: Compared, compared_level: ComparedLevel) -> tuple[list[Entry], list[Entry]]:
        """(the best server, then those without a significant difference from it; the others, best first)."""
        ranked = sorted(
            (entry for entry in self.of(compared, compared_level) if entry.pooled),
            key=lambda entry: entry.pooled.estimate.value if entry.pooled else 0.0,
            reverse=compared.higher_is_better,
        )
        behind = [
            entry for entry in ranked if self.standing(compared, entry.pooled, ranked[0].pooled) == Standing.WORSE
        ]
        return [entry for entry in ranked if entry not in behind], behind

    @cached_property
    def capacities(self) -> list[SloCapacity]:
        """The SLO capacity of each server; empty without objectives."""
        if self.objectives is None:
            return []
        modes = dict.fromkeys(compared_level.system_prompt for compared_level in self.levels)
        return [SloCapacity(server, mode, self._largest(server, mode)) for mode in modes for server in self.servers]

    @cached_property
    def drifting(self) -> list[tuple[ComparedServer, ComparedLevel, Drift]]:
        """Whose token rate fell or rose within a level, in any of its runs: its mean is then of no one rate."""
        return [
            (server, compared_level, drift)
            for server in self.servers
            for compared_level in self.levels
            for run, level in server.levels(compared_level)
            if (drift := run.drift(level)) is not None and drift.course != "steady"
        ]

    def _shares_level(self) -> bool:
        others = [server for server in self.servers if server is not self.base]
        return any(self.base.levels(level) and any(other.levels(level) for other in others) for level in self.levels)

    def _entry(
        self,
        compared: Compared,
        compared_level: ComparedLevel,
        server: ComparedServer,
        pooled: Pooled | None,
        base: Pooled | None,
    ) -> Entry:
        if server is self.base:
            return Entry(compared_level, server, compared, pooled, None, Standing.BASE if pooled else Standing.MISSING)
        change, standing = self._change(compared, pooled, base), self.standing(compared, pooled, base)
        return Entry(compared_level, server, compared, pooled, change.estimate if change else None, standing)

    def _change(self, compared: Compared, new: Pooled | None, base: Pooled | None) -> Change | None:
        if new is None or base is None:
            return None
        variation = assumed_variation(compared.figure, self.variation)
        return change_between(base.runs, new.runs, share=compared.share, variation=variation)

    def standing(self, compared: Compared, new: Pooled | None, base: Pooled | None) -> Standing:
        """How a server's figure stands to another's."""
        if new is None or base is None:
            return Standing.MISSING
        return standing_of(compared, self._change(compared, new, base))

    def pooled(self, compared: Compared, compared_level: ComparedLevel, server: ComparedServer) -> Pooled | None:
        """A server's figure at a level over its runs; None where no run has it."""
        found = [self.estimate(run, level, compared) for run, level in server.levels(compared_level)]
        known = [estimate for estimate in found if estimate is not None]
        return intervals.pooled(known) if known else None

    def estimate(self, run: RunData, level: LevelSummary, compared: Compared) -> Estimate | None:
        """A figure of a run's level; None where it is undefined."""
        if compared is GOODPUT and self._given_objectives is not None:
            return good_share(run.requests.of(level), self._given_objectives)
        return run.estimate(level, compared.figure)

    def _largest(self, server: ComparedServer, mode: str) -> ComparedLevel | None:
        largest = None
        for compared_level in sorted(self.levels, key=lambda compared_level: compared_level.load):
            levels = server.levels(compared_level) if compared_level.system_prompt == mode else []
            if not levels:
                continue
            if not all(self._meets(run, level) for run, level in levels):
                # What a larger level meets after this one is no capacity: something other than its load decided.
                break
            largest = compared_level
        return largest

    def _meets(self, run: RunData, level: LevelSummary) -> bool:
        share = self.estimate(run, level, GOODPUT)
        needed = self.objectives.share if self.objectives else DEFAULT_SHARE
        return level.complete and share is not None and share.value >= needed


def standing_of(compared: Compared, change: Change | None) -> Standing:
    """How a figure that changed so stands to the one before; None where no change is defined."""
    if change is None:
        return Standing.INCONCLUSIVE
    none = 0.0 if compared.share else 1.0
    if change.estimate.excludes(none):
        return Standing.BETTER if (change.estimate.value > none) is compared.higher_is_better else Standing.WORSE
    # What only the assumed variation explains, one run of each cannot decide.
    decided = change.estimate.certified and not (change.assumed and change.within.excludes(none))
    return Standing.TIED if decided else Standing.INCONCLUSIVE


def check_labels(labels: Sequence[str], runs: int) -> None:
    """Raises ReportError unless there are no labels or one for each run."""
    if labels and len(labels) != runs:
        raise ReportError(
            f"--label is given once for each folder, in their order: {runs} folders, "
            f"{units.counted(len(labels), 'label')}."
        )


def _servers(runs: Sequence[Results], labels: Sequence[str]) -> list[ComparedServer]:
    check_labels(labels, len(runs))
    groups: dict[str, list[Results]] = {}
    for run, label in zip(runs, labels or _own_labels(runs), strict=True):
        groups.setdefault(label, []).append(run)
    if len(groups) == 1 and not same_runs(runs):
        if labels or len(runs) == 1:
            raise ReportError(
                f"All of these runs are of one server ({next(iter(groups))}): there is nothing to compare it with. "
                "Give another --label to those of another server."
            )
        groups = {name: [run] for name, run in zip(_folder_names(runs), runs, strict=True)}
    return [
        ComparedServer(
            label,
            tuple(RunData(run) for run in members),
            tuple(dict.fromkeys(reason for run in members for reason in reasons_unreliable(run))),
        )
        for label, members in groups.items()
    ]


def _own_labels(runs: Sequence[Results]) -> list[str]:
    """The run's name; without one, the engine alone where that distinguishes the servers, with its version and host
    where it does not."""
    keys = [(run.summary.engine, run.run.engine_version or "", run.summary.host or "") for run in runs]
    different = Counter(engine for engine, _, _ in dict.fromkeys(keys))
    return [
        run.run.name
        or (engine if different[engine] == 1 else " ".join(part for part in (engine, version, host) if part))
        for run, (engine, version, host) in zip(runs, keys, strict=True)
    ]


def _folder_names(runs: Sequence[Results]) -> list[str]:
    """The name of each run's folder, the whole path where two have one name."""
    names = [run.folder.name for run in runs]
    return names if len(set(names)) == len(names) else [str(run.folder) for run in runs]


def _base(servers: Sequence[ComparedServer], label: str | None) -> ComparedServer:
    if label is None:
        return servers[0]
    for server in servers:
        if server.label == label:
            return server
    raise ReportError(f"--base takes one of {', '.join(server.label for server in servers)}, got {label!r}.")


def compared_levels(runs: Sequence[Results]) -> list[ComparedLevel]:
    """Those that any run has: by users, first all without the system prompt."""
    found = {
        (level.level, level.system_prompt): ComparedLevel(level.level, level.system_prompt, level.load, level.name)
        for run in reversed(runs)
        for level in run.summary.levels
    }
    return sorted(
        found.values(),
        key=lambda level: (list(PROMPT).index(level.system_prompt), level.load),
    )


def common_objectives(runs: Sequence[Results]) -> Objectives | None:
    """What every run was held against; None where there were none, or not the same."""
    first, *others = [(run.summary.objectives, run.summary.objective_share) for run in runs]
    bounds, share = first
    if not bounds or any(other != first for other in others):
        return None
    return Objectives(**bounds, share=DEFAULT_SHARE if share is None else share)


def _different_objectives(runs: Sequence[Results]) -> str:
    """Which SLO each run had, where it was not the same for all."""
    names: dict[str, list[str]] = {}
    for run in runs:
        bounds, share = run.summary.objectives, run.summary.objective_share
        words = f"{units.set_share(DEFAULT_SHARE if share is None else share)} of the requests within " + " and ".join(
            units.objective(name, bound) for name, bound in bounds.items()
        )
        names.setdefault(words if bounds else "no SLO", []).append(run.folder.name)
    had = "; ".join(f"{words} in {', '.join(folders)}" for words, folders in names.items())
    return f"SLO DIFFERS: {had}. The SLO is not compared; set --slo to judge all runs by the same SLO."


def _allowed_differences(runs: Sequence[Results]) -> list[str]:
    base, *others = runs
    found = dict.fromkeys(str(unlike) for other in others for unlike in differences(base, other))
    unlike = [f"DIFFERENT SETTINGS: these runs differ in {'; '.join(found)}."] if found else []
    return [*unlike, *(notice for other in others for notice in prefix_hit_notices(base, other))]
