"""Locust's users dispatcher, with its defects repaired."""

from __future__ import annotations

from collections.abc import Generator

from locust.dispatch import UsersDispatcher


class Dispatcher(UsersDispatcher):
    """Locust's, but one that does not take itself to be at work for ever once it has moved users between workers: no
    worker that joined or left after that would be noticed."""

    def _dispatcher(self) -> Generator[dict[str, dict[str, int]]]:
        try:
            yield from super()._dispatcher()
        finally:
            self._dispatch_in_progress = False
