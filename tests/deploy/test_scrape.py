"""A real Prometheus scrapes real runs: what it then says equals what the runs' own files say."""

from __future__ import annotations

import json
import re
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from math import ceil, inf
from pathlib import Path

import pytest

from tests.deploy.harness import Prometheus, alerts, answers, expressions, get, post, program, until
from tests.forked_process import start_program
from tests.runs.harness import ROOT, environment, free_port, read_csv, run_files, run_folders
from tokenswarm.metrics.buckets import E2E_S, TTFT_S
from tokenswarm.metrics.timeline import Outcome

pytestmark = pytest.mark.slow

LEVELS = ("2", "4")

#: Of what vLLM and a DCGM exporter serve at /metrics, the names that the dashboard queries.
VLLM = """
vllm:num_requests_running{{model_name="m"}} 3
vllm:num_requests_waiting{{model_name="m"}} 1
vllm:kv_cache_usage_perc{{model_name="m"}} 0.25
vllm:prefix_cache_queries_total{{model_name="m"}} {n}
vllm:prefix_cache_hits_total{{model_name="m"}} {n}
vllm:generation_tokens_total{{model_name="m"}} {n}
vllm:time_to_first_token_seconds_bucket{{model_name="m",le="0.1"}} {n}
vllm:time_to_first_token_seconds_bucket{{model_name="m",le="+Inf"}} {n}
DCGM_FI_DEV_GPU_UTIL{{gpu="0"}} 80
"""


class VllmMetrics(BaseHTTPRequestHandler):
    """Counters that go up at each scrape."""

    scrapes = 0

    def do_GET(self) -> None:
        VllmMetrics.scrapes += 1
        body = VLLM.format(n=VllmMetrics.scrapes).encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@dataclass(frozen=True)
class Scraped:
    """Two runs of one process, both over, and the Prometheus that scraped them."""

    prometheus: Prometheus
    folders: list[Path]
    began_s: float
    ended_s: float

    @property
    def rows(self) -> list[dict[str, str]]:
        """requests.csv of the run that the counters are of: the last."""
        return read_csv(self.folders[-1] / "requests.csv")

    @property
    def ok(self) -> list[dict[str, str]]:
        """Those with latencies: not where the user was to leave, and the response ended before."""
        return [row for row in self.rows if row["outcome"] == "ok" and row["abandons"] != "True"]


@pytest.fixture(scope="module")
def vllm() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), VllmMetrics)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def scraped(tmp_path_factory: pytest.TempPathFactory, vllm: str) -> Iterator[Scraped]:
    """The page's process outlives its runs, and so do their last figures. One request in six fails."""
    program("prometheus")
    folder = tmp_path_factory.mktemp("scraped")
    web_port, metrics_port = free_port(), free_port()
    simulator = start_program(
        *("simulate", ["--port", "0", "--error-every", "6"], environment()),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
    )
    assert simulator.stdout is not None
    (host,) = re.findall(r"http://\S+", simulator.stdout.readline())
    run = ["-f", str(ROOT / "locustfile.py"), "-H", host, "--results", str(folder / "results")]
    ports = ["--web-port", str(web_port), "--metrics-port", str(metrics_port), "--preflight", "off"]
    served = ["--engine", "vllm", "--server-metrics", f"http://{vllm}/metrics", "--gpu-metrics-url", f"http://{vllm}"]
    locust = start_program(
        *("locust", [*run, *ports, *served], environment()),
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=(folder / "log").open("w"),
        stderr=subprocess.STDOUT,
    )
    page = f"http://127.0.0.1:{web_port}"
    prometheus = None
    try:
        targets = {"tokenswarm": f"127.0.0.1:{metrics_port}", "server": vllm}
        prometheus = Prometheus(folder / "prometheus", free_port(), targets)
        until(lambda: answers(page))
        until(lambda: prometheus.value("tokenswarm_users") == 0)
        began_s = time.time()
        for number in (1, 2):
            one_run(page, number, folder / "results")
        folders = run_folders(folder / "results")
        rows = len(read_csv(folders[-1] / "requests.csv"))
        until(lambda: prometheus.value("sum(tokenswarm_requests_total)") == rows)
        yield Scraped(prometheus, folders, began_s, time.time())
    finally:
        for process in (locust, simulator):
            process.terminate()
            process.wait(timeout=20)
        if prometheus is not None:
            prometheus.close()


def one_run(page: str, number: int, results: Path) -> None:
    """A short ladder, started from the page and gone to its end; the second run is shorter than the first."""
    form = {
        "levels": ",".join(LEVELS),
        "ramp": "1s",
        "level_time": "6s" if number == 1 else "3s",
        "settle": "0s",
        "max_tokens": "12",
        "system_prompt": "off",
        "input_tokens": "60",
        "output_tokens": "12",
        "turns": "2",
        "abandon": "20% after=first",
    }
    until(lambda: json.loads(get(f"{page}/stats/requests"))["state"] in ("ready", "stopped"))
    assert post(f"{page}/swarm", **form)["success"]
    until(lambda: len(run_files(results, "charts/token_rate.png")) == number)


def test_the_counters_equal_the_sums_over_the_journal(scraped: Scraped) -> None:
    rows = scraped.rows
    shown = {
        (series["metric"]["level"], series["metric"]["outcome"]): float(series["value"][1])
        for series in scraped.prometheus.query("tokenswarm_requests_total")
    }
    counted = Counter((row["level"], row["outcome"]) for row in rows)
    assert shown == {(level, outcome.value): counted[level, outcome.value] for level in LEVELS for outcome in Outcome}
    assert all(counted[level, outcome] > 0 for level in LEVELS for outcome in ("ok", "http_error"))
    for level in LEVELS:
        tokens = sum(int(row["output_tokens"]) for row in rows if row["level"] == level)
        assert scraped.prometheus.value(f'tokenswarm_output_tokens_total{{level="{level}"}}') == tokens
    events = sum(int(row["output_events"]) for row in rows)
    assert scraped.prometheus.value("tokenswarm_output_events_total") == events
    assert scraped.prometheus.value("tokenswarm_requests_in_flight") == 0


def test_a_histograms_count_and_sum_equal_the_journals(scraped: Scraped) -> None:
    for level in LEVELS:
        ttfts_s = [float(row["ttft_ms"]) / 1000 for row in scraped.ok if row["level"] == level]
        shown = {
            what: scraped.prometheus.value(f'tokenswarm_time_to_first_token_seconds_{what}{{level="{level}"}}')
            for what in ("count", "sum")
        }
        # Histograms keep three digits of each value.
        assert shown == {"count": len(ttfts_s), "sum": pytest.approx(sum(ttfts_s), rel=1e-3)}


@pytest.mark.parametrize("p", [0.5, 0.9, 0.95, 0.99])
@pytest.mark.parametrize(
    ("histogram", "column", "bounds"),
    [
        ("tokenswarm_time_to_first_token_seconds", "ttft_ms", TTFT_S),
        ("tokenswarm_e2e_latency_seconds", "e2e_ms", E2E_S),
    ],
    ids=["ttft", "e2e"],
)
def test_prometheus_quantile_lies_within_a_buckets_width_of_the_journals(
    histogram: str, column: str, bounds: tuple[float, ...], p: float, scraped: Scraped
) -> None:
    values_s = sorted(float(row[column]) / 1000 for row in scraped.ok)
    exact_s = values_s[ceil(p * len(values_s)) - 1]
    shown_s = scraped.prometheus.value(f"histogram_quantile({p}, sum by (le) ({histogram}_bucket))")
    assert shown_s is not None
    low_s, high_s = next((low, high) for low, high in pairwise((0.0, *bounds, inf)) if shown_s <= high)
    assert abs(shown_s - exact_s) <= high_s - low_s


def test_a_second_run_in_the_process_is_seen_to_count_from_the_beginning(scraped: Scraped) -> None:
    """Its levels have the labels of the first run's: rate() and increase() rely on this."""
    resets = scraped.prometheus.query('resets(tokenswarm_requests_total{outcome="ok"}[10m])')
    assert {series["metric"]["level"]: series["value"][1] for series in resets} == dict.fromkeys(LEVELS, "1")
    # Both runs together, but for what Prometheus extrapolates at the ends.
    both = sum(row["outcome"] == "ok" for folder in scraped.folders for row in read_csv(folder / "requests.csv"))
    increased = scraped.prometheus.value('sum(increase(tokenswarm_requests_total{outcome="ok"}[10m]))')
    assert increased == pytest.approx(both, rel=0.2)


def test_every_expression_of_the_dashboard_returns_data(scraped: Scraped) -> None:
    silent = []
    for _, promql in expressions():
        values = scraped.prometheus.finite_values(promql, scraped.began_s, scraped.ended_s)
        if not values:
            silent.append(promql)
    assert silent == ["sum (tokenswarm_offered_request_rate)"]  # the runs were closed loops


def test_every_alerts_expression_finds_its_series(scraped: Scraped) -> None:
    """That the thresholds are right is in rules_test.yml: here only whether there is something that could pass them."""
    for alert in alerts():
        promql = re.sub(r"(==|>) [\d.]+", "", alert["expr"])
        assert promql != alert["expr"]
        assert scraped.prometheus.finite_values(promql, scraped.began_s, scraped.ended_s), alert["alert"]


def test_one_failure_in_six_brings_up_the_alert_on_failures_and_no_other(scraped: Scraped) -> None:
    state = scraped.prometheus.finite_values('ALERTS{alertname="TokenswarmFailures"}', scraped.began_s, scraped.ended_s)
    assert state
    # A busy machine makes the run suspect, of which there is an alert.
    summaries = [json.loads((folder / "summary.json").read_text()) for folder in scraped.folders]
    suspect = any(summary["validity"]["verdict"] == "suspect" for summary in summaries)
    expected = "TokenswarmFailures|TokenswarmRunSuspect" if suspect else "TokenswarmFailures"
    others = f'ALERTS{{alertname!~"{expected}",alertstate="firing"}}'
    assert not scraped.prometheus.finite_values(others, scraped.began_s, scraped.ended_s)
