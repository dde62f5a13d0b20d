"""What requests must and must not have, beyond what the dialect's engine wants: a gateway's rules, a model's limits."""

from collections.abc import Collection, Mapping
from typing import Any

from tokenswarm.simulator.dialect import Dialect, PageResponse, Problem
from tokenswarm.simulator.dialects.requests import parse


class Requirements:
    """fields: those that are refused, dots between keys. header: the one that each request needs."""

    def __init__(self, fields: Collection[str] = (), no_system: bool = False, header: str | None = None) -> None:
        self._fields = fields
        self._no_system = no_system
        self._header = header

    def refusal(self, body: bytes, headers: Mapping[str, str], dialect: Dialect) -> PageResponse | None:
        """The answer to a request that does not fit, None for one that does."""
        if self._header and self._header.lower() not in headers:
            return PageResponse(
                b'{"error":{"message":"The header %b is missing."}}' % self._header.encode(), status=401
            )
        if not self._fields and not self._no_system:
            return None
        try:
            document = parse(body, dict[str, Any])
        except Problem:
            return None  # the dialect has its own words for it
        for name in self._fields:
            if _has(document, name.split(".")):
                return dialect.problem(Problem("value", f"Unsupported parameter: '{name}'.", name))
        if self._no_system and _has_system(document):
            return dialect.problem(Problem("value", "System role not supported", "messages"))
        return None


def _has(document: Any, path: list[str]) -> bool:
    for key in path:
        if not isinstance(document, dict) or key not in document:
            return False
        document = document[key]
    return True


def _has_system(document: Mapping[str, Any]) -> bool:
    messages = document.get("messages")
    return isinstance(messages, list) and any(
        isinstance(message, dict) and message.get("role") == "system" for message in messages
    )
