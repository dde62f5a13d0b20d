"""The timing error of this process's client: it streams from a local server that logs its own sends.

Requests take the same path as those of users, from StreamingRequest down to the socket; only the server differs. It is
a child of this process on the loopback, so the result holds for this machine and this load, whatever the network to the
server under test adds.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import gevent

from tokenswarm.client.measurement_options import Stamps, TokenTimes, stamps_in_use, tap_of
from tokenswarm.client.request_spec import RequestSpec
from tokenswarm.client.run_context import GapSampling
from tokenswarm.client.streaming_request import StreamingRequest
from tokenswarm.client.timeouts import Timeouts
from tokenswarm.engines import ENGINES, ChatRequest
from tokenswarm.metrics.client_health import ErrorSpread, SelfCheck
from tokenswarm.metrics.quantiles import rank
from tokenswarm.metrics.timeline import Outcome, Timeline
from tokenswarm.target.embedded_servers import PacedServerProcess, SentResponse
from tokenswarm.wire import Origin, StreamClient

_USERS_PER_S = 500.0
#: For how long requests are sent once all users are there.
_HOLD_S = 2.0
_PATIENCE_S = 20.0
_TIMEOUTS = Timeouts(connect_s=_PATIENCE_S, first_token_s=_PATIENCE_S, idle_s=_PATIENCE_S, total_s=_PATIENCE_S)
_ENGINE = ENGINES["vllm"]
_QUESTION = ChatRequest(model="paced", prompt="How late are you?", system_prompt=None, max_tokens=64)


class SelfCheckFailed(ValueError):
    """A process could not measure itself, or lost what it was sent; the text says what happened."""


def self_check(users: int, token_times: TokenTimes, stamps: Stamps, processes: int) -> SelfCheck:
    """Stream as so many users for some seconds, and compare. stamps, processes: as for stamps_in_use. Raises
    SelfCheckFailed, OptionError."""
    stamps = stamps_in_use(stamps, processes)
    tap = tap_of(stamps, processes)
    limit_s = users / _USERS_PER_S + _HOLD_S + 2 * _PATIENCE_S
    too_late = SelfCheckFailed(f"the self-check did not end within {limit_s:g} s")
    with gevent.Timeout(limit_s, too_late), PacedServerProcess() as server:
        try:
            stamping = {"kernel_stamps": stamps is not Stamps.USER, "tap": tap}
            seen, all_there_ns = _stream(server.host, users, token_times, stamping)
        finally:
            if tap is not None:
                tap.close()
        sent = server.end()
    return judge(seen, sent, all_there_ns)


def judge(
    seen: Mapping[str, Sequence[Timeline]], sent: Mapping[str, Sequence[SentResponse]], all_there_ns: int
) -> SelfCheck:
    """Errors of the responses whose requests were sent from all_there_ns on, by user in the order of sending; earlier
    ones must only be whole. Raises SelfCheckFailed."""
    pairs = [pair for user in sorted(seen) for pair in zip(seen[user], sent.get(user, ()))]
    answers = sum(map(len, seen.values()))
    if len(pairs) != answers or answers != sum(map(len, sent.values())):
        raise SelfCheckFailed("the self-check's client and server report different numbers of responses")
    for timeline, truth in pairs:
        if timeline.outcome is not Outcome.OK:
            raise SelfCheckFailed(f"a response of the self-check ended {timeline.outcome}: {timeline.error}")
        if timeline.output_events != truth.tokens:
            raise SelfCheckFailed(
                f"the self-check's server wrote a response of {truth.tokens} tokens, its client read "
                f"{timeline.output_events}"
            )
    judged = [pair for pair in pairs if pair[0].sent_ns >= all_there_ns]
    gap_errors_ns = [
        abs(int(timeline.gaps_ns.max()) - truth.gap_max_ns) for timeline, truth in judged if len(timeline.gaps_ns)
    ]
    return SelfCheck(
        users=len(seen),
        answers=len(judged),
        ttft_error_s=_spread([abs((timeline.ttft_ns or 0) - truth.ttft_ns) for timeline, truth in judged]),
        gap_error_s=_spread(gap_errors_ns) if gap_errors_ns else None,
    )


def _stream(
    host: str, users: int, token_times: TokenTimes, stamping: Mapping[str, Any]
) -> tuple[dict[str, list[Timeline]], int]:
    """Every response by its user, and since when all users were there (perf_counter_ns)."""
    sampling = GapSampling(token_times)
    origin = Origin.parse(host)
    ramp_s = users / _USERS_PER_S
    all_there_ns = time.perf_counter_ns() + round(ramp_s * 1e9)
    until_ns = all_there_ns + round(_HOLD_S * 1e9)
    senders = [
        gevent.spawn_later(user / _USERS_PER_S, _send, all_there_ns, until_ns, origin, str(user), sampling, stamping)
        for user in range(users)
    ]
    try:
        gevent.joinall(senders, raise_error=True)
    finally:
        gevent.killall(senders)
    return {str(user): greenlet.value or [] for user, greenlet in enumerate(senders)}, all_there_ns


def _send(
    from_ns: int, until_ns: int, origin: Origin, user: str, sampling: GapSampling, stamping: Mapping[str, Any]
) -> list[Timeline]:
    """One user's responses: at least one sent after from_ns, and more until until_ns."""
    client = StreamClient(origin, _TIMEOUTS.connect_s, {"X-Request-Id": user}, **stamping)
    answers: list[Timeline] = []
    try:
        while not answers or answers[-1].sent_ns < from_ns or time.perf_counter_ns() < until_ns:
            spec = RequestSpec(_ENGINE, _QUESTION, _TIMEOUTS, user, measure_gaps=sampling.measures_next())
            answers.append(StreamingRequest(client, spec).run())
    finally:
        client.close()
    return answers


def _spread(errors_ns: list[int]) -> ErrorSpread:
    ascending = sorted(errors_ns)
    p50, p99 = (ascending[rank(len(ascending), p) - 1] / 1e9 for p in (0.5, 0.99))
    return ErrorSpread(p50, p99, ascending[-1] / 1e9)
