"""Which processes send the load of a run."""

from __future__ import annotations

from locust.env import Environment
from locust.runners import MasterRunner


def sends_from_here(environment: Environment) -> bool:
    """Whether this process or those that it forked send the load. The master may not reach a server that workers on
    other machines reach."""
    assert environment.parsed_options is not None
    return not isinstance(environment.runner, MasterRunner) or bool(environment.parsed_options.processes)


def processes_of(environment: Environment) -> int:
    """How many processes of this machine send the load: this one, or all that it has forked; 0 where others may."""
    if not isinstance(environment.runner, MasterRunner):
        return 1
    assert environment.parsed_options is not None
    workers, forked = len(environment.runner.clients.ready), environment.parsed_options.processes or 0
    return workers if workers == forked else 0
