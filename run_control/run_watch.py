"""Repeats a check while a run goes on."""

from __future__ import annotations

from collections.abc import Callable

import gevent

_EVERY_S = 1.0


class RunWatch:
    """Of one process; from `begin` to `end`, or to the first error."""

    def __init__(self) -> None:
        self._check: Callable[[], None] | None = None
        self._on_error: Callable[[str], None] = lambda _: None

    def begin(self, check: Callable[[], None], on_error: Callable[[str], None]) -> None:
        """check: raises ValueError; on_error: called with its text, once."""
        self._check, self._on_error = check, on_error
        gevent.spawn(self._repeat, check)

    def end(self) -> None:
        """Check once more, and no more after that."""
        self._run_check()
        self._check = None

    def _repeat(self, check: Callable[[], None]) -> None:
        while self._check is check:
            gevent.sleep(_EVERY_S)
            if self._check is check:
                self._run_check()

    def _run_check(self) -> None:
        if self._check is None:
            return
        try:
            self._check()
        except ValueError as error:
            self._check = None
            self._on_error(str(error))
