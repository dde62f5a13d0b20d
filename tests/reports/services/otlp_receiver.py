"""A receiver of OTLP over HTTP of the test's own: it decodes what comes, and answers as a test sets."""

from __future__ import annotations

import gzip
import ssl
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.serving import serving

PROTOBUF = "application/x-protobuf"


@dataclass
class Answer:
    """status; the body and its type; further headers."""

    status: int = 200
    body: bytes = b""
    kind: str = PROTOBUF
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Receiver:
    """url: where it is. requests: what came, decoded, in order; headers: of each request. answers: to the next
    requests; a success once there are no more."""

    url: str = ""
    requests: list[Any] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    answers: deque[Answer] = field(default_factory=deque)

    @property
    def spans(self) -> list[Any]:
        return [
            span
            for request in self.requests
            for of_resource in getattr(request, "resource_spans", ())
            for of_scope in of_resource.scope_spans
            for span in of_scope.spans
        ]

    @property
    def metrics(self) -> dict[str, Any]:
        """By name, of the only request with metrics."""
        (request,) = (each for each in self.requests if hasattr(each, "resource_metrics"))
        (of_resource,) = request.resource_metrics
        (of_scope,) = of_resource.scope_metrics
        return {metric.name: metric for metric in of_scope.metrics}

    def points(self, name: str) -> list[tuple[dict[str, Any], Any]]:
        """(attributes, data point) of a metric."""
        metric = self.metrics[name]
        return [(attributes(point), point) for point in getattr(metric, metric.WhichOneof("data")).data_points]


def attributes(holder: Any) -> dict[str, Any]:
    """By key the values, of whatever type; of an array its texts."""
    found = {}
    for pair in holder.attributes:
        kind = pair.value.WhichOneof("value")
        value = getattr(pair.value, kind)
        found[pair.key] = [each.string_value for each in value.values] if kind == "array_value" else value
    return found


@contextmanager
def receiving(tls: ssl.SSLContext | None = None) -> Iterator[Receiver]:
    pytest.importorskip("opentelemetry.proto", reason="the extra opentelemetry is not installed")
    from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    kinds = {"/v1/metrics": ExportMetricsServiceRequest, "/v1/traces": ExportTraceServiceRequest}
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            assert self.headers["Content-Type"] == PROTOBUF
            body = gzip.decompress(self.rfile.read(int(self.headers["Content-Length"])))
            receiver.paths.append(self.path)
            receiver.headers.append(dict(self.headers))
            answer = receiver.answers.popleft() if receiver.answers else Answer()
            if answer.status < 300:
                receiver.requests.append(kinds[self.path.removeprefix("/below")].FromString(body))
            self.send_response(answer.status)
            for name, value in {**answer.headers, "Content-Type": answer.kind}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    with serving(server) as url:
        receiver.url = url
        yield receiver


def rejecting(points: int, message: str) -> Answer:
    """A success of which some data points were rejected. A span's has the same numbers of fields."""
    from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse

    body = ExportMetricsServiceResponse()
    body.partial_success.rejected_data_points = points
    body.partial_success.error_message = message
    return Answer(body=body.SerializeToString())
