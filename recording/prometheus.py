"""The statistics for Prometheus: a collector over the aggregator's histograms, and the port that is scraped."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from gevent.pywsgi import WSGIServer
from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from tokenswarm.command_line import why_no_address
from tokenswarm.metrics.buckets import CLIENT_DELAY_S, EXPOSED
from tokenswarm.metrics.level import Scope
from tokenswarm.metrics.timeline import Outcome
from tokenswarm.recording.abandon_summary import abandon_figures
from tokenswarm.recording.active_run import ActiveRun
from tokenswarm.recording.aggregator import Aggregator, LevelStats, measured_levels
from tokenswarm.recording.live_series import LiveSeries
from tokenswarm.recording.name_metrics import name_metrics
from tokenswarm.recording.scrape_guard import ScrapeGuard
from tokenswarm.recording.server_samples import ServerSamples
from tokenswarm.recording.session_metrics import cumulative_counts, session_metrics
from tokenswarm.recording.validity import run_validity
from tokenswarm.run_folder.schema import RunFacts, Status

_LABELS = ("engine", "model", "system_prompt", "level")
_HELP = {
    "ttft_s": ("tokenswarm_time_to_first_token_seconds", "Time to first token of requests that were ok."),
    "request_token_rate": ("tokenswarm_request_token_rate", "Tokens a second as one user saw them (1 / TPOT)."),
    "gap_s": ("tokenswarm_inter_token_gap_seconds", "Time between successive arrivals of output."),
    "tpot_s": ("tokenswarm_time_per_output_token_seconds", "Time per output token of requests that were ok."),
    "e2e_s": ("tokenswarm_e2e_latency_seconds", "From sending to the last output of requests that were ok."),
    "client_delay_s": ("tokenswarm_client_delay_seconds", "How late this client read what the kernel had received."),
}
_RATE_HELP = {
    "offered": "Requests a second that were due by the schedule of an open loop, over the last 5 s reported.",
    "sent": "Requests a second that were sent, over the last 5 s reported.",
    "completed": "Requests a second that ended ok, over the last 5 s reported.",
}
_WASTE_HELP = (
    ("abandoned_server_seconds", "How long the server went on with an abandoned request, mean of the level's hold."),
    ("abandoned_server_tokens", "Tokens of the hold that the server generated and that did not arrive here."),
)
#: Server-side metrics and is passed on, by concept.
_SERVER_GAUGES = {
    "requests_running": "Requests that the server works on.",
    "requests_waiting": "Requests that wait in the server.",
    "kv_cache_utilization": "Share of the server's KV cache that is in use, 0 to 1.",
    "prefix_cache_hit_ratio": "Share of prompt tokens found in the prefix cache since the server started, 0 to 1.",
    "gpu_utilization": "Share of the time in which the server's GPUs were busy, 0 to 1.",
}


class MetricsPortError(ValueError):
    """The metrics port cannot be had; the text says why and what to do."""


class LiveRun:
    """What a scrape or a page reads: the run's facts and statistics, replaced as a whole by the next run. They stay
    when it is over: `status` says that it is, and `now_s` then stands still."""

    def __init__(self) -> None:
        self.facts: RunFacts | None = None
        self.aggregator: Aggregator | None = None
        self.server = ServerSamples()
        self.series = LiveSeries()
        self.status = Status.RUNNING
        self.folder: Path | None = None
        self.now_s: Callable[[], float] = lambda: 0.0
        self.user_count: Callable[[], int] = lambda: 0
        self.defect: Callable[[], str | None] = lambda: None
        #: What a capacity search has found so far, in one sentence; None in a run without one.
        self.capacity: Callable[[], str | None] = lambda: None
        #: (workers that are connected, workers that went missing)
        self.workers: Callable[[], tuple[int, int]] = lambda: (1, 0)

    def show(self, run: ActiveRun) -> None:
        """Show this run from now on."""
        self.facts, self.aggregator, self.server, self.series = run.facts, run.aggregator, run.server, run.series
        self.status, self.folder = Status.RUNNING, run.journal.folder
        self.now_s = lambda: run.now_s
        self.capacity = lambda: None


class RunCollector(Collector):
    """Reads the statistics at each scrape. Levels are whole, ramp included: a scrape sees all that happened."""

    def __init__(self, live: LiveRun) -> None:
        self._live = live

    def collect(self) -> Iterator[Metric]:
        facts, aggregator = self._live.facts, self._live.aggregator
        yield GaugeMetricFamily("tokenswarm_users", "Users that are running.", self._live.user_count())
        connected, missing = self._live.workers()
        yield GaugeMetricFamily("tokenswarm_workers", "Workers that are connected.", connected)
        yield GaugeMetricFamily("tokenswarm_workers_missing", "Workers that were lost in mid-run.", missing)
        if facts is None or aggregator is None:
            return
        if (actual := aggregator.users_of_late) is not None:
            yield GaugeMetricFamily(
                "tokenswarm_users_actual",
                "Users that were there by their workers' own reports, mean of five seconds, five seconds ago.",
                actual,
            )
        yield GaugeMetricFamily("tokenswarm_requests_in_flight", "Requests sent and not ended.", aggregator.in_flight)
        yield from self._request_rates(aggregator)
        ended = self._live.status is not Status.RUNNING
        verdict = run_validity(aggregator, self._live.server, self._live.defect(), ended=ended).verdict
        suspect = verdict != "valid"
        yield GaugeMetricFamily("tokenswarm_suspect", "1 if there is a reason not to trust the results.", suspect)
        yield from _workers(aggregator)
        yield self._requests(facts, aggregator)
        yield self._retries(facts, aggregator)
        yield self._tokens(facts, aggregator)
        yield CounterMetricFamily(
            "tokenswarm_output_events",
            "Events with output that have arrived, those of running streams included.",
            aggregator.arrived_events,
        )
        yield from self._histograms(facts, aggregator)
        yield from self._waste(facts, aggregator)
        of_levels = ((labels, level.sessions) for labels, level in _levels(facts, aggregator))
        yield from session_metrics(_LABELS, of_levels)
        by_name = ((labels, level.mix[Scope.WHOLE].names) for labels, level in _levels(facts, aggregator))
        yield from name_metrics(_LABELS, by_name)
        yield from self._of_the_server(facts)

    def _request_rates(self, aggregator: Aggregator) -> Iterator[Metric]:
        """Nothing while no level runs."""
        rates = self._live.series.recent_request_rates(aggregator)
        for name, value in rates._asdict().items() if rates is not None else ():
            if value is not None:
                yield GaugeMetricFamily(f"tokenswarm_{name}_request_rate", _RATE_HELP[name], value)

    def _requests(self, facts: RunFacts, aggregator: Aggregator) -> Metric:
        requests = CounterMetricFamily(
            "tokenswarm_requests", "Requests that ended, by outcome.", labels=(*_LABELS, "outcome")
        )
        for labels, level in _levels(facts, aggregator):
            # Each from 0 on: rate() does not see what a counter was when first scraped, and where a second run has the
            # labels of the first, its counters must be seen to start again.
            for outcome in sorted(Outcome):
                requests.add_metric((*labels, outcome), level.scopes[Scope.WHOLE].outcomes[outcome])
        return requests

    def _retries(self, facts: RunFacts, aggregator: Aggregator) -> Metric:
        retries = CounterMetricFamily(
            "tokenswarm_retries",
            "Requests sent again because the server had closed their kept connection before it could have read them.",
            labels=_LABELS,
        )
        for labels, level in _levels(facts, aggregator):
            retries.add_metric(labels, level.scopes[Scope.WHOLE].retries)
        return retries

    def _tokens(self, facts: RunFacts, aggregator: Aggregator) -> Metric:
        tokens = CounterMetricFamily(
            "tokenswarm_output_tokens", "Output tokens of requests that ended, whatever their outcome.", labels=_LABELS
        )
        for labels, level in _levels(facts, aggregator):
            tokens.add_metric(labels, level.output_tokens)
        return tokens

    def _of_the_server(self, facts: RunFacts) -> Iterator[Metric]:
        """What the server reported last, under one name whatever its engine; nothing while it does not answer."""
        latest = self._live.server.latest
        values = {concept: latest[concept] for concept in _SERVER_GAUGES if concept in latest}
        hits, queries = latest.get("prefix_cache_hits_total"), latest.get("prefix_cache_queries_total")
        if hits is not None and queries:
            values["prefix_cache_hit_ratio"] = hits / queries
        for concept, value in values.items():
            gauge = GaugeMetricFamily(f"tokenswarm_server_{concept}", _SERVER_GAUGES[concept], labels=_LABELS[:2])
            gauge.add_metric((facts.engine, facts.model), value)
            yield gauge
        if "output_tokens_total" in latest:
            tokens = CounterMetricFamily(
                "tokenswarm_server_output_tokens", "Output tokens by the server's own count.", labels=_LABELS[:2]
            )
            tokens.add_metric((facts.engine, facts.model), latest["output_tokens_total"])
            yield tokens

    def _waste(self, facts: RunFacts, aggregator: Aggregator) -> Iterator[Metric]:
        """Of levels that are over, what the server went on to do for requests that users had left, where it is
        known."""
        if aggregator.abandonment is None:
            return
        families = [GaugeMetricFamily(f"tokenswarm_{name}", text, labels=_LABELS) for name, text in _WASTE_HELP]
        for labels, level in _levels(facts, aggregator):
            figures = abandon_figures(level, self._live.now_s(), self._live.server)
            if figures is None or figures.waste is None:
                continue
            for family, value in zip(families, (figures.waste.seconds_per_request, figures.waste.tokens)):
                if value is not None:
                    family.add_metric(labels, value)
        yield from families

    def _histograms(self, facts: RunFacts, aggregator: Aggregator) -> Iterator[Metric]:
        for field, bounds in EXPOSED.items():
            name, text = _HELP[field]
            family = HistogramMetricFamily(name, text, labels=_LABELS)
            for labels, level in _levels(facts, aggregator):
                histogram = getattr(level.scopes[Scope.WHOLE], field)
                family.add_metric(labels, cumulative_counts(histogram, bounds), histogram.sum)
            yield family


def _workers(aggregator: Aggregator) -> Iterator[Metric]:
    use = GaugeMetricFamily(
        "tokenswarm_worker_cpu_utilization", "Share of one core that a worker used lately.", labels=("worker",)
    )
    lag = HistogramMetricFamily(
        "tokenswarm_loop_lag_seconds", "How late a worker's event loop notices what happens.", labels=("worker",)
    )
    for number, worker in sorted(aggregator.workers.items()):
        if (lately := worker.latest_use.utilization) is not None:
            use.add_metric((str(number),), lately)
        lag.add_metric((str(number),), cumulative_counts(worker.loop_lag_s, CLIENT_DELAY_S), worker.loop_lag_s.sum)
    yield use
    yield lag


def _levels(facts: RunFacts, aggregator: Aggregator) -> Iterator[tuple[tuple[str, ...], LevelStats]]:
    for level in measured_levels(aggregator).values():
        yield (facts.engine, facts.model, level.level.system_prompt, level.level.name), level


def metrics_host_error(host: str, why: str) -> str:
    """A sentence on an address that this machine does not have."""
    return (
        f"--metrics-host {host} is no address on which this machine can serve its metrics ({why}): give one of its "
        "own, or leave the option out."
    )


def serve(live: LiveRun, host: str, port: int, next_ports: Sequence[int] = ()) -> WSGIServer:
    """Serve /metrics in this process's gevent hub, on `port` or the first free one of `next_ports`. Raises
    MetricsPortError if none can be had."""
    if why := why_no_address(host):
        raise MetricsPortError(metrics_host_error(host, why))
    registry = CollectorRegistry()
    registry.register(RunCollector(live))
    app = ScrapeGuard(make_wsgi_app(registry), host)
    reason = ""
    for candidate in (port, *next_ports):
        server = WSGIServer((host, candidate), app, log=None)
        try:
            server.start()
        except OSError as error:
            reason = reason or (os.strerror(error.errno) if error.errno else str(error))
        else:
            return server
    raise MetricsPortError(
        f"the metrics port {host}:{port} cannot be had ({reason}); choose another with --metrics-port, or 0 for none."
    )
