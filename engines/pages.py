"""What a web page says, for where a proxy answers instead of the engine."""

from __future__ import annotations

from html.parser import HTMLParser

_SILENT = ("script", "style")
#: Of markup that goes wrong, html.parser reads each character many times over: more of it would hold up the process.
_READ_CHARACTERS = 4096


def looks_like_a_page(text: str) -> bool:
    """Whether this is markup and no words."""
    return text.lstrip().startswith("<")


def words_of_page(page: str) -> str:
    """The title of an HTML page; the first words of its text where it has none. "" for a page without a word."""
    reader = _PageTextReader()
    reader.feed(page[:_READ_CHARACTERS])
    reader.close()
    return " ".join("".join(reader.title).split()) or " ".join(" ".join(reader.text).split())


class _PageTextReader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.title: list[str] = []
        self.text: list[str] = []
        self._inside = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._inside = tag

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "title":
            self.title.append(data)
        elif self._inside not in _SILENT:
            self.text.append(data)
