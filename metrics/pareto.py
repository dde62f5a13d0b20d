"""The Pareto front of points of two figures. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from math import inf


def on_front(points: Sequence[tuple[float, float]]) -> list[bool]:
    """Whether each point is on the front: no other one is at least as large in both figures and larger in one. Equal
    points are on it together. A figure of which less is better is given with the opposite sign."""
    found = [False] * len(points)
    ranked = sorted(range(len(points)), key=lambda place: points[place][0], reverse=True)
    highest = -inf  # second figure of all points with a larger first one
    for _, group in groupby(ranked, key=lambda place: points[place][0]):
        places = list(group)
        top = max(points[place][1] for place in places)
        if top > highest:
            for place in places:
                found[place] = points[place][1] == top
            highest = top
    return found
