"""One self-contained HTML page made of sections: for screens of any width, light or dark, for paper, to be read aloud.

Nothing is loaded from anywhere: styles are inside, charts are SVG inside, and there is no script.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import ClassVar, Literal

from jinja2 import Environment, StrictUndefined, Template

from tokenswarm.reports.palette import DARK, LIGHT

#: Sections of a page that is long enough for a list of contents.
_FEWEST_CONTENTS = 4
_TEMPLATE = Path(__file__).with_name("page.html")


@dataclass(frozen=True, slots=True)
class Cell:
    """A table's cell: its text, what stands small below it, and links behind it: (address, words)."""

    text: str
    note: str = ""
    links: Sequence[tuple[str, str]] = ()


#: A row of a table.
Row = list[str | Cell]


@dataclass(frozen=True, slots=True)
class Text:
    """A paragraph. `strong` leads it: there, good and bad are said in words, for those who see no colour."""

    kind: ClassVar[str] = "text"
    text: str
    strong: str = ""
    style: Literal["", "lead", "quiet", "good", "note", "bad"] = ""


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under headings; the first column is what a row is called by. of_words: the others hold no numbers."""

    kind: ClassVar[str] = "table"
    caption: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str | Cell]]
    of_words: bool = False

    @property
    def cells(self) -> list[list[Cell]]:
        """The rows, each entry a Cell."""
        return [[cell if isinstance(cell, Cell) else Cell(cell) for cell in row] for row in self.rows]


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart as drawing.svg_of gives it. alt: what it shows, for who cannot see it; table: its values."""

    title: str
    svg: str
    alt: str
    note: str = ""
    table: Table | None = None


@dataclass(frozen=True, slots=True)
class Charts:
    """Charts side by side where the screen is wide enough."""

    kind: ClassVar[str] = "figures"
    figures: Sequence[Chart]


@dataclass(frozen=True, slots=True)
class Tables:
    """Narrow tables side by side where the screen is wide enough."""

    kind: ClassVar[str] = "tables"
    tables: Sequence[Table]


@dataclass(frozen=True, slots=True)
class Facts:
    """Names and what they are."""

    kind: ClassVar[str] = "facts"
    facts: Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Details:
    """Names and what they are, shown on request."""

    kind: ClassVar[str] = "details"
    summary: str
    facts: Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Code:
    """Text to be copied as it stands."""

    kind: ClassVar[str] = "code"
    text: str


Block = Text | Table | Tables | Charts | Facts | Details | Code


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the page under its heading; none at the top of the page."""

    heading: str
    blocks: Sequence[Block]

    @property
    def anchor(self) -> str:
        """What links to it name."""
        return "section-" + "-".join(re.findall(r"[a-z0-9]+", self.heading.lower()))


@dataclass(frozen=True, slots=True)
class Page:
    """The whole page. Sections without a block are left out. said_once: what the page says of all its rows, and which
    is left out where a row is called by it."""

    title: str
    subtitle: Sequence[str]
    sections: Sequence[Section]
    footer: str
    said_once: str = ""

    @property
    def contents(self) -> list[Section]:
        """The sections that a list of contents names; none on a short page."""
        named = [section for section in self.sections if section.heading]
        return named if len(named) >= _FEWEST_CONTENTS else []


def html_of(page: Page) -> str:
    """The page as one HTML document. All text is escaped; the SVG alone is taken as it is."""
    page = replace(page, sections=[section for section in page.sections if section.blocks])
    return _template().render(page=page, light=_variables(LIGHT), dark=_variables(DARK)) + "\n"


@cache
def _template() -> Template:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(_TEMPLATE.read_text(encoding="utf-8"))


def _variables(theme: dict[str, str]) -> str:
    return "; ".join(f"--{name}: {colour}" for name, colour in theme.items())
