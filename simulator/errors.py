"""The one error of this package."""

from collections.abc import Collection
from difflib import get_close_matches
from pathlib import Path

#: Names in full, and what options call them.
_LONG_NAMES = {"tensorrt": "trtllm", "tensorrt-llm": "trtllm"}


class SimulatorError(ValueError):
    """The simulator cannot be set up as its options say; the message is one sentence fit to be shown to a user."""


def check_log(option: str, path: Path) -> None:
    """Raises SimulatorError for what is there and is no file."""
    kind = "folder" if path.is_dir() else "device" if path.is_char_device() or path.is_block_device() else ""
    if kind:
        raise SimulatorError(f"{option} takes a file, but {path} is a {kind}.")


def option_name(field: str) -> str:
    """The command-line option that sets a field: `--step-ms` for `step_ms`."""
    return "--" + field.replace("_", "-")


def unknown_name(kind: str, name: str, known: Collection[str]) -> SimulatorError:
    """The error of a name that is not known: those that are, and the most similar one, or those whose first part is."""
    full = _LONG_NAMES.get(name.lower(), "")
    near = [full] if full in known else get_close_matches(name.lower(), known, n=1, cutoff=0.7)
    first_parts = get_close_matches(name.lower(), {each.partition("-")[0] for each in known}, n=1, cutoff=0.7)
    near = near or [each for each in known if each.partition("-")[0] in first_parts]
    question = f"; did you mean {' or '.join(near)}?" if near else "."
    return SimulatorError(f"unknown {kind} {name!r}: expected one of {', '.join(known)}{question}")
