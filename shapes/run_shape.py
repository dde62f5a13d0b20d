"""The one Locust shape: takes the plan that the options make and walks it."""

from __future__ import annotations

import logging
import time
from argparse import Namespace
from collections.abc import Callable

from locust import LoadTestShape, User

from shapes.options import pauses_of, plan_of
from shapes.plan import Level, PlanError
from shapes.walk import Target, Walk

logger = logging.getLogger(__name__)


class RunShape(LoadTestShape):
    """Ladder or free shape, whichever the options of this run name.

    user_classes: which user runs under which system-prompt mode. on_level: told of each level but the first as it
    begins (the first begins with the run). on_end: told when the plan is done and every stream has ended.
    """

    use_common_options = True
    user_classes: dict[str, type[User]]
    on_level: Callable[[Level], None]
    on_end: Callable[[], None]

    def __init__(self) -> None:
        super().__init__()
        self._walk: Walk | None = None
        self._refused = False

    def begin(self) -> tuple[Level, ...]:
        """A run begins now, with the options as they stand. Raises PlanError."""
        options = self._options
        plan = plan_of(options)
        drain_s, settle_s = pauses_of(options)
        self._walk = Walk(plan, drain_s, settle_s, time.perf_counter())
        return plan

    def refuse(self) -> None:
        """The run cannot begin: the next tick ends it."""
        self._refused = True

    def end(self) -> None:
        """The run is over, however it ended."""
        self._walk = None
        self._refused = False

    def tick(self) -> tuple[int, float, list[type[User]]] | None:
        """Locust asks once a second. Before `begin`, which comes with Locust's test_start, the answer is the first
        level: test_start comes only after it."""
        if self._refused:
            return None
        if self._walk is None:
            try:
                first = plan_of(self._options)[0]
            except PlanError as error:
                logger.error("%s", error)
                return None
            return self._answer(Target(first.users, first.spawn_rate, first.system_prompt))
        assert self.runner is not None
        target = self._walk.advance(time.perf_counter(), self.runner.user_count)
        if target is None:
            type(self).on_end()
            return None
        if target.begins is not None:
            type(self).on_level(target.begins)
        return self._answer(target)

    def _answer(self, target: Target) -> tuple[int, float, list[type[User]]]:
        return target.users, target.rate, [self.user_classes[target.system_prompt]]

    @property
    def _options(self) -> Namespace:
        assert self.runner is not None
        options: Namespace | None = self.runner.environment.parsed_options
        assert options is not None
        return options
