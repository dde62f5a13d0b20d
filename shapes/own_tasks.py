"""What a locustfile's own classes have as tasks: whether users of them can send anything."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from typing import Any

from locust import User

from tokenswarm.command_line import OptionErrors, listed
from tokenswarm.shapes.class_weights import place_of_class


def check_tasks(own: Sequence[type[User]]) -> None:
    """Locust's users would log a traceback for each task that they do not find or cannot call, and send nothing.
    Raises OptionErrors."""
    errors = [*_without(own), *(text for each in own if each.run is User.run for text in _unusable(each))]
    if errors:
        raise OptionErrors(list(dict.fromkeys(errors)))


def _without(own: Sequence[type[User]]) -> Iterator[str]:
    """A sentence on the classes without a task."""
    idle = [each for each in own if not each.tasks and each.run is User.run]
    bases = {each: [other.__name__ for other in own if other is not each and issubclass(other, each)] for each in idle}
    names = [each.__name__ for each in idle if not bases[each]]
    if names:
        classes, has = ("class", "has") if len(names) == 1 else ("classes", "have")
        yield (
            f"the {classes} {listed(names)} of your locustfile {has} no task: mark a method with @task from locust "
            "(docs/python-api.md)."
        )
    for each, derived in bases.items():
        if derived:
            yield (
                f"the class {each.__name__} of your locustfile ({place_of_class(each)}) has no task: if it is only the "
                f"base of {listed(derived)}, set abstract = True in it, else mark a method with @task from locust."
            )


def _unusable(user: type[User]) -> Iterator[str]:
    """A sentence on each task that Locust cannot run."""
    for each in _all_tasks(user.tasks):
        name = getattr(each, "__name__", repr(each)[:60])
        where = f"the class {user.__name__} of your locustfile ({place_of_class(user)})"
        if not callable(each):
            yield (
                f"{where} has {name} in its tasks, which cannot be called: mark the method with @task from locust "
                "instead, or put the function itself into tasks (docs/python-api.md)."
            )
        elif inspect.iscoroutinefunction(each) or inspect.isasyncgenfunction(each):
            yield (
                f"{where} has the task {name}, defined with async def, which Locust would not run: leave async and "
                "await out; users run side by side all the same (docs/python-api.md)."
            )
        elif inspect.isgeneratorfunction(each):
            yield f"{where} has the task {name}, which has a yield, so that Locust would not run it: leave that out."


def _all_tasks(tasks: Any) -> Iterator[Any]:
    """With those of task sets."""
    for each in dict.fromkeys(tasks):
        if isinstance(each, type) and hasattr(each, "tasks"):
            yield from _all_tasks(each.tasks)
        else:
            yield each
