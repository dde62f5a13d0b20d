"""The options of a replay: the level that they make, and what they exclude."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.prompts.traces import trace_examples as examples
from tests.shapes.test_rate_options import read
from tokenswarm.client.request_options import ChatOptions
from tokenswarm.client.workload import load_given_workload
from tokenswarm.command_line import OptionErrors, collect_errors, sentences_of
from tokenswarm.metrics.level import users_of
from tokenswarm.metrics.trace_replay import TraceReplay, TraceSpread
from tokenswarm.shapes.plan import LoadPlan
from tokenswarm.shapes.shape_options import load_plan_of


@pytest.fixture
def trace(tmp_path: Path) -> str:
    (file := tmp_path / "trace.jsonl").write_text(examples.MOONCAKE)
    return str(file)


def plan_of(*arguments: str) -> LoadPlan:
    return load_plan_of(read("--headless", *arguments))


def test_a_trace_is_one_level_with_its_times(trace: str) -> None:
    (level,) = plan_of("--trace", trace, "--trace-speed", "2", "--seed", "3", "--max-in-flight", "4").levels
    assert (level.name, users_of(level.name), level.system_prompt) == ("trace", "replay of a trace", "off")
    assert level.level_time_s == pytest.approx(1.25)
    assert level.arrivals is not None
    assert level.arrivals.trace == TraceReplay(trace, speed=2.0, seed=3)
    assert level.arrivals.mean_rate == pytest.approx(3 / 1.25)
    assert (level.arrivals.process, level.arrivals.max_in_flight, level.arrivals.at_once) == (trace, 4, False)
    assert len(level.arrivals.file_sha256) == 64


def test_options_of_a_replay_are_in_its_plan(trace: str) -> None:
    words = "--trace-window 1s:2s --trace-sample 100% --trace-spread poisson --trace-rate 8 --trace-skip-bad"
    (level,) = plan_of("--trace", trace, *words.split(), "--trace-format", "mooncake").levels
    assert level.arrivals is not None
    expected = TraceReplay(trace, "mooncake", 1.0, 8.0, 1.0, 2.0, 1.0, TraceSpread.POISSON, True, 1)
    assert level.arrivals.trace == expected
    assert level.level_time_s == pytest.approx(2 / 8)


def test_each_system_prompt_mode_replays_the_trace(trace: str) -> None:
    levels = plan_of("--trace", trace, "--system-prompt", "both", "--warm-up", "5").levels
    assert [(level.system_prompt, level.warm_up) for level in levels] == [
        *(("off", True), ("off", False), ("on", True), ("on", False)),
    ]
    assert [level.arrivals.trace is None for level in levels if level.arrivals] == [True, False, True, False]


def _check_all(checks: list[Callable[[Namespace], object]], options: Namespace) -> None:
    with collect_errors() as errors:
        for check in checks:
            errors.of(check, options)


@pytest.mark.parametrize("words", ["", "--trace-sample 50%", "--trace-spread poisson", "--trace-format servegen"])
def test_a_seed_that_is_none_is_refused_in_one_sentence(trace: str, tmp_path: Path, words: str) -> None:
    file = str(examples.servegen_client(tmp_path)) if "servegen" in words else trace
    options = read("--headless", "--trace", file, "--seed", "-1", *words.split())
    checks: list[Callable[[Namespace], object]] = [load_plan_of, ChatOptions.of, load_given_workload]
    with pytest.raises(ValueError, match="--seed") as caught:
        _check_all(checks, options)
    assert sentences_of(caught.value) == ["--seed takes a whole number of at least 0, got -1."]


def test_a_number_of_requests_ends_the_replay(trace: str) -> None:
    for requests, ends_s in ((1, 1.0), (2, 2.0), (3, 2.0)):
        (level,) = plan_of("--trace", trace, "--requests", str(requests)).levels
        assert (level.requests, level.level_time_s) == (requests, ends_s)
    (level,) = plan_of("--trace", trace, "--trace-speed", "10", "--requests", "3").levels
    assert level.level_time_s == pytest.approx(0.25)
    with pytest.raises(ValueError, match="--requests 4 is more than the times of trace hold"):
        plan_of("--trace", trace, "--requests", "4")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("--rate 5", "--rate and --trace each say when requests are due: give one of them."),
        ("--rate-schedule 0s:5", "--rate-schedule and --trace each say when"),
        ("--levels 1,2", "--levels has no effect with --trace (open loop): leave one of them out."),
        ("-u 3", "has no effect with --trace (open loop)"),
        ("--level-time 9s", "--level-time has no effect beside --trace, which has its own: leave one of them out."),
        ("--arrivals constant", "--arrivals has no effect beside --trace"),
        ("--prompts dolly", "--prompts has no effect beside --trace"),
        ("--input-tokens 100", "--input-tokens has no effect beside --trace"),
        ("--output-tokens 100", "--output-tokens has no effect beside --trace"),
        ("--max-tokens 100", "--max-tokens has no effect beside --trace"),
        ("--prefix tokens=9", "--prefix has no effect beside --trace"),
        ("--turns 3", "--turns has no effect beside --trace"),
        ("--image synthetic:9x9", "--image has no effect beside --trace"),
        ("--trace-speed 2 --trace-rate 3", "--trace-speed and --trace-rate both say how fast --trace is replayed"),
        ("--think-time 2s", "--think-time has no effect in an open loop of single requests"),
        ("--trace-speed 0", "--trace-speed takes a number above 0"),
        (
            "--trace-speed fast",
            "--trace-speed takes a number above 0 up to 1,000,000: times as fast, like 2; got 'fast'.",
        ),
        ("--trace-rate -1", "--trace-rate takes a number above 0"),
        ("--trace-window 10m", "--trace-window takes a part of the recorded time, FROM:UNTIL"),
        ("--trace-window :", "--trace-window takes a part of the recorded time"),
        ("--trace-window 1m:x", "--trace-window takes a part of the recorded time"),
        ("--trace-window 2m:1m", "--trace-window takes an end behind the beginning"),
        ("--trace-window 1h:2h", "--trace-window holds no request"),
        (
            "--trace-sample 10",
            "--trace-sample takes a share of the sessions above 0 % up to 100 %, like 10%; got '10'.",
        ),
        ("--trace-sample 0%", "--trace-sample takes a share"),
        ("--trace-sample 101%", "--trace-sample takes a share"),
        ("--trace-format azure", "line 1: expected columns with the names"),
    ],
)
def test_what_makes_no_sense_beside_a_trace_is_one_sentence(trace: str, words: str, sentence: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        plan_of("--trace", trace, *words.split())
    error = caught.value
    found = sentences_of(error) if isinstance(error, OptionErrors) else [str(error)]
    assert [each for each in found if sentence in each], found
    assert len(found) == 1


@pytest.mark.parametrize(
    "words",
    ["--trace-speed 2", "--trace-window 1m:", "--trace-sample 10%", "--trace-spread poisson", "--trace-skip-bad"],
)
def test_options_of_a_replay_have_no_effect_without_a_trace(words: str) -> None:
    with pytest.raises(ValueError, match=f"{words.split(maxsplit=1)[0]} has no effect without --trace"):
        plan_of(*words.split())


def test_lengths_of_answers_are_given_where_the_trace_has_none(tmp_path: Path) -> None:
    (file := tmp_path / "trace.jsonl").write_text(examples.OFFLINE_HASHES)
    assert plan_of("--trace", str(file), "--trace-rate", "4", "--output-tokens", "100").levels
    assert plan_of("--trace", str(file), "--trace-rate", "4", "--max-tokens", "100").levels
    with pytest.raises(ValueError, match="--trace-rate"):
        plan_of("--trace", str(file))


def test_a_trace_that_is_missing_is_one_sentence() -> None:
    with pytest.raises(ValueError, match="--trace nowhere: the file does not exist; give a file that does"):
        plan_of("--trace", "nowhere")
