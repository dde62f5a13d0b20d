"""The alert rules and Prometheus's configuration, by Prometheus's own tool."""

from __future__ import annotations

import re
import subprocess

from tests.deploy.harness import DEPLOY, alerts, program
from tests.runs.harness import ROOT


def promtool(*arguments: str) -> str:
    done = subprocess.run(
        [program("promtool"), *arguments], cwd=DEPLOY / "prometheus", capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_rules_are_rules() -> None:
    assert f"SUCCESS: {len(alerts())} rules found" in promtool("check", "rules", "rules.yml")


def test_the_configuration_is_one() -> None:
    assert "SUCCESS" in promtool("check", "config", "prometheus.yml")


def test_the_rules_fire_when_they_should_and_only_then() -> None:
    assert "SUCCESS" in promtool("test", "rules", "rules_test.yml")


def test_every_alert_has_a_unit_test_in_which_it_fires_and_a_line_in_the_document() -> None:
    tested = (DEPLOY / "prometheus" / "rules_test.yml").read_text(encoding="utf-8")
    document = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
    names = {alert["alert"] for alert in alerts()}
    fired = set(re.findall(r"alertname: (\w+)\n +exp_alerts:\n", tested))
    assert fired == names
    assert set(re.findall(r"^\| `(Tokenswarm\w+)`", document, re.MULTILINE)) == names
