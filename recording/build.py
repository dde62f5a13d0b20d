"""Which Tokenswarm this is: nodes of one run must agree on it."""

from __future__ import annotations

import hashlib
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


def tokenswarm_version() -> str:
    """The installed package's version, "unknown" where it is not installed."""
    try:
        return version("tokenswarm")
    except PackageNotFoundError:
        return "unknown"


def build_of(locustfiles: Iterable[str]) -> str:
    """Version and fingerprint of the sources that this node runs, like `0.1.0 (3f2a9c41d0e7)`."""
    sources = [source for package in _PACKAGES for source in sorted((_ROOT / package).glob("*.py"))]
    digest = hashlib.sha256()
    for source in [*map(Path, locustfiles), *sources]:
        if source.is_file():  # a locustfile can be a URL too
            digest.update(source.read_bytes() + b"\0")
    return f"{tokenswarm_version()} ({digest.hexdigest()[:12]})"
