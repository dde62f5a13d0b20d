"""The requests of a run as spans: one of each row of requests.csv, in batches."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

from tokenswarm.metrics.timeline import Outcome
from tokenswarm.metrics.trace_context import span_id_of
from tokenswarm.reports.services.otlp_attributes import (
    SCHEMA_URL,
    key_values,
    ns_of,
    operation,
    request_attributes,
    resource,
    scope,
)
from tokenswarm.reports.services.request_histograms import ESTIMATE, unusable_row
from tokenswarm.run_folder.csv_reader import read_rows
from tokenswarm.run_folder.reader import Results

#: Some 300 kB, as receivers accept.
SPANS_PER_MESSAGE = 512
#: Events of a span. The second is left out where the first token is visible.
FIRST_TOKEN, FIRST_VISIBLE_TOKEN, LAST_TOKEN = (
    f"tokenswarm.{name}" for name in ("first_token", "first_visible_token", "last_token")
)
_TEXT = (
    *("id", "system_prompt", "level", "phase", "outcome", "output_tokens_source", "prompt_tokens_source"),
    *("finish_reason", "error", "custom_id", "server_request_id", "trace_id", "model", "host", "session", "name"),
)
_DURATIONS = (
    *("connect_ms", "headers_ms", "ttft_ms", "ttfvt_ms", "tpot_ms", "e2e_ms", "duration_ms"),
    *("first_event_ms", "last_event_ms", "abandoned_ms"),
)
_NUMBERS = (
    *("level_index", "status", "scheduled_s", "sent_s", "output_tokens", "prompt_tokens", "cached_tokens", "retries"),
    *("turn", *_DURATIONS),
)
_NO_FAILURES = frozenset(outcome.value for outcome in Outcome if not outcome.is_failure)
#: What a request without a proper end is known to have lasted: until its user left, or until the last that arrived.
_LAST_KNOWN = ("last_event_ms", "e2e_ms", "first_event_ms", "ttft_ms", "headers_ms")


class SpanBuilder:
    """Makes a span of a row. Ids of requests without a trace of their own follow from the run and the request, so that
    a run that is exported again gives the same spans."""

    def __init__(self, results: Results) -> None:
        from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

        self._span, self._status = Span, Status
        self._results = results
        self._began_ns = ns_of(results.run.started_at)
        self._run = f"{results.run.started_at.isoformat()} {results.run.run_id}"
        self._operation = operation(results)
        #: By model and host: few, and the same for many requests.
        self._common: dict[tuple[str, str], tuple[str, list[Any]]] = {}

    def span(self, row: dict[str, Any]) -> Any:
        """Of a row of requests.csv, by its names."""
        began_ns = self._began_ns + round(row["sent_s"] * 1e9)
        trace_id = self._trace_id(row)
        name, attributes = self._of_server(row["model"] or "", row["host"] or "")
        return self._span(
            trace_id=bytes.fromhex(trace_id),
            span_id=bytes.fromhex(span_id_of(trace_id)),
            name=name,
            kind=self._span.SPAN_KIND_CLIENT,
            start_time_unix_nano=began_ns,
            end_time_unix_nano=began_ns + _ns(_lasted_ms(row)),
            attributes=[*attributes, *key_values(_attributes(row))],
            events=[
                self._span.Event(time_unix_nano=began_ns + _ns(at_ms), name=event) for event, at_ms in _events(row)
            ],
            status=self._status_of(row),
        )

    def _trace_id(self, row: dict[str, Any]) -> str:
        recorded: str = row["trace_id"] or ""
        if len(recorded) == 32 and all(digit in "0123456789abcdef" for digit in recorded):
            return recorded
        return hashlib.sha256(f"{self._run} {row['id']}".encode()).hexdigest()[:32]

    def _of_server(self, model: str, host: str) -> tuple[str, list[Any]]:
        if (model, host) not in self._common:
            run = self._results.run
            attributes = request_attributes(self._results, model or run.model, host or run.host)
            name = f"{self._operation} {model or run.model or ''}".strip()
            self._common[model, host] = name, key_values(attributes)
        return self._common[model, host]

    def _status_of(self, row: dict[str, Any]) -> Any:
        """Unset for what is no failure, as the conventions have it. An outcome of a newer version is one."""
        if not is_failure(row["outcome"]):
            return None
        return self._status(code=self._status.STATUS_CODE_ERROR, message=row["error"] or row["outcome"] or "")


def is_failure(outcome: str | None) -> bool:
    return outcome not in _NO_FAILURES


def span_messages(results: Results) -> Iterator[tuple[Any, int]]:
    """(A request that exports some spans of a run, how many.) Raises ReportError."""
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
    from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans

    of_run, of_scope = resource(results), scope(results)
    for spans in _batches(results):
        scope_spans = ScopeSpans(scope=of_scope, schema_url=SCHEMA_URL, spans=spans)
        resource_spans = ResourceSpans(resource=of_run, schema_url=SCHEMA_URL, scope_spans=[scope_spans])
        yield ExportTraceServiceRequest(resource_spans=[resource_spans]), len(spans)


def _batches(results: Results) -> Iterator[list[Any]]:
    builder, names = SpanBuilder(results), [*_TEXT, *_NUMBERS]
    spans: list[Any] = []
    for block in read_rows(results.folder / "requests.csv", names, text=_TEXT):
        for values in zip(*(block[name] for name in names), strict=True):
            row = dict(zip(names, values, strict=True))
            if row["sent_s"] is None:  # it was never sent
                continue
            try:
                spans.append(builder.span(row))
            except (ValueError, OverflowError, TypeError):
                raise unusable_row(results, row["id"]) from None
            if len(spans) == SPANS_PER_MESSAGE:
                yield spans
                spans = []
    if spans:
        yield spans


def _attributes(row: dict[str, Any]) -> dict[str, Any]:
    scheduled_s = row["scheduled_s"]
    return {
        "gen_ai.usage.input_tokens": _count(row["prompt_tokens"], row["prompt_tokens_source"]),
        "gen_ai.usage.output_tokens": _count(row["output_tokens"], row["output_tokens_source"]),
        "gen_ai.usage.cache_read.input_tokens": _count(row["cached_tokens"]),
        "gen_ai.response.time_to_first_chunk": _s(row["first_event_ms"]),
        "gen_ai.response.finish_reasons": [row["finish_reason"]] if row["finish_reason"] else None,
        "gen_ai.conversation.id": row["session"],
        "http.response.status_code": _count(row["status"]),
        "error.type": row["outcome"] if is_failure(row["outcome"]) else None,
        "tokenswarm.request.id": row["id"],
        "tokenswarm.request.name": row["name"],
        "tokenswarm.request.turn": _count(row["turn"]),
        "tokenswarm.request.custom_id": row["custom_id"],
        "tokenswarm.request.server_id": row["server_request_id"],
        "tokenswarm.request.retries": _count(row["retries"]) or None,
        "tokenswarm.level.name": row["level"],
        "tokenswarm.level.index": _count(row["level_index"]),
        "tokenswarm.phase": row["phase"],
        "tokenswarm.system_prompt": row["system_prompt"],
        "tokenswarm.outcome": row["outcome"],
        "tokenswarm.ttft": _s(row["ttft_ms"]),
        "tokenswarm.tpot": _s(row["tpot_ms"]),
        "tokenswarm.e2e": _s(row["e2e_ms"]),
        "tokenswarm.connect": _s(row["connect_ms"]) or None,
        "tokenswarm.lag": None if scheduled_s is None or row["sent_s"] == scheduled_s else row["sent_s"] - scheduled_s,
    }


def _events(row: dict[str, Any]) -> Iterator[tuple[str, float]]:
    """(name, milliseconds since the request was sent)."""
    if row["ttft_ms"] is not None:
        yield FIRST_TOKEN, row["ttft_ms"]
    if row["ttfvt_ms"] is not None and row["ttfvt_ms"] != row["ttft_ms"]:
        yield FIRST_VISIBLE_TOKEN, row["ttfvt_ms"]
    if row["e2e_ms"] is not None:
        yield LAST_TOKEN, row["e2e_ms"]


def _lasted_ms(row: dict[str, Any]) -> float:
    if row["duration_ms"] is not None:
        return float(row["duration_ms"])
    if row["abandoned_ms"] is not None:
        return float(row["abandoned_ms"])
    return max((row[name] for name in _LAST_KNOWN if row[name] is not None), default=0.0)


def _ns(duration_ms: float) -> int:
    return round(duration_ms * 1e6)


def _s(duration_ms: float | None) -> float | None:
    return None if duration_ms is None else duration_ms / 1e3


def _count(number: float | None, source: str | None = None) -> int | None:
    return None if number is None or source == ESTIMATE else int(number)
