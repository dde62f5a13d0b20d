"""What a capacity search found, as summary.json has it."""

from __future__ import annotations

import msgspec


class ProbeFigures(msgspec.Struct, frozen=True, kw_only=True):
    """One probe. index, level: of its level; load: users, or requests/s. verdict: pass, fail or inconclusive; reason:
    of a fail, `backlog` or `drift` where the server did not keep up, empty where the share decided. requests: that the
    verdict is of; independent: as many as they are worth. share: of good ones among those that are known (0 to 1), with
    the interval that the verdict is from, which is wider than 95 % as the probe was looked at several times. shares:
    of all requests of the hold that have ended, the share within each bound alone, by figure; failed: of failures."""

    index: int
    level: str
    load: float
    verdict: str
    reason: str = ""
    requests: int = 0
    independent: float = 0.0
    share: float | None = None
    share_low: float | None = None
    share_high: float | None = None
    shares: dict[str, float] = {}
    failed: float = 0.0


class CapacityFigures(msgspec.Struct, frozen=True, kw_only=True):
    """The search. unit: of loads, `users` or `requests/s`; low, high: the range; precision: as requested, a share;
    share: of good requests that a load needs. conclusion: bracket, no_pass, no_fail, inconclusive or unfinished. best:
    the largest load that passed, failing: the smallest that failed, None where there is none; inconclusive, unsteady:
    loads without a verdict, and loads whose probes differ by more than chance. binding: what the load that failed is
    limited by: a figure's name as in `objectives`, `failures`, `backlog` or `drift`; empty where no load failed.
    probes: in their order."""

    unit: str
    low: float
    high: float
    precision: float
    share: float
    conclusion: str
    best: float | None = None
    failing: float | None = None
    inconclusive: tuple[float, ...] = ()
    unsteady: tuple[float, ...] = ()
    binding: str = ""
    probes: tuple[ProbeFigures, ...] = ()

    def probe_of(self, load: float | None) -> ProbeFigures | None:
        """The first probe of a load that came to a verdict, or its first one; None where it was not probed."""
        found = [probe for probe in self.probes if probe.load == load]
        return next((probe for probe in found if probe.verdict != "inconclusive"), next(iter(found), None))


def binding_objective(failed: ProbeFigures) -> str:
    """What a load that failed is limited by, see CapacityFigures."""
    if failed.reason:
        return failed.reason
    name = min(failed.shares, key=lambda name: failed.shares[name], default="")
    return "failures" if not name or failed.failed > (1 - failed.shares[name]) / 2 else name
