"""Comparisons and trends of runs, in a process of their own: charts take seconds of a core, and Locust's loop must go
on."""

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
_PREFIX = re.compile(r"tokenswarm (?:compare|trend): ")
#: How the command's message offers its option.
_ALLOW = re.compile(r",? or add --allow \S+ to compare them anyway")


class CannotCompare(ValueError):
    """The runs cannot be compared. The text names each run by its folder. can_allow: they differ
    in settings only, and can be compared anyway."""

    def __init__(self, message: str, can_allow: bool = False) -> None:
        super().__init__(message)
        self.can_allow = can_allow


def labels_of(runs: Sequence[tuple[Path, str]]) -> list[str]:
    """What a comparison calls each run, of (folder, name): its name, and so runs of one name are of one server; its
    folder where it has none, or where all have the same."""
    labels = [name or folder.name for folder, name in runs]
    return labels if len(set(labels)) > 1 else [folder.name for folder, _ in runs]


def comparison_page(runs: Sequence[tuple[Path, str]], allow: bool) -> str:
    """`tokenswarm compare` of these runs, (folder, name) each, as HTML. allow: compare them whatever settings differ.
    Raises CannotCompare."""
    labels = [f"--label={label}" for label in labels_of(runs)]
    return _page_of("compare", [folder for folder, _ in runs], labels, allow)


def trend_page(folders: Sequence[Path], allow: bool) -> str:
    """`tokenswarm trend` of these results folders, as HTML. Raises CannotCompare."""
    return _page_of("trend", folders, (), allow)


def _page_of(command: str, folders: Sequence[Path], options: Sequence[str], allow: bool) -> str:
    allowed = ["--allow", ",".join(FIELD_NAMES)] if allow else []
    with TemporaryDirectory() as scratch:
        page = Path(scratch) / "page.html"
        words = [*map(str, folders), *options, "--html", str(page), *allowed]
        # Found where this file's siblings are: a `tokenswarm` in the working directory must not be run instead.
        ended = subprocess.run(
            [sys.executable, "-m", "tokenswarm", command, *words],
            cwd=_ROOT,
            capture_output=True,
            text=True,
            timeout=_LIMIT_S,
            check=False,
        )
        if ended.returncode or not page.is_file():
            raise refusal(ended.stderr, folders)
        return page.read_text(encoding="utf-8")


def refusal(message: str, folders: Sequence[Path]) -> CannotCompare:
    """The errors that the command printed, as the page shows them: without paths, and without the command's
    option to compare runs anyway, for which the page has a button where that is all that speaks against it."""
    for folder in folders:
        message = message.replace(str(folder), folder.name)
    errors = [text.strip() for text in _PREFIX.split(message) if text.strip()]
    can_allow = bool(errors) and all(_ALLOW.search(error) for error in errors)
    return CannotCompare("\n".join(_ALLOW.sub("", error) for error in errors), can_allow)
