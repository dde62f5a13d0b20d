"""Where an error of a locustfile's own code is to be mended. Pure."""

from __future__ import annotations

import re
from pathlib import Path
from traceback import format_tb

LONGEST_ERROR_TEXT = 200
_FRAME = re.compile(r'File "([^"]*)", line (\d+), in (\S+)')
#: Python's own modules and what is installed, on any machine, as a worker's may be another; compiled code has no path.
_LIBRARIES = re.compile(r"/lib(64)?/python3|/(site|dist)-packages/|^<|\.pyx$")
_ROOT = Path(__file__).resolve().parents[1]


def error_with_place(error: BaseException, otherwise: str = "") -> str:
    """An error's type and text, and the line of the locustfile's author that raised it; `otherwise` where it is in none
    of these."""
    text = f"{type(error).__name__}: {' '.join(str(error).split())}"[:LONGEST_ERROR_TEXT].rstrip(".: ")
    frames = [frame for frame in _FRAME.findall("".join(format_tb(error.__traceback__))) if _is_own(frame[0])]
    return f"{text}{_in_words(frames[-1]) if frames else otherwise}"


def _in_words(frame: tuple[str, str, str]) -> str:
    file, line, function = frame
    return f" ({file.rpartition('/')[2]}, line {line}, in {function})"


def _is_own(file: str) -> bool:
    """Whether it is code of the locustfile's author: an error is raised by what that calls, and mended there."""
    package = next((folder for folder in Path(file).parents if folder.parent == _ROOT), None)
    return not _LIBRARIES.search(file) and (package is None or not (package / "__init__.py").exists())


def place_of(traceback: str) -> str:
    """Where the locustfile is to be mended. Of wait times, Locust calls what the locustfile has made."""
    if not (frames := _FRAME.findall(traceback)):
        return ""
    own = next((frame for frame in reversed(frames) if _is_own(frame[0])), None)
    if own is None and any(function == "wait_time" for _, _, function in frames):
        return " (in wait_time of a user class: its values must be numbers of seconds)"
    return _in_words(own or frames[-1])
