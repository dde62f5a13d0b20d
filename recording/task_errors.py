"""Errors that tasks of a locustfile's own raised: what the tasks should have sent is missing from the load. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tokenswarm.run_folder.schema import IssueKind, ValidityIssue

#: A run in which tasks raised so many errors and no request was sent is not worth going on.
MOST_WITHOUT_A_REQUEST = 50
_FRAME = re.compile(r'File "([^"]*)", line (\d+), in (\S+)')
_LONGEST = 200


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
        where = f" ({frames[-1][0].rpartition('/')[2]}, line {frames[-1][1]}, in {frames[-1][2]})" if frames else ""
        text = " ".join(str(kinds[0]["msg"]).split())[:_LONGEST].rstrip(".")
        return cls(sum(kind["count"] for kind in kinds), f"{text}{where}")

    def __str__(self) -> str:
        times = "an error" if self.count == 1 else f"{self.count:,} errors, the most frequent of them"
        return f"tasks of the locustfile raised {times}: {self.example}"


NO_TASK_ERRORS = TaskErrors()


def task_error_issues(errors: TaskErrors) -> Iterator[ValidityIssue]:
    """Whether the load is not that of the tasks as they are written."""
    if errors.count:
        yield ValidityIssue(
            kind=IssueKind.TASK_ERRORS,
            message=f"{errors}; what these tasks would have sent is missing",
            values={"errors": errors.count},
        )
