"""A trace as it was recorded: when each request arrived, how many tokens it had, and what it shared with others."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tokenswarm.prompts.prompt_records import PromptError
from tokenswarm.prompts.row_formats import RowContent

TRACE = "--trace"
#: Longer than any context; a mistyped number would fill the memory.
MOST_TOKENS = 10_000_000
_SHOWN_CHARACTERS = 60

Times: TypeAlias = NDArray[np.float64]
Counts: TypeAlias = NDArray[np.int64]


class TraceFormat(StrEnum):
    """What --trace-format takes; AUTO is found out from the first lines."""

    AUTO = "auto"
    MOONCAKE = "mooncake"
    BAILIAN = "bailian"
    AZURE = "azure"
    BURSTGPT = "burstgpt"
    SERVEGEN = "servegen"
    SERVEGEN_OFFLINE = "servegen-offline"


class TraceError(PromptError):
    """A trace cannot be replayed; the text is one sentence, with the number of the line where one is wrong."""


class RowFault(ValueError):
    """A row that is not what its format says; the text is a clause: what was expected, and what came."""


class SkippedRow(Exception):
    """A sound row that is not replayed; the text is why, as `Trace.skipped` counts it."""


#: A row of a request that got no answer.
WITHOUT_ANSWER = "without an answer"
#: A row that is wrong, which --trace-skip-bad leaves out.
BAD_ROW = "wrong"


class RecordedRow(NamedTuple):
    """One request. time_s: None where the trace has no times; output_tokens: 0 where it does not say; hash_ids: of the
    blocks that its prompt begins with. session: names the session that it belongs to, None for none; where the format
    names the request before instead, session names the request itself, and parent that one (None: it is the first).
    content: what it says and sets for its body, None where that was not recorded; input_tokens of a text are
    estimated."""

    time_s: float | None
    input_tokens: int
    output_tokens: int
    hash_ids: Sequence[int] = ()
    session: Hashable = None
    parent: Hashable = None
    content: RowContent | None = None


@dataclass(frozen=True, eq=False)
class Trace:
    """The requests of a trace in the order of their times, which count from the first one. output_tokens: 0 where the
    trace does not say. sessions: the number of each request's session, -1 for none. block_tokens: that each hash id
    stands for, 0 without. has_times: False where requests are in order, and all times are 0. span_s: how long the trace
    lasts, None where the times alone say. rows: in the file; skipped: of these, by the reason. contents: of the
    requests that have one, by their place."""

    path: str
    format: TraceFormat
    times_s: Times
    input_tokens: Counts
    output_tokens: Counts
    sessions: Counts
    hash_ids: Sequence[array[int]]
    block_tokens: int
    has_times: bool
    rows: int
    skipped: Mapping[str, int]
    sha256: str
    span_s: float | None = None
    contents: Mapping[int, RowContent] = field(default_factory=dict)


@dataclass
class TraceRows:
    """The rows of a trace while they are read."""

    times_s: array[float] = field(default_factory=lambda: array("d"))
    input_tokens: array[int] = field(default_factory=lambda: array("q"))
    output_tokens: array[int] = field(default_factory=lambda: array("q"))
    hash_ids: list[array[int]] = field(default_factory=list)
    sessions: list[Hashable] = field(default_factory=list)
    parents: dict[Hashable, Hashable] = field(default_factory=dict)
    skipped: Counter[str] = field(default_factory=Counter)
    contents: dict[int, RowContent] = field(default_factory=dict)
    rows: int = 0
    has_times: bool = True

    def add(self, row: RecordedRow) -> None:
        """Add a request."""
        self.has_times = row.time_s is not None
        self.times_s.append(row.time_s or 0.0)
        self.input_tokens.append(row.input_tokens)
        self.output_tokens.append(row.output_tokens)
        if row.hash_ids:
            self.hash_ids.append(array("q", row.hash_ids))
        else:
            self.hash_ids.append(_NO_IDS)
        if row.content is not None:
            self.contents[len(self.sessions)] = row.content
        self.sessions.append(row.session)
        if row.parent is not None:
            self.parents[row.session] = row.parent

    def trace(self, path: str, kind: TraceFormat, block_tokens: int, sha256: str) -> Trace:
        """All of them, in order."""
        times_s = np.array(self.times_s)
        order = np.argsort(times_s, kind="stable")
        has_ids = any(self.hash_ids)
        return Trace(
            path,
            kind,
            times_s[order] - (times_s[order[0]] if len(order) else 0.0),
            np.array(self.input_tokens, dtype=np.int64)[order],
            np.array(self.output_tokens, dtype=np.int64)[order],
            _numbered([self.sessions[place] for place in order.tolist()], self.parents),
            [self.hash_ids[place] for place in order.tolist()] if has_ids else (),
            block_tokens if has_ids else 0,
            self.has_times,
            self.rows,
            dict(self.skipped),
            sha256,
            contents=self._contents(order),
        )

    def _contents(self, order: Counts) -> Mapping[int, RowContent]:
        if not self.contents:
            return {}
        return {place: self.contents[row] for place, row in enumerate(order.tolist()) if row in self.contents}


_NO_IDS = array("q")


def _numbered(sessions: Sequence[Hashable], parents: Mapping[Hashable, Hashable]) -> Counts:
    """The session of each request as a number; requests that name others as their parents are of the session of the
    first one. A parent that is not in the trace begins a session, and so does one that follows from itself."""
    present = set(sessions) if parents else set()
    roots: dict[Hashable, Hashable] = {}
    numbers: dict[Hashable, int] = {}

    def root_of(session: Hashable) -> Hashable:
        path, seen = [session], {session}
        while path[-1] not in roots:
            parent = parents.get(path[-1])
            if parent is None or parent not in present or parent in seen:
                roots[path[-1]] = path[-1]
                break
            path.append(parent)
            seen.add(parent)
        root = roots[path[-1]]
        roots.update(dict.fromkeys(path, root))
        return root

    return np.array(
        [-1 if session is None else numbers.setdefault(root_of(session), len(numbers)) for session in sessions],
        dtype=np.int64,
    )


def whole_tokens(name: str, value: object, least: int = 1) -> int:
    """A number of tokens, from text or JSON. Raises RowFault."""
    number = _number(value)
    if number is None or not number.is_integer() or not least <= number <= MOST_TOKENS:
        raise RowFault(
            f"expected {name} to be a whole number from {least} to {MOST_TOKENS:,}, got {shown_value(value)}"
        )
    return int(number)


def seconds(name: str, value: object) -> float:
    """A time, from text or JSON. Raises RowFault."""
    number = _number(value)
    if number is None or not 0 <= number < 1e12:
        raise RowFault(f"expected {name} to be a number of at least 0, got {shown_value(value)}")
    return number


def shown_value(value: object) -> str:
    """As a sentence shows what came."""
    text = repr(value)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None
