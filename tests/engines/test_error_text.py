"""What a person reads of an error response: the server's own words, short, and never nothing."""

from itertools import product
from typing import Any

import pytest

from tokenswarm.engines import ENGINES, StreamBroken
from tokenswarm.engines.errors import error_text

BODIES = [
    pytest.param(
        b'{"error":{"message":"The model `no-such-model` does not exist. Valid aliases: tiny.","type":"NotFoundError",'
        b'"param":"model","code":404}}',
        "The model `no-such-model` does not exist. Valid aliases: tiny.",
        id="vLLM, unknown model",
    ),
    pytest.param(
        b'{"error":{"message":"1 validation error:\\n  (int_parsing, body.max_tokens) Input should be a valid integer",'
        b'"type":"Bad Request","param":"body.max_tokens","code":400}}',
        "1 validation error: (int_parsing, body.max_tokens) Input should be a valid integer",
        id="vLLM, validation over two lines",
    ),
    pytest.param(b'{"error":"Unauthorized"}', "Unauthorized", id="vLLM, no key"),
    pytest.param(b'{"detail":"Not Found"}', "Not Found", id="vLLM, unknown route"),
    pytest.param(b"", "no message", id="vLLM, dead engine's health"),
    pytest.param(
        b'{"object":"error","message":"This model\'s maximum context length is 2048 tokens.","type":"BadRequestError",'
        b'"param":null,"code":400}',
        "This model's maximum context length is 2048 tokens.",
        id="older vLLM, flat",
    ),
    pytest.param(
        b'{"error":{"message":"Invalid API Key","type":"authentication_error","code":401}}',
        "Invalid API Key",
        id="llama.cpp, bad key",
    ),
    pytest.param(
        b'{"error":{"code":400,"message":"request (18007 tokens) exceeds the available context size (2048 tokens), try '
        b'increasing it","type":"exceed_context_size_error","n_prompt_tokens":18007,"n_ctx":2048}}',
        "request (18007 tokens) exceeds the available context size (2048 tokens), try increasing it",
        id="llama.cpp, too long",
    ),
    pytest.param(b'{"error":"Too many requests"}', "Too many requests", id="BentoML, overload"),
    pytest.param(
        b'{"error":"1 validation error for Input","detail":[{"type":"greater_than_equal","loc":["max_tokens"],'
        b'"msg":"Input should be greater than or equal to 1"}]}',
        "1 validation error for Input",
        id="BentoML, validation",
    ),
    pytest.param(b'[{"error":"the model is not loaded"}]', "the model is not loaded", id="BentoML, an exception"),
    pytest.param(
        b'{"detail":[{"type":"missing","loc":["body","messages"],"msg":"Field required"},{"type":"int_parsing",'
        b'"loc":["body","max_tokens"],"msg":"Input should be a valid integer"}]}',
        "body.messages: Field required; body.max_tokens: Input should be a valid integer",
        id="FastAPI, validation",
    ),
    pytest.param(
        b'"{\\"object\\":\\"error\\",\\"message\\":\\"Request prompt has 9000 tokens in total, larger than the model '
        b'input length limit 8192.\\",\\"code\\":400}"',
        "Request prompt has 9000 tokens in total, larger than the model input length limit 8192.",
        id="MLC-LLM, encoded twice",
    ),
    pytest.param(b'{"error":"unhealthy","error_type":"healthcheck"}', "unhealthy", id="TGI, an error and its type"),
    pytest.param(
        b'{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}', "Overloaded", id="Anthropic"
    ),
    pytest.param(b'{"error":{"message":"boom","http_status_code":422}}', "boom", id="TGI, chat"),
    pytest.param(
        b'{"object":"error","message":"The model `x` does not exist.","code":404}',
        "The model `x` does not exist.",
        id="LMDeploy 0.4.0, under 200",
    ),
    pytest.param(b"Not Found", "Not Found", id="BentoML, unknown route"),
    pytest.param(b"Method Not Allowed", "Method Not Allowed", id="BentoML, wrong method"),
    pytest.param(
        b"<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n</html>\r\n",
        "502 Bad Gateway",
        id="a proxy's page",
    ),
    pytest.param(
        b"\xef\xbb\xbf\n<!DOCTYPE html><html><head><style>p { color: red }</style><script>if (1 < 2) alert()</script>"
        b"</head><body><h1>Sorry,</h1><p>back &lt;soon&gt;<br>\n&amp; well</body>",
        "Sorry, back <soon> & well",
        id="a page without a title",
    ),
    pytest.param(
        b'<?xml version="1.0"?><Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>',
        "AccessDenied Access Denied",
        id="a cloud's XML",
    ),
    pytest.param(b"<html><head><title>half", "half", id="a page cut off in its title"),
    pytest.param(b"<html><body></body></html>", "no message", id="a page without a word"),
    pytest.param(
        b'{"id":"chatcmpl-1","object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant",'
        b'"content":"Hello"},"finish_reason":"stop"}],"usage":{"prompt_tokens":9,"completion_tokens":1}}',
        "the server answered without streaming",
        id="a whole answer",
    ),
    pytest.param(
        b'{"model_name":"ensemble","model_version":"1","text_output":"Hello"}',
        "the server answered without streaming",
        id="a whole answer, Triton",
    ),
    pytest.param(
        b'{"model":"m","message":{"role":"assistant","content":"Hello"},"done":true}',
        "the server answered without streaming",
        id="a whole answer, Ollama",
    ),
    pytest.param(b'[{"generated_text":"Hello"}]', "the server answered without streaming", id="a whole answer, TGI"),
    pytest.param(b"\xff\xfe gone", "\ufffd\ufffd gone", id="not UTF-8"),
    pytest.param(b'{"error":"caf\xe9"}', '{"error":"caf\ufffd"}', id="JSON in Latin-1"),
    pytest.param(b'{"error":{"message":"half', '{"error":{"message":"half', id="cut off"),
]


@pytest.mark.parametrize(("body", "words"), BODIES)
def test_the_servers_own_words(body: bytes, words: str) -> None:
    assert {engine: spec.error_message(body) for engine, spec in ENGINES.items()} == dict.fromkeys(ENGINES, words)


@pytest.mark.parametrize(
    "body",
    [b"", b" \n", b"{}", b"[]", b"null", b'""', b'{"error":null}', b'{"error":{}}', b'{"error":{"message":""}}', b"0"],
)
def test_the_words_are_never_empty(body: bytes) -> None:
    assert ENGINES["vllm"].error_message(body).strip()


@pytest.mark.parametrize(
    "body", [b"x" * 10_000, b'{"error":{"message":"%s"}}' % (b"x" * 10_000), b'{"other":"%s"}' % (b"x" * 10_000)]
)
def test_the_words_are_short(body: bytes) -> None:
    words = ENGINES["vllm"].error_message(body)
    assert len(words) == 300
    assert words.endswith("x…")


def test_json_nested_beyond_reason_is_quoted_not_followed() -> None:
    assert ENGINES["vllm"].error_message(b"[" * 100_000) == "[" * 299 + "…"


NESTED = [b"[", b'{"error":', b'{"message":[', b'{"detail":[', b'[{"msg":"no","loc":[']
CLOSING = {b"[": b"]", b"{": b"}"}


def nested(opening: bytes, depth: int) -> bytes:
    closing = b"".join(CLOSING[bytes([each])] for each in reversed(opening) if bytes([each]) in CLOSING)
    return opening * depth + b"1" + closing * depth


@pytest.mark.parametrize("engine", sorted(ENGINES))
def test_an_error_nested_to_any_depth_is_read_or_broken_and_never_a_defect(engine: str) -> None:
    json_lines = ENGINES[engine].content_type == "application/x-ndjson"
    for opening, depth in product(NESTED, (1, 9, 100, 240, 450, 900, 1_500, 10_000)):
        error = nested(opening, depth)
        assert len(ENGINES[engine].error_message(b'{"error":' + error + b"}")) <= 300
        assert len(ENGINES[engine].error_message(error)) <= 300
        for key in (
            b'"error"',
            b'"type":"error","error"',
            b'"object":"error","message"',
            b'"status":"error","message"',
        ):
            document = b"{" + key + b":" + error + b"}\n"
            assert len(outcome_of(engine, document if json_lines else b"data: " + document + b"\n")) < 1000


def outcome_of(engine: str, stream: bytes) -> str:
    """The errors of a stream, or why it is broken."""
    decoder = ENGINES[engine].decoder()
    try:
        return "".join(delta.error or "" for delta in [*decoder.feed(stream), *decoder.end()])
    except StreamBroken as broken:
        return str(broken)


def test_an_error_that_cannot_be_written_as_text_has_no_message() -> None:
    value: Any = 1
    for _ in range(100_000):
        value = [value]
    assert error_text({"code": value}) == "the server reported an error without a message"


@pytest.mark.parametrize("text", [" " * 1_000_000 + "late", "x" * 1_000_000, "a " * 500_000])
def test_a_giant_error_is_cut(text: str) -> None:
    told = error_text({"message": text})
    assert len(told) <= 300
    assert told.endswith("…")
