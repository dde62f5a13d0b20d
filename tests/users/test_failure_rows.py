"""One kind of failure is one row of Locust's table of errors, whatever its counts, ids and quoted bytes."""

from __future__ import annotations

import pytest

from tests.run_fixtures import make_timeline
from tokenswarm.metrics.timeline import Outcome
from tokenswarm.users.requests import _kind_of_failure


def row(error: str) -> str:
    return _kind_of_failure(make_timeline((), outcome=Outcome.TRUNCATED, error=error))


@pytest.mark.parametrize(
    "errors",
    [
        [f"the stream ended after {outputs} outputs without its end" for outputs in (4, 37, 1234)],
        [f"no further output for 30 s after {outputs} outputs" for outputs in (1, 90)],
        [f"the stream ended after {tokens} of the 512 tokens that --ignore-eos requests" for tokens in (3, 511)],
        [f"event {number} is no chat chunk: Expected `object`: '{text}'" for number, text in ((2, "oops"), (71, "no"))],
        [f"the stream ended inside an event: {rest!r}" for rest in (b'data: {"a', b"data: {'b'", b"x")],
        [f"request {name} was aborted" for name in ("chatcmpl-1a2b3c", "chatcmpl-99ffee")],
        [f"This model's maximum is 8192 tokens, you requested {tokens} tokens" for tokens in (9, 9000)],
        [f"your prompt contains {tokens} input tokens, which is too long" for tokens in (9418, 12000)],
    ],
)
def test_failures_that_differ_in_counts_alone_are_one_row(errors: list[str]) -> None:
    assert len({row(error) for error in errors}) == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("HTTP 500: no", "HTTP 503: no"),
        ("no output within 5 s", "no output within 60 s"),
        ("expected text/event-stream, got text/html: Sign in", "expected text/event-stream, got text/html: Gone"),
    ],
)
def test_failures_that_differ_in_kind_are_rows_of_their_own(one: str, other: str) -> None:
    assert row(one) != row(other)
