"""SGLang's benchmark client in Rust, alone, from its wheel: all that it needs is one compiled extension.

    python -m benchmarks.sglang_client sglang-0.5.23-cp311-cp311-manylinux_2_34_x86_64.whl --help

Installing sglang would bring gigabytes that the client does not use. What follows the file are the client's options.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import sys
import tempfile
import zipfile
from pathlib import Path
from types import ModuleType

_NAME = "_bench"
_FOLDER = "rust_extensions/"


class SglangClientError(ValueError):
    """The file has no client for this Python; the text says what it has."""


def extension_name(path: Path) -> str:
    """The client's name in a wheel, or that of the extension itself. Raises SglangClientError, OSError."""
    endings = importlib.machinery.EXTENSION_SUFFIXES
    if not zipfile.is_zipfile(path):
        if not path.is_file() or not path.name.endswith(tuple(endings)):
            raise SglangClientError(f"expected a wheel of sglang or its extension {_NAME}{endings[0]}, got {path}")
        return path.name
    with zipfile.ZipFile(path) as wheel:
        found = [name for name in wheel.namelist() if f"{_FOLDER}{_NAME}." in name]
    fitting = [name for name in found if name.rpartition("/")[2] in {_NAME + ending for ending in endings}]
    if not fitting:
        has = f"it has {found[0]}" if found else "it has none"
        raise SglangClientError(f"{path.name} has no client for this Python ({_NAME}{endings[0]}); {has}")
    return fitting[0]


def load(path: Path, folder: Path) -> ModuleType:
    """The extension; from a wheel, it is unpacked into the folder. Raises SglangClientError, OSError, ImportError."""
    name = extension_name(path)
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as wheel:
            path = Path(wheel.extract(name, folder))
    spec = importlib.util.spec_from_file_location(_NAME, path)
    assert spec is not None
    assert spec.loader is not None
    extension = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(extension)
    return extension


def main() -> int:
    """0, the client's own exit code, or 2 with one sentence where there is no client."""
    if len(sys.argv) < 2:
        print(f"{_NAME}: give a wheel of sglang, then the options of its client.", file=sys.stderr)
        return 2
    try:
        with tempfile.TemporaryDirectory() as folder:
            load(Path(sys.argv[1]), Path(folder)).run_argv(["sglang-bench", *sys.argv[2:]])
    except (SglangClientError, ImportError, OSError, RuntimeError) as error:
        print(f"sglang: {error}.", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
