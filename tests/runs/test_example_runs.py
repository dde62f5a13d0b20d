"""Each file of examples/, as a person starts it: what its users sent, and what the results say of it."""

from __future__ import annotations

import json
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.runs.harness import ROOT, Run, RunLocust, Start, StartSimulator, assert_whole, free_port, read_csv, until
from tokenswarm.reports.html.run_config import command_of
from tokenswarm.run_folder.reader import load_results

pytestmark = pytest.mark.slow

EXAMPLES = ROOT / "examples"


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
    repeated = command_of(load_results(run.folder))
    assert repeated.startswith(f"tokenswarm run -f {files} -H {simulator.host} -u 9 -r 18")
    assert "--prompt-nonce" not in repeated  # it would be refused
    assert "Prompts from" not in run.output  # none of which are sent

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


def test_answers_are_read_timelines_heard_other_users_run_beside_and_an_engine_is_one_of_the_locustfile_s(
    run_locust: RunLocust, start_simulator: StartSimulator, tmp_path: Path
) -> None:
    log = tmp_path / "requests.jsonl"
    simulator = start_simulator("--dialect", "vllm", "--profile", "fast", "--request-log", str(log))
    files = ",".join(str(EXAMPLES / f"{name}.py") for name in ("answers", "timelines", "own_engine", "with_http"))
    run = run_locust(
        *("-H", simulator.host, "-u", "8", "-r", "16", "-t", "3s", "--engine", "acme", "--ignore-eos"),
        *("--csv", str(tmp_path / "plain"), "--server-metrics", "off"),
        locustfile=files,
    )
    assert run.exit_code == 0, run.output
    check_names(run, "draft", "improve", "count", "order", "write")
    assert (run.document["engine"], run.document["own_code"]["shape"]) == ("acme", None)
    slowest_ms = max(float(row["ttft_ms"]) for row in run.requests if row["name"] == "count" and row["ttft_ms"])
    assert f"slowest count: TTFT {slowest_ms:.1f} ms, 24 tokens" in run.output

    posts = [post["body"] for post in bodies(log)]
    assert {post["acme_mode"] for post in posts} == {"exact"}
    improved = [post["messages"][0]["content"] for post in posts if "Improve" in post["messages"][0]["content"]]
    assert improved
    assert all(len(text) > len("Improve this slogan: ") for text in improved)
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    gets = sum(row["path"] == "/v1/models" and "python-requests" in row["headers"]["user-agent"] for row in rows)
    in_locust = {row["Name"]: int(row["Request Count"]) for row in read_csv(tmp_path / "plain_stats.csv")}
    counts = names_of(run)
    assert gets > 0
    assert {name: in_locust[name] for name in counts} == dict(counts)
    assert 0 < in_locust["/v1/models"] <= gets


def test_an_own_shape_drives_own_users_and_ours_with_an_own_prompt_source_on_two_workers(
    run_locust: RunLocust, start_simulator: StartSimulator, tmp_path: Path
) -> None:
    log = tmp_path / "requests.jsonl"
    simulator = start_simulator("--dialect", "vllm", "--profile", "fast", "--request-log", str(log))
    files = ",".join(str(EXAMPLES / f"{name}.py") for name in ("own_shape", "own_prompts"))
    run = run_locust(
        *("-H", simulator.host, "--prompts", "tickets", "--prompt-tokens", "1:200", "--processes", "2"),
        *("--seed", "7", "--server-metrics", "off"),
        locustfile=files,
    )
    assert run.exit_code == 0, run.output
    check_names(run, "question", "chat")
    (level,) = run.summary["levels"]
    assert (level["level"], level["complete"]) == ("shape Burst", True)
    assert "shape Burst" in run.output
    steps = [6 >= float(window["users_actual"] or 0) > 0 for window in run.windows]
    assert any(steps) and len({row["user"] for row in run.requests}) >= 6
    last_sent_s = max(float(row["sent_s"]) for row in run.requests)
    assert level["hold"]["seconds"] < last_sent_s + 3  # and not until the pause after the level is over
    tickets = [row for row in run.requests if row["name"] == "chat"]
    assert len({row["worker"] for row in run.requests}) == 2
    assert all(row["custom_id"].startswith("ticket-") for row in tickets)
    assert run.document["prompts"]["source"] == "tickets"
    polite = [post["body"] for post in bodies(log) if post["body"]["messages"][0]["role"] == "system"]
    assert polite
    assert all(post["messages"][0]["content"].endswith("You answer customers politely.") for post in polite)
    assert {post["max_tokens"] for post in polite} <= set(range(8, 17))
