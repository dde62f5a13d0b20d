"""The probes of a capacity search on a run's page."""

from __future__ import annotations

from collections.abc import Iterator

from tokenswarm.metrics.level import users_of
from tokenswarm.reports import units
from tokenswarm.reports.html.document import Cell, Table
from tokenswarm.run_folder.capacity_figures import CapacityFigures, ProbeFigures

_REASONS = {"backlog": "the backlog grows", "drift": "latencies rise"}


def probe_table(found: CapacityFigures | None) -> Iterator[Table]:
    """One table, in the order of the probes; none for a run that does not search."""
    if found is None or not found.probes:
        return
    bounds = list(found.probes[0].shares)
    headings = ["load", "verdict", "good, of judged", "judged requests"]
    headings += [f"within {_figure(name)}, of the whole hold" for name in bounds]
    rows = [_row(probe, bounds) for probe in found.probes]
    yield Table(
        "Probes of the search, in the order of time; #2: the same load, probed again. A load passes if the whole "
        f"interval of its share of good requests is above {units.set_share(found.share)}, and fails if all of it is "
        "below. Judged: the requests sent after the server had filled up, until the verdict. Below their number: how "
        "many independent requests they count as. Within: of all requests of the hold, the earlier and later ones "
        "included, so a share can differ from that of good ones",
        headings,
        rows,
    )


def _row(probe: ProbeFigures, bounds: list[str]) -> list[str | Cell]:
    interval = ""
    if probe.share_low is not None and probe.share_high is not None:
        interval = units.span(units.percentage(probe.share_low), units.percentage(probe.share_high))
    return [
        users_of(probe.level),
        Cell(probe.verdict, _REASONS.get(probe.reason, "")),
        Cell(units.percentage(probe.share), interval),
        Cell(units.count(probe.requests), units.count(round(probe.independent))),
        *(units.percentage(probe.shares.get(name)) for name in bounds),
    ]


def _figure(name: str) -> str:
    return name.removesuffix("_s").replace("_", " ")
