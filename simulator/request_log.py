"""A log of requests as they came: one JSON object a line, with headers (keys and tokens among them) and body."""

from __future__ import annotations

import hashlib
import json
import re
from base64 import b64decode
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tokenswarm.simulator.errors import SimulatorError, check_log

if TYPE_CHECKING:  # it needs selectors that gevent takes away
    from tokenswarm.simulator.connection import Request

_DATA_URL = re.compile(r"data:(?P<media_type>[\w.+-]+/[\w.+-]+);base64,")


class RequestLog:
    """Appends each request to a file, which is emptied first. At the first request that cannot be written, `on_failure`
    receives one sentence, and no more are written."""

    def __init__(self, path: Path, on_failure: Callable[[str], None] | None = None) -> None:
        """Raises SimulatorError where the file cannot be written."""
        check_log("--request-log", path)
        self._path = path
        self._on_failure = on_failure
        try:
            self._file = path.open("w", encoding="utf-8")
        except OSError as error:
            raise SimulatorError(f"--request-log: {path} cannot be written ({error.strerror or error}).") from error

    def write(self, request: Request) -> None:
        """Log method, path, query, headers and body; a body that is no JSON is logged as text, and a data URL as an
        object of its media type, size and SHA-256. Nothing is, once a request could not be written."""
        if self._file.closed:
            return
        row = {
            "method": request.method,
            "path": request.path,
            "query": request.query,
            "headers": request.headers,
            "body": _body(request.body),
        }
        try:
            self._file.write(json.dumps(row) + "\n")
            self._file.flush()
        except OSError as error:
            self.close()
            if self._on_failure is not None:
                reason = error.strerror or error
                self._on_failure(f"the request log {self._path} ends here: {reason}; the server goes on.")

    def close(self) -> None:
        """Close the file. What a full disk did not take is lost."""
        with suppress(OSError):
            self._file.close()


def _body(body: bytes) -> Any:
    if not body:
        return None
    try:
        return _without_data_urls(json.loads(body))
    except (ValueError, RecursionError):
        return body.decode("utf-8", "replace")


def _without_data_urls(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_data_urls(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_without_data_urls(each) for each in value]
    if not isinstance(value, str) or (found := _DATA_URL.match(value)) is None:
        return value
    try:
        content = b64decode(value[found.end() :], validate=True)
    except ValueError:
        return value
    digest = hashlib.sha256(content).hexdigest()
    return {"media_type": found["media_type"], "size_bytes": len(content), "sha256": digest}
