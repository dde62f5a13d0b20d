"""Questions of a master to its workers: a request and a response inside Locust's connection."""

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
    """A worker answered with an error, or not in time; the text says which worker and what happened."""


class _Answer(msgspec.Struct):
    """A worker's answer to the question of that number: the result, or why there is none."""

    number: int
    result: Any = None
    error: str = ""


class WorkerCall:
    """One kind of question. On a worker, `answer` turns a question into a result that msgpack can hold; whatever it
    raises is the answer's error."""

    def __init__(self, name: str, answer: Callable[[Environment, Mapping[str, Any]], Any]) -> None:
        """name: of this kind of question, unique."""
        self._name = name
        self._answer = answer
        self._number = 0
        self._answers: Queue[tuple[str, _Answer]] = Queue()

    def attach(self, environment: Environment) -> None:
        """At Locust's init, on each process."""
        if isinstance(runner := environment.runner, MasterRunner):
            runner.register_message(f"{self._name}_answer", self._on_answer)
        elif isinstance(runner, WorkerRunner):
            # Concurrent: a worker whose messages wait for seconds is considered lost.
            runner.register_message(self._name, self._on_question, concurrent=True)

    def ask(
        self, runner: MasterRunner, workers: Collection[str], question: Mapping[str, Any], timeout_s: float
    ) -> dict[str, Any]:
        """The result of each worker, by its id. Raises WorkerCallFailed."""
        awaited = set(workers)
        self._number += 1
        for name in awaited:
            runner.send_message(self._name, {**question, "number": self._number}, name)
        results: dict[str, Any] = {}
        deadline_s = time.monotonic() + timeout_s
        while awaited:
            for name in awaited:
                if name not in runner.clients or time.monotonic() > deadline_s:
                    raise WorkerCallFailed(f"worker {name} did not answer within {timeout_s:.0f} s, or was lost")
            with suppress(Empty):
                name, answer = self._answers.get(timeout=1.0)
                if answer.number != self._number or name not in awaited:
                    continue
                if answer.error:
                    raise WorkerCallFailed(f"worker {name}: {answer.error[:_MAX_ERROR_CHARACTERS]}")
                awaited.remove(name)
                results[name] = answer.result
        return results

    def _on_answer(self, environment: Environment, msg: Any, **_: Any) -> None:
        try:
            self._answers.put((msg.node_id, msgspec.convert(msg.data, _Answer)))
        except msgspec.ValidationError as error:  # anybody who reaches the port can send one
            logger.error("A malformed %s message of %s is ignored: %s", msg.type, msg.node_id, error)

    def _on_question(self, environment: Environment, msg: Any, **_: Any) -> None:
        answer = _Answer(msg.data["number"])
        try:
            answer.result = self._answer(environment, msg.data)
        except Exception as error:  # whatever it is, the master waits for it
            answer.error = str(error) or repr(error)
        assert environment.runner is not None
        environment.runner.send_message(f"{self._name}_answer", msgspec.to_builtins(answer))
