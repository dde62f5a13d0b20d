"""Exports a run to a receiver of OTLP over HTTP: its metrics, and its requests as spans."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable

from tokenswarm.reports import units
from tokenswarm.reports.services.export_errors import ExportFailed, need_extra
from tokenswarm.reports.services.otlp_endpoint import OtlpEndpoint, parse_endpoint
from tokenswarm.reports.services.otlp_metrics import metrics_of
from tokenswarm.reports.services.otlp_sender import OtlpSender
from tokenswarm.reports.services.otlp_spans import span_messages
from tokenswarm.run_folder.reader import Results
from tokenswarm.sanitize import hide, shown


def check_otlp(url: str) -> OtlpEndpoint:
    """Where the data goes. Raises ReportError where it cannot be sent, as far as that shows without a connection."""
    endpoint = parse_endpoint(url, os.environ)
    need_extra("otlp", "opentelemetry", "opentelemetry.proto")
    return endpoint


def export_otlp(results: Results, url: str, sleep: Callable[[float], None] = time.sleep) -> str:
    """Send metrics and spans. Returns what was sent, a line. Raises ReportError, ExportFailed."""
    endpoint = check_otlp(url)
    for value in endpoint.headers.values():
        hide(value, whole=True)
    sender, taken = OtlpSender(endpoint, sleep), Counter[str]()
    try:
        if endpoint.metrics:
            _send_metrics(sender, endpoint.metrics, results, taken)
        if endpoint.traces:
            _send_spans(sender, endpoint.traces, results, taken)
    except ExportFailed as error:
        already = f", after it had taken {_in_words(+taken)}" if +taken else ""
        raise ExportFailed(f"not exported to {shown(url)}{already}: {error}") from None
    finally:
        sender.close()
    reason = f": {sender.reason.rstrip('.')}" if sender.reason else ""
    if sender.rejected:
        raise ExportFailed(
            f"{shown(url)} rejected {sender.rejected:,} of {_in_words(taken)}, and took the others{reason}."
        )
    return f"{shown(url)} ({_in_words(taken)}{'; it remarks' if reason else ''}{reason})"


def _in_words(taken: Counter[str]) -> str:
    return " and ".join(units.counted(number, noun) for noun, number in taken.items())


def _send_metrics(sender: OtlpSender, url: str, results: Results, taken: Counter[str]) -> None:
    from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse

    message, points = metrics_of(results)
    sender.send(url, message, ExportMetricsServiceResponse)
    taken["data point"] += points


def _send_spans(sender: OtlpSender, url: str, results: Results, taken: Counter[str]) -> None:
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

    taken["span"] += 0
    for message, spans in span_messages(results):
        sender.send(url, message, ExportTraceServiceResponse)
        taken["span"] += spans
