"""Chat templates: what they may do, and what is said of those that cannot be used."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime

import pytest

from tests.engines.chat_templates import CONVERSATIONS, RECORDED, TEMPLATES
from tokenswarm.engines import LLAMA_3, ChatRequest, EngineError, compile_template, template_sandbox

QUESTION = ChatRequest(model="m", prompt="Why?", system_prompt="Be brief.", max_tokens=9)


def test_llama_3_s_template_is_this_text_and_no_more() -> None:
    assert LLAMA_3.render(QUESTION) == (
        "<|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nWhy?<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n"
    )
    assert (LLAMA_3.name, LLAMA_3.stop) == ("llama-3", "<|eot_id|>")


@pytest.mark.slow
@pytest.mark.parametrize("name", TEMPLATES)
def test_a_template_gives_what_transformers_gives(name: str) -> None:
    """Its results are recorded; tests/engines/chat_templates.py says how."""
    recorded = json.loads(RECORDED.read_text(encoding="utf-8"))["results"]
    assert recorded.keys() == TEMPLATES.keys()
    template = compile_template(name, TEMPLATES[name])
    assert [template.render(request_of(messages)) for messages in CONVERSATIONS] == recorded[name]


def request_of(messages: list[dict[str, str]]) -> ChatRequest:
    system = messages[0]["content"] if messages[0]["role"] == "system" else None
    turns = [(message["role"], message["content"]) for message in messages if message["role"] != "system"]
    (_, prompt), earlier = turns[-1], tuple(turns[:-1])
    return ChatRequest(model="m", prompt=prompt, system_prompt=system, max_tokens=9, earlier=earlier)


def test_the_time_in_a_template_is_that_of_the_request() -> None:
    template = compile_template("t", "{{ strftime_now('%d %b %Y') }} {{ messages[-1].content }}")
    before, text, after = (datetime.now().strftime("%d %b %Y"), template.render(QUESTION), datetime.now())
    assert text in {f"{before} Why?", f"{after:%d %b %Y} Why?"}


def test_a_template_is_read_as_transformers_reads_it() -> None:
    """A block on a line of its own leaves no line behind."""
    source = "{% for message in messages %}\n    {%- if true %}\n{{ message.content }}\n{% endif %}\n{% endfor %}\n>"
    assert compile_template("t", source).render(QUESTION) == "Be brief.\nWhy?\n>"


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("{% for %}", "the chat template t.jinja cannot be read: Expected an expression, got 'end of statement block'"),
        ("Hello", "the chat template t.jinja leaves the prompt out; it is Jinja over `messages`"),
        ("", "the chat template t.jinja leaves the prompt out; it is Jinja over `messages`"),
        ("{{ messages[5].content }}", "the chat template t.jinja cannot be applied: "),
        ("{{ raise_exception('no system role') }}", "the chat template t.jinja cannot be applied: no system role"),
        ("{{ messages.__class__.__mro__ }}", "the chat template t.jinja cannot be applied: access to attribute"),
        ("{{ messages.append(1) }}", "the chat template t.jinja cannot be applied: access to attribute 'append'"),
        ("{{ 1 / 0 }}", "the chat template t.jinja cannot be applied: division by zero"),
        ("{{ messages + 1 }}", "the chat template t.jinja cannot be applied: "),
    ],
)
def test_a_template_that_cannot_be_used_is_refused_in_a_sentence(source: str, sentence: str) -> None:
    with pytest.raises(EngineError) as refused:
        compile_template("t.jinja", source)
    assert str(refused.value).startswith(sentence)


@pytest.mark.slow
@pytest.mark.parametrize(
    "source",
    [
        "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
        "{% for i in range(99999) %}{% for j in range(99999) %}x{% endfor %}{% endfor %}",
        "{% macro again() %}{% for i in range(99) %}{{ again() }}{% endfor %}{% endmacro %}{{ again() }}",
        "{{ 9 ** (9 ** 9) }}",
        "{% set n = messages|length %}{{ (9 + n) ** ((9 + n) ** 9) }}",
        "{{ 'x' * 9999999999 }}",
        "{{ 'x'.ljust(9999999999) }}",
        "{{ lipsum(n=99999999) }}",
        "{% if messages|length > 2 %}{{ 'x'.center(9999999999) }}{% endif %}",
        "{% for i in range(99999) %}{{ messages[0].content * 99999 }}{% endfor %}",
    ],
)
def test_a_template_without_an_end_is_refused(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(template_sandbox, "_TRIAL_CPU_S", 2)  # more than the one second of a request
    with pytest.raises(EngineError) as refused:
        compile_template("t.jinja", source + "{{ messages[-1].content }}")
    assert str(refused.value).startswith("the chat template t.jinja ")


@pytest.mark.slow
@pytest.mark.parametrize(
    "source", ["{{ " + "(" * 9999 + "1" + ")" * 9999 + " }}", "{% for i in [1] %}" * 99 + "{% endfor %}" * 99]
)
def test_a_template_that_no_compiler_takes_is_refused(source: str) -> None:
    with pytest.raises(EngineError, match=r"^the chat template t\.jinja "):
        compile_template("t.jinja", source)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("work", "sentence"),
    [
        (
            "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
            "more than 1 s of processor",
        ),
        ("{% for i in range(99999) %}{{ messages[0].content * 9999 }}{% endfor %}", "more than 64,000,000 characters"),
    ],
)
def test_a_template_that_is_expensive_for_one_prompt_fails_that_request_alone(work: str, sentence: str) -> None:
    source = "{% if messages[-1].content == 'slow' %}" + work + "{% endif %}{{ messages[-1].content }}"
    template = compile_template("t.jinja", source)
    with pytest.raises(EngineError, match=sentence):
        template.render(replace(QUESTION, prompt="slow"))
    assert template.render(replace(QUESTION, prompt="fast")) == "fast"
