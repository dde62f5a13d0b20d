"""Labels of a chart's points stand beside them and cover nothing."""

from __future__ import annotations

import itertools

import numpy as np

from tokenswarm.reports.compare.label_places import Box, label_places

AREA = Box(0, 0, 350, 200)
SIZE = (14.0, 10.0)


def boxes(points: list[tuple[float, float]]) -> list[Box | None]:
    places = label_places(points, [SIZE] * len(points), AREA)
    return [place and Box(*place, place[0] + SIZE[0], place[1] + SIZE[1]) for place in places]


def test_no_label_covers_another_one_or_a_point_or_leaves_the_chart() -> None:
    random = np.random.default_rng(1)
    for number in (2, 10, 40):
        points = [(float(x), float(y)) for x, y in random.uniform((0, 0), (350, 200), (number, 2))]
        drawn = [box for box in boxes(points) if box]
        assert len(drawn) >= 0.7 * number
        assert not any(one.overlaps(other) for one, other in itertools.combinations(drawn, 2))
        assert not any(box.left < x < box.right and box.bottom < y < box.top for box in drawn for x, y in points)
        assert all(AREA.contains(box) for box in drawn)


def test_a_label_of_one_of_several_series_is_nearest_to_its_own_point() -> None:
    random = np.random.default_rng(3)
    points = [(float(x), float(y)) for x, y in random.uniform((0, 0), (350, 200), (40, 2))]
    series = [number % 2 for number in range(len(points))]
    places = label_places(points, [SIZE] * len(points), AREA, series)
    drawn = [(at, Box(*place, place[0] + SIZE[0], place[1] + SIZE[1])) for at, place in enumerate(places) if place]
    assert len(drawn) >= 0.5 * len(points)
    for at, box in drawn:
        others = [box.distance(point) for number, point in enumerate(points) if number != at]
        assert box.distance(points[at]) < min(others)


def test_a_point_in_a_crowd_has_none_and_the_first_ones_come_first() -> None:
    crowd = [(100.0 + 3 * x, 100.0 + 3 * y) for x in range(5) for y in range(5)]
    (first, *others) = boxes([(102.0, 112.0), *crowd])
    assert first is not None
    assert None in others
