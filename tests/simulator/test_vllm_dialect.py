"""The bytes of vLLM's dialects: today's and 0.4.2's."""

import json
from typing import Any

import pytest

from tokenswarm.simulator.dialect import GenerationRequest, Refusal, Style, Usage
from tokenswarm.simulator.dialects.vllm import VllmDialect

START = b'data: {"id":"chatcmpl-r1","object":"chat.completion.chunk","created":1700000000,"model":"tiny","choices":['
USAGE = Usage(prompt_tokens=22, cached_tokens=16, output_tokens=3)


def dialect(**options: Any) -> VllmDialect:
    return VllmDialect("tiny", max_model_len=2048, created_s=1_700_000_000, **options)


def generation(**fields: Any) -> GenerationRequest:
    body = {"model": "tiny", "messages": [{"role": "user", "content": "hi"}]} | fields
    return dialect().read(json.dumps(body).encode(), {})


def writer(style: Style | None = None, **fields: Any) -> Any:
    return dialect(style=style).writer(generation(**fields), "r1", 1_700_000_000)


def refusal(body: bytes, **options: Any) -> tuple[int, dict[str, Any]]:
    with pytest.raises(Refusal) as caught:
        dialect(**options).read(body, {})
    page = caught.value.page
    error = json.loads(page.body)["error"]
    assert list(error) == ["message", "type", "param", "code"]
    assert error["code"] == page.status
    return page.status, error


def test_the_role_event_comes_without_text() -> None:
    assert writer().opening() == (
        START + b'{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}],'
        b'"prompt_token_ids":null,"prompt_text":null}\n\n'
    )


def test_a_token_event_carries_escaped_text_and_explicit_nulls() -> None:
    assert writer().tokens([' "caf\u00e9\n'], reasoning=False) == (
        START + b'{"index":0,"delta":{"content":" \\"caf\xc3\xa9\\n"},"logprobs":null,"finish_reason":null,'
        b'"token_ids":null}]}\n\n'
    )


def test_a_reasoning_event_differs_by_its_key_only() -> None:
    answer = writer()
    assert answer.tokens([" so"], reasoning=True) == answer.tokens([" so"], False).replace(b'"content"', b'"reasoning"')


def test_the_finish_event_carries_the_last_text() -> None:
    assert writer().ending([" end"], False, "length", USAGE) == [
        START + b'{"index":0,"delta":{"content":" end"},"logprobs":null,"finish_reason":"length","stop_reason":null,'
        b'"token_ids":null}]}\n\n',
        b"data: [DONE]\n\n",
    ]


def test_usage_is_an_event_of_its_own_without_choices_when_asked_for() -> None:
    events = writer(stream_options={"include_usage": True}).ending([""], False, "stop", USAGE)
    assert len(events) == 3
    assert events[1] == (
        START + b'],"usage":{"prompt_tokens":22,"total_tokens":25,"completion_tokens":3,'
        b'"prompt_tokens_details":{"cached_tokens":16}},"system_fingerprint":"tokenswarm-simulator"}\n\n'
    )


def test_an_error_in_mid_stream_is_spaced_json_and_then_done() -> None:
    error, done = writer().failure()
    assert error.startswith(b'data: {"error": {"message": "') and error.endswith(
        b'", "type": "InternalServerError", "param": null, "code": 500}}\n\n'
    )
    assert done == b"data: [DONE]\n\n"


def test_crlf_and_comments_change_the_layout_only() -> None:
    plain, odd = writer(), writer(Style(crlf=True, comments=True))
    for event, styled in (
        (plain.opening(), odd.opening()),
        (plain.tokens(["a"], False), odd.tokens(["a"], False)),
        (plain.ending(["a"], False, "stop", USAGE)[-1], odd.ending(["a"], False, "stop", USAGE)[-1]),
    ):
        assert styled == b": ping\r\n\r\n" + event.replace(b"\n\n", b"\r\n\r\n")


def test_names_from_the_request_are_escaped() -> None:
    event = dialect().writer(generation(model='a"b'), 'x"y', 1).tokens(["hi"], False)
    chunk = json.loads(event.removeprefix(b"data: "))
    assert (chunk["model"], chunk["id"]) == ('a"b', 'chatcmpl-x"y')


def test_a_whole_answer_has_vllms_keys() -> None:
    answer = json.loads(writer().whole("out", "", "length", USAGE).body)
    assert list(answer)[:8] == (
        ["id", "object", "created", "model", "choices", "service_tier", "system_fingerprint", "usage"]
    )
    assert answer["object"] == "chat.completion"
    assert answer["choices"][0]["finish_reason"] == "length"
    message = answer["choices"][0]["message"]
    assert (message["role"], message["content"], message["reasoning"]) == ("assistant", "out", None)
    assert answer["usage"]["completion_tokens"] == 3


def test_max_tokens_is_cut_to_the_context_left() -> None:
    # "hi" in the template is 11 tokens.
    assert generation().max_tokens == 2037
    assert generation(max_tokens=2048).max_tokens == 2037
    assert generation(max_tokens=5).max_tokens == 5


def test_max_completion_tokens_goes_before_max_tokens() -> None:
    assert generation(max_tokens=5, max_completion_tokens=7).max_tokens == 7


def test_numbers_may_be_strings_and_options_null() -> None:
    read = generation(max_tokens="16", stream=None, stream_options=None, min_tokens=None, ignore_eos=None, n=None)
    assert (read.max_tokens, read.stream, read.include_usage) == (16, False, False)


def test_content_may_come_in_parts() -> None:
    parts = [{"type": "text", "text": "one two"}, {"type": "image_url", "image_url": {}}, {"type": "text", "text": "x"}]
    assert generation(messages=[{"role": "user", "content": parts}]).prompt[5:-5] == ["one", " two", "\n", "x"]


def test_unknown_fields_are_ignored() -> None:
    assert generation(temperature=0, whatever={"a": 1}).max_tokens == 2037


def test_any_model_is_accepted_unless_told_otherwise() -> None:
    assert generation(model="other").model == "other"
    status, error = refusal(b'{"model":"other","messages":[{"role":"user","content":"hi"}]}', only_model=True)
    assert (status, error["type"], error["param"]) == (404, "NotFoundError", "model")
    assert error["message"] == "The model `other` does not exist. Valid aliases: tiny."


def test_a_request_without_a_model_gets_the_one_there_is() -> None:
    assert dialect(only_model=True).read(b'{"messages":[{"role":"user","content":"hi"}]}', {}).model == "tiny"


@pytest.mark.parametrize(
    ("body", "param", "told"),
    [
        (b'{"model": "tiny", "messages": [', "body", "JSON decode error"),
        (b"", "body", "JSON decode error"),
        (b"\xff", "body", "JSON decode error"),
        (b'{"x":' + b"[" * 100_000, "body", "JSON decode error"),
        (b"[]", "body", "Expected `object`"),
        (b'{"model": "tiny"}', "body", "missing required field `messages`"),
        (b'{"messages": [{"role": "user", "content": "hi"}], "max_tokens": "x"}', "body.max_tokens", "Expected `int"),
        (b'{"messages": [{"role": "user", "content": 4}]}', "body.messages[0].content", "Expected `str"),
    ],
)
def test_a_body_that_is_no_request_is_a_400_that_names_the_place(body: bytes, param: str, told: str) -> None:
    status, error = refusal(body)
    assert (status, error["type"], error["param"]) == (400, "Bad Request", param)
    assert error["message"].startswith("1 validation error:\n") and told in error["message"]


@pytest.mark.parametrize(
    ("fields", "param", "message"),
    [
        ({"max_tokens": 0}, "max_tokens", "max_tokens must be at least 1, got 0. (parameter=max_tokens, value=0)"),
        ({"max_tokens": -5}, "max_tokens", "max_tokens must be at least 1, got -5. (parameter=max_tokens, value=-5)"),
        (
            {"max_tokens": 5000},
            "max_tokens",
            (
                "max_tokens=5000 cannot be greater than max_model_len=2048. Please request fewer output tokens. "
                "(parameter=max_tokens, value=5000)"
            ),
        ),
        (
            {"messages": []},
            None,
            "Cannot apply chat template to an empty conversation. Provide at least one message.",
        ),
        (
            {"messages": [{"role": "user", "content": "word " * 2038}]},
            "input_tokens",
            (
                "This model's maximum context length is 2048 tokens. However, your prompt contains 2048 input tokens, "
                "which leaves no room for output tokens. Please reduce the length of the input prompt. "
                "(parameter=input_tokens, value=2048)"
            ),
        ),
        (
            {"max_tokens": 4, "min_tokens": 5},
            "min_tokens",
            "min_tokens must be less than or equal to max_tokens=4, got 5. (parameter=min_tokens, value=5)",
        ),
        ({"n": 2}, "n", "This simulator gives one answer a request: n must be 1, got 2. (parameter=n, value=2)"),
    ],
)
def test_a_request_that_cannot_be_met_is_a_400_with_the_reason(
    fields: dict[str, Any], param: str | None, message: str
) -> None:
    body = {"messages": [{"role": "user", "content": "hi"}]} | fields
    status, error = refusal(json.dumps(body).encode())
    assert (status, error["type"], error["param"], error["message"]) == (400, "BadRequestError", param, message)
