"""Errors of a locustfile's own code: of tasks and users, whose requests are missing from the load, and of listeners.
Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tokenswarm.run_folder.schema import IssueKind, ValidityIssue
from tokenswarm.shapes.error_place import LONGEST_ERROR_TEXT, error_with_place, place_of
from tokenswarm.shapes.not_created import class_not_created

#: A run in which tasks raised so many errors and no request was sent is not worth going on.
MOST_WITHOUT_A_REQUEST = 50
#: A sentence names so many kinds of errors.
_MOST_NAMED = 3
_LISTENER = re.compile(r"the listener \S+ of [\w ]+ raised ")
_HOOK = re.compile(r"(on_start|on_stop) of \w+ raised ")


class ReportedError(RuntimeError):
    """An error of a locustfile's code as Locust's errors are to have it: its text says all."""


@dataclass(frozen=True, slots=True)
class ErrorCount:
    """Errors by their text, which says where they were raised, and how often there was each; most frequent first."""

    kinds: tuple[tuple[str, int], ...] = ()

    @classmethod
    def of(cls, kinds: Sequence[Mapping[str, Any]], *, has_place: bool) -> ErrorCount:
        """has_place: whether the messages themselves say where."""
        counts: Counter[str] = Counter()
        for kind in kinds:
            text = " ".join(str(kind["msg"]).split()) or "an error without a text"
            if not has_place:
                text = f"{text[:LONGEST_ERROR_TEXT].rstrip('.')}{place_of(kind['traceback'])}"
            counts[text] += kind["count"]
        return cls(tuple(counts.most_common()))

    @property
    def count(self) -> int:
        """Of all kinds."""
        return sum(count for _, count in self.kinds)

    @property
    def example(self) -> str:
        """The most frequent one; "" where there is none."""
        return self.kinds[0][0] if self.kinds else ""

    @property
    def in_words(self) -> str:
        """The most frequent ones, each without how often it was raised."""
        return self._joined(text for text, _ in self.kinds[:_MOST_NAMED])

    @property
    def with_count(self) -> str:
        """The most frequent ones, each with how often it was raised."""
        named = self.kinds[:_MOST_NAMED]
        return self._joined(f"{text}, {'once' if count == 1 else f'{count:,} times'}" for text, count in named)

    def _joined(self, named: Iterable[str]) -> str:
        others = sum(count for _, count in self.kinds[_MOST_NAMED:])
        return "; ".join([*named, *([f"and {others:,} other errors"] if others else [])])


NO_ERRORS = ErrorCount()


@dataclass(frozen=True, slots=True)
class TaskErrors:
    """Of tasks: how many there were, and the most frequent one. not_created: those of users whose class could not be
    instantiated, with the names of the classes; not_started: those of on_start of users; stops: those of on_stop;
    listeners: those of listeners to events."""

    count: int = 0
    example: str = ""
    not_created: ErrorCount = NO_ERRORS
    classes_not_created: frozenset[str] = frozenset()
    listeners: ErrorCount = NO_ERRORS
    not_started: ErrorCount = NO_ERRORS
    stops: ErrorCount = NO_ERRORS

    @classmethod
    def of(cls, exceptions: Iterable[Mapping[str, Any]]) -> TaskErrors:
        """Of what Locust's runner keeps: for each kind of error its count, msg and traceback."""
        users, listeners, tasks = [], [], []
        hooks: dict[str, list[Mapping[str, Any]]] = {"on_start": [], "on_stop": []}
        names = set()
        for kind in exceptions:
            if name := class_not_created(str(kind["msg"])):
                names.add(name)
                users.append(kind)
            elif _LISTENER.match(str(kind["msg"])):
                listeners.append(kind)
            elif hook := _HOOK.match(str(kind["msg"])):
                hooks[hook[1]].append(kind)
            else:
                tasks.append(kind)
        of_tasks = ErrorCount.of(tasks, has_place=False)
        return cls(
            of_tasks.count,
            of_tasks.example,
            ErrorCount.of(users, has_place=True),
            frozenset(names),
            ErrorCount.of(listeners, has_place=True),
            ErrorCount.of(hooks["on_start"], has_place=True),
            ErrorCount.of(hooks["on_stop"], has_place=True),
        )

    @property
    def missing_load(self) -> bool:
        """Whether requests were not sent because of them."""
        return bool(self.count or self.not_created.count or self.not_started.count)

    @property
    def missing_users(self) -> str:
        """Why users are missing; "" where none is for an error of its own class."""
        return "; ".join(each.in_words for each in (self.not_created, self.not_started) if each.count)

    def __str__(self) -> str:
        """Why requests are missing."""
        return "; ".join(filter(None, [self.missing_users, self.of_tasks if self.count else ""]))

    @property
    def of_tasks(self) -> str:
        """Those of tasks alone."""
        times = "an error" if self.count == 1 else f"{self.count:,} errors, the most frequent of them"
        return f"tasks of the locustfile raised {times}: {self.example}"

    @property
    def in_words(self) -> str:
        """All of them; "" where there are none."""
        found = [str(self), *(each.with_count for each in (self.stops, self.listeners) if each.count)]
        return "; ".join(filter(None, found))


def listener_error_text(listener: str, event: str, error: BaseException) -> str:
    """What a listener of a user's own raised, and where."""
    return f"the listener {listener} of {event} raised {error_with_place(error)}"


def hook_error_text(hook: str, owner: str, error: BaseException) -> str:
    """What on_start or on_stop of a class of a user's own raised, and where."""
    return f"{hook} of {owner} raised {error_with_place(error)}"


def task_error_text(error: BaseException) -> str:
    """What Locust's errors have of it: its type, too, as the text of KeyError("x") is 'x', and that of ValueError()
    empty."""
    if isinstance(error, ReportedError):
        return str(error)
    name, text = type(error).__name__, str(error)
    return f"{name}: {text}" if text.strip() else name


NO_TASK_ERRORS = TaskErrors()


def task_error_issues(errors: TaskErrors) -> Iterator[ValidityIssue]:
    """Whether the load is not that of the locustfile as it is written, or what listens to it does not."""
    if errors.count:
        yield ValidityIssue(
            kind=IssueKind.TASK_ERRORS,
            message=f"{errors.of_tasks}; what these tasks would have sent may be missing",
            values={"errors": errors.count},
        )
    if errors.not_created.count:
        yield ValidityIssue(
            kind=IssueKind.USERS_NOT_CREATED,
            message=f"{errors.not_created.with_count}: what these users would have sent is missing",
            values={"errors": errors.not_created.count},
        )
    if errors.not_started.count:
        yield ValidityIssue(
            kind=IssueKind.USERS_NOT_STARTED,
            message=f"{errors.not_started.with_count}: what these users would have sent is missing",
            values={"errors": errors.not_started.count},
        )
    if errors.stops.count:
        yield ValidityIssue(
            kind=IssueKind.ON_STOP_ERRORS,
            message=f"{errors.stops.with_count}: what it should have done is missing",
            values={"errors": errors.stops.count},
        )
    if errors.listeners.count:
        yield ValidityIssue(
            kind=IssueKind.LISTENER_ERRORS,
            message=f"{errors.listeners.with_count}: what it should have done is missing",
            values={"errors": errors.listeners.count},
        )
