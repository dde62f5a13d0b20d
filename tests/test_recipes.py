"""The recipes of docs/requests.md, docs/workloads.md and docs/traces.md: each command is read as Tokenswarm reads it,
and gives the requests it promises."""

from __future__ import annotations

import gzip
import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.option_parser import parser_of_all_options
from tests.prompts.test_agent_formats import BLOCKS, CALLS, TWO_CALLS
from tests.prompts.test_session_formats import AGENTIC
from tests.prompts.traces import trace_examples as examples
from tokenswarm.client import custom_headers
from tokenswarm.client.request_options import ChatOptions, body_changes, check_engine, engine_of
from tokenswarm.client.server_address import origin_of
from tokenswarm.client.session_options import SessionSupply
from tokenswarm.client.workload import check_images, load_workload
from tokenswarm.command_line import read_options
from tokenswarm.engines import ENGINES, ChatRequest
from tokenswarm.metrics.abandonment import Abandonment
from tokenswarm.prompts import PromptSet
from tokenswarm.prompts.images import load_images
from tokenswarm.prompts.traces.trace_source import TraceSource
from tokenswarm.run_control.run_plan import RunPlan
from tokenswarm.run_control.start_checks import complete_options

DOCS = Path(__file__).resolve().parents[1] / "docs"
STREAM = {"stream": True, "stream_options": {"include_usage": True}}
MESSAGES = {"messages": [{"role": "user", "content": "Why?"}]}


def recipes(document: str = "requests.md", heading: str = "## Recipes") -> Iterator[list[str]]:
    """The words of each command behind a heading, without `locust`."""
    text = (DOCS / document).read_text(encoding="utf-8").partition(f"\n{heading}\n")[2].replace("\\\n", " ")
    level = len(heading.partition(" ")[0])
    text = re.split(rf"\n#{{1,{level}}} ", text, maxsplit=1)[0]
    for line in text.splitlines():
        if line.startswith("    "):
            program, *words = shlex.split(line)
            assert program == "locust"
            yield words


EXPECTED: list[tuple[str, dict[str, Any], dict[str, str]]] = [
    (
        "https://example.openai.azure.com:443/openai/deployments/my-gpt-4o/chat/completions?api-version=2024-10-21",
        {"model": "gpt-4o", **MESSAGES, "max_tokens": 512, **STREAM},
        {"api-key": "key-of-azure"},
    ),
    (
        "https://api.openai.com:443/v1/chat/completions",
        {"model": "o4-mini", **MESSAGES, "max_completion_tokens": 4096, "reasoning_effort": "low", **STREAM},
        {},
    ),
    ("http://gpu:8000/v1/chat/completions", {"model": "base", **MESSAGES, "max_tokens": 512, **STREAM}, {}),
    (
        "http://gpu:8000/v1/chat/completions",
        {
            "model": "qwen-vl",
            **MESSAGES,
            "max_tokens": 512,
            **STREAM,
            "mm_processor_kwargs": {"max_pixels": 602112},
        },
        {},
    ),
    (
        "http://gpu:8000/v1/completions",
        {"model": "llama-base", "prompt": "Why?", "max_tokens": 128, "stop": ["\n\n"], **STREAM},
        {},
    ),
]


@pytest.mark.parametrize(("words", "expected"), list(zip(recipes(), EXPECTED, strict=True)))
def test_a_recipe_gives_the_request_that_it_promises(
    words: list[str], expected: tuple[str, dict[str, Any], dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZURE_API_KEY", "key-of-azure")
    monkeypatch.delenv("LLM_API_KEY", raising=False)
    monkeypatch.setattr(custom_headers, "_given", {})
    parser = parser_of_all_options()
    given = read_options(parser, words)
    complete_options(given)
    assert given.errors == []
    assert RunPlan.of(given.options).levels
    options = ChatOptions.of(given.options)
    options = replace(options, engine="openai" if options.engine == "openai" else "vllm")
    check_engine(options, ENGINES[options.engine], None)
    engine, origin = engine_of(options), origin_of(given.options.host)
    request = ChatRequest(options.model, "Why?", None, options.max_tokens, changes=body_changes(options, engine))
    address, body, headers = expected
    assert f"{origin.root}{origin.prefix}{engine.path_for(options.model)}" == address
    assert json.loads(engine.request_body(request)) == body
    assert options.headers_for(origin, engine) == headers
    check_images(engine, options)
    mix = options.models.text if options.models else ""
    assert mix == ("base=70% sql-adapter=20% mail-adapter=10%" if options.model == "base" else "")
    images = [(image.facts.width, image.facts.height) for image in load_images(options.control.images)]
    assert images == ([(1024, 768), (448, 448)] if options.model == "qwen-vl" else [])


CONVERSATIONS: list[tuple[str, str, bool]] = [
    ("n(6,2,max=20)", "own", False),
    ("", "own", True),
    ("", "recorded", False),
]


@pytest.mark.parametrize(
    ("words", "expected"),
    list(zip(recipes("workloads.md", "### Recipes for conversations"), CONVERSATIONS, strict=True)),
)
def test_a_recipe_for_conversations_gives_the_sessions_that_it_promises(
    words: list[str], expected: tuple[str, str, bool]
) -> None:
    given = read_options(parser_of_all_options(), words)
    complete_options(given)
    assert given.errors == []
    levels = RunPlan.of(given.options).levels
    options = ChatOptions.of(given.options)
    turns, answers, has_header = expected
    assert (options.sessions.turns_notation, options.sessions.answers, bool(options.sessions.header)) == (
        turns,
        answers,
        has_header,
    )
    assert options.sessions.whole_conversations
    assert (options.lengths.plan.input is not None, levels[0].think_time is not None) == (bool(turns), bool(turns))
    if turns:
        counts = [options.sessions.turns_of(1, number) for number in range(1000)]
        assert 5.5 < sum(counts) / 1000 < 6.5
        assert 1 <= min(counts) < 4 < max(counts) <= 20


#: The file of each recipe of sessions of agents, lines like those of its format, and its sessions and their requests.
AGENTS = [
    ("agentic.jsonl", "\n".join(AGENTIC), (1, 2)),
    ("traces.jsonl", f"{BLOCKS}\n{BLOCKS}", (2, 2)),
    ("copilot.jsonl.gz", f"{CALLS}\n{TWO_CALLS}", (1, 2)),
]


@pytest.mark.parametrize(("words", "expected"), list(zip(recipes("workloads.md", "## Agents"), AGENTS, strict=True)))
def test_a_recipe_for_agents_gives_the_sessions_that_it_promises(
    words: list[str], expected: tuple[str, str, tuple[int, int]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, lines, (sessions, most_turns) = expected
    monkeypatch.chdir(tmp_path)
    Path(name).write_bytes(gzip.compress(lines.encode()) if name.endswith(".gz") else lines.encode())
    given = read_options(parser_of_all_options(), words)
    complete_options(given)
    assert given.errors == []
    (level,) = RunPlan.of(given.options).levels
    options = ChatOptions.of(given.options)
    prompts = load_workload(options).prompts
    assert isinstance(prompts, PromptSet)
    assert (prompts.stats.sessions, prompts.stats.most_turns) == (sessions, most_turns)
    once, random, arriving = (
        options.sessions.supply is SessionSupply.ONCE,
        level.random_start,
        level.arrivals is not None and level.arrivals.sessions,
    )
    assert [once, random, arriving] == [name == each for each, *_ in AGENTS]
    assert options.sessions.longest_delay_s == (None if once else 60.0)


def test_the_example_of_users_that_leave_has_half_of_them_leave_at_the_first_output() -> None:
    (words,) = recipes("workloads.md", "## Users that leave")
    given = read_options(parser_of_all_options(), words)
    complete_options(given)
    assert given.errors == []
    assert ChatOptions.of(given.options).abandonment == Abandonment(0.5, "first", after_tokens=1)


def test_the_example_of_sessions_that_arrive_is_an_open_loop_of_sessions() -> None:
    (words,) = recipes("load.md", "## Sessions that arrive")
    given = read_options(parser_of_all_options(), words)
    complete_options(given)
    assert given.errors == []
    levels = RunPlan.of(given.options).levels
    assert [level.name for level in levels] == ["0.5 sessions/s", "1 sessions/s", "2 sessions/s"]
    assert all(level.arrivals and level.arrivals.sessions and level.think_time for level in levels)
    assert ChatOptions.of(given.options).sessions.turns_notation == "n(6,2)"


#: (requests, seconds, speed)
Replayed = tuple[int, float, float]
#: The file of each recipe of docs/traces.md, rows like those of its format, and what is replayed of them.
TRACES: list[tuple[str, str, Replayed]] = [
    ("conversation_trace.jsonl", examples.MOONCAKE.replace('"timestamp": 1250', '"timestamp": 700000'), (2, 600, 1)),
    ("qwen_traceA_blksz_16.jsonl", examples.BAILIAN, (2, 13.4, 1)),
    ("AzureLLMInferenceTrace_code.csv", examples.AZURE_CODE.replace("18:00:02", "18:07:02"), (1, 300, 2)),
    ("BurstGPT_1.csv", examples.BURSTGPT_OLD, (2, 0.5, 7200)),
    ("chunk-106-trace.csv", examples.SERVEGEN_WINDOWS, (12, 600, 1)),
    ("data/language/m-large/chunk-1-trace.csv", "0,1,1,Gamma,1,1\n43200,0.1,1,Gamma,1,1\n", (12, 1.2, 1500)),
    ("trace_e.jsonl", examples.OFFLINE_LENGTHS * 250, (500, 25, 20)),
]


@pytest.mark.parametrize(("words", "expected"), list(zip(recipes("traces.md"), TRACES, strict=True)))
def test_a_recipe_for_a_trace_gives_the_replay_that_it_promises(
    words: list[str],
    expected: tuple[str, str, Replayed],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    name, rows, (requests, seconds, speed) = expected
    monkeypatch.chdir(tmp_path)
    (file := tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    file.write_text(rows)
    lengths = file.with_name(file.name.replace("-trace.csv", "-dataset.json"))
    if lengths != file:
        lengths.write_text('{"0": {"input_tokens": "{120: 0.5, 300: 0.5}", "output_tokens": "{40: 1.0}"}}')
    given = read_options(parser_of_all_options(), words)
    complete_options(given)
    assert given.errors == []
    (level,) = RunPlan.of(given.options).levels
    assert (level.name, level.level_time_s) == ("trace", pytest.approx(seconds))
    source = load_workload(ChatOptions.of(given.options)).prompts
    assert isinstance(source, TraceSource)
    assert name.startswith(source.replay.path)
    assert (len(source.plan), source.plan.speed) == (requests, pytest.approx(speed))
