"""Attributes of OTLP data: of the run, of a level, and of the server. Names are those of OpenTelemetry's conventions
where they have one, and begin with `tokenswarm.` where they have none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from tokenswarm.run_folder.reader import Results
from tokenswarm.run_folder.schema import LevelSummary

#: Of the conventions whose names are used.
SCHEMA_URL = "https://opentelemetry.io/schemas/1.41.0"
SCOPE_NAME = "tokenswarm"
Attributes = Mapping[str, str | int | float | bool | Sequence[str] | None]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_PORTS = {"http": 80, "https": 443}


def ns_of(moment: datetime) -> int:
    """Nanoseconds since 1970. A moment of a folder without a time zone is UTC."""
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return (moment - _EPOCH) // timedelta(microseconds=1) * 1000


def key_values(attributes: Attributes) -> list[Any]:
    """As OTLP has them. Those that are None or empty are left out."""
    from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue

    found = []
    for key, value in attributes.items():
        if value is None or value == "":
            continue
        if isinstance(value, bool):
            any_value = AnyValue(bool_value=value)
        elif isinstance(value, str):
            any_value = AnyValue(string_value=value)
        elif isinstance(value, int):
            any_value = AnyValue(int_value=value)
        elif isinstance(value, float):
            any_value = AnyValue(double_value=value)
        else:
            any_value = AnyValue(array_value=ArrayValue(values=[AnyValue(string_value=text) for text in value]))
        found.append(KeyValue(key=key, value=any_value))
    return found


def resource(results: Results) -> Any:
    """What all data of a run is of: Tokenswarm, and the run that it made."""
    from opentelemetry.proto.resource.v1.resource_pb2 import Resource

    run = results.run
    attributes: dict[str, Any] = {
        "service.name": SCOPE_NAME,
        "service.version": run.tokenswarm_version,
        "service.instance.id": run_id(results),
        "tokenswarm.run.id": run_id(results),
        "tokenswarm.run.name": run.name,
        "tokenswarm.run.status": results.status.value,
        "tokenswarm.run.validity": results.summary.validity.verdict,
        "tokenswarm.engine.name": run.engine,
        "tokenswarm.engine.version": run.engine_version,
        "tokenswarm.host": run.host,
    }
    attributes |= {f"tokenswarm.run.tag.{key}": value for key, value in run.tags.items()}
    return Resource(attributes=key_values(attributes))


def scope(results: Results) -> Any:
    """What made the data."""
    from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope

    return InstrumentationScope(name=SCOPE_NAME, version=results.run.tokenswarm_version)


def run_id(results: Results) -> str:
    """The name of the run's folder, by which all files and reports call it."""
    return results.folder.resolve().name


def operation(results: Results) -> str:
    """The conventions' name of what the requests were."""
    return "text_completion" if results.run.requests.get("endpoint") == "completions" else "chat"


def request_attributes(results: Results, model: str | None, host: str | None) -> dict[str, Any]:
    """What the conventions have each metric and span of a model's client say."""
    return {
        "gen_ai.operation.name": operation(results),
        "gen_ai.provider.name": results.run.engine,
        "gen_ai.request.model": model,
        **_server(host),
    }


def level_attributes(results: Results, level: LevelSummary) -> dict[str, Any]:
    """Of the metrics of a level. The run's own stand here again: many stores keep no others beside a metric."""
    open_loop = level.open_loop is not None
    return {
        "tokenswarm.run.id": run_id(results),
        "tokenswarm.run.name": results.run.name,
        "tokenswarm.level.name": level.level,
        "tokenswarm.level.index": level.index,
        "tokenswarm.level.users": None if open_loop else level.users,
        "tokenswarm.level.rate": float(level.load) if open_loop else None,
        "tokenswarm.system_prompt": level.system_prompt,
        "tokenswarm.engine.name": results.run.engine,
        **request_attributes(results, results.run.model, results.run.host),
    }


def _server(host: str | None) -> dict[str, Any]:
    """server.address and server.port, empty where the host is no URL."""
    try:
        url = urlsplit(host or "")
        port = url.port or _PORTS.get(url.scheme)
    except ValueError:
        return {}
    return {"server.address": url.hostname, "server.port": port} if url.hostname else {}
