"""What users change of requests, as it stands in the body and the path of each engine's request."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from locust.argument_parser import get_empty_argument_parser

from tokenswarm.client.option_values import OptionError
from tokenswarm.client.request_control import RUN_REQUESTS
from tokenswarm.client.request_options import (
    ChatOptions,
    add_options,
    at_endpoint,
    body_changes,
    engine_of,
    model_for,
)
from tokenswarm.command_line import OptionErrors
from tokenswarm.engines import ENGINES, ChatRequest

Parse = Callable[..., Namespace]
SAMPLING = (
    *("--temperature", "0.5", "--top-p", "0.9", "--top-k", "40", "--stop", '["a", "b"]'),
    *("--presence-penalty", "-1", "--frequency-penalty", "0.25", "--request-seed", "7"),
)
SET = {
    "temperature": 0.5,
    "top_p": 0.9,
    "top_k": 40,
    "stop": ["a", "b"],
    "presence_penalty": -1,
    "frequency_penalty": 0.25,
    "seed": 7,
}


@pytest.fixture(scope="module")
def options() -> Callable[..., ChatOptions]:
    parser = get_empty_argument_parser(default_config_files=[])
    add_options(parser)

    def parsed(*arguments: str, engine: str = "vllm") -> ChatOptions:
        given: Namespace = parser.parse_args(["--engine", engine, "--model", "m", *arguments])
        return ChatOptions.of(given)

    return parsed


def body_of(options: ChatOptions, row: dict[str, Any] | None = None) -> dict[str, Any]:
    engine = engine_of(options)
    changes = (*body_changes(options, engine), *filter(None, [row]))
    request = ChatRequest("m", "Why?", "Be brief.", options.max_tokens, options.ignore_eos, changes=changes)
    found: dict[str, Any] = json.loads(engine.request_body(request))
    return found


def test_fields_of_a_file_an_option_and_a_row_are_merged_in_this_order(
    options: Callable[..., ChatOptions], tmp_path: Path
) -> None:
    file = tmp_path / "body.json"
    file.write_text('{"user": "file", "temperature": 0.1, "metadata": {"a": 1, "b": 2}, "store": false}')
    given = options(
        *("--body-file", str(file), "--temperature", "0.7"),
        *(
            "--body",
            '{"user": "option", "store": null, "metadata": {"b": null, "c": {"d": 3}}, "stream_options": null}',
        ),
    )
    body = body_of(given)
    assert {name: body[name] for name in ("user", "temperature", "metadata")} == {
        "user": "option",
        "temperature": 0.7,
        "metadata": {"a": 1, "c": {"d": 3}},
    }
    assert {"store", "stream_options"}.isdisjoint(body)
    of_row = body_of(given, {"user": "row", "temperature": 0, "metadata": {"a": None}, "top_p": 1})
    assert (of_row["user"], of_row["temperature"], of_row["top_p"]) == ("row", 0, 1)
    assert of_row["metadata"] == {"c": {"d": 3}}


def test_two_templates_with_one_effect_have_one_hash(options: Callable[..., ChatOptions]) -> None:
    def sha256(*arguments: str) -> str:
        given = options(*arguments)
        found: str = given.control.facts(body_changes(given, engine_of(given)))["body_sha256"]
        return found

    short = sha256("--temperature", "0", "--top-p", "0.5")
    assert short == sha256("--body", '{"top_p": 0.5, "temperature": 0}')
    assert short != sha256("--body", '{"top_p": 0.5, "temperature": null}') != sha256()


@pytest.mark.parametrize(
    ("engine", "without", "expected"),
    [
        ("vllm", "", SET),
        ("tgi-generate", "--presence-penalty", {"parameters": SET | {"stop": ["<|eot_id|>", "a", "b"]}}),
        ("ollama", "", {"options": SET}),
        ("triton", "", {**SET, "stop_words": ["<|eot_id|>", "a", "b"], "random_seed": 7, "stop": None, "seed": None}),
    ],
)
def test_sampling_options_stand_where_the_engine_takes_them(
    options: Callable[..., ChatOptions], engine: str, without: str, expected: dict[str, Any]
) -> None:
    at = SAMPLING.index(without) if without else len(SAMPLING)
    body = body_of(options(*SAMPLING[:at], *SAMPLING[at + 2 :], engine=engine))
    for name, value in expected.items():
        if isinstance(value, dict):
            inner = {key: each for key, each in value.items() if f"--{key.replace('_', '-')}" != without}
            assert inner.items() <= body[name].items() or all(body[name][key] == each for key, each in inner.items())
        else:
            assert body.get(name) == value


@pytest.mark.parametrize(
    ("engine", "arguments"),
    [
        ("bentoml", ("--temperature", "1", "--tokenizer", "t.json")),
        ("anthropic", ("--request-seed", "1")),
        ("tgi-generate", ("--presence-penalty", "1")),
        ("vllm", ("--endpoint", "responses", "--top-k", "1")),
        ("ollama", ("--endpoint", "completions")),
        ("anthropic", ("--max-tokens-field", "max_completion_tokens")),
        ("vllm", ("--endpoint", "responses", "--max-tokens-field", "max_tokens")),
        ("vllm", ("--endpoint", "responses", "--ignore-eos")),
        ("vllm", ("--ignore-eos", "--stop", "x")),
        ("vllm", ("--body", "[]")),
        ("vllm", ("--body", "{")),
        ("vllm", ("--body", '{"messages": []}')),
        ("vllm", ("--body", '{"model": "x"}')),
        ("vllm", ("--body", '{"max_tokens": 5}')),
        ("vllm", ("--body", '{"stream": false}')),
        ("vllm", ("--body-file", "/nowhere/body.json")),
        ("vllm", ("--temperature", "warm")),
        ("vllm", ("--temperature", "-1")),
        ("vllm", ("--top-p", "nan")),
        ("vllm", ("--top-k", "1.5")),
        ("vllm", ("--stop", "[1]")),
        ("vllm", ("--path", "v1/chat")),
        ("vllm", ("--path", "/v1/completions")),
    ],
)
def test_what_would_have_no_effect_or_make_no_sense_is_refused(
    options: Callable[..., ChatOptions], engine: str, arguments: tuple[str, ...]
) -> None:
    with pytest.raises((OptionError, OptionErrors)) as refused:
        options(*arguments, engine=engine)
    assert arguments[-2].removeprefix("--") in str(refused.value) or arguments[0] in str(refused.value)


def test_a_cap_may_be_left_out(options: Callable[..., ChatOptions]) -> None:
    assert "max_tokens" not in body_of(options("--body", '{"max_tokens": null}'))


@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens"])
def test_the_cap_goes_into_the_field_that_is_named(options: Callable[..., ChatOptions], field: str) -> None:
    body = body_of(options("--max-tokens-field", field, "--max-tokens", "33"))
    assert {name: body.get(name) for name in ("max_tokens", "max_completion_tokens") if name in body} == {field: 33}


def test_each_endpoint_has_its_path_and_body(options: Callable[..., ChatOptions]) -> None:
    completions, responses = options("--endpoint", "completions"), options("--endpoint", "responses")
    assert body_of(completions)["prompt"] == "Be brief.\n\nWhy?"
    body = body_of(responses)
    assert (body["instructions"], body["input"]) == ("Be brief.", [{"role": "user", "content": "Why?"}])
    assert body["max_output_tokens"] == 512
    assert {"max_tokens", "stream_options", "messages"}.isdisjoint(body)
    paths = {engine_of(each).path_for("m") for each in (options(), completions, responses)}
    assert paths == {"/v1/chat/completions", "/v1/completions", "/v1/responses"}
    templated = options("--endpoint", "completions", "--chat-template", "llama-3")
    assert body_of(templated)["prompt"].endswith("<|start_header_id|>assistant<|end_header_id|>\n\n")
    assert engine_of(templated).takes_turns
    assert not engine_of(completions).takes_turns


def test_a_path_of_one_s_own_may_name_the_model_and_a_row_s_endpoint_has_its_own(
    options: Callable[..., ChatOptions],
) -> None:
    given = options("--path", "/deployments/{model}/chat/completions?api-version=1")
    assert engine_of(given).path_for("a b") == "/deployments/a%20b/chat/completions?api-version=1"
    assert engine_of(at_endpoint(given, "completions")).path == "/v1/completions"
    assert engine_of(at_endpoint(given, "chat")).path == given.control.path


def test_a_row_s_model_is_requested_unless_a_model_is_given() -> None:
    parser = get_empty_argument_parser(default_config_files=[])
    add_options(parser)
    given, detected = (parser.parse_args(["--engine", "vllm", *model]) for model in (["--model", "m"], []))
    assert [model_for(ChatOptions.of(given), name) for name in ("", "of row")] == ["m", "m"]
    control = ChatOptions.of(detected).control
    # A run's nodes get the model that was detected as --model.
    detected.model = "found"
    vars(detected)[RUN_REQUESTS] = {"template": {}, "row_models": control.row_models}
    assert [model_for(ChatOptions.of(detected), name) for name in ("", "of row")] == ["found", "of row"]


@pytest.mark.parametrize("engine", [name for name, each in ENGINES.items() if each.takes_turns])
def test_a_folded_system_prompt_is_in_no_message_of_its_own(engine: str) -> None:
    request = ChatRequest("m", "Why?", "Be brief.", 8, earlier=(("user", "Hello?"), ("assistant", "Hello.")))
    body = ENGINES[engine].request_body(request.without_system_role()).decode()
    assert '"system"' not in body
    assert "Be brief.\\n\\nHello?" in body
    alone = ChatRequest("m", "Why?", "Be brief.", 8).without_system_role()
    assert (alone.prompt, alone.system_prompt) == ("Be brief.\n\nWhy?", None)


@pytest.mark.parametrize("body", ['{"a":', '{"a": "b', "{"])
def test_a_body_that_ends_too_early_is_shown_with_that_reason(options: Callable[..., ChatOptions], body: str) -> None:
    with pytest.raises((OptionError, OptionErrors)) as caught:
        options("--body", body)
    assert repr(body) in str(caught.value)
    assert "truncated" not in str(caught.value)


@pytest.mark.parametrize(
    ("engine", "arguments", "where"),
    [("vllm", ["--endpoint", "responses"], "--endpoint responses"), ("anthropic", [], "anthropic")],
)
def test_all_sampling_options_without_a_field_are_named_with_what_has_none(
    options: Callable[..., ChatOptions], engine: str, arguments: list[str], where: str
) -> None:
    with pytest.raises(OptionError) as refused:
        options("--presence-penalty", "1", "--request-seed", "5", "--temperature", "1", *arguments, engine=engine)
    sentence = str(refused.value)
    assert all(words in sentence for words in ("--presence-penalty", "--request-seed", where))
    assert "--temperature" not in sentence


@pytest.mark.parametrize(
    ("option", "value"),
    [("--top-p", "0"), ("--top-p", "1"), ("--top-k", "-1"), ("--temperature", "0"), ("--presence-penalty", "-2")],
)
def test_sampling_values_at_the_ends_of_their_ranges_are_sent(
    options: Callable[..., ChatOptions], option: str, value: str
) -> None:
    body = body_of(options(f"{option}={value}"))
    assert body[option.removeprefix("--").replace("-", "_")] == int(value)


def test_a_body_may_hold_any_sampling_value(options: Callable[..., ChatOptions]) -> None:
    assert body_of(options("--body", '{"top_p": 3}'))["top_p"] == 3
