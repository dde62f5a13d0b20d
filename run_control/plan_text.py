"""What a run with some options would do and how long it takes, in one sentence, before it starts."""

from __future__ import annotations

from argparse import Namespace

from tokenswarm.reports import units
from tokenswarm.reports.progress_line import WITHOUT_DRAINS, plan_in_words
from tokenswarm.run_control.run_plan import level_of
from tokenswarm.shapes.capacity.search import MOST_PROBES
from tokenswarm.shapes.plan import SearchPlan
from tokenswarm.shapes.rate_options import OPEN
from tokenswarm.shapes.shape_options import load_plan_of


def plan_text(options: Namespace) -> str:
    """The plan as `tokenswarm run` prints it, without its heading. A trace is not read: it may be large. Raises
    PlanError, TimespanError, OptionErrors, PointedError, ArrivalsError."""
    if options.shape == OPEN and options.trace:
        return f"a replay of {options.trace}, which takes as long as the recorded part that is replayed"
    load = load_plan_of(options)
    if load.search is not None:
        return _search_text(load.search)
    return plan_in_words([level_of(level) for level in load.levels], load.settle_s)


def _search_text(search: SearchPlan) -> str:
    of = search.range
    load = "number of users" if of.whole else "rate of requests/s"
    probe_s = search.template.level_time_s
    most = units.length_of_time(MOST_PROBES * probe_s)
    return (
        f"a search for the largest {load} within the SLO, from {of.low:g} to {of.high:g}; each probe takes at most "
        f"{units.planned_time(probe_s)}; at most {MOST_PROBES} probes, so {most} at most in all, {WITHOUT_DRAINS}"
    )
