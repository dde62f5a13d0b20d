"""A stream of each dialect, as its server's source has it, and how it is taken in.

Each stream is two words, " Hi" and "thére!"; where a dialect has more to say of it (counts, reasons, pieces without
text), it says so.
"""

from __future__ import annotations

import json
from typing import NamedTuple

import pytest

from tokenswarm.engines import ENGINES, Delta, EngineSpec, OpenAICompatible, StreamBroken, completions_of, responses_of

_OPENAI = ENGINES["openai"]
assert isinstance(_OPENAI, OpenAICompatible)
#: Every engine at its own endpoint, and OpenAI's other endpoints.
SPECS: dict[str, EngineSpec] = {
    **ENGINES,
    "completions": completions_of(_OPENAI),
    "responses": responses_of(_OPENAI),
}


class Answer(NamedTuple):
    """What a stream holds, all in all."""

    text: str = ""
    reasoning: str = ""
    prompt_tokens: int | None = None
    output_tokens: int | None = None
    finish_reason: str | None = None
    error: str | None = None
    done: bool = False
    broken: str | None = None


def deltas_of(engine: str, pieces: list[bytes]) -> tuple[list[Delta], str | None]:
    """Up to the stream's end, or to what broke it."""
    decoder, deltas = SPECS[engine].decoder(), list[Delta]()
    try:
        for piece in pieces:
            deltas += decoder.feed(piece)
        if not any(delta.done or delta.error for delta in deltas):
            deltas += decoder.end()
    except StreamBroken as broken:
        return deltas, str(broken)
    return deltas, None


def answer_of(engine: str, pieces: list[bytes]) -> Answer:
    """As a user takes it in: nothing behind the end, or behind an error, is part of it."""
    deltas, broken = deltas_of(engine, pieces)
    answer = Answer(broken=broken)
    for delta in deltas:
        answer = answer._replace(
            text=answer.text + delta.text,
            reasoning=answer.reasoning + delta.reasoning,
            prompt_tokens=answer.prompt_tokens if delta.prompt_tokens is None else delta.prompt_tokens,
            output_tokens=answer.output_tokens if delta.output_tokens is None else delta.output_tokens,
            finish_reason=delta.finish_reason or answer.finish_reason,
            error=delta.error,
            done=delta.done,
        )
        if delta.done or delta.error:
            break
    return answer


DONE = b"data: [DONE]\n\n"

VLLM = (
    b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"M","choices":[{"index":0,"delta":'
    b'{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}],"prompt_token_ids":null}\n\n'
    b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"M","choices":[{"index":0,"delta":'
    b'{"content":" Hi"},"logprobs":null,"finish_reason":null,"token_ids":null}]}\n\n'
    b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"M","choices":[{"index":0,"delta":'
    b'{"content":"th\xc3\xa9re!"},"logprobs":null,"finish_reason":"length","stop_reason":null,"token_ids":null}]}\n\n'
)
VLLM_USAGE = (
    b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"M","choices":[],"usage":'
    b'{"prompt_tokens":9,"total_tokens":12,"completion_tokens":3}}\n\n'
)
VLLM_0_4_2 = (
    b'data: {"id":"cmpl-1","object":"chat.completion.chunk","created":1,"model":"M","choices":[{"index":0,"delta":'
    b'{"role":"assistant"},"logprobs":null,"finish_reason":null}]}\n\n'
    b'data: {"id":"cmpl-1","object":"chat.completion.chunk","created":1,"model":"M","choices":[{"index":0,"delta":'
    b'{"content":" Hi"},"logprobs":null,"finish_reason":null}]}\n\n'
    b'data: {"id":"cmpl-1","object":"chat.completion.chunk","created":1,"model":"M","choices":[{"index":0,"delta":'
    b'{"content":"th\xc3\xa9re!"},"logprobs":null,"finish_reason":"length","stop_reason":null}],"usage":'
    b'{"prompt_tokens":9,"total_tokens":12,"completion_tokens":3}}\n\n' + DONE
)
LMDEPLOY_0_4_0 = (
    b'data: {"id":"1","model":"M","choices":[{"index":0,"delta":{"role":"assistant"},"finish_reason":null}]}\n\n'
    b'data: {"id":"1","object":"chat.completion.chunk","created":1,"model":"M","choices":[{"index":0,"delta":'
    b'{"role":"assistant","content":" Hi"},"logprobs":null,"finish_reason":null}]}\n\n'
    b'data: {"id":"1","object":"chat.completion.chunk","created":1,"model":"M","choices":[{"index":0,"delta":'
    b'{"role":"assistant","content":"th\xc3\xa9re!"},"logprobs":null,"finish_reason":null}]}\n\n'
    b'data: {"id":"1","object":"chat.completion.chunk","created":1,"model":"M","choices":[{"index":0,"delta":'
    b'{"role":"assistant","content":""},"logprobs":null,"finish_reason":"length"}]}\n\n' + DONE
)
LMDEPLOY = (
    b'data: {"id": "chatcmpl-x", "object": "chat.completion.chunk", "created": 1, "model": "M", "choices": [{"index": 0'
    b', "delta": {"role": "assistant", "content": " Hi"}}], "usage": null}\n\n'
    b'data: {"id": "chatcmpl-x", "object": "chat.completion.chunk", "created": 1, "model": "M", "choices": [{"index": 0'
    b', "delta": {"role": "assistant", "content": "th\\u00e9re!"}}], "usage": null}\n\n'
    b'data: {"id": "chatcmpl-x", "object": "chat.completion.chunk", "created": 1, "model": "M", "choices": [{"index": 0'
    b', "delta": {"role": "assistant", "content": ""}, "finish_reason": "length"}], "usage": null}\n\n'
    b'data: {"id":"chatcmpl-x","object":"chat.completion.chunk","created":1,"model":"M","choices":[],"usage":'
    b'{"prompt_tokens":9,"total_tokens":12,"completion_tokens":3,"prompt_tokens_details":{"cached_tokens":0}}}\n\n'
    + DONE
)
INTERACTIVE = (
    b'{"text":" Hi","tokens":1,"input_tokens":9,"history_tokens":0,"finish_reason":null}\n'
    b'{"text":"th\xc3\xa9re!","tokens":3,"input_tokens":9,"history_tokens":0,"finish_reason":null}\n'
    b'{"text":"","tokens":3,"input_tokens":9,"history_tokens":0,"finish_reason":"length"}\n'
)
_MLC_DELTA = b'"role":"assistant","name":null,"tool_calls":null,"tool_call_id":null},"logprobs":null}],'
_MLC_REST = b'"created":1,"model":"M","system_fingerprint":"","object":"chat.completion.chunk","usage":'
MLC = (
    b'data: {"id":"chatcmpl-a","choices":[{"finish_reason":null,"index":0,"delta":{"content":" Hi",'
    + _MLC_DELTA
    + _MLC_REST
    + b'null}\n\ndata: {"id":"chatcmpl-a","choices":[{"finish_reason":"length","index":0,"delta":'
    + b'{"content":"th\xc3\xa9re!",'
    + _MLC_DELTA
    + _MLC_REST
    + b'null}\n\ndata: {"id":"chatcmpl-a","choices":[],'
    + _MLC_REST
    + b'{"prompt_tokens":9,"completion_tokens":3,"total_tokens":12,"extra":null}}\n\n'
    + DONE
)
MLC_2024 = (
    b'data: {"id":"chatcmpl-a","choices":[{"finish_reason":null,"index":0,"delta":{"content":" Hi",'
    + _MLC_DELTA
    + _MLC_REST
    + b'{"prompt_tokens":9,"completion_tokens":1,"total_tokens":10}}\n\ndata: {"id":"chatcmpl-a","choices":[],'
    + _MLC_REST
    + b'{"prompt_tokens":9,"completion_tokens":2,"total_tokens":11}}\n\ndata: {"id":"chatcmpl-a","choices":'
    + b'[{"finish_reason":"length","index":0,"delta":{"content":"th\xc3\xa9re!",'
    + _MLC_DELTA
    + _MLC_REST
    + b'{"prompt_tokens":9,"completion_tokens":3,"total_tokens":12}}\n\n'
    + DONE
)
TRTLLM = (
    b'data: {"id":"chatcmpl-7","object":"chat.completion.chunk","created":1,"model":"M","choices":[{"index":0,"delta":'
    b'{"role":"assistant"}}]} \n\n'
    b'data: {"id":"chatcmpl-8","object":"chat.completion.chunk","created":1,"model":"M","choices":[{"index":0,"delta":'
    b'{"content":" Hi","reasoning_content":""}}]}\n\n'
    b'data: {"id":"chatcmpl-9","object":"chat.completion.chunk","created":1,"model":"M","choices":[{"index":0,"delta":'
    b'{"content":"th\xc3\xa9re!"},"finish_reason":"length"}]}\n\n'
    b'data: {"id":"chatcmpl-9","object":"chat.completion.chunk","created":1,"model":"M","choices":[],"usage":'
    b'{"prompt_tokens":9,"total_tokens":12,"completion_tokens":3,"prompt_tokens_details":{"cached_tokens":0}}}\n\n'
    + DONE
)


def triton_event(text: str) -> bytes:
    document = {
        "context_logits": 0.0,
        "cum_log_probs": 0.0,
        "generation_logits": 0.0,
        "model_name": "ensemble",
        "model_version": "1",
        "output_log_probs": [0.0],
        "sequence_end": False,
        "sequence_id": 0,
        "sequence_start": False,
        "text_output": text,
    }
    return b"data: " + json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode() + b"\n\n"


TRITON = triton_event(" Hi") + triton_event("thére!") + triton_event("")
TRITON_BLS = triton_event(" Hi") + triton_event(" Hith\ufffd") + triton_event(" Hithére!") + triton_event(" Hithére!")
TGI_GENERATE = (
    b'data: {"index":1,"token":{"id":13347,"text":" Hi","logprob":-0.1,"special":false},"generated_text":null,'
    b'"details":null}\n\n'
    b'data: {"index":2,"token":{"id":978,"text":"","logprob":-0.1,"special":false},"generated_text":null,'
    b'"details":null}\n\n'
    b'data: {"index":3,"token":{"id":979,"text":"th\xc3\xa9re!","logprob":-0.1,"special":false},"generated_text":null,'
    b'"details":null}\n\n'
    b'data: {"index":4,"token":{"id":128009,"text":"<|eot_id|>","logprob":-0.2,"special":true},"generated_text":'
    b'" Hith\xc3\xa9re!","details":{"finish_reason":"eos_token","generated_tokens":4,"seed":null,"input_length":9}}\n\n'
)
TGI_2_0_4 = (
    b'data:{"id":"","object":"text_completion","created":1,"model":"M","system_fingerprint":"2.0.4-native","choices":'
    b'[{"index":0,"delta":{"role":"assistant","content":" Hi"},"logprobs":null,"finish_reason":null}]}\n\n'
    b'data:{"id":"","object":"text_completion","created":1,"model":"M","system_fingerprint":"2.0.4-native","choices":'
    b'[{"index":0,"delta":{"role":"assistant","content":"th\xc3\xa9re!"},"logprobs":null,"finish_reason":null}]}\n\n'
    b'data:{"id":"","object":"text_completion","created":1,"model":"M","system_fingerprint":"2.0.4-native","choices":'
    b'[{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":"eos_token"}]}\n\n'
)
TGI = (
    b'data: {"object":"chat.completion.chunk","id":"","created":1,"model":"M","system_fingerprint":"3.3.7-native",'
    b'"choices":[{"index":0,"delta":{"role":"assistant","content":" Hi"},"logprobs":null,"finish_reason":null}],'
    b'"usage":null}\n\n'
    b'data: {"object":"chat.completion.chunk","id":"","created":1,"model":"M","system_fingerprint":"3.3.7-native",'
    b'"choices":[{"index":0,"delta":{"role":"assistant","content":"th\xc3\xa9re!"},"logprobs":null,"finish_reason":null}'
    b'],"usage":null}\n\n'
    b'data: {"object":"chat.completion.chunk","id":"","created":1,"model":"M","system_fingerprint":"3.3.7-native",'
    b'"choices":[{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":"stop"}],'
    b'"usage":null}\n\n'
    b'data: {"object":"chat.completion.chunk","id":"","created":1,"model":"M","system_fingerprint":"3.3.7-native",'
    b'"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":4,"total_tokens":13}}\n\n' + DONE
)
SGLANG = (
    b'data: {"id":"a","object":"chat.completion.chunk","created":1,"model":"M","choices":[{"index":0,"delta":'
    b'{"role":"assistant","content":"","reasoning_content":null,"tool_calls":null},"logprobs":null,"finish_reason":null,'
    b'"matched_stop":null}],"usage":null}\n\n'
    b'data: {"id":"a","object":"chat.completion.chunk","created":1,"model":"M","choices":[{"index":0,"delta":'
    b'{"role":null,"content":" Hi","reasoning_content":null,"tool_calls":null},"logprobs":null,"finish_reason":null,'
    b'"matched_stop":null}],"usage":null}\n\n'
    b'data: {"id":"a","object":"chat.completion.chunk","created":1,"model":"M","choices":[{"index":0,"delta":'
    b'{"role":null,"content":"th\xc3\xa9re!","reasoning_content":null,"tool_calls":null},"logprobs":null,'
    b'"finish_reason":null,"matched_stop":null}],"usage":null}\n\n'
    b'data: {"id":"a","object":"chat.completion.chunk","created":1,"model":"M","choices":[{"index":0,"delta":'
    b'{"role":null,"content":null,"reasoning_content":null,"tool_calls":null},"logprobs":null,"finish_reason":"stop",'
    b'"matched_stop":128009}],"usage":null}\n\n'
    b'data: {"id":"a","object":"chat.completion.chunk","created":1,"model":"M","choices":[],"usage":{"prompt_tokens":9,'
    b'"total_tokens":12,"completion_tokens":3,"prompt_tokens_details":null}}\n\n' + DONE
)
LLAMACPP = (
    b'data: {"choices":[{"finish_reason":null,"index":0,"delta":{"role":"assistant","content":null}}],"created":1,'
    b'"id":"chatcmpl-e","model":"M","system_fingerprint":"b1","object":"chat.completion.chunk"}\n\n'
    b'data: {"choices":[{"finish_reason":null,"index":0,"delta":{"content":" Hi"}}],"created":1,"id":"chatcmpl-e",'
    b'"model":"M","system_fingerprint":"b1","object":"chat.completion.chunk"}\n\n:\n\n'
    b'data: {"choices":[{"finish_reason":null,"index":0,"delta":{"content":"th\xc3\xa9re!"}}],"created":1,"id":'
    b'"chatcmpl-e","model":"M","system_fingerprint":"b1","object":"chat.completion.chunk"}\n\n'
    b'data: {"choices":[{"finish_reason":"length","index":0,"delta":{}}],"created":1,"id":"chatcmpl-e","model":"M",'
    b'"system_fingerprint":"b1","object":"chat.completion.chunk"}\n\n'
    b'data: {"choices":[],"created":1,"id":"chatcmpl-e","model":"M","system_fingerprint":"b1","object":'
    b'"chat.completion.chunk","usage":{"completion_tokens":3,"prompt_tokens":9,"total_tokens":12},"timings":'
    b'{"cache_n":0,"prompt_n":9,"predicted_n":3,"predicted_ms":2.6}}\n\n' + DONE
)
# It writes its JSON with spaces, and in ASCII.
KOBOLDCPP = (
    b'data: {"id": "chatcmpl-A1", "object": "chat.completion.chunk", "created": 1, "model": "koboldcpp/M", "choices": '
    b'[{"index": 0, "finish_reason": null, "delta": {"role": "assistant", "content": " Hi"}}]}\n\n'
    b'data: {"id": "chatcmpl-A1", "object": "chat.completion.chunk", "created": 1, "model": "koboldcpp/M", "choices": '
    b'[{"index": 0, "finish_reason": null, "delta": {"role": "assistant", "content": "th\\u00e9re!"}}]}\n\n'
    b'data: {"id": "chatcmpl-A1", "object": "chat.completion.chunk", "created": 1, "model": "koboldcpp/M", "choices": '
    b'[{"index": 0, "finish_reason": "length", "delta": {"role": "assistant", "content": ""}}]}\n\n'
    b'data: {"id": "chatcmpl-A1", "object": "chat.completion.chunk", "created": 1, "model": "koboldcpp/M", "choices": '
    b'[], "usage": {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}}\n\n' + DONE
)
OLLAMA = (
    b'{"model":"M","created_at":"2026-01-01T00:00:00Z","message":{"role":"assistant","content":" Hi"},"done":false}\n'
    b'{"model":"M","created_at":"2026-01-01T00:00:00Z","message":{"role":"assistant","content":"th\xc3\xa9re!"},'
    b'"done":false}\n'
    b'{"model":"M","created_at":"2026-01-01T00:00:00Z","message":{"role":"assistant","content":""},"done":true,'
    b'"done_reason":"length","total_duration":5,"load_duration":1,"prompt_eval_count":9,"prompt_eval_duration":1,'
    b'"eval_count":3,"eval_duration":3}\n'
)
OPENAI = (
    b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"M","choices":[{"index":0,"delta":'
    b'{"role":"assistant","content":"","refusal":null},"finish_reason":null}],"usage":null,"obfuscation":"x3"}\n\n'
    b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"M","choices":[{"index":0,"delta":'
    b'{"content":" Hi"},"finish_reason":null}],"usage":null,"obfuscation":"Zz9"}\n\n'
    b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"M","choices":[{"index":0,"delta":'
    b'{"content":"th\xc3\xa9re!"},"finish_reason":null}],"usage":null,"obfuscation":""}\n\n'
    b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"M","choices":[{"index":0,"delta":'
    b'{},"finish_reason":"stop"}],"usage":null,"obfuscation":"q"}\n\n'
    b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"M","choices":[],"usage":'
    b'{"prompt_tokens":9,"completion_tokens":3,"total_tokens":12},"obfuscation":"w"}\n\n' + DONE
)
ANTHROPIC = (
    b'event: message_start\ndata: {"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant",'
    b'"content":[],"model":"M","stop_reason":null,"usage":{"input_tokens":9,"output_tokens":1}}}\n\n'
    b'event: content_block_start\ndata: {"type":"content_block_start","index":0,"content_block":'
    b'{"type":"text","text":""}}\n\nevent: ping\ndata: {"type":"ping"}\n\n'
    b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":'
    b'" Hi"}}\n\n'
    b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":'
    b'"th\xc3\xa9re!"}}\n\n'
    b'event: content_block_stop\ndata: {"type":"content_block_stop","index":0}\n\n'
    b'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},'
    b'"usage":{"output_tokens":3}}\n\n'
    b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
)
COMPLETIONS = (
    b'data: {"id":"cmpl-1","object":"text_completion","created":1,"model":"M","choices":[{"text":" Hi","index":0,'
    b'"logprobs":null,"finish_reason":null}],"usage":null}\n\n'
    b'data: {"id":"cmpl-1","object":"text_completion","created":1,"model":"M","choices":[{"text":"","index":0,'
    b'"logprobs":null,"finish_reason":null}],"usage":null}\n\n'
    b'data: {"id":"cmpl-1","object":"text_completion","created":1,"model":"M","choices":[{"text":"th\xc3\xa9re!",'
    b'"index":0,"logprobs":null,"finish_reason":"length"}],"usage":null}\n\n'
    b'data: {"id":"cmpl-1","object":"text_completion","created":1,"model":"M","choices":[],"usage":'
    b'{"prompt_tokens":9,"completion_tokens":3,"total_tokens":12}}\n\n' + DONE
)


def responses_event(kind: str, **fields: object) -> bytes:
    document = {"type": kind, "sequence_number": 4} | fields
    data = json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), data)


def responses_delta(kind: str, text: str) -> bytes:
    return responses_event(f"response.{kind}.delta", item_id="msg_1", output_index=0, content_index=0, delta=text)


RESPONSES_USAGE = {
    "input_tokens": 9,
    "input_tokens_details": {"cached_tokens": 4},
    "output_tokens": 3,
    "output_tokens_details": {"reasoning_tokens": 1},
    "total_tokens": 12,
}
_PART = {"type": "output_text", "annotations": [], "text": ""}
RESPONSES_BEGIN = (
    responses_event("response.created", response={"id": "resp_1", "status": "in_progress", "error": None})
    + responses_event("response.in_progress", response={"id": "resp_1", "status": "in_progress", "usage": None})
    + responses_event("response.output_item.added", output_index=0, item={"id": "msg_1", "type": "message"})
    + responses_event("response.content_part.added", item_id="msg_1", output_index=0, content_index=0, part=_PART)
)
RESPONSES = (
    RESPONSES_BEGIN
    + responses_delta("output_text", " Hi")
    + b'event: keepalive\ndata: {"type":"keepalive"}\n\n'
    + responses_delta("output_text", "thére!")
    + responses_event("response.output_text.done", item_id="msg_1", output_index=0, content_index=0, text=" Hithére!")
    + responses_event("response.output_item.done", output_index=0, item={"id": "msg_1", "type": "message"})
    + responses_event(
        "response.incomplete",
        response={
            "id": "resp_1",
            "status": "incomplete",
            "error": None,
            "incomplete_details": {"reason": "max_output_tokens"},
            "usage": RESPONSES_USAGE,
        },
    )
)
# What llama.cpp sends: usage in the finish chunk; no numbers, and no response.incomplete, whatever ended the answer.
_LLAMACPP_REST = b'"created":1,"model":"tiny","system_fingerprint":"b1","object":"text_completion"'
LLAMACPP_COMPLETIONS = (
    b'data: {"choices":[{"text":" Hi","index":0,"logprobs":null,"finish_reason":null}],'
    + _LLAMACPP_REST
    + b',"id":"chatcmpl-e"}\n\ndata: {"choices":[{"text":"th\xc3\xa9re!","index":0,"logprobs":null,'
    + b'"finish_reason":null}],'
    + _LLAMACPP_REST
    + b',"id":"chatcmpl-e"}\n\ndata: {"choices":[{"text":"","index":0,"logprobs":null,"finish_reason":"length"}],'
    + _LLAMACPP_REST
    + b',"usage":{"completion_tokens":3,"prompt_tokens":9,"total_tokens":12,"prompt_tokens_details":'
    + b'{"cached_tokens":0}},'
    + b'"id":"chatcmpl-e","timings":{"cache_n":0,"prompt_n":9,"predicted_n":3}}\n\n'
    + DONE
)
_LLAMACPP_END = (
    b'"usage":{"input_tokens":9,"output_tokens":3,"total_tokens":12,"input_tokens_details":{"cached_tokens":0}}'
)
LLAMACPP_RESPONSES = (
    b'event: response.created\ndata: {"type":"response.created","response":{"id":"resp_F","object":"response",'
    b'"status":"in_progress"}}\n\n'
    b'event: response.output_item.added\ndata: {"type":"response.output_item.added","item":{"content":[],"id":"msg_o",'
    b'"role":"assistant","status":"in_progress","type":"message"}}\n\n'
    b'event: response.content_part.added\ndata: {"type":"response.content_part.added","item_id":"msg_o","part":'
    b'{"type":"output_text","text":""}}\n\n'
    b'event: response.output_text.delta\ndata: {"type":"response.output_text.delta","item_id":"msg_o","delta":'
    b'" Hi"}\n\n'
    b'event: response.output_text.delta\ndata: {"type":"response.output_text.delta","item_id":"msg_o","delta":'
    b'"th\xc3\xa9re!"}\n\n'
    b'event: response.output_text.done\ndata: {"type":"response.output_text.done","item_id":"msg_o","text":'
    b'" Hith\xc3\xa9re!"}\n\n'
    b'event: response.completed\ndata: {"type":"response.completed","response":{"id":"resp_F","object":"response",'
    b'"created_at":1,"status":"completed","model":"tiny","output":[],' + _LLAMACPP_END + b"}}\n\n"
)

WORDS = " Hithére!"
COUNTED = Answer(WORDS, prompt_tokens=9, output_tokens=3, finish_reason="length", done=True)
#: (engine, stream, what it holds)
STREAMS = [
    pytest.param("vllm", VLLM + VLLM_USAGE + DONE, COUNTED, id="vllm"),
    pytest.param("vllm-0.4.2", VLLM_0_4_2, COUNTED, id="vllm-0.4.2"),
    pytest.param("lmdeploy", LMDEPLOY, COUNTED, id="lmdeploy"),
    pytest.param(
        "lmdeploy-0.4.0", LMDEPLOY_0_4_0, Answer(WORDS, finish_reason="length", done=True), id="lmdeploy-0.4.0"
    ),
    pytest.param("lmdeploy-interactive", INTERACTIVE, COUNTED, id="lmdeploy-interactive"),
    pytest.param("mlc", MLC, COUNTED, id="mlc"),
    pytest.param("mlc-2024", MLC_2024, COUNTED, id="mlc-2024"),
    pytest.param("trtllm", TRTLLM, COUNTED, id="trtllm"),
    pytest.param("triton", TRITON, Answer(WORDS, done=True), id="triton"),
    pytest.param("triton-bls", TRITON_BLS, Answer(WORDS, done=True), id="triton-bls"),
    pytest.param("tgi", TGI, COUNTED._replace(output_tokens=4, finish_reason="stop"), id="tgi"),
    pytest.param("tgi-2.0.4", TGI_2_0_4, Answer(WORDS, finish_reason="eos_token", done=True), id="tgi-2.0.4"),
    pytest.param(
        "tgi-generate",
        TGI_GENERATE,
        COUNTED._replace(output_tokens=4, finish_reason="eos_token"),
        id="tgi-generate",
    ),
    pytest.param(
        "tgi-generate",
        TGI_GENERATE.replace(b"data: ", b"data:").replace(b',"input_length":9', b""),
        COUNTED._replace(prompt_tokens=None, output_tokens=4, finish_reason="eos_token"),
        id="tgi-generate of 2.0.4",
    ),
    pytest.param("bentoml", WORDS.encode(), Answer(WORDS, done=True), id="bentoml"),
    pytest.param("sglang", SGLANG, COUNTED._replace(finish_reason="stop"), id="sglang"),
    pytest.param("llamacpp", LLAMACPP, COUNTED, id="llamacpp"),
    pytest.param("koboldcpp", KOBOLDCPP, COUNTED, id="koboldcpp"),
    pytest.param("ollama", OLLAMA, COUNTED, id="ollama"),
    pytest.param("openai", OPENAI, COUNTED._replace(finish_reason="stop"), id="openai"),
    pytest.param("anthropic", ANTHROPIC, COUNTED._replace(finish_reason="end_turn"), id="anthropic"),
    pytest.param("completions", COMPLETIONS, COUNTED, id="completions"),
    pytest.param("responses", RESPONSES, COUNTED, id="responses"),
    pytest.param("completions", LLAMACPP_COMPLETIONS, COUNTED, id="completions of llama.cpp"),
    pytest.param("responses", LLAMACPP_RESPONSES, COUNTED._replace(finish_reason="stop"), id="responses of llama.cpp"),
]


def stream_of(engine: str) -> bytes:
    """The first stream of an engine."""
    stream = next(param.values[1] for param in STREAMS if param.values[0] == engine)
    assert isinstance(stream, bytes)
    return stream
