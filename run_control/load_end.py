"""The load of a level ends before its planned time: a probe is decided, or a locustfile's shape ends it."""

from __future__ import annotations

from msgspec import structs

from tokenswarm.metrics.level import Phase
from tokenswarm.run_control.run_controller import RunController


def end_load(controller: RunController) -> None:
    """The load of the running level ends now, on the workers too: its hold is as long as it was so far."""
    run = controller.run
    level = run.aggregator.running_level if run is not None else None
    if run is None or level is None:
        return
    elapsed_s = run.now_s - level.began_s
    if level.phase_at(elapsed_s) is Phase.HOLD:
        controller.begin_level(structs.replace(level.level, level_time_s=elapsed_s), shortened=True)
