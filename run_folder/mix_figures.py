"""How summary.json has the requests to one of several models or hosts, or of one name."""

from __future__ import annotations

import msgspec

from tokenswarm.run_folder.distribution import Distribution, RateDistribution


class MemberFigures(msgspec.Struct, frozen=True, kw_only=True):
    """The requests to one model or host, or of one name, in one scope of a level. Times in seconds, rates per second.

    requests: sent in the scope; share: of all requests of the scope; requested_share: None where none is requested.
    repeated: requests whose text had been sent before in the run; None in older folders. outcomes, failures,
    output_tokens, token_rate, request_token_rate and latencies: as in the figures of the scope.
    """

    name: str
    requests: int
    share: float | None
    requested_share: float | None
    outcomes: dict[str, int]
    failures: int
    output_tokens: float
    token_rate: float | None
    request_rate: float | None
    ttft_s: Distribution
    tpot_s: Distribution
    e2e_s: Distribution
    request_token_rate: RateDistribution
    repeated: int | None = None
