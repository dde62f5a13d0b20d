"""Reads a page's tables back, and a number out of a text."""

from __future__ import annotations

import re
from html.parser import HTMLParser

_SCALES = {"ms": 1e-3, "s": 1.0, "%": 1e-2, "": 1.0}


class Tables(HTMLParser):
    """by_caption: each table's rows, the headings first, of cells; a cell's small print is left out of `cells`."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.by_caption: dict[str, list[list[str]]] = {}
        self._caption = ""
        self._open: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._open.append(tag)
        if tag == "caption":
            self._caption = ""
        elif tag == "tr":
            self.by_caption.setdefault(self._caption, []).append([])
        elif tag in ("td", "th"):
            self.by_caption[self._caption][-1].append("")

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if not self._open:
            return
        if "caption" in self._open:
            self._caption += data
        elif self._open[-1] in ("td", "th"):
            self.by_caption[self._caption][-1][-1] += data

    def columns(self, caption: str) -> dict[str, list[str]]:
        """The one table whose caption begins so: its cells by heading, from top to bottom."""
        (name,) = {name for name in self.by_caption if name.startswith(caption)}
        headings, *rows = self.by_caption[name]
        return {heading: [row[place].strip() for row in rows] for place, heading in enumerate(headings)}


def number_in(text: str) -> float | None:
    """`1,234 ms*` is 1.234: in seconds, a second or as a share. None for a dash."""
    if text == "–":
        return None
    match = re.fullmatch(r"(-?[\d,]+(?:\.\d+)?)\s?(ms|s|%|)\*?", text)
    assert match, text
    return float(match[1].replace(",", "")) * _SCALES[match[2]]
