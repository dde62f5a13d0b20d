"""How summary.json has the sessions of a level, and its requests by turn and by uncached input tokens."""

from __future__ import annotations

import msgspec

from tokenswarm.run_folder.distribution import Distribution


class GroupFigures(msgspec.Struct, frozen=True, kw_only=True):
    """Some requests that were sent in a level's hold. Times in seconds.

    failures: as in the figures of the level. The other figures are of ok requests: prompt_tokens_mean; cached_share: of
    the prompt tokens of those whose usage says how many were cached, 0 to 1, and uncached_tokens_mean of these. None:
    not known.
    """

    requests: int
    failures: int
    prompt_tokens_mean: float | None = None
    cached_share: float | None = None
    uncached_tokens_mean: float | None = None
    ttft_s: Distribution
    e2e_s: Distribution


class TurnFigures(GroupFigures, frozen=True, kw_only=True):
    """The requests of one turn. turn: from 1; and_later: of this turn and all behind it."""

    turn: int
    and_later: bool = False


class DepthFigures(GroupFigures, frozen=True, kw_only=True):
    """The requests of agents that have so many agents above them (depth, 0: those that sessions begin with), in
    sessions with sub-agents. agents: that sent their first request in the hold. joins: requests before which an agent
    waited for its sub-agents; join_s: for how long, from the end of its request before to that of its last sub-agent.
    """

    depth: int
    agents: int
    joins: int
    join_s: Distribution


class UncachedFigures(msgspec.Struct, frozen=True):
    """TTFT (seconds) of the ok requests of a level's hold of which so many input tokens, from least_tokens to
    most_tokens, were not cached."""

    least_tokens: int
    most_tokens: int
    requests: int
    ttft_s: Distribution


class SessionFigures(msgspec.Struct, frozen=True, kw_only=True):
    """The sessions of a level. Times in seconds.

    started: whose first turn was sent in the level; completed: whose last turn was answered; failed: that a failed turn
    ended, overflowed: of these, by a request that is longer than the model's context; abandoned: that their user left
    in mid-turn; unfinished: that the end of the level ended. turns_mean, duration_s (first turn sent to last turn over,
    think times included) and waited_s (TTFT and decoding of all turns together): of completed ones. out_of_order:
    requests that were not of the turn behind the one before; overlapping: that were sent before the one before was
    over; both are 0 unless the client is defective. empty_answers: requests of turns before the last one that were ok
    without any visible text, such as reasoning that took all of the allowed tokens; later turns have an empty answer
    then. turns: by turn; depths: by depth of the agent; uncached: by uncached input tokens; ttft_per_uncached_token_s:
    by how much TTFT grows with each of these (least squares); None where the usage of no request says what was
    cached. ran_dry_s: when the first user had no further session to begin, since the level began, which ended its load;
    None where none had. repeated: sessions of a row of the source that another session of the level was of."""

    started: int
    completed: int
    failed: int
    abandoned: int = 0
    unfinished: int
    turns_mean: float | None
    duration_s: Distribution
    waited_s: Distribution
    out_of_order: int = 0
    overlapping: int = 0
    empty_answers: int = 0
    turns: tuple[TurnFigures, ...] = ()
    uncached: tuple[UncachedFigures, ...] = ()
    depths: tuple[DepthFigures, ...] = ()
    overflowed: int = 0
    ran_dry_s: float | None = None
    repeated: int = 0
    ttft_per_uncached_token_s: float | None = None
