"""What a client finds of itself: by hand-made pairs, and by really streaming from the paced server."""

from __future__ import annotations

from array import array

import pytest

import tokenswarm.target.embedded_servers
import tokenswarm.users.self_check
from tokenswarm.client.measurement_options import Stamps, TokenTimes
from tokenswarm.client.option_values import OptionError
from tokenswarm.metrics.client_health import ErrorSpread
from tokenswarm.metrics.timeline import Outcome, Timeline
from tokenswarm.target.embedded_servers import SentResponse
from tokenswarm.users.self_check import SelfCheckFailed, judge, self_check

MS = 1_000_000


def seen(sent_ms: float, *arrivals_ms: float, outcome: Outcome = Outcome.OK, **changes: object) -> Timeline:
    """An answer as the client tells of it: its tokens so long after its sending."""
    sent_ns = round(sent_ms * MS)
    arrivals_ns = array("q", [sent_ns + round(arrived_ms * MS) for arrived_ms in arrivals_ms])
    facts: dict[str, object] = {
        **dict.fromkeys(("scheduled_ns", "sent_ns", "over_ns"), sent_ns),
        "first_ns": arrivals_ns[0] if arrivals_ns else None,
        "outputs_ns": arrivals_ns,
    }
    return Timeline("7", 0, outcome, **(facts | changes))  # type: ignore[arg-type]


def sent(wire_ms: float, ttft_ms: float, tokens: int, gap_max_ms: float) -> SentResponse:
    return SentResponse(round(wire_ms * MS), round((wire_ms + ttft_ms) * MS), tokens, round(gap_max_ms * MS))


def test_errors_are_the_clients_times_less_the_servers() -> None:
    """Whatever lies between the two clocks."""
    checked = judge(
        {"7": [seen(1000, 200.5, 225, 251), seen(2000, 200.1, 225)], "8": [seen(1000, 199, 224)]},
        {"7": [sent(1, 200, 3, 25), sent(1001, 200, 2, 25)], "8": [sent(1, 200, 2, 25)]},
        all_there_ns=0,
    )
    assert (checked.users, checked.answers) == (2, 3)
    assert checked.ttft_error_s == ErrorSpread(*map(pytest.approx, (0.0005, 0.001, 0.001)))
    assert checked.gap_error_s == ErrorSpread(*map(pytest.approx, (0.0001, 0.001, 0.001)))


def test_what_was_asked_while_users_were_still_coming_is_not_judged() -> None:
    checked = judge(
        {"7": [seen(1000, 250, 275), seen(2000, 200, 225)]},
        {"7": [sent(1000, 200, 2, 25), sent(2000, 200, 2, 25)]},
        all_there_ns=1500 * MS,
    )
    assert (checked.answers, checked.ttft_error_s.max) == (1, 0.0)


def test_where_no_gaps_are_measured_no_gap_error_is_told() -> None:
    checked = judge({"7": [seen(0, 200, 250, gaps_measured=False)]}, {"7": [sent(0, 200, 2, 25)]}, all_there_ns=0)
    assert (checked.ttft_error_s.p99, checked.gap_error_s) == (0.0, None)


@pytest.mark.parametrize(
    ("answer", "truth", "sentence"),
    [
        (seen(0, 200, 225), [sent(0, 200, 3, 25)], "wrote a response of 3 tokens, its client read 2"),
        (seen(0, 200, 225), [], "report different numbers of responses"),
        (seen(0, 200, 225), [sent(0, 200, 2, 25)] * 2, "report different numbers of responses"),
        (
            seen(0, outcome=Outcome.TRUNCATED, error="the connection broke"),
            [sent(0, 200, 2, 25)],
            "a response of the self-check ended truncated: the connection broke",
        ),
    ],
    ids=["a token is lost", "an answer that nobody sent", "an answer is lost", "an answer that broke"],
)
def test_a_client_that_loses_what_it_was_sent_is_refused(
    answer: Timeline, truth: list[SentResponse], sentence: str
) -> None:
    with pytest.raises(SelfCheckFailed, match=sentence):
        judge({"7": [answer]}, {"7": truth}, all_there_ns=0)


@pytest.mark.slow
@pytest.mark.parametrize(("times", "has_gaps"), [(TokenTimes.ALL, True), (TokenTimes.ENDS, False)])
def test_a_process_measures_itself_against_the_paced_server(times: TokenTimes, has_gaps: bool) -> None:
    checked = self_check(3, times, Stamps.KERNEL, 1)
    assert checked.users == 3
    assert checked.answers >= 3
    # How small they are is for benchmarks to say: here, that they are errors and not times.
    assert 0 < checked.ttft_error_s.p50 <= checked.ttft_error_s.p99 <= checked.ttft_error_s.max
    assert checked.ttft_error_s.p50 < 0.1
    assert (checked.gap_error_s is not None) == has_gaps


def test_a_paced_server_that_does_not_come_up_is_told_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenswarm.target.embedded_servers.sys, "executable", "/bin/false")
    with pytest.raises(OptionError, match=r"--self-check: the server of known speed did not start \(it said ''\)"):
        self_check(1, TokenTimes.ALL, Stamps.KERNEL, 1)


def test_a_self_check_that_does_not_end_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenswarm.users.self_check, "_PATIENCE_S", -0.95)  # a tenth of a second for all of it
    with pytest.raises(SelfCheckFailed, match="the self-check did not end within"):
        self_check(1, TokenTimes.ALL, Stamps.KERNEL, 1)
