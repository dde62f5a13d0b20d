"""What a locustfile's own classes may have as tasks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from locust import TaskSet, User, task
from locust.user.task import DefaultTaskSet

from tokenswarm.command_line import OptionErrors
from tokenswarm.shapes.own_tasks import check_tasks


def ask(user: User) -> None: ...


async def ask_async(user: User) -> None: ...


def ask_in_steps(user: User) -> Iterator[None]:
    yield


class Inner(TaskSet):
    tasks = [ask, ask_async]  # noqa: RUF012


def user(name: str, base: type[User] = User, **attributes: Any) -> type[User]:
    return type(name, (base,), {"__module__": __name__, **attributes})


def refusal(*classes: type[User]) -> list[str]:
    with pytest.raises(OptionErrors) as refused:
        check_tasks(classes)
    return refused.value.sentences


def test_tasks_that_locust_runs_pass() -> None:
    check_tasks([user("Plain", tasks=[ask, DefaultTaskSet]), user("Weighed", tasks={ask: 3}), user("Own", run=ask)])
    check_tasks([user("Marked", go=task(ask)), user("Runs", run=ask, tasks=[ask_async])])


@pytest.mark.parametrize(
    ("tasks", "named"),
    [
        (["go"], "'go'"),
        ([ask, ask_async], "the task ask_async, defined with async def"),
        ([ask_in_steps], "the task ask_in_steps, which has a yield"),
        ([Inner], "the task ask_async, defined with async def"),
    ],
    ids=["a text", "async", "a generator", "async in a task set"],
)
def test_a_task_that_locust_cannot_run_is_refused_by_class_and_name(tasks: list[Any], named: str) -> None:
    (sentence,) = refusal(user("Mine", tasks=tasks), user("Other", tasks=[ask]))
    assert sentence.startswith("the class Mine of your locustfile (")
    assert named in sentence


def test_a_base_without_a_task_is_told_of_abstract() -> None:
    base = user("Base")
    alone, of_base = refusal(base, user("Mine", base, tasks=[ask]), user("Idle"))
    assert "the class Idle of your locustfile has no task" in alone and "abstract" not in alone
    assert "base of Mine" in of_base and "set abstract = True" in of_base
