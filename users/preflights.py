"""The preflight of a run from a process that is to send load."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Collection, Mapping
from typing import Any

import msgspec
from locust.env import Environment
from locust.runners import MasterRunner

from tokenswarm.client.request_options import ChatOptions
from tokenswarm.cluster.worker_calls import WorkerCall
from tokenswarm.engines import DetectedServer
from tokenswarm.metrics.level import SystemPrompt
from tokenswarm.target.preflight import PreflightFailed, PreflightResult, longest_preflight_s
from tokenswarm.target.several_hosts import preflight_hosts

#: What a worker may take besides the requests.
_WORKER_PATIENCE_S = 60.0


class Preflights:
    """Sends the small requests before a run from a process that is to send load."""

    def __init__(self) -> None:
        self._call = WorkerCall("tokenswarm_preflight", self._on_worker)

    def attach(self, environment: Environment) -> None:
        """At Locust's init."""
        self._call.attach(environment)

    def make_on_worker(
        self,
        runner: MasterRunner,
        options: ChatOptions,
        hosts: list[str],
        modes: Collection[SystemPrompt],
        found: DetectedServer,
    ) -> PreflightResult:
        """On a master whose workers are on other machines: one of them does it, as only they have to reach the server
        and to have its key. Raises PreflightFailed, WorkerCallFailed."""
        assert runner.environment.parsed_options is not None
        worker = min(client.id for client in runner.clients.ready)
        question = {
            "options": vars(runner.environment.parsed_options),
            "hosts": hosts,
            "modes": sorted(modes),
            "models": list(found.models),
            "least_tokens": least_tokens_of(found),
        }
        patience_s = 2 * len(hosts) * longest_preflight_s(options, modes) + _WORKER_PATIENCE_S
        (result,) = self._call.call(runner, [worker], question, patience_s).values()
        try:
            return msgspec.convert(result, PreflightResult)
        except msgspec.ValidationError as error:
            raise PreflightFailed(f"worker {worker} sent no result of its preflight ({error})") from None

    @staticmethod
    def _on_worker(environment: Environment, question: Mapping[str, Any]) -> Any:
        options = ChatOptions.of(Namespace(**{**vars(environment.parsed_options), **question["options"]}))
        return msgspec.to_builtins(
            preflight_hosts(options, question["hosts"], question["modes"], question["models"], question["least_tokens"])
        )


def least_tokens_of(found: DetectedServer) -> int:
    """The shortest answer that requests may set."""
    return found.max_tokens_range[0] if found.max_tokens_range else 1
