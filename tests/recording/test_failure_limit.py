"""When so many of the last requests failed that a run is stopped."""

from __future__ import annotations

import msgspec
import pytest

from tokenswarm.metrics.timeline import Outcome
from tokenswarm.recording.failure_limit import FailureLimit, FailureLimitError, FailureWatch
from tokenswarm.recording.worker_report import RequestRow

FAILED, CUT, LEFT, OK = Outcome.HTTP_ERROR, Outcome.CUT, Outcome.ABANDONED, Outcome.OK
_REQUIRED = [field.name for field in msgspec.structs.fields(RequestRow) if field.required]


def row(outcome: Outcome, error: str | None = None, ended_s: float = 0.0) -> RequestRow:
    """Of a request of which nothing else matters here."""
    fields = dict.fromkeys(_REQUIRED)
    fields |= {"outcome": outcome, "error": error, "ended_ns": round(ended_s * 1e9)}  # type: ignore[dict-item]
    return RequestRow(**fields)  # type: ignore[arg-type]


def stops_at(limit: str, outcomes: str) -> int | None:
    """The number of the request, from 1, at which a run of these (f failed, o ok, c cut, a abandoned) is stopped."""
    watch = FailureWatch(FailureLimit.parse(limit), outage_s=0.0)
    for number, letter in enumerate(outcomes, start=1):
        if watch.reason_to_stop([row({"f": FAILED, "o": OK, "c": CUT, "a": LEFT}[letter])]):
            return number
    return None


@pytest.mark.parametrize(
    ("limit", "outcomes", "number"),
    [
        ("100%:3", "fff", 3),
        ("100%:3", "ofof" + "fff", 6),
        ("100%:3", "ffofofof", None),
        ("100%:3", "ff" + "o" * 9, None),
        ("100%:3", "fcfccf", 6),
        ("100%:3", "fafaaf", 6),
        ("50%:4", "ofof", 4),
        ("50%:4", "offf", 4),
        ("50%:4", "oofooof" + "f", 8),
        ("1%:2", "oooof", 5),
        ("7%:100", "o" * 93 + "f" * 7, 100),
        ("100%:1", "of", 2),
        ("100 % : 2", "ff", 2),
        ("off", "f" * 99, None),
    ],
)
def test_a_run_is_stopped_by_the_share_of_its_last_requests(limit: str, outcomes: str, number: int | None) -> None:
    assert stops_at(limit, outcomes) == number


@pytest.mark.parametrize(("answered_before", "stops_after_s"), [(False, 0.5), (True, 15.5)])
def test_an_outage_is_given_time_once_the_server_has_answered(answered_before: bool, stops_after_s: float) -> None:
    """100 failures a second: of a server that never answered 50 are enough, one that did may be restarting."""
    watch = FailureWatch(FailureLimit.parse("100%:50"))
    if answered_before:
        assert watch.reason_to_stop([row(OK)]) is None
    times_s = (number / 100 for number in range(1, 10_000))
    stopped_s = next(when_s for when_s in times_s if watch.reason_to_stop([row(FAILED, ended_s=when_s)]))
    assert stopped_s == pytest.approx(stops_after_s, abs=0.02)


def test_a_server_that_comes_back_within_its_time_goes_on() -> None:
    watch = FailureWatch(FailureLimit.parse("100%:50"))
    outage = [row(FAILED, ended_s=number / 10) for number in range(140)]
    back = [row(OK, ended_s=15.0), *[row(FAILED, ended_s=16.0 + number / 10) for number in range(140)]]
    assert watch.reason_to_stop([row(OK), *outage, *back]) is None


def test_the_reason_has_the_most_frequent_message_of_the_server() -> None:
    watch = FailureWatch(FailureLimit.parse("60%:5"), outage_s=0.0)
    rows = [row(OK), row(FAILED, "HTTP 500: x"), *[row(FAILED, "HTTP 401: bad key")] * 2, row(OK)]
    reason = watch.reason_to_stop(rows)
    assert reason is not None
    assert "HTTP 401: bad key" in reason
    assert "3 of the last 5" in reason


@pytest.mark.parametrize("text", ["", "on", "100%", "50", "0%:50", "101%:50", "100%:0", "x%:3", "100%:1.5", "-5%:3"])
def test_what_is_no_limit_is_refused(text: str) -> None:
    with pytest.raises(FailureLimitError, match="100%:50"):
        FailureLimit.parse(text)


def test_the_reason_says_once_that_connections_were_refused_and_what_to_do() -> None:
    watch = FailureWatch(FailureLimit.parse("100%:2"))
    reason = watch.reason_to_stop([row(Outcome.REFUSED, "no connection to 127.0.0.1:9: Connection refused")] * 2)
    assert reason is not None
    assert reason.count("refused") == 1
    assert "--stop-after-failures off" in reason


def test_the_reason_of_answers_that_the_locustfile_refuses_sends_nobody_to_the_server_s_log() -> None:
    watch = FailureWatch(FailureLimit.parse("100%:2"))
    reason = watch.reason_to_stop([row(Outcome.WRONG_ANSWER, "no number in it")] * 2)
    assert reason is not None
    assert "no number in it" in reason and "check=" in reason
    assert "server" not in reason
