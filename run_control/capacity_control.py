"""A capacity search inside its run: probes end when they are decided, and the next one follows from what they were."""

from __future__ import annotations

import logging

from tokenswarm.recording.aggregator import Aggregator
from tokenswarm.recording.capacity_run import CapacityRun
from tokenswarm.reports import units
from tokenswarm.reports.capacity_sentence import probe_sentence, search_sentence
from tokenswarm.run_control.load_end import end_load
from tokenswarm.run_control.run_controller import RunController
from tokenswarm.run_folder.schema import Status
from tokenswarm.shapes.plan import PlannedLevel, SearchPlan

logger = logging.getLogger(__name__)


class CapacityControl:
    """Of the run that goes on, where it searches."""

    def __init__(self, controller: RunController) -> None:
        self._controller = controller

    def begin(self, plan: SearchPlan | None, first_index: int) -> None:
        """A run has begun. plan: None where it does not search; first_index: of the level of the first probe."""
        run = self._controller.run
        if plan is not None and run is not None:
            run.capacity = search = CapacityRun(plan, run.aggregator.objectives, first_index)
            levels = run.aggregator
            self._controller.live.capacity = lambda: self._live_sentence(search, levels)
            of = plan.range
            logger.info(
                "Capacity search between %g and %g %s: a probe is a level of at most %s, which ends as soon as its "
                "result is certain; judged are the requests sent after the server had filled up, until then",
                *(of.low, of.high, "users" if of.whole else "requests/s"),
                units.planned_time(plan.template.level_time_s),
            )

    def _live_sentence(self, search: CapacityRun, levels: Aggregator) -> str:
        is_running = self._controller.live.status is Status.RUNNING
        return search_sentence(search.figures(levels), levels.objectives.bounds, is_running=is_running)

    def is_probe_decided(self) -> bool:
        """Whether the running level is a probe that is decided. Its load then ends now, on the workers too."""
        run = self._controller.run
        if run is None or run.capacity is None or not run.capacity.is_decided(run.aggregator):
            return False
        end_load(self._controller)
        return True

    def next_probe(self) -> PlannedLevel | None:
        """The probe after the one that is over; None where the search is over, and in a run without one."""
        run = self._controller.run
        if run is None or run.capacity is None:
            return None
        following = run.capacity.next_probe(run.aggregator)
        if (probe := run.capacity.latest(run.aggregator)) is not None:
            logger.info("Probe of %s", probe_sentence(probe))
        return following
