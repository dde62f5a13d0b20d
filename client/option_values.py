"""How values of options are read: numbers, times, choices, addresses. Every error is one sentence."""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
from typing import Any, TypeVar

from tokenswarm.command_line import not_one_of, parse_timespan
from tokenswarm.sanitize import shown
from tokenswarm.wire import Origin, UnusableUrl

_MOST_NONCE_CHARACTERS = 200

Choice = TypeVar("Choice", bound=StrEnum)


class OptionError(ValueError):
    """An option has a value that it cannot have; the text says what was expected and what was given."""


def whole_number(option: str, value: Any, least: int) -> int:
    """Raises OptionError."""
    try:
        number = int(value)
    except (TypeError, ValueError):
        number = least - 1
    if number < least:
        raise OptionError(f"{option} takes a whole number of at least {least}, got {value!r}.")
    return number


def page_address(option: str, text: str, *words: str) -> Origin | None:
    """The address of a page, with the path /metrics where it has none; None for one of the words. Raises
    OptionError."""
    if text in words:
        return None
    try:
        page = Origin.parse(text)
    except UnusableUrl:
        expected = [word for word in words if word]
        address = "an address like http://HOST:PORT/metrics"
        known = f"{', '.join(expected)}, or {address}" if expected else address
        raise OptionError(f"{option} takes {known}, got {shown(text)!r}.") from None
    return page if page.prefix else replace(page, prefix="/metrics")


def nonce_text(text: Any) -> str:
    """--prompt-nonce. Raises OptionError."""
    nonce = str(text).strip()
    if len(nonce) > _MOST_NONCE_CHARACTERS or not nonce.isprintable():
        raise OptionError(
            f"--prompt-nonce takes up to {_MOST_NONCE_CHARACTERS} printable characters, got {nonce[:40]!r}."
        )
    return nonce


def choice_of(kind: type[Choice], option: str, text: str) -> Choice:
    """Raises OptionError."""
    try:
        return kind(text)
    except ValueError:
        raise OptionError(not_one_of(option, kind, text)) from None


def timespan_s(option: str, text: Any) -> float:
    """A time above 0, in seconds. Raises TimespanError."""
    return parse_timespan(option, text, above_zero=True)
