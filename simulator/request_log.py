"""A log of requests as they came: one JSON object a line, with headers (keys and tokens among them) and body."""

import hashlib
import json
import re
from base64 import b64decode
from pathlib import Path
from typing import Any

from tokenswarm.simulator.connection import Request
from tokenswarm.simulator.errors import SimulatorError

_DATA_URL = re.compile(r"data:(?P<media_type>[\w.+-]+/[\w.+-]+);base64,")


class RequestLog:
    """Appends each request to a file, which is emptied first."""

    def __init__(self, path: Path) -> None:
        """Raises SimulatorError where the file cannot be written."""
        try:
            self._file = path.open("w", encoding="utf-8")
        except OSError as error:
            raise SimulatorError(f"--request-log: {path} cannot be written ({error.strerror or error}).") from error

    def write(self, request: Request) -> None:
        """Log method, path, query, headers and body; a body that is no JSON is logged as text, and a data URL as an
        object of its media type, size and SHA-256."""
        row = {
            "method": request.method,
            "path": request.path,
            "query": request.query,
            "headers": request.headers,
            "body": _body(request.body),
        }
        self._file.write(json.dumps(row) + "\n")
        self._file.flush()

    def close(self) -> None:
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
