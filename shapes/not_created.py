"""A user class that cannot be instantiated, as Locust's table of errors has it: that is how a master learns of it."""

from __future__ import annotations

import re

_TEXT = re.compile(r"(\w+) cannot be created: ")


def not_created_text(name: str, reason: str) -> str:
    """What is logged and counted of a user of this class."""
    return f"{name} cannot be created: {reason}"


def class_not_created(text: str) -> str | None:
    """The name of the class that an error of this text is of; None where the error is another one."""
    found = _TEXT.match(text)
    return found[1] if found else None
