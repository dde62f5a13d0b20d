"""Whether a server refused a request because its prompt, or prompt and answer, are longer than the model's context.

Servers refuse such a request with the status of any bad request, so that their words decide. A cap on the answer that
is longer than the context, whatever the prompt, is none.
"""

from __future__ import annotations

import re

#: Statuses of requests that a server does not take as they are.
_REFUSED = (400, 413, 422)
#: Codes and types of errors.
_CODES = (b"context_length_exceeded", b"exceed_context_size_error")
_WORDS = re.compile(
    r"maximum context length"  # OpenAI, vLLM
    r"|model'?s? context length"  # LMDeploy, SGLang
    r"|available context size"  # llama.cpp
    r"|model input length limit"  # MLC-LLM
    r"|`inputs` must have less than|`inputs` tokens \+ `max_new_tokens` must be"  # TGI
    r"|prompt is too long|prompt too long"  # Anthropic
    r"|prompt length.{0,80}should not exceed|exceeds? (?:the )?max_(?:seq|input)_len"  # TensorRT-LLM
    r"|exceeds? the (?:model'?s? )?(?:maximum )?context (?:length|window|size)"
    r"|longer than the (?:model'?s? )?context",
    re.IGNORECASE,
)
#: Messages are longer where they repeat the request.
_LOOKED_AT_BYTES = 4096


def is_context_overflow(message: str, status: int, body: bytes = b"") -> bool:
    """Whether a server's message says so. status: of the response, 200 for an error inside a stream; body: the
    beginning of a response that is no stream."""
    if status != 200 and status not in _REFUSED:
        return False
    start = body[:_LOOKED_AT_BYTES]
    return any(code in start for code in _CODES) or _WORDS.search(message) is not None
