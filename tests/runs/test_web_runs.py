"""Runs that are started and stopped from Locust's web page, by HTTP as a browser would, and scraped by Prometheus."""

from __future__ import annotations

import json
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.runs.harness import (
    ROOT,
    Run,
    Start,
    Started,
    StartSimulator,
    assert_whole,
    free_port,
    run_files,
    run_folders,
    until,
)

pytestmark = pytest.mark.slow


def get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as response:
        return response.read().decode()


def post(url: str, **form: str) -> dict[str, Any]:
    data = urllib.parse.urlencode(form).encode()
    with urllib.request.urlopen(url, data=data, timeout=30) as response:
        return json.loads(response.read())


def sent_by_form(url: str, **form: str) -> dict[str, Any]:
    """A start from a browser that shows the page: a form sends every field, changed or not."""
    browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
    browser.open(url, timeout=30).close()
    sent = urllib.request.Request(f"{url}/swarm", urllib.parse.urlencode(form).encode(), {"Origin": url})
    with browser.open(sent, timeout=30) as response:
        return json.loads(response.read())


def answers(url: str) -> Callable[[], bool]:
    def asked() -> bool:
        try:
            get(url)
        except OSError:
            return False
        return True

    return asked


@pytest.fixture
def page(start_locust: Start) -> tuple[Started, str]:
    """Locust's web page, with the embedded simulator as its server."""
    port = free_port()
    started = start_locust("--web-host", "127.0.0.1", "--web-port", str(port))
    url = f"http://127.0.0.1:{port}"
    until(answers(url))
    return started, url


def requests_shown(url: str) -> int:
    return int(json.loads(get(f"{url}/stats/requests"))["stats"][-1]["num_requests"])


def test_a_ladder_started_and_stopped_from_the_page(page: tuple[Started, str]) -> None:
    started, url = page
    form = {"levels": "2,3", "ramp": "1s", "level_time": "60s", "max_tokens": "16", "system_prompt": "both"}
    answer = post(f"{url}/swarm", **form)
    assert answer["success"], answer
    until(lambda: requests_shown(url) >= 3)
    post(f"{url}/stop")
    until(lambda: bool(list(started.results.glob("*/report.html"))))
    started.process.terminate()
    run = started.end()
    assert_whole(run)
    assert run.document["status"] == "interrupted"
    assert run.document["options"]["levels"] == "2,3"
    assert run.document["options"]["max_tokens"] == 16
    assert {row["output_tokens"] for row in run.requests if row["outcome"] == "ok"} <= {str(n) for n in range(1, 17)}
    assert "Traceback" not in run.output


def test_users_typed_into_locusts_form_are_the_users_that_run(page: tuple[Started, str]) -> None:
    """Its form sends every field, the shape and its levels too: what was typed counts, and both together cannot."""
    started, url = page
    shown = {"shape": "ladder", "levels": "10,50,100", "ramp": "20s", "level_time": "5m", "max_tokens": "8"}
    endless = post(f"{url}/swarm", shape="free", user_count="1", run_time="99999999999999h")
    assert [error["field"] for error in endless["errors"]] == ["run_time"]
    document = urllib.request.Request(f"{url}/swarm", b'{"levels": "1"}', {"Content-Type": "application/json"})
    assert not json.loads(urllib.request.urlopen(document, timeout=30).read())["success"]
    unclear = sent_by_form(url, user_count="7", spawn_rate="1", **(shown | {"levels": "2,3"}))
    assert not unclear["success"]
    assert "“Users”" in unclear["message"]
    assert "“Levels”" in unclear["message"]
    assert sent_by_form(url, user_count="7", spawn_rate="7", run_time="3s", **shown)["success"]
    until(lambda: len(run_files(started.results, "report.html")) == 1)
    started.process.terminate()
    run = started.end()
    (level,) = run.document["plan"]
    assert (level["users"], run.document["options"]["shape"]) == (7, "free")
    assert len({row["user"] for row in run.requests}) == 7


def test_a_run_with_locusts_own_users_and_then_another_each_in_its_own_folder(page: tuple[Started, str]) -> None:
    started, url = page
    for number in (1, 2):
        answer = post(
            f"{url}/swarm", user_count=str(number), spawn_rate="5", run_time="2s", shape="free", max_tokens="8"
        )
        assert answer["success"], answer
        until(lambda done=number: len(run_files(started.results, "report.html")) == done)
        until(lambda: json.loads(get(f"{url}/stats/requests"))["state"] in ("stopped", "ready"))
    started.process.terminate()
    ended = started.end()
    folders = run_folders(started.results)
    assert len(folders) == 2
    for number, folder in enumerate(folders, start=1):
        run = Run(ended.exit_code, ended.output, _only(started, folder))
        assert_whole(run)
        assert run.document["status"] == "finished"
        assert [level["users"] for level in run.summary["levels"]] == [number]


def _only(started: Started, folder: Any) -> Any:
    alone = started.results.with_name(f"only-{folder.name}")
    alone.mkdir()
    (alone / folder.name).symlink_to(folder)
    return alone


def test_bad_input_in_the_form_begins_no_run_and_the_next_start_works(page: tuple[Started, str]) -> None:
    started, url = page
    for bad, told in (
        ({"levels": "ten"}, "“Levels” takes numbers of users like 10,50,100, got 'ten'."),
        ({"levels": "2", "prompts": "missing.jsonl"}, "missing.jsonl"),
        ({"prompts": "sample", "max_tokens": "many"}, "“Max tokens” takes a whole number, got 'many'."),
        ({"run_time": "soon"}, "“Run time” takes a time"),
        ({"host": f"http://127.0.0.1:{free_port()}"}, "cannot be reached"),
    ):
        answer = post(f"{url}/swarm", **bad)
        assert not answer["success"]
        assert told in answer["message"]
        assert answer["message"] == "\n".join(error["text"] for error in answer["errors"])
    assert not list(started.results.glob("*/run.json"))
    good = {"levels": "1", "ramp": "1s", "level_time": "2s", "prompts": "sample", "max_tokens": "8"}
    assert post(f"{url}/swarm", **good)["success"]
    until(lambda: bool(list(started.results.glob("*/report.html"))))
    started.process.terminate()
    run = started.end()
    assert_whole(run)
    assert "--levels takes numbers of users like 10,50,100, got 'ten'." in run.output
    assert "missing.jsonl" in run.output


_CHANGES_AN_OPTION = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from locustfile import *
from locust import events

@events.test_start.add_listener
def change(environment, **_):
    environment.parsed_options.max_tokens = 5
"""


def test_what_a_listener_makes_impossible_is_the_answer_to_the_start_and_links_to_no_run(
    start_locust: Start, tmp_path: Path
) -> None:
    own = tmp_path / "own.py"
    own.write_text(_CHANGES_AN_OPTION)
    port = free_port()
    started = start_locust("--web-port", str(port), locustfile=own)
    url = f"http://127.0.0.1:{port}"
    until(answers(url))
    form = {"levels": "1", "ramp": "1s", "level_time": "300s"}
    for _ in range(2):  # the next start is answered in the same way: what was refused is not kept
        answer = post(f"{url}/swarm", **form)
        live = json.loads(get(f"{url}/tokenswarm/live.json"))
        assert not answer["success"]
        assert answer["errors"] == [{"field": "max_tokens", "text": answer["message"]}]
        assert "“Max tokens”" in answer["message"]
        assert live["refusal"] == answer["message"]
        assert (live["folder"], live["recover"], "None" in json.dumps(live)) == (None, None, False)
    started.process.terminate()
    ended = started.end()
    assert "changes --max-tokens" in ended.output
    assert ended.exit_code == 0  # the page did what it is for
    assert not list(started.results.glob("*"))


def test_prometheus_reads_the_histograms_while_the_run_goes_on(start_locust: Start) -> None:
    port = free_port()
    started = start_locust(
        *("--headless", "-u", "3", "-r", "3", "-t", "8s", "--max-tokens", "16", "--metrics-port", str(port)),
    )
    url = f"http://127.0.0.1:{port}/metrics"
    scraped: dict[str, Any] = {}

    def counted() -> bool:
        try:
            families = {family.name: family for family in text_string_to_metric_families(get(url))}
        except OSError:
            return False
        scraped.update(families)
        ttft = families.get("tokenswarm_time_to_first_token_seconds")
        return bool(ttft and any(sample.name.endswith("_count") and sample.value >= 3 for sample in ttft.samples))

    until(counted)
    run = started.end()
    assert run.exit_code == 0, run.output
    for name in ("tokenswarm_time_to_first_token_seconds", "tokenswarm_request_token_rate"):
        samples = scraped[name].samples
        buckets = [sample for sample in samples if sample.name == f"{name}_bucket"]
        count = next(sample for sample in samples if sample.name == f"{name}_count")
        assert count.labels == {
            "engine": "vllm",
            "model": "simulated-llama-3-8b",
            "system_prompt": "off",
            "level": "3",
        }
        assert [float(bucket.value) for bucket in buckets] == sorted(bucket.value for bucket in buckets)
        assert buckets[-1].labels["le"] == "+Inf"
        assert buckets[-1].value == count.value > 0
    assert scraped["tokenswarm_users"].samples[0].value > 0
    outcomes = {sample.labels["outcome"] for sample in scraped["tokenswarm_requests"].samples if sample.value}
    assert outcomes == {"ok"}


def test_a_server_that_refuses_everything_is_no_run_and_without_a_preflight_one_that_stops(
    start_locust: Start, start_simulator: StartSimulator
) -> None:
    simulator = start_simulator("--profile", "fast", "--error-every", "1")
    port = free_port()
    started = start_locust("--web-port", str(port), "-H", simulator.host, "--preflight", "on")
    url = f"http://127.0.0.1:{port}"
    until(answers(url))
    form = {"levels": "5", "ramp": "1s", "level_time": "300s", "max_tokens": "8", "stop_after_failures": "100%:6"}
    answer = post(f"{url}/swarm", **form)
    assert not answer["success"]
    assert "HTTP 503" in answer["message"]
    assert not list(started.results.glob("*/run.json"))
    answer = post(f"{url}/swarm", **form, preflight="off")
    assert answer["success"], answer
    until(lambda: bool(list(started.results.glob("*/report.html"))))
    until(lambda: json.loads(get(f"{url}/stats/requests"))["state"] in ("stopped", "ready"))
    started.process.terminate()
    run = started.end()
    assert_whole(run)
    assert run.exit_code == 3
    assert run.document["status"] == "failed"
    assert "HTTP 503" in run.document["stop_reason"]
