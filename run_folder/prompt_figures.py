"""How summary.json has the prompts of a part of a run."""

from __future__ import annotations

import msgspec


class PromptFigures(msgspec.Struct, frozen=True):
    """The prompts of one scope of a level, or of a run.

    requests: that reached the server with a known text. repeated: those whose text had been sent before in this run;
    repeated_share: of `requests`, 0 to 1. prompt_tokens_mean: by the server's usage. cached_share: prompt tokens that
    the usage says were cached, as a share of the prompt tokens of the requests that say so. expected_share_min,
    expected_share_max: prompt tokens that should have been cached, by what was sent before: those that are certain, and
    those that are possible. repeated_from_earlier_levels: of `repeated`, those first sent in another level.
    first_sent: single requests, or first turns, that sent their text for the first time in this run and whose usage
    says what was cached; first_sent_cached_share: of these, those whose whole text was, so that it had been sent before
    the run. None: not known.
    """

    requests: int = 0
    repeated: int = 0
    repeated_share: float | None = None
    prompt_tokens_mean: float | None = None
    cached_share: float | None = None
    expected_share_min: float | None = None
    expected_share_max: float | None = None
    repeated_from_earlier_levels: int = 0
    first_sent: int = 0
    first_sent_cached_share: float | None = None
