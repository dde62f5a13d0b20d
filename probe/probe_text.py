"""A probe's report, as text for a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from tokenswarm.probe.probe import ProbeReport
from tokenswarm.probe.stream_trace import TOKEN_SOURCES, StreamTrace
from tokenswarm.reports import units

_INDENT = 17


def format_report(report: ProbeReport, width: int = 100) -> str:
    """Lines of at most `width` characters unless a word is longer, without a line end at the last."""
    blocks = [_who(report), _times(report), _amounts(report.trace), _options(report), _traps(report, width)]
    return "\n\n".join("\n".join(block) for block in blocks)


def _who(report: ProbeReport) -> list[str]:
    version = f" {report.version}" if report.version else ""
    gateway = f" behind {report.gateway}" if report.gateway and report.engine != "bentoml" else ""
    return [
        f"{report.host}",
        _line("engine", f"{report.engine}{version}{gateway}"),
        *(_line("", evidence) for evidence in report.evidence),
        _line("model", report.model or units.UNDEFINED),
        _line("server", report.trace.headers.get("server", units.UNDEFINED)),
        _line("metrics page", report.server_metrics or "none found"),
    ]


def _times(report: ProbeReport) -> list[str]:
    connect_costs, trace = report.connect_costs, report.trace
    return [
        f"Connecting to {'the proxy ' if connect_costs.proxy else ''}{connect_costs.address}",
        _line("name lookup", units.duration(connect_costs.name_s)),
        _line("TCP", units.duration(connect_costs.tcp_s)),
        *([_line("TLS", units.duration(connect_costs.tls_s))] if connect_costs.tls_s is not None else []),
        "",
        "One response, from sending its request",
        _line("headers", units.duration(trace.headers_s)),
        _line("first byte", units.duration(trace.first_byte_s)),
        _line("first event", units.duration(trace.first_event_s)),
        _line("first output", f"{units.duration(trace.first_output_s)}   (TTFT)"),
        _line("last output", units.duration(trace.last_output_s)),
        _line("end", units.duration(trace.end_s)),
    ]


def _amounts(trace: StreamTrace) -> list[str]:
    tokens = ", ".join(f"{trace.tokens[source]} by {source}" for source in TOKEN_SOURCES if source in trace.tokens)
    chunks = f"{units.counted(trace.http_chunks, 'HTTP chunk')}, " if trace.http_chunks is not None else ""
    events = f"{units.counted(trace.events, 'event')}, {trace.output_events} with output"
    return [
        "The response",
        _line("body", f"{units.counted(trace.body_bytes, 'byte')} in {chunks}{units.counted(trace.reads, 'read')}"),
        _line("events", events),
        _line("tokens", tokens),
        _line("prompt tokens", str(units.UNDEFINED if trace.prompt_tokens is None else trace.prompt_tokens)),
        _line("finish reason", trace.finish_reason or units.UNDEFINED),
    ]


def _options(report: ProbeReport) -> list[str]:
    return [
        "Options that the server follows",
        *(_line(option.name, f"{option.followed}: {option.because}") for option in report.options),
    ]


def _traps(report: ProbeReport, width: int) -> Iterator[str]:
    if not report.misleading:
        yield "Nothing was found that could distort a measurement of this server."
        return
    yield "What could distort a measurement of this server"
    for sentence in report.misleading:
        yield from textwrap.wrap(sentence, width, initial_indent="  - ", subsequent_indent="    ")


def _line(name: str, value: str) -> str:
    return f"  {name:<{_INDENT}}{value}"
