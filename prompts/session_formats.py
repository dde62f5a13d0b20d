"""Files of recorded sessions: AIPerf's turns, agentic sessions of SGLang and of MLPerf. Each is read as one request,
docs/prompts.md says which, or as a session of all its turns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from tokenswarm.prompts.conversations import Conversation, conversation_of, messages_of
from tokenswarm.prompts.file_rows import CellKind, PromptTable, Row
from tokenswarm.prompts.prompt_records import ChatMessage, SessionTurn
from tokenswarm.prompts.row_formats import (
    IMAGE_COLUMNS,
    SETTING_COLUMNS,
    TEXT_COLUMNS,
    RowContent,
    RowError,
    RowFormat,
    content_of,
    unused_of,
)
from tokenswarm.prompts.span_formats import span_format
from tokenswarm.prompts.tool_messages import conversation_with_tools

_LATER_TURNS = "later turns"
#: A day: a longer delay is of another unit.
MOST_DELAY_S = 86_400
#: Of one row, and the rows behind it.
_KEPT_COLUMNS = ("tools", "system", "system_prompt")
#: A message, and its other fields.
_Message = tuple[ChatMessage, Mapping[str, Any]]
_AGENTIC_COLUMNS = ("conversation_id", "turn", "role")


def session_format(table: PromptTable) -> tuple[PromptTable, RowFormat] | None:
    """The sessions of a table of JSON, one in each row, and how they are read; None where its rows are no such
    sessions. Raises UnsoundRows, OSError."""
    if table.cells is not CellKind.JSON:
        return None
    names = table.columns
    if set(_AGENTIC_COLUMNS) <= set(names):
        rows = table.rows
        return table._replace(rows=lambda used: _agentic_sessions(rows(used))), RowFormat(
            names, _read_agentic, _read_agentic_session
        )
    if "turns" in names and not set(TEXT_COLUMNS).intersection(names):
        return table, RowFormat(names, _read_turns, _read_turns_of_session)
    if "conversations" in names and _holds_lists(table):
        rows = table.rows
        lists = table._replace(rows=lambda used: _listed_sessions(rows(used)), place="conversation {}".format)
        return lists, RowFormat(("conversations",), _read_listed, _read_listed_session)
    return span_format(table)


def _holds_lists(table: PromptTable) -> bool:
    """Whether the cells of `conversations` hold several conversations each, in place of the messages of one."""
    for row in islice(table.rows(["conversations"]), 1):
        cell = row.get("conversations")
        return isinstance(cell, list) and bool(cell) and isinstance(cell[0], list)
    return False


def _read_turns(row: Row) -> RowContent:
    """A session of AIPerf. Where its turns hold no answers, those after the first need the model's own."""
    turns = [_turn(turn, number) for number, turn in enumerate(_listed(row.get("turns"), "turns"), start=1)]
    messages = [{"role": turn.get("role") or "user", "content": _turn_text(turn)} for turn in turns]
    answered = any(message["role"] == "assistant" for message in messages)
    users = [place for place, message in enumerate(messages) if message["role"] == "user"]
    last = (users[-1] if answered else users[0]) if users else -1
    conversation = conversation_of(messages[: last + 1]) or Conversation("")
    later = sum(place > last for place in users)
    sent = turns[last] if users else {}
    given = _settings_of({**row, **sent})
    content = content_of(conversation, given)
    images = any(turn.get(name) for turn in turns[: last + 1] for name in IMAGE_COLUMNS)
    return content._replace(images=images, unused=_with(unused_of(row, *turns), {_LATER_TURNS: later}))


def _read_turns_of_session(row: Row) -> RowContent:
    """A session of AIPerf with all its turns: each one of the user is a request, whether its answer is recorded or
    not."""
    listed = [_turn(turn, number) for number, turn in enumerate(_listed(row.get("turns"), "turns"), start=1)]
    first: RowContent | None = None
    turns: list[SessionTurn] = []
    since: list[ChatMessage] = []  # the request before
    for number, turn in enumerate(listed, start=1):
        messages = messages_of([{"role": turn.get("role") or "user", "content": _turn_text(turn)}]) or []
        if not any(message.role == "user" for message in messages):
            since += messages
            continue
        given = _settings_of({**row, **turn})
        if first is None:
            found = conversation_of([*map(_as_cell, since), *map(_as_cell, messages)]) or Conversation("")
            first = content_of(found, given)
        else:
            content = content_of(Conversation(messages[0].text), given)
            answer, before = _divided(since)
            delay_s = _delay_s(turn, number)
            turns.append(
                SessionTurn(messages[0].text, 0, before, answer, 0, delay_s, content.max_tokens, content.body_overrides)
            )
        since = []
    first = first or RowContent(Conversation(""))
    images = any(turn.get(name) for turn in listed for name in IMAGE_COLUMNS)
    used = Counter({"delays": sum(turn.delay_s is not None for turn in turns)})
    return first._replace(images=images, unused=Counter(unused_of(row, *listed)) - used, turns=tuple(turns))


def _as_cell(message: ChatMessage) -> dict[str, str]:
    return {"role": message.role, "content": message.text}


def _divided(messages: Sequence[ChatMessage]) -> tuple[tuple[ChatMessage, ...], tuple[ChatMessage, ...]]:
    """(up to the last one of the assistant, behind it)."""
    answered = max((place for place, message in enumerate(messages) if message.role == "assistant"), default=-1) + 1
    return tuple(messages[:answered]), tuple(messages[answered:])


def _delay_s(turn: Mapping[str, Any], number: int) -> float | None:
    """AIPerf's delays are milliseconds."""
    delay = turn.get("delay")
    if delay is None:
        return None
    if not isinstance(delay, int | float) or isinstance(delay, bool) or not 0 <= delay <= MOST_DELAY_S * 1000:
        raise RowError(
            f"turn {number}: expected a delay of 0 to {MOST_DELAY_S * 1000:,} milliseconds, got {str(delay)[:60]!r}"
        )
    return delay / 1000


def _turn(turn: object, number: int) -> Mapping[str, Any]:
    if isinstance(turn, str):
        return {"text": turn}
    if isinstance(turn, Mapping) and isinstance(_turn_text(turn), str):
        return turn
    raise RowError(f"turn {number}: expected an object with a text in 'text', got {str(turn)[:60]!r}")


def _turn_text(turn: Mapping[str, Any]) -> Any:
    texts = turn.get("texts")
    if isinstance(texts, list) and turn.get("text") is None:
        return "\n\n".join(text for text in texts if isinstance(text, str))
    return turn.get("text")


def _listed_sessions(rows: Iterable[Row]) -> Iterator[Row]:
    number = 0
    for row in rows:
        cell = row.get("conversations")
        if not isinstance(cell, list):
            raise RowError(f"expected a list of conversations, got {str(cell)[:60]!r}", number + 1)
        for conversation in cell:
            number += 1
            yield {"conversations": conversation}


def _read_listed(row: Row) -> RowContent:
    """A session of SGLang. Its turns hold what is new and no answers, so that the later ones need the model's own."""
    turns = _listed_turns(row)
    unused = {_LATER_TURNS: len(turns) - 1} | _recorded_lengths(turns)
    return _listed_turn(turns[0], 1)._replace(unused=_with(unused_of(*turns), unused))


def _read_listed_session(row: Row) -> RowContent:
    """A session of SGLang with all its turns."""
    listed = _listed_turns(row)
    first, *others = (_listed_turn(turn, number) for number, turn in enumerate(listed, start=1))
    turns = []
    for content in others:
        text, system, earlier = content.conversation[:3]
        before = earlier if system is None else (ChatMessage("system", system), *earlier)
        if text:
            turns.append(
                SessionTurn(text, before=before, max_tokens=content.max_tokens, body_overrides=content.body_overrides)
            )
    return first._replace(unused=_with(unused_of(*listed), _recorded_lengths(listed)), turns=tuple(turns))


def _listed_turns(row: Row) -> Sequence[Mapping[str, Any]]:
    turns = _listed(row.get("conversations"), "a conversation")
    for number, turn in enumerate(turns, start=1):
        if not isinstance(turn, Mapping) or not isinstance(turn.get("messages"), list):
            raise RowError(f"turn {number}: expected an object with a list in 'messages', got {str(turn)[:60]!r}")
    return turns


def _listed_turn(turn: Mapping[str, Any], number: int) -> RowContent:
    conversation = conversation_of(turn["messages"])
    if conversation is None:
        raise RowError(f"turn {number}: expected messages with role and content in 'messages'")
    return content_of(conversation, _settings_of(turn))


def _recorded_lengths(turns: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    return {"recorded prompt lengths": sum(turn.get("prompt_tokens") is not None for turn in turns)}


def _settings_of(cells: Mapping[str, Any]) -> dict[str, Any]:
    """What it sets for its own request, and is there."""
    return {name: cell for name, cell in cells.items() if name in SETTING_COLUMNS and cell not in (None, "")}


def _agentic_sessions(rows: Iterable[Row]) -> Iterator[Row]:
    """The rows of each conversation together, with the number of its first. Raises RowError."""
    known: set[str] = set()
    session: list[Row] = []
    for number, row in enumerate(rows, start=1):
        name, turn = str(row.get("conversation_id")), row.get("turn")
        if session and name == str(session[0].get("conversation_id")):
            session.append(row)
        else:
            if session:
                yield {"rows": session, "first": number - len(session)}
            if name in known:
                raise RowError(
                    f"expected the rows of a conversation one after the other, got {name!r} again after others", number
                )
            known.add(name)
            session = [row]
        if turn != len(session):
            raise RowError(f"expected turn {len(session)} of conversation {name!r}, got {turn!r}", number)
    if session:
        yield {"rows": session, "first": number - len(session) + 1}


def _read_agentic(session: Row) -> RowContent:
    """A session of MLPerf: all its messages up to the last one of the user or of a tool."""
    messages: list[tuple[ChatMessage, Mapping[str, Any]]] = []
    client_rows: list[Row] = []
    for number, row in enumerate(session["rows"], start=session["first"]):
        try:
            messages += _agentic_messages(row)
        except RowError as error:
            raise RowError(str(error), number) from None
        if row.get("role") in ("user", "tool"):
            client_rows.append(row)
    given: dict[str, Any] = {}
    for row in client_rows:
        fields = _settings_of(row)
        given = {name: given[name] for name in _KEPT_COLUMNS if name in given} | fields
    content = content_of(conversation_with_tools(messages), given)
    return content._replace(unused=unused_of(*session["rows"]))


def _read_agentic_session(session: Row) -> RowContent:
    """A session of MLPerf with all its turns: each ends before a row of the assistant, or with the last row."""
    first: RowContent | None = None
    turns: list[SessionTurn] = []
    answer: list[_Message] = []
    new: list[_Message] = []
    client_rows: list[Row] = []
    kept: dict[str, Any] = {}  # what holds for the rows behind it too

    def close() -> None:
        nonlocal first, kept
        given = kept
        for row in client_rows:
            given = {name: given[name] for name in _KEPT_COLUMNS if name in given} | _settings_of(row)
        kept = given
        if first is None:
            first = content_of(conversation_with_tools([*answer, *new]), given)
        else:
            turns.append(_agentic_turn(answer, new, content_of(Conversation(""), given), _waits_s(client_rows)))
        answer.clear()
        new.clear()
        client_rows.clear()

    for number, row in enumerate(session["rows"], start=session["first"]):
        try:
            messages = _agentic_messages(row)
            if row.get("role") == "assistant":
                if new:
                    close()
                answer += messages
            else:
                new += messages
                client_rows.append({**row, "delay_seconds": _wait_s(row)})
        except RowError as error:
            raise RowError(str(error), number) from None
    if new:
        close()
    content = first or RowContent(Conversation(""))
    used = Counter({"delays": sum(turn.delay_s is not None for turn in turns)})
    return content._replace(unused=Counter(unused_of(*session["rows"])) - used, turns=tuple(turns))


def _agentic_turn(
    answer: Sequence[_Message], new: Sequence[_Message], settings: RowContent, delay_s: float | None
) -> SessionTurn:
    """answer: what is recorded of the assistant; new: messages behind it."""
    ends_with_user = new[-1][0].role == "user"
    before = new[:-1] if ends_with_user else new
    fields = tuple(fields for _, fields in (*answer, *before))
    return SessionTurn(
        new[-1][0].text if ends_with_user else "",
        before=tuple(message for message, _ in before),
        answer=tuple(message for message, _ in answer),
        delay_s=delay_s,
        max_tokens=settings.max_tokens,
        body_overrides=settings.body_overrides,
        tool_fields=fields if any(fields) else (),
    )


def _wait_s(row: Row) -> float | None:
    """How long its tool, or its user, took. Raises RowError."""
    delay = row.get("delay_seconds")
    if delay in (None, ""):
        return None
    if not isinstance(delay, int | float) or isinstance(delay, bool) or not 0 <= delay <= MOST_DELAY_S:
        raise RowError(f"expected delay_seconds from 0 to {MOST_DELAY_S:,}, got {str(delay)[:60]!r}")
    return float(delay)


def _waits_s(rows: Sequence[Row]) -> float | None:
    waits = [row["delay_seconds"] for row in rows if row["delay_seconds"] is not None]
    return sum(waits) if waits else None


def _agentic_messages(row: Row) -> list[tuple[ChatMessage, Mapping[str, Any]]]:
    role, content = row.get("role"), row.get("content")
    if role not in ("user", "assistant", "tool"):
        raise RowError(f"expected the role user, assistant or tool, got {role!r}")
    if role == "tool":
        results = _listed(row.get("tool_results"), "tool_results")
        return [_tool_result(result) for result in results]
    if content is not None and not isinstance(content, str):
        raise RowError(f"expected text in 'content', got {type(content).__name__}")
    calls = row.get("tool_calls") if role == "assistant" else None
    if calls:
        return [(ChatMessage(role, (content or "").strip()), {"tool_calls": _listed(calls, "tool_calls")})]
    return [(ChatMessage(role, content.strip()), {})] if content and content.strip() else []


def _tool_result(result: object) -> tuple[ChatMessage, Mapping[str, Any]]:
    if isinstance(result, Mapping):
        identity, text = result.get("tool_call_id"), result.get("content")
        if isinstance(identity, str) and isinstance(text, str):
            return ChatMessage("tool", text), {"tool_call_id": identity}
    raise RowError(f"expected texts in tool_call_id and content of a tool result, got {str(result)[:60]!r}")


def _listed(value: object, name: str) -> Sequence[Any]:
    if not isinstance(value, list) or not value:
        raise RowError(f"expected a list with at least one element as {name}, got {str(value)[:60]!r}")
    return value


def _with(unused: Mapping[str, int], more: Mapping[str, int]) -> Mapping[str, int]:
    return Counter({**more, **unused})
