"""pyarrow, without its signal handlers: they would keep SIGINT and SIGTERM from the process that reads a folder."""

from __future__ import annotations

from typing import Any


def load_arrow() -> Any:
    """The module pyarrow with its module csv, imported when it is first used: that takes some 0.2 s."""
    import pyarrow
    import pyarrow.csv

    pyarrow.enable_signal_handlers(False)
    return pyarrow
