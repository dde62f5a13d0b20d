"""How summary.json has the requests of a level that their users left before the end."""

from __future__ import annotations

import msgspec


class WasteFigures(msgspec.Struct, frozen=True, kw_only=True):
    """What the server did for requests that had been abandoned, by its own metrics, in a level's hold.

    samples: of these metrics. running_mean: requests that the server ran or queued and nobody waited for any more, on
    average, with its 95 % interval (None where there are fewer than 8 samples). seconds_per_request: how long the
    server went on with an abandoned request, on average, 0 where that interval reaches below 0. tokens: that the
    server generated and that did not arrive here, tokens_low and tokens_high: within what the samples at the hold's
    edges leave open, 0 where tokens_low is 0; share: of all that it generated; None where it does not count its
    tokens, or events here hold several.
    """

    samples: int
    running_mean: float | None = None
    running_mean_low: float | None = None
    running_mean_high: float | None = None
    seconds_per_request: float | None = None
    tokens: float | None = None
    tokens_low: float | None = None
    tokens_high: float | None = None
    share: float | None = None


class AbandonFigures(msgspec.Struct, frozen=True, kw_only=True):
    """The requests of a level's hold that their users were to leave before the end.

    requested_share: of the requests, 0 to 1, and after: when users leave, as --abandon has both. drawn: requests whose
    users were to leave; abandoned: those that they left, and share: of all requests of the hold; ended_before: whose
    response was over before; the others of `drawn` failed or were cut by the run. late_p99_s, late_max_s: how much
    later than they were to users left. overstayed: ended ok though their user was to leave long before.
    as_requested: whether chance explains the share that was drawn, and none overstayed. waste: None where it is not
    known; waste_note says why.
    """

    requested_share: float
    after: str
    requests: int
    drawn: int
    abandoned: int
    share: float | None
    ended_before: int
    late_p99_s: float | None = None
    late_max_s: float | None = None
    overstayed: int = 0
    as_requested: bool = True
    waste: WasteFigures | None = None
    waste_note: str = ""
