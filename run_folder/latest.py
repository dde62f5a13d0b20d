"""`latest` in a folder of results: a link to the newest run's folder."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

LATEST = "latest"


def point_latest_at(folder: Path) -> str:
    """Make `latest` beside a run's folder lead to it, in place of an older one; a reader finds either. Returns "", or
    one sentence that says why there is no such link."""
    link = folder.parent / LATEST
    draft = folder.parent / f".{LATEST}-{folder.name}"
    if os.path.lexists(link) and not link.is_symlink():
        return f"{link} does not lead to this run: there is a file or folder of that name, which stays as it is."
    try:
        draft.symlink_to(folder.name)
        draft.replace(link)
    except OSError as error:
        with suppress(OSError):
            draft.unlink()
        return f"{link} does not lead to this run: no link can be made there ({error.strerror or error})."
    return ""


def is_latest(folder: Path) -> bool:
    """Whether it is such a link, and no folder of its own."""
    return folder.name == LATEST and folder.is_symlink()


def followed(folder: Path) -> Path:
    """The folder that `latest` leads to; any other as it is."""
    if not is_latest(folder):
        return folder
    target = folder.readlink()
    return target if target.is_absolute() else folder.parent / target


def without_latest(folders: Sequence[str]) -> list[str]:
    """The folders without a `latest` that leads to another of them: a shell's `results/*` names both."""
    own = {os.path.realpath(folder) for folder in folders if not is_latest(Path(folder))}
    return [folder for folder in folders if not (is_latest(Path(folder)) and os.path.realpath(folder) in own)]
