"""Who can reach the page, the metrics and the workers' port; and how long the metrics can be scraped."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter

import certifi
import psutil
import pytest
from locust.argument_parser import get_empty_argument_parser
from prometheus_client.parser import text_string_to_metric_families

from tests.deploy.harness import get, until
from tests.runs.harness import ROOT, Start, environment, free_port, read_csv, run_folders
from tokenswarm.command_line import TimespanError
from tokenswarm.recording.recording_options import RecordingOptions, add_options

pytestmark = pytest.mark.slow


def listening(process: subprocess.Popen[str]) -> set[tuple[str, int]]:
    """(address, port) of every socket that the process and its children listen on."""
    parent = psutil.Process(process.pid)
    return {
        (connection.laddr.ip, connection.laddr.port)
        for each in (parent, *parent.children(recursive=True))
        for connection in each.net_connections(kind="inet")
        if connection.status == psutil.CONN_LISTEN
    }


def test_nothing_listens_to_other_machines_by_default(start_locust: Start) -> None:
    web, metrics, master = free_port(), free_port(), free_port()
    ports = {"--web-port": web, "--metrics-port": metrics, "--master-bind-port": master, "--master-port": master}
    # A host, so that the embedded simulator is not among what listens.
    options = [str(word) for pair in ports.items() for word in pair]
    started = start_locust("-H", "http://127.0.0.1:9", "--processes", "1", *options)
    expected = {("127.0.0.1", port) for port in (web, metrics, master)}
    until(lambda: {port for _, port in listening(started.process)} >= {web, metrics, master})
    assert listening(started.process) == expected


def test_the_page_and_the_metrics_listen_where_options_say(start_locust: Start) -> None:
    web, metrics = free_port(), free_port()
    variables = {"LOCUST_WEB_HOST": "127.0.0.2", "TOKENSWARM_METRICS_HOST": "127.0.0.3"}
    ports = ("--web-port", str(web), "--metrics-port", str(metrics))
    started = start_locust("-H", "http://127.0.0.1:9", *ports, env=variables)
    until(lambda: listening(started.process) == {("127.0.0.2", web), ("127.0.0.3", metrics)})


@pytest.mark.parametrize(
    ("arguments", "web_host", "master_bind_host"),
    [
        ([], "127.0.0.1", "*"),
        (["--processes", "-1"], "127.0.0.1", "127.0.0.1"),
        (["--master"], "127.0.0.1", "*"),
        (["--processes", "4", "--worker", "--master-host", "there"], "127.0.0.1", "*"),
        (["--web-host", "*", "--web-open", "--processes", "4", "--master-bind-host", "127.0.0.2"], "*", "127.0.0.2"),
        (["--levels", "10,50", "--system-prompt", "both", "--tls-ca", certifi.where()], "127.0.0.1", "*"),
    ],
    ids=lambda value: " ".join(value).replace(certifi.where(), "FILE") if isinstance(value, list) else value,
)
def test_whom_locust_is_bound_to(arguments: list[str], web_host: str, master_bind_host: str) -> None:
    script = (
        "import json, locust, locustfile; from locust.argument_parser import get_parser; "
        "options = get_parser().parse_args(); print(json.dumps([options.web_host, options.master_bind_host]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], cwd=ROOT, env=environment(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [web_host, master_bind_host]


def test_a_headless_run_that_is_over_can_be_scraped_for_the_linger_time(start_locust: Start) -> None:
    port = free_port()
    options = ("-u", "2", "-r", "2", "-t", "2s", "--max-tokens", "8", "--metrics-port", str(port))
    started = start_locust("--headless", *options, "--metrics-linger", "10m", "--loglevel", "INFO")
    until(lambda: list(started.results.glob("*/charts/token_rate.png")))
    families = text_string_to_metric_families(get(f"http://127.0.0.1:{port}/metrics"))
    shown = {
        sample.labels["outcome"]: sample.value
        for family in families
        for sample in family.samples
        if sample.name == "tokenswarm_requests_total" and sample.value
    }
    (folder,) = run_folders(started.results)
    assert shown == Counter(row["outcome"] for row in read_csv(folder / "requests.csv"))
    assert json.loads((folder / "run.json").read_text())["status"] == "finished"
    started.interrupt()
    run = started.end()
    assert run.exit_code == 0, run.output
    assert "The metrics stay available for 600 s (--metrics-linger). Press Ctrl-C to exit now" in run.output


def recording_options(linger: str) -> RecordingOptions:
    parser = get_empty_argument_parser(default_config_files=[])
    add_options(parser)
    return RecordingOptions.of(parser.parse_args([f"--metrics-linger={linger}"]))


@pytest.mark.parametrize(
    ("given", "linger_s"), [("0s", 0.0), ("15s", 15.0), ("1.5m", 90.0), ("500ms", 0.5), ("20", 20.0)]
)
def test_the_time_to_linger(given: str, linger_s: float) -> None:
    assert recording_options(given).metrics_linger_s == linger_s


@pytest.mark.parametrize("given", ["soon", "-5s", "15 s", "", "1h30"])
def test_an_invalid_linger_time_is_refused_in_a_sentence(given: str) -> None:
    with pytest.raises(TimespanError, match=f"--metrics-linger takes a time like .*, got '{given}'."):
        recording_options(given)
