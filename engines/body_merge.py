"""How JSON fields are merged into a request body."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def merged(fields: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """The fields with the changes applied: objects are merged key by key, at any depth; null deletes a key; any other
    value replaces (JSON Merge Patch, RFC 7396). Neither argument is changed."""
    result = dict(fields)
    for name, value in changes.items():
        if value is None:
            result.pop(name, None)
        elif isinstance(value, Mapping):
            before = result.get(name)
            result[name] = merged(before if isinstance(before, Mapping) else {}, value)
        else:
            result[name] = value
    return result
