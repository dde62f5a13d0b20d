"""What a run would send, as figures: lengths, sharing, sessions, arrivals, time, totals."""

from __future__ import annotations

import msgspec


class NumberFigures(msgspec.Struct, frozen=True, kw_only=True):
    """Of numbers, such as tokens. n: how many; percentiles are the values of the nearest rank."""

    n: int
    mean: float
    min: int
    p50: int
    p90: int
    p99: int
    max: int


class ModeFigures(msgspec.Struct, frozen=True, kw_only=True):
    """The requests in one system-prompt mode (`on`, `off`), in tokens.

    requests, sessions: that are described. input_tokens: of whole prompts; output_tokens: of answers; turns: of
    sessions. prefix_groups: different shared prefixes that they have; prefix_share: of the input tokens, those of
    shared prefixes, 0 to 1. cache_hit_ratio_min, cache_hit_ratio_max: of the input tokens, those that a prefix cache
    without a limit would hold when they come one after the other. abandoned_share: of the requests, those that their
    users leave."""

    system_prompt: str
    requests: int
    sessions: int
    input_tokens: NumberFigures
    output_tokens: NumberFigures
    turns: NumberFigures
    prefix_groups: int
    prefix_share: float
    cache_hit_ratio_min: float
    cache_hit_ratio_max: float
    abandoned_share: float


class LevelFigures(msgspec.Struct, frozen=True, kw_only=True):
    """A level of the plan, or a warm-up. Times in seconds.

    users: of a closed loop, 0 in an open one. level_time_s: its ramp included; None where its end is open. requests,
    sessions: how many it has, None where that depends on the server. rate: of arrivals, mean over the level, in
    requests/s, or sessions/s where these arrive; gap_cv: coefficient of variation of the times between arrivals, and
    dispersion: index of dispersion of their counts, both of time in which the rate is constant; None in a closed loop
    and where there are too few. think_time_mean_s: expected, None without any.
    """

    index: int
    system_prompt: str
    level: str
    warm_up: bool = False
    users: int = 0
    ramp_s: float = 0.0
    level_time_s: float | None = None
    requests: int | None = None
    sessions: int | None = None
    process: str | None = None
    rate: float | None = None
    gap_cv: float | None = None
    dispersion: float | None = None
    max_in_flight: int | None = None
    think_time: str | None = None
    think_time_mean_s: float | None = None


class TotalFigures(msgspec.Struct, frozen=True, kw_only=True):
    """Of all levels but warm-ups; None where it depends on the server. duration_s: of all levels and the pauses between
    them, warm-ups included and drains left out; is_longest: whether levels end sooner where their requests are answered
    sooner. is_extrapolated: whether tokens are the described ones in proportion
    to the number of requests."""

    duration_s: float | None = None
    is_longest: bool = False
    requests: int | None = None
    sessions: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    is_extrapolated: bool = False


class TooShort(msgspec.Struct, frozen=True):
    """Why a run with these input lengths would not start, a clause that begins with the system-prompt mode. is_sure:
    whether that holds however far the estimated tokens are off."""

    text: str
    is_sure: bool


class PartFigures(msgspec.Struct, frozen=True, kw_only=True):
    """One of several models or hosts. part_of: what is spread over them (`sessions`, `requests`, `users`); share: that
    this one is to get of these, 0 to 1; drawn_share: of the described requests, None where that depends on the
    server."""

    name: str
    part_of: str
    share: float
    drawn_share: float | None = None


class WorkloadDescription(msgspec.Struct, frozen=True, kw_only=True):
    """What a run with these options would send. source: of the prompts; seed: of all that is drawn. token_counting: who
    counted the input tokens (`requested`, `recorded`, `tokenizer`, `estimate`). outputs_exact: whether all answers have
    the described length; else it is what was recorded, or the most that is allowed. block_tokens: of the prefix cache.
    models, hosts: where there are several. too_short: input lengths with which a run would not start, by system-prompt
    mode. notes: sentences on what is estimated, and what depends on the server."""

    source: str
    seed: int
    token_counting: str
    outputs_exact: bool
    cache: str
    block_tokens: int
    abandon: str | None = None
    abandon_share: float | None = None
    modes: tuple[ModeFigures, ...]
    levels: tuple[LevelFigures, ...]
    totals: TotalFigures
    models: tuple[PartFigures, ...] = ()
    hosts: tuple[PartFigures, ...] = ()
    too_short: tuple[TooShort, ...] = ()
    notes: tuple[str, ...] = ()
