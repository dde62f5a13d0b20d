"""Spans of OpenTelemetry's conventions for generative AI: one request for each span that called a model."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from tokenswarm.prompts.conversations import OtherRole
from tokenswarm.prompts.file_rows import PromptTable, Row
from tokenswarm.prompts.prompt_records import ChatMessage
from tokenswarm.prompts.row_formats import RowContent, RowError, RowFormat, content_of
from tokenswarm.prompts.tool_messages import conversation_with_tools

#: Operations that stream text from a model.
_OPERATIONS = ("chat", "generate", "text_completion")
_OPERATION = "gen_ai.operation.name"
_MESSAGES = "gen_ai.input.messages"
_FAILED = (2, "2", "ERROR", "STATUS_CODE_ERROR")
#: The first that a span has is the length of its answer in tokens.
_OUTPUT_TOKENS = ("gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens")
_INPUT_TOKENS = ("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens")
_STARTS = ("start_time", "startTimeUnixNano", "start_time_unix_nano", "startTime")
_SPAN_COLUMNS = {*_STARTS, "span_id", "spanId", "trace_id", "traceId", "context"}
#: By the attribute of a span, the field of a request body.
_BODY_FIELDS = {
    **{f"gen_ai.request.{name}": name for name in ("temperature", "top_p", "top_k", "seed")},
    **{f"gen_ai.request.{name}": name for name in ("frequency_penalty", "presence_penalty")},
    "gen_ai.request.stop_sequences": "stop",
}


class SkippedSpan(Exception):
    """A span that is no request to send. reason: the field of `LeftOut` that counts it."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def span_format(table: PromptTable) -> tuple[PromptTable, RowFormat] | None:
    """The spans of a table, one in each row, and how they are read; None where its rows are no spans."""
    names = set(table.columns)
    if "resourceSpans" in names:
        rows = table.rows
        spans = table._replace(rows=lambda used: _exported_spans(rows(used)), place="span {}".format)
        return spans, RowFormat(("resourceSpans",), _read_span)
    if _OPERATION in names or _MESSAGES in names or ("attributes" in names and names & _SPAN_COLUMNS):
        return table, RowFormat(table.columns, _read_span)
    return None


def _exported_spans(rows: Iterable[Row]) -> Iterator[Row]:
    """The spans in documents of the OTLP exporter."""
    for row in rows:
        for resource in _list(row.get("resourceSpans")):
            for scope in _list(resource.get("scopeSpans")):
                yield from _list(scope.get("spans"))


def _read_span(span: Row) -> RowContent:
    """Raises SkippedSpan, RowError, OtherRole."""
    attributes = _attributes(span)
    operation = attributes.get(_OPERATION)
    if operation not in _OPERATIONS:
        raise SkippedSpan("other_spans")
    status = span.get("status", span.get("status_code", attributes.get("otel.status_code")))
    code = status.get("code", status.get("status_code")) if isinstance(status, Mapping) else status
    if code in _FAILED:
        raise SkippedSpan("failed_spans")
    messages = _json(attributes.get(_MESSAGES))
    if not isinstance(messages, list):
        raise RowError(
            f"expected a list of messages in {_MESSAGES} of a span of operation {operation}, got "
            f"{str(messages)[:60]!r}; record spans with the content of messages"
        )
    system = _parts_text(_json(attributes.get("gen_ai.system_instructions")))
    given = {field: attributes[name] for name, field in _BODY_FIELDS.items() if attributes.get(name) is not None}
    answer_tokens = _first(attributes, _OUTPUT_TOKENS)
    given |= {} if answer_tokens is None else {"max_tokens": answer_tokens}
    given |= {"system": system} if system else {}
    content = content_of(conversation_with_tools([each for message in messages for each in _messages(message)]), given)
    unused = {
        "timestamps": _first(span, _STARTS) is not None,
        "recorded prompt lengths": _first(attributes, _INPUT_TOKENS) is not None,
        "model names": attributes.get("gen_ai.request.model") is not None,
    }
    return content._replace(unused={name: 1 for name, is_there in unused.items() if is_there})


def _messages(message: object) -> list[tuple[ChatMessage, Mapping[str, Any]]]:
    """A message of a span as those of OpenAI: each result of a tool is one of its own. Raises RowError, OtherRole."""
    if not isinstance(message, Mapping):
        raise RowError(f"expected objects in {_MESSAGES}, got {str(message)[:60]!r}")
    role = message.get("role")
    if role not in ("system", "user", "assistant", "tool"):
        raise OtherRole(str(role))
    parts = message.get("parts", message.get("content"))
    found: list[tuple[ChatMessage, Mapping[str, Any]]] = []
    calls = []
    for part in parts if isinstance(parts, list) else ():
        kind = part.get("type") if isinstance(part, Mapping) else None
        if kind == "tool_call":
            calls.append(_tool_call(part))
        elif kind == "tool_call_response":
            result = part.get("response", part.get("result"))
            found.append((ChatMessage("tool", _as_text(result)), {"tool_call_id": str(part.get("id"))}))
    text = _parts_text(parts)
    if calls:
        found.append((ChatMessage("assistant", text), {"tool_calls": calls}))
    elif text:
        found.append((ChatMessage(role, text), {}))
    return found


def _tool_call(part: Mapping[str, Any]) -> dict[str, Any]:
    function = {"name": str(part.get("name")), "arguments": _as_text(part.get("arguments", {}))}
    return {"id": str(part.get("id")), "type": "function", "function": function}


def _parts_text(parts: object) -> str:
    if isinstance(parts, str):
        return parts.strip()
    texts = [part.get("content", part.get("text")) for part in _list(parts) if part.get("type", "text") == "text"]
    return "\n".join(text for text in texts if isinstance(text, str)).strip()


def _attributes(span: Row) -> Mapping[str, Any]:
    """The attributes by their names: an object, or the exporter's list of keys and typed values; a flat span has them
    among its own fields."""
    attributes = span.get("attributes", span)
    if isinstance(attributes, list):
        return {str(each.get("key")): _value(each.get("value")) for each in _list(attributes)}
    if not isinstance(attributes, Mapping):
        raise RowError(f"expected an object or a list in 'attributes', got {str(attributes)[:60]!r}")
    return attributes


def _value(value: object) -> Any:
    if not isinstance(value, Mapping):
        return value
    if "arrayValue" in value:
        array = value["arrayValue"]
        return [_value(each) for each in _list(array.get("values") if isinstance(array, Mapping) else None)]
    if "intValue" in value:  # 64 bits go as text
        return int(value["intValue"]) if str(value["intValue"]).lstrip("-").isdecimal() else value["intValue"]
    return next(iter(value.values()), None)


def _first(cells: Mapping[str, Any], names: Iterable[str]) -> Any:
    return next((cells[name] for name in names if cells.get(name) is not None), None)


def _list(value: object) -> list[Mapping[str, Any]]:
    return [each for each in value if isinstance(each, Mapping)] if isinstance(value, list) else []


def _as_text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _json(value: object) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value
