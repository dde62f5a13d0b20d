"""Which row of a client's record is which row of the server's log."""

from __future__ import annotations

import pytest

from benchmarks.matching import MatchError, match

MS = 1_000_000


def test_requests_without_ids_are_matched_in_order_of_sending_and_arrival(served, seen):
    """Neither side logs in this order: requests are written down as they end. The clocks differ by 5 s."""
    ours = [seen(300.0), seen(100.0), seen(200.0)]
    theirs = [served(1, 5200.02), served(0, 5100.01), served(2, 5300.01)]
    assert match(ours, theirs) == [(ours[1], theirs[1]), (ours[2], theirs[0]), (ours[0], theirs[2])]


def test_ids_win_over_the_order_of_sending(served, seen):
    ours = [seen(100.0, request_id="a"), seen(200.0, request_id="b")]
    theirs = [served(0, 5100.0, request_id="b"), served(1, 5200.0, request_id="a")]
    assert match(ours, theirs) == [(ours[1], theirs[0]), (ours[0], theirs[1])]


def test_a_request_that_one_side_lacks_is_no_match(served, seen):
    with pytest.raises(MatchError, match="the client recorded 2 requests, the server 1"):
        match([seen(100.0), seen(200.0)], [served(0, 5100.0)])


def test_an_id_that_one_side_lacks_is_no_match(served, seen):
    ours = [seen(100.0, request_id="a"), seen(200.0, request_id="b")]
    with pytest.raises(MatchError, match="logged 1 requests that the client knows nothing of"):
        match(ours, [served(0, 5100.0, request_id="a"), served(1, 5200.0, request_id="c")])
    with pytest.raises(MatchError, match="the client recorded 2 requests, the server 1"):
        match(ours, [served(0, 5100.0, request_id="a")])


def test_an_id_used_twice_is_no_match(served, seen):
    with pytest.raises(MatchError, match="used 1 request ids twice"):
        match([seen(1.0, request_id="a"), seen(2.0, request_id="a")], [served(0, 1.0, request_id="a")])


def test_pairs_shifted_by_one_request_are_found_out(served, seen):
    """As many on both sides, but the client lost its first and the server its last: the times between differ."""
    times_ms = [0.0, 20.0, 70.0, 80.0, 200.0, 230.0]
    ours = [seen(time_ms) for time_ms in times_ms[:-1]]
    theirs = [served(number, 5000 + time_ms) for number, time_ms in enumerate(times_ms[1:])]
    with pytest.raises(MatchError, match="these are not the same requests"):
        match(ours, theirs)


def test_one_slow_request_in_a_hundred_does_not_break_the_match(served, seen):
    """A client can be descheduled between taking the time and sending; the order is what it was."""
    ours = [seen(100.0 * number) for number in range(100)]
    theirs = [served(number, 5000 + 100.0 * number + (40.0 if number == 50 else 0.0)) for number in range(100)]
    assert match(ours, theirs) == list(zip(ours, theirs, strict=True))


def test_requests_that_overtook_themselves_are_matched_by_the_lengths_of_their_answers(served, seen):
    """The client took the time of the longer one first, and sent it last; both sides have the shorter one end first."""
    ours = [seen(103.0, usage_tokens=32), seen(100.0, usage_tokens=61)]
    theirs = [served(0, 5104.0, tokens=32, last_ns=5_900 * MS), served(1, 5105.0, tokens=61, last_ns=6_600 * MS)]
    assert match(ours, theirs) == [(ours[0], theirs[0]), (ours[1], theirs[1])]


def test_answers_of_one_length_are_matched_in_the_order_in_which_they_ended(served, seen):
    ours = [seen(0.0, sent_ns=None, usage_tokens=tokens) for tokens in (32, 61, 32)]
    theirs = [
        served(0, 0.0, tokens=61, last_ns=1_700 * MS),
        served(1, 1.0, tokens=32, last_ns=1_000 * MS),
        served(2, 2_000.0, tokens=32, last_ns=3_000 * MS),
    ]
    assert match(ours, theirs) == [(ours[0], theirs[1]), (ours[1], theirs[0]), (ours[2], theirs[2])]


def test_what_a_client_cut_off_at_its_end_is_left_out_and_so_is_what_ended_after_it_looked(served, seen):
    ours = [seen(0.0, sent_ns=None, usage_tokens=32)]
    theirs = [
        served(0, 0.0, tokens=32, last_ns=1_000 * MS),
        served(1, 1.0, tokens=61, last_ns=1_700 * MS),
        served(2, 2.0, tokens=9, outcome="client_gone", last_ns=900 * MS),
    ]
    assert match(ours, theirs) == [(ours[0], theirs[0])]


def test_answers_of_other_lengths_are_no_match(served, seen):
    ours = [seen(0.0, sent_ns=None, usage_tokens=tokens) for tokens in (32, 61)]
    theirs = [served(0, 0.0, tokens=32), served(1, 1.0, tokens=62)]
    with pytest.raises(MatchError, match="of 2 answers that the client recorded, 1 are of lengths"):
        match(ours, theirs)
    with pytest.raises(MatchError, match="of 2 answers that the client recorded, 1 are of lengths"):
        match(ours, theirs[:1])


def test_a_failed_request_has_no_length_to_be_known_by(served, seen):
    ours = [seen(0.0, usage_tokens=10), seen(1.0, ok=False)]
    with pytest.raises(MatchError, match="1 of 2 requests failed, and the client's record does not say which"):
        match(ours, [served(0, 0.0), served(1, 1.0)])
    with pytest.raises(MatchError, match="1 of 1 requests failed"):
        match([seen(0.0, sent_ns=None, ok=False)], [served(0, 0.0)])


def test_answers_of_one_length_that_are_shifted_by_one_are_found_out(served, seen):
    """Three on both sides, but the client lost its first and the server its last."""
    ours = [seen(second * 1000.0, usage_tokens=10) for second in (0, 2, 3)]
    theirs = [served(number, 5000.0 + second * 1000.0) for number, second in enumerate((2, 3, 7))]
    with pytest.raises(MatchError, match="by when they were sent, 2 of 3 requests are more than 500 ms off"):
        match(ours, theirs)


def test_nothing_matches_nothing():
    assert match([], []) == []
