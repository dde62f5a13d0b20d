"""The request as it goes to an engine."""

import json
from typing import Any

import pytest

from engines import ENGINES, ChatRequest


def body(engine: str = "vllm", **fields: Any) -> dict[str, Any]:
    request = {"model": "llama-3-8b", "prompt": "Why?", "system_prompt": None, "max_tokens": 512} | fields
    found: dict[str, Any] = json.loads(ENGINES[engine].request_body(ChatRequest(**request)))
    return found


@pytest.mark.parametrize("engine", sorted(ENGINES))
def test_a_plain_question_is_these_fields_and_no_more(engine: str) -> None:
    assert body(engine) == {
        "model": "llama-3-8b",
        "messages": [{"role": "user", "content": "Why?"}],
        "max_tokens": 512,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


@pytest.mark.parametrize("text", ["", "Answer in one line."])
def test_a_system_prompt_goes_first_even_when_it_is_empty(text: str) -> None:
    assert body(system_prompt=text)["messages"] == [
        {"role": "system", "content": text},
        {"role": "user", "content": "Why?"},
    ]


def test_ignore_eos_asks_for_exactly_max_tokens() -> None:
    found = body(ignore_eos=True, max_tokens=7)
    assert (found["ignore_eos"], found["min_tokens"], found["max_tokens"]) == (True, 7, 7)


def test_usage_is_asked_for_with_ignore_eos_too() -> None:
    assert body(ignore_eos=True)["stream_options"] == {"include_usage": True}


def test_only_engines_that_promise_it_honour_ignore_eos() -> None:
    assert {name: engine.honours_ignore_eos for name, engine in ENGINES.items()} == {"openai": False, "vllm": True}


def test_a_prompt_of_any_characters_comes_through() -> None:
    prompt = 'quote " backslash \\ newline \n tab \t é 😀 \u2028'
    assert body(prompt=prompt)["messages"][0]["content"] == prompt


def test_each_engine_is_found_under_its_own_name_and_posts_to_the_chat_route() -> None:
    for name, engine in ENGINES.items():
        assert (engine.name, engine.path) == (name, "/v1/chat/completions")
        assert engine.content_type == "text/event-stream"
