"""JSON that is read row by row: a document in each line, an array of rows, or documents one after the other.

No more than one row and a block of the file is held in memory, however long the file is.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from typing import Any, BinaryIO

import msgspec

from tokenswarm.sanitize import is_nested_deeper, json_error_text

#: Parsers recurse, and no prompt is nested so deeply.
DEEPEST_JSON = 200
#: The longest row: some 16 million tokens.
MOST_ROW_BYTES = 64 * 2**20
_BLOCK_BYTES = 2**20
_WHITESPACE = re.compile(r"[ \t\n\r]*")
#: A parser that meets the end of what was read so far fails at most so many characters before it.
_CUT_CHARACTERS = 16


class UnsoundRows(ValueError):
    """A file that is not what its name promises; the text is a clause that names the place."""


def rows_of_lines(file: BinaryIO) -> Iterator[Any]:
    """The document of each line; blank lines are none. Raises UnsoundRows."""
    number = 0
    while line := file.readline(MOST_ROW_BYTES + 1):
        number += 1
        if len(line) > MOST_ROW_BYTES:
            raise UnsoundRows(f"line {number} is longer than {MOST_ROW_BYTES // 2**20} MiB")
        if number == 1:
            line = line.removeprefix(codecs.BOM_UTF8)
        if not line.strip():
            continue
        if is_nested_deeper((line,), DEEPEST_JSON, by_line=True):
            raise UnsoundRows(f"line {number} has JSON nested deeper than {DEEPEST_JSON} levels")
        try:
            yield msgspec.json.decode(line)
        except UnicodeDecodeError as error:
            raise UnsoundRows(f"line {number}: {error}") from None
        except msgspec.DecodeError as error:
            raise UnsoundRows(f"line {number} is not JSON: {json_error_text(error)}") from None


def rows_of_document(file: BinaryIO) -> Iterator[Any]:
    """The elements of the array that the file begins with, or its documents where it begins with none. Raises
    UnsoundRows."""
    reader = _DocumentReader(file)
    if reader.peek() != "[":
        while reader.peek():
            yield reader.value()
        return
    reader.skip()
    if reader.peek() == "]":
        reader.skip()
    else:
        while True:
            yield reader.value()
            mark = reader.peek()
            reader.skip()
            if mark == "]":
                break
            if mark != ",":
                raise reader.unsound(f"expected ',' or ']', got {mark or 'the end of the file'!r}")
    if rest := reader.peek():
        raise reader.unsound(f"expected the end of the file behind the array, got {rest!r}")


class _DocumentReader:
    """Reads values from the beginning of a file."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self._parser = json.JSONDecoder(parse_constant=_refuse_constant)
        self._text = ""
        self._place = 0
        self._ended = False
        self._values = 0

    def unsound(self, reason: str) -> UnsoundRows:
        """The error, which names the place by the number of values before it."""
        return UnsoundRows(f"behind row {self._values}: {reason}" if self._values else reason)

    def peek(self) -> str:
        """The next character that is no whitespace, "" at the end."""
        while True:
            self._place = _WHITESPACE.match(self._text, self._place).end()  # type: ignore[union-attr]
            if self._place < len(self._text) or not self._read(_BLOCK_BYTES):
                return self._text[self._place : self._place + 1]

    def skip(self) -> None:
        """Pass the character that `peek` gave."""
        self._place += 1

    def value(self) -> Any:
        """The next value."""
        self.peek()
        while True:
            try:
                value, end = self._parser.raw_decode(self._text, self._place)
            except RecursionError:
                raise self.unsound(f"JSON nested deeper than {DEEPEST_JSON} levels") from None
            except json.JSONDecodeError as error:
                if self._is_real(error) or not self._read(max(_BLOCK_BYTES, len(self._text))):
                    raise self.unsound(f"{error.msg}: {self._text[error.pos : error.pos + 40]!r}") from None
                continue
            except ValueError as error:  # NaN, and numbers of thousands of digits
                raise self.unsound(str(error)) from None
            if end == len(self._text) and self._read(_BLOCK_BYTES):
                continue  # a number may go on
            self._check(value, self._text[self._place : end])
            self._place = end
            self._values += 1
            return value

    def _is_real(self, error: json.JSONDecodeError) -> bool:
        """Whether more of the file would not mend it."""
        if len(self._text) - self._place > MOST_ROW_BYTES:
            return True
        return not error.msg.startswith("Unterminated") and error.pos < len(self._text) - _CUT_CHARACTERS

    def _check(self, value: Any, text: str) -> None:
        if is_nested_deeper((text.encode("utf-8", "surrogatepass"),), DEEPEST_JSON, by_line=True):
            raise self.unsound(f"JSON nested deeper than {DEEPEST_JSON} levels")
        if "\\ud" in text.lower():
            try:
                json.dumps(value, ensure_ascii=False).encode()
            except UnicodeEncodeError as error:
                raise self.unsound(str(error)) from None

    def _read(self, size: int) -> bool:
        """Take more of the file. Returns False at its end."""
        if self._ended:
            return False
        block = self._file.read(size)
        self._ended = not block
        try:
            more = self._decoder.decode(block, final=self._ended)
        except UnicodeDecodeError as error:
            raise self.unsound(str(error)) from None
        self._text, self._place = self._text[self._place :] + more, 0
        return bool(more) or not self._ended


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")
