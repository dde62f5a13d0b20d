"""A chart's first three lines can be distinguished in every kind of colour blindness, and stand out from their card."""

from __future__ import annotations

import re
from itertools import combinations

import numpy as np
import pytest
from numpy.typing import NDArray

from tokenswarm.web.routes import STATIC

Colour = NDArray[np.float64]

#: Machado, Oliveira and Fernandes (2009): what is seen of linear sRGB, at full severity.
SEEN = {
    "normal": np.eye(3),
    "protanopia": np.array([[0.1523, 1.0526, -0.2049], [0.1145, 0.7863, 0.0992], [-0.0039, -0.0481, 1.0520]]),
    "deuteranopia": np.array([[0.3673, 0.8606, -0.2280], [0.2801, 0.6725, 0.0474], [-0.0118, 0.0429, 0.9689]]),
    "tritanopia": np.array([[1.2556, -0.0767, -0.1788], [-0.0784, 0.9308, 0.1476], [0.0047, 0.6914, 0.3039]]),
}
TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
WHITE = np.array([0.9505, 1.0, 1.089])
#: Of CIE76's ΔE: differences from some 10 on are seen at a glance.
LEAST_DIFFERENCE, LEAST_CONTRAST = 25.0, 3.0


def linear(colour: str) -> Colour:
    digits = "".join(2 * digit for digit in colour) if len(colour) == 3 else colour
    values = np.array([int(digits[place : place + 2], 16) for place in (0, 2, 4)]) / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def lab(colour: Colour) -> Colour:
    ratio = TO_XYZ @ np.clip(colour, 0, 1) / WHITE
    x, y, z = np.where(ratio > 0.008856, np.cbrt(ratio), 7.787 * ratio + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def contrast(one: Colour, other: Colour) -> float:
    low, high = sorted(float(TO_XYZ[1] @ each) for each in (one, other))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_the_first_three_lines_are_told_apart(theme: int) -> None:
    css = (STATIC / "page.css").read_text(encoding="utf-8")
    block = re.findall(r":root[^{]*\{([^}]*)\}", css)[theme]
    colours = {name: linear(value) for name, value in re.findall(r"--([\w-]+): #([0-9a-f]{3,6})\b", block)}
    lines = [colours[f"series-{number}"] for number in ("one", "two", "three")]
    assert all(contrast(line, colours["card"]) >= LEAST_CONTRAST for line in lines)
    for kind, seen in SEEN.items():
        nearest = min(float(np.linalg.norm(lab(seen @ a) - lab(seen @ b))) for a, b in combinations(lines, 2))
        assert nearest >= LEAST_DIFFERENCE, kind
