"""What the pods of a run say of it: a pure function of what the API server returns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tokenswarm.kube.manifests import INDEX_LABEL
from tokenswarm.sanitize import server_text

Pod = dict[str, Any]

#: Reasons for which a container waits that do not go away by themselves.
_NO_IMAGE = frozenset(("ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"))
_CANNOT_START = frozenset(("CreateContainerConfigError", "CreateContainerError", "RunContainerError"))
_COMPONENT = "app.kubernetes.io/component"
_MOST_CHARACTERS = 300


@dataclass(frozen=True, slots=True)
class ClusterRunState:
    """pods: how many there are; running: of these; master_started: whether the master's container has begun; results:
    whether its results wait for collection; exit_code: of the master's container, None while there is none. problem: a
    sentence on what will not change by itself and ends the run; pending: why a pod is not scheduled yet, "" where all
    are; lost: a sentence on each worker that was lost."""

    pods: int
    running: int
    master: str = ""
    master_started: bool = False
    results: bool = False
    exit_code: int | None = None
    problem: str = ""
    pending: str = ""
    lost: tuple[str, ...] = ()


def state_of(pods: Sequence[Pod]) -> ClusterRunState:
    """The state of a run."""
    master = next(filter(_is_master, pods), None)
    running = sum(_status(pod).get("phase") == "Running" for pod in pods)
    problems = (sentence for pod in pods if (sentence := _problem(pod)))
    pending = (reason for pod in pods if (reason := _unscheduled(pod)))
    lost = tuple(sentence for pod in pods if pod is not master and (sentence := _lost(pod)))
    if master is None:
        return ClusterRunState(len(pods), running, problem=next(problems, ""), pending=next(pending, ""), lost=lost)
    status = _container(master)
    ended = status.get("state", {}).get("terminated")
    started = bool(ended or "running" in status.get("state", {}) or _lost(master))
    return ClusterRunState(
        len(pods),
        running,
        master["metadata"]["name"],
        started,
        bool(status.get("ready")) and not ended,
        ended.get("exitCode") if ended else None,
        _lost(master) or next(problems, ""),
        next(pending, ""),
        lost,
    )


def progress_of(state: ClusterRunState) -> str:
    """The state in one line."""
    waiting = f"; waiting: {state.pending}" if state.pending else ""
    return f"{state.running} of {state.pods} pods are running{waiting}"


def _is_master(pod: Pod) -> bool:
    """The pods of the Helm chart have a component; those of `kube run` only an index, in a label from Kubernetes 1.28
    on."""
    meta = pod["metadata"]
    labels = meta.get("labels", {})
    index = labels.get(INDEX_LABEL) or meta.get("annotations", {}).get(INDEX_LABEL)
    return bool(labels.get(_COMPONENT, "master") == "master" and index in (None, "0"))


def _status(pod: Pod) -> dict[str, Any]:
    status: dict[str, Any] = pod.get("status", {})
    return status


def _container(pod: Pod) -> dict[str, Any]:
    return next(iter(_status(pod).get("containerStatuses") or ()), {})


def _problem(pod: Pod) -> str:
    waiting = _container(pod).get("state", {}).get("waiting") or {}
    reason, name = waiting.get("reason", ""), pod["metadata"]["name"]
    if reason in _NO_IMAGE:
        image = next((each["image"] for each in pod.get("spec", {}).get("containers", ())), "")
        return f"The image {image} of pod {name} cannot be pulled: {_message(waiting)}."
    if reason in _CANNOT_START:
        return f"Pod {name} cannot start: {_message(waiting)}."
    return ""


def _unscheduled(pod: Pod) -> str:
    for condition in _status(pod).get("conditions") or ():
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            return _message(condition)
    return ""


def _lost(pod: Pod) -> str:
    """Of a pod that the cluster ended: evicted, preempted, or its node is gone."""
    status = _status(pod)
    if status.get("phase") == "Failed" and status.get("reason"):
        return f"Pod {pod['metadata']['name']} was lost: {status['reason']}: {_message(status)}."
    return ""


def _message(of: dict[str, Any]) -> str:
    text = of.get("message") or of.get("reason") or "the cluster gives no reason"
    return server_text(str(text).strip().rstrip("."), _MOST_CHARACTERS)
