"""A run's page, opened in a browser."""

from __future__ import annotations

import os
import sys
import webbrowser
from pathlib import Path

#: Of these, one is set where a browser can show a window.
_SCREENS = ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")


def open_page(page: Path) -> str:
    """Open the page. Returns "", or a sentence that says why it was not opened."""
    # Without a screen, Python's own choice would be a browser in text, which takes the terminal.
    if sys.platform.startswith("linux") and not any(os.environ.get(name) for name in _SCREENS):
        return f"{page} was not opened: this machine has no screen (neither DISPLAY nor BROWSER is set)."
    try:
        opened = webbrowser.open(page.absolute().as_uri())
    except (webbrowser.Error, OSError):
        opened = False
    return "" if opened else f"{page} was not opened: no browser could be started."
