"""The one Locust shape: follows the plan of the run."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from math import isfinite
from numbers import Real
from typing import Any

from locust import LoadTestShape, User
from locust.env import Environment
from locust.runners import MasterRunner

from tokenswarm.command_line import listed
from tokenswarm.shapes.error_place import error_with_place
from tokenswarm.shapes.not_created import class_not_created
from tokenswarm.shapes.plan import LoadPlan, PlannedLevel
from tokenswarm.shapes.sequencer import LevelSequencer, LoadTarget, first_target

_TICK_S = 1.0
logger = logging.getLogger(__name__)

#: Locust divides by the spawn rate.
_LEAST_RATE = 1e-3
#: (users, users a second) or (users, users a second, their classes), as Locust has it.
OwnTarget = tuple[int, float] | tuple[int, float, list[type[User]] | None]


class ShapeError(ValueError):
    """The shape of a locustfile raised an error, or said what is no number of users; the text says which."""


class RunShape(LoadTestShape):
    """Ladder or free shape, whichever the options of this run name, or the shape of a locustfile's own.

    user_classes: which of Tokenswarm's users runs under which system-prompt mode. own_classes: users of a locustfile's
    own, which run in all levels; own_shape: its shape, None where it has none. plan_run: returns the load of the run
    that is about to begin; raises ValueError when it has refused the run. on_unusable: called when the own shape fails
    before the run has begun, with the reason. on_level: called with each level but the
    first as it begins (the first begins with the run). level_done: whether all requests of the running level have
    ended, or its probe is decided. on_load_end: called when the own shape ends the load of the running level.
    following: the level after the plan's last one and each of its own, None where the run ends. on_end: called when
    the plan is done and every stream has ended; on_error: when the own shape fails, with the reason.
    """

    use_common_options = True
    user_classes: dict[str, type[User]]
    plan_run: Callable[[Environment], LoadPlan]
    on_unusable: Callable[[Environment, ValueError], None]
    on_level: Callable[[PlannedLevel], None]
    level_done: Callable[[], bool]
    on_load_end: Callable[[], None]
    following: Callable[[], PlannedLevel | None]
    on_end: Callable[[], None]
    on_error: Callable[[str], None]

    def __init__(self) -> None:
        super().__init__()
        self._plan: LoadPlan | None = None
        self._sequencer: LevelSequencer | None = None
        self._refused = self._is_done = False
        self.own_classes: tuple[type[User], ...] = ()
        self.own_shape: LoadTestShape | None = None
        #: What the own shape has last said, None where it has ended the load.
        self._own_target: OwnTarget | None = None
        #: Classes of which there was a user in the run that goes on, or was the last; and the most users at once.
        self._ran: set[str] = set()
        self._most_users = 0

    def begin(self) -> None:
        """The run that the last tick has planned begins now."""
        assert self._plan is not None
        self._ran, self._most_users = set(), 0
        if self.own_shape is not None:
            self.own_shape.reset_time()
        self._sequencer = LevelSequencer(self._plan, time.perf_counter(), type(self).following)

    def refuse(self) -> None:
        """The run cannot begin: the next tick ends it."""
        self._refused = True

    def end(self) -> None:
        """The run is over, however it ended."""
        self._plan = self._sequencer = None
        self._refused = self._is_done = False

    def tick(self) -> tuple[int, float, list[type[User]]] | None:
        """Called by Locust once a second. Before `begin`, which comes with Locust's test_start, the answer is the first
        level: test_start comes only after it."""
        if self._refused:
            return None
        assert self.runner is not None
        if (sequencer := self._sequencer) is None:
            return self._first_answer(self.runner.environment)
        self._await_load_end(sequencer)
        done = type(self).level_done()
        if self.own_shape is not None and sequencer.is_loading:
            try:
                self._own_target = self._tick_own(self.own_shape)
            except ShapeError as error:
                self._own_target = None
                type(self).on_error(str(error))
            if self._own_target is None and not done:
                type(self).on_load_end()
                done = True
        target = sequencer.advance(time.perf_counter(), self.runner.user_count, level_done=done)
        counts = (self.runner.user_classes_count, self.runner.target_user_classes_count)  # some may have ended already
        self._ran |= {name for count in counts for name, users in count.items() if users}
        self._most_users = max(self._most_users, *(sum(count.values()) for count in counts))
        if not self._is_done and (target is None or sequencer.is_plan_done):
            self._is_done = True
            if idle := self.idle_classes():
                logger.warning("%s", self.why_idle(idle))
            type(self).on_end()
        if target is None:
            return None
        if target.begins is not None:
            type(self).on_level(target.begins)
            sequencer.begin_level(time.perf_counter())
        return self._answer(target, self._own_target if sequencer.is_loading else None)

    def _first_answer(self, environment: Environment) -> tuple[int, float, list[type[User]]] | None:
        try:
            self._plan = plan = type(self).plan_run(environment)
        except ValueError:
            return None
        try:
            self._begin_own_shape()
            self._check_own_load()
        except ShapeError as error:
            type(self).on_unusable(environment, error)
            return None
        return self._answer(first_target(plan.levels[0]), self._own_target)

    def idle_classes(self) -> list[type[User]]:
        """Own classes of which the run has had no user. Users are shared out by the classes' fixed counts and weights:
        with few users, a class may have none."""
        assert self.runner is not None
        failed = {class_not_created(str(error["msg"])) for error in self.runner.exceptions.values()}
        return [each for each in self.own_classes if each.__name__ not in self._ran | failed]

    def why_idle(self, idle: Sequence[type[User]]) -> str:
        """A sentence on these of the idle classes, without its full stop."""
        names = sorted(each.__name__ for each in idle)
        of = f"the class {names[0]}" if len(names) == 1 else f"the classes {listed(names)}"
        fixed = {each.__name__: each.fixed_count for each in self.own_classes if each.fixed_count}
        if self._most_users > sum(fixed.values()) or not fixed:
            return f"No user of {of} ran: there were too few users for each class, by their weights"
        needed = sum(fixed.values()) + sum(not each.fixed_count for each in self.own_classes)
        counts = listed(f"{count} of {name}" for name, count in fixed.items())
        return (
            f"No user of {of} ran: users of a fixed_count come first ({counts}), and there were {self._most_users} at "
            f"most. Run {needed} or more (-u, --levels, or the shape of the locustfile), or give smaller counts"
        )

    def _begin_own_shape(self) -> None:
        if self.own_shape is not None:
            self.own_shape.runner = self.runner
            self.own_shape.reset_time()
            self._own_target = self._tick_own(self.own_shape)

    def _check_own_load(self) -> None:
        """Raises ShapeError."""
        if self.own_shape is not None and self._own_target is None:
            raise ShapeError(
                f"the shape {type(self.own_shape).__name__} has a tick() that returned None at once, which ends the "
                "load before a user has started: return (users, users a second) from the first call on, (0, 1) while "
                "nobody shall be there, and None only where the load ends (docs/python-api.md)."
            )

    def _tick_own(self, shape: LoadTestShape) -> OwnTarget | None:
        """What the own shape says; None where it ends the load. Locust would go on for ever with one that fails. Raises
        ShapeError."""
        name = type(shape).__name__
        try:
            target: Any = shape.tick()
        except Exception as error:  # code of a user's own
            logger.debug("The shape of the locustfile failed", exc_info=error)
            raise ShapeError(f"the shape {name} raised {error_with_place(error)}") from None
        if target is not None and not _is_target(target):
            raise ShapeError(
                f"the shape {name} has a tick() that returned {target!r}: it returns (users, users a second), the "
                "latter above 0, also with a list of user classes, or None where the load ends (docs/python-api.md)."
            )
        return None if target is None else (round(target[0]), *target[1:])

    def _await_load_end(self, sequencer: LevelSequencer) -> None:
        """Where the level's time is up before the next tick, wait for it: the load ends on time."""
        while 0.0 < (left_s := sequencer.load_ends_s - time.perf_counter()) < _TICK_S:
            time.sleep(left_s)

    def _answer(self, target: LoadTarget, own: OwnTarget | None) -> tuple[int, float, list[type[User]]]:
        """own: what the own shape says while its level loads."""
        classes = self._classes(target.system_prompt)
        if own is not None:
            users, rate, *chosen = own
            return users, rate, (chosen[0] if chosen and chosen[0] else classes)
        each = self._processes if target.of_each_process else 1
        return target.users * each, max(target.rate, _LEAST_RATE) * each, classes

    def _classes(self, system_prompt: str) -> list[type[User]]:
        """The users of a level in this mode."""
        default = self.user_classes[system_prompt]
        assert self.runner is not None
        is_there = not self.own_classes or default in self.runner.environment.user_classes
        return [*([default] if is_there else []), *self.own_classes]

    @property
    def _processes(self) -> int:
        """Those that send requests."""
        return max(1, self.runner.worker_count) if isinstance(self.runner, MasterRunner) else 1


def _is_target(target: Any) -> bool:
    """Whether it is what Locust takes from a shape."""
    if not isinstance(target, tuple | list) or len(target) not in (2, 3):
        return False
    users, rate = target[:2]
    are_numbers = isinstance(users, Real) and isinstance(rate, Real) and isfinite(users) and isfinite(rate)
    return are_numbers and users >= 0 and rate > 0 and (len(target) == 2 or isinstance(target[2], list | tuple | None))
