"""How long each part of a request may take."""

from __future__ import annotations

from dataclasses import dataclass

from tokenswarm.command_line import OptionAdder


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long each part of a request may take, in seconds. idle_s: between two outputs; pings do not reset it."""

    connect_s: float
    first_token_s: float
    idle_s: float
    total_s: float


def add_timeouts(option: OptionAdder) -> None:
    """Add the options to Locust's parser."""
    option.time("--connect-timeout", "time limit of connecting (DNS, TCP and TLS)", default="10s")
    option.time("--first-token-timeout", "time limit from sending a request to its first token", default="120s")
    option.time("--idle-timeout", "time limit between two outputs of a stream", default="60s")
    option.time("--request-timeout", "time limit of a whole request", default="10m")
