"""From hand-made logs to a row of the table."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks import figures
from benchmarks.records import Cost, Load, Run

MS = 1_000_000


def run(
    served, seen=None, *, hold_s=10, cpu_s=1.0, peak_bytes=100_000_000, exit_code=0, in_time=True, users=100, memory=()
):
    return Run(
        Load(users, 2, hold_s), Cost(exit_code, cpu_s, peak_bytes, in_time), served, seen, list(memory), other_load=0.1
    )


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [
        ([5.0], 0.5, 5.0),
        ([4.0, 1.0, 3.0, 2.0], 0.5, 2.0),
        (list(range(1, 101)), 0.99, 99),
        (list(range(1, 101)), 0.991, 100),
        (list(range(1, 101)), 0.0, 1),
    ],
)
def test_a_percentile_is_the_value_of_rank_share_times_n_rounded_up(values, share, expected):
    assert figures.percentile(values, share) == expected


def test_there_is_no_percentile_of_nothing():
    with pytest.raises(ValueError, match="no percentile of nothing"):
        figures.percentile([], 0.5)


def test_segments_that_were_sent_again_are_a_share_of_the_tokens(served):
    long = replace(run([served(0, 0.0, tokens=200)], hold_s=20), sent_again=1)
    assert figures.row("client", run([served(0, 0.0)]), long).sent_again_percent == 0.5
    assert figures.row("client", run([served(0, 0.0)]), run([served(0, 0.0)])).sent_again_percent is None


def test_errors_are_absolute_and_in_milliseconds():
    assert figures.spread([-3 * MS, 1 * MS, 2 * MS]) == figures.Spread(count=3, median=2.0, p99=3.0, max=3.0)
    assert figures.spread([]) is None


def test_a_ttft_error_is_the_clients_ttft_less_the_servers_request_by_request(served, seen):
    pairs = [(seen(0.0, ttft_ms=201.5), served(0, 0.0)), (seen(9.0, ttft_ms=249.0), served(1, 9.0, ttft_ms=250.0))]
    assert figures.accuracy(pairs, ramp_s=0).ttft_error_ms == figures.Spread(2, 1.0, 1.5, 1.5)


def test_requests_of_the_ramp_count_for_tokens_but_not_for_errors(served, seen):
    pairs = [
        (seen(0.0, ttft_ms=900.0, events=9), served(0, 0.0)),
        (seen(1999.0, ttft_ms=900.0), served(1, 1999.0)),
        (seen(2000.0, ttft_ms=203.0), served(2, 2000.0)),
    ]
    found = figures.accuracy(pairs, ramp_s=2)
    assert found.ttft_error_ms == figures.Spread(1, 3.0, 3.0, 3.0)
    assert (found.requests, found.lost) == (3, 1)


def test_gap_errors_are_of_the_requests_whose_gaps_the_client_measured(served, seen):
    pairs = [
        (seen(0.0, gap_max_ns=None), served(0, 0.0)),
        (seen(1.0, gap_max_ns=29 * MS), served(1, 1.0, gap_max_ns=25 * MS)),
    ]
    assert figures.accuracy(pairs, ramp_s=0).gap_error_ms == figures.Spread(1, 4.0, 4.0, 4.0)


def test_lost_and_doubled_tokens_do_not_cancel_out(served, seen):
    pairs = [
        (seen(0.0, events=7), served(0, 0.0, tokens=10)),
        (seen(1.0, events=12), served(1, 1.0, tokens=10)),
        (seen(2.0, events=10), served(2, 2.0, tokens=10)),
    ]
    found = figures.accuracy(pairs, ramp_s=0)
    assert (found.lost, found.doubled, found.failed) == (3, 2, 0)


def test_a_client_that_counts_no_tokens_of_its_own_can_neither_lose_nor_double_any(served, seen):
    found = figures.accuracy([(seen(0.0, events=None, usage_tokens=10), served(0, 0.0))], ramp_s=0)
    assert (found.lost, found.doubled, found.failed) == (None, None, 0)


def test_a_request_that_either_side_saw_fail_has_failed_and_gives_no_error(served, seen):
    pairs = [
        (seen(0.0, ok=False, events=3, ttft_ms=500.0), served(0, 0.0)),
        (seen(1.0, ttft_ms=500.0), served(1, 1.0, outcome="client_gone")),
        (seen(2.0, ttft_ms=200.0), served(2, 2.0)),
    ]
    found = figures.accuracy(pairs, ramp_s=0)
    assert (found.requests, found.failed, found.lost) == (3, 2, 0)
    assert found.ttft_error_ms == figures.Spread(1, 0.0, 0.0, 0.0)


def test_marginal_cost_is_what_the_longer_run_took_more_over_the_tokens_it_brought_more(served):
    short = run([served(0, 0.0, tokens=1000)], hold_s=4, cpu_s=2.5)
    long = run([served(0, 0.0, tokens=21_000)], hold_s=12, cpu_s=3.0)
    us_per_token, tokens_per_s = figures.marginal(short, long)
    assert us_per_token == pytest.approx(25.0)
    assert tokens_per_s == pytest.approx(2500.0)


def test_the_rate_of_a_client_that_counts_requests_is_over_the_time_in_which_they_came(served):
    """It was given the requests of eight more seconds, and took ten."""
    short = replace(run([served(0, 500.0, tokens=1000), served(1, 4500.0)], hold_s=4), counted=True)
    long = replace(run([served(0, 500.0, tokens=21_000), served(1, 14_500.0)], hold_s=12), counted=True)
    assert figures.marginal(short, long)[1] == pytest.approx(2000.0)
    assert figures.marginal(replace(short, served=[]), long)[1] == pytest.approx(21_010 / 14)


def test_there_is_no_marginal_cost_without_more_tokens(served):
    same = run([served(0, 0.0)], hold_s=4)
    assert figures.marginal(same, run([served(0, 0.0)], hold_s=12)) == (None, None)


def test_the_memory_of_users_is_what_was_held_between_first_and_last_request_less_what_was_held_before(served):
    memory = [(1 * MS, 10_000_000), (90 * MS, 60_000_000), (300 * MS, 64_000_000), (400 * MS, 62_000_000)]
    charts = [(600 * MS, 125_000_000)]
    ran = run([served(0, 100.0), served(1, 500.0)], users=200, memory=memory + charts)
    assert figures.mb_per_1000_users(ran) == pytest.approx(20.0)


def test_memory_that_nobody_looked_at_in_time_is_undefined(served):
    assert figures.mb_per_1000_users(run([served(0, 100.0)], memory=[(600 * MS, 1)])) is None
    assert figures.mb_per_1000_users(run([], memory=[(1 * MS, 1)])) is None


def test_a_row_marks_a_server_that_was_late_after_the_ramp(served):
    in_ramp = served(0, 0.0, late_max_ns=90 * MS)
    on_time = run([in_ramp, served(1, 2500.0, late_max_ns=1 * MS)])
    late = run([in_ramp, served(1, 2500.0, late_max_ns=20 * MS)])
    assert not figures.row("a", on_time, on_time).server_late
    marked = figures.row("a", on_time, late)
    assert marked.server_late
    assert marked.late_max_ms == 20.0


def test_a_row_says_what_went_wrong(served, seen):
    good = run([served(0, 0.0)], hold_s=4)
    assert figures.row("a", good, run([served(0, 0.0)], exit_code=3)).note == "ended with exit code 3"
    assert figures.row("a", good, run([], in_time=False, exit_code=-9)).note == "stopped: it did not end in time"
    unlike = figures.row("a", good, run([served(0, 0.0)], [seen(0.0), seen(1.0)]))
    assert unlike.note == "not matched: the client recorded 2 requests, the server 1"
    assert unlike.accuracy is None


def test_a_clients_share_of_a_core_is_its_cost_times_the_rate():
    assert figures.share_of_a_core(us_per_token=70.0, tokens_per_s=20_000) == pytest.approx(1.4)
