"""Where what is read of the server's own metrics goes: into the run that is under way."""

from __future__ import annotations

from collections.abc import Mapping

from tokenswarm.run_control.run_controller import RunController


class RunServerLog:
    """Between runs nothing is due, and what comes is dropped."""

    def __init__(self, controller: RunController) -> None:
        self._controller = controller

    def server_is_due(self) -> bool:
        """Whether the server's metrics are to be read now. Where they are, the next reading is due later."""
        run = self._controller.run
        level = run.aggregator.running_level if run is not None else None
        if run is None or level is None or not run.server.is_due(level, run.now_s):
            return False
        run.server.tried(run.now_s)
        return True

    def server_found(self, source: str | None, gpu_source: str | None, note: str | None) -> None:
        """Where the server's metrics come from; note: why they do not where they do not."""
        if (run := self._controller.run) is not None:
            run.server_found(source, gpu_source, note)

    def take_server_values(self, values: Mapping[str, float], failures: int) -> None:
        """A sample by metric, and how many of the server's pages could not be read."""
        if (run := self._controller.run) is not None:
            run.take_server_values(values, failures)
