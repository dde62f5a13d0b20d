"""The page's skeleton: whole by itself, escaped, and its charts in the page's own colours."""

from __future__ import annotations

import re
from html.parser import HTMLParser

from tokenswarm.reports.html.chart_style import canvas, name_axes, svg_of
from tokenswarm.reports.html.document import Cell, Chart, Charts, Code, Facts, Page, Section, Table, Text, html_of
from tokenswarm.reports.palette import DARK, DASHES, LIGHT, SERIES

TABLE = Table("Levels", ["users", "TTFT"], [["10", Cell("32 ms", "30–34 ms")]])


def chart(key: str) -> str:
    figure, axes = canvas()
    axes.plot([0, 1], [1, 2], color=SERIES[0], ls=DASHES[0], label="ten")
    axes.bar([0], [1], color=SERIES[1], hatch="//", edgecolor=LIGHT["paper"])
    name_axes(axes, "time (s)", "tokens/s")
    return svg_of(figure, key)


def page(*blocks: Text | Table | Charts | Facts | Code, heading: str = "Heading") -> str:
    return html_of(Page("Title", ["below"], [Section(heading, blocks)], "foot"))


class Tags(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def references(html: str) -> list[str]:
    """Whatever a browser would fetch or go to, from attributes and styles."""
    found = [
        value or ""
        for _, attributes in Tags(html).tags
        for name, value in attributes.items()
        if name in ("src", "href", "xlink:href", "srcset", "action", "data", "poster")
    ]
    return found + re.findall(r"url\(([^)]*)\)", html) + re.findall(r"@import[^;]*", html)


def test_nothing_is_loaded_from_anywhere() -> None:
    html = page(Charts([Chart("A", chart("a"), "alt"), Chart("B", chart("b"), "alt")]))
    assert set(references(html)) - {"data:,"}
    assert all(one == "data:," or one.startswith("#") for one in references(html))
    assert "<script" not in html
    assert "http" not in html


def test_identifiers_are_one_of_a_kind_and_all_that_is_referred_to_is_there() -> None:
    html = page(Charts([Chart("A", chart("a"), "alt"), Chart("B", chart("b"), "alt")]))
    identifiers = re.findall(r' id="([^"]*)"', html)
    assert len(set(identifiers)) == len(identifiers)
    assert {one[1:] for one in references(html) if one.startswith("#")} == set(identifiers)


def test_a_chart_has_no_colour_but_the_pages_and_no_font_of_its_own() -> None:
    svg = chart("a")
    used = set(re.findall(r"var\(--([\w-]+)\)", svg))
    assert used <= set(LIGHT)
    assert {"series-1", "series-2", "grey", "line"} <= used
    assert not re.search(r"#[0-9a-f]{6}\b", svg)
    assert "DejaVu" not in svg
    assert ">time (s)</text>" in svg
    assert len(set(LIGHT.values())) == len(LIGHT)
    assert set(LIGHT) == set(DARK)


def test_one_chart_is_the_same_text_each_time() -> None:
    assert chart("a") == chart("a")


def test_all_colours_of_letters_and_of_lines_stand_out_from_their_paper() -> None:
    for theme in (LIGHT, DARK):
        for name, colour in theme.items():
            if name not in ("paper", "field", "line"):
                least = 3.0 if name.startswith("series") else 4.5
                assert contrast(colour, theme["paper"]) >= least, (name, colour)
                assert contrast(colour, theme["field"]) >= least - 0.5, (name, colour)


def contrast(one: str, other: str) -> float:
    """WCAG 2's contrast ratio."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def luminance(colour: str) -> float:
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear))


def test_the_shadow_of_a_table_that_scrolls_is_no_wider_than_the_space_around_its_texts() -> None:
    html = page(TABLE)
    (rule,) = re.findall(r"\.scroll \{ overflow-x: auto;.*?\}", html, flags=re.DOTALL)
    widths_px = [int(width) for width in re.findall(r"/ (\d+)px 100% scroll", rule)]
    phone = html[html.index("@media (max-width: 40rem) {") :]
    padding = re.search(r"th, td \{ padding: \S+ ([\d.]+)rem \}", phone)
    assert padding is not None
    assert len(widths_px) == 2
    assert max(widths_px) <= float(padding[1]) * 16


def test_text_from_a_server_is_text() -> None:
    evil = "<img src=x onerror=alert(1)>&\"'"
    html = page(
        Text(evil, evil),
        Table(evil, [evil], [[Cell(evil, evil)]]),
        Facts([(evil, evil)]),
        Code(evil),
        Charts([Chart(evil, chart("a"), evil, evil)]),
        heading=evil,
    )
    assert "img" not in {tag for tag, _ in Tags(html).tags}
    assert "&lt;img" in html


def test_a_chart_has_words_for_who_cannot_see_it_and_its_values_as_a_table() -> None:
    tags = Tags(page(Charts([Chart("A", chart("a"), "TTFT grows with users.", table=TABLE)]))).tags
    (image,) = [attributes for _, attributes in tags if attributes.get("role") == "img"]
    assert image["aria-label"] == "TTFT grows with users."
    assert "details" in {tag for tag, _ in tags}
    assert sum(tag == "td" for tag, _ in tags) == 2


def test_a_section_with_nothing_to_say_is_left_out() -> None:
    assert "Heading" not in page()
    assert "Heading" in page(Text("something"))


def test_a_long_page_has_a_list_of_contents_that_leads_to_each_section() -> None:
    headings = ["TTFT and token rate", "Timeline", "All figures", "Run configuration"]
    sections = [Section("", [Text("first")]), *(Section(heading, [Text("x")]) for heading in headings)]
    html = html_of(Page("Title", [], sections, "foot"))
    links = re.findall(r'<a href="#([^"]+)">([^<]+)</a>', html)
    assert [heading for _, heading in links] == headings
    for anchor, heading in links:
        assert f'<section id="{anchor}"><h2>{heading}</h2>' in html.replace("\n", "")
    assert "Contents" not in html_of(Page("Title", [], sections[:4], "foot"))


def test_a_table_shows_at_its_ends_that_there_is_more_to_scroll_to() -> None:
    style = re.search(r"\.scroll \{([^}]*)\}", page(TABLE))
    assert style is not None
    assert style[1].count("local no-repeat") == style[1].count("scroll no-repeat") == 2
