"""How often the same text was sent again, and how much of the prompts the server says it had cached.

A text that was sent before may be answered from the server's prefix cache, and its time to first token is then the
cache's. Here a text is all that is sent: the system prompt, if there is one, and the user's message.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field

from tokenswarm.metrics.timeline import Outcome
from tokenswarm.recording.worker_report import RequestRow
from tokenswarm.run_folder.prompt_figures import PromptFigures

#: Of vLLM; other engines have smaller blocks, or find less of a prompt that was sent before.
_LAST_BLOCK_TOKENS = 16


@dataclass(slots=True)
class PromptStats:
    """Counts of one part of a level. Token sums are of the requests that have the count."""

    requests: int = 0
    repeated: int = 0
    requests_with_usage: int = 0
    prompt_tokens: int = 0
    prompt_tokens_with_cached: int = 0
    cached_tokens: int = 0
    #: Of requests of which it is known what they should have found in the cache, and that (see ExpectedHits).
    prompt_tokens_with_expected: int = 0
    expected_certain_tokens: int = 0
    expected_possible_tokens: int = 0
    repeated_from_earlier_levels: int = 0
    first_sent: int = 0
    first_sent_cached: int = 0

    def add(self, row: RequestRow, first_level: int | None) -> None:
        """Count a request. first_level: the index of the level that its text was first sent in, None where that is by
        this request."""
        if not _was_sent(row):
            return
        self.requests += 1
        self.repeated += first_level is not None
        self.repeated_from_earlier_levels += first_level is not None and first_level != row.level_index
        if row.prompt_tokens_source != "usage" or row.prompt_tokens is None:
            return
        self.requests_with_usage += 1
        self.prompt_tokens += row.prompt_tokens
        if row.cached_tokens is not None:
            self.prompt_tokens_with_cached += row.prompt_tokens
            self.cached_tokens += row.cached_tokens
            if first_level is None and row.turn <= 1:  # later turns find what the ones before sent
                self.first_sent += 1
                self.first_sent_cached += _is_cached_whole(row.prompt_tokens, row.cached_tokens)

    def figures(self) -> PromptFigures:
        """The counts as shares and means."""
        return PromptFigures(
            requests=self.requests,
            repeated=self.repeated,
            repeated_share=_ratio(self.repeated, self.requests),
            prompt_tokens_mean=_ratio(self.prompt_tokens, self.requests_with_usage),
            cached_share=_ratio(self.cached_tokens, self.prompt_tokens_with_cached),
            expected_share_min=_ratio(self.expected_certain_tokens, self.prompt_tokens_with_expected),
            expected_share_max=_ratio(self.expected_possible_tokens, self.prompt_tokens_with_expected),
            repeated_from_earlier_levels=self.repeated_from_earlier_levels,
            first_sent=self.first_sent,
            first_sent_cached_share=_ratio(self.first_sent_cached, self.first_sent),
        )


@dataclass(slots=True)
class SentPrompts:
    """All texts of a run, by their hashes; about 100 bytes for each different text."""

    stats: PromptStats = field(default_factory=PromptStats)
    _flushed_before: list[int] = field(default_factory=list)
    #: The level that each text was first sent in, by its hash and how often the cache had been flushed.
    _first_levels: dict[int, int] = field(default_factory=dict)

    def flush(self, level_index: int) -> None:
        """The server's prefix cache was emptied before this level: texts of before count as not sent."""
        self._flushed_before.append(level_index)

    def enter(self, row: RequestRow, *, counts: bool = True) -> int | None:
        """Take note of a request of the run. counts: whether it is in the run's figures. Returns the level that its
        text was first sent in, None where that is by this request."""
        if not _was_sent(row):
            return None
        number = bisect_right(self._flushed_before, row.level_index) << 64 | int(row.prompt_hash, 16)
        first_level = self._first_levels.get(number)
        self._first_levels.setdefault(number, row.level_index)
        if counts:
            self.stats.add(row, first_level)
        return first_level


def _was_sent(row: RequestRow) -> bool:
    return bool(row.prompt_hash) and row.outcome not in (Outcome.REFUSED, Outcome.CLIENT_LIMIT)


def _is_cached_whole(prompt_tokens: int, cached_tokens: int) -> bool:
    """Whether a cache held all but the last block, whose last token is always computed."""
    return prompt_tokens - cached_tokens <= _LAST_BLOCK_TOKENS < cached_tokens


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None
