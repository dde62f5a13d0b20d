"""Where OTLP data goes: the URL of a receiver, and what the standard variables of OpenTelemetry add to it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from tokenswarm.run_folder.reader import ReportError
from tokenswarm.sanitize import shown

_EXAMPLE = "like http://collector:4318"
_HEADERS, _CERTIFICATE, _TIMEOUT = (f"OTEL_EXPORTER_OTLP_{name}" for name in ("HEADERS", "CERTIFICATE", "TIMEOUT"))
#: Of one request, in seconds; receivers may write to a disk.
_DEFAULT_TIMEOUT_S = 30.0


class OtlpEndpoint(NamedTuple):
    """metrics, traces: the URL of each, None for one that is not sent. certificate: a file of authorities, "" for the
    usual ones."""

    metrics: str | None
    traces: str | None
    headers: Mapping[str, str] = {}
    certificate: str = ""
    timeout_s: float = _DEFAULT_TIMEOUT_S


def parse_endpoint(text: str, environment: Mapping[str, str]) -> OtlpEndpoint:
    """The endpoint of a URL: of one that ends with /v1/metrics or /v1/traces only these, else of both below it. Raises
    ReportError."""
    metrics, traces = _urls(text)
    return OtlpEndpoint(
        metrics,
        traces,
        _headers(environment.get(_HEADERS, "")),
        environment.get(_CERTIFICATE, ""),
        _timeout_s(environment.get(_TIMEOUT, "")),
    )


def _urls(text: str) -> tuple[str | None, str | None]:
    try:
        url = urlsplit(text)
        is_usable = url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0
    except ValueError:
        is_usable = False
    if not is_usable:
        raise ReportError(f"--to otlp takes the URL of a receiver of OTLP over HTTP, {_EXAMPLE}; it was {shown(text)}.")
    if url.username or url.password or url.query or url.fragment:
        raise ReportError(
            f"The URL of --to otlp must hold no credentials and no query: give credentials in {_HEADERS}, like "
            "authorization=Bearer%20TOKEN."
        )
    base = text.rstrip("/")
    if base.endswith("/v1/metrics"):
        return base, None
    if base.endswith("/v1/traces"):
        return None, base
    return f"{base}/v1/metrics", f"{base}/v1/traces"


def _headers(text: str) -> dict[str, str]:
    """As the specification has them: `name=value,name=value`, URL-encoded."""
    headers = {}
    for pair in text.split(","):
        name, equals, value = (unquote(part).strip() for part in pair.partition("="))
        if not pair.strip():
            continue
        if not equals or not name or not name.isascii() or not (name + value).isprintable():
            raise ReportError(f"{_HEADERS} must be like name=value,name=value; one of its pairs is not.")
        headers[name] = value
    return headers


def _timeout_s(text: str) -> float:
    """The variable is in milliseconds."""
    try:
        timeout_s = float(text) / 1e3 if text else _DEFAULT_TIMEOUT_S
    except ValueError:
        timeout_s = 0.0
    if not 0 < timeout_s < 86_400:
        raise ReportError(f"{_TIMEOUT} must be a number of milliseconds, like 30000; it was {shown(text)}.")
    return timeout_s
