"""`tokenswarm workload`: from options of a run to the description of what it would send."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.prompts.traces.trace_examples import MOONCAKE
from tests.test_architecture import ROOT
from tokenswarm.client.request_options import ChatOptions
from tokenswarm.client.workload import load_workload
from tokenswarm.command_line import read_options
from tokenswarm.run_control.run_parser import run_parser
from tokenswarm.run_control.run_plan import RunPlan
from tokenswarm.run_control.start_checks import complete_options
from tokenswarm.workload.describe import describe
from tokenswarm.workload.description import WorkloadDescription
from tokenswarm.workload.planned_requests import request_source
from tokenswarm.workload.workload_command import run

GROUPS = ("--prefix", "groups=64 tokens=2048 zipf=1.2")
SYNTHETIC = ("--input-tokens", "2200", "--output-tokens", "64")
CLOSED = ("--levels", "8,32", "--system-prompt", "off")


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def options_of(*words: str) -> ChatOptions:
    given = read_options(run_parser(), list(words))
    complete_options(given)
    return ChatOptions.of(given.options)


def described(*words: str) -> WorkloadDescription:
    given = read_options(run_parser(), list(words))
    complete_options(given)
    options = ChatOptions.of(given.options)
    return describe(options, load_workload(options), RunPlan.of(given.options))


def conversations(folder: Path) -> str:
    """Two conversations: of three turns, and of one. Each message is of ten words."""
    ten = " ".join(["word"] * 10)
    rows = [
        {"messages": [{"role": role, "content": ten} for role in ("user", "assistant", "user", "assistant", "user")]},
        {"messages": [{"role": "user", "content": ten}]},
    ]
    file = folder / "chats.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(file)


def test_synthetic_lengths_are_those_of_the_run_s_requests() -> None:
    words = ("--input-tokens", "n(550,100)", "--output-tokens", "u(10,30)", "--rate", "8", "--level-time", "5m")
    found, options = described(*words), options_of(*words)
    (mode,) = found.modes
    lengths = [options.lengths.of_request(1, number) for number in range(mode.requests)]
    inputs, outputs = np.array([each.input for each in lengths]), np.array([each.output for each in lengths])
    for figures, values in ((mode.input_tokens, inputs), (mode.output_tokens, outputs)):
        assert (figures.n, figures.mean) == (len(values), pytest.approx(values.mean()))
        assert (figures.min, figures.max) == (values.min(), values.max())
        assert figures.p90 == np.sort(values)[int(np.ceil(0.9 * len(values))) - 1]
    assert (found.totals.input_tokens, found.totals.output_tokens) == (inputs.sum(), outputs.sum())
    assert found.outputs_exact and (found.token_counting, found.totals.is_extrapolated) == ("requested", False)


@pytest.mark.parametrize(
    ("arrivals", "cv", "dispersion"),
    [
        ((), (0.93, 1.07), (0.7, 1.3)),
        (("--arrivals", "constant"), (0, 1e-6), (0, 0.11)),
        (("--burstiness", "0.25"), (1.8, 2.2), (2.2, 5)),
    ],
)
def test_arrivals_have_the_rate_and_the_spread_of_their_process(
    arrivals: tuple[str, ...], cv: tuple[float, float], dispersion: tuple[float, float]
) -> None:
    found = described("--input-tokens", "100", "--rate", "20", "--level-time", "3m", *arrivals)
    (level,) = found.levels
    assert level.requests is not None and abs(level.requests - 3600) < 4 * cv[1] * 60 + 2
    assert level.rate == pytest.approx(level.requests / 180)
    assert level.gap_cv is not None and cv[0] <= level.gap_cv <= cv[1]
    assert level.dispersion is not None and dispersion[0] <= level.dispersion <= dispersion[1]
    assert (level.sessions, level.users, level.level_time_s) == (None, 0, 180)


def test_shared_prefixes_are_found_by_all_but_the_first_of_each_group() -> None:
    found = described(*CLOSED, *SYNTHETIC, *GROUPS, "--requests", "2000", "--engine", "vllm")
    (mode,) = found.modes
    assert (mode.requests, mode.prefix_groups, found.block_tokens) == (4000, 64, 16)
    assert mode.prefix_share == pytest.approx(2048 / 2200)
    assert mode.cache_hit_ratio_min == mode.cache_hit_ratio_max == pytest.approx((4000 - 64) * 2048 / (4000 * 2200))
    bust = described(*CLOSED, *SYNTHETIC, *GROUPS, "--requests", "2000", "--cache", "bust").modes[0]
    assert (bust.cache_hit_ratio_max, bust.prefix_groups, bust.prefix_share) == (0, 0, 0)
    flushed = ("--requests", "2000", "--cache", "flush", "--engine", "vllm")
    flush = described(*CLOSED, *SYNTHETIC, *GROUPS, *flushed).modes[0]
    assert flush.cache_hit_ratio_max < mode.cache_hit_ratio_max


def test_turns_carry_the_history_and_find_it_in_the_cache() -> None:
    lengths = ("--turns", "4", "--input-tokens", "100", "--output-tokens", "20")
    words = ("--session-rate", "3", "--level-time", "1m", *lengths)
    found = described(*words)
    (mode,), (level,) = found.modes, found.levels
    sessions = level.sessions
    assert sessions is not None and level.requests is None
    assert (mode.sessions, mode.requests, mode.turns.mean) == (sessions, 4 * sessions, 4)
    assert (mode.input_tokens.min, mode.input_tokens.p50, mode.input_tokens.max) == (100, 220, 460)
    assert (found.totals.sessions, found.totals.requests) == (sessions, 4 * sessions)
    of_prompts = 100 + 220 + 340 + 460
    # In blocks of 16: prompts of 100, 220 and 340 tokens, at most with their answers of 20.
    assert mode.cache_hit_ratio_min == pytest.approx((96 + 208 + 336) / of_prompts)
    assert mode.cache_hit_ratio_max == pytest.approx((112 + 240 + 352) / of_prompts)


def test_a_data_set_is_drawn_as_in_a_run_and_its_sessions_are_continued(tmp_path: Path) -> None:
    words = ("--prompts", conversations(tmp_path), "--prompt-tokens", "1:1000", "--prompt-reuse", "always")
    found = described(*CLOSED[2:], "--levels", "4", *words, "--requests", "40", "--output-tokens", "10")
    (mode,) = found.modes
    assert found.token_counting == "estimate"
    assert (mode.requests, mode.sessions) == (40, 20)
    assert (mode.turns.min, mode.turns.max) == (1, 3)
    assert (mode.input_tokens.min, mode.input_tokens.max) == (10, 50)
    # In blocks of 16: of 30 and 50 tokens, 10 and 30 were in prompts before, with answers 20 and 40.
    assert mode.cache_hit_ratio_min == pytest.approx(16 / 100)
    assert mode.cache_hit_ratio_max == pytest.approx((16 + 32) / 100)
    recorded = described(*CLOSED[2:], "--levels", "4", *words, "--requests", "40", "--answers", "recorded")
    assert not recorded.outputs_exact
    assert recorded.modes[0].output_tokens.max == 512 and recorded.modes[0].output_tokens.min == 10
    options = options_of(*words, "--output-tokens", "10")
    first = next(islice(request_source(options, load_workload(options)).sessions(0, "off"), 1))
    assert [each.input_tokens for each in first] in ([10], [10, 30, 50])


def test_recorded_lengths_are_described_with_the_beginnings_that_they_share(tmp_path: Path) -> None:
    first = {"t": 0.0, "type": "s", "model": "m", "in": 150, "out": 30, "hash_ids": [1, 2]}
    second = {"t": 2.5, "type": "s", "model": "m", "in": 230, "out": 12, "hash_ids": [1, 2, 3]}
    trace = {"id": "w1", "models": ["m"], "block_size": 64, "hash_id_scope": "local", "requests": [first, second]}
    (tmp_path / "agents.jsonl").write_text(json.dumps(trace) + "\n")
    words = ("--prompts", "agents.jsonl", "--prompt-tokens", "1:1000", "--session-rate", "1", "--level-time", "1m")
    found = described(*words)
    (mode,) = found.modes
    assert (found.token_counting, mode.turns.min, mode.turns.max) == ("recorded", 2, 2)
    assert (mode.input_tokens.min, mode.input_tokens.max) == (150, 230)
    assert (mode.output_tokens.min, mode.output_tokens.max) == (12, 30)
    assert mode.cache_hit_ratio_max == pytest.approx(128 / 380)
    assert described(*words, "--prompt-reuse", "always").modes[0].cache_hit_ratio_max > 0.9


def test_an_abandoned_turn_ends_its_session_and_the_share_is_as_requested() -> None:
    lengths = ("--turns", "3", "--input-tokens", "50", "--output-tokens", "9")
    words = ("--session-rate", "20", "--level-time", "2m", *lengths)
    found = described(*words, "--abandon", "20% after=first")
    (mode,) = found.modes
    assert (found.abandon, found.abandon_share) == ("first", 0.2)
    assert mode.abandoned_share == pytest.approx(0.2, abs=0.02)
    assert mode.turns.min == 1 and mode.turns.mean == pytest.approx(1 + 0.8 + 0.64, abs=0.05)


def test_what_depends_on_the_server_is_not_stated(capsys: Any) -> None:
    assert run(["--levels", "8", "--input-tokens", "900", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["totals"] == {
        **dict.fromkeys(("requests", "sessions", "input_tokens", "output_tokens")),
        "duration_s": 610.0,
        "is_longest": False,
        "is_extrapolated": False,
    }
    assert document["levels"][0]["requests"] is None and document["levels"][0]["rate"] is None
    assert [mode["system_prompt"] for mode in document["modes"]] == ["off", "on"]
    assert any("depends on the server" in note for note in document["notes"])
    assert not document["outputs_exact"] and any("--output-tokens" in note for note in document["notes"])


@pytest.mark.slow
def test_of_a_long_run_the_totals_are_in_proportion() -> None:
    found = described("--rate", "5000", "--level-time", "1m", "--input-tokens", "u(10,20)", "--output-tokens", "5")
    totals, (mode,), (level,) = found.totals, found.modes, found.levels
    assert totals.is_extrapolated and mode.requests == 100_000
    assert totals.requests == level.requests and totals.requests is not None
    assert totals.output_tokens == 5 * totals.requests
    assert totals.input_tokens == pytest.approx(15 * totals.requests, rel=0.01)


def test_a_warm_up_is_shown_and_in_no_total() -> None:
    found = described("--rate", "10", "--level-time", "1m", "--warm-up", "10s", "--input-tokens", "100")
    warm_up, level = found.levels
    assert (warm_up.warm_up, level.warm_up) == (True, False)
    assert found.totals.requests == level.requests == found.modes[0].requests
    assert found.totals.duration_s == 60 + 10 + 5 + 2 * 1.5  # there is no pause after a warm-up


def test_lengths_that_a_run_would_refuse_are_named() -> None:
    found = described("--rate", "10", "--input-tokens", "u(100,400)", "--prefix", "tokens=200")
    (too_short,) = found.too_short
    assert "34 % of the input lengths are at most 200 tokens, which the prefix takes" in too_short.text
    assert too_short.is_sure
    assert described("--rate", "10", "--input-tokens", "100").too_short == ()


@pytest.mark.parametrize(
    ("lengths", "begins", "code"),
    [("20", "!!! RUN WOULD NOT START, with", 2), ("u(250,900)", "!!! RUN MAY NOT START, with", 0), ("900", "Prom", 0)],
)
def test_a_run_that_would_not_start_is_said_first_and_in_the_exit_code(
    lengths: str, begins: str, code: int, capsys: Any
) -> None:
    words = ["--rate", "5", "--level-time", "20s", "--system-prompt", "on", "--input-tokens", lengths]
    assert run(words) == code
    assert capsys.readouterr().out.startswith(begins)
    assert run([*words, "--json"]) == code
    printed = capsys.readouterr()
    assert [each["is_sure"] for each in json.loads(printed.out)["too_short"]] == [code == 2] * ("NOT" in begins)
    assert ("NOT START" in printed.err) == ("NOT" in begins)


def test_the_turns_of_a_session_that_the_sample_cuts_are_left_out() -> None:
    found = described("--levels", "8", "--system-prompt", "off", "--turns", "3", "--input-tokens", "200")
    (mode,) = found.modes
    assert (mode.requests, mode.sessions) == (10_000, 3_334)
    assert (mode.turns.n, mode.turns.min, mode.turns.max) == (3_333, 3, 3)


def test_a_load_without_a_request_is_said_to_have_none(capsys: Any) -> None:
    assert run(["--rate", "0.001", "--level-time", "10s", "--input-tokens", "50"]) == 0
    text = capsys.readouterr().out
    assert "No request is due within the levels." in text and "cache hits" not in text and ", 0 requests," in text


def test_all_that_is_wrong_is_said_in_one_sentence_each(capsys: Any) -> None:
    assert run(["--rate", "nope", "--input-tokens", "n(", "--abandon", "5", "--levles", "3"]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("tokenswarm workload: ")]
    assert len(lines) == 4
    for option, line in zip(("--levles", "--input-tokens", "--rate", "--abandon"), lines, strict=True):
        assert option in line


@pytest.mark.parametrize("words", [["-f", "my.py"], ["--locustfile=my.py", "--levels", "7"]])
def test_a_locustfile_of_ones_own_is_refused(words: list[str], capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(words) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == (
        "tokenswarm workload: --locustfile names a locustfile, whose code decides what is sent; this describes what "
        "options say: leave --locustfile out.\n"
    )
    monkeypatch.setattr("tokenswarm.workload.describe.SAMPLE_REQUESTS", 100)
    assert run(["-f", str(ROOT / "locustfile.py"), "--levels", "7"]) == 0


def examples() -> list[list[str]]:
    text = (ROOT / "docs" / "workloads.md").read_text(encoding="utf-8")
    prefix = "    tokenswarm workload "
    return [shlex.split(line)[2:] for line in text.splitlines() if line.startswith(prefix)]


@pytest.mark.parametrize("words", examples(), ids=" ".join)
def test_each_example_of_the_document_describes_what_it_says(words: list[str], capsys: Any) -> None:
    assert run(words) == 0
    text = capsys.readouterr().out
    if "--json" in words:
        document = json.loads(text)
        assert document["levels"][0]["sessions"] == document["totals"]["sessions"] > 1000
        assert document["levels"][0]["think_time"] == "ln(8s,p95=60s)"
        return
    assert "In all: " in text and "input tokens" in text
    assert all(len(line) <= 120 for line in text.splitlines())
    if "--prefix" in words:
        (line,) = [line for line in text.splitlines() if line.startswith("no system prompt ")]
        assert line.split()[3:] == ["64", "93.1", "%", "91.6", "%", "91.6", "%"]


def test_there_are_examples_of_all_kinds_of_load() -> None:
    given = [word for words in examples() for word in words]
    assert {"--rate", "--levels", "--session-rate", "--prefix", "--turns", "--json"} <= set(given)


def test_a_trace_is_described_as_it_was_recorded(tmp_path: Path) -> None:
    (file := tmp_path / "trace.jsonl").write_text(MOONCAKE)
    found = described("--trace", str(file), "--trace-speed", "2", "--engine", "vllm", "--system-prompt", "both")
    assert (found.source, found.token_counting, found.outputs_exact) == (f"trace {file}", "recorded", True)
    assert [mode.system_prompt for mode in found.modes] == ["off", "on"]
    for mode in found.modes:
        assert (mode.requests, mode.input_tokens.max, mode.output_tokens.max) == (3, 1300, 40)
    # The second request finds two blocks of the first one.
    assert found.modes[0].cache_hit_ratio_min == found.modes[0].cache_hit_ratio_max == 1024 / (1100 + 1300 + 900)
    assert [(level.level, level.requests, level.level_time_s) for level in found.levels] == [("trace", 3, 1.25)] * 2
    assert (found.totals.requests, found.totals.input_tokens) == (6, 6600)
    assert described("--trace", str(file), "--cache", "bust").modes[0].cache_hit_ratio_max == 0


def test_models_and_hosts_are_listed_with_their_shares(capsys: pytest.CaptureFixture[str]) -> None:
    words = (
        *("--models", "base=7 sql=3", "-H", "http://a:1,http://b:2/v1", "--session-rate", "10", "--level-time", "60s"),
        *("--input-tokens", "50", "--turns", "u(1,3)"),
    )
    assert run([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    base, sql = found["models"]
    assert (base["name"], base["share"], sql["share"]) == ("base", pytest.approx(0.7), pytest.approx(0.3))
    options = options_of(*words)
    assert options.models is not None
    turns = Counter[str]()
    for number in range(found["totals"]["sessions"]):
        turns[options.models.model_of(options.seed, number)] += options.sessions.turns_of(options.seed, number)
    assert base["drawn_share"] == pytest.approx(turns["base"] / turns.total())
    assert base["drawn_share"] + sql["drawn_share"] == pytest.approx(1)
    assert [(host["name"], host["share"], host["part_of"]) for host in found["hosts"]] == [
        ("http://a:1", 0.5, "requests"),
        ("http://b:2", 0.5, "requests"),
    ]
    assert run(list(words)) == 0
    text = capsys.readouterr().out
    assert "Models: base 70 %, sql 30 % of the sessions" in text
    assert "Hosts: http://a:1 50 %, http://b:2 50 % of the requests" in text
    assert {host["part_of"] for host in _json(capsys, "-H", "http://a:1,http://b:2", *CLOSED)["hosts"]} == {"users"}
    plain = _json(capsys, "-H", "http://a:1", "--model", "base", *CLOSED)
    assert plain["models"] == plain["hosts"] == []


def _json(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    assert run([*words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_a_variable_of_no_option_is_a_warning_as_in_a_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TOKENSWARM_LEVEL", "3")
    monkeypatch.setattr("tokenswarm.workload.describe.SAMPLE_REQUESTS", 100)
    sentence = "The variable TOKENSWARM_LEVEL is ignored: no option has it. Is TOKENSWARM_LEVELS meant?"
    for command in ("tokenswarm workload", "tokenswarm run"):
        assert run(["--levels", "1", "--system-prompt", "off", "--json"], command) == 0
        printed = capsys.readouterr()
        assert printed.err == f"{command}: {sentence}\n"
        assert [level["users"] for level in json.loads(printed.out)["levels"]] == [1]
