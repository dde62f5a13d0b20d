"""The dashboard's file: what Grafana needs of it, and that it is what its script writes. That its PromQL runs and
returns data is in test_scrape.py."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter

import pytest

from tests.deploy.harness import DEPLOY, dashboard, load_yaml, panels

PANELS = panels()


def test_the_file_is_what_its_script_writes() -> None:
    script = "import dashboard, sys; sys.stdout.write(dashboard.text())"
    written = subprocess.run([sys.executable, "-c", script], cwd=DEPLOY / "grafana", capture_output=True, text=True)
    assert written.returncode == 0, written.stderr
    file = (DEPLOY / "grafana" / "dashboards" / "tokenswarm.json").read_text(encoding="utf-8")
    assert file == written.stdout, "run: python deploy/grafana/dashboard.py"


def test_ids_are_unique_and_no_panel_lies_on_another() -> None:
    panels = dashboard()["panels"]
    assert not [number for number, times in Counter(panel["id"] for panel in panels).items() if times > 1]
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {(place["x"] + right, place["y"] + down) for right in range(place["w"]) for down in range(place["h"])}
        assert not cells & taken, panel["title"]
        taken |= cells


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_every_panel_queries_the_chosen_data_source(panel: dict) -> None:
    assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    assert panel["targets"]
    assert [target["refId"] for target in panel["targets"]] == [chr(65 + n) for n in range(len(panel["targets"]))]
    assert all(target["expr"] and target["datasource"] == panel["datasource"] for target in panel["targets"])
    assert panel["fieldConfig"]["defaults"]["unit"]


def test_the_data_source_is_the_one_that_is_provisioned() -> None:
    (source,) = load_yaml(DEPLOY / "grafana" / "provisioning" / "datasources" / "prometheus.yml")["datasources"]
    variable = dashboard()["templating"]["list"][0]
    assert (variable["type"], variable["query"]) == ("datasource", source["type"])
    assert variable["current"] == {"text": source["name"], "value": source["uid"]}
    assert (
        source["jsonData"]["timeInterval"]
        == load_yaml(DEPLOY / "prometheus" / "prometheus.yml")["global"]["scrape_interval"]
    )


def test_the_variables_choose_by_the_labels_of_the_metrics() -> None:
    variables = {variable["name"]: variable for variable in dashboard()["templating"]["list"][1:]}
    assert list(variables) == ["engine", "model", "system_prompt", "level"]
    assert all(
        variable["query"]["query"] == f"label_values(tokenswarm_requests_total, {name})"
        for name, variable in variables.items()
    )
    used = json.dumps(PANELS)
    assert all(f'{name}=~\\"${name}\\"' in used for name in variables)


def test_the_first_look_is_a_heat_map_of_ttft_in_the_format_that_grafana_wants() -> None:
    (heat_map,) = [panel for panel in PANELS if panel["type"] == "heatmap"]
    (target,) = heat_map["targets"]
    assert (target["format"], target["legendFormat"]) == ("heatmap", "{{le}}")
    assert target["expr"].startswith("sum by (le) (increase(tokenswarm_time_to_first_token_seconds_bucket{")


def test_rates_of_users_are_shown_at_their_slow_end() -> None:
    """Only the fastest reach a rate's upper percentiles."""
    queries = [target["expr"] for panel in PANELS for target in panel["targets"]]
    shown = {
        float(found[1])
        for expr in queries
        if (found := re.match(r"histogram_quantile\(([\d.]+), .*tokenswarm_request_token_rate_bucket", expr))
    }
    assert min(shown) <= 0.05
    assert max(shown) <= 0.5
