"""The metrics of a run as OTLP has them: a data point of each level and metric, of the hold of the level.

The points are cumulative from the beginning of the hold to its end: every store takes these, and as each level has
attributes of its own, a point is all there is of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import isfinite
from typing import Any

from tokenswarm.metrics.timeline import Outcome
from tokenswarm.reports.services.level_times import HoldTime, hold_time
from tokenswarm.reports.services.otlp_attributes import SCHEMA_URL, key_values, level_attributes, resource, scope
from tokenswarm.reports.services.recorded_histograms import RecordedHistogram, recorded_histograms
from tokenswarm.reports.services.request_histograms import BoundedHistogram, RequestHistograms, request_histograms
from tokenswarm.run_folder.csv_reader import load_windows
from tokenswarm.run_folder.reader import Results
from tokenswarm.run_folder.schema import Figures, LevelSummary

#: By the figure of histograms.csv: (name, unit, what it is).
RECORDED = {
    "ttft_s": ("tokenswarm.ttft", "s", "Time from sending a request to its first output."),
    "tpot_s": ("tokenswarm.tpot", "s", "Time per output token after the first."),
    "gap_s": ("tokenswarm.gap", "s", "Time between successive arrivals of output."),
    "e2e_s": ("tokenswarm.e2e", "s", "Time from sending a request to its last output."),
    "request_token_rate": ("tokenswarm.request_token_rate", "{token}/s", "Token rate of one request: 1 / TPOT."),
    "client_delay_s": ("tokenswarm.client_delay", "s", "Time from the kernel's receive time to the read."),
}
#: (name, unit, what it is, its value of a level's hold).
GAUGES: tuple[tuple[str, str, str, Callable[[Figures], float | None]], ...] = (
    ("tokenswarm.token_rate", "{token}/s", "Output tokens per second of all users.", lambda hold: hold.token_rate),
    (
        *("tokenswarm.good_token_rate", "{token}/s", "The same without those of failed requests."),
        lambda hold: hold.good_token_rate,
    ),
    ("tokenswarm.request_rate", "{request}/s", "Ok requests per second.", lambda hold: hold.request_rate),
    (
        *("tokenswarm.goodput", "{request}/s", "Requests within every objective per second."),
        lambda hold: hold.goodput.requests_per_s if hold.goodput else None,
    ),
    (
        *("tokenswarm.goodput_share", "1", "Share of the requests that met every objective."),
        lambda hold: hold.goodput.fraction if hold.goodput else None,
    ),
)
REQUESTS = ("tokenswarm.requests", "{request}", "Requests that were sent, by outcome.")
DURATION = ("gen_ai.client.operation.duration", "s", "GenAI operation duration.")
FIRST_CHUNK = ("gen_ai.client.operation.time_to_first_chunk", "s", "Time to receive the first chunk.")
TOKENS = ("gen_ai.client.token.usage", "{token}", "Number of input and output tokens used.")
_Point = tuple[tuple[str, str, str], Any]


def metrics_of(results: Results) -> tuple[Any, int]:
    """(The request that exports all metrics of a run, how many data points it has.) Raises ReportError."""
    from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
    from opentelemetry.proto.metrics.v1.metrics_pb2 import ResourceMetrics, ScopeMetrics

    points: dict[tuple[str, str, str], list[Any]] = {}
    for named, point in _points(results):
        points.setdefault(named, []).append(point)
    of_scope = ScopeMetrics(
        scope=scope(results),
        schema_url=SCHEMA_URL,
        metrics=[_metric(named, of_metric) for named, of_metric in points.items()],
    )
    of_resource = ResourceMetrics(resource=resource(results), schema_url=SCHEMA_URL, scope_metrics=[of_scope])
    return ExportMetricsServiceRequest(resource_metrics=[of_resource]), sum(map(len, points.values()))


def _points(results: Results) -> Iterator[_Point]:
    windows = load_windows(results)
    recorded, of_requests = recorded_histograms(results), request_histograms(results)
    for level in results.summary.levels:
        time, attributes = hold_time(results, windows, level), level_attributes(results, level)
        yield from _numbers(level, time, attributes)
        for figure, histogram in recorded.get(level.index, {}).items():
            yield RECORDED[figure], _recorded_point(histogram, time, attributes)
        yield from _convention_points(of_requests.get(level.index, RequestHistograms()), time, attributes)


def _numbers(level: LevelSummary, time: HoldTime, attributes: dict[str, Any]) -> Iterator[_Point]:
    for name, unit, text, value_of in GAUGES:
        if (value := value_of(level.hold)) is not None:
            yield (name, unit, text), _number(time, attributes, as_double=float(value))
    for outcome, count in level.hold.outcomes.items():
        yield REQUESTS, _number(time, attributes | {"tokenswarm.outcome": outcome}, as_int=count)


def _convention_points(counted: RequestHistograms, time: HoldTime, attributes: dict[str, Any]) -> Iterator[_Point]:
    for outcome, histogram in counted.durations_s.items():
        error = {} if outcome == Outcome.OK.value else {"error.type": outcome}
        yield DURATION, _bounded_point(histogram, time, attributes | error)
    if isfinite(counted.first_chunk_s.min):
        yield FIRST_CHUNK, _bounded_point(counted.first_chunk_s, time, attributes)
    for kind, histogram in counted.tokens.items():
        if isfinite(histogram.min):
            yield TOKENS, _bounded_point(histogram, time, attributes | {"gen_ai.token.type": kind})


def _metric(named: tuple[str, str, str], points: list[Any]) -> Any:
    from opentelemetry.proto.metrics.v1.metrics_pb2 import (
        AggregationTemporality,
        Gauge,
        Histogram,
        HistogramDataPoint,
        Metric,
        Sum,
    )

    name, unit, text = named
    cumulative = AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE
    if isinstance(points[0], HistogramDataPoint):
        data: dict[str, Any] = {"histogram": Histogram(data_points=points, aggregation_temporality=cumulative)}
    elif named == REQUESTS:
        data = {"sum": Sum(data_points=points, aggregation_temporality=cumulative, is_monotonic=True)}
    else:
        data = {"gauge": Gauge(data_points=points)}
    return Metric(name=name, unit=unit, description=text, **data)


def _number(time: HoldTime, attributes: dict[str, Any], **value: Any) -> Any:
    from opentelemetry.proto.metrics.v1.metrics_pb2 import NumberDataPoint

    return NumberDataPoint(**_of_point(time, attributes), **value)


def _recorded_point(histogram: RecordedHistogram, time: HoldTime, attributes: dict[str, Any]) -> Any:
    from opentelemetry.proto.metrics.v1.metrics_pb2 import HistogramDataPoint

    values = histogram.values
    total = None if values.mean is None else values.mean * values.count
    known: dict[str, Any] = {"sum": total, "min": values.min, "max": values.max}  # None: left out
    return HistogramDataPoint(
        **_of_point(time, attributes),
        count=sum(histogram.counts),
        bucket_counts=histogram.counts,
        explicit_bounds=histogram.bounds,
        **known,
    )


def _bounded_point(histogram: BoundedHistogram, time: HoldTime, attributes: dict[str, Any]) -> Any:
    from opentelemetry.proto.metrics.v1.metrics_pb2 import HistogramDataPoint

    return HistogramDataPoint(
        **_of_point(time, attributes),
        count=sum(histogram.counts),
        sum=histogram.sum,
        min=histogram.min,
        max=histogram.max,
        bucket_counts=histogram.counts,
        explicit_bounds=histogram.bounds,
    )


def _of_point(time: HoldTime, attributes: dict[str, Any]) -> dict[str, Any]:
    return {
        "attributes": key_values(attributes),
        "start_time_unix_nano": time.began_ns,
        "time_unix_nano": time.ended_ns,
    }
