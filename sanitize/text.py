"""Text that is safe to print, to write and to open: nothing in it is a command to a terminal or to a spreadsheet."""

from __future__ import annotations

import re

#: Invisible or in command of what is seen around them: controls, marks of writing direction, line separators, tags and
#: characters without a width, halves of surrogate pairs, characters that are none.
_UNSAFE = (
    "\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff"
    "\ufff9-\ufffb\ufffe\uffff\U000e0000-\U000e007f"
)
_unsafe_in_lines = re.compile(f"[{_UNSAFE}]")
_unsafe = re.compile(f"[\t\n{_UNSAFE}]")
#: What makes a spreadsheet take a cell for a formula, its full-width forms included.
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "＝", "＋", "－", "＠")
#: What keeps it from doing so.
GUARD = "'"
ELLIPSIS = "…"


def visible(text: str, lines: bool = False) -> str:
    r"""The text with control characters and marks of writing direction written out, like `\x1b` and `\u202e`. With
    `lines`, line feeds and tabs stay."""
    pattern = _unsafe_in_lines if lines else _unsafe
    return pattern.sub(_written_out, text) if pattern.search(text) else text


def _written_out(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def full_stop(text: str) -> str:
    """The text as a sentence: with one full stop at its end, unless it ends with ? or !. Servers end theirs or not."""
    ended = text.rstrip(". ")
    return ended if ended.endswith(("?", "!")) else f"{ended}."


def shortened(text: str, most_characters: int) -> str:
    """At most so many characters; where some are missing, the last is an ellipsis."""
    return text if len(text) <= most_characters else text[: most_characters - 1] + ELLIPSIS


def guarded(text: str) -> str:
    """A text cell that no spreadsheet takes for a formula: one that begins like a formula gets an apostrophe."""
    return GUARD + text if text.startswith(FORMULA_STARTS) else text


def unguarded(cell: str) -> str:
    """The inverse of `guarded`."""
    return cell[1:] if cell.startswith(GUARD) and cell[1:].startswith(FORMULA_STARTS) else cell
