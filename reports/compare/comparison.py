"""Many runs side by side: each server's figures, pooled over its runs, and how they stand to another server's.

A server is called better or worse only where the interval of the change excludes that there is none, what differs from
run to run included: measured from the runs, or assumed where there are too few (reports/changes.py). Each comparison
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

from metrics.objectives import DEFAULT_SHARE, Objectives
from metrics.stage import PROMPT
from reports import intervals, units
from reports.changes import ASSUMED_VARIATION, FEWEST_DEGREES, Change, assumed_variation, change_between
from reports.conditions import Figure
from reports.drift import Drift
from reports.estimates import Measured
from reports.intervals import Estimate, Pooled
from reports.journals import Requests
from reports.likeness import check_alike, differences, prefix_hit_notices, reasons_to_doubt
from reports.notices import notices
from reports.results import Level, ReportError, Results
from reports.slo import good_requests


class Compared(NamedTuple):
    """A figure that is compared. share: it changes by percentage points, a ratio of shares near zero says nothing."""

    figure: Figure
    name: str
    higher_is_better: bool = False
    share: bool = False


TTFT = Compared(Figure("ttft", "p50"), "TTFT, median")
TOKEN_RATE = Compared(Figure("rate"), "Token rate, all users together", higher_is_better=True)
GOODPUT = Compared(Figure("goodput"), "Requests within the objectives", higher_is_better=True, share=True)
COMPARED = (
    TTFT,
    Compared(Figure("ttft", "p95"), "TTFT, 95th percentile"),
    Compared(Figure("ttft", "mean"), "TTFT, mean"),
    TOKEN_RATE,
    Compared(Figure("user_rate", "p50"), "Token rate of one user, median", higher_is_better=True),
    Compared(Figure("failures"), "Failed requests", share=True),
)


class Standing(StrEnum):
    """How a server's figure stands to another's. ALIKE: the interval holds no difference as well. UNDECIDED: the
    sample is too small for an interval, or there are too few runs to tell the change from run-to-run variation."""

    BASE = "base"
    BETTER = "better"
    WORSE = "worse"
    ALIKE = "no difference told"
    UNDECIDED = "too few to tell"
    MISSING = "no figure"


class Stage(NamedTuple):
    """A level and its system-prompt mode; `name` is the level as a person calls it."""

    level: str
    system_prompt: str
    users: int
    name: str

    def __str__(self) -> str:
        return f"{self.name} users {PROMPT[self.system_prompt]}"


@dataclass(frozen=True, slots=True)
class Server:
    """What is compared: the runs under one label."""

    label: str
    runs: tuple[Measured, ...]
    doubts: tuple[str, ...]

    @property
    def name(self) -> str:
        """The label, marked wherever it stands if its figures are in doubt."""
        if any(run.results.summary.validity.verdict == "suspect" for run in self.runs):
            return f"{self.label} (SUSPECT)"
        return f"{self.label} (IN DOUBT)" if self.doubts else self.label

    def levels(self, stage: Stage) -> list[tuple[Measured, Level]]:
        """That level of each of its runs."""
        return [
            (run, level)
            for run in self.runs
            for level in run.results.summary.levels
            if (level.level, level.system_prompt) == (stage.level, stage.system_prompt)
        ]


@dataclass(frozen=True, slots=True)
class Entry:
    """A figure of a server at a stage. pooled: None where no run has it. change: the ratio to the base's, of a share
    the difference; None where there is none to tell."""

    stage: Stage
    server: Server
    compared: Compared
    pooled: Pooled | None
    change: Estimate | None
    standing: Standing


@dataclass(frozen=True, slots=True)
class Carried:
    """How far a server meets the objectives under a system-prompt mode; None: not even at its smallest level."""

    server: Server
    system_prompt: str
    stage: Stage | None


class Comparison:
    """Runs grouped by server. Raises ReportError where they are not to be compared."""

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
        check_alike(runs, allowed)
        self.variation = variation
        self.servers = _servers(runs, labels)
        self.base = _base(self.servers, base)
        self.stages = _stages(runs)
        self._asked_for = objectives
        self.objectives = objectives or _common_objectives(runs)
        self.notices = [*_allowed_differences(runs), *_run_notices(self.servers)]
        if self.objectives is None and any(run.summary.objectives for run in runs):
            self.notices.append("OBJECTIVES DIFFER: each run had its own, so none are held against them; give --slo.")

    @cached_property
    def compared(self) -> tuple[Compared, ...]:
        """The figures, in order."""
        return (*COMPARED, GOODPUT) if self.objectives else COMPARED

    @cached_property
    def entries(self) -> list[Entry]:
        """Each figure at each stage of each server, the base's own included."""
        found = []
        for compared, stage in product(self.compared, self.stages):
            base = self._pooled(compared, stage, self.base)
            for server in self.servers:
                pooled = base if server is self.base else self._pooled(compared, stage, server)
                found.append(self._entry(compared, stage, server, pooled, base))
        return found

    @property
    def assumes_variation(self) -> bool:
        """Whether there is a server with so few runs that its comparison rests on the assumed variation."""
        base = len(self.base.runs)
        others = [len(server.runs) for server in self.servers if server is not self.base]
        return self.variation > 0 and any(base + runs - 2 < FEWEST_DEGREES for runs in others)

    def of(self, compared: Compared, stage: Stage) -> list[Entry]:
        """The servers' entries of a figure at a stage."""
        return [entry for entry in self.entries if (entry.compared, entry.stage) == (compared, stage)]

    def leaders(self, compared: Compared, stage: Stage) -> tuple[list[Entry], list[Entry]]:
        """(the best server, then those that are not told apart from it; the others, best first)."""
        ranked = sorted(
            (entry for entry in self.of(compared, stage) if entry.pooled),
            key=lambda entry: entry.pooled.estimate.value if entry.pooled else 0.0,
            reverse=compared.higher_is_better,
        )
        behind = [
            entry for entry in ranked if self.standing(compared, entry.pooled, ranked[0].pooled) == Standing.WORSE
        ]
        return [entry for entry in ranked if entry not in behind], behind

    @cached_property
    def carried(self) -> list[Carried]:
        """How many users each server carries within the objectives; empty without objectives."""
        if self.objectives is None:
            return []
        modes = dict.fromkeys(stage.system_prompt for stage in self.stages)
        return [Carried(server, mode, self._largest(server, mode)) for mode in modes for server in self.servers]

    @cached_property
    def drifting(self) -> list[tuple[Server, Stage, Drift]]:
        """Whose token rate fell or rose within a level, in any of its runs: its mean is then of no one rate."""
        return [
            (server, stage, drift)
            for server in self.servers
            for stage in self.stages
            for run, level in server.levels(stage)
            if (drift := run.drift(level)) is not None and drift.course != "steady"
        ]

    def _entry(
        self, compared: Compared, stage: Stage, server: Server, pooled: Pooled | None, base: Pooled | None
    ) -> Entry:
        if server is self.base:
            return Entry(stage, server, compared, pooled, None, Standing.BASE if pooled else Standing.MISSING)
        change, standing = self._change(compared, pooled, base), self.standing(compared, pooled, base)
        return Entry(stage, server, compared, pooled, change.estimate if change else None, standing)

    def _change(self, compared: Compared, new: Pooled | None, base: Pooled | None) -> Change | None:
        if new is None or base is None:
            return None
        variation = assumed_variation(compared.figure, self.variation)
        return change_between(base.runs, new.runs, share=compared.share, variation=variation)

    def standing(self, compared: Compared, new: Pooled | None, base: Pooled | None) -> Standing:
        """How a server's figure stands to another's."""
        if new is None or base is None:
            return Standing.MISSING
        change, none = self._change(compared, new, base), 0.0 if compared.share else 1.0
        if change is None:
            return Standing.UNDECIDED
        if change.estimate.excludes(none):
            return Standing.BETTER if (change.estimate.value > none) is compared.higher_is_better else Standing.WORSE
        # What only the assumed variation explains, one run of each cannot decide.
        decided = change.estimate.certified and not (change.assumed and change.within.excludes(none))
        return Standing.ALIKE if decided else Standing.UNDECIDED

    def _pooled(self, compared: Compared, stage: Stage, server: Server) -> Pooled | None:
        found = [self._estimate(run, level, compared) for run, level in server.levels(stage)]
        known = [estimate for estimate in found if estimate is not None]
        return intervals.pooled(known) if known else None

    def _estimate(self, run: Measured, level: Level, compared: Compared) -> Estimate | None:
        if compared is GOODPUT and self._asked_for is not None:
            return good_share(run.requests.of(level), self._asked_for)
        return run.estimate(level, compared.figure)

    def _largest(self, server: Server, mode: str) -> Stage | None:
        largest = None
        for stage in sorted(self.stages, key=lambda stage: stage.users):
            levels = server.levels(stage) if stage.system_prompt == mode else []
            if not levels:
                continue
            if not all(self._meets(run, level) for run, level in levels):
                # What a larger level meets after this one is no capacity: something other than its load decided.
                break
            largest = stage
        return largest

    def _meets(self, run: Measured, level: Level) -> bool:
        share = self._estimate(run, level, GOODPUT)
        needed = self.objectives.share if self.objectives else DEFAULT_SHARE
        return level.complete and share is not None and share.value >= needed


def good_share(requests: Requests, objectives: Objectives) -> Estimate | None:
    """The share of these requests that met every bound, as Objectives.met has it; None of no requests."""
    return intervals.share_of(int(good_requests(requests, objectives).sum()), len(requests))


def _servers(runs: Sequence[Results], labels: Sequence[str]) -> list[Server]:
    if labels and len(labels) != len(runs):
        raise ReportError(
            f"--label is given once for each folder, in their order: {len(runs)} folders, "
            f"{units.counted(len(labels), 'label')}."
        )
    groups: dict[str, list[Results]] = {}
    for run, label in zip(runs, labels or _own_labels(runs), strict=True):
        groups.setdefault(label, []).append(run)
    if len(groups) == 1:
        raise ReportError(
            f"All of these runs are of one server ({next(iter(groups))}): there is nothing to compare it with. "
            "If it was another each time, give --label NAME once for each folder, in their order."
        )
    return [
        Server(
            label,
            tuple(Measured(run) for run in members),
            tuple(dict.fromkeys(doubt for run in members for doubt in reasons_to_doubt(run))),
        )
        for label, members in groups.items()
    ]


def _own_labels(runs: Sequence[Results]) -> list[str]:
    """The engine alone where that tells the servers apart, with its version and host where it does not."""
    keys = [(run.summary.engine, run.run.engine_version or "", run.summary.host or "") for run in runs]
    different = Counter(engine for engine, _, _ in dict.fromkeys(keys))
    return [
        engine if different[engine] == 1 else " ".join(part for part in (engine, version, host) if part)
        for engine, version, host in keys
    ]


def _base(servers: Sequence[Server], label: str | None) -> Server:
    if label is None:
        return servers[0]
    for server in servers:
        if server.label == label:
            return server
    raise ReportError(f"--base takes one of {', '.join(server.label for server in servers)}, got {label!r}.")


def _stages(runs: Sequence[Results]) -> list[Stage]:
    """Those that any run has: by users, first all without the system prompt."""
    found = {
        (level.level, level.system_prompt): Stage(level.level, level.system_prompt, level.users, level.name)
        for run in reversed(runs)
        for level in run.summary.levels
    }
    return sorted(found.values(), key=lambda stage: (list(PROMPT).index(stage.system_prompt), stage.users))


def _common_objectives(runs: Sequence[Results]) -> Objectives | None:
    """What every run was held against; None where there were none, or not the same."""
    first, *others = [(run.summary.objectives, run.summary.objective_share) for run in runs]
    bounds, share = first
    if not bounds or any(other != first for other in others):
        return None
    return Objectives(**bounds, share=DEFAULT_SHARE if share is None else share)


def _allowed_differences(runs: Sequence[Results]) -> list[str]:
    base, *others = runs
    found = dict.fromkeys(str(unlike) for other in others for unlike in differences(base, other))
    unlike = [f"UNLIKE: these runs did not ask the same; they differ in {'; '.join(found)}."] if found else []
    return [*unlike, *(notice for other in others for notice in prefix_hit_notices(base, other))]


def _run_notices(servers: Sequence[Server]) -> list[str]:
    return [f"{server.label}: {notice}" for server in servers for run in server.runs for notice in notices(run.results)]
