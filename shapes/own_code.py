"""User classes and shapes of one's own: they would load nothing, as the run's shape spawns Tokenswarm's users alone."""

from __future__ import annotations

from collections.abc import Iterable

from locust.env import Environment

from shapes.run_shape import RunShape

_WHAT_TO_DO = (
    "Tokenswarm spawns only its own user classes ({}). Run its locustfile.py by itself, and your own classes with a "
    "locustfile that does not import it"
)


class OwnCodeError(ValueError):
    """Classes of the locustfile that a run would silently leave out; the text names them and says what to do."""


def check_own_code(environment: Environment, modes: Iterable[str]) -> None:
    """At Locust's init, where the plan is: compare what Locust found in the locustfiles with what the shape will spawn
    in these system-prompt modes. Raises OwnCodeError."""
    spawned = RunShape.user_classes
    ours = " and ".join(user_class.__name__ for user_class in spawned.values())
    idle = [
        user_class.__name__
        for user_class in environment.user_classes
        if user_class not in spawned.values() and (user_class.weight or user_class.fixed_count)
    ]
    shapes = [name for name, shape in (environment.available_shape_classes or {}).items() if not _is_ours(shape)]
    problems = []
    if idle:
        problems.append(f"users of {' and '.join(idle)} would never be spawned")
    if shapes:
        problems.append(
            f"the shape {' and '.join(shapes)} would never be used, as the load follows --levels, or -u, -r and -t"
        )
    if not problems and not _is_ours(environment.shape_class):
        problems.append("no user would be spawned, as Tokenswarm's shape (RunShape) is not in the locustfile")
    if problems:
        raise OwnCodeError(f"{', and '.join(problems)}: {_WHAT_TO_DO.format(ours)}.")
    missing = {spawned[mode].__name__ for mode in modes if spawned[mode] not in environment.user_classes}
    if missing:
        raise OwnCodeError(
            f"the plan needs {' and '.join(sorted(missing))}, which the command line leaves out: name no user classes, "
            "and choose with --system-prompt off, on or both."
        )


def _is_ours(shape: object) -> bool:
    return type(shape) is RunShape
