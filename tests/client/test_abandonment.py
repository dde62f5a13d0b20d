"""Users that leave before the response ends: from a real socket to requests.csv."""

from __future__ import annotations

from typing import Any

import pytest

from tests.client.test_wire_cases import DONE, END, HEAD, OK, PING, USAGE, WHOLE, Ended, chunk, ended, outputs
from tests.peer import Server, until
from tokenswarm.metrics.abandonment import Abandonment
from tokenswarm.metrics.timeline import Timeline

FIRST = Abandonment(0.1, "first", after_tokens=1)
AFTER_THREE = Abandonment(0.1, "3tok", after_tokens=3)
SOON = Abandonment(0.1, "50ms", after_s=0.05)
LEFT = "its user left (--abandon)"
BY_USAGE = (
    b'data: {"choices":[{"index":0,"delta":{"content":"so"}}],"usage":{"prompt_tokens":11,"completion_tokens":3}}\n\n'
)


def check_left(row: dict[str, str], timeline: Timeline) -> None:
    """It is over for its user when that left, which was after it was to."""
    assert row["abandons"] == "True" and float(row["abandon_late_ms"]) >= 0
    waited_ms = (timeline.over_ns - timeline.sent_ns) / 1e6
    assert float(row["abandoned_ms"]) == pytest.approx(waited_ms)
    assert row["duration_ms"] == ""


@pytest.mark.parametrize("measure_gaps", [True, False])
@pytest.mark.parametrize(("plan", "tokens"), [(FIRST, 1), (AFTER_THREE, 3)])
def test_a_user_leaves_with_the_output_that_it_waited_for(
    plan: Abandonment, tokens: int, measure_gaps: bool, server: Server, askers: Any
) -> None:
    user = askers(server.origin, measure_gaps=measure_gaps, abandonment=plan)
    user.begins()
    peer = server.accept()
    peer.request()
    peer.send(HEAD + chunk(PING))
    for seen in range(1, tokens + 1):
        peer.send(chunk(outputs(1)))
        until(user.has_seen(seen))
    assert peer.hears_the_end()
    row = user.row()
    assert ended(row) == Ended("abandoned", "200", str(tokens), LEFT)
    (timeline,) = user.timelines
    check_left(row, timeline)
    late_ns = timeline.over_ns - timeline.last_ns
    assert float(row["abandon_late_ms"]) == pytest.approx(late_ns / 1e6)


def test_tokens_are_counted_as_the_server_counts_them_so_far(server: Server, askers: Any) -> None:
    user = askers(server.origin, abandonment=AFTER_THREE)
    user.begins()
    peer = server.accept()
    peer.request()
    peer.send(HEAD + chunk(BY_USAGE))
    assert peer.hears_the_end()
    assert ended(user.row()) == Ended("abandoned", "200", "3", LEFT)


@pytest.mark.parametrize("sent", [b"", HEAD, HEAD + chunk(outputs(2))])
def test_a_user_leaves_when_its_time_is_up_whatever_has_arrived(sent: bytes, server: Server, askers: Any) -> None:
    user = askers(server.origin, abandonment=SOON)
    user.begins()
    peer = server.accept()
    peer.request()
    peer.send(sent)
    assert peer.hears_the_end()
    row = user.row()
    tokens = "2" if b"data" in sent else "0"
    assert ended(row) == Ended("abandoned", "200" if sent else "", tokens, LEFT)
    check_left(row, user.timelines[0])
    waited_ms = float(row["abandoned_ms"])
    assert waited_ms >= 50 and float(row["abandon_late_ms"]) == pytest.approx(waited_ms - 50, abs=1e-3)
    assert (row["ttft_ms"] != "") is (tokens == "2")


@pytest.mark.parametrize("plan", [AFTER_THREE, FIRST, Abandonment(0.1, "20s", after_s=20.0)])
def test_a_response_whose_end_came_by_then_is_what_it_is(plan: Abandonment, server: Server, askers: Any) -> None:
    user = askers(server.origin, abandonment=plan)
    user.begins()
    peer = server.accept()
    peer.request()
    peer.send(WHOLE)
    row = user.row()
    assert ended(row) == OK
    assert (row["abandons"], row["abandoned_ms"], row["abandon_late_ms"]) == ("True", "", "")


def test_a_time_limit_that_comes_first_ends_the_request(server: Server, askers: Any) -> None:
    user = askers(server.origin, abandonment=Abandonment(0.1, "20s", after_s=20.0), first_token_s=0.05)
    user.begins()
    server.accept().request()
    assert ended(user.row()) == Ended("timeout", "", "0", "no output within 0.05 s")


def test_the_next_request_has_a_connection_of_its_own(server: Server, askers: Any) -> None:
    user = askers(server.origin, abandonment=FIRST)
    user.begins()
    peer = server.accept()
    peer.request()
    peer.send(HEAD + chunk(outputs(1)))
    assert peer.hears_the_end()
    until(user.is_idle)
    user.begins()
    other = server.accept()
    other.request()
    other.send(HEAD + chunk(outputs(1) + USAGE + DONE) + END)
    first, second = user.rows()
    assert (first["outcome"], second["outcome"], second["output_tokens"]) == ("abandoned", "ok", "7")
