"""The Helm chart as Helm renders it, and `tokenswarm kube run`'s manifests, held against Kubernetes' own schemas."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from tests.deploy.harness import DEPLOY
from tests.option_parser import parser_of_all_options
from tokenswarm.kube import pod_entry
from tokenswarm.kube.manifests import KubeRun, manifests, secret

CHART = DEPLOY / "helm" / "tokenswarm"
VERSIONS = ("1.33", "1.37")
KEY = "sk-key-of-the-server-0123456789"
SECRETS = {"LLM_API_KEY", "TOKENSWARM_WEB_PASSWORD", "TOKENSWARM_CLUSTER_KEY"}
BASE = {"image": {"repository": "registry/tokenswarm"}, "host": "http://vllm:8000"}
FULL = {
    **BASE,
    "env": {"TOKENSWARM_ENGINE": "vllm", "TOKENSWARM_MAX_TOKENS": 256},
    "imagePullSecrets": [{"name": "pull"}],
    "secret": {"apiKey": KEY, "webPassword": "a password of the page"},
    "results": {
        "persistence": {"enabled": True, "storageClass": "fast"},
        "upload": {"url": "s3://bucket/prefix", "secret": "aws"},
    },
    "serviceAccountName": "uploader",
    "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
    "nodeSelector": {"pool": "load"},
    "tolerations": [{"key": "load", "operator": "Exists"}],
}
JOB = {**FULL, "mode": "job", "workers": 3, "options": ["--levels", "10,50", "--slo", 'ttft="500ms"']}
PAGE = {**FULL, "mode": "page"}
RUN = KubeRun("run-1", "registry/tokenswarm:1", ("-H", "http://vllm:8000", "--levels", "10,50"), 3)


def helm() -> str:
    beside = Path(sys.executable).with_name("helm")
    found = str(beside) if beside.exists() else shutil.which("helm")
    if not found:
        pytest.skip("helm is not installed: python -m tests.deploy.get_helm")
    return found


def template(values: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    home = {name: os.environ.get("TMPDIR", "/tmp") for name in ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME")}
    return subprocess.run(
        [helm(), "template", "run-1", str(CHART), "--values", "-"],
        input=yaml.safe_dump(values),
        env={**os.environ, **home},
        capture_output=True,
        text=True,
    )


@cache
def rendered(name: str) -> tuple[dict[str, Any], ...]:
    done = template({"base": BASE, "job": JOB, "page": PAGE}[name])
    assert done.returncode == 0, done.stderr
    return tuple(yaml.safe_load_all(done.stdout))


def made(name: str) -> list[dict[str, Any]]:
    """The objects of the chart, or of `kube run`."""
    if name == "kube run":
        return [secret(RUN, {"cluster-key": "k" * 64}), *manifests(RUN)]
    return list(rendered(name))


def of_kind(name: str, kind: str) -> dict[str, dict[str, Any]]:
    return {each["metadata"]["name"]: each for each in made(name) if each["kind"] == kind}


def pods_of(name: str) -> dict[str, dict[str, Any]]:
    found = {**of_kind(name, "Job"), **of_kind(name, "Deployment")}
    return {each: found[each]["spec"]["template"] for each in found}


def selects(selector: dict[str, str], pod: dict[str, Any]) -> bool:
    return selector.items() <= pod["metadata"]["labels"].items()


def variables(pod: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {each["name"]: each for each in pod["spec"]["containers"][0]["env"]}


ALL = ("base", "job", "page", "kube run")


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", ALL)
def test_every_object_is_valid_in_kubernetes(name: str, version: str) -> None:
    objects = [each for each in made(name) if each["kind"] != "ServiceMonitor"]
    assert len(objects) >= 4
    for each in objects:
        kubernetes_validate.validate(each, version, strict=True)


@pytest.mark.parametrize("name", ALL)
def test_no_container_has_more_rights_than_it_needs_and_any_user_id_will_do(name: str) -> None:
    for pod in pods_of(name).values():
        spec = pod["spec"]
        assert spec["securityContext"]["runAsNonRoot"]
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        (container,) = spec["containers"]
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert "runAsUser" not in str(spec)
        assert {mount["mountPath"] for mount in container["volumeMounts"]} == {"/results", "/tmp"}
        assert variables(pod)["HOME"]["value"] == "/tmp"
        assert container["resources"]["requests"].keys() == {"cpu", "memory"}
        assert "cpu" not in container["resources"]["limits"]
        assert spec["automountServiceAccountToken"] is ("serviceAccountName" in spec)


@pytest.mark.parametrize("name", ALL)
def test_only_workers_reach_port_5557_and_nobody_the_page(name: str) -> None:
    pods = pods_of(name)
    reached: dict[str, set[tuple[int, str]]] = {each: set() for each in pods}
    for policy in of_kind(name, "NetworkPolicy").values():
        spec = policy["spec"]
        assert spec["policyTypes"] == ["Ingress"]
        for target in (each for each, pod in pods.items() if selects(spec["podSelector"]["matchLabels"], pod)):
            for rule in spec["ingress"]:
                (peer,) = rule["from"]
                labels = peer.get("podSelector", {}).get("matchLabels")
                who = [each for each, pod in pods.items() if labels and selects(labels, pod)] or ["everybody"]
                reached[target] |= {(port["port"], each) for port in rule["ports"] for each in who}
    if name == "kube run":  # one template for all: the master is a pod of the same Job
        assert reached == {"run-1": {(5557, "run-1"), (9646, "everybody")}}
    else:
        assert reached == {
            "run-1-master": {(5557, "run-1-worker"), (9646, "everybody")},
            "run-1-worker": set(),
        }
    services = of_kind(name, "Service").values()
    assert {each["spec"].get("type", "ClusterIP") for each in services} == {"ClusterIP"}


@pytest.mark.parametrize("name", ["base", "job", "page"])
def test_the_masters_service_leads_to_its_ports_and_workers_call_it_by_its_name(name: str) -> None:
    (service,) = of_kind(name, "Service").values()
    pods = pods_of(name)
    assert [each for each, pod in pods.items() if selects(service["spec"]["selector"], pod)] == ["run-1-master"]
    (master,) = pods["run-1-master"]["spec"]["containers"]
    ports = {port["name"]: port["containerPort"] for port in master["ports"]}
    assert {port["targetPort"]: port["port"] for port in service["spec"]["ports"]} == ports
    known = {action.env_var: action.default for action in options()}
    assert ports["workers"] == known["LOCUST_MASTER_BIND_PORT"]
    assert ports["metrics"] == known["TOKENSWARM_METRICS_PORT"]
    assert ports.get("page", known["LOCUST_WEB_PORT"]) == known["LOCUST_WEB_PORT"]
    (worker,) = pods["run-1-worker"]["spec"]["containers"]
    master_host = [each.get("value") for each in worker["env"] if each["name"] == "LOCUST_MASTER_NODE_HOST"]
    assert service["metadata"]["name"] in [*worker["args"], *master_host]


def options() -> Iterator[Any]:
    return (action for action in parser_of_all_options()._actions if getattr(action, "env_var", None))


@pytest.mark.parametrize("name", ALL)
def test_every_variable_is_one_and_secrets_come_by_reference(name: str) -> None:
    known = {action.env_var for action in options()}
    for pod in pods_of(name).values():
        found = variables(pod)
        assert found.keys() - SECRETS - {"HOME"} <= known
        assert {"TOKENSWARM_CLUSTER_KEY", "LLM_API_KEY"} <= found.keys()
        for each in SECRETS & found.keys():
            assert "value" not in found[each]
            assert found[each]["valueFrom"]["secretKeyRef"].get("optional", False) is (each == "LLM_API_KEY")
    plain = [each for each in made(name) if each["kind"] != "Secret"]
    assert KEY not in str(plain)
    assert "a password of the page" not in str(plain)


def test_the_page_requires_its_password_and_no_worker_has_it() -> None:
    pods = pods_of("page")
    master = variables(pods["run-1-master"])
    assert master["LOCUST_WEB_LOGIN"]["value"] == "true"
    assert master["TOKENSWARM_WEB_PASSWORD"]["valueFrom"]["secretKeyRef"] == {"name": "run-1", "key": "web-password"}
    assert "TOKENSWARM_WEB_PASSWORD" not in variables(pods["run-1-worker"])
    (secret,) = of_kind("page", "Secret").values()
    assert secret["data"].keys() == {"cluster-key", "web-password", "api-key"}
    (container,) = pods["run-1-master"]["spec"]["containers"]
    assert {"startupProbe", "readinessProbe", "livenessProbe"} <= container.keys()


@pytest.mark.parametrize("name", ["job", "kube run"])
def test_the_jobs_pods_read_their_arguments_and_none_is_started_twice(name: str) -> None:
    roles = {}
    for each, job in of_kind(name, "Job").items():
        container = job["spec"]["template"]["spec"]["containers"][0]
        assert container["args"][:3] == ["python", "-m", "tokenswarm.kube.pod_entry"]
        roles[each] = pod_entry._parser().parse_args(container["args"][3:])
        assert job["spec"].get("backoffLimit", job["spec"].get("backoffLimitPerIndex")) == 0
        assert job["spec"]["template"]["spec"]["restartPolicy"] == "Never"
    if name == "kube run":
        assert (roles["run-1"].master_host, roles["run-1"].workers) == ("run-1-0.run-1", 3)
        assert roles["run-1"].options == ["--", *RUN.options]
        assert of_kind(name, "Job")["run-1"]["spec"]["completions"] == 4
    else:
        assert (roles["run-1-worker"].index, roles["run-1-worker"].master_host) == (1, "run-1-master")
        assert roles["run-1-master"].options == ["--", *JOB["options"]]
        assert (roles["run-1-master"].workers, roles["run-1-master"].collect_within) == (3, 0.0)
        assert of_kind(name, "Job")["run-1-worker"]["spec"]["parallelism"] == 3


def test_results_go_to_a_claim_of_their_own_folder_and_to_the_store() -> None:
    pod = pods_of("job")["run-1-master"]
    (claim,) = [each for each in pod["spec"]["volumes"] if each["name"] == "results"]
    assert claim["persistentVolumeClaim"] == {"claimName": "run-1"}
    (mount,) = [each for each in pod["spec"]["containers"][0]["volumeMounts"] if each["name"] == "results"]
    assert mount["subPath"] == "run-1"
    assert of_kind("job", "PersistentVolumeClaim")["run-1"]["metadata"]["annotations"] == {
        "helm.sh/resource-policy": "keep"
    }
    assert variables(pod)["TOKENSWARM_RESULTS"]["value"] == "s3://bucket/prefix"
    assert variables(pod)["TOKENSWARM_LOCAL_RESULTS"]["value"] == "/results"
    assert pod["spec"]["containers"][0]["envFrom"] == [{"secretRef": {"name": "aws"}}]
    (plain,) = [each for each in pods_of("base")["run-1-master"]["spec"]["volumes"] if each["name"] == "results"]
    assert plain["emptyDir"] == {}


def test_the_service_monitor_finds_the_masters_metrics() -> None:
    (monitor,) = of_kind("page", "ServiceMonitor").values()
    (service,) = of_kind("page", "Service").values()
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    (endpoint,) = monitor["spec"]["endpoints"]
    assert endpoint["port"] in {port["name"] for port in service["spec"]["ports"]}
    assert monitor["metadata"]["labels"]["release"] == "prometheus"


@pytest.mark.parametrize(
    ("values", "place"),
    [
        ({}, "/image/repository"),
        ({**BASE, "mode": "daemon"}, "/mode"),
        ({**BASE, "workers": 0}, "/workers"),
        ({**BASE, "host": "vllm:8000"}, "/host"),
        ({**BASE, "worker": 3}, "worker"),
        ({**BASE, "results": {"upload": {"url": "s3://key:secret@bucket"}}}, "/results/upload/url"),
        ({**BASE, "secret": {"clusterKey": "short"}}, "/secret/clusterKey"),
        ({**BASE, "mode": "page", "options": ["--levels", "10"]}, "options are for mode job"),
    ],
)
def test_values_that_cannot_be_used_are_refused(values: dict[str, Any], place: str) -> None:
    done = template(values)
    assert done.returncode != 0
    assert place in done.stderr


def test_the_chart_passes_helms_own_lint() -> None:
    command = [helm(), "lint", str(CHART), "--strict", "--values", "-"]
    done = subprocess.run(command, input=yaml.safe_dump(BASE), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
