"""The request as it goes to each engine, whole: a field too many is refused by some, one too few changes the answer."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from tokenswarm.engines import ENGINES, ChatRequest, Counts, TemplatedEngine, compile_template

PLAIN = ChatRequest(model="llama-3-8b", prompt="Why?", system_prompt=None, max_tokens=512)
SYSTEM = replace(PLAIN, system_prompt="Be brief.")
EXACT = replace(PLAIN, ignore_eos=True)
USER = {"role": "user", "content": "Why?"}
BRIEF = {"role": "system", "content": "Be brief."}
OPENAI = {"model": "llama-3-8b", "messages": [USER], "max_tokens": 512, "stream": True}
USAGE = {"stream_options": {"include_usage": True}}
LLAMA_3 = "<|start_header_id|>user<|end_header_id|>\n\nWhy?<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
LLAMA_3_SYSTEM = "<|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>" + LLAMA_3
TRITON = {
    "text_input": LLAMA_3,
    "max_tokens": 512,
    "bad_words": "",
    "stop_words": ["<|eot_id|>"],
    "stream": True,
}
TGI = {"inputs": LLAMA_3, "parameters": {"max_new_tokens": 512, "details": True, "stop": ["<|eot_id|>"]}}
INTERACTIVE = {
    "prompt": "Why?",
    "stream": True,
    "session_id": -1,
    "interactive_mode": False,
    "request_output_len": 512,
}
BENTOML = {"prompt": "Why?", "system_prompt": "", "max_tokens": 512}
OLLAMA = {"model": "llama-3-8b", "messages": [USER], "stream": True, "options": {"num_predict": 512}}
ANTHROPIC = {"model": "llama-3-8b", "messages": [USER], "max_tokens": 512, "stream": True}

#: Without a system prompt, and what one adds or changes.
BODIES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    **{
        name: (OPENAI | USAGE, {"messages": [BRIEF, USER]})
        for name in ("openai", "vllm", "lmdeploy", "mlc", "trtllm", "sglang", "llamacpp", "koboldcpp")
    },
    **{name: (OPENAI, {"messages": [BRIEF, USER]}) for name in ("vllm-0.4.2", "lmdeploy-0.4.0", "mlc-2024")},
    "tgi": (OPENAI | USAGE | {"model": "tgi"}, {"messages": [BRIEF, USER]}),
    "tgi-2.0.4": (OPENAI | {"model": "tgi"}, {"messages": [BRIEF, USER]}),
    "lmdeploy-interactive": (INTERACTIVE, {"prompt": [BRIEF, USER]}),
    "triton": (TRITON, {"text_input": LLAMA_3_SYSTEM}),
    "triton-bls": (TRITON, {"text_input": LLAMA_3_SYSTEM}),
    "tgi-generate": (TGI, {"inputs": LLAMA_3_SYSTEM}),
    "bentoml": (BENTOML, {"system_prompt": "Be brief."}),
    "ollama": (OLLAMA, {"messages": [BRIEF, USER]}),
    "anthropic": (ANTHROPIC, {"system": "Be brief."}),
}
#: What is added to have exactly 512 tokens; an engine that is not here cannot be told.
EXACT_LENGTH: dict[str, dict[str, Any]] = {
    **{name: {"ignore_eos": True, "min_tokens": 512} for name in ("vllm", "vllm-0.4.2", "trtllm")},
    **{
        name: {"ignore_eos": True}
        for name in ("lmdeploy", "lmdeploy-0.4.0", "lmdeploy-interactive", "mlc-2024", "sglang", "llamacpp")
    },
    "mlc": {"debug_config": {"ignore_eos": True}},
    # A stop word would end the answer early, whatever its least length.
    **{name: {"min_length": 512, "min_tokens": 512, "stop_words": ""} for name in ("triton", "triton-bls")},
}
PATHS = {
    "lmdeploy-interactive": "/v1/chat/interactive",
    "triton": "/v2/models/llama-3-8b/generate_stream",
    "triton-bls": "/v2/models/llama-3-8b/generate_stream",
    "tgi-generate": "/generate_stream",
    "bentoml": "/generate",
    "ollama": "/api/chat",
    "anthropic": "/v1/messages",
}


def body(engine: str, request: ChatRequest) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(ENGINES[engine].request_body(request))
    return found


@pytest.mark.parametrize("engine", ENGINES)
def test_a_question_is_these_fields_and_no_more(engine: str) -> None:
    assert body(engine, PLAIN) == BODIES[engine][0]


@pytest.mark.parametrize("engine", ENGINES)
def test_a_system_prompt_goes_in_as_the_engine_takes_it(engine: str) -> None:
    plain, changed = BODIES[engine]
    assert body(engine, SYSTEM) == plain | changed


@pytest.mark.parametrize("engine", EXACT_LENGTH)
def test_an_exact_length_is_asked_for_in_the_engine_s_own_way(engine: str) -> None:
    assert body(engine, EXACT) == BODIES[engine][0] | EXACT_LENGTH[engine]


def test_only_engines_that_can_be_told_promise_an_exact_length() -> None:
    assert {name for name, engine in ENGINES.items() if engine.honours_ignore_eos} == set(EXACT_LENGTH)


@pytest.mark.parametrize("engine", ["openai", "vllm", "ollama"])
def test_an_empty_system_prompt_is_a_message_all_the_same(engine: str) -> None:
    assert body(engine, replace(PLAIN, system_prompt=""))["messages"] == [{"role": "system", "content": ""}, USER]


def test_anthropic_gets_an_empty_system_prompt_as_an_empty_field() -> None:
    assert body("anthropic", replace(PLAIN, system_prompt=""))["system"] == ""


@pytest.mark.parametrize("engine", ENGINES)
def test_a_prompt_of_any_characters_comes_through(engine: str) -> None:
    prompt = 'quote " backslash \\ newline \n tab \t é 😀 \u2028 {{ braces }} {% if %} </s>'
    found = json.dumps(body(engine, replace(PLAIN, prompt=prompt)))
    assert json.dumps(prompt)[1:-1] in found


def test_each_engine_is_found_under_its_own_name_and_posts_to_its_own_route() -> None:
    for name, engine in ENGINES.items():
        assert engine.name == name
        assert engine.path_for("llama-3-8b") == PATHS.get(name, "/v1/chat/completions")
        assert engine.content_type == ("application/x-ndjson" if name == "ollama" else "text/event-stream")


def test_a_model_s_name_is_escaped_in_a_path() -> None:
    assert ENGINES["triton"].path_for("a/b c?") == "/v2/models/a%2Fb%20c%3F/generate_stream"


def test_which_engines_take_one_templated_text_and_which_count_no_tokens() -> None:
    templated = {name for name, engine in ENGINES.items() if isinstance(engine, TemplatedEngine)}
    assert templated == {"triton", "triton-bls", "tgi-generate"}
    uncounted = {name: engine.counts for name, engine in ENGINES.items() if engine.counts is not Counts.SERVER}
    assert uncounted == {
        "lmdeploy-0.4.0": Counts.EVENTS,
        "triton": Counts.EVENTS,
        "triton-bls": Counts.EVENTS,
        "tgi-2.0.4": Counts.EVENTS,
        "bentoml": Counts.NOBODY,
    }


def test_where_each_engine_shows_that_it_is_ready() -> None:
    others = {name: engine.health_path for name, engine in ENGINES.items() if engine.health_path != "/health"}
    assert others == {
        **dict.fromkeys(("openai", "anthropic")),
        **dict.fromkeys(("lmdeploy-0.4.0", "lmdeploy-interactive", "mlc", "mlc-2024"), "/v1/models"),
        **dict.fromkeys(("triton", "triton-bls"), "/v2/health/ready"),
        "bentoml": "/readyz",
        "koboldcpp": "/api/extra/version",
        "ollama": "/api/version",
    }


@pytest.mark.parametrize("engine", ENGINES)
def test_the_api_key_goes_into_the_header_that_the_engine_reads(engine: str) -> None:
    version = {"anthropic-version": "2023-06-01"} if engine == "anthropic" else {}
    with_key = {"x-api-key": "sk-1"} if engine == "anthropic" else {"Authorization": "Bearer sk-1"}
    assert ENGINES[engine].headers("sk-1") == version | with_key
    assert ENGINES[engine].headers("") == version


def test_a_template_of_one_s_own_takes_the_place_of_llama_3_s_and_brings_no_stop_word() -> None:
    own = compile_template(
        "own.jinja",
        "{{ bos_token }}{% for m in messages %}[{{ m['role'] }}] {{ m['content'] }}\n{% endfor %}"
        "{% if add_generation_prompt %}[assistant] {% endif %}",
    )
    triton, tgi = (replace(ENGINES[name], template=own) for name in ("triton", "tgi-generate"))  # type: ignore[call-arg]
    assert json.loads(triton.request_body(SYSTEM)) == TRITON | {
        "text_input": "[system] Be brief.\n[user] Why?\n[assistant] ",
        "stop_words": "",
    }
    assert json.loads(tgi.request_body(PLAIN)) == {
        "inputs": "[user] Why?\n[assistant] ",
        "parameters": {"max_new_tokens": 512, "details": True},
    }


TURNS = (("user", "Hello?"), ("assistant", "Hello."))
CHAT = replace(SYSTEM, earlier=TURNS)


@pytest.mark.parametrize("name", [name for name, engine in ENGINES.items() if engine.takes_turns])
def test_a_conversation_goes_whole_and_in_order_to_every_engine(name: str) -> None:
    body = json.loads(ENGINES[name].request_body(CHAT))
    order = ["Be brief.", "Hello?", "Hello.", "Why?"]
    if name == "anthropic":
        assert body["system"] == order.pop(0)
    text = json.dumps(body.get("messages") or body.get("prompt") or body.get("text_input") or body.get("inputs"))
    places = [text.index(part) for part in order]
    assert places == sorted(places)
    if isinstance(body.get("messages"), list):
        assert [message["role"] for message in body["messages"]][-3:] == ["user", "assistant", "user"]


def test_one_that_takes_a_single_text_says_so() -> None:
    assert [name for name, engine in ENGINES.items() if not engine.takes_turns] == ["bentoml"]
