"""What a server says when it fails, in one line, whatever shape it says it in."""

from __future__ import annotations

from typing import Any

import msgspec

from engines.pages import looks_like_a_page, words_of_page

_MESSAGE_CHARACTERS = 300
_MOST_OF_A_LIST = 3
#: Keys of answers that came whole where a stream was asked for.
_WHOLE_ANSWERS = ("choices", "text_output", "generated_text", "content", "done")


def error_message(body: bytes) -> str:
    """The server's own words: `error.message`, `error`, `message` or `detail`, or a page's title; else the body's
    beginning."""
    try:
        document = msgspec.json.decode(body)
        if isinstance(document, str) and document.startswith("{"):
            document = msgspec.json.decode(document)  # MLC-LLM encodes its errors twice
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        text = body.decode("utf-8-sig", "replace")
        return _shortened(words_of_page(text) if looks_like_a_page(text) else text) or "no message"
    if isinstance(document, list) and document:  # BentoML's exceptions
        document = document[0]
    if isinstance(document, dict):
        if any(document.get(key) for key in _WHOLE_ANSWERS) and not document.get("error"):
            return "the server answered without streaming"
        for key in ("error", "message", "detail"):
            if document.get(key):
                return words_of(document[key])
    return _shortened(body.decode("utf-8", "replace"))


def words_of(error: Any) -> str:
    """The message inside an error of any of the shapes in use: an object with a message, a list of them, a string,
    anything."""
    if isinstance(error, dict):
        if isinstance(error.get("msg"), str):
            return _of_validation(error)
        message = error.get("message", error.get("error"))
        return words_of(message if message is not None else msgspec.json.encode(error).decode())
    if isinstance(error, list) and error:
        return _shortened("; ".join(words_of(one) for one in error[:_MOST_OF_A_LIST]))
    return _shortened(str(error)) or "the server reported an error without a message"


def _of_validation(detail: dict[str, Any]) -> str:
    """FastAPI's: where, and what is wrong there."""
    place = detail.get("loc")
    where = ".".join(str(part) for part in place) if isinstance(place, list) else ""
    return _shortened(f"{where}: {detail['msg']}" if where else detail["msg"])


def _shortened(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _MESSAGE_CHARACTERS else text[: _MESSAGE_CHARACTERS - 1] + "…"
