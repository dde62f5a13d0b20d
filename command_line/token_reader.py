"""Reads the text of an option token by token, as grammars of options do."""

from __future__ import annotations

import re
from typing import ClassVar


class TokenReader:
    """A text and the place up to which it is read. White space between tokens is skipped. A subclass says which tokens
    there are, as named groups of `_TOKENS`, and which error a wrong place is."""

    _TOKENS: ClassVar[re.Pattern[str]]

    def __init__(self, text: str) -> None:
        self._text = text
        self._place = 0

    def _wrong(self, place: int, message: str) -> ValueError:
        """place: index of the character."""
        raise NotImplementedError

    def _token(self, expected: str) -> tuple[str, str]:
        """(kind, text) of the next token. Raises what `_wrong` makes."""
        if not self._skip_space():
            raise self._wrong(self._place, f"expected {expected}, but the text ends here")
        match = self._TOKENS.match(self._text, self._place)
        if match is None or match.lastgroup is None:
            raise self._wrong(self._place, f"expected {expected}, got {self._text[self._place]!r}")
        self._place = match.end()
        return match.lastgroup, match[0]

    def _here(self) -> int:
        """The place of the next token."""
        self._skip_space()
        return self._place

    def _peek(self) -> str:
        """The next token's first character; "" at the end."""
        return self._text[self._place] if self._skip_space() else ""

    def _skip_space(self) -> bool:
        """Whether there is anything behind it."""
        while self._place < len(self._text) and self._text[self._place].isspace():
            self._place += 1
        return self._place < len(self._text)
