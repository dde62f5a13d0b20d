"""The Locust shape around the walk, with a stub of a runner and a clock of its own."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator
from math import inf
from types import SimpleNamespace
from typing import Any

import pytest
from locust import LoadTestShape, User

import tokenswarm.shapes.run_shape
from tokenswarm.shapes.plan import LoadPlan, PlannedLevel
from tokenswarm.shapes.run_shape import RunShape
from tokenswarm.shapes.shape_options import load_plan_of


class PlainUser(User):
    abstract = True


class PrimedUser(User):
    abstract = True


class Clock:
    """Stands for the time module in tokenswarm.shapes.run_shape."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def perf_counter(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


class Stand:
    """A shape of two levels on a runner that has as many users as it is told."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.begun: list[PlannedLevel] = []
        self.level_done = False
        self.following: Iterator[PlannedLevel] = iter(())
        self.ends = self.load_ends = 0
        self.plan: tuple[PlannedLevel, ...] = ()
        self.options = Namespace(
            shape="ladder",
            levels="10,500",
            system_prompt="off",
            ramp="2s",
            level_time="12s",
            drain_timeout="60s",
            settle="1s",
            num_users=None,
            spawn_rate=None,
            run_time=None,
            think_time="",
            requests=0,
            warm_up="",
            wait_after_failure="1s",
            honour_retry_after=False,
            random_start=False,
            find_capacity="off",
        )
        self.runner = SimpleNamespace(
            environment=SimpleNamespace(parsed_options=self.options),
            exceptions={},
            user_count=0,
            user_classes_count={},
            target_user_classes_count={},
        )
        stand = self

        class Shape(RunShape):
            user_classes = {"off": PlainUser, "on": PrimedUser}  # noqa: RUF012

            @staticmethod
            def plan_run(environment: Any) -> LoadPlan:
                plan = load_plan_of(environment.parsed_options)
                stand.plan = plan.levels
                return plan

            on_level = staticmethod(self.begun.append)
            level_done = staticmethod(lambda: stand.level_done)
            following = staticmethod(lambda: next(stand.following, None))

            @staticmethod
            def on_load_end() -> None:
                stand.load_ends += 1

            @staticmethod
            def on_end() -> None:
                stand.ends += 1

        self.shape = Shape()
        self.shape.runner = self.runner  # type: ignore[assignment]

    def begin(self) -> tuple[PlannedLevel, ...]:
        """Locust's order: the first tick, and then test_start."""
        self.tick(0.0, 0)
        self.shape.begin()
        return self.plan

    def tick(self, run_s: float, users: int) -> Any:
        self.clock.now_s = 1000.0 + run_s
        self.runner.user_count = users
        return self.shape.tick()


@pytest.fixture
def stand(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stand]:
    clock = Clock()
    monkeypatch.setattr(tokenswarm.shapes.run_shape, "time", clock)
    return Stand(clock)  # type: ignore[return-value]


def test_before_the_run_begins_the_answer_is_its_first_level(stand: Stand) -> None:
    """Locust asks before it fires test_start: only an answer brings that about."""
    assert stand.tick(0.0, 0) == (10, 5.0, [PlainUser])
    assert (stand.begun, stand.ends) == ([], 0)


def test_in_an_open_loop_each_worker_has_the_one_user_that_sends(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    vars(stand.options).update(
        shape="open",
        rate="5",
        rate_schedule="",
        session_rate="",
        trace="",
        arrivals="poisson",
        burstiness=0.0,
        seed="0",
        max_in_flight=0,
    )
    assert stand.tick(0.0, 0) == (1, 1.0, [PlainUser])
    monkeypatch.setattr(tokenswarm.shapes.run_shape, "MasterRunner", SimpleNamespace)
    stand.runner.worker_count = 4
    stand.begin()
    assert stand.tick(1.0, 4) == (4, 4.0, [PlainUser])
    stand.runner.worker_count = 3
    assert stand.tick(2.0, 3) == (3, 3.0, [PlainUser])
    assert stand.tick(13.6, 3)[0] == 0


def test_the_answer_does_not_change_when_the_run_begins(stand: Stand) -> None:
    """Locust starts again whenever it changes."""
    before = stand.tick(0.0, 0)
    stand.shape.begin()
    assert stand.tick(0.5, 3) == before


def test_a_run_is_timed_from_its_beginning(stand: Stand) -> None:
    stand.tick(0.0, 0)
    stand.clock.now_s = 1007.0
    stand.shape.begin()
    plan = stand.plan
    assert [(level.users, level.level_time_s) for level in plan] == [(10, 12.0), (500, 12.0)]
    assert stand.tick(18.0, 10) == (10, 5.0, [PlainUser])
    assert stand.tick(19.0, 10) == (0, 10.0, [PlainUser])


class OwnUser(User):
    abstract = True


class OtherUser(User):
    abstract = True


class Steps(LoadTestShape):
    """Two users for three seconds, then five of one class for two."""

    def __init__(self) -> None:
        super().__init__()
        self.elapsed_s: list[float] = []

    def get_run_time(self) -> float:
        return self.elapsed_s.pop(0)

    def tick(self) -> Any:
        elapsed_s = self.get_run_time()
        if elapsed_s < 3:
            return 2, 1.5
        return (5, 4, [OwnUser]) if elapsed_s < 5 else None


def test_own_users_run_in_every_level_beside_ours_or_alone(stand: Stand) -> None:
    stand.shape.own_classes = (OwnUser, OtherUser)
    stand.runner.environment.user_classes = [OwnUser, OtherUser]
    assert stand.begin() and stand.tick(1.0, 10) == (10, 5.0, [OwnUser, OtherUser])
    stand.runner.environment.user_classes = [PlainUser, OwnUser, OtherUser]
    assert stand.tick(2.0, 10) == (10, 5.0, [PlainUser, OwnUser, OtherUser])


def test_an_own_shape_says_how_many_users_there_are_and_when_the_load_ends(stand: Stand) -> None:
    steps = Steps()
    stand.shape.own_shape = steps
    stand.shape.own_classes = (OwnUser,)
    stand.runner.environment.user_classes = [OwnUser]
    vars(stand.options).update(own_shape="Steps", own_users=["OwnUser"], system_prompt="auto")
    steps.elapsed_s = [0.0, 1.0, 3.5, 5.5]
    (level,) = stand.begin()
    assert (level.name, level.own_shape, level.own_users, level.level_time_s) == ("shape Steps", True, True, inf)
    assert steps.runner is stand.runner
    assert stand.tick(1.0, 2) == (2, 1.5, [OwnUser])
    assert stand.tick(3.5, 2) == (5, 4, [OwnUser])
    assert stand.tick(5.5, 5) == (0, 5.0, [OwnUser])  # the drain
    assert stand.load_ends == 1
    assert stand.tick(6.0, 1) == (0, 5.0, [OwnUser])
    assert stand.ends == 0
    stand.tick(7.0, 0)
    assert stand.tick(8.0, 0) is None
    assert (stand.load_ends, stand.ends) == (1, 1)


def test_own_classes_without_any_user_are_named_once(stand: Stand, caplog: pytest.LogCaptureFixture) -> None:
    stand.shape.own_classes = (OwnUser, OtherUser)
    stand.runner.environment.user_classes = [OwnUser, OtherUser]
    vars(stand.options).update(levels="1")
    stand.begin()
    stand.runner.user_classes_count = {"OwnUser": 1, "OtherUser": 0}
    stand.tick(12.0, 1)
    stand.runner.user_classes_count = {"OwnUser": 0, "OtherUser": 0}
    stand.tick(13.0, 0)
    stand.tick(14.5, 0)
    (record,) = [record for record in caplog.records if record.levelname == "WARNING"]
    assert "OtherUser" in record.getMessage()
    assert "OwnUser" not in record.getMessage()


def test_a_class_whose_users_ended_before_the_first_tick_did_run(
    stand: Stand, caplog: pytest.LogCaptureFixture
) -> None:
    stand.shape.own_classes = (OwnUser,)
    stand.runner.environment.user_classes = [OwnUser]
    vars(stand.options).update(levels="1")
    stand.begin()
    stand.runner.target_user_classes_count = {"OwnUser": 1}
    for run_s in (12.0, 13.0, 14.5):
        stand.tick(run_s, 0)
    assert not [record for record in caplog.records if record.levelname == "WARNING"]


class Broken(Steps):
    def tick(self) -> Any:
        return super().tick() if self.get_run_time() < 2 else 1 / 0


def test_an_own_shape_that_fails_ends_the_load_with_its_reason(stand: Stand) -> None:
    reasons: list[str] = []
    stand.shape.own_shape = broken = Broken()
    type(stand.shape).on_error = staticmethod(reasons.append)  # type: ignore[method-assign]
    vars(stand.options).update(own_shape="Broken")
    broken.elapsed_s = [0.0, 0.0, 3.0]
    stand.begin()
    assert stand.tick(3.0, 2)[0] == 0
    (reason,) = reasons
    assert reason.startswith("the shape Broken raised ZeroDivisionError: division by zero (test_run_shape.py, line ")
    assert reason.endswith(", in tick)")
    stand.tick(4.0, 0)
    assert stand.tick(5.0, 0) is None


@pytest.mark.parametrize("answer", ["3", 3, (3,), ("3", 1), (float("nan"), 1), (3, 0), (-1, 1), (3, 1, 5), (3, None)])
def test_a_shape_that_says_no_number_of_users_is_refused_before_the_run(answer: Any, stand: Stand) -> None:
    refused: list[str] = []
    stand.shape.own_shape = shape = Broken()
    shape.tick = lambda: answer  # type: ignore[method-assign]
    vars(stand.options).update(own_shape="Broken")
    type(stand.shape).on_unusable = staticmethod(lambda _, error: refused.append(str(error)))  # type: ignore[method-assign]
    assert stand.tick(0.0, 0) is None
    assert refused[0].startswith(f"the shape Broken has a tick() that returned {answer!r}: it returns (users,")


def test_a_shape_that_ends_the_load_at_once_is_refused_before_the_run(stand: Stand) -> None:
    refused: list[str] = []
    stand.shape.own_shape = steps = Steps()
    steps.elapsed_s = [9.0]
    vars(stand.options).update(own_shape="Steps")
    type(stand.shape).on_unusable = staticmethod(lambda _, error: refused.append(str(error)))  # type: ignore[method-assign]
    assert stand.tick(0.0, 0) is None
    assert refused[0].startswith("the shape Steps has a tick() that returned None at once")


def test_a_level_ends_on_time_between_two_ticks(stand: Stand) -> None:
    stand.begin()
    assert stand.tick(10.9, 10) == (10, 5.0, [PlainUser])
    assert stand.clock.now_s == 1010.9
    assert stand.tick(11.3, 10) == (0, 10.0, [PlainUser])
    assert stand.clock.now_s == pytest.approx(1012.0)


def test_a_walk_tells_of_each_later_level_and_of_the_end_once(stand: Stand) -> None:
    plan = stand.begin()
    assert stand.tick(12.0, 10) == (0, 10.0, [PlainUser])
    assert stand.tick(13.0, 0) == (0, 10.0, [PlainUser])
    assert stand.begun == []
    assert stand.tick(14.0, 0) == (500, 250.0, [PlainUser])
    assert stand.begun == [plan[1]]
    assert stand.tick(15.0, 100) == (500, 250.0, [PlainUser])
    assert stand.tick(26.0, 500) == (0, 500.0, [PlainUser])
    assert stand.ends == 0
    assert stand.tick(27.0, 0) == (0, 500.0, [PlainUser])
    assert stand.ends == 1  # an interrupt from now on cuts nothing
    assert stand.tick(28.0, 0) is None
    assert (stand.begun, stand.ends) == ([plan[1]], 1)


def test_a_level_that_takes_time_to_begin_lasts_as_long_as_others(stand: Stand) -> None:
    """As one does whose server's prefix cache is flushed before it."""
    type(stand.shape).on_level = staticmethod(lambda _: stand.clock.sleep(5.0))
    stand.begin()
    for run_s, users in ((12.0, 10), (13.0, 0), (14.0, 0)):
        stand.tick(run_s, users)
    assert stand.tick(29.9, 500) == (500, 250.0, [PlainUser])
    assert stand.tick(31.0, 500) == (0, 500.0, [PlainUser])


def test_a_run_may_end_while_a_level_begins(stand: Stand) -> None:
    type(stand.shape).on_level = staticmethod(lambda _: stand.shape.end())
    stand.begin()
    for run_s, users in ((12.0, 10), (13.0, 0)):
        stand.tick(run_s, users)
    assert stand.tick(14.0, 0) == (500, 250.0, [PlainUser])


def test_users_that_never_go_hold_up_the_run_no_longer_than_their_drain_and_ten_seconds(stand: Stand) -> None:
    stand.options.drain_timeout = "20s"
    plan = stand.begin()
    assert stand.tick(12.0, 10) == (0, 10.0, [PlainUser])
    assert stand.tick(41.9, 4) == (0, 10.0, [PlainUser])
    assert stand.tick(42.0, 4) == (0, 10.0, [PlainUser])
    assert stand.begun == []
    assert stand.tick(43.0, 4) == (500, 250.0, [PlainUser])
    assert stand.begun == [plan[1]]


def test_a_large_level_is_reached_within_its_ramp_too(stand: Stand) -> None:
    """500 users within 2 s: Locust warns above 100 a second, and spawns them as fast as it is told."""
    stand.options.levels = "500"
    assert stand.tick(0.0, 0) == (500, 250.0, [PlainUser])
    stand.begin()
    assert stand.tick(1.0, 0) == (500, 250.0, [PlainUser])
    assert stand.tick(12.0, 500) == (0, 500.0, [PlainUser])


def test_each_mode_has_its_own_users(stand: Stand) -> None:
    stand.options.levels, stand.options.system_prompt = "10", "both"
    stand.begin()
    assert stand.tick(1.0, 10) == (10, 5.0, [PlainUser])
    stand.tick(12.0, 10)
    stand.tick(13.0, 0)
    assert stand.tick(14.0, 0) == (10, 5.0, [PrimedUser])


def test_a_run_that_is_refused_ends_with_the_next_tick(stand: Stand) -> None:
    stand.tick(0.0, 0)
    stand.shape.refuse()
    assert stand.tick(1.0, 0) is None
    assert stand.ends == 0


def test_after_a_refusal_another_run_can_begin(stand: Stand) -> None:
    stand.shape.refuse()
    stand.shape.end()
    assert stand.tick(0.0, 0) == (10, 5.0, [PlainUser])


def test_a_run_that_ended_early_leaves_nothing_to_the_next(stand: Stand) -> None:
    stand.begin()
    stand.tick(12.0, 10)
    stand.shape.end()
    assert stand.tick(100.0, 0) == (10, 5.0, [PlainUser])
    stand.shape.begin()
    assert stand.tick(111.0, 10) == (10, 5.0, [PlainUser])


def test_options_are_read_once_when_the_run_begins(stand: Stand) -> None:
    """The web page can change them while it goes on."""
    stand.tick(0.0, 0)
    stand.options.levels, stand.options.level_time = "7", "5s"
    stand.shape.begin()
    assert stand.tick(11.0, 10) == (10, 5.0, [PlainUser])


@pytest.mark.parametrize(("option", "value"), [("levels", "many"), ("drain_timeout", "0"), ("settle", "soon")])
def test_a_plan_that_cannot_be_made_begins_no_run(option: str, value: str, stand: Stand) -> None:
    setattr(stand.options, option, value)
    assert stand.tick(0.0, 0) is None


def test_locust_would_take_the_shape_as_it_is(stand: Stand) -> None:
    assert isinstance(stand.shape, LoadTestShape)
    assert stand.shape.use_common_options
    assert not RunShape.abstract


def test_a_level_whose_requests_have_ended_sends_its_users_home(stand: Stand) -> None:
    stand.begin()
    assert stand.tick(1.0, 10)[0] == 10
    stand.level_done = True
    assert stand.tick(2.0, 10)[0] == 0
