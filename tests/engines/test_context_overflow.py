"""Refusals of prompts that are longer than the model's context, distinguished from other refusals by their words."""

from __future__ import annotations

import pytest

from tokenswarm.engines import is_context_overflow

TOO_LONG = {
    "vLLM": "This model's maximum context length is 2048 tokens. However, your prompt contains at least 2049 input "
    "tokens, which exceeds this limit even without any output tokens.",
    "OpenAI": "This model's maximum context length is 8192 tokens. However, your messages resulted in 9000 tokens.",
    "llama.cpp": "request (18007 tokens) exceeds the available context size (2048 tokens), try increasing it",
    "SGLang": "The input (9001 tokens) is longer than the model's context length (8192 tokens).",
    "SGLang, with the answer": "Requested token count exceeds the model's maximum context length of 8192 tokens.",
    "LMDeploy": "Input length (9000) must be smaller than the model context length (8192).",
    "MLC-LLM": "Request prompt has 9000 tokens in total, larger than the model input length limit 8192.",
    "TGI": "Input validation error: `inputs` must have less than 8191 tokens. Given: 9000",
    "TGI, with the answer": "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 8192. Given: 8000 "
    "`inputs` tokens and 512 `max_new_tokens`",
    "Anthropic": "prompt is too long: 210000 tokens > 200000 maximum",
    "TensorRT-LLM": "The sum of prompt length (9000.0), query length (0) and max_tokens (512) should not exceed "
    "max_seq_len (8192)",
}
OTHERS = (
    "max_tokens=1000000 cannot be greater than max_model_len=2048. Please request fewer output tokens.",
    "The model `m` does not exist.",
    "1 validation error: temperature must be between 0 and 2",
    "The server is overloaded.",
    "the header is too long",
)


@pytest.mark.parametrize("status", [200, 400, 413, 422])
@pytest.mark.parametrize("message", TOO_LONG.values(), ids=TOO_LONG)
def test_each_engine_s_words_are_known(message: str, status: int) -> None:
    assert is_context_overflow(message, status)


@pytest.mark.parametrize("message", OTHERS)
def test_other_refusals_are_none(message: str) -> None:
    assert not is_context_overflow(message, 400)


@pytest.mark.parametrize("status", [401, 404, 429, 500, 503])
def test_only_refusals_of_the_request_are_looked_at(status: int) -> None:
    assert not is_context_overflow(TOO_LONG["vLLM"], status)


def test_a_code_decides_whatever_the_words_are() -> None:
    body = b'{"error":{"message":"Zu lang.","code":"context_length_exceeded"}}'
    assert is_context_overflow("Zu lang.", 400, body)
    assert not is_context_overflow("Zu lang.", 400, body.replace(b"context_length", b"quota"))
