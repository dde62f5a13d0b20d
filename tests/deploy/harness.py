"""What deploy/ holds, as data, and a real Prometheus to hold it against."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from math import isfinite
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.runs.harness import ROOT

DEPLOY = ROOT / "deploy"
PATIENCE_S = 120.0

Series = dict[str, Any]


def program(name: str) -> str:
    """Where Prometheus's `name` is installed. Without it a laptop skips the test; CI, which installs it, fails."""
    if path := shutil.which(name):
        return path
    reason = f"{name} is not installed: apt-get install prometheus"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def until(condition: Callable[[], Any], limit_s: float = PATIENCE_S) -> Any:
    """Wait for what must come; that it comes is the test, when is not."""
    deadline = time.monotonic() + limit_s
    while not (result := condition()):
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.1)
    return result


Headers = dict[str, str]


def get(url: str, headers: Headers | None = None) -> str:
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers or {}), timeout=10) as response:
        return response.read().decode()


def post(url: str, headers: Headers | None = None, **form: str) -> dict[str, Any]:
    request = urllib.request.Request(url, urllib.parse.urlencode(form).encode(), headers or {})
    with urllib.request.urlopen(request, timeout=30) as response:
        return json.loads(response.read())


def answers(url: str) -> bool:
    try:
        get(url)
    except OSError:
        return False
    return True


def load_yaml(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def alerts() -> list[dict[str, Any]]:
    (group,) = load_yaml(DEPLOY / "prometheus" / "rules.yml")["groups"]
    return group["rules"]


def dashboard() -> dict[str, Any]:
    return json.loads((DEPLOY / "grafana" / "dashboards" / "tokenswarm.json").read_text(encoding="utf-8"))


def panels() -> list[dict[str, Any]]:
    """The dashboard's panels without the titles of its rows."""
    return [panel for panel in dashboard()["panels"] if panel["type"] != "row"]


def expressions() -> Iterator[tuple[str, str]]:
    """(panel and refId, PromQL) of every target of the dashboard, with variables as Grafana puts them at first."""
    for panel in panels():
        for target in panel["targets"]:
            expr = target["expr"].replace("$__rate_interval", "10s")
            yield f"{panel['title']}: {target['refId']}", re.sub(r"\$\w+", ".*", expr)


class Prometheus:
    """A Prometheus of the test's, with the project's own configuration: each second, and its targets replaced."""

    def __init__(self, folder: Path, port: int, targets: dict[str, str]) -> None:
        config = load_yaml(DEPLOY / "prometheus" / "prometheus.yml")
        config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        config["rule_files"] = [str(DEPLOY / "prometheus" / name) for name in config["rule_files"]]
        config["scrape_configs"] = [
            {"job_name": job["job_name"], "static_configs": [{"targets": [targets[job["job_name"]]]}]}
            for job in config["scrape_configs"]
        ]
        folder.mkdir()
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
        self._url = f"http://127.0.0.1:{port}"
        self._log = (folder / "log").open("w")
        self._process = subprocess.Popen(
            [
                program("prometheus"),
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
                "--log.level=warn",
            ],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )
        try:
            until(lambda: answers(f"{self._url}/-/ready"))
        except AssertionError:
            self.close()
            raise

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(timeout=20)
        self._log.close()

    def query(self, promql: str) -> list[Series]:
        """The instant vector of now."""
        return self._get("query", query=promql)

    def value(self, promql: str) -> float | None:
        """The one number that `promql` is, None where it is none."""
        series = self.query(promql)
        assert len(series) <= 1, f"{promql} is {len(series)} series"
        return float(series[0]["value"][1]) if series else None

    def finite_values(self, promql: str, start_s: float, end_s: float) -> list[float]:
        """Every number that `promql` was in the time, one a second."""
        series = self._get("query_range", query=promql, start=str(start_s), end=str(end_s), step="1")
        return [number for each in series for _, text in each["values"] if isfinite(number := float(text))]

    def _get(self, what: str, **parameters: str) -> list[Series]:
        try:
            answer = post(f"{self._url}/api/v1/{what}", **parameters)
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{parameters['query']}: {json.loads(error.read())['error']}") from None
        return answer["data"]["result"]
