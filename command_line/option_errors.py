"""Several errors as one exception: a user who mistyped three options sees all three at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ParamSpec, TypeVar, cast

T = TypeVar("T")
P = ParamSpec("P")


class OptionErrors(ValueError):
    """What is wrong with the options: `sentences`, one for each error. Its text has one sentence a line."""

    def __init__(self, sentences: list[str]) -> None:
        super().__init__("\n".join(sentences))
        self.sentences = sentences


def sentences_of(error: ValueError) -> list[str]:
    """The error's sentences: those of an OptionErrors, else its text as the only one."""
    return error.sentences if isinstance(error, OptionErrors) else [str(error)]


class Collected:
    """The errors of several checks."""

    def __init__(self) -> None:
        self._errors: list[ValueError] = []

    def add(self, error: ValueError) -> None:
        """Keep an error."""
        self._errors.append(error)

    def of(self, check: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
        """Call the check. Returns its result; after a ValueError, which is kept, the result is of no use."""
        try:
            return check(*arguments, **named)
        except ValueError as error:
            self.add(error)
            return cast("T", None)

    @property
    def error(self) -> ValueError | None:
        """The only error as it came, several as an OptionErrors (each sentence once), None if there are none."""
        sentences = list(dict.fromkeys(sentence for error in self._errors for sentence in sentences_of(error)))
        if not sentences:
            return None
        return self._errors[0] if len(self._errors) == 1 else OptionErrors(sentences)


@contextmanager
def collect_errors() -> Iterator[Collected]:
    """Collect the errors of the checks in the block. Raises them at its end if there are any, whatever else the block
    raised because of them."""
    collected = Collected()
    try:
        yield collected
    except Exception:
        if collected.error is None:
            raise
    if collected.error is not None:
        raise collected.error from None
