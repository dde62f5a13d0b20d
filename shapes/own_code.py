"""User classes and shapes of a locustfile's own: which of them the levels spawn, and what cannot be beside them."""

from __future__ import annotations

import hashlib
import inspect
from argparse import Namespace
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import locust.user.wait_time
from locust import LoadTestShape, TaskSet, User
from locust.env import Environment

from tokenswarm.command_line import collect_errors, listed
from tokenswarm.shapes.class_weights import check_weights, has_users
from tokenswarm.shapes.own_tasks import check_tasks
from tokenswarm.shapes.plan import OWN_SHAPE, OWN_USERS, SHAPE_READS_USERS
from tokenswarm.shapes.run_shape import RunShape
from tokenswarm.shapes.task_tags import TagChoice, emptied_text

_OWN_SHAPE = (
    "the locustfile sets another shape at a moment when that cannot be used any more: define the class in the "
    "locustfile itself (docs/python-api.md)."
)


class OwnCodeError(ValueError):
    """Classes of the locustfile that a run cannot use; the text names them and says what to do."""


def adopt_own_code(environment: Environment) -> None:
    """At Locust's init, on every process: have the run's shape spawn the user classes of the locustfile, and follow its
    shape, if it has one. Raises OwnCodeError."""
    default = list(RunShape.user_classes.values())
    own = check_own_classes(environment.user_classes, TagChoice.of(environment))
    uses_default = any(each in default for each in environment.user_classes)
    options = environment.parsed_options
    if uses_default and not (options is not None and options.user_classes):
        environment.user_classes += [each for each in default if each not in environment.user_classes]
    shape = environment.shape_class if _is_ours(environment.shape_class) else RunShape()
    assert isinstance(shape, RunShape)
    shape.own_classes = tuple(own)
    shape.own_shape = _own_shape(environment)
    if environment.runner is not None:
        shape.runner = environment.runner
    environment.shape_class = shape
    if options is not None:
        own_shape = type(shape.own_shape) if shape.own_shape is not None else None
        _name_own_code(options, [] if uses_default else own, own_shape)


def check_own_classes(user_classes: Sequence[type[User]], choice: TagChoice) -> list[type[User]]:
    """Those of the locustfile's own that run. choice: of their tasks. Raises one of OwnCodeError and OptionErrors, or
    one OptionErrors of all."""
    default = list(RunShape.user_classes.values())
    own = _own_of(user_classes)
    with collect_errors() as errors:
        errors.of(check_weights, user_classes)
        errors.of(_check_derived, user_classes, default)
        errors.of(check_tasks, own)
        errors.of(_check_tags, own, choice)
        errors.of(_check_wait_times, own)
    return own


def chosen_classes(options: Namespace, user_classes: Sequence[type[User]]) -> list[type[User]]:
    """Those of a locustfile's classes that the command line names, all where it names none."""
    words = options.user_classes or ()
    return [each for each in user_classes if not words or each.__name__ in words]


def foresee_own_code(
    options: Namespace, user_classes: Sequence[type[User]], shapes: Sequence[type[LoadTestShape]]
) -> list[type[User]]:
    """On the command line, when the locustfile is imported and Locust has no environment yet: name its classes in the
    options as `adopt_own_code` will. user_classes, shapes: all of its own; words of the command line choose among the
    users, which are returned."""
    default, chosen = list(RunShape.user_classes.values()), chosen_classes(options, user_classes)
    own = _own_of(chosen)
    own_shapes = [each for each in shapes if not issubclass(each, RunShape)]
    own_shape = own_shapes[0] if len(own_shapes) == 1 else None  # several are refused in the run
    _name_own_code(options, [] if any(each in default for each in chosen) else own, own_shape)
    return chosen


def own_names(user_classes: Sequence[type[User]]) -> list[str]:
    """Of the locustfile's own classes that run, in order."""
    return sorted(each.__name__ for each in _own_of(user_classes))


def _own_of(user_classes: Sequence[type[User]]) -> list[type[User]]:
    """Those that run and are not Tokenswarm's."""
    default = RunShape.user_classes.values()
    return [each for each in user_classes if each not in default and has_users(each)]


def _name_own_code(options: Namespace, own: Sequence[type[User]], own_shape: type[LoadTestShape] | None) -> None:
    """own: where no other users run."""
    vars(options)[OWN_USERS] = sorted(each.__name__ for each in own)
    vars(options)[OWN_SHAPE] = own_shape.__name__ if own_shape is not None else ""
    vars(options)[SHAPE_READS_USERS] = bool(own_shape and own_shape.use_common_options)


def own_code_facts(environment: Environment) -> dict[str, Any]:
    """What run.json records of the locustfile; empty where it has neither user classes nor a shape of its own."""
    shape = environment.shape_class
    if not isinstance(shape, RunShape) or not (shape.own_classes or shape.own_shape):
        return {}
    files = [Path(file) for file in environment.parsed_locustfiles or ()]
    digest = hashlib.sha256(b"\0".join(file.read_bytes() for file in files if file.is_file()))
    return {
        "locustfile": ",".join(map(str, files)),
        "users": sorted(each.__name__ for each in shape.own_classes),
        "shape": type(shape.own_shape).__name__ if shape.own_shape is not None else None,
        "sha256": digest.hexdigest(),
    }


def check_modes(environment: Environment, modes: Iterable[str]) -> None:
    """Whether the levels of these system-prompt modes have the users that they need. Raises OwnCodeError."""
    default = RunShape.user_classes
    if not any(each in environment.user_classes for each in default.values()):
        return
    missing = {default[mode].__name__ for mode in modes if default[mode] not in environment.user_classes}
    if missing:
        raise OwnCodeError(
            f"the plan needs {listed(sorted(missing))}, which the command line leaves out: name no user classes, "
            "and choose with --system-prompt off, on or both."
        )


def check_tags(environment: Environment) -> None:
    """Whether each class keeps a task, whatever tags the locustfile's code has set. Raises OwnCodeError."""
    _check_tags([each for each in environment.user_classes if has_users(each)], TagChoice.of(environment))


def check_shape(environment: Environment) -> None:
    """Whether the load still follows the shape of the run. Raises OwnCodeError."""
    if not _is_ours(environment.shape_class):
        raise OwnCodeError(f"{_classes([type(environment.shape_class).__name__], 'shape')}: {_OWN_SHAPE}")


def _check_derived(user_classes: Sequence[type[User]], default: Sequence[type[User]]) -> None:
    """Tokenswarm's users are set by options: a subclass would be another load than these say."""
    names = [
        each.__name__
        for each in user_classes
        if each not in default and issubclass(each, tuple(default)) and has_users(each)
    ]
    if names:
        it = "it" if len(names) == 1 else "them"
        raise OwnCodeError(
            f"{_classes(names)} of your locustfile cannot be derived from Tokenswarm's own users, which options set: "
            f"derive {it} from tokenswarm.StreamingUser (docs/python-api.md), or set prompts, requests and load by "
            "options (docs/options.md)."
        )


def _check_tags(user_classes: Sequence[type[User]], choice: TagChoice) -> None:
    if text := emptied_text([each for each in user_classes if each.run is User.run], choice):
        raise OwnCodeError(text)


def _check_wait_times(own: Sequence[type[User]]) -> None:
    """A user whose wait_time cannot be called ends with an error after its first task."""
    owners = [each for user in own for each in (user, *_task_sets(user.tasks))]
    unusable = [f"{each.__name__}.wait_time" for each in dict.fromkeys(owners) if not _is_method(each, "wait_time")]
    if unusable:
        raise OwnCodeError(
            f"{listed(unusable)} of your locustfile cannot be called as a method: set wait_time to a wait time "
            "of locust, like wait_time = constant(5) or between(1, 5), or define a method that returns seconds "
            "(docs/python-api.md)."
        )


def _task_sets(tasks: Iterable[Any], known: frozenset[Any] = frozenset()) -> Iterator[type[TaskSet]]:
    """Those among tasks, and among their own tasks."""
    for each in set(tasks) - known:
        if isinstance(each, type) and issubclass(each, TaskSet):
            yield each
            yield from _task_sets(each.tasks, known | {each})


def _is_method(owner: type, name: str) -> bool:
    """Whether an instance's attribute of this name can be called without arguments. True where that is not known."""
    attribute = inspect.getattr_static(owner, name)
    if isinstance(attribute, property):
        return True
    value = getattr(owner, name)
    is_uncalled = value in vars(locust.user.wait_time).values()  # `constant` in place of `constant(5)`
    if not callable(value) or isinstance(value, type) or is_uncalled:
        return False
    try:
        inspect.signature(value).bind(*[owner] * inspect.isfunction(attribute))
    except TypeError:
        return False
    except ValueError:  # code without a signature
        return True
    return True


def _own_shape(environment: Environment) -> LoadTestShape | None:
    shapes = [each for each in (environment.available_shape_classes or {}).values() if not _is_ours(each)]
    if len(shapes) > 1:
        names = [type(each).__name__ for each in shapes]
        raise OwnCodeError(
            f"{_classes(names, 'shape')} of your locustfile cannot be followed together: keep one of them."
        )
    return shapes[0] if shapes else None


def _classes(names: Sequence[str], what: str = "class") -> str:
    plural = {"class": "classes", "shape": "shapes"}[what]
    return f"the {what if len(names) == 1 else plural} {listed(names)}"


def _is_ours(shape: object) -> bool:
    return type(shape) is RunShape
