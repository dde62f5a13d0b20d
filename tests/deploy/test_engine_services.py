"""deploy/engines.compose.yml as data: every engine of the comparison can be started, and is checked for readiness."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Any

import pytest

from tests.deploy.harness import DEPLOY, load_yaml
from tests.runs.harness import ROOT
from tokenswarm.engines import ENGINES

FILE = DEPLOY / "engines.compose.yml"
SERVICES: dict[str, dict[str, Any]] = load_yaml(FILE)["services"]
COMPARED = ("vllm", "lmdeploy", "tgi", "trtllm", "triton", "mlc")
SEVENTY_B = (DEPLOY / "llama-3-70b.env").read_text(encoding="utf-8")


def command(service: dict[str, Any]) -> str:
    given = service["command"]
    return given if isinstance(given, str) else " ".join(given)


@pytest.mark.slow
def test_the_file_is_of_the_compose_specification_and_included() -> None:
    check = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    done = subprocess.run([*check, str(FILE), str(ROOT / "docker-compose.yml")], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert load_yaml(ROOT / "docker-compose.yml")["include"] == ["deploy/engines.compose.yml"]


def test_every_engine_of_the_comparison_is_there_and_none_starts_unasked() -> None:
    assert set(SERVICES) == {*COMPARED, "dcgm"}
    assert {name: service["profiles"] for name, service in SERVICES.items()} == {
        **{name: [name] for name in COMPARED},
        "dcgm": list(COMPARED),
    }
    others = load_yaml(ROOT / "docker-compose.yml")["services"]
    assert not set(SERVICES) & set(others)


@pytest.mark.parametrize("name", COMPARED)
def test_an_engine_has_a_gpu_a_cache_and_the_token_for_its_weights(name: str) -> None:
    service = SERVICES[name]
    (device,) = service["deploy"]["resources"]["reservations"]["devices"]
    assert device == {"driver": "nvidia", "count": "${GPUS:-1}", "capabilities": ["gpu"]}
    assert service["environment"]["HF_TOKEN"] == "${HF_TOKEN:-}"
    assert "models:/models" in service["volumes"]
    assert service["environment"]["HF_HOME"].startswith("/models/")


@pytest.mark.parametrize("name", COMPARED)
def test_the_health_check_of_an_engine_uses_its_port(name: str) -> None:
    service, engine = SERVICES[name], ENGINES[name]
    published, *rest = service["ports"]
    address, host_port, port = published.split(":")
    assert (address, host_port) == ("127.0.0.1", "8000")
    assert all(each.startswith("127.0.0.1:") for each in rest)
    (url,) = re.findall(r"http://127\.0\.0\.1:(\d+)(/[\w/]+)", " ".join(service["healthcheck"]["test"]))
    assert url[0] == port
    assert engine.health_path is not None
    # Triton's is of one model; the server's own says that all are loaded.
    assert url[1] == ("/v2/health/ready" if name == "triton" else engine.health_path)
    assert service["healthcheck"]["start_period"] == "30m"
    if name != "vllm":  # it listens there unasked
        assert re.search(rf"port[ =]{port}\b", command(service))


def test_metrics_ports_are_those_that_are_read() -> None:
    (page, *_) = ENGINES["triton"].metrics.endpoints
    assert f"127.0.0.1:{page.port}:{page.port}" in SERVICES["triton"]["ports"]
    assert "return_perf_metrics: true" in command(SERVICES["trtllm"])
    assert "127.0.0.1:9400:9400" in SERVICES["dcgm"]["ports"]


def test_images_are_pinned_and_can_be_chosen() -> None:
    for name, service in SERVICES.items():
        if "build" in service:
            assert (FILE.parent / service["build"]["context"] / "Dockerfile").is_file()
            continue
        tag = re.fullmatch(r"[\w./-]+:\$\{(\w+)_TAG:-(v?\d[\w.-]*)\}", service["image"])
        assert tag, f"{name}: {service['image']}"
        assert tag[1] == name.upper()


def test_seventy_b_is_a_matter_of_variables_that_are_used() -> None:
    text = FILE.read_text(encoding="utf-8")
    given = dict(line.split("=", 1) for line in SEVENTY_B.splitlines() if "=" in line and not line.startswith("#"))
    assert {f"{name.upper()}_MODEL" for name in COMPARED if name != "triton"} <= set(given)
    assert all(f"${{{variable}:-" in text for variable in given)


def test_mlc_is_built_for_one_cuda_and_batches_without_a_cap() -> None:
    dockerfile = (DEPLOY / "mlc" / "Dockerfile").read_text(encoding="utf-8")
    arguments = SERVICES["mlc"]["build"]["args"]
    for name, default in re.findall(r"^ARG (\w+)=(\S+)", dockerfile, re.MULTILINE):
        assert arguments[name] == f"${{MLC_{name}:-{default}}}"
    cuda, wheels = re.findall(r"^ARG \w+=(\S+)", dockerfile, re.MULTILINE)
    assert "cu" + "".join(cuda.split(".")[:2]) == wheels
    assert "--mode server" in command(SERVICES["mlc"])
