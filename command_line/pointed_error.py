"""An error that points at the place of a value where it cannot be read."""

from __future__ import annotations


class PointedError(ValueError):
    """On three lines: the option and what is wrong, the text that was given, and a caret below the place."""

    def __init__(self, option: str, text: str, place: int, message: str) -> None:
        """text: of one line. place: index of the character."""
        self.place = place
        super().__init__(f"{option}: {message}\n  {text}\n  {' ' * place}^")
