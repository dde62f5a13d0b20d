"""Sends OTLP messages over HTTP as protobuf, and reads what the receiver accepted.

OpenTelemetry's own exporters answer with success or failure alone, and do not read which part of a message a receiver
rejected; so the messages are OpenTelemetry's, and the request is made here.
"""

from __future__ import annotations

import gzip
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from tokenswarm.reports.services.export_errors import ExportFailed, cause_of
from tokenswarm.reports.services.otlp_endpoint import OtlpEndpoint
from tokenswarm.sanitize import server_text, shown

#: Statuses after which the specification has a client send again.
_RETRIED = frozenset((429, 502, 503, 504))
_WAITS_S = (1.0, 2.0, 4.0, 8.0)
_LONGEST_WAIT_S = 30.0
_MOST_CHARACTERS = 300
_OK = range(200, 300)


class OtlpSender:
    """One connection to a receiver. rejected: how many data points or spans it rejected; reason: the last reason that
    it gave, also where it rejected none."""

    def __init__(self, endpoint: OtlpEndpoint, sleep: Callable[[float], None] = time.sleep) -> None:
        import requests

        self.rejected = 0
        self.reason = ""
        self._endpoint = endpoint
        self._sleep = sleep
        self._requests: Any = requests
        self._session: Any = requests.Session()
        self._session.headers.update(endpoint.headers)
        self._session.headers.update({"Content-Type": "application/x-protobuf", "Content-Encoding": "gzip"})

    def send(self, url: str, message: Any, response_type: Any) -> None:
        """Send a message, again where the receiver is busy. response_type: the message that it answers with. Raises
        ExportFailed."""
        body = gzip.compress(message.SerializeToString(), compresslevel=1)
        for wait_s in (*_WAITS_S, None):
            response = self._post(url, body)
            if response.status_code not in _RETRIED or wait_s is None:
                break
            self._sleep(_retry_after_s(response.headers.get("Retry-After", "")) or wait_s)
        if response.status_code not in _OK:
            raise ExportFailed(_refusal(url, response.status_code, _error_message(response, response_type)))
        self._read_answer(url, response, response_type)

    def close(self) -> None:
        """Close the connection."""
        self._session.close()

    def _post(self, url: str, body: bytes) -> Any:
        try:
            return self._session.post(
                url,
                data=body,
                timeout=self._endpoint.timeout_s,
                allow_redirects=False,
                # Of the session, a variable such as REQUESTS_CA_BUNDLE would come before it.
                verify=self._endpoint.certificate or True,
            )
        except self._requests.exceptions.SSLError as error:
            raise ExportFailed(
                f"the certificate of {_address(url)} is not trusted ({cause_of(error)}); give the file of its "
                "authority in OTEL_EXPORTER_OTLP_CERTIFICATE."
            ) from None
        except self._requests.exceptions.Timeout:
            raise ExportFailed(
                f"{_address(url)} did not answer within {self._endpoint.timeout_s:g} s; OTEL_EXPORTER_OTLP_TIMEOUT "
                "sets another time, in milliseconds."
            ) from None
        except (self._requests.RequestException, OSError) as error:
            raise ExportFailed(
                f"{_address(url)} cannot be reached ({cause_of(error)}); is a receiver of OTLP over HTTP there? Its "
                "port is usually 4318."
            ) from None

    def _read_answer(self, url: str, response: Any, response_type: Any) -> None:
        """An empty body is a complete success, as is one that is no protobuf: some gateways answer with text."""
        if "protobuf" not in response.headers.get("Content-Type", ""):
            return
        answer = _decoded(response_type, response.content)
        if answer is None:
            raise ExportFailed(f"{_address(url)} answered with something other than OTLP; is it a receiver of OTLP?")
        partial = answer.partial_success
        counts = [value for field, value in partial.ListFields() if field.name.startswith("rejected_")]
        self.rejected += sum(counts)
        self.reason = server_text(partial.error_message, _MOST_CHARACTERS) or self.reason


def _decoded(kind: Any, data: bytes) -> Any:
    from google.protobuf.message import DecodeError

    try:
        return kind.FromString(data)
    except DecodeError:
        return None


def _error_message(response: Any, response_type: Any) -> str:
    """What the receiver gives as its reason: a google.rpc.Status, whose fields have the numbers and types of a partial
    success, or text."""
    if "protobuf" in response.headers.get("Content-Type", ""):
        status = _decoded(type(response_type().partial_success), response.content)
        return server_text(status.error_message, _MOST_CHARACTERS) if status is not None else ""
    text = response.content[: 4 * _MOST_CHARACTERS].decode(errors="replace").strip()
    is_page = text.startswith("<")
    return server_text(text.splitlines()[0], _MOST_CHARACTERS) if text and not is_page else ""


def _refusal(url: str, status: int, message: str) -> str:
    said = f": {message.rstrip('.')}" if message else ""
    if status in (401, 403):
        return f"{_address(url)} refused access ({status}{said}); give credentials in OTEL_EXPORTER_OTLP_HEADERS."
    if status == 404:
        return f"{shown(url)} is not there (404{said}); give the URL that /v1/metrics and /v1/traces are below."
    return f"{shown(url)} rejected the data ({status}{said})."


def _retry_after_s(text: str) -> float:
    """0 where there is none, or where it is a date."""
    return min(float(text), _LONGEST_WAIT_S) if text.strip().isdecimal() else 0.0


def _address(url: str) -> str:
    parts = urlsplit(url)
    return shown(f"{parts.scheme}://{parts.netloc}")
