"""Comparisons of runs, in a process of their own: charts take seconds of a core, and Locust's loop must go on."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from tokenswarm.reports.compare.comparability import FIELD_NAMES

_ROOT = Path(__file__).resolve().parents[1]
_LIMIT_S = 300.0
#: How the command begins each error.
_PREFIX = "tokenswarm compare: "
#: How the command's message offers its option.
_ALLOW = re.compile(r",? or add --allow \S+ to compare them anyway")


class CannotCompare(ValueError):
    """The runs cannot be compared. The text names each run by its folder. can_allow: they differ
    in settings only, and can be compared anyway."""

    def __init__(self, message: str, can_allow: bool = False) -> None:
        super().__init__(message)
        self.can_allow = can_allow


def comparison_page(folders: Sequence[Path], allow: bool) -> str:
    """`tokenswarm compare` of these results folders, as HTML, each run named by its folder: often both are of one
    server. allow: compare them whatever settings differ. Raises CannotCompare."""
    allowed = ["--allow", ",".join(FIELD_NAMES)] if allow else []
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
        # Found where this file's siblings are: a `tokenswarm` in the working directory must not be run instead.
        ended = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, timeout=_LIMIT_S, check=False)
        if ended.returncode or not page.is_file():
            raise refusal(ended.stderr, folders)
        return page.read_text(encoding="utf-8")


def refusal(message: str, folders: Sequence[Path]) -> CannotCompare:
    """The errors that `tokenswarm compare` printed, as the page shows them: without paths, and without the command's
    option to compare runs anyway, for which the page has a button where that is all that speaks against it."""
    for folder in folders:
        message = message.replace(str(folder), folder.name)
    errors = [text.strip() for text in message.split(_PREFIX) if text.strip()]
    can_allow = bool(errors) and all(_ALLOW.search(error) for error in errors)
    return CannotCompare("\n".join(_ALLOW.sub("", error) for error in errors), can_allow)
