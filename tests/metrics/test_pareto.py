"""The Pareto front against its definition, on random sets with ties and equal points."""

from __future__ import annotations

import numpy as np
import pytest

from tokenswarm.metrics.pareto import on_front

SETS = 200


def by_definition(points: list[tuple[float, float]]) -> list[bool]:
    """Every pair is looked at."""
    return [not any(x >= one and y >= other and (x > one or y > other) for x, y in points) for one, other in points]


def test_it_is_the_front_of_the_definition_on_200_random_sets() -> None:
    random = np.random.default_rng(1)
    for number in range(SETS):
        count = int(random.integers(1, 40))
        # Few different values in every other set, so that there are ties in one figure and in both.
        values = random.integers(0, 6, (count, 2)) if number % 2 else random.normal(size=(count, 2))
        points = [(float(x), float(y)) for x, y in values]
        assert on_front(points) == by_definition(points)


@pytest.mark.parametrize(
    ("points", "front"),
    [
        ([], []),
        ([(1.0, 1.0)], [True]),
        ([(1.0, 1.0), (1.0, 1.0)], [True, True]),
        ([(1.0, 2.0), (2.0, 1.0), (1.0, 1.0)], [True, True, False]),
        ([(2.0, 1.0), (1.0, 1.0)], [True, False]),
        ([(1.0, 2.0), (1.0, 1.0)], [True, False]),
    ],
)
def test_points_whose_front_is_known(points: list[tuple[float, float]], front: list[bool]) -> None:
    assert on_front(points) == front
