"""A run's folder in a store that a URL names, such as s3://bucket/prefix: uploaded, its sizes verified, and read back.

fsspec and what it needs for a store (s3fs, …) find credentials by themselves: in the environment, in their own
configuration files or from the machine. No URL holds any.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from itertools import count
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import msgspec

from tokenswarm.run_folder.files import write_whole
from tokenswarm.run_folder.reader import ReportError, run_file
from tokenswarm.run_folder.schema import RESERVE, Status
from tokenswarm.sanitize import server_text

#: Left in a folder of this machine once its copy is complete: where that is.
UPLOADED = "uploaded.json"
#: Stores in which a prefix is no folder that could be made.
_OBJECT_STORES = frozenset(("abfs", "abfss", "az", "gcs", "gs", "oci", "oss", "r2", "s3", "s3a"))
_READ_ONLY = frozenset(("data", "github", "git", "http", "https", "zip", "tar", "libarchive", "reference"))
#: Of the text of an error.
_MOST_CHARACTERS = 300


class RemoteFolderError(ReportError):
    """A URL cannot be used, or a store cannot be written or read; the message is one sentence."""


class _RunHead(msgspec.Struct):
    status: str


class UploadedFolder(NamedTuple):
    """Where a run's folder was copied to: `files` files of `size_bytes` bytes together."""

    url: str
    files: int
    size_bytes: int


def is_url(place: str) -> bool:
    """Whether a place of results is a URL, and no folder of this machine."""
    return "://" in place


def check_url(option: str, url: str) -> None:
    """Whether results could be written to a URL, as far as that shows without a connection. Raises
    RemoteFolderError."""
    protocol, _, rest = url.partition("://")
    # A secret may have slashes, and then does not end with the URL's authority.
    if ":" in rest.rpartition("@")[0] or "?" in rest:
        raise RemoteFolderError(
            f"The URL of {option} must hold no credentials, as it is recorded: give them in the store's own variables, "
            "like AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
        )
    if not rest.strip("/"):
        raise RemoteFolderError(
            f"{option} {url} names no place in the store: give one like {protocol}://bucket/prefix."
        )
    _check_protocol(option, protocol)


def _check_protocol(option: str, protocol: str) -> None:
    if find_spec("fsspec") is None:
        raise _not_installed(option, protocol, "fsspec")
    from fsspec import available_protocols
    from fsspec.registry import known_implementations

    if protocol not in available_protocols():
        raise RemoteFolderError(
            f"{option} takes a folder or the URL of a store, like s3://bucket/prefix; no store is known for "
            f"{server_text(protocol, 40)}://."
        )
    if protocol in _READ_ONLY:
        raise RemoteFolderError(
            f"{option} takes a folder or the URL of a store, like s3://bucket/prefix; {protocol}:// cannot be written."
        )
    package = known_implementations.get(protocol, {}).get("class", "fsspec").partition(".")[0]
    if find_spec(package) is None:
        raise _not_installed(option, protocol, package)


def _not_installed(option: str, protocol: str, package: str) -> RemoteFolderError:
    if protocol in ("s3", "s3a"):
        return RemoteFolderError(
            f"{option} {protocol}://… needs the extra s3 of Tokenswarm, which is not installed: "
            "pip install '.[s3]' in Tokenswarm's folder."
        )
    return RemoteFolderError(
        f"{option} {protocol}://… needs the package {package}, which is not installed: pip install {package}."
    )


def upload(folder: Path, url: str) -> UploadedFolder:
    """Copy a run's folder below the URL, as a folder of its own name (with -2, -3, … where another run has it), and
    compare the size of each file. run.json is copied last: a copy that has it is complete. Raises RemoteFolderError,
    ReportError."""
    own = run_file(folder).read_bytes()
    if _status_of(own) == Status.RUNNING:
        raise RemoteFolderError(
            f"{folder} is of a run that has not ended, and its files still change: upload it then. If its processes "
            f"were killed, complete it first: tokenswarm recover {folder}"
        )
    names = sorted(_names(folder), key=lambda name: (name == "run.json", name))
    try:
        store, root = _opened(url)
        target = _free_place(store, f"{root.rstrip('/')}/{folder.resolve().name}", own)
        for name in names:
            if _has_folders(store):
                store.makedirs(str(PurePosixPath(f"{target}/{name}").parent), exist_ok=True)
            store.put_file(str(folder / name), f"{target}/{name}")
        store.invalidate_cache()
        sizes = {name: (folder / name).stat().st_size for name in names}
        wrong = [name for name in names if store.size(f"{target}/{name}") != sizes[name]]
    except Exception as error:  # each store has errors of its own
        raise RemoteFolderError(f"{folder} could not be uploaded to {url}: {_error_text(error)}.") from None
    if wrong:
        raise RemoteFolderError(
            f"{folder} could not be uploaded to {url}: {wrong[0]} has another size there than the {sizes[wrong[0]]} "
            "bytes that were sent."
        )
    uploaded = UploadedFolder(store.unstrip_protocol(target), len(names), sum(sizes.values()))
    try:
        write_whole(folder / UPLOADED, json.dumps(uploaded._asdict(), indent=2) + "\n")
    except OSError as error:
        raise RemoteFolderError(
            f"{folder} is complete at {uploaded.url}, but {folder / UPLOADED} cannot be written: "
            f"{error.strerror or error}."
        ) from None
    return uploaded


def download(url: str) -> Path:
    """Copy a run's folder from a store to a new temporary folder, which stays. Raises RemoteFolderError."""
    check_url("RESULTS", url)
    folder = Path(tempfile.mkdtemp(prefix="tokenswarm-")) / (url.rstrip("/").rpartition("/")[2] or "run")
    try:
        store, root = _opened(url.rstrip("/"))
        there = {name: name[len(root) :].lstrip("/") for name in store.find(root)}
        if "run.json" in there.values():
            for name, inside in there.items():
                if ".." not in PurePosixPath(inside).parts:
                    (folder / inside).parent.mkdir(parents=True, exist_ok=True)
                    store.get_file(name, str(folder / inside))
    except Exception as error:
        raise RemoteFolderError(f"{url} could not be read: {_error_text(error)}.") from None
    if "run.json" not in there.values():
        raise RemoteFolderError(f"There is no run at {url}: run.json is missing; give the URL of one run's folder.")
    return folder


def local_folder(place: str) -> Path:
    """The folder of a run that a command names: itself, or a copy of what a URL names. Raises RemoteFolderError."""
    return download(place) if is_url(place) else Path(place)


def _status_of(run_json: bytes) -> str:
    """As run.json says; "" where it is damaged, which is no reason to keep it from a store."""
    try:
        return msgspec.json.decode(run_json, type=_RunHead).status
    except msgspec.MsgspecError:
        return ""


def _names(folder: Path) -> Iterator[str]:
    """The files of a run's folder, relative to it."""
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and not path.is_symlink() and name not in (RESERVE, UPLOADED):
            yield name


def _opened(url: str) -> tuple[Any, str]:
    """(fsspec's file system, the path in it)."""
    from fsspec.core import url_to_fs

    found: tuple[Any, str] = url_to_fs(url)
    return found


def _has_folders(store: Any) -> bool:
    protocols = (store.protocol,) if isinstance(store.protocol, str) else store.protocol
    return not _OBJECT_STORES & {*protocols}


def _free_place(store: Any, place: str, own_run_json: bytes) -> str:
    """Where no other run is. An earlier copy of the same run is replaced."""
    for number in count(1):
        found = place if number == 1 else f"{place}-{number}"
        if not store.exists(f"{found}/run.json") or store.cat_file(f"{found}/run.json") == own_run_json:
            return found
    raise AssertionError


def _error_text(error: Exception) -> str:
    """Its first line, without the full stop."""
    text = (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__
    return server_text(text.strip().splitlines()[0].rstrip("."), _MOST_CHARACTERS)
