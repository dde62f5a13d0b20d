"""The table says what summary.json says, and first of all whether to believe it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.reports.folders import write_csv
from tokenswarm.reports import units
from tokenswarm.reports.checks.check_report import CheckStatus, check_run
from tokenswarm.reports.checks.conditions import parse_conditions
from tokenswarm.reports.html.run_page import page_of
from tokenswarm.reports.markdown import run_markdown
from tokenswarm.reports.text_table import header_lines, summary_table
from tokenswarm.reports.warnings import warnings_of
from tokenswarm.run_folder.reader import load_results
from tokenswarm.run_folder.schema import REQUEST_COLUMNS
from tokenswarm.sanitize import NO_KEY, SENT_WITH, SentKey, key_advice, shown_values

Json = dict[str, Any]
Make = Callable[..., Json]
Write = Callable[..., Path]

# The widest table's columns, left to right.
NAMES = (
    "users",
    "prompt",
    "sent",
    "failed",
    "p50",
    "interval",
    "p95",
    "p99",
    "all",
    "one_user",
    "tpot",
    *("good_rate", "good_share"),
)


def rows(table: str) -> list[dict[str, str]]:
    """The rows of the widest table, read back by column."""
    lines = table.splitlines()
    start = next(index for index, line in enumerate(lines) if line.split()[:2] == ["users", "prompt"]) + 1
    end = lines.index("", start)
    names = NAMES if "share" in lines[start - 1] else NAMES[:-2]
    return [dict(zip(names, re.split(r"\s{2,}", line.strip()), strict=True)) for line in lines[start:end]]


def seconds(text: str) -> float:
    number, unit = text.rstrip("*").split()
    return float(number.replace(",", "")) * {"ms": 0.001, "s": 1.0}[unit]


def number(text: str) -> float:
    return float(text.rstrip("*").replace(",", ""))


def digits(value: float) -> Any:
    """Equal as far as three digits can show."""
    return pytest.approx(value, rel=0.006)


def test_every_figure_read_back_is_the_summary_s(write_run: Write, make_ladder: Callable[[], list[Json]]) -> None:
    ladder = make_ladder()
    for index, level in enumerate(ladder):
        level["hold"]["goodput"] = {"requests_per_s": 1.5 + index, "tokens_per_s": 300.0, "fraction": 0.5 + index / 20}
    found = rows(summary_table(load_results(write_run(ladder)), 140))
    assert len(found) == len(ladder)
    for row, level in zip(found, ladder, strict=True):
        hold = level["hold"]
        assert (row["users"], row["prompt"]) == (level["level"], level["system_prompt"])
        assert (number(row["sent"]), number(row["failed"])) == (hold["requests"], 0)
        for name in ("p50", "p95", "p99"):
            assert seconds(row[name]) == digits(hold["ttft_s"][name]["value"])
        low, high = row["interval"].removesuffix(" ms").split("–")
        assert (number(low), number(high)) == (
            digits(hold["ttft_s"]["p50"]["low"] * 1000),
            digits(hold["ttft_s"]["p50"]["high"] * 1000),
        )
        assert number(row["all"]) == digits(hold["token_rate"])
        assert number(row["one_user"]) == digits(hold["request_token_rate"]["p50"]["value"])
        assert seconds(row["tpot"]) == digits(hold["tpot_s"]["p50"]["value"])
        assert number(row["good_rate"]) == digits(hold["goodput"]["requests_per_s"])
        assert row["good_share"] == f"{hold['goodput']['fraction'] * 100:.1f} %"


def test_the_header_names_what_was_run_and_a_sound_run_raises_no_alarm(write_run: Write) -> None:
    table = summary_table(load_results(write_run()))
    values = [("vllm", "llama-3-8b", "http://gpu:8000"), ("2024-06-05 14:03 UTC", "finished"), ("valid", "2,560")]
    for line, expected in zip(table.splitlines(), values, strict=False):
        assert all(value in line for value in expected)
    assert "!" not in table
    assert "Failures" not in table


def test_without_objectives_there_is_no_goodput(write_run: Write) -> None:
    results = load_results(write_run())
    table = summary_table(results)
    assert len(rows(table)) == 6
    assert not any("good" in line or "SLO" in line for line in table.splitlines())
    markdown = run_markdown(results, check_run([], results))
    (headings,) = [line for line in markdown.splitlines() if line.startswith("| users |")]
    assert "good" not in headings


def test_objectives_are_stated(write_run: Write) -> None:
    table = summary_table(load_results(write_run(summary={"objectives": {"ttft_s": 0.5, "tpot_s": 0.05}})))
    assert "SLO: ttft ≤ 500 ms, tpot ≤ 50 ms" in table


@pytest.mark.parametrize(
    ("status", "alarm"),
    [
        ("interrupted", "!!! INTERRUPTED: "),
        ("failed", "!!! FAILED: "),
        ("running", "!!! NOT ENDED: "),
    ],
)
def test_a_run_that_did_not_finish_says_so_loudly(write_run: Write, status: str, alarm: str) -> None:
    table = summary_table(load_results(write_run(run={"status": status}, summary={"status": status})))
    assert any(line.startswith(alarm) for line in table.splitlines())
    assert status.upper() in table.splitlines()[1]


def test_a_suspect_run_says_so_with_every_reason(write_run: Write) -> None:
    validity = {"verdict": "suspect", "reasons": ["no kernel stamps", "the loop lag reached 210 ms"]}
    table = summary_table(load_results(write_run(summary={"validity": validity})))
    assert "SUSPECT" in table.splitlines()[2]
    alarms = [line for line in table.splitlines() if line.startswith("!!! SUSPECT: ")]
    assert [reason in alarm for reason, alarm in zip(validity["reasons"], alarms, strict=True)] == [True, True]


def test_a_reason_of_several_levels_is_said_once_with_all_of_them(write_run: Write) -> None:
    messages = [(0, "2 users without system prompt", "late"), (1, "4 users without system prompt", "late")]
    messages += [(1, "4 users without system prompt", "uncertain")]
    validity = {
        "verdict": "suspect",
        "reasons": [f"{where}: {message}" for _, where, message in messages],
        "issues": [{"kind": message, "message": message, "level": index} for index, _, message in messages],
    }
    results = load_results(write_run(summary={"validity": validity}))
    alarms = [warning for warning in warnings_of(results) if warning.startswith("SUSPECT")]
    assert alarms == [
        "SUSPECT: 2, 4 users without system prompt: late.",
        "SUSPECT: 4 users without system prompt: uncertain.",
    ]
    assert [reason.text for reason in check_run([], results).unreliable] == [
        alarm.removeprefix("SUSPECT: ").removesuffix(".") for alarm in alarms
    ]


def test_a_worker_that_needs_more_than_its_core_is_told(write_run: Write) -> None:
    hint = "worker 1 used 97% of a core in the hold of level 100 (system prompt off): give the load more processes"
    table = summary_table(load_results(write_run(summary={"hints": [hint]})), width=200)
    assert [hint in line for line in table.splitlines() if line.startswith("!!! ")] == [True]


def test_what_each_worker_found_of_itself_stands_in_the_header(write_run: Write) -> None:
    errors = {"p50": 0.000014, "p99": 0.000048, "max": 0.00215}
    check = {"users": 50, "answers": 132, "ttft_error_s": errors, "gap_error_s": None}
    workers = [{"worker": 0, "self_check": check}, {"worker": 1, "self_check": check | {"gap_error_s": errors}}]
    summary = {"workers": [*workers, {"worker": 2, "self_check": None}]}
    lines = summary_table(load_results(write_run(summary=summary)), width=200)
    told = [line for line in lines.splitlines() if line.startswith("Self-check")]
    assert len(told) == 2
    for worker, line in enumerate(told):
        assert re.findall(r"[\d.]+(?: ms)?", line.partition("gap")[0]) == [
            *(str(worker), "50", "132"),
            *("50", "0.014 ms", "99", "0.048 ms", "2.15 ms"),
        ]
    assert ["gap error" in line for line in told] == [False, True]


def test_books_that_do_not_balance_are_told_with_all_three_counts(write_run: Write) -> None:
    books = {"ended": 1234, "recorded": 1230, "rows": 1228, "complete": False}
    table = summary_table(load_results(write_run(summary={"accounting": books})), 200)
    assert "NOT ALL ACCOUNTED FOR" in table.splitlines()[2]
    (alarm,) = [line for line in table.splitlines() if line.startswith("!!! REQUESTS UNACCOUNTED FOR: ")]
    assert re.findall(r"[\d,]*\d", alarm) == ["1,234", "1,230", "1,228"]


def test_a_level_cut_short_is_marked_and_the_mark_explained(write_run: Write, make_level: Make) -> None:
    levels = [make_level(0, 10), make_level(1, 50, "on", complete=False)]
    table = summary_table(load_results(write_run(levels)))
    assert [row["users"] for row in rows(table)] == ["10", "50!"]
    assert re.search(r"^!!! NOT COMPLETE: .*: 50 users with system prompt\.$", table, re.MULTILINE)
    assert any(line.startswith("! ") for line in table.splitlines())


def test_levels_never_reached_are_named(write_run: Write, make_level: Make) -> None:
    plan = [{"index": index, "system_prompt": "off", "level": str(users)} for index, users in enumerate((10, 50, 100))]
    table = summary_table(load_results(write_run([make_level(0, 10)], run={"plan": plan})), 200)
    told = r"^!!! NOT RUN: .*: 50 users without system prompt, 100 users without system prompt\.$"
    assert re.search(told, table, re.MULTILINE)


def test_a_percentile_not_certified_is_marked_and_the_mark_explained(write_run: Write, make_level: Make) -> None:
    levels = [make_level(0, 10, outcomes={"ok": 100}), make_level(1, 50, outcomes={"ok": 400})]
    table = summary_table(load_results(write_run(levels)))
    few, many = rows(table)
    assert (few["p95"].endswith("*"), few["p99"].endswith("*"), many["p99"].endswith("*")) == (False, True, False)
    assert units.NOT_CERTIFIED_NOTE in " ".join(table.split())


def test_cut_requests_are_counted_in_a_note(write_run: Write, make_level: Make) -> None:
    levels = [make_level(0, 10, outcomes={"ok": 400, "cut": 3}), make_level(1, 50, outcomes={"ok": 400, "cut": 1})]
    text = " ".join(summary_table(load_results(write_run(levels))).split())
    where = "(3 at 10 users without system prompt, 1 at 50 users without system prompt)"
    assert f"4 requests cancelled at the end of the run or by --drain-timeout {where}" in text


def test_mean_and_minimum_of_users_are_rounded_the_same_way(write_run: Write, make_level: Make) -> None:
    audit = {"unit": "users", "requested": 6, "measured": 5.998, "measured_min": 5.9962, "as_requested": True}
    text = summary_table(load_results(write_run([make_level(0, 6) | {"load_audit": audit}])), 200)
    assert "as requested: 6.00 of 6 users on average, 6.00 in the second with the fewest" in text


def test_a_short_lack_of_users_is_in_the_result_of_the_load_too(write_run: Write, make_level: Make) -> None:
    audit = {"unit": "users", "requested": 1, "measured": 0.9, "measured_min": 0.8, "as_requested": True}
    users = {"requested": 1, "mean": 0.9, "min": 0.8, "short_share": 0.25}
    results = load_results(write_run([make_level(0, 1) | {"load_audit": audit, "concurrency": users}]))
    text = " ".join(summary_table(results, 200).split())
    assert "as requested for 75.0 % of the hold: 0.9 of 1 users on average" in text
    assert "For 25.0 % of the hold, fewer than 95 % of them were there." in text


def test_requests_sent_and_due_are_given_with_the_requested_rate(write_run: Write, make_level: Make) -> None:
    gaps = {"process": "poisson", "gaps": 12, "distance": 0.2, "chance": 0.4, "tolerance_s": 0.001}
    gaps |= {"distance_tolerated": 0.2, "chance_tolerated": 0.4, "dispersion": None, "dispersion_requested": None}
    audit = {"unit": "requests/s", "requested": 10.0, "measured": 12.9, "as_requested": True, "gaps": gaps}
    audit |= {"lag_p50_s": 0.0001, "lag_p99_s": 0.00479, "lag_max_s": 0.00501}
    load = {"requested_rate": 10.0, "offered_rate": 12.9, "sent_rate": 12.9, "completed_rate": 12.0}
    load |= {"in_flight_mean": 2.0, "in_flight_max": 3.0}
    level = make_level(0, 10) | {"load_audit": audit, "open_loop": load}
    text = " ".join(summary_table(load_results(write_run([level])), 200).split())
    assert (
        "10 users without system prompt: as requested: sent 12.9 requests/s, due 12.9, requested 10.0 (a random "
        "schedule differs from the requested rate by chance); too few requests to test the times between them; lag p99 "
        "4.79 ms; largest lag 5.01 ms" in text
    )


@pytest.mark.parametrize(
    ("rate_as_requested", "gaps_as_requested", "late", "beginning"),
    [
        (True, None, True, "SENT LATE: lag p99 209 ms, the limit is 1.59 ms; largest lag 210 ms; sent"),
        (False, None, False, "NOT AS REQUESTED: sent 4.27 requests/s, due 4.27, requested 5.00"),
        (True, False, False, "NOT AS REQUESTED: times between requests not as in poisson arrivals; sent"),
    ],
)
def test_what_makes_the_load_another_one_comes_first(
    write_run: Write,
    make_level: Make,
    rate_as_requested: bool,
    gaps_as_requested: bool | None,
    late: bool,
    beginning: str,
) -> None:
    gaps = {"process": "poisson", "gaps": 120, "distance": 0.2, "chance": 0.4, "tolerance_s": 0.001}
    gaps |= {"distance_tolerated": 0.2, "chance_tolerated": 0.4, "dispersion": None, "dispersion_requested": None}
    audit = {"unit": "requests/s", "requested": 5.0, "measured": 4.27, "as_requested": rate_as_requested}
    audit |= {"gaps": gaps | {"as_requested": gaps_as_requested}}
    audit |= {"lag_p50_s": 0.0001, "lag_p99_s": 0.2094, "lag_max_s": 0.2099}
    load = {"requested_rate": 5.0, "offered_rate": 4.27, "sent_rate": 4.27, "completed_rate": 4.0}
    load |= {"in_flight_mean": 2.0, "in_flight_max": 3.0}
    level = make_level(0, 5) | {"level": "5/s", "load_audit": audit, "open_loop": load}
    issue = {"kind": "send_lag", "message": "late", "level": 0, "values": {"lag_p99_s": 0.2094, "bound_s": 0.00159}}
    validity = {"verdict": "suspect", "reasons": ["late"], "issues": [issue]}
    folder = write_run([level], summary={"validity": validity} if late else None)
    assert f": {beginning}" in " ".join(summary_table(load_results(folder), 300).split())


@pytest.mark.parametrize(
    ("name", "process", "random", "words"),
    [
        ("trace", "/data/azure.csv", False, "as in the trace;"),
        ("file", "/data/times.csv", False, "as in the file of arrivals;"),
        ("10/s", "gamma:2", True, "as in gamma:2 arrivals;"),
    ],
)
def test_times_between_requests_are_named_by_what_says_them(
    write_run: Write, make_level: Make, name: str, process: str, random: bool, words: str
) -> None:
    gaps = {"process": process, "gaps": 900, "distance": None, "chance": None, "tolerance_s": 0.001}
    gaps |= {"distance_tolerated": 0.0, "chance_tolerated": 1.0, "dispersion": None, "dispersion_requested": None}
    audit = {"unit": "requests/s", "requested": 10.0, "measured": 10.0, "as_requested": True}
    audit |= {"lag_p50_s": 0.0001, "lag_p99_s": 0.004, "lag_max_s": 0.005}
    load = {"requested_rate": 10.0, "offered_rate": 9.9, "sent_rate": 9.9, "completed_rate": 9.9}
    load |= {"in_flight_mean": 2.0, "in_flight_max": 3.0}
    for as_requested, beginning in ((True, ""), (False, "not ")):
        audit["gaps"] = gaps | {"as_requested": as_requested}
        level = make_level(0, 10) | {"level": name, "load_audit": audit, "open_loop": load}
        text = " ".join(summary_table(load_results(write_run([level])), 300).split())
        assert ("(a random schedule differs" in text) is random
        assert f"times between requests {beginning}{words}" in text


def test_no_footnote_where_nothing_is_marked(write_run: Write, make_level: Make) -> None:
    assert "*" not in summary_table(load_results(write_run([make_level(0, 10, outcomes={"ok": 400})])))


def test_a_level_without_an_ok_request_is_all_dashes(write_run: Write, make_level: Make) -> None:
    (row,) = rows(summary_table(load_results(write_run([make_level(0, 10, outcomes={"http_error": 9})]))))
    assert (row["sent"], row["failed"]) == ("9", "9")
    assert {row[name] for name in ("p50", "interval", "p95", "p99", "all", "one_user", "tpot")} == {"–"}


def test_failures_are_listed_by_outcome_for_the_hold_and_the_whole_level(write_run: Write, make_level: Make) -> None:
    level = make_level(0, 10, outcomes={"ok": 400, "timeout": 2, "http_error": 5, "cut": 3})
    whole = {"ok": 420, "timeout": 3, "http_error": 5, "refused": 1, "cut": 3}
    level["whole"] = make_level(0, 10, outcomes=whole)["hold"]
    table = summary_table(load_results(write_run([level, make_level(1, 50)])))
    assert table.splitlines()[-2:] == [
        "Failures by outcome, in the hold / in the whole level:",
        "  10 users without system prompt: http_error 5 / 5, timeout 2 / 3, refused 0 / 1",
    ]


def test_tokens_counted_in_two_ways_are_told(write_run: Write, make_level: Make) -> None:
    levels = [
        make_level(0, 10, output_tokens_sources={"usage": 390, "events": 0}),
        make_level(1, 50, output_tokens_sources={"usage": 400, "events": 12}),
    ]
    table = summary_table(load_results(write_run(levels)))
    assert "usage 790, events 12" in table


def test_tokens_that_are_really_events_are_told(write_run: Write, make_level: Make) -> None:
    table = summary_table(load_results(write_run([make_level(0, 10, output_tokens_sources={"events": 400})])))
    assert "Output tokens are output events" in table


def test_requests_that_were_sent_again_are_counted_below_the_table(write_run: Write, make_level: Make) -> None:
    levels = [make_level(0, 10, retries=2), make_level(1, 50, retries=1)]
    assert "3 requests sent again on a new connection" in summary_table(load_results(write_run(levels)))
    assert "sent again" not in summary_table(load_results(write_run([make_level(0, 10)])))


def test_a_level_with_a_name_of_its_own_keeps_it_beside_its_users(write_run: Write, make_level: Make) -> None:
    (row,) = rows(summary_table(load_results(write_run([make_level(0, 10) | {"level": "free"}]))))
    assert row["users"] == "free (10)"


@pytest.mark.parametrize("width", [120, 100, 80, 60])
def test_no_line_is_wider_than_the_terminal_and_no_column_is_lost(
    write_run: Write, make_ladder: Callable[[], list[Json]], width: int
) -> None:
    reasons = ["no kernel stamps on worker-1 and p99 of the client delay (31 ms) is 42 % of the TTFT median"]
    summary = {"validity": {"verdict": "suspect", "reasons": reasons}}
    levels = make_ladder()
    levels[1]["hold"]["goodput"] = {"requests_per_s": 1.5, "tokens_per_s": 300.0, "fraction": 0.5}
    table = summary_table(load_results(write_run(levels, summary=summary)), width)
    assert max(len(line) for line in table.splitlines()) <= width
    heads = [line for line in table.splitlines() if line.split()[:2] == ["users", "prompt"]]
    shown = " ".join(heads)
    assert all(name in shown for name in ("sent", "failed", "p50", "p95", "p99", "all", "one user", "req/s", "share"))
    assert len(heads) == (1 if width >= 100 else 2)
    assert ("p50 interval" in shown) == (width == 120)


@pytest.mark.parametrize("width", [120, 80])
def test_a_narrow_terminal_has_no_columns_without_any_value(
    write_run: Write, make_ladder: Callable[[], list[Json]], width: int
) -> None:
    table = summary_table(load_results(write_run(make_ladder())), width)  # no objectives, so no goodput
    heads = [line.split() for line in table.splitlines() if line.split()[:2] == ["users", "prompt"]]
    assert len(heads) == 1
    assert "share" not in heads[0]
    assert heads[0].count("p50") >= 2


def test_what_the_server_told_stands_under_the_figures_only_where_it_told_something(
    write_run: Write, make_level: Make
) -> None:
    """The client's mean TTFT is 66 ms for 10 users (1.1 of its median), the server's 60: 6 ms lie between."""
    server = {"requests_running_mean": 9.5, "requests_waiting_mean": 0.0, "kv_cache_utilization_mean": 0.31}
    server |= {"prefix_cache_hit_ratio": None, "gpu_utilization_mean": 0.97, "ttft_s_mean": 0.06}
    told = make_level(0, 10, server=server | {"output_token_rate": 488.0})
    table = summary_table(load_results(write_run([told, make_level(1, 50)])))
    assert table.lower().count("outside server") == 2  # a column, and the sentence that explains it
    block = table[: table.index("All but the last two columns are the server's")].rstrip().splitlines()
    assert re.split(r"\s{2,}", block[-2].strip()) == [
        *("10", "off", "9.50", "0", "31.0 %", "97.0 %", "488"),
        *("60.0 ms", "66.0 ms", "6.00 ms"),
    ]
    assert re.split(r"\s{2,}", block[-1].strip())[2:7] == ["–"] * 5
    assert "outside server" not in summary_table(load_results(write_run([make_level(0, 10)])))


def test_rates_and_costs_by_gpu_stand_under_the_figures_where_gpus_are_stated(
    write_run: Write, make_level: Make
) -> None:
    """485 tokens/s of 10 users and 2,425 of 50; 4 GPUs at $1.80 are $7.20 an hour, a fifth of a cent a second."""
    of_ten = {"token_rate_per_gpu": 121.25, "usd_per_million_tokens": 4.123711, "joules_per_token": 2.5}
    levels = [make_level(0, 10) | {"hardware": of_ten}, make_level(1, 50) | {"hardware": {}}]
    changes = {
        "hardware": {"gpus": 4, "name": "L4", "usd_per_gpu_hour": 1.8},
        "objectives": {"ttft_s": 0.5},
        "objective_share": 0.95,
        "capacity": [{"system_prompt": "off", "level": "10", "users": 10}],
    }
    table = summary_table(load_results(write_run(levels, summary=changes)))
    assert "4 × L4, $1.80 per GPU and hour" in table
    (at_slo,) = [line for line in table.splitlines() if "per million output tokens" in line]
    assert ("10 users" in at_slo, "$4.12" in at_slo, "121" in at_slo) == (True, True, True)
    block = table[: table.index("Tokens/s per GPU")].rstrip().splitlines()
    assert [re.split(r"\s{2,}", row.strip()) for row in block[-2:]] == [
        ["10", "off", "121", "$4.12", "2.50"],
        ["50", "off", "–", "–", "–"],
    ]
    assert "Tokens/s per GPU" not in summary_table(load_results(write_run([make_level(0, 10)])))


def test_a_server_whose_mean_ttft_is_the_longer_one_leaves_no_negative_time_for_the_network(
    write_run: Write, make_level: Make
) -> None:
    """66 ms by the client and 70 by the server are means of unlike requests."""
    table = summary_table(load_results(write_run([make_level(0, 10, server={"ttft_s_mean": 0.07})])))
    row = table[: table.index("All but the last two columns are the server's")].rstrip().splitlines()[-1]
    assert re.split(r"\s{2,}", row.strip())[-3:] == ["70.0 ms", "66.0 ms", "–"]


def test_how_far_the_objectives_are_met_is_told_by_system_prompt(write_run: Write) -> None:
    capacity = [
        {"system_prompt": "off", "level": "50", "users": 50},
        {"system_prompt": "on", "level": None, "users": None},
    ]
    changes = {"objectives": {"ttft_s": 0.5}, "objective_share": 0.95, "capacity": capacity}
    table = summary_table(load_results(write_run(summary=changes)), 300)
    (line,) = [line for line in table.splitlines() if "meets the SLO" in line]
    assert all(
        value in line
        for value in ("95 %", "50 users without system prompt", "none of the loads tested with system prompt")
    )


def test_a_run_without_an_answer_names_the_server_s_message_and_how_often(write_run: Write, make_level: Make) -> None:
    level = make_level(0, 10, outcomes={"http_error": 2, "timeout": 1})
    folder = write_run([level], run={"status": "failed"}, summary={"status": "failed"})
    row = {"level_index": "0", "phase": "hold", "outcome": "http_error", "status": "500", "sent_s": "1"}
    errors = ("HTTP 500: out of memory", "HTTP 500: out of memory", "no first token in 120 s")
    write_csv(folder / "requests.csv", REQUEST_COLUMNS, [row | {"error": error} for error in errors])
    (warning,) = [found for found in warnings_of(load_results(folder)) if found.startswith("FAILED")]
    assert "2 of 3 requests" in warning
    assert '"HTTP 500: out of memory"' in warning


@pytest.mark.parametrize(
    ("run", "advice", "not_named"),
    [
        ({"options": {"model": "mine"}}, "--model 'mine'", "'llama-3-8b'"),
        ({"options": {"models": "a=60% b=40%"}}, "--models 'a=60% b=40%'", "'llama-3-8b'"),
        ({"options": {"model": ""}}, "Give --model", "Check"),
        (
            {"engine_evidence": ["--engine tgi was given, but the server looks like vllm", "GET /v1/models"]},
            "--engine tgi was given, but the server looks like vllm",
            "--model",
        ),
    ],
    ids=["--model given", "--models given", "no --model", "another engine"],
)
def test_a_run_that_failed_by_its_model_names_what_was_given(
    write_run: Write, make_level: Make, run: Json, advice: str, not_named: str
) -> None:
    level = make_level(0, 10, outcomes={"http_error": 1})
    folder = write_run([level], run={"status": "failed"} | run, summary={"status": "failed"})
    row = {"level_index": "0", "phase": "hold", "outcome": "http_error", "status": "404", "sent_s": "1"}
    write_csv(folder / "requests.csv", REQUEST_COLUMNS, [row | {"error": "HTTP 404: no such model"}])
    (warning,) = [found for found in warnings_of(load_results(folder)) if found.startswith("FAILED")]
    assert advice in warning
    assert not_named not in warning


@pytest.mark.parametrize(
    ("outcomes", "sentence"),
    [
        ({"wrong_answer": 2}, "the locustfile's check refused every answer; 2 of 2 requests"),
        ({"wrong_answer": 2, "timeout": 1}, "the locustfile's check refused every answer that came; 2 of 3 requests"),
        ({"stream_error": 2}, "no request was answered; 2 of 2 requests"),
    ],
)
def test_answers_that_a_check_refused_were_answers(
    write_run: Write, make_level: Make, outcomes: dict[str, int], sentence: str
) -> None:
    validity = {"verdict": "failed", "reasons": ["as recorded"], "issues": []}
    level = make_level(0, 10, outcomes=outcomes)
    folder = write_run([level], run={"status": "failed"}, summary={"status": "failed", "validity": validity})
    row = {"level_index": "0", "phase": "hold", "outcome": next(iter(outcomes)), "status": "200", "sent_s": "1"}
    write_csv(folder / "requests.csv", REQUEST_COLUMNS, [row | {"error": "too short"}] * 2)
    (warning,) = [found for found in warnings_of(load_results(folder)) if found.startswith("FAILED")]
    assert warning == f'FAILED: {sentence} failed with "too short".'


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        ("HTTP 401: Unauthorized", "LLM_API_KEY"),
        ("HTTP 401: the server requires a user name and password (HTTP Basic)", "--header"),
        ("HTTP 403: Forbidden", "LLM_API_KEY"),
        ("HTTP 404: The model `wrong` does not exist", "--model"),
    ],
)
def test_a_run_that_failed_by_its_key_says_what_to_do_and_is_called_failed_whatever_else_is_wrong(
    write_run: Write, make_level: Make, error: str, advice: str
) -> None:
    """Its verdict is as an earlier version wrote it."""
    reason, other = "no request was answered (2 http_error)", "the client lagged"
    issues = [{"kind": "run_failed", "message": reason}, {"kind": "late_loop", "message": other}]
    validity = {"verdict": "suspect", "reasons": [reason, other], "issues": issues}
    level = make_level(0, 10, outcomes={"http_error": 2})
    folder = write_run([level], run={"status": "failed"}, summary={"status": "failed", "validity": validity})
    row = {"level_index": "0", "phase": "hold", "outcome": "http_error", "status": error[5:8], "sent_s": "1"}
    write_csv(folder / "requests.csv", REQUEST_COLUMNS, [row | {"error": error}] * 2)
    results = load_results(folder)
    (warning,) = [found for found in warnings_of(results) if found.startswith("FAILED")]
    assert advice in warning
    assert [found for found in warnings_of(results) if other in found]
    (verdict,) = [line for line in header_lines(results) if line.startswith("Verdict")]
    assert "FAILED" in verdict and "SUSPECT" not in verdict
    checks = check_run(parse_conditions("suspect"), results)
    assert [(found.status, found.text) for found in checks.check_results] == [
        (CheckStatus.FAIL, f"failed: {reason}; {other}")
    ]
    assert {found.state for found in checks.unreliable} == {"failed"}
    assert results.run.validity == results.summary.validity
    assert "verdict failed" in page_of(results, checks).subtitle[0]
    assert run_markdown(results, checks).splitlines()[0].endswith("failed")


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"header": ["Authorization", "X-Tenant"]}, "--header Authorization"),
        ({"header": ["api-key: $KEY"]}, "--header api-key"),
        ({"header": [], "header_file": "headers.txt"}, "--header-file"),
        ({"header": ["X-Tenant"]}, "LLM_API_KEY"),
    ],
)
def test_a_refused_key_is_named_by_the_option_that_gave_it(
    write_run: Write, make_level: Make, status: int, options: Json, named: str
) -> None:
    level = make_level(0, 10, outcomes={"http_error": 1})
    folder = write_run([level], run={"status": "failed", "options": options}, summary={"status": "failed"})
    row = {"level_index": "0", "phase": "hold", "outcome": "http_error", "status": str(status), "sent_s": "1"}
    write_csv(folder / "requests.csv", REQUEST_COLUMNS, [row | {"error": f"HTTP {status}: no"}])
    (warning,) = [found for found in warnings_of(load_results(folder)) if found.startswith("FAILED")]
    all_named = {"--header Authorization", "--header api-key", "--header X-Tenant", "--header-file", "LLM_API_KEY"}
    assert {each for each in all_named if each in warning} == {named}


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize(
    "sent",
    [
        SentKey(("--header X-Api-Key",), missing_header="Authorization: Bearer KEY"),
        SentKey(("--header Authorization",), is_bare=True),
        SentKey(("LLM_API_KEY",)),
        NO_KEY,
    ],
    ids=["another header", "no scheme", "the variable", "none"],
)
def test_a_failed_run_has_the_advice_on_its_key_that_a_preflight_gives(
    write_run: Write, make_level: Make, status: int, sent: SentKey
) -> None:
    level = make_level(0, 10, outcomes={"http_error": 1})
    requests = {SENT_WITH: shown_values(msgspec.to_builtins(sent))}
    folder = write_run([level], run={"status": "failed", "requests": requests}, summary={"status": "failed"})
    row = {"level_index": "0", "phase": "hold", "outcome": "http_error", "status": str(status), "sent_s": "1"}
    write_csv(folder / "requests.csv", REQUEST_COLUMNS, [row | {"error": f"HTTP {status}: no"}])
    (warning,) = [found for found in warnings_of(load_results(folder)) if found.startswith("FAILED")]
    assert warning.endswith(f". {key_advice(status, sent)}.")


def test_a_run_against_the_embedded_simulator_says_so(write_run: Write, make_level: Make) -> None:
    heads = [
        load_results(write_run([make_level(0, 10)], run={"embedded_simulator": embedded})) for embedded in (True, False)
    ]
    assert ["embedded simulator" in header_lines(results)[0] for results in heads] == [True, False]
    assert ["embedded simulator" in run_markdown(results, check_run([], results)) for results in heads] == [True, False]


def test_a_sentence_that_several_reasons_share_is_said_once(write_run: Write) -> None:
    messages = ["10 users: late by 5 ms. It is low. Run it alone", "20 users: late by 9 ms. It is high. Run it alone"]
    validity = {"verdict": "suspect", "reasons": messages}
    text = " ".join(summary_table(load_results(write_run(summary={"validity": validity})), 200).split())
    assert "10 users: late by 5 ms. It is low. Run it alone. !!!" in text
    assert "20 users: late by 9 ms. It is high." in text
    assert text.count("Run it alone") == 1
