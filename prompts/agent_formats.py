"""Files of agents that record lengths in place of texts: kv-cache-tester's sessions with sub-agents, and those of the
GitHub Copilot coding agent. Each row is one session."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import islice
from typing import Any, NamedTuple

from tokenswarm.prompts.conversations import Conversation
from tokenswarm.prompts.file_rows import CellKind, PromptTable, Row
from tokenswarm.prompts.prompt_parts import BlockParts, GrowingParts
from tokenswarm.prompts.prompt_records import SessionTurn, SubAgent
from tokenswarm.prompts.row_formats import RowContent, RowError, RowFormat, custom_id_of

#: A month: a longer delay is of another unit.
_MOST_DELAY_S = 31 * 86_400.0
_MOST_TOKENS = 10_000_000
#: Of kv-cache-tester's blocks, where a session does not say.
_BLOCK_TOKENS = 64
_DEEPEST_AGENT = 16


def agent_format(table: PromptTable) -> tuple[PromptTable, RowFormat] | None:
    """How the rows of a table of JSON are read; None where they are no such sessions. Raises UnsoundRows, OSError."""
    if table.cells is not CellKind.JSON:
        return None
    names = set(table.columns)
    if "requests" in names and names & {"hash_id_scope", "block_size"}:
        return table, RowFormat(table.columns, _last_of(_read_blocks), _read_blocks)
    if {"session_id", "turns"} <= names and _holds_calls(table):
        return table, RowFormat(table.columns, _last_of(_read_calls), _read_calls)
    return None


def _last_of(read: Callable[[Row], RowContent]) -> Callable[[Row], RowContent]:
    """Reads the last request of a session's first agent alone."""

    def last(row: Row) -> RowContent:
        content = read(row)
        if content.turns:
            turn = content.turns[-1]
            content = content._replace(parts=turn.parts, tokens=turn.tokens, max_tokens=turn.max_tokens)
        return content._replace(turns=(), agents=())

    return last


def _holds_calls(table: PromptTable) -> bool:
    for row in islice(table.rows(["turns"]), 1):
        turns = row.get("turns")
        return isinstance(turns, list) and bool(turns) and isinstance(turns[0], dict) and "llm_calls" in turns[0]
    return False


class _Timed(NamedTuple):
    """A request of kv-cache-tester, and when it began and ended, in seconds of the recording; None: not recorded."""

    turn: SessionTurn
    began_s: float | None
    ended_s: float | None


def _read_blocks(row: Row) -> RowContent:
    """A session of kv-cache-tester, with its sub-agents."""
    block_tokens = _whole(row.get("block_size", _BLOCK_TOKENS), "block_size", least=1)
    unused: Counter[str] = Counter()
    blocks = _Blocks(BlockParts(block_tokens), block_tokens, unused)
    timed = blocks.agent(_list_of(row.get("requests"), "requests"), 0)
    if not timed:
        raise RowError("expected at least one request in 'requests'")
    return _content([each.turn for each in timed], custom_id_of(row.get("id")), unused)


class _Blocks:
    """Reads the agents of one session: their ids of blocks are of one scope."""

    def __init__(self, parts: BlockParts, block_tokens: int, unused: Counter[str]) -> None:
        self._parts, self._block_tokens, self._unused = parts, block_tokens, unused

    def agent(self, entries: Sequence[Any], depth: int, began_s: float | None = None) -> list[_Timed]:
        """The requests of an agent, each with the sub-agents behind it. began_s: when the agent began."""
        if depth > _DEEPEST_AGENT:
            raise RowError(f"expected at most {_DEEPEST_AGENT} agents below each other")
        found: list[_Timed] = []
        joined_s: float | None = None  # the end of all that the next request waits for
        waits_for_agents = False
        for number, entry in enumerate(entries, start=1):
            try:
                if not isinstance(entry, Mapping):
                    raise RowError(f"expected an object, got {str(entry)[:60]!r}")
                if entry.get("type") == "subagent":
                    found, ended_s = self._with_agent(found, entry, depth)
                    joined_s = None if ended_s is None else _latest(joined_s, ended_s)
                    waits_for_agents = True
                    continue
                timed = self._request(entry, joined_s, began_s, waits_for_agents=waits_for_agents, is_first=not found)
            except RowError as error:
                raise RowError(f"request {number}: {error}") from None
            found.append(timed)
            joined_s, waits_for_agents = timed.ended_s, False
        return found

    def _with_agent(
        self, found: list[_Timed], entry: Mapping[str, Any], depth: int
    ) -> tuple[list[_Timed], float | None]:
        """The requests so far, with the sub-agent behind the last one, and when that ended."""
        name = custom_id_of(entry.get("agent_id"))
        if not found:
            raise RowError(f"expected a request of its agent before the sub-agent {name!r}")
        began_s = _seconds(entry, "t", None)
        timed = self.agent(_list_of(entry.get("requests"), "requests"), depth + 1, began_s)
        if not timed:
            self._unused["sub-agents without requests"] += 1
            return found, began_s
        *others, last = found
        first = timed[0]
        delay_s = _between(last.ended_s, first.began_s) or 0.0
        turns = (replace(first.turn, delay_s=delay_s), *(each.turn for each in timed[1:]))
        turn = replace(last.turn, agents=(*last.turn.agents, SubAgent(turns, name)))
        lasted_s = _milliseconds(entry, "duration_ms")
        ends = [each.ended_s for each in timed if each.ended_s is not None]
        ended_s = max(ends, default=None)
        if lasted_s is not None and began_s is not None:
            ended_s = began_s + lasted_s
        return [*others, last._replace(turn=turn)], ended_s

    def _request(
        self,
        entry: Mapping[str, Any],
        joined_s: float | None,
        agent_began_s: float | None,
        *,
        waits_for_agents: bool,
        is_first: bool,
    ) -> _Timed:
        tokens = _whole(entry.get("in"), "in", least=1)
        ids = _ids(entry.get("hash_ids"))
        if len(ids) * self._block_tokens - tokens >= self._block_tokens:
            raise RowError(
                f"expected at most {-(-tokens // self._block_tokens)} hash_ids of {self._block_tokens} tokens each for "
                f"{tokens} tokens in 'in', got {len(ids)}"
            )
        began_s = _seconds(entry, "t", None)
        if began_s is not None and agent_began_s is not None and began_s < agent_began_s:
            began_s += agent_began_s  # older files count from the beginning of the sub-agent
        took_s, think_s = _seconds(entry, "api_time", None), _seconds(entry, "think_time", None)
        delay_s = _between(joined_s, began_s)
        if think_s is not None and (not waits_for_agents or delay_s is None):
            delay_s = think_s
        turn = SessionTurn(
            "",
            tokens,
            delay_s=None if is_first else _checked_delay(delay_s),
            max_tokens=self._output_tokens(entry),
            parts=self._parts.parts(ids, tokens),
        )
        return _Timed(turn, began_s, began_s + took_s if began_s is not None and took_s is not None else None)

    def _output_tokens(self, entry: Mapping[str, Any]) -> int:
        tokens = _whole(entry.get("out"), "out", least=0)
        self._unused["answers of no token, sent as one"] += not tokens
        return max(1, tokens)


def _read_calls(row: Row) -> RowContent:
    """A session of the Copilot coding agent."""
    unused: Counter[str] = Counter()
    parts = GrowingParts()
    turns: list[SessionTurn] = []
    ended_s: float | None = None
    segments: list[Any] = []  # of the call before
    for number, call, tools_s, is_first in _calls(row):
        try:
            tokens = call.get("tokens")
            if not isinstance(tokens, Mapping):
                raise RowError(f"expected an object in 'tokens', got {str(tokens)[:60]!r}")
            if not tokens.get("prompt"):
                unused["calls without prompt tokens"] += 1
                continue
            prompt_tokens = _whole(tokens.get("prompt"), "tokens.prompt", least=1)
            new_segments = _segments(call.get("message_metadata"))
            cached = tokens.get("cached")
            shared = _shared(segments, new_segments) if cached is None else _whole(cached, "tokens.cached", least=0)
            if shared > prompt_tokens:
                raise RowError(f"expected tokens.cached of at most {prompt_tokens} tokens.prompt, got {shared}")
            output_tokens = _whole(tokens.get("completion"), "tokens.completion", least=0)
            began_s = _moment(call.get("timestamp"))
            wait_s = _between(ended_s, began_s) if is_first else tools_s  # between its turns, the user took so long
            took_s = _milliseconds(call, "duration_ms")
        except RowError as error:
            raise RowError(f"call {number}: {error}") from None
        segments = new_segments
        unused["answers of no token, sent as one"] += not output_tokens
        unused["calls that found more cached than the prompt before them has"] += bool(turns) and shared > parts.tokens
        turns.append(
            SessionTurn(
                "",
                prompt_tokens,
                delay_s=_checked_delay(wait_s) if turns else None,
                max_tokens=max(1, output_tokens),
                parts=parts.parts(shared, prompt_tokens),
            )
        )
        ended_s = None if began_s is None or took_s is None else began_s + took_s + call["waits_s"]
    if not turns:
        raise RowError("expected a call with prompt tokens in 'llm_calls' of its turns")
    return _content(turns, custom_id_of(row.get("session_id")), unused)


def _calls(row: Row) -> Iterator[tuple[int, Mapping[str, Any], float | None, bool]]:
    """(number from 1, the call, how long the tools behind the call before it took, whether it is the first of a turn of
    the user). In `waits_s` of a call is how long the tools behind it took."""
    number = 0
    for place, turn in enumerate(_list_of(row.get("turns"), "turns"), start=1):
        if not isinstance(turn, Mapping):
            raise RowError(f"turn {place}: expected an object, got {str(turn)[:60]!r}")
        calls = _list_of(turn.get("llm_calls"), "llm_calls")
        batches = _list_of(turn.get("tool_batches") or [], "tool_batches")
        wait_s: float | None = None
        for order, call in enumerate(calls):
            number += 1
            if not isinstance(call, Mapping):
                raise RowError(f"call {number}: expected an object, got {str(call)[:60]!r}")
            behind_s = _tools_s(batches, call.get("message_id"), order)
            yield number, {**call, "waits_s": behind_s}, wait_s, not order
            wait_s = behind_s


def _tools_s(batches: Sequence[Any], message_id: object, order: int) -> float:
    """How long the tools took that the call of this id, or the one of this place in its turn, requested."""
    named = [batch for batch in batches if isinstance(batch, Mapping) and batch.get("request_id") is not None]
    if named:
        found = [batch for batch in named if batch["request_id"] == message_id]
    else:
        found = [batch for batch in batches[order : order + 1] if isinstance(batch, Mapping)]
    return sum(_milliseconds(batch, "duration_ms") or 0.0 for batch in found)


def _segments(value: object) -> list[tuple[Any, Any, int]]:
    """(type, sequenceId, tokens) of each."""
    found = []
    for segment in _list_of(value or [], "message_metadata"):
        if not isinstance(segment, Mapping):
            raise RowError(f"expected objects in 'message_metadata', got {str(segment)[:60]!r}")
        tokens = _whole(segment.get("token_len"), "token_len", least=0)
        found.append((segment.get("type"), segment.get("sequenceId"), tokens))
    return found


def _shared(before: Sequence[Any], segments: Sequence[tuple[Any, Any, int]]) -> int:
    """Tokens of the segments that two prompts begin with."""
    tokens = 0
    for one, other in zip(before, segments):
        if one != other:
            break
        tokens += other[2]
    return tokens


def _content(turns: Sequence[SessionTurn], custom_id: str, unused: Counter[str]) -> RowContent:
    first, *others = turns
    return RowContent(
        Conversation(""),
        custom_id=custom_id,
        max_tokens=first.max_tokens,
        unused=+unused,
        turns=tuple(others),
        tokens=first.tokens,
        parts=first.parts,
        agents=first.agents,
    )


def _latest(one: float | None, other: float | None) -> float | None:
    return other if one is None else one if other is None else max(one, other)


def _between(before_s: float | None, after_s: float | None) -> float | None:
    return None if before_s is None or after_s is None else max(0.0, after_s - before_s)


def _checked_delay(delay_s: float | None) -> float | None:
    if delay_s is not None and delay_s > _MOST_DELAY_S:
        raise RowError(f"expected a delay of at most {_MOST_DELAY_S:,.0f} s before it, got {delay_s:,.0f} s")
    return delay_s


def _list_of(value: object, name: str) -> list[Any]:
    if not isinstance(value, list):
        raise RowError(f"expected a list in {name!r}, got {str(value)[:60]!r}")
    return value


def _whole(value: object, name: str, least: int) -> int:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= _MOST_TOKENS:
        raise RowError(f"expected {name!r} to be a whole number from {least} to {_MOST_TOKENS:,}, got {value!r:.60}")
    return value


def _ids(value: object) -> list[int]:
    ids = _list_of([] if value is None else value, "hash_ids")
    if not all(type(each) is int for each in ids):
        raise RowError("expected whole numbers in 'hash_ids'")
    return ids


def _seconds(cells: Mapping[str, Any], name: str, default: float | None) -> float | None:
    value = cells.get(name)
    if value is None:
        return default
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= 1e10:
        raise RowError(f"expected {name!r} to be a number of at least 0, got {value!r:.60}")
    return float(value)


def _milliseconds(cells: Mapping[str, Any], name: str) -> float | None:
    value = _seconds(cells, name, None)
    return None if value is None else value / 1000


def _moment(value: object) -> float | None:
    """Seconds since 1970 of a date with its time."""
    if value is None:
        return None
    try:
        moment = datetime.fromisoformat(str(value))
    except ValueError:
        raise RowError(f"expected 'timestamp' as 2026-06-01T00:00:01Z, got {str(value)[:60]!r}") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
