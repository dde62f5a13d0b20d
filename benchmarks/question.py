"""The request of the plain clients and the floor, always the same."""

from __future__ import annotations

#: Output tokens that each client requests; the paced server sends so many, or fewer.
ANSWER_TOKENS_MAX = 160

PATH = "/v1/chat/completions"
QUESTION = "Why is the sky blue, and why is it red in the evening?"
BODY = {
    "model": "truth",
    "messages": [{"role": "user", "content": QUESTION}],
    "max_tokens": ANSWER_TOKENS_MAX,
    "stream": True,
    "stream_options": {"include_usage": True},
}


def headers(request_id: str) -> dict[str, str]:
    """With a number by which the server's log can be found again."""
    return {"X-Request-Id": request_id, "Accept": "text/event-stream", "Accept-Encoding": "identity"}
