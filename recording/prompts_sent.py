"""How often the same text was sent again, and how much of the prompts the server says it had cached.

A text that was sent before may be answered from the server's prefix cache, and its time to first token is then the
cache's. Here a text is all that is sent: the system prompt, if there is one, and the user's message.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from tokenswarm.metrics.timeline import Outcome
from tokenswarm.recording.worker_report import RequestRow
from tokenswarm.run_folder.schema import PromptFigures


@dataclass(slots=True)
class PromptStats:
    """Counts of one part of a level. Token sums are of the requests that have the count."""

    requests: int = 0
    repeated: int = 0
    requests_with_usage: int = 0
    prompt_tokens: int = 0
    prompt_tokens_with_cached: int = 0
    cached_tokens: int = 0

    def add(self, row: RequestRow, repeated: bool) -> None:
        """Count a request; `repeated`: its text was sent before."""
        if not _was_sent(row):
            return
        self.requests += 1
        self.repeated += repeated
        if row.prompt_tokens_source != "usage" or row.prompt_tokens is None:
            return
        self.requests_with_usage += 1
        self.prompt_tokens += row.prompt_tokens
        if row.cached_tokens is not None:
            self.prompt_tokens_with_cached += row.prompt_tokens
            self.cached_tokens += row.cached_tokens

    def figures(self) -> PromptFigures:
        """The counts as shares and means."""
        return PromptFigures(
            requests=self.requests,
            repeated=self.repeated,
            repeated_share=_ratio(self.repeated, self.requests),
            prompt_tokens_mean=_ratio(self.prompt_tokens, self.requests_with_usage),
            cached_share=_ratio(self.cached_tokens, self.prompt_tokens_with_cached),
        )


@dataclass(slots=True)
class SentPrompts:
    """All texts of a run, by their hashes; about 70 bytes for each different text."""

    stats: PromptStats = field(default_factory=PromptStats)
    _hashes: set[int] = field(default_factory=set)

    def enter(self, row: RequestRow, *, counts: bool = True) -> bool:
        """Take note of a request of the run. counts: whether it is in the run's figures. Returns whether its text was
        sent before."""
        if not _was_sent(row):
            return False
        number = int(row.prompt_hash, 16)
        repeated = number in self._hashes
        self._hashes.add(number)
        if counts:
            self.stats.add(row, repeated)
        return repeated


def _was_sent(row: RequestRow) -> bool:
    return bool(row.prompt_hash) and row.outcome not in (Outcome.REFUSED, Outcome.CLIENT_LIMIT)


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None
