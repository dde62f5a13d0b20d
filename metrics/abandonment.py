"""Which of their responses users do not wait for. Definitions only."""

from __future__ import annotations

import msgspec

#: Of the user's patience, that it ends with the first output.
FIRST = "first"


class Abandonment(msgspec.Struct, frozen=True):
    """The requests that their users leave before the response ends.

    share: of all requests, above 0, to 1. after: when users leave, as --abandon has it. after_s: so many seconds after
    sending; after_tokens: once so many output tokens have arrived, 1 for the first output. One of the two is None.
    """

    share: float
    after: str
    after_s: float | None = None
    after_tokens: int | None = None

    @property
    def in_words(self) -> str:
        """`2s after sending`, `at the first output`, `after 200 output tokens`."""
        if self.after_s is not None:
            return f"{self.after} after sending"
        return "at the first output" if self.after == FIRST else f"after {self.after_tokens:,} output tokens"
