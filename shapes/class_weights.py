"""Weights and fixed counts of user classes, which say how many users of each class there are."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from math import isfinite
from numbers import Integral, Real
from pathlib import Path
from typing import Any

from locust import User

from tokenswarm.command_line import OptionErrors, listed


def check_weights(user_classes: Sequence[type[User]]) -> None:
    """Of the classes that a run chooses among. Locust would end with a traceback, or leave the class out without a
    word. Raises OptionErrors."""
    errors = [*_weight_errors(user_classes)]
    if not errors and user_classes and not any(map(has_users, user_classes)):
        names = listed(f"{each.__name__} ({place_of_class(each)})" for each in user_classes)
        it = "it" if len(user_classes) == 1 else "one of them"
        errors = [f"no user would run, as the weight of {names} is 0: give {it} a weight above 0."]
    if errors:
        raise OptionErrors(errors)


def has_users(user_class: type[User]) -> bool:
    """Whether its weight or its fixed count gives it any."""
    return bool(user_class.weight or user_class.fixed_count)


def idle_class_notices(user_classes: Sequence[type[User]]) -> list[str]:
    """A sentence on each class that has no user beside others."""
    return [
        f"No user of the class {each.__name__} runs: its weight is 0 ({place_of_class(each)})"
        for each in user_classes
        if not has_users(each)
    ]


def place_of_class(user_class: type) -> str:
    """File and line where it is defined; the name of its module where there is no file."""
    try:
        file, line = inspect.getsourcefile(user_class) or "", inspect.getsourcelines(user_class)[1]
    except (TypeError, OSError):
        return user_class.__module__
    return f"{Path(file).name}, line {line}"


def _weight_errors(user_classes: Sequence[type[User]]) -> Iterator[str]:
    for each in user_classes:
        for name, expected in (("weight", "a number"), ("fixed_count", "a whole number")):
            value: Any = getattr(each, name)
            is_number = isinstance(value, Real if name == "weight" else Integral)
            if not is_number or not isfinite(value) or value < 0:
                yield (
                    f"{name} of the class {each.__name__} ({place_of_class(each)}) has to be {expected} of at least 0, "
                    f"got {value!r}. Mend it there, and start again."
                )
