"""User classes and shapes of one's own: they would load nothing, as the run's shape spawns Tokenswarm's users alone."""

from __future__ import annotations

from collections.abc import Iterable

from locust import User
from locust.env import Environment

from tokenswarm.shapes.run_shape import RunShape

_PARTIAL = (
    "this locustfile imports only a part of Tokenswarm; use `locust -f PATH/TO/locustfile.py`. Users and load are "
    "set by options (docs/options.md)."
)


class OwnCodeError(ValueError):
    """Classes of the locustfile that a run would silently leave out; the text names them and says what to do."""


def check_own_code(environment: Environment, modes: Iterable[str]) -> None:
    """At Locust's init, where the plan is: compare what Locust found in the locustfiles with what the shape will spawn
    in these system-prompt modes. Raises OwnCodeError."""
    spawned = RunShape.user_classes
    idle = [
        user_class
        for user_class in environment.user_classes
        if user_class not in spawned.values() and (user_class.weight or user_class.fixed_count)
    ]
    shapes = [name for name, shape in (environment.available_shape_classes or {}).items() if not _is_ours(shape)]
    if problems := [*_idle_users(idle), *_unused_shapes(shapes)]:
        raise OwnCodeError(" ".join(problems))
    check_shape(environment)
    missing = {spawned[mode].__name__ for mode in modes if spawned[mode] not in environment.user_classes}
    if missing:
        raise OwnCodeError(
            f"the plan needs {' and '.join(sorted(missing))}, which the command line leaves out: name no user classes, "
            "and choose with --system-prompt off, on or both."
        )


def check_shape(environment: Environment) -> None:
    """Whether the load follows Tokenswarm's shape. Raises OwnCodeError."""
    shape = environment.shape_class
    if shape is None:
        raise OwnCodeError(_PARTIAL)
    if not _is_ours(shape):
        raise OwnCodeError(" ".join(_unused_shapes([type(shape).__name__])))


def _idle_users(idle: list[type[User]]) -> list[str]:
    """Sentences on users that no level would have."""
    ours = tuple(RunShape.user_classes.values())
    derived = [user_class.__name__ for user_class in idle if issubclass(user_class, ours)]
    foreign = [user_class.__name__ for user_class in idle if not issubclass(user_class, ours)]
    sentences = []
    if derived:
        sentences.append(
            f"{_classes(derived)} of your locustfile would get no users: Tokenswarm runs its own user classes only. "
            f"Remove {_it(derived)}, and set prompts, requests and load by options (docs/options.md)."
        )
    if foreign:
        sentences.append(
            f"{_classes(foreign)} of your locustfile would get no users: Tokenswarm runs its own user classes only. "
            f"Move {_it(foreign)} to a locustfile that does not import Tokenswarm, and run that separately."
        )
    return sentences


def _unused_shapes(names: list[str]) -> list[str]:
    """Sentences on shapes of the locustfile."""
    if not names:
        return []
    return [
        f"{_classes(names, 'shape')} of your locustfile cannot be used: Tokenswarm sets the number of users itself. "
        f"Remove {_it(names)}, and set the load with --levels, or with -u, -r and -t."
    ]


def _classes(names: list[str], what: str = "class") -> str:
    plural = {"class": "classes", "shape": "shapes"}[what]
    return f"the {what if len(names) == 1 else plural} {' and '.join(names)}"


def _it(names: list[str]) -> str:
    return "it" if len(names) == 1 else "them"


def _is_ours(shape: object) -> bool:
    return type(shape) is RunShape
