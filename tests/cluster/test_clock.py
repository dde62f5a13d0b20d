"""The offset between two clocks, from messages whose times are known."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tokenswarm.cluster.clock import ClockExchange, ClockOffset

nanoseconds = st.integers(0, 10**9)


@given(
    st.integers(-(10**18), 10**18), st.lists(st.tuples(nanoseconds, nanoseconds, nanoseconds), min_size=1, max_size=39)
)
def test_the_offset_is_never_further_off_than_it_says(ahead_ns: int, ways: list[tuple[int, int, int]]) -> None:
    """Ways there, times at the other side, and ways back, of any length."""
    clock = ClockOffset()
    for there_ns, stay_ns, back_ns in ways:
        received_ns = 5 + there_ns + ahead_ns
        clock.add(ClockExchange(5, received_ns, received_ns + stay_ns, 5 + there_ns + stay_ns + back_ns))
    assert clock.offset_ns is not None
    assert clock.error_ns is not None
    assert abs(clock.offset_ns - ahead_ns) <= clock.error_ns + 1
    assert clock.error_ns == min(there_ns + back_ns for there_ns, _, back_ns in ways) // 2


def test_before_any_message_nothing_is_known() -> None:
    assert (ClockOffset().offset_ns, ClockOffset().error_ns) == (None, None)


def test_an_answer_that_was_there_before_its_question_is_left_out() -> None:
    clock = ClockOffset()
    clock.add(ClockExchange(100, 0, 50, 120))
    assert clock.offset_ns is None


def test_the_best_of_the_last_forty_counts() -> None:
    clock = ClockOffset()
    clock.add(ClockExchange(0, 1_000, 1_000, 2))
    for number in range(39):
        clock.add(ClockExchange(0, 2_000 + number, 2_000 + number, 100))
    assert clock.offset_ns == 999
    clock.add(ClockExchange(0, 3_000, 3_000, 90))
    assert clock.offset_ns == 2_955
