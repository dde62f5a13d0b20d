"""The Job's pods as processes of this machine: the arguments and variables are those of the manifests."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.runs.harness import Run, StartSimulator, assert_whole, environment, free_port, until
from tokenswarm.kube.manifests import KubeRun, manifests

pytestmark = pytest.mark.slow


def start_pod(job: dict[str, Any], index: int, results: Path, ports: dict[str, str]) -> subprocess.Popen[str]:
    """Pod `index` of the Job, whose /results is `results`."""
    (container,) = job["spec"]["template"]["spec"]["containers"]
    variables = {each["name"]: each["value"] for each in container["env"] if "value" in each}
    words = [word.replace("run-1-0.run-1", "127.0.0.1").replace("/results", str(results)) for word in container["args"]]
    results.mkdir()
    return subprocess.Popen(
        [sys.executable, *words[1:]],
        env=environment(**variables)
        | {
            "TOKENSWARM_RESULTS": str(results),
            "TOKENSWARM_METRICS_HOST": "127.0.0.1",
            "JOB_COMPLETION_INDEX": str(index),
        }
        | {"TOKENSWARM_CLUSTER_KEY": "a key of this test's own", "TOKENSWARM_SPOOL_FOLDER": str(results)}
        | ports,
        cwd=results,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_the_pods_make_a_run_whose_results_wait_and_whose_code_is_passed_on(
    start_simulator: StartSimulator, tmp_path: Path
) -> None:
    simulator = start_simulator("--profile", "fast", "--error-every", "4")
    plan = ("--levels", "4", "--ramp", "0s", "--requests", "20", "--system-prompt", "off", "--max-tokens", "4")
    more = ("--metrics-port", "0", "--engine", "vllm", "--preflight", "off")
    run = KubeRun("run-1", "image", ("-H", simulator.host, *plan, *more), workers=2, collect_within_s=300)
    job = manifests(run)[-1]
    port = str(free_port())
    ports = {"LOCUST_MASTER_BIND_PORT": port, "LOCUST_MASTER_NODE_PORT": port}
    pods = [start_pod(job, index, tmp_path / f"pod-{index}", ports) for index in range(3)]
    try:
        results = tmp_path / "pod-0"
        until(lambda: (results / ".exit-code").exists() or pods[0].poll() is not None)
        assert pods[0].poll() is None, pods[0].communicate()[0]
        assert (results / ".exit-code").read_text() == "1\n"
        (results / ".collected").touch()
        outputs = [pod.communicate(timeout=60)[0] for pod in pods]
    finally:
        for pod in pods:
            pod.kill()
    assert [pod.returncode for pod in pods] == [1, 0, 0], outputs
    (folder,) = (path.parent for path in results.glob("2*/run.json"))
    copied = Run(1, outputs[0], tmp_path / "copied")
    (tmp_path / "copied").mkdir()
    folder.rename(tmp_path / "copied" / folder.name)
    assert_whole(copied)
    assert len({row["worker"] for row in copied.requests}) == 2
