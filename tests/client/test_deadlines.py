"""Until when a response may take, and how long its greenlet sleeps."""

from __future__ import annotations

import pytest

import tokenswarm.client.deadlines
from tokenswarm.client.deadlines import Deadline, next_deadline, sleep_s
from tokenswarm.client.timeouts import Timeouts

S = 1_000_000_000
TIMEOUTS = Timeouts(connect_s=1.0, first_token_s=10.0, idle_s=3.0, total_s=20.0)


@pytest.mark.parametrize(
    ("last_output_s", "behind_s", "terminal_event_s", "deadline_s", "words"),
    [
        (None, None, None, 10, "no output within 10 s"),
        (4, None, None, 7, "no further output for 3 s after 1 outputs"),
        (4, 6, None, 9, "no further output for 3 s after 1 outputs"),  # the server waited for this process until then
        (18, None, None, 20, "not ended within 20 s"),
        (4, None, 5, 5, "the response did not end after its stream had"),
    ],
)
def test_the_next_limit_is_of_what_has_happened_so_far(
    last_output_s: int | None, behind_s: int | None, terminal_event_s: int | None, deadline_s: int, words: str
) -> None:
    def ns(seconds: int | None) -> int | None:
        return None if seconds is None else seconds * S

    found = next_deadline(
        TIMEOUTS,
        sent_ns=0,
        last_output_ns=ns(last_output_s),
        behind_ns=ns(behind_s),
        terminal_event_ns=ns(terminal_event_s),
        outputs=1,
    )
    linger_s = 0.0 if terminal_event_s is None else tokenswarm.client.deadlines.LINGER_S
    assert found == Deadline((deadline_s + linger_s) * S, words)


def test_a_sleep_ends_when_its_limit_is_over_and_not_before() -> None:
    assert 2.0 < sleep_s(Deadline(5 * S, ""), 3 * S, 9.0) < 2.1
    assert 1.0 < sleep_s(Deadline(5 * S, ""), 3 * S, 1.0) < 1.1  # after a first output it is idle_s that counts
    assert sleep_s(Deadline(5 * S, ""), 9 * S, 9.0) == 0.0
