"""Which prompt tokens requests should have found in their servers' prefix caches, by what was sent before. Pure.

A beginning of a prompt is in the cache once a request that has it got its first token: its prompt was computed by then.
Which of two requests was first is decided by the server, at a moment between sending and first token. So hits are
counted twice: those that are certain, of beginnings that were there when the request was sent, and those that are
possible, of beginnings that were there before its first token. The two differ at the beginning of a load alone. That a
cache may be too small is not counted.

Requests are entered when they end, in any order: one that finds nothing yet waits for an earlier one to be entered.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from tokenswarm.recording.prompts_sent import PromptStats
from tokenswarm.recording.worker_report import RequestRow

#: The host and the model of a request, how often the caches had been flushed, and the key of a beginning.
_Place = tuple[int, int, int, int]


@dataclass(slots=True)
class _Lookup:
    """A request that looks for beginnings in the cache: its tokens that are certain, and possible, so far."""

    sent_ns: int
    first_ns: int
    counted_in: Sequence[PromptStats]
    certain: int = 0
    possible: int = 0

    def found(self, available_ns: int, least: int, most: int) -> None:
        """A beginning of so many tokens was in the cache from that time on."""
        certain = max(self.certain, least if available_ns <= self.sent_ns else 0)
        possible = max(self.possible, most if available_ns < self.first_ns else 0)
        for stats in self.counted_in:
            stats.expected_certain_tokens += certain - self.certain
            stats.expected_possible_tokens += possible - self.possible
        self.certain, self.possible = certain, possible


class ExpectedHits:
    """Of a run."""

    def __init__(self) -> None:
        self._flushed_before: list[int] = []
        #: Since when a beginning was in the cache, on the run's clock.
        self._available: dict[_Place, int] = {}
        self._waiting: dict[_Place, list[tuple[_Lookup, int, int]]] = {}

    def flush(self, level_index: int) -> None:
        """The caches are emptied before this level."""
        self._flushed_before.append(level_index)

    def enter(self, row: RequestRow, counted_in: Sequence[PromptStats]) -> None:
        """Count what the request should have found, and remember what it left. counted_in: the statistics that it
        belongs to."""
        if row.shared_parts is None:
            return
        lookup = self._lookup(row, counted_in)
        left_ns = None if row.ttft_ns is None else row.sent_ns + row.ttft_ns
        flushes = bisect_right(self._flushed_before, row.level_index)
        for key, least, most in row.shared_parts:
            place = row.host_index, row.model_index, flushes, key
            available_ns = self._available.get(place)
            if lookup is not None and most:
                if available_ns is not None:
                    lookup.found(available_ns, least, most)
                if available_ns is None or available_ns > row.sent_ns:
                    self._waiting.setdefault(place, []).append((lookup, least, most))
            if left_ns is not None and (available_ns is None or left_ns < available_ns):
                self._leave(place, left_ns)

    def _lookup(self, row: RequestRow, counted_in: Sequence[PromptStats]) -> _Lookup | None:
        """None where the server does not say how many tokens the prompt has."""
        if row.prompt_tokens_source != "usage" or not row.prompt_tokens or row.ttft_ns is None:
            return None
        for stats in counted_in:
            stats.prompt_tokens_with_expected += row.prompt_tokens
        return _Lookup(row.sent_ns, row.sent_ns + row.ttft_ns, counted_in)

    def _leave(self, place: _Place, left_ns: int) -> None:
        self._available[place] = left_ns
        waiting = self._waiting.pop(place, [])
        for lookup, least, most in waiting:
            lookup.found(left_ns, least, most)
        if still := [each for each in waiting if each[0].sent_ns < left_ns]:
            self._waiting[place] = still
