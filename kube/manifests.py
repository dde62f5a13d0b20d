"""The objects of a run in a cluster, as data: one Job whose pod 0 is the master and whose others are workers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tokenswarm.kube.pod_entry import EXIT_CODE_FILE
from tokenswarm.sanitize import API_KEY_VARIABLE

Manifest = dict[str, Any]

INSTANCE_LABEL = "app.kubernetes.io/instance"
INDEX_LABEL = "batch.kubernetes.io/job-completion-index"
CONTAINER = "tokenswarm"
RESULTS = "/results"
CLUSTER_KEY, API_KEY = "cluster-key", "api-key"
_PORTS = {"workers": 5557, "metrics": 9646}
_GRACE_S = 120


@dataclass(frozen=True, slots=True)
class KubeRun:
    """What `tokenswarm kube run` was given. options: those of `tokenswarm run`; workers 0: the master sends by itself;
    api_key_secret: an existing secret that has `api-key`, "" for the run's own; collect_within_s: how long results are
    kept in the pod."""

    name: str
    image: str
    options: tuple[str, ...]
    workers: int
    collect_within_s: int = 3600
    cpu: str = "1"
    memory: str = "1Gi"
    api_key_secret: str = ""
    service_account: str = ""
    pull_policy: str = "IfNotPresent"

    @property
    def labels(self) -> dict[str, str]:
        """Of every object of the run: `delete` finds them by these."""
        return {"app.kubernetes.io/name": "tokenswarm", INSTANCE_LABEL: self.name}


def selector_of(name: str) -> str:
    """The label selector of all objects of a run."""
    return f"app.kubernetes.io/name=tokenswarm,{INSTANCE_LABEL}={name}"


def manifests(run: KubeRun) -> list[Manifest]:
    """Everything but the secret, in the order in which it is made."""
    return [_service(run), _network_policy(run), _job(run)]


def secret(run: KubeRun, values: Mapping[str, str]) -> Manifest:
    """The run's own secret: the cluster key, and the API key where the command has one."""
    return {**_head("v1", "Secret", run), "type": "Opaque", "stringData": dict(values)}


def _head(version: str, kind: str, run: KubeRun) -> Manifest:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": run.name, "labels": run.labels}}


def _service(run: KubeRun) -> Manifest:
    """Gives each pod a name: NAME-0.NAME is the master."""
    ports = [{"name": name, "port": port} for name, port in _PORTS.items()]
    spec = {"clusterIP": "None", "publishNotReadyAddresses": True, "selector": run.labels, "ports": ports}
    return {**_head("v1", "Service", run), "spec": spec}


def _network_policy(run: KubeRun) -> Manifest:
    workers = {"from": [{"podSelector": {"matchLabels": run.labels}}], "ports": [_port("workers")]}
    scrapes = {"from": [{"namespaceSelector": {}}], "ports": [_port("metrics")]}
    spec = {"podSelector": {"matchLabels": run.labels}, "policyTypes": ["Ingress"], "ingress": [workers, scrapes]}
    return {**_head("networking.k8s.io/v1", "NetworkPolicy", run), "spec": spec}


def _port(name: str) -> Manifest:
    return {"protocol": "TCP", "port": _PORTS[name]}


def _job(run: KubeRun) -> Manifest:
    pods = run.workers + 1
    spec = {
        "completionMode": "Indexed",
        "completions": pods,
        "parallelism": pods,
        # A pod that fails is not replaced, and ends no other: the master's results are still to be collected.
        "backoffLimitPerIndex": 0,
        "template": {"metadata": {"labels": run.labels}, "spec": _pod(run)},
    }
    return {**_head("batch/v1", "Job", run), "spec": spec}


def _pod(run: KubeRun) -> Manifest:
    pod: Manifest = {
        "restartPolicy": "Never",
        "subdomain": run.name,
        "automountServiceAccountToken": bool(run.service_account),
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": _GRACE_S,
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [_container(run)],
        "volumes": [{"name": name, "emptyDir": {}} for name in ("results", "tmp")],
    }
    return pod | ({"serviceAccountName": run.service_account} if run.service_account else {})


def _container(run: KubeRun) -> Manifest:
    master = f"{run.name}-0.{run.name}" if run.workers else ""
    entry = ["python", "-m", "tokenswarm.kube.pod_entry", "--workers", str(run.workers), "--master-host", master]
    return {
        "name": CONTAINER,
        "image": run.image,
        "imagePullPolicy": run.pull_policy,
        "args": [*entry, "--results", RESULTS, "--collect-within", str(run.collect_within_s), "--", *run.options],
        "env": _environment(run),
        "ports": [{"name": name, "containerPort": port} for name, port in _PORTS.items()],
        # Ready means: the results are complete and can be collected.
        "readinessProbe": {
            "exec": {"command": ["test", "-f", f"{RESULTS}/{EXIT_CODE_FILE}"]},
            "periodSeconds": 2,
            "timeoutSeconds": 5,
        },
        # No CPU limit: a throttled client measures its own pauses.
        "resources": {"requests": {"cpu": run.cpu, "memory": run.memory}, "limits": {"memory": run.memory}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [{"name": "results", "mountPath": RESULTS}, {"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108
    }


def _environment(run: KubeRun) -> list[Manifest]:
    plain = {
        "HOME": "/tmp",  # noqa: S108  the only other folder that can be written
        "TOKENSWARM_RESULTS": RESULTS,
        "TOKENSWARM_LOCAL_RESULTS": RESULTS,
        "TOKENSWARM_METRICS_HOST": "0.0.0.0",  # noqa: S104  of the pod; the network policy is in front of it
    }
    secrets = {
        "TOKENSWARM_CLUSTER_KEY": {"name": run.name, "key": CLUSTER_KEY},
        API_KEY_VARIABLE: {"name": run.api_key_secret or run.name, "key": API_KEY, "optional": not run.api_key_secret},
    }
    return [
        *({"name": name, "value": value} for name, value in plain.items()),
        *({"name": name, "valueFrom": {"secretKeyRef": reference}} for name, reference in secrets.items()),
    ]
