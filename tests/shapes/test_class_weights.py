"""Weights and fixed counts that a run can use, and those that it refuses."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
from locust import User

from tokenswarm.command_line import OptionErrors
from tokenswarm.shapes.class_weights import check_weights, idle_class_notices


def classes(**attributes: dict[str, Any]) -> list[type[User]]:
    """One of each name, with these attributes."""
    return [type(name, (User,), {"__module__": __name__, **values}) for name, values in attributes.items()]


@pytest.mark.parametrize(
    "values",
    [{"weight": value} for value in ("3", -1, None, float("nan"), float("inf"))]
    + [{"fixed_count": value} for value in ("2", -1, 1.5, None)],
    ids=str,
)
def test_what_is_no_number_of_users_is_refused_by_class(values: dict[str, Any]) -> None:
    with pytest.raises(OptionErrors) as refused:
        check_weights(classes(Fast=values, Slow={}))
    (sentence,) = refused.value.sentences
    assert sentence.startswith(f"{next(iter(values))} of the class Fast (")
    assert "test_class_weights" in sentence


def test_classes_without_any_user_are_refused_together() -> None:
    with pytest.raises(OptionErrors) as refused:
        check_weights(classes(Fast={"weight": 0}, Slow={"weight": 0.0}))
    (sentence,) = refused.value.sentences
    assert "one of them" in sentence
    check_weights([])
    with pytest.raises(OptionErrors) as refused:
        check_weights(classes(Fast={"weight": 0}))
    (sentence,) = refused.value.sentences
    assert "them" not in sentence


def test_one_class_without_users_beside_others_is_named() -> None:
    found = classes(Fast={"weight": 0}, Slow={"weight": Fraction(1, 2)}, One={"weight": 0, "fixed_count": 1})
    check_weights(found)
    (notice,) = idle_class_notices(found)
    assert "Fast" in notice
