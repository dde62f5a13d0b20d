"""Waits for a run in a cluster: its progress, its log, its results and its exit code."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread

from tokenswarm.command_line.exit_codes import EXIT_UNRELIABLE, EXIT_UNUSABLE
from tokenswarm.kube.cluster_api import ClusterApi, KubeError
from tokenswarm.kube.collection import collect
from tokenswarm.kube.manifests import selector_of
from tokenswarm.kube.pod_state import ClusterRunState, progress_of, state_of

_POLL_S = 2.0
#: How long the last lines of a log may take.
_LAST_LINES_S = 10.0


@dataclass(frozen=True, slots=True)
class KubeOutcome:
    """How a run in a cluster ended. code: the exit code to pass on; folders: the results that were copied; problem: a
    sentence where the run did not end by itself; began: whether its master has run."""

    code: int
    folders: tuple[Path, ...] = ()
    problem: str = ""
    began: bool = True


class MasterLog:
    """The master's log, passed on line by line in a thread of its own. A connection that ends is made again, and no
    line is shown twice."""

    def __init__(self, api: ClusterApi, pod: str, show: Callable[[str], None], follow: bool = True) -> None:
        self._api, self._pod, self._show, self._follow = api, pod, show, follow
        self._latest = ""
        self._over = Event()
        self._thread = Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def finish(self) -> None:
        """The container has ended: show what is left."""
        self._over.set()
        self._thread.join(_LAST_LINES_S)

    def read(self) -> None:
        """Show all lines there are, once. Raises KubeError."""
        for line in self._api.log(self._pod, follow=self._follow):
            moment, _, text = line.partition(" ")
            if moment > self._latest:  # RFC 3339 with nanoseconds
                self._latest = moment
                self._show(text)

    def _run(self) -> None:
        while True:
            is_last = self._over.is_set()
            with suppress(KubeError):  # the pod is looked at all the same, and says what is wrong
                self.read()
            if is_last or self._over.wait(_POLL_S):
                return


class RunFollower:
    """Of one run, by its name. note: takes lines on its progress; show: takes the lines of its log."""

    def __init__(
        self,
        api: ClusterApi,
        name: str,
        note: Callable[[str], None],
        show: Callable[[str], None],
        sleep: Callable[[float], None] = time.sleep,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._api, self._name, self._note, self._show = api, name, note, show
        self._sleep, self._clock_s = sleep, clock_s
        self._shown = ""
        self._lost: set[str] = set()
        self._log: MasterLog | None = None

    def follow(self, results: Path, start_within_s: float) -> KubeOutcome:
        """To the run's end, and copy its results. start_within_s: how long its pods may wait for resources. Raises
        KubeError."""
        began_s = self._clock_s()
        while True:
            state = self._look()
            if state.problem:
                self._finish_log()
                code = EXIT_UNRELIABLE if state.master_started else EXIT_UNUSABLE
                return KubeOutcome(code, problem=state.problem, began=state.master_started)
            if state.results:
                folders, code = collect(self._api, state.master, results)
                self._finish_log()
                return KubeOutcome(code, tuple(folders))
            if state.exit_code is not None:
                self._finish_log()
                return KubeOutcome(state.exit_code)
            if not state.master_started and self._clock_s() - began_s > start_within_s:
                return KubeOutcome(EXIT_UNUSABLE, problem=_not_started(state, start_within_s), began=False)
            self._sleep(_POLL_S)

    def _look(self) -> ClusterRunState:
        state = state_of(self._api.pods(selector_of(self._name)))
        if (line := progress_of(state)) != self._shown:
            self._shown = line
            self._note(line)
        for sentence in state.lost:
            if sentence not in self._lost:
                self._lost.add(sentence)
                self._note(sentence)
        if state.master_started and self._log is None:
            self._log = MasterLog(self._api, state.master, self._show)
            self._log.start()
        return state

    def _finish_log(self) -> None:
        if self._log is not None:
            self._log.finish()


def _not_started(state: ClusterRunState, limit_s: float) -> str:
    why = state.pending or "no pod has been made"
    return f"The master did not start within {limit_s:g} s (--start-within): {why}."
