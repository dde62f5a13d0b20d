"""This process's secrets, and the functions through which text of a server's or a user's leaves it."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any, TypeVar
from urllib.parse import unquote

from tokenswarm.sanitize.redactor import SHORTEST_FRAGMENT, Redactor
from tokenswarm.sanitize.text import guarded, shortened, visible

API_KEY_VARIABLE = "LLM_API_KEY"
#: Other variables that hold what nobody else should see. TLS keys are named by their paths.
_SECRET_VARIABLE = re.compile(
    r"(LLM|TOKENSWARM|LOCUST|HF|HUGGING_?FACE\w*|OPENAI|ANTHROPIC|AWS|AZURE)_(?!.*TLS|CLIENT_KEY)(\w+_)?(KEY|TOKEN|PASSWORD|SECRET)"
)
_SECRET_NAME = re.compile(r"auth|key|token|secret|password|cookie|credential|signature", re.IGNORECASE)
_CREDENTIALS = re.compile(r"://([^/?#\s\"'<>]*)@")
#: In whole documents, which hold our own words too, shorter fragments are left alone: what a server said is already
#: without them.
_FRAGMENT_IN_DOCUMENTS = 16
#: A server's text is looked at so far behind the place where it is cut: an escape takes six characters and more.
_LOOKED_AT = 8
_REMEMBERED_CHARACTERS = 600
#: What a character becomes at most when it is written out.
_MOST_ESCAPED = 10

Value = TypeVar("Value")


def is_secret_name(header: str) -> bool:
    """Whether a header of this name holds a key, a token or a password."""
    return _SECRET_NAME.search(header) is not None


class _Known:
    """The secrets as they stand, compiled anew only when they change."""

    def __init__(self) -> None:
        self._added: set[str] = set()
        self._added_whole: set[str] = set()
        self._compiled_for: tuple[str, int] | None = None
        self._of_servers = self._of_documents = Redactor(())

    def add(self, secret: str, whole: bool) -> None:
        (self._added_whole if whole else self._added).add(secret)

    def of_servers(self) -> Redactor:
        self._compile()
        return self._of_servers

    def of_documents(self) -> Redactor:
        self._compile()
        return self._of_documents

    def _compile(self) -> None:
        now = (os.environ.get(API_KEY_VARIABLE, ""), len(self._added) + len(self._added_whole))
        if now != self._compiled_for:
            secrets = self._added | set(secrets_of(os.environ, sys.argv))
            self._of_servers = Redactor(secrets, SHORTEST_FRAGMENT, self._added_whole)
            self._of_documents = Redactor(secrets, _FRAGMENT_IN_DOCUMENTS, self._added_whole)
            self._compiled_for = now
            _remembered.cache_clear()


_known = _Known()


def secrets_of(environment: Mapping[str, str], arguments: Iterable[str]) -> Iterator[str]:
    """The secrets among variables and arguments: values of variables that are named for a key, token, password or
    secret of ours, and the passwords of all addresses (proxies, data sets, pages of metrics)."""
    for name, value in environment.items():
        if name == API_KEY_VARIABLE or _SECRET_VARIABLE.fullmatch(name):
            yield value
    for text in (*environment.values(), *arguments):
        for credentials in _CREDENTIALS.findall(text):
            user, colon, password = credentials.partition(":")
            for secret in (credentials, password if colon else user):
                yield secret
                yield unquote(secret)


def hide(secret: str, whole: bool = False) -> None:
    """From now on, cut this out of all that leaves the process. For secrets that come from a file or an option. whole:
    leave fragments of it alone, as it may hold ordinary words."""
    if secret:
        _known.add(secret, whole)


def server_text(text: str, most_characters: int, lines: bool = False) -> str:
    """Text that a server chose, for our records: secrets cut out (fragments of 8 characters too), control characters
    written out (with `lines`, all but line feeds and tabs), at most so many characters. Call it where the text enters a
    record."""
    return _cleaned(_known.of_servers(), text[: _LOOKED_AT * most_characters], most_characters, lines)


def _clean(redact: Redactor, text: str, most_characters: int, lines: bool) -> str:
    return shortened(visible(redact(text), lines), most_characters)


_remembered = lru_cache(maxsize=2048)(_clean)


def _cleaned(redact: Redactor, text: str, most_characters: int, lines: bool) -> str:
    clean = _remembered if len(text) <= _REMEMBERED_CHARACTERS else _clean
    return clean(redact, text, most_characters, lines)


def shown(text: str) -> str:
    """Text of several lines as it may be printed, logged or written: without whole secrets and without control
    characters. The second line of defence, for text that holds words of our own."""
    return _cleaned(_known.of_documents(), text, len(text) + _MOST_ESCAPED * len(text), lines=True)


def cell(text: str, most_characters: int = 1000) -> str:
    """Text of a server's or a user's as a cell of a CSV file: as `server_text`, and harmless to spreadsheets."""
    return guarded(server_text(text, most_characters))


def shown_values(document: Value) -> Value:
    """A document of dictionaries and lists whose texts are `shown`; names of fields and numbers stay."""
    return _shown_values(document)  # type: ignore[no-any-return]


def _shown_values(value: Any) -> Any:
    if isinstance(value, str):
        return shown(value)
    if isinstance(value, dict):
        return {name: _shown_values(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_shown_values(inner) for inner in value]
    return value


def without_secrets(error: Exception) -> Exception:
    """The error itself, or one of the same meaning whose text holds no secret."""
    text = str(error)
    safe = server_text(text, 2000) if text else text
    if safe == text:
        return error
    return RuntimeError(f"{type(error).__name__}: {safe}").with_traceback(error.__traceback__)
