"""Which client runs under which load, and what it is measured by."""

from __future__ import annotations

from benchmarks.__main__ import left_out, load_for
from benchmarks.clients import CLIENTS
from benchmarks.figures import ClientRow
from benchmarks.launch import busy_ticks
from benchmarks.records import Load


def test_all_users_are_there_within_two_seconds_or_at_two_hundred_a_second():
    assert load_for(100, 15) == Load(100, ramp_s=2, hold_s=15)
    assert load_for(1000, 10) == Load(1000, ramp_s=5, hold_s=10)


def test_a_client_that_would_fill_its_core_is_left_out_and_the_table_says_why():
    earlier = [
        ClientRow("slow", 100, us_per_token=70.0, peak_mb=60.0),
        ClientRow("quick", 100, us_per_token=20.0, peak_mb=60.0),
    ]
    assert left_out(earlier, "quick", 500) == ""
    note = left_out(earlier, "slow", 500)
    assert note == "left out: 70 µs/token (at 100 users) times 20,000 tokens/s would take 140 % of its core"
    with_gap = [*earlier, ClientRow("slow", 500, note)]
    assert "40,000 tokens/s would take 280 %" in left_out(with_gap, "slow", 1000)


def test_a_client_that_did_nothing_with_few_users_is_left_out_with_more():
    assert left_out([ClientRow("broken", 100, peak_mb=60.0)], "broken", 500).startswith("left out")
    assert left_out([], "new", 500) == ""


def test_every_client_gets_the_same_load(tmp_path):
    for client in CLIENTS:
        command = " ".join(client.command(Load(500, 4, 12), "http://127.0.0.1:1234", tmp_path))
        assert "http://127.0.0.1:1234" in command
        assert " 500" in command
        assert " 125" in command
        assert " 16" in command


def test_busy_time_is_of_the_named_cores_and_leaves_idle_out():
    lines = ["cpu  9 9 9 9 9 9 9 9 0 0", "cpu0 1 2 3 1000 1000 4 5 6 0 0", "cpu1 10 0 0 5 5 0 0 0 0 0", "intr 12 13"]
    assert busy_ticks(lines, [0]) == 21
    assert busy_ticks(lines, [0, 1]) == 31
