"""The message of a server that fails, in one line, whatever shape it has.

Nothing here trusts that shape: nesting and length are bounded, so that no body takes long or exhausts the stack.
"""

from __future__ import annotations

from typing import Any

import msgspec

from tokenswarm.engines.pages import looks_like_a_page, words_of_page


class EngineError(ValueError):
    """A server or a template that cannot be used; the text is one sentence for a person."""


_MESSAGE_CHARACTERS = 300
#: Of a longer text only so much is looked at: it may be white space for the most part.
_LOOKED_AT_CHARACTERS = 10 * _MESSAGE_CHARACTERS
_MOST_OF_A_LIST = 3
#: Errors wrap errors, but not deeper than this.
_MOST_DEPTH = 8
#: Keys of answers that came whole where a stream was requested.
_WHOLE_ANSWERS = ("choices", "text_output", "generated_text", "content", "done")


def error_message(body: bytes) -> str:
    """The server's message: `error.message`, `error`, `message` or `detail`, or a page's title; else the body's
    beginning."""
    try:
        document = msgspec.json.decode(body)
        if isinstance(document, str) and document.startswith("{"):
            document = msgspec.json.decode(document)  # MLC-LLM encodes its errors twice
    except (ValueError, RecursionError):  # DecodeError and UnicodeDecodeError are ValueErrors
        text = body.decode("utf-8-sig", "replace")
        return _shortened(words_of_page(text) if looks_like_a_page(text) else text) or "no message"
    if isinstance(document, list) and document:  # BentoML's exceptions
        document = document[0]
    if isinstance(document, dict):
        if any(document.get(key) for key in _WHOLE_ANSWERS) and not document.get("error"):
            return "the server answered without streaming"
        for key in ("error", "message", "detail"):
            if document.get(key):
                return error_text(document[key])
    return _shortened(body.decode("utf-8", "replace"))


def is_failure(error: Any, beside_output: bool) -> bool:
    """Whether the value of a field `error` reports a failure. An empty one (`""`, `{}`, `[]`, false, 0) does not where
    the document has what an answer has beside it."""
    return error is not None and (bool(error) or not beside_output)


def error_text(error: Any) -> str:
    """The message inside an error of any of the shapes in use: an object with a message, a list of them, a string,
    anything."""
    return _shortened(_words(error, _MOST_DEPTH)) or "the server reported an error without a message"


def _words(error: Any, depth: int) -> str:
    if not depth:
        return ""
    if isinstance(error, dict):
        if isinstance(error.get("msg"), str):
            return _of_validation(error)
        message = error.get("message", error.get("error"))
        return _as_text(error) if message is None else _words(message, depth - 1)
    if isinstance(error, list) and error:
        return "; ".join(_shortened(_words(one, depth - 1)) for one in error[:_MOST_OF_A_LIST])
    return error if isinstance(error, str) else _as_text(error)


def _of_validation(detail: dict[str, Any]) -> str:
    """FastAPI's: where, and what is wrong there."""
    place = detail.get("loc")
    parts = [part for part in place if isinstance(part, str | int)] if isinstance(place, list) else []
    where = ".".join(str(part) for part in parts[:_MOST_DEPTH])
    return f"{where}: {detail['msg']}" if where else str(detail["msg"])


def _as_text(value: Any) -> str:
    if value is None:
        return "None"
    try:
        return msgspec.json.encode(value).decode()
    except (ValueError, RecursionError, OverflowError):  # a number of thousands of digits; nesting near the stack's end
        return ""


def _shortened(text: str) -> str:
    whole = len(text) <= _LOOKED_AT_CHARACTERS
    text = " ".join(text[:_LOOKED_AT_CHARACTERS].split())
    if len(text) > _MESSAGE_CHARACTERS or not whole:
        return text[: _MESSAGE_CHARACTERS - 1] + "…"
    return text
