"""The exposition, scraped over HTTP and read as Prometheus would."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import inf

import gevent.socket
import pytest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from tokenswarm.metrics.buckets import EXPOSED
from tokenswarm.metrics.client_health import CoreUse, HealthMeter
from tokenswarm.metrics.level import Arrivals, Level, Phase, Scope
from tokenswarm.metrics.objectives import Objectives
from tokenswarm.metrics.timeline import Outcome, Timeline
from tokenswarm.recording.aggregator import Aggregator
from tokenswarm.recording.prometheus import LiveRun, MetricsPortError, serve
from tokenswarm.recording.reported_counts import ReportedTotals
from tokenswarm.recording.server_samples import ServerSample, ServerSamples
from tokenswarm.recording.worker_report import Report
from tokenswarm.run_folder.schema import RunFacts

FACTS = RunFacts("http://gpu:8000", "vllm", 'llama "3"\n8b', "ladder", [], {}, {})
NAMES = {
    "ttft_s": "tokenswarm_time_to_first_token_seconds",
    "request_token_rate": "tokenswarm_request_token_rate",
    "gap_s": "tokenswarm_inter_token_gap_seconds",
    "tpot_s": "tokenswarm_time_per_output_token_seconds",
    "e2e_s": "tokenswarm_e2e_latency_seconds",
    "client_delay_s": "tokenswarm_client_delay_seconds",
}
Scrape = Callable[[], dict[str, Metric]]
MakeLevel = Callable[..., Level]


@pytest.fixture
def live() -> LiveRun:
    return LiveRun()


@pytest.fixture
def scrape(live: LiveRun) -> Iterator[Scrape]:
    server = serve(live, "127.0.0.1", 0)

    def families() -> dict[str, Metric]:
        with gevent.socket.create_connection(("127.0.0.1", server.server_port)) as connection:
            connection.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
            head, _, body = b"".join(iter(lambda: connection.recv(65536), b"")).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200")
        return {family.name: family for family in text_string_to_metric_families(body.decode())}

    yield families
    server.stop()


@pytest.fixture
def aggregator(
    report: Callable[..., Report], timeline: Callable[..., Timeline], a_level: Callable[..., Level]
) -> Aggregator:
    """Two levels: 30 answers, a failure and a cut; then two answers, one of them sent in the ramp."""
    stages = [a_level(0), a_level(1, users=50, system_prompt="on")]
    aggregator = Aggregator(Objectives())
    for each in stages:
        aggregator.begin_level(each, each.index * 20.0)
    told = report(
        [
            *(timeline((3.03 + n / 70, 3.2 + n / 30, 6.0), tokens=100, delays_ns=[3_000 * n] * 3) for n in range(30)),
            timeline((3.1,), outcome=Outcome.STREAM_ERROR, tokens=4, retries=1),
            timeline((3.1,), outcome=Outcome.CUT, tokens=2),
            timeline((3.09, 4.0), level_index=1),
            timeline((1.3, 2.0), sent_s=1.0, level_index=1),
        ],
        stages,
    )
    told.in_flight = 7
    aggregator.apply(told)
    return aggregator


def test_before_any_run_only_users_and_workers_are_told(scrape: Scrape, live: LiveRun) -> None:
    live.workers = lambda: (3, 1)
    families = scrape()
    assert list(families) == ["tokenswarm_users", "tokenswarm_workers", "tokenswarm_workers_missing"]
    assert [sample.value for sample in families["tokenswarm_workers"].samples] == [3.0]
    assert [sample.value for sample in families["tokenswarm_workers_missing"].samples] == [1.0]
    assert [sample.value for sample in families["tokenswarm_users"].samples] == [0.0]


def test_users_and_requests_in_flight_are_those_of_now(scrape: Scrape, live: LiveRun, aggregator: Aggregator) -> None:
    live.facts, live.aggregator, live.user_count = FACTS, aggregator, lambda: 42
    families = scrape()
    assert [sample.value for sample in families["tokenswarm_users"].samples] == [42.0]
    assert [sample.value for sample in families["tokenswarm_requests_in_flight"].samples] == [7.0]


def test_request_rates_of_an_open_loop_are_gauges(scrape: Scrape, live: LiveRun) -> None:
    level = Level(0, "off", "4/s", level_time_s=60.0, arrivals=Arrivals("constant", ((0.0, 4.0),), 4.0))
    live.facts, live.aggregator = FACTS, Aggregator(Objectives())
    names = [f"tokenswarm_{name}_request_rate" for name in ("offered", "sent", "completed")]
    assert not set(names) & scrape().keys()
    live.aggregator.begin_level(level, 0.0)
    for second in range(2, 12):
        live.series.enter_report(1, ReportedTotals(0, 3 * second, 2 * second), float(second))
    families = scrape()
    assert [families[name].samples[0].value for name in names] == pytest.approx([4.0, 3.0, 2.0])
    assert all(families[name].type == "gauge" for name in names)


def test_users_that_were_there_are_those_that_the_workers_report(
    scrape: Scrape, live: LiveRun, aggregator: Aggregator, report: Callable[..., Report]
) -> None:
    """Locust counts 42; of two workers one is silent. The level began at 20 s, and 5 s are not reported yet."""
    live.facts, live.aggregator, live.user_count = FACTS, aggregator, lambda: 42
    assert "tokenswarm_users_actual" not in scrape()
    first = report([], [])
    first.worker, first.user_seconds = 1, {(1, second): 20.0 + second for second in range(15)}
    aggregator.apply(first)
    aggregator.observe(42, 35.0)
    assert [sample.value for sample in scrape()["tokenswarm_users_actual"].samples] == [pytest.approx(27.0)]


def test_every_counter_of_a_level_is_there_from_zero_on(
    scrape: Scrape, live: LiveRun, a_level: Callable[..., Level]
) -> None:
    live.facts, live.aggregator = FACTS, Aggregator(Objectives())
    live.aggregator.begin_level(a_level(0), 0.0)
    families = scrape()
    requests = {sample.labels["outcome"]: sample.value for sample in families["tokenswarm_requests"].samples}
    assert requests == dict.fromkeys(Outcome, 0.0)
    assert [sample.value for sample in families["tokenswarm_output_tokens"].samples] == [0.0]
    assert [sample.value for sample in families["tokenswarm_output_events"].samples] == [0.0]


def test_events_are_told_while_their_requests_still_run(
    scrape: Scrape, live: LiveRun, aggregator: Aggregator, report: Callable[..., Report]
) -> None:
    live.facts, live.aggregator = FACTS, aggregator
    other = report([], [])
    other.worker, other.output_events = 1, 23
    before = scrape()["tokenswarm_output_events"].samples[0].value
    aggregator.apply(other)
    assert scrape()["tokenswarm_output_events"].samples[0].value == before + 23


def test_counters_equal_the_books(scrape: Scrape, live: LiveRun, aggregator: Aggregator) -> None:
    live.facts, live.aggregator = FACTS, aggregator
    families = scrape()
    first = {"engine": "vllm", "model": 'llama "3"\n8b', "system_prompt": "off", "level": "10"}
    second = first | {"system_prompt": "on", "level": "50"}
    counted = {("10", "cut"): 1.0, ("10", "ok"): 30.0, ("10", "stream_error"): 1.0, ("50", "ok"): 2.0}
    assert [(sample.name, sample.labels, sample.value) for sample in families["tokenswarm_requests"].samples] == [
        ("tokenswarm_requests_total", level | {"outcome": outcome}, counted.get((level["level"], outcome), 0.0))
        for level in (first, second)
        for outcome in sorted(Outcome)
    ]
    assert [(sample.name, sample.labels, sample.value) for sample in families["tokenswarm_retries"].samples] == [
        ("tokenswarm_retries_total", first, 1.0),
        ("tokenswarm_retries_total", second, 0.0),
    ]
    assert [(sample.name, sample.labels, sample.value) for sample in families["tokenswarm_output_tokens"].samples] == [
        ("tokenswarm_output_tokens_total", first, 3006.0),
        ("tokenswarm_output_tokens_total", second, 4.0),
    ]


def test_named_requests_are_counted_by_name(
    scrape: Scrape,
    live: LiveRun,
    report: Callable[..., Report],
    timeline: Callable[..., Timeline],
    a_level: Callable[..., Level],
) -> None:
    level = a_level()
    live.facts, live.aggregator = FACTS, Aggregator(Objectives())
    live.aggregator.begin_level(level, 0.0)
    named = [timeline(name="short"), timeline(name="long"), timeline((), outcome=Outcome.TIMEOUT, name="long")]
    live.aggregator.apply(report([*named, timeline()], [level]))
    families = scrape()
    counted = {
        (sample.labels["name"], sample.labels["outcome"]): sample.value
        for sample in families["tokenswarm_named_requests"].samples
        if sample.value
    }
    assert counted == {("short", "ok"): 1.0, ("long", "ok"): 1.0, ("long", "timeout"): 1.0}
    tokens = {sample.labels["name"]: sample.value for sample in families["tokenswarm_named_output_tokens"].samples}
    assert tokens == {"short": 4.0, "long": 4.0}
    for family in ("time_to_first_token", "e2e_latency"):
        counts = {
            sample.labels["name"]: sample.value
            for sample in families[f"tokenswarm_named_{family}_seconds"].samples
            if sample.name.endswith("_count")
        }
        assert counts == {"short": 1.0, "long": 1.0}


@pytest.mark.parametrize("field", EXPOSED)
def test_histograms_equal_the_books_of_the_whole_level(
    field: str, scrape: Scrape, live: LiveRun, aggregator: Aggregator, lower_edge: Callable[[int], int]
) -> None:
    """A value counts where the lower edge of its bucket lies."""
    live.facts, live.aggregator = FACTS, aggregator
    family = scrape()[NAMES[field]]
    assert family.type == "histogram"
    for level in aggregator.levels.values():
        labels = {"system_prompt": level.level.system_prompt, "level": level.level.name}
        samples = [sample for sample in family.samples if labels.items() <= sample.labels.items()]
        books = getattr(level.scopes[Scope.WHOLE], field)
        values = [books.value_at_rank(rank) for rank in range(1, books.count + 1)]
        edges = [lower_edge(int(value / books.unit + 0.25)) for value in values]
        assert edges
        assert {float(sample.labels["le"]): sample.value for sample in samples if "le" in sample.labels} == {
            bound: sum(edge <= (bound if bound == inf else round(bound / books.unit)) for edge in edges)
            for bound in (*EXPOSED[field], inf)
        }
        told = {sample.name.removeprefix(NAMES[field]): sample.value for sample in samples if "le" not in sample.labels}
        assert told == {"_count": len(values), "_sum": pytest.approx(books.sum, rel=1e-12)}


def test_the_times_to_first_token_lie_in_the_buckets_that_a_count_by_hand_gives(
    scrape: Scrape, live: LiveRun, aggregator: Aggregator
) -> None:
    """The second level's two answers: 90 ms, and 300 ms in its ramp. Both were over after 1 s exactly: at its le."""
    live.facts, live.aggregator = FACTS, aggregator
    samples = scrape()["tokenswarm_time_to_first_token_seconds"].samples
    told = {
        sample.labels["le"]: sample.value
        for sample in samples
        if sample.labels.get("level") == "50" and "le" in sample.labels
    }
    assert (told["0.08"], told["0.1"], told["0.25"], told["0.5"], told["+Inf"]) == (0, 1, 1, 2, 2)
    e2e = {
        sample.labels["le"]: sample.value
        for sample in scrape()["tokenswarm_e2e_latency_seconds"].samples
        if sample.labels.get("level") == "50" and "le" in sample.labels
    }
    assert (e2e["0.8"], e2e["1.0"], e2e["+Inf"]) == (0, 2, 2)


def test_a_workers_loop_lag_and_use_of_its_core_are_told_by_worker(
    scrape: Scrape, live: LiveRun, report: Callable[..., Report], a_level: Callable[..., Level]
) -> None:
    """The core's use is that of the last report, the lag that of the run."""
    live.facts, live.aggregator = FACTS, Aggregator(Objectives())
    live.aggregator.begin_level(a_level(), 0.0)
    for number, cpu_s in ((1, 0.9), (2, 0.3)):
        told = report([], [a_level()], worker=3)
        meter = HealthMeter()
        meter.woke((0, Phase.HOLD), 0, number * 400_000, 0)
        told.number, told.health = number, meter.take()
        told.health.core_use = {(0, Phase.HOLD): CoreUse(cpu_s, 1.0)}
        live.aggregator.apply(told)
    families = scrape()
    use = families["tokenswarm_worker_cpu_utilization"].samples
    assert [(sample.labels, sample.value) for sample in use] == [({"worker": "3"}, pytest.approx(0.3))]
    lag = families["tokenswarm_loop_lag_seconds"]
    assert lag.type == "histogram"
    buckets = {sample.labels["le"]: sample.value for sample in lag.samples if "le" in sample.labels}
    assert (buckets["0.00025"], buckets["0.0005"], buckets["0.001"], buckets["+Inf"]) == (0, 1, 2, 2)
    assert [sample.value for sample in lag.samples if sample.name.endswith("_sum")] == [pytest.approx(0.0012)]


def test_the_stamp_is_there_while_the_run_goes_on(
    scrape: Scrape, live: LiveRun, report: Callable[..., Report], timeline: Callable[..., Timeline], a_level: MakeLevel
) -> None:
    live.facts, live.aggregator = FACTS, Aggregator(Objectives())
    live.aggregator.begin_level(a_level(), 0.0)

    def suspect() -> float:
        (sample,) = scrape()["tokenswarm_suspect"].samples
        assert sample.labels == {}
        return sample.value

    assert suspect() == 0.0
    live.aggregator.apply(report([timeline(kernel=False)], [a_level()]))
    assert suspect() == 1.0
    live.aggregator = Aggregator(Objectives())
    assert suspect() == 0.0
    live.defect = lambda: "the books do not balance"
    assert suspect() == 1.0


def test_another_run_replaces_the_one_before(scrape: Scrape, live: LiveRun, aggregator: Aggregator) -> None:
    live.facts, live.aggregator = FACTS, aggregator
    scrape()
    live.aggregator = Aggregator(Objectives())
    assert scrape()["tokenswarm_requests"].samples == []


def test_a_port_that_is_taken_is_told_in_a_sentence(live: LiveRun) -> None:
    with gevent.socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(
            MetricsPortError,
            match=rf"the metrics port 127.0.0.1:{port} cannot be had \(.+\); choose another with --metrics-port, or 0",
        ):
            serve(live, "127.0.0.1", port)


def test_an_address_that_this_machine_does_not_have_is_told_in_the_systems_words(live: LiveRun) -> None:
    with pytest.raises(MetricsPortError, match=r"^--metrics-host no such is no .* \(Name or service not known\): give"):
        serve(live, "no such", 9646, [9647])


def test_what_the_server_told_last_is_passed_on_under_one_name(
    scrape: Scrape, live: LiveRun, aggregator: Aggregator
) -> None:
    live.facts, live.aggregator = FACTS, aggregator
    live.server = ServerSamples()
    values = {"requests_running": 7.0, "requests_waiting": 2.0, "kv_cache_utilization": 0.5, "gpu_utilization": 0.97}
    counters = {"output_tokens_total": 900.0, "prefix_cache_hits_total": 30.0, "prefix_cache_queries_total": 120.0}
    live.server.add(ServerSample(1.0, 0, values | counters), 0)
    labels = {"engine": "vllm", "model": 'llama "3"\n8b'}
    told = {
        sample.name: (sample.labels, sample.value)
        for family in scrape().values()
        for sample in family.samples
        if sample.name.startswith("tokenswarm_server_")
    }
    assert told == {
        "tokenswarm_server_requests_running": (labels, 7.0),
        "tokenswarm_server_requests_waiting": (labels, 2.0),
        "tokenswarm_server_kv_cache_utilization": (labels, 0.5),
        "tokenswarm_server_prefix_cache_hit_ratio": (labels, 0.25),
        "tokenswarm_server_gpu_utilization": (labels, 0.97),
        "tokenswarm_server_output_tokens_total": (labels, 900.0),
    }
    live.server.add(ServerSample(2.0, 0, {}), 1)
    assert not any(name.startswith("tokenswarm_server_") for name in scrape())
