"""Presets, and the sentence on what a start would run: as a page that fills them in gets it."""

from __future__ import annotations

import pytest

from tests.web.conftest import HOST, MakeSite
from tokenswarm.reports.progress_line import WITHOUT_DRAINS
from tokenswarm.web.presets import PRESETS, Preset

_PAUSES = f"pauses of 5 s included, {WITHOUT_DRAINS}"
PLANS = {
    "Quick look": f"1, 5, 10 users without system prompt; level time 15 s, of which ramp 2 s; 1 min in all, {_PAUSES}",
    "Default ladder": "10, 50, 100 users without system prompt; 10, 50, 100 users with system prompt; level time "
    f"5 min, of which ramp 20 s; 30 min 30 s in all, {_PAUSES}",
    "Rate (open loop)": f"1, 2, 5 requests/s without system prompt; level time 1 min; 3 min 20 s in all, {_PAUSES}",
    "Capacity search": "a search for the largest number of users within the SLO, from 1 to 1000; each probe takes at "
    f"most 2 min; at most 20 probes, so 40 min at most in all, {WITHOUT_DRAINS}",
    "Soak": f"50 users without system prompt; level time 4 h, of which ramp 20 s; 4 h 5 s in all, {_PAUSES}",
}
#: What a run before has left in the options.
LEFT = ("--warm-up", "50", "--requests", "1000", "--think-time", "2s", "--system-prompt", "both", "--settle", "5s")


@pytest.mark.parametrize("preset", PRESETS, ids=lambda preset: preset.name)
def test_a_preset_fills_fields_of_the_form_whatever_ran_before(make_site: MakeSite, preset: Preset) -> None:
    client = make_site(*LEFT).client()
    fields = {field["name"]: field for group in client.get("/tokenswarm/form.json").json for field in group["fields"]}
    sent = {**preset.if_empty, **preset.fields}
    assert sent.keys() <= fields.keys()
    for name, value in sent.items():
        assert value in (fields[name]["choices"] or [value])
        assert not fields[name]["only_with"] or preset.fields["shape"] in fields[name]["only_with"], name
    told = client.get("/tokenswarm/plan.json", query_string=sent).json
    assert told == {"plan": PLANS[preset.name], "errors": []}
    assert preset in [Preset(**each) for each in client.get("/tokenswarm/presets.json").json]


def test_a_plan_changes_nothing_and_says_what_is_wrong_by_field(make_site: MakeSite) -> None:
    site = make_site("--levels", "2,3", "--level-time", "10s", "--ramp", "1s", "--system-prompt", "off")
    client = site.client()
    as_shown = client.get("/tokenswarm/plan.json").json["plan"]
    assert as_shown.startswith("2, 3 users without system prompt; level time 10 s, of which ramp 1 s; 30 s in all")
    wrong = {"levels": "ten", "requests": "x", "run_time": "soon", "trace": "/etc/passwd", "no_such_option": "1"}
    told = client.get("/tokenswarm/plan.json", query_string=wrong).json
    assert told["plan"] == ""
    assert {error["field"] for error in told["errors"]} == {"levels", "requests", "run_time", "trace", ""}
    assert client.get("/tokenswarm/plan.json").json["plan"] == as_shown
    assert not site.started


def test_the_plan_of_users_without_an_end_says_so_and_a_given_run_time_counts(make_site: MakeSite) -> None:
    client = make_site("-t", "60s", "--shape", "free").client()
    plan = client.get("/tokenswarm/plan.json").json["plan"]
    assert plan.startswith("1 user without system prompt; level time 1 min, of which ramp 1 s; 1 min 5 s in all")
    endless = client.get("/tokenswarm/plan.json", query_string={"user_count": "7", "run_time": ""}).json["plan"]
    assert endless == "7 users without system prompt; level time until stopped, of which ramp 7 s"


def test_a_trace_is_not_read_for_the_plan(make_site: MakeSite) -> None:
    told = make_site("--trace", "missing.jsonl").client().get("/tokenswarm/plan.json?shape=open").json
    assert told["plan"].startswith("a replay of missing.jsonl, ")


def test_the_host_is_checked_as_for_a_start(make_site: MakeSite) -> None:
    client = make_site().client()
    assert client.get("/tokenswarm/plan.json", query_string={"host": HOST}).json["plan"]
    (error,) = client.get("/tokenswarm/plan.json", query_string={"host": "http://10.0.0.1:1"}).json["errors"]
    assert error["field"] == "host"
