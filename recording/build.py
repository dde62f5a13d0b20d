"""Which Tokenswarm this is: nodes of one run must agree on it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[1]
#: The packages that a run's nodes work with.
_PACKAGES = (
    *(
        "client",
        "cluster",
        "engines",
        "metrics",
        "prompts",
        "recording",
        "run_folder",
        "shapes",
        "target",
        "upstream",
        "users",
        "wire",
    ),
)

_BUILD = re.compile(r"(?P<version>.*) \((?P<sources>[0-9a-f]+), locustfile (?P<locustfile>[0-9a-f]+)\)")


def tokenswarm_version() -> str:
    """The installed package's version, "unknown" where it is not installed."""
    try:
        return version("tokenswarm")
    except PackageNotFoundError:
        return "unknown"


def build_of(locustfiles: Iterable[str]) -> str:
    """Version and fingerprints of the sources and locustfiles of this node, like
    `0.1.0 (3f2a9c41d0e7, locustfile 0b9d52f1c4aa)`."""
    sources = [source for package in _PACKAGES for source in sorted((_ROOT / package).glob("*.py"))]
    return f"{tokenswarm_version()} ({_fingerprint(sources)}, locustfile {_fingerprint(map(Path, locustfiles))})"


def build_difference(of_worker: str, of_master: str) -> str:
    """What differs between two builds, and what to do."""
    worker, master = _BUILD.fullmatch(of_worker), _BUILD.fullmatch(of_master)
    if worker is None or master is None or worker["version"] != master["version"]:
        return f"it runs Tokenswarm {of_worker}, its master runs {of_master}; use the same files on both"
    if worker["sources"] != master["sources"]:
        return (
            f"its files of Tokenswarm {master['version']} are not those of its master, which has the same version; use "
            "the same files on both"
        )
    return "its locustfile is not that of its master; start both with the same one (-f)"


def _fingerprint(files: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        if file.is_file():  # a locustfile can be a URL too
            digest.update(file.read_bytes() + b"\0")
    return digest.hexdigest()[:12]
