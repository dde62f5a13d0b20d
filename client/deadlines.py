"""Until when a response may take: the next limit, from what has happened so far. No clock."""

from __future__ import annotations

from typing import NamedTuple

from tokenswarm.client.timeouts import Timeouts
from tokenswarm.metrics.timeline import Outcome

#: After the dialect's end of stream, how long the response may take to end too before its connection is given up.
LINGER_S = 1.0
#: A sleep ends a little behind its limit, so that the limit is over then.
_MARGIN_S = 0.001


class Deadline(NamedTuple):
    """at_ns: when the time is over (perf_counter_ns). message: what took too long, or that the user left. outcome: of a
    request that this ends."""

    at_ns: float
    message: str
    outcome: Outcome = Outcome.TIMEOUT


def next_deadline(
    timeouts: Timeouts,
    *,
    sent_ns: int,
    last_output_ns: int | None,
    behind_ns: int | None,
    terminal_event_ns: int | None,
    outputs: int,
    leaves_ns: float | None = None,
) -> Deadline:
    """The next limit of a response. Pings and comments are no output: they change nothing.

    sent_ns: when the request was sent for the first time. last_output_ns: None before the first output. behind_ns:
    until when the server may have waited for this process. terminal_event_ns: when the stream's end or error arrived.
    outputs: how many have arrived. leaves_ns: when the user leaves, None where it does not, or not by the clock.
    """
    if terminal_event_ns is not None:
        return Deadline(terminal_event_ns + LINGER_S * 1e9, "the response did not end after its stream had")
    total = Deadline(sent_ns + timeouts.total_s * 1e9, f"not ended within {timeouts.total_s:g} s")
    if leaves_ns is not None:
        total = min(total, Deadline(leaves_ns, "its user left (--abandon)", Outcome.ABANDONED))
    if last_output_ns is None:
        first_s = timeouts.first_token_s
        return min(total, Deadline(sent_ns + first_s * 1e9, f"no output within {first_s:g} s"))
    idle = f"no further output for {timeouts.idle_s:g} s after {outputs} outputs"
    return min(total, Deadline(max(last_output_ns, behind_ns or 0) + timeouts.idle_s * 1e9, idle))


def sleep_s(deadline: Deadline, now_ns: int, idle_s: float) -> float:
    """How long to sleep: until a moment past the next limit. Output moves that limit while the greenlet sleeps: later,
    and then the greenlet finds nothing overdue and sleeps on; or, as the first output does, to idle_s from then, which
    is not before idle_s from now."""
    return max(0.0, min((deadline.at_ns - now_ns) / 1e9, idle_s) + _MARGIN_S)
