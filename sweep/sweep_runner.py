"""The runs of a sweep one after another, and which state each has come to. Without processes and files of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import NamedTuple

from msgspec.structs import replace

from tokenswarm.command_line.exit_codes import (
    EXIT_CONDITION_FAILED,
    EXIT_INTERRUPTED,
    EXIT_OK,
    EXIT_REQUESTS_FAILED,
    EXIT_UNRELIABLE,
    EXIT_UNUSABLE,
)
from tokenswarm.run_folder.schema import Status
from tokenswarm.sweep.manifest import Manifest, RunState, SweepRun

#: From harmless to worst: a sweep ends with the worst of its runs. Others (of --exit-code-on-error) are as 1.
_SEVERITY = (EXIT_OK, EXIT_REQUESTS_FAILED, EXIT_CONDITION_FAILED, EXIT_INTERRUPTED, EXIT_UNRELIABLE, EXIT_UNUSABLE)


class RunOutcome(NamedTuple):
    """How a run ended. folder: its name within the sweep's, None where it left none; status: of its run.json;
    interrupted: whether the sweep is to end."""

    exit_code: int
    folder: str | None
    status: str | None
    interrupted: bool = False


def run_sweep(
    manifest: Manifest,
    run_cell: Callable[[SweepRun], RunOutcome],
    store: Callable[[Manifest], None],
    now: Callable[[], datetime],
    stop_on_failure: bool = False,
) -> Manifest:
    """Run what has not finished, in order, until all have, one is interrupted, or (stop_on_failure) one fails. store:
    called before and after each run. Returns the manifest at the end."""
    for planned in manifest.runs:
        if planned.state is RunState.FINISHED:
            continue
        begun = replace(planned, state=RunState.RUNNING, started_at=now())
        store(manifest := manifest.with_run(begun))
        outcome = run_cell(begun)
        state = state_of(outcome)
        done = replace(begun, state=state, exit_code=outcome.exit_code, folder=outcome.folder, ended_at=now())
        store(manifest := manifest.with_run(done))
        if state is RunState.INTERRUPTED or outcome.interrupted:
            break
        if stop_on_failure and outcome.exit_code != EXIT_OK:
            break
    return manifest


def state_of(outcome: RunOutcome) -> RunState:
    """A run that came to its end has finished, also where its requests or conditions failed."""
    if outcome.status == Status.FINISHED:
        return RunState.FINISHED
    was_stopped = outcome.interrupted or outcome.exit_code == EXIT_INTERRUPTED
    return RunState.INTERRUPTED if was_stopped else RunState.FAILED


def exit_code_of(runs: Sequence[SweepRun]) -> int:
    """The worst exit code of the runs: 2 (could not be used) before 3 (unreliable), 4 (stopped, killed, or not run at
    all), 5 (a condition failed) and 1 (requests failed)."""
    codes = [EXIT_INTERRUPTED if run.exit_code is None or run.exit_code < 0 else run.exit_code for run in runs]
    return max(codes, key=_severity, default=EXIT_OK)


def _severity(code: int) -> int:
    return _SEVERITY.index(code if code in _SEVERITY else EXIT_REQUESTS_FAILED)
