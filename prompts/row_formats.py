"""What a row means: its messages, and what it sets for its own request. The formats are in docs/prompts.md."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

from tokenswarm.prompts.conversations import Conversation, conversation_of, has_other_content
from tokenswarm.prompts.file_rows import CellKind, PromptTable, Row
from tokenswarm.prompts.prompt_records import SessionTurn, SubAgent, TextPart
from tokenswarm.prompts.sessions import turns_of

TEXT_COLUMNS = ("instruction", "prompt", "question", "text", "messages", "conversations")
#: Added to the instruction of a row.
CONTEXT = "context"
CATEGORY = "category"
CUSTOM_ID = "custom_id"
#: The first that a row has is its cap on the answer's length.
LENGTH_COLUMNS = ("max_tokens", "max_completion_tokens", "max_output_tokens", "output_tokens", "output_length")
#: The first that a row has is its system prompt, where its messages do not begin with one.
SYSTEM_COLUMNS = ("system", "system_prompt")
#: Fields of a request body that a row may have as columns.
BODY_COLUMNS = (
    *("temperature", "top_p", "top_k", "min_p", "typical_p", "seed", "stop", "stop_token_ids", "min_tokens"),
    *("presence_penalty", "frequency_penalty", "repetition_penalty", "logit_bias", "logprobs", "top_logprobs"),
    *("tools", "tool_choice", "parallel_tool_calls", "response_format", "reasoning_effort", "verbosity"),
    *("chat_template_kwargs", "structured_outputs", "guided_json", "guided_regex", "guided_choice", "guided_grammar"),
    *("ignore_eos", "skip_special_tokens", "lora_path", "service_tier", "prompt_cache_key"),
)
#: Objects whose fields are all sent.
EXTRA_COLUMNS = ("extra", "extra_body")
#: All that say how a row is sent.
SETTING_COLUMNS = (CATEGORY, CUSTOM_ID, *LENGTH_COLUMNS, *SYSTEM_COLUMNS, *BODY_COLUMNS, *EXTRA_COLUMNS)
#: Of rows that name pictures, which are not sent.
IMAGE_COLUMNS = ("image_files", "image", "images")
#: When and in which session a row was recorded, which is not replayed, by the column that says it.
UNUSED_COLUMNS = {
    **dict.fromkeys(("timestamp", "timestamp_start_unix_ms", "start_time"), "timestamps"),
    **dict.fromkeys(("delay", "delay_seconds"), "delays"),
    **dict.fromkeys(("session_id", "provided_session_id", "poor_man_session_id"), "session ids"),
    "total_hashes": "prefix hashes",
}
#: What a row of an OpenAI batch file has.
BATCH_COLUMNS = ("custom_id", "method", "url", "body")
#: By the end of a batch row's `url`, the endpoint that it chooses; the first that fits counts.
_ENDPOINTS = {"/chat/completions": "chat", "/completions": "completions", "/responses": "responses"}
_TEXTS_OF_ENDPOINT = {"chat": "messages", "completions": "prompt", "responses": "input"}
#: Fields of a body that Tokenswarm sets itself.
_OWN_FIELDS = ("model", "messages", "prompt", "input", "instructions", "stream", "stream_options", *LENGTH_COLUMNS)
_MOST_CUSTOM_ID_CHARACTERS = 256


NOTHING_UNUSED: Mapping[str, int] = {}


class RowError(ValueError):
    """A row that cannot be sent; the text is a clause: what was expected, and what came. row: its number, where it is
    not the one that was being read."""

    def __init__(self, clause: str, row: int | None = None) -> None:
        super().__init__(clause)
        self.row = row


class RowContent(NamedTuple):
    """What a row sends. The settings are as `Prompt` has them; images: whether it
    has pictures, which are not sent; unused: what else of it is not sent, with how often it is there. turns: of a
    session, behind the first one, which is the conversation. tokens: of a first request that is made of parts; parts,
    agents: as `Prompt` has them."""

    conversation: Conversation
    category: str = ""
    custom_id: str = ""
    max_tokens: int | None = None
    body_overrides: Mapping[str, Any] | None = None
    endpoint: str = ""
    model: str = ""
    images: bool = False
    unused: Mapping[str, int] = NOTHING_UNUSED
    turns: tuple[SessionTurn, ...] = ()
    tokens: int = 0
    parts: tuple[TextPart, ...] = ()
    agents: tuple[SubAgent, ...] = ()


class RowFormat(NamedTuple):
    """columns: those that are read. read: a row's content as one request; raises RowError, OtherRole. read_session: the
    same as a session of all its turns; None where rows are single requests."""

    columns: tuple[str, ...]
    read: Callable[[Row], RowContent]
    read_session: Callable[[Row], RowContent] | None = None


def row_format(table: PromptTable, text_column: str | None = None) -> RowFormat | None:
    """The format of a table's rows; None where none of its columns is known to hold prompts. text_column: the one that
    does, whatever the others are called."""
    names = table.columns
    if text_column is None and "body" in names and {"url", "custom_id", "method"}.intersection(names):
        return RowFormat(tuple(name for name in names if name in BATCH_COLUMNS), _read_batch)
    wanted = TEXT_COLUMNS if text_column is None else (text_column,)
    column = next((name for name in wanted if name in names), None)
    if column is None:
        return None
    with_context = text_column is None and column == "instruction" and CONTEXT in names
    settings = {*SETTING_COLUMNS, *IMAGE_COLUMNS, *UNUSED_COLUMNS}
    read = {column, CONTEXT} if with_context else {column}
    reader = _PlainReader(column, with_context, settings.intersection(names) - read, table.cells)
    columns = tuple(name for name in names if name in read | settings)
    return RowFormat(columns, reader.read, reader.read_session)


class _PlainReader:
    """Rows with their text in one column, and settings in others."""

    def __init__(self, column: str, with_context: bool, settings: Collection[str], cells: CellKind) -> None:
        self._column, self._with_context, self._settings = column, with_context, settings
        self._value = _text_cell if cells is CellKind.TEXT else _arrow_cell if cells is CellKind.ARROW else _json_cell

    def read(self, row: Row) -> RowContent:
        """Raises RowError, OtherRole."""
        conversation = _conversation(row.get(self._column), self._column)
        if self._with_context and conversation.text:
            context = _conversation(row.get(CONTEXT), CONTEXT)
            if context.text:
                conversation = conversation._replace(text=f"{context.text}\n\n{conversation.text}")
        cells = {name: row.get(name) for name in self._settings}
        given = {name: cell for name, cell in cells.items() if cell is not None and cell != ""}
        images = has_other_content(row.get(self._column)) or any(given.get(name) for name in IMAGE_COLUMNS)
        content = content_of(conversation, given, self._value)
        return content._replace(images=True) if images else content

    def read_session(self, row: Row) -> RowContent:
        """Raises RowError, OtherRole."""
        content = self.read(row)
        conversation, turns = turns_of(content.conversation, content.max_tokens, content.body_overrides)
        return content._replace(conversation=conversation, turns=turns)


def content_of(
    conversation: Conversation, given: Mapping[str, Any], value: Callable[[Any], Any] | None = None
) -> RowContent:
    """What a row with this conversation sends. given: its cells other than null and ""; value: what is in a cell of a
    field, None: what JSON says. Raises RowError."""
    if not given:
        return RowContent(conversation)
    value = value or _json_cell
    return RowContent(
        with_system(conversation, next((given[name] for name in SYSTEM_COLUMNS if name in given), None)),
        category=text_of(given.get(CATEGORY)),
        custom_id=custom_id_of(given.get(CUSTOM_ID)),
        max_tokens=length_of({name: value(given[name]) for name in LENGTH_COLUMNS if name in given}),
        body_overrides=_overrides(given, value),
        unused=unused_of(given),
    )


def unused_of(*cells: Mapping[str, Any]) -> Mapping[str, int]:
    """What rows say of times and sessions, with how often."""
    found = Counter(
        name for row in cells for column, name in UNUSED_COLUMNS.items() if row.get(column) not in (None, "")
    )
    return found or NOTHING_UNUSED


def _overrides(given: Mapping[str, Any], value: Callable[[Any], Any]) -> Mapping[str, Any] | None:
    fields = {name: cell for name in BODY_COLUMNS if name in given and (cell := value(given[name])) is not None}
    for name in EXTRA_COLUMNS:
        if name in given:
            fields |= object_of(value(given[name]), name)
    return without_own(fields) or None


def _read_batch(row: Row) -> RowContent:
    method, url = text_of(row.get("method")) or "POST", text_of(row.get("url")) or "/v1/chat/completions"
    endpoint = next((name for ending, name in _ENDPOINTS.items() if url.rstrip("/").endswith(ending)), None)
    if endpoint is None or method.upper() != "POST":
        raise RowError(f"expected POST to {', '.join(f'/v1{ending}' for ending in _ENDPOINTS)}, got {method} {url}")
    body = object_of(row.get("body"), "body")
    column = _TEXTS_OF_ENDPOINT[endpoint]
    conversation = _conversation(body.get(column), f"body.{column}")
    return RowContent(
        with_system(conversation, body.get("instructions") if endpoint == "responses" else None),
        custom_id=custom_id_of(row.get(CUSTOM_ID)),
        max_tokens=length_of(body),
        body_overrides=without_own(body) or None,
        endpoint=endpoint,
        model=text_of(body.get("model")),
        images=has_other_content(body.get(column)),
    )


def _conversation(cell: object, column: str) -> Conversation:
    conversation = conversation_of(cell)
    if conversation is None:
        raise RowError(f"expected text in column {column!r}, got {type(cell).__name__}")
    return conversation


def with_system(conversation: Conversation, system: object) -> Conversation:
    if system is None or conversation.system is not None:
        return conversation
    if not isinstance(system, str):
        raise RowError(f"expected text as system prompt, got {type(system).__name__}")
    return conversation._replace(system=system.strip() or None)


def without_own(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if name not in _OWN_FIELDS}


def length_of(given: Mapping[str, Any]) -> int | None:
    name = next((name for name in LENGTH_COLUMNS if given.get(name) is not None), None)
    if name is None:
        return None
    value = given[name]
    if isinstance(value, float) and value.is_integer():  # columns of tables have one type, and gaps make it a float
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise RowError(f"expected {name} to be a whole number of at least 1, got {value!r}")
    return value


def custom_id_of(value: object) -> str:
    text = "" if value is None else str(value)
    if len(text) > _MOST_CUSTOM_ID_CHARACTERS:
        raise RowError(f"expected a custom_id of at most {_MOST_CUSTOM_ID_CHARACTERS} characters, got {len(text)}")
    return text


def object_of(value: object, name: str) -> Mapping[str, Any]:
    if isinstance(value, str):
        value = _text_cell(value)
    if not isinstance(value, Mapping):
        raise RowError(f"expected {name} to be a JSON object, got {type(value).__name__}")
    return value


def _json_cell(value: object) -> Any:
    return value


def _text_cell(value: object) -> Any:
    """A cell of a CSV file holds JSON where it is any: 0.7, ["END"]; other text is text."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return value


def _arrow_cell(value: object) -> Any:
    """Tables of one type a column fill fields and numbers that a row does not have with null and NaN."""
    if isinstance(value, Mapping):
        return {name: _arrow_cell(field) for name, field in value.items() if field is not None}
    if isinstance(value, list):
        return [_arrow_cell(field) for field in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def _refuse_constant(name: str) -> Any:
    raise ValueError(name)


def text_of(value: object) -> str:
    return value if isinstance(value, str) else ""
