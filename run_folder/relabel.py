"""Names and tags of a run changed after it: the two keys of run.json, and nothing else of the folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import msgspec

from tokenswarm.run_folder.files import write_whole
from tokenswarm.run_folder.latest import followed
from tokenswarm.run_folder.reader import ReportError, run_file
from tokenswarm.run_folder.schema import FORMAT, Status
from tokenswarm.sanitize import UnusableFile, read_file

_MOST_BYTES = 256 * 2**20


class Labels(NamedTuple):
    """What a person calls a run. name "": nothing."""

    name: str
    tags: dict[str, str]


class _Head(msgspec.Struct):
    format: int
    status: str
    name: str = ""
    tags: dict[str, str] = {}


def relabel(folder: Path, change: Callable[[Labels], Labels]) -> Labels:
    """Replace a run's name and tags by what `change` makes of them; every other value of run.json stays as it is, and a
    reader finds the old file or the new one. Folders of older formats take them too. Returns the new ones. Raises
    ReportError for a folder that is no run's, is damaged or of a newer format, is still written, or cannot be
    written."""
    folder = followed(folder)
    file = run_file(folder)
    try:
        data = read_file(file, _MOST_BYTES)
        head = msgspec.json.decode(data, type=_Head)
        document = msgspec.json.decode(data, type=dict[str, msgspec.Raw])
    except (UnusableFile, msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ReportError(f"{file} cannot be changed, as it is not as a run writes it ({error}).") from error
    if not 1 <= head.format <= FORMAT:
        raise ReportError(
            f"{file} has format {head.format}, but formats 1 to {FORMAT} are known here: use the version that wrote it."
        )
    if head.status == Status.RUNNING:
        raise ReportError(
            f"{folder} is of a run that has not ended, and its run.json is written again at its end: name and tag it "
            f"then. If its processes were killed, complete it first: tokenswarm recover {folder}"
        )
    labels = change(Labels(head.name, dict(head.tags)))
    document |= {key: msgspec.Raw(msgspec.json.encode(value)) for key, value in labels._asdict().items()}
    try:
        write_whole(file, msgspec.json.format(msgspec.json.encode(document), indent=2).decode() + "\n")
    except OSError as error:
        raise ReportError(f"{file} cannot be written: {error.strerror or error}.") from error
    return labels
