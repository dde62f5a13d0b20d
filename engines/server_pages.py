"""What a server answers to GETs, each path requested once, and how JSON of unknown shape is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec

#: The list of models of every server that speaks OpenAI's protocol.
MODELS = "/v1/models"
#: The metrics of every server that has them for Prometheus.
METRICS = "/metrics"


@dataclass(frozen=True, slots=True)
class GetResponse:
    """A response to a GET. Names of headers are lower-case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


#: GETs a path; None where no response came.
Fetch = Callable[[str], GetResponse | None]
Kind = TypeVar("Kind", list[Any], dict[str, Any])


class ServerPages:
    """The pages of one server."""

    def __init__(self, fetch: Fetch) -> None:
        self._fetch = fetch
        self._responses: dict[str, GetResponse | None] = {}

    def get(self, path: str) -> GetResponse | None:
        """The response to a GET of the path, None where none came."""
        if path not in self._responses:
            self._responses[path] = self._fetch(path)
        return self._responses[path]

    def status(self, path: str) -> int:
        """The HTTP status of the path, 0 where no response came."""
        response = self.get(path)
        return response.status if response else 0

    def json(self, path: str) -> Any:
        """The JSON document of a response with status 200, None where there is none."""
        response = self.get(path)
        return json_document(response.body) if response and response.status == 200 else None

    def text(self, path: str) -> str:
        """The text of a response with status 200, "" where there is none."""
        response = self.get(path)
        return response.body.decode("utf-8", "replace") if response and response.status == 200 else ""

    @property
    def alive(self) -> bool:
        """Whether any response has come."""
        return any(self._responses.values())

    @property
    def responses(self) -> list[tuple[str, GetResponse]]:
        """(path, response) of every response so far."""
        return [(path, response) for path, response in self._responses.items() if response]

    def listed_models(self) -> list[dict[str, Any]]:
        """The entries of the list of models."""
        return [model for model in member(self.json(MODELS), "data", list) if isinstance(model, dict)]

    def routes(self) -> dict[str, Any]:
        """The paths of the server's OpenAPI document."""
        return member(self.json("/openapi.json"), "paths", dict)


def member(document: Any, key: str, kind: type[Kind]) -> Kind:
    """The list or dictionary that a JSON object has at a key; an empty one where it has none of that kind."""
    value = document.get(key) if isinstance(document, dict) else None
    return value if isinstance(value, kind) else kind()


def text_member(document: Any, key: str) -> str | None:
    """The text that a JSON object has at a key, None where it has none."""
    value = document.get(key) if isinstance(document, dict) else None
    return value if isinstance(value, str) else None


def names_of(entries: list[Any], key: str) -> list[str]:
    """The texts that the entries have at a key."""
    return [name for entry in entries if (name := text_member(entry, key)) is not None]


def json_document(body: bytes) -> Any:
    """The JSON document of a body, None where it is no JSON."""
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
