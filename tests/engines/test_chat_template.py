"""Chat templates: what they may do, and what is said of those that cannot be used."""

from __future__ import annotations

import pytest

from engines import LLAMA_3, ChatRequest, EngineError, compile_template

QUESTION = ChatRequest(model="m", prompt="Why?", system_prompt="Be brief.", max_tokens=9)


def test_llama_3_s_template_is_this_text_and_no_more() -> None:
    assert LLAMA_3.render(QUESTION) == (
        "<|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nWhy?<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n"
    )
    assert (LLAMA_3.name, LLAMA_3.stop) == ("llama-3", "<|eot_id|>")


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
