"""Calls from a master to its workers: a request and a response inside Locust's connection."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from typing import Any

import msgspec
from gevent.queue import Empty, Queue
from locust.env import Environment
from locust.runners import MasterRunner, WorkerRunner

logger = logging.getLogger(__name__)

_MAX_ERROR_CHARACTERS = 1000


class WorkerCallFailed(ValueError):
    """A worker responded with an error, or not in time; the text says which worker and what happened."""


class _WorkerResponse(msgspec.Struct):
    """A worker's response to the request of that number: the result, or why there is none."""

    number: int
    result: Any = None
    error: str = ""


class WorkerCall:
    """One kind of call. On a worker, `respond` turns a request into a result that msgpack can hold; the text of an
    exception that it raises becomes the response's error."""

    def __init__(self, name: str, respond: Callable[[Environment, Mapping[str, Any]], Any]) -> None:
        """name: of this kind of call, unique."""
        self._name = name
        self._respond = respond
        self._number = 0
        self._responses: Queue[tuple[str, _WorkerResponse]] = Queue()

    def attach(self, environment: Environment) -> None:
        """At Locust's init, on each process."""
        if isinstance(runner := environment.runner, MasterRunner):
            runner.register_message(f"{self._name}_response", self._on_response)
        elif isinstance(runner, WorkerRunner):
            # Concurrent: a worker whose messages wait for seconds is considered lost.
            runner.register_message(self._name, self._on_request, concurrent=True)

    def call(
        self, runner: MasterRunner, workers: Collection[str], request: Mapping[str, Any], timeout_s: float
    ) -> dict[str, Any]:
        """The result of each worker, by its id. Raises WorkerCallFailed."""
        awaited = set(workers)
        self._number += 1
        for name in awaited:
            runner.send_message(self._name, {**request, "number": self._number}, name)
        results: dict[str, Any] = {}
        deadline_s = time.monotonic() + timeout_s
        while awaited:
            for name in awaited:
                if name not in runner.clients or time.monotonic() > deadline_s:
                    raise WorkerCallFailed(f"worker {name} did not respond within {timeout_s:.0f} s, or was lost")
            with suppress(Empty):
                name, response = self._responses.get(timeout=1.0)
                if response.number != self._number or name not in awaited:
                    continue
                if response.error:
                    raise WorkerCallFailed(f"worker {name}: {response.error[:_MAX_ERROR_CHARACTERS]}")
                awaited.remove(name)
                results[name] = response.result
        return results

    def _on_response(self, environment: Environment, msg: Any, **_: Any) -> None:
        try:
            self._responses.put((msg.node_id, msgspec.convert(msg.data, _WorkerResponse)))
        except msgspec.ValidationError as error:  # anybody who reaches the port can send one
            logger.error("A malformed %s message of %s is ignored: %s", msg.type, msg.node_id, error)

    def _on_request(self, environment: Environment, msg: Any, **_: Any) -> None:
        response = _WorkerResponse(msg.data["number"])
        try:
            response.result = self._respond(environment, msg.data)
        except Exception as error:  # the master waits for a response in any case
            response.error = str(error) or repr(error)
        assert environment.runner is not None
        environment.runner.send_message(f"{self._name}_response", msgspec.to_builtins(response))
