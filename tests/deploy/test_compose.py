"""docker-compose.yml and its image, without a container: as data, and by running what they say."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from tests.deploy.harness import DEPLOY, answers, get, load_yaml, post, until
from tests.option_parser import parser_of_all_options
from tests.runs.harness import ROOT, Run, assert_whole, environment, free_port

COMPOSE = load_yaml(ROOT / "docker-compose.yml")
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
#: Variables that are no options.
SECRETS = {"LLM_API_KEY", "TOKENSWARM_WEB_PASSWORD", "TOKENSWARM_CLUSTER_KEY"}
#: Where the image has the wheel's files.
INSTALLED = "/opt/tokenswarm/lib/python3.11/site-packages/tokenswarm"
#: For results in S3.
AWS = {f"AWS_{name}" for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN", "REGION", "ENDPOINT_URL")}
_VARIABLE = re.compile(r"\$\{(\w+):-([^}]*)\}")


def interpolated(value: Any, **variables: str) -> str:
    """As compose does it: `${NAME:-default}` from the environment of whoever calls it."""
    return _VARIABLE.sub(lambda match: variables.get(match[1]) or match[2], str(value))


def image_environment() -> dict[str, str]:
    """The Dockerfile's last ENV: that of the image."""
    *_, instruction = re.findall(r"^ENV ((?:.*\\\n)*.*)$", DOCKERFILE, re.MULTILINE)
    return {name: value for name, value in re.findall(r"(\w+)=(\S+)", instruction) if name not in ("PATH", "HOME")}


def defaults() -> dict[str, Any]:
    """The default of every option, Locust's and ours, by its variable."""
    parser = parser_of_all_options()
    return {action.env_var: action.default for action in parser._actions if getattr(action, "env_var", None)}


@pytest.mark.slow
def test_the_file_is_of_the_compose_specification() -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    done = subprocess.run([*command, str(ROOT / "docker-compose.yml")], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_only_what_a_person_looks_at_is_published_and_to_this_machine_alone() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published == {
        "master": ["127.0.0.1:8089:8089"],
        "prometheus": ["127.0.0.1:9090:9090"],
        "grafana": ["127.0.0.1:3000:3000"],
    }


def test_everybody_whom_others_wait_for_has_a_health_check() -> None:
    awaited = {other for service in SERVICES.values() for other in service.get("depends_on", ())}
    assert awaited == {"simulator", "master", "prometheus"}
    assert all("healthcheck" in SERVICES[name] for name in (*awaited, "grafana"))
    conditions = [one for service in SERVICES.values() for one in service.get("depends_on", {}).values()]
    assert all(one["condition"] == "service_healthy" for one in conditions)
    assert [one for one in conditions if not one.get("required", True)] == [
        SERVICES["master"]["depends_on"]["simulator"]  # one of several servers
    ]
    assert SERVICES["worker"]["healthcheck"] == {"disable": True}  # not the image's, which is a master's


def test_images_of_others_are_pinned_and_ours_is_one() -> None:
    ours = {name for name, service in SERVICES.items() if "build" in service}
    assert ours == {"simulator", "master", "worker"}
    assert {SERVICES[name]["image"] for name in ours} == {"tokenswarm"}
    others = [SERVICES[name]["image"] for name in SERVICES.keys() - ours]
    assert all(re.fullmatch(r"[a-z]+/[a-z]+:v?\d+\.\d+\.\d+", image) for image in others)


def test_what_is_mounted_is_there() -> None:
    mounts = [volume.split(":")[0] for service in SERVICES.values() for volume in service.get("volumes", ())]
    assert all((ROOT / mount).is_dir() for mount in mounts if mount.startswith("."))
    assert {mount for mount in mounts if not mount.startswith(".")} == set(COMPOSE["volumes"])


def test_addresses_between_services_are_those_of_services() -> None:
    metrics_port = SERVICES["master"]["environment"]["TOKENSWARM_METRICS_PORT"]
    jobs = {job["job_name"]: job for job in load_yaml(DEPLOY / "prometheus" / "prometheus.yml")["scrape_configs"]}
    assert jobs["tokenswarm"]["static_configs"] == [{"targets": [f"master:{metrics_port}"]}]
    (source,) = load_yaml(DEPLOY / "grafana" / "provisioning" / "datasources" / "prometheus.yml")["datasources"]
    assert source["url"] == "http://prometheus:9090"
    (provider,) = load_yaml(DEPLOY / "grafana" / "provisioning" / "dashboards" / "tokenswarm.yml")["providers"]
    assert f"./deploy/grafana/dashboards:{provider['options']['path']}:ro" in SERVICES["grafana"]["volumes"]


def passed_on(name: str) -> set[str]:
    """The variables that a service has from whoever calls compose, and only where they are set."""
    return {variable for variable, value in SERVICES[name]["environment"].items() if value is None}


def test_every_option_of_a_run_is_passed_on_under_its_own_name() -> None:
    ours = {variable for variable in defaults() if variable.startswith("TOKENSWARM_")}
    pages = {variable for variable in ours if variable.startswith("TOKENSWARM_WEB_")}
    fixed = {"TOKENSWARM_METRICS_HOST", "TOKENSWARM_METRICS_PORT"}
    # The key itself is passed on, and a container has no browser.
    without = {"TOKENSWARM_CLUSTER_KEY_FILE", "TOKENSWARM_OPEN"}
    run = ours - pages - fixed - without
    assert passed_on("worker") - SECRETS == run
    assert passed_on("master") - SECRETS == run | pages | AWS
    given = {variable for name in ("master", "worker") for variable in SERVICES[name]["environment"]}
    given |= {name for name in image_environment() if not name.startswith("PYTHON")}
    assert given - SECRETS - AWS <= defaults().keys()


def test_the_simulator_is_started_by_choice_alone() -> None:
    assert SERVICES["simulator"]["profiles"] == ["simulator"]
    lines = (DEPLOY / "simulator.env").read_text(encoding="utf-8").splitlines()
    chosen = dict(line.split("=") for line in lines if not line.startswith("#"))
    host = f"http://simulator:{SERVICES['simulator']['command'][-1]}"
    assert chosen == {"COMPOSE_PROFILES": "simulator", "LOCUST_HOST": host}
    for name in ("master", "worker"):
        value = SERVICES[name]["environment"]["LOCUST_HOST"]
        assert (interpolated(value), interpolated(value, **chosen)) == ("http://host.docker.internal:8000", host)
    assert SERVICES["master"]["extra_hosts"] == ["host.docker.internal:host-gateway"]


def test_master_and_workers_have_the_cluster_key_from_outside() -> None:
    variable = "TOKENSWARM_CLUSTER_KEY"
    holders = {name for name, service in SERVICES.items() if variable in service.get("environment", {})}
    assert holders == {"master", "worker"}
    assert all(variable in passed_on(name) for name in holders)


def test_the_api_key_comes_from_outside_and_goes_to_nobody_but_master_and_workers() -> None:
    holders = {name for name, service in SERVICES.items() if "LLM_API_KEY" in service.get("environment", {})}
    assert holders == {"master", "worker"}
    assert all("LLM_API_KEY" in passed_on(name) for name in holders)
    assert "LLM_API_KEY" not in DOCKERFILE


def test_the_page_requires_a_password_that_comes_from_outside_and_no_worker_has() -> None:
    master = SERVICES["master"]["environment"]
    assert master["LOCUST_WEB_LOGIN"] == "true"
    assert "TOKENSWARM_WEB_PASSWORD" in passed_on("master")
    holders = {
        name for name, service in SERVICES.items() if "TOKENSWARM_WEB_PASSWORD" in service.get("environment", {})
    }
    assert holders == {"master"}


def stages() -> list[list[str]]:
    """The instructions of each stage of the Dockerfile."""
    text = re.sub(r"^#.*\n", "", DOCKERFILE, flags=re.MULTILINE).replace("\\\n", " ")
    found: list[list[str]] = []
    for line in filter(None, text.splitlines()):
        if line.startswith("FROM "):
            found.append([])
        found[-1].append(" ".join(line.split()))
    return found


def test_the_image_holds_the_whole_program() -> None:
    build = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"]["build"]
    needed = set(build["targets"]["wheel"]["hooks"]["custom"]["files"])
    needed |= {"pyproject.toml", "deploy/wheel_hook.py", "constraints.txt", "README.md", "LICENSE"}
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert "*" in ignored
    assert {line.removeprefix("!") for line in ignored if line.startswith("!")} == needed


def test_an_edit_of_the_source_does_not_install_dependencies_again() -> None:
    build, _ = stages()
    copies = [line for line in build if line.startswith("COPY")]
    installs = [line for line in build if "pip install" in line]
    assert copies == ["COPY pyproject.toml constraints.txt ./", "COPY . ."]
    assert build.index(copies[0]) < build.index(installs[0]) < build.index(copies[1]) < build.index(installs[1])
    assert "--constraint constraints.txt" in installs[0]
    assert "--no-deps" in installs[1]


def test_the_dependencies_that_are_installed_first_are_all_there_are(tmp_path: Path) -> None:
    """By running what the Dockerfile runs, up to pip."""
    (line,) = [line for line in stages()[0] if "tomllib" in line]
    (code,) = re.findall(r'python -c "(.*?)" > requirements.txt', line)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    assert done.stdout.split("\n")[:-1] == [*project["dependencies"], *extras["s3"], *extras["opentelemetry"]]


def test_the_image_has_no_source_and_no_compiler_and_any_user_id_may_write_its_folders() -> None:
    build, final = stages()
    assert all(re.fullmatch(r"FROM python:3\.11-slim-\w+( AS build)?", stage[0]) for stage in (build, final))
    assert [line for line in final if line.startswith("COPY")] == ["COPY --from=build /opt/tokenswarm /opt/tokenswarm"]
    assert not [line for line in final if "apt-get" in line or "pip" in line]
    (user,) = [line for line in final if line.startswith("USER")]
    assert user == "USER 10001:0"  # a number, and OpenShift's group
    assert final.index(user) > max(n for n, line in enumerate(final) if line.startswith("RUN"))
    (run,) = [line for line in final if line.startswith("RUN")]
    assert "--uid 10001 --gid 0" in run
    assert run.endswith("install --directory --owner 10001 --group 0 --mode 0775 /results /home/tokenswarm")


def test_the_image_says_what_it_is_and_which_ports_and_health_it_has() -> None:
    _, final = stages()
    (expose,) = [line.split()[1:] for line in final if line.startswith("EXPOSE")]
    known = defaults()
    ours = ("LOCUST_WEB_PORT", "LOCUST_MASTER_BIND_PORT", "TOKENSWARM_METRICS_PORT")
    assert expose == [*(str(known[name]) for name in ours), SERVICES["simulator"]["command"][-1]]
    (health,) = [line for line in final if line.startswith("HEALTHCHECK")]
    assert json.loads(health.partition("CMD ")[2]) == SERVICES["master"]["healthcheck"]["test"][1:]
    (label,) = [line for line in final if line.startswith("LABEL")]
    names = re.findall(r'org\.opencontainers\.image\.(\w+)="[^"]+"', label)
    assert names == ["title", "description", "licenses", "documentation"]
    assert image_environment()["LOCUST_LOCUSTFILE"] == f"{INSTALLED}/locustfile.py"
    assert {"TOKENSWARM_RESULTS", "TOKENSWARM_LOCAL_RESULTS"} <= image_environment().keys()


# By hand: each service's command as it is written, in a process instead of a container.


class Stack:
    """The services of ours, on this machine: their names are 127.0.0.1 here, their ports free ones."""

    PORTS = ("8000", "8089", "5557", "9646")
    PASSWORD = "correct horse battery"
    VARIABLES: ClassVar = {"TOKENSWARM_WEB_PASSWORD": PASSWORD, "LOCUST_HOST": "http://simulator:8000"}

    def __init__(self, folder: Path) -> None:
        self.results = folder / "results"
        self._folder = folder
        self._ports = {port: str(free_port()) for port in self.PORTS}
        self._started: list[subprocess.Popen[str]] = []

    def here(self, text: str) -> str:
        """The environment of a service, with the addresses and folders of this machine."""
        text = re.sub(r"0\.0\.0\.0|(?<![\w-])(?:simulator|master)(?=:|$)", "127.0.0.1", text)
        text = re.sub("|".join(self.PORTS), lambda match: self._ports[match[0]], text)
        return text.replace(INSTALLED, str(ROOT)).replace("/results", str(self.results))

    def start(self, name: str) -> Path:
        """Start a service; returns where its output goes."""
        log = self._folder / f"{name}-{len(self._started)}.log"
        with log.open("w") as output:
            command = [self.here(word) for word in SERVICES[name]["command"]]
            process = subprocess.Popen(
                command, cwd=self._folder, env=self._env(name), stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )
        self._started.append(process)
        return log

    def is_healthy(self, name: str) -> bool:
        """What the service's health check says."""
        kind, *command = SERVICES[name]["healthcheck"]["test"]
        assert kind == "CMD"
        done = subprocess.run([self.here(word) for word in command], env=self._env(name), capture_output=True)
        return done.returncode == 0

    @property
    def page(self) -> str:
        return self.here("http://127.0.0.1:8089")

    def stop(self) -> list[int]:
        """As compose: whoever depends on another goes first. Returns exit codes."""
        codes = []
        for process in reversed(self._started):
            process.terminate()
            codes.append(process.wait(timeout=60))
        self._started = []
        return codes

    def _env(self, name: str) -> dict[str, str]:
        given = image_environment() | SERVICES[name].get("environment", {})
        variables = {key: self.VARIABLES.get(key) if value is None else value for key, value in given.items()}
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        return environment(
            **{
                key: self.here(interpolated(value, **self.VARIABLES))
                for key, value in variables.items()
                if value is not None
            },
            PATH=path,
        )


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    stack = Stack(tmp_path)
    yield stack
    stack.stop()


@pytest.mark.slow
def test_the_commands_as_written_make_a_run_over_two_workers(stack: Stack) -> None:
    stack.start("simulator")
    until(lambda: stack.is_healthy("simulator"))
    master_log = stack.start("master")
    until(lambda: stack.is_healthy("master"))
    for _ in range(2):
        stack.start("worker")
    until(lambda: answers(f"{stack.page}/login"))
    assert not answers(f"{stack.page}/stats/requests")
    login = {"Authorization": "Basic " + base64.b64encode(f"tokenswarm:{Stack.PASSWORD}".encode()).decode()}
    until(lambda: len(json.loads(get(f"{stack.page}/stats/requests", login))["workers"]) == 2)
    form = {"levels": "4", "ramp": "1s", "level_time": "4s", "settle": "0s", "max_tokens": "8", "system_prompt": "off"}
    assert post(f"{stack.page}/swarm", login, **form)["success"]
    until(lambda: list(stack.results.glob("*/charts/token_rate.png")))
    stack.stop()
    run = Run(0, master_log.read_text(), stack.results)
    assert_whole(run)
    assert run.document["status"] == "finished"
    assert run.document["host"] == stack.here("http://simulator:8000")
    assert len({row["worker"] for row in run.requests}) == 2
    assert {row["outcome"] for row in run.requests} == {"ok"}
