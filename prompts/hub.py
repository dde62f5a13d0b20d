"""Data sets of the Hugging Face hub, from the hub or from its cache on this disk."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from tokenswarm.prompts.file_rows import PromptTable, kind_of
from tokenswarm.prompts.hub_connection import offline_if_unreachable
from tokenswarm.prompts.loading import load_table, load_uncached
from tokenswarm.prompts.prompt_records import PromptError
from tokenswarm.prompts.suppress_output import announce_download, first_line

HUB_FORM = "hf:OWNER/NAME[:CONFIG][@SPLIT]"
_HUB_SOURCE = re.compile(
    r"hf:(?P<name>[\w.-]+/[\w.-]+)(?::(?P<configuration>[\w.+-]+))?(?:@(?P<split>[\w.\-\[\]:%+]+))?"
)
_CONFIGURATIONS = re.compile(r"(?:available configs|Available): \[(?P<names>[^\]]*)\]")
_MOST_NAMES = 20
# By name, as the hub's client has changed its HTTP library more than once.
_UNREACHABLE = frozenset(("ConnectionError", "TimeoutError", "TransportError", "Timeout", "LocalEntryNotFoundError"))


class HubDataSet(NamedTuple):
    """configuration: "" where the data set has one alone, or a default."""

    name: str
    configuration: str = ""
    split: str = "train"

    @classmethod
    def of(cls, source: str) -> HubDataSet:
        """What a text in HUB_FORM names. Raises PromptError."""
        match = _HUB_SOURCE.fullmatch(source)
        if match is None:
            raise PromptError(f"prompts from {source!r}: expected {HUB_FORM}.")
        return cls(match["name"], match["configuration"] or "", match["split"] or "train")


def read_hub(source: str, wanted: HubDataSet) -> PromptTable:
    """The rows of a data set. source: what the user called it. Raises PromptError."""
    name, _, split = wanted
    announce_download(f"prompts from {name}")
    import datasets

    if Path(name).exists():
        raise PromptError(
            f"prompts from {source!r}: {name!r} in the working directory would be read in place of the hub's data set; "
            "run from another folder, or give the path of a file in it."
        )
    ways_out = "use --prompts sample, or --prompts PATH with a local file"
    options = {"name": wanted.configuration} if wanted.configuration else {}
    try:
        with offline_if_unreachable():
            try:
                return load_table(name, split, **options)
            except Exception as error:
                if not _says_unreachable(error):
                    raise
                cached = _read_hub_cache(wanted)
    except datasets.exceptions.DatasetNotFoundError:
        raise PromptError(
            f"prompts from {source!r}: {name} is not on the Hugging Face hub, or not for this login; "
            f"check the name, log in (hf auth login), {ways_out}."
        ) from None
    except Exception as error:  # no such split or configuration, broken files, a failing hub
        if names := _configurations(error):
            raise PromptError(_name_one(source, wanted, names)) from None
        raise PromptError(
            f"prompts from {source!r}: {name} cannot be loaded ({first_line(error)}); {ways_out}."
        ) from None
    if cached is None:
        raise PromptError(
            f"prompts from {source!r}: the Hugging Face hub cannot be reached and its cache here holds no {name}; "
            f"fill the cache once with a network (hf download --repo-type dataset {name}), {ways_out}."
        )
    return cached


def _configurations(error: BaseException) -> list[str]:
    """Those that the data set has, where the error says that one has to be named; else none."""
    match = _CONFIGURATIONS.search(str(error))
    return re.findall(r"['\"]([^'\"]+)['\"]", match["names"]) if match else []


def _name_one(source: str, wanted: HubDataSet, names: list[str]) -> str:
    listed = ", ".join(names[:_MOST_NAMES]) + (f" and {len(names) - _MOST_NAMES} more" if names[_MOST_NAMES:] else "")
    problem = f"no configuration {wanted.configuration}" if wanted.configuration else "several configurations"
    split = f"@{wanted.split}" if wanted.split != "train" else ""
    return (
        f"prompts from {source!r}: {wanted.name} has {problem}; name one of {listed}, for example "
        f"hf:{wanted.name}:{names[0]}{split}."
    )


def _read_hub_cache(wanted: HubDataSet) -> PromptTable | None:
    """The same data set from the hub's cache on this disk; None when it is not there.

    Offline, `datasets` looks only among the tables that it has prepared itself, not at files that were downloaded.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        snapshot = snapshot_download(wanted.name, repo_type="dataset", local_files_only=True)
    except LocalEntryNotFoundError:
        return None
    # A data set's card alone is cached whenever its page was requested.
    if not any(kind_of(file) for file in Path(snapshot).rglob("*")):
        return None
    options = {"name": wanted.configuration} if wanted.configuration else {}
    return load_uncached(snapshot, wanted.split, **options)


def _says_unreachable(error: BaseException | None) -> bool:
    while error is not None:
        if _UNREACHABLE.intersection(kind.__name__ for kind in type(error).__mro__):
            return True
        error = error.__cause__ or error.__context__
    return False
