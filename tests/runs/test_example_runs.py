"""Each file of examples/, as a person starts it: what its users sent, and what the results say of it."""

from __future__ import annotations

import json
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.runs.harness import ROOT, Run, Start, StartSimulator, assert_whole, free_port, until

pytestmark = pytest.mark.slow

EXAMPLES = ROOT / "examples"
SHORT = ("-u", "3", "-r", "6", "-t", "2s", "--server-metrics", "off")


def names_of(run: Run) -> Counter[str]:
    return Counter(row["name"] for row in run.requests)


def check_names(run: Run, *expected: str) -> None:
    """The names have the same counts in requests.csv, summary.json, summary.csv, the table and report.html."""
    assert_whole(run)
    counts = names_of(run)
    assert set(counts) == set(expected)
    (level,) = run.summary["levels"]
    assert {each["name"]: each["requests"] for each in level["whole"]["names"]} == counts
    held = Counter(row["name"] for row in run.requests if row["phase"] == "hold")
    page = (run.folder / "report.html").read_text()
    for each in level["hold"]["names"]:
        assert each["requests"] == held[each["name"]]
        assert any(each["name"] in line and f"{each['requests']:,}" in line for line in run.output.splitlines())
        assert each["name"] in page


def bodies(log: Path) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    return [row for row in rows if row["method"] == "POST"]


def page_of(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=30) as answer:
        return json.loads(answer.read())


def test_own_users_on_two_workers_have_rows_by_name_in_every_output(
    start_locust: Start, start_simulator: StartSimulator, tmp_path: Path
) -> None:
    """Messages of one's own, weights, several requests in a task, own fields and headers."""
    log = tmp_path / "requests.jsonl"
    simulator = start_simulator("--dialect", "vllm", "--profile", "fast", "--request-log", str(log))
    files = ",".join(str(EXAMPLES / f"{name}.py") for name in ("own_messages", "conversation", "own_body"))
    page, metrics = free_port(), free_port()
    started = start_locust(
        *("-H", simulator.host, "-u", "9", "-r", "18", "-t", "4s", "--processes", "2", "--autostart"),
        *("--web-port", str(page), "--metrics-port", str(metrics), "--server-metrics", "off"),
        locustfile=files,
    )
    live = f"http://127.0.0.1:{page}/tokenswarm/live.json"
    started.wait_until_it_answers(live)
    until(lambda: page_of(live).get("status") == "finished")
    rows = page_of(live)["levels"][0]["names"]
    with urllib.request.urlopen(f"http://127.0.0.1:{metrics}/metrics", timeout=30) as answer:
        families = {each.name: each for each in text_string_to_metric_families(answer.read().decode())}
    started.interrupt()
    run = started.end()

    check_names(run, "summarise", "translate", "turn 1", "turn 2", "turn 3", "city")
    counts = names_of(run)
    held = Counter(row["name"] for row in run.requests if row["phase"] == "hold")
    assert {row["name"]: row["requests"] for row in rows} == held
    scraped: Counter[str] = Counter()
    for sample in families["tokenswarm_named_requests"].samples:
        scraped[sample.labels["name"]] += int(sample.value)
    assert scraped == counts
    assert len({row["worker"] for row in run.requests}) == 2
    assert run.summary["validity"]["verdict"] in ("valid", "suspect")  # of a busy machine
    assert run.document["own_code"]["users"] == ["Client", "Reader", "Student"]
    assert run.document["prompts"]["reuse"] == "own"

    sent = [(post["body"], post["headers"]) for post in bodies(log)]
    cities = [(body, headers) for body, headers in sent if "response_format" in body]
    # A request that was cut may not have been read whole.
    assert counts["city"] - 1 <= len(cities) <= counts["city"]
    assert all(body["temperature"] == 0.2 and headers["x-tenant"] == "load-test" for body, headers in cities)
    third = next(body["messages"] for body, _ in sent if len(body["messages"]) == 6)
    assert [message["role"] for message in third] == ["system", *("user", "assistant") * 2, "user"]
    assert all(message["content"] for message in third)
    translations = [body for body, _ in sent if body["messages"][0]["content"] == "You are a translator."]
    assert len(translations) >= counts["translate"] - 1
