"""Runs set side by side, in a process of their own: charts take seconds of a core, and Locust's loop must go on."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from reports.likeness import FIELDS, SUSPECT

_ROOT = Path(__file__).resolve().parents[1]
_LIMIT_S = 300.0


class CannotCompare(ValueError):
    """The runs cannot be compared; the text is `tokenswarm compare`'s own."""


def comparison_page(folders: Sequence[Path], allow: bool) -> str:
    """`tokenswarm compare` of these results folders, as HTML, each run by the name of its folder: two of one server are
    as often what a person wants to see. allow: whatever the runs differ in. Raises CannotCompare."""
    allowed = [word for field in FIELDS if field != SUSPECT for word in ("--allow", field)] if allow else []
    labels = [word for folder in folders for word in ("--label", folder.name)]
    with TemporaryDirectory() as scratch:
        page = Path(scratch) / "comparison.html"
        command = [
            sys.executable,
            "-m",
            "tokenswarm",
            "compare",
            *map(str, folders),
            *labels,
            "--html",
            str(page),
            *allowed,
        ]
        # Found where this file's siblings are: a stranger's own `tokenswarm` in the working directory must not be it.
        ended = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, timeout=_LIMIT_S, check=False)
        if ended.returncode or not page.is_file():
            raise CannotCompare(ended.stderr.strip().removeprefix("tokenswarm compare: "))
        return page.read_text(encoding="utf-8")
