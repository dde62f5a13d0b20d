"""Places for the labels of a chart's points, such that none covers another label or a point. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import hypot
from typing import NamedTuple

#: Half of a marker, and between it and its label, in points.
_MARKER_PT, _GAP_PT = 3.5, 1.5
#: How much farther than its own point a point of another series is from a label.
_FARTHER_PT = 2.0


class Box(NamedTuple):
    """A rectangle, in points from the lower left."""

    left: float
    bottom: float
    right: float
    top: float

    def overlaps(self, other: Box) -> bool:
        """Whether they share more than an edge."""
        return (
            self.left < other.right and other.left < self.right and self.bottom < other.top and other.bottom < self.top
        )

    def contains(self, other: Box) -> bool:
        """Whether the other one lies in this one."""
        return (
            self.left <= other.left
            and self.bottom <= other.bottom
            and other.right <= self.right
            and other.top <= self.top
        )

    def distance(self, point: tuple[float, float]) -> float:
        """To the point, from the side or corner that is nearest to it; 0 inside."""
        x, y = point
        return hypot(max(self.left - x, 0.0, x - self.right), max(self.bottom - y, 0.0, y - self.top))


def label_places(
    points: Sequence[tuple[float, float]],
    sizes: Sequence[tuple[float, float]],
    area: Box,
    series: Sequence[object] = (),
) -> list[tuple[float, float] | None]:
    """The lower left corner of each point's label within `area`; None where there is no space beside the point. points,
    sizes: in points, the most important first. series: that each point belongs to, where a label is to
    stand nearer to its own point than to any other, and clearly so than to one of another series."""
    markers = [Box(x - _MARKER_PT, y - _MARKER_PT, x + _MARKER_PT, y + _MARKER_PT) for x, y in points]
    taken = list(markers)
    places: list[tuple[float, float] | None] = []
    for number, (marker, size) in enumerate(zip(markers, sizes, strict=True)):
        # The point, and how much farther it is to be than the label's own.
        others = [
            (point, _FARTHER_PT * (of != series[number]))
            for at, (point, of) in enumerate(zip(points, series, strict=False))
            if at != number
        ]
        free = (box for box in _around(marker, size) if area.contains(box) and not any(map(box.overlaps, taken)))
        clear = (box for box in free if _is_nearest(box, points[number], others))
        found = next(clear, None)
        places.append(found and (found.left, found.bottom))
        taken += [found] if found else []
    return places


def _is_nearest(box: Box, own: tuple[float, float], others: Sequence[tuple[tuple[float, float], float]]) -> bool:
    """Whether the label is nearer to its own point than to each other, by as much as stands beside that."""
    own_pt = box.distance(own)
    return all(box.distance(other) > own_pt + farther_pt for other, farther_pt in others)


def _around(marker: Box, size: tuple[float, float]) -> Iterator[Box]:
    """Where a label of this size may stand: beside the marker's corners, then beside its sides."""
    width, height = size
    right, left = marker.right + _GAP_PT, marker.left - _GAP_PT - width
    above, below = marker.top, marker.bottom - height
    across, middle = (marker.left + marker.right - width) / 2, (marker.bottom + marker.top - height) / 2
    for x, y in (
        (right, above),
        (left, above),
        (right, below),
        (left, below),
        (right, middle),
        (left, middle),
        (across, marker.top + _GAP_PT),
        (across, marker.bottom - _GAP_PT - height),
    ):
        yield Box(x, y, x + width, y + height)
