"""Errors that tasks of a locustfile's own raised: what the tasks should have sent is missing from the load. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenswarm.run_folder.schema import IssueKind, ValidityIssue

#: A run in which tasks raised so many errors and no request was sent is not worth going on.
MOST_WITHOUT_A_REQUEST = 50
_FRAME = re.compile(r'File "([^"]*)", line (\d+), in (\S+)')
_LONGEST = 200
#: Python's own modules and what is installed, on any machine, as a worker's may be another; compiled code has no path.
_LIBRARIES = re.compile(r"/lib(64)?/python3|/(site|dist)-packages/|^<|\.pyx$")
_ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, slots=True)
class TaskErrors:
    """How many there were, and the most frequent one in a few words: its text, and where it was raised."""

    count: int = 0
    example: str = ""

    @classmethod
    def of(cls, exceptions: Iterable[Mapping[str, Any]]) -> TaskErrors:
        """Of what Locust's runner keeps: for each kind of error its count, msg and traceback."""
        kinds = sorted(exceptions, key=lambda kind: -kind["count"])
        if not kinds:
            return cls()
        frames = _FRAME.findall(kinds[0]["traceback"])
        where = _place(frames) if frames else ""
        text = " ".join(str(kinds[0]["msg"]).split())[:_LONGEST].rstrip(".")
        return cls(sum(kind["count"] for kind in kinds), f"{text}{where}")

    def __str__(self) -> str:
        times = "an error" if self.count == 1 else f"{self.count:,} errors, the most frequent of them"
        return f"tasks of the locustfile raised {times}: {self.example}"


def _is_own(file: str) -> bool:
    """Whether it is code of the locustfile's author: an error is raised by what that calls, and mended there."""
    package = next((folder for folder in Path(file).parents if folder.parent == _ROOT), None)
    return not _LIBRARIES.search(file) and (package is None or not (package / "__init__.py").exists())


def _place(frames: Sequence[tuple[str, str, str]]) -> str:
    """Where the locustfile is to be mended. Of wait times, Locust calls what the locustfile has made."""
    own = next((frame for frame in reversed(frames) if _is_own(frame[0])), None)
    if own is None and any(function == "wait_time" for _, _, function in frames):
        return " (in wait_time of a user class: its values must be numbers of seconds)"
    file, line, function = own or frames[-1]
    return f" ({file.rpartition('/')[2]}, line {line}, in {function})"


NO_TASK_ERRORS = TaskErrors()


def task_error_issues(errors: TaskErrors) -> Iterator[ValidityIssue]:
    """Whether the load is not that of the tasks as they are written."""
    if errors.count:
        yield ValidityIssue(
            kind=IssueKind.TASK_ERRORS,
            message=f"{errors}; what these tasks would have sent is missing",
            values={"errors": errors.count},
        )
