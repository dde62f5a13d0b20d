"""What is wrong with the runs of a server, in one line, and by run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from tokenswarm.reports import units
from tokenswarm.reports.html.chart_style import spoken
from tokenswarm.reports.warnings import warnings_of
from tokenswarm.run_folder.reader import Results


class ServerNotices(NamedTuple):
    """line: the kinds of its notices, with how many runs have each. by_run: (names of runs, all that is said of each of
    them, a line each)."""

    line: str
    by_run: list[tuple[str, str]]


def server_notices(label: str, runs: Sequence[Results]) -> ServerNotices | None:
    """None where nothing is wrong with any of the runs."""
    found = [(run.folder.name, warnings_of(run)) for run in runs]
    kinds = Counter(kind for _, notices in found for kind in dict.fromkeys(map(_kind, notices)))
    if not kinds:
        return None
    of = f" of {units.counted(len(runs), 'run')}"
    counts = [kind if len(runs) == 1 else f"{kind} in {units.count(number)}{of}" for kind, number in kinds.items()]
    names: dict[str, list[str]] = {}
    for name, notices in found:
        if notices:
            names.setdefault("\n".join(notices), []).append(name)
    return ServerNotices(f"{label}: {'; '.join(counts)}.", [(spoken(each), text) for text, each in names.items()])


def _kind(notice: str) -> str:
    """Its first words, in capitals."""
    return notice.partition(":")[0]
