"""Colours, hatches and dashes of every chart: a run's, a comparison's, the page's and the benchmark's.

Series are after Okabe and Ito, distinguishable in every kind of colour blindness, each at least 3:1 against its paper.
Hatches and dashes differ as well, so that no colour is needed.
"""

from __future__ import annotations

#: Of each theme, the colours by the name of their variable in a page. No two of LIGHT are equal: svg_of finds a
#: variable by its colour.
LIGHT = {
    "paper": "#fefefe",
    "field": "#f1f3f5",
    "ink": "#1b1d1f",
    "grey": "#5a6067",
    "line": "#dadde0",
    "good": "#00704f",
    "bad": "#b00020",
    "series-1": "#0072b2",
    "series-2": "#b87400",
    "series-3": "#008f68",
    "series-4": "#b4528a",
    "series-5": "#d05500",
    "series-6": "#4b4fa0",
    "label-1": "#00639b",
    "label-2": "#8f5a00",
    "label-3": "#006e50",
    "label-4": "#9c4276",
    "label-5": "#a84400",
    "label-6": "#3f4391",
}
DARK = {
    "paper": "#14171a",
    "field": "#1f2428",
    "ink": "#e8eaec",
    "grey": "#a5adb5",
    "line": "#343a40",
    "good": "#4fd0a5",
    "bad": "#ff7a85",
    "series-1": "#56b4e9",
    "series-2": "#e69f00",
    "series-3": "#2fc69a",
    "series-4": "#e48dbd",
    "series-5": "#ff8648",
    "series-6": "#a3a8ff",
    "label-1": "#56b4e9",
    "label-2": "#e69f00",
    "label-3": "#2fc69a",
    "label-4": "#e48dbd",
    "label-5": "#ff8648",
    "label-6": "#a3a8ff",
}
INK, GREY, LINE, PAPER, GOOD, BAD = (LIGHT[name] for name in ("ink", "grey", "line", "paper", "good", "bad"))
SERIES = tuple(colour for name, colour in LIGHT.items() if name.startswith("series-"))
#: Letters in the colour of a series, dark enough to be read.
LABELS = tuple(colour for name, colour in LIGHT.items() if name.startswith("label-"))
DASHES = ("solid", (0, (5, 2)), (0, (1.2, 1.6)), (0, (6, 2, 1.2, 2)), (0, (9, 3)), (0, (3, 1.5, 1.2, 1.5, 1.2, 1.5)))
HATCHES = ("", "///", "...", "\\\\\\", "xxx", "---")

#: Of each system-prompt mode.
MODE_COLOURS = {"off": SERIES[0], "on": SERIES[1]}
MODE_HATCHES = {"off": "", "on": "//"}


def hatch(number: int) -> str:
    """The hatch of a series by its number: colours come round sooner than pairs of a colour and a hatch."""
    return HATCHES[(number + number // len(SERIES)) % len(HATCHES)]
