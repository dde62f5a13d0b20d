"""Calibrates the lengths of prompts before a run, from a process that is to send load."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Collection, Mapping
from typing import Any

import msgspec
from locust.env import Environment
from locust.runners import MasterRunner

from tokenswarm.client.length_options import TEXT_CALIBRATION, WORKERS_OF_RUN
from tokenswarm.client.prompt_supply import makes_texts
from tokenswarm.client.request_options import ChatOptions
from tokenswarm.client.server_address import hosts_of
from tokenswarm.client.workload import length_facts, load_workload
from tokenswarm.cluster.worker_calls import WorkerCall
from tokenswarm.target.length_calibration import calibrate_lengths

_PATIENCE_S = 300.0


class LengthCalibrations:
    """Finds out how texts of the requested lengths are made, and puts it into the options that workers get."""

    def __init__(self) -> None:
        self._call = WorkerCall("tokenswarm_length_calibration", self._on_worker)

    def attach(self, environment: Environment) -> None:
        """At Locust's init."""
        self._call.attach(environment)

    def make(
        self, environment: Environment, modes: Collection[str], least_tokens: int, *, from_here: bool
    ) -> dict[str, Any]:
        """On the master, or the only process, once the engine and the model stand in the options. from_here: whether
        this process sends load to the server. Returns what run.json records of the lengths. Raises PreflightFailed,
        CalibrationFailed, WorkerCallFailed."""
        parsed, runner = environment.parsed_options, environment.runner
        assert parsed is not None
        vars(parsed)[WORKERS_OF_RUN] = max(1, len(runner.clients.ready)) if isinstance(runner, MasterRunner) else 1
        vars(parsed)[TEXT_CALIBRATION] = None
        options = ChatOptions.of(parsed)
        prompts = load_workload(options).prompts
        if not makes_texts(options, prompts):
            return length_facts(options, prompts)
        host = hosts_of(environment.host or "")[0]  # the servers of a run have one engine and the same models
        if from_here or not isinstance(runner, MasterRunner):
            found = msgspec.to_builtins(calibrate_lengths(options, host, modes, least_tokens))
        else:
            worker = min(client.id for client in runner.clients.ready)
            question = {
                "options": vars(parsed),
                "host": host,
                "modes": sorted(modes),
                "least_tokens": least_tokens,
            }
            (found,) = self._call.call(runner, [worker], question, _PATIENCE_S).values()
        vars(parsed)[TEXT_CALIBRATION] = found
        return {
            **length_facts(options, prompts),
            **{f"head_tokens_{mode}": tokens for mode, tokens in found["head_tokens"].items()},
            "token_counting": found["source"],
            "words": len(found["costs"]),
            "words_add_up": found["adds_up"],
            "includes_template": found["includes_template"],
        }

    @staticmethod
    def _on_worker(environment: Environment, question: Mapping[str, Any]) -> Any:
        options = ChatOptions.of(Namespace(**{**vars(environment.parsed_options), **question["options"]}))
        return msgspec.to_builtins(
            calibrate_lengths(options, question["host"], question["modes"], question["least_tokens"])
        )
