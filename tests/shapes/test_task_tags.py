"""Which tasks --tags and --exclude-tags leave: as Locust itself filters them, and before it does."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

import pytest
from locust import SequentialTaskSet, TaskSet, User, tag, task
from locust.env import Environment
from locust.user.task import filter_tasks_by_tags

from tokenswarm.shapes.task_tags import TagChoice, emptied_classes, emptied_text


def classes() -> list[type[User]]:
    """New ones, as Locust takes tasks away from them."""

    class Inner(TaskSet):
        @tag("inner", "slow")
        @task
        def ask(self) -> None: ...

    class Steps(SequentialTaskSet):
        tasks = [Inner]  # noqa: RUF012

    class Fast(User):
        @tag("fast")
        @task
        def ask(self) -> None: ...

        @task
        def untagged(self) -> None: ...

    class Nested(User):
        tasks = [Steps]  # noqa: RUF012

    class Plain(User):
        @task
        def ask(self) -> None: ...

    class Without(User):
        pass

    return [Fast, Nested, Plain, Without]


def choice(tags: list[str] | None, exclude: list[str] | None) -> TagChoice:
    return TagChoice.of_options(Namespace(tags=tags, exclude_tags=exclude))


@pytest.mark.parametrize("tags", [None, ["fast"], ["inner"], ["nope"], ["nope", "slow"]])
@pytest.mark.parametrize("exclude", [None, ["fast"], ["inner"], ["nope"], ["fast", "slow"]])
def test_the_classes_without_a_task_are_those_that_locust_would_leave_without(
    tags: list[str] | None, exclude: list[str] | None
) -> None:
    foreseen = [each.__name__ for each in emptied_classes(classes(), choice(tags, exclude))]
    filtered = classes()
    had = [each for each in filtered if each.tasks]
    for each in filtered:
        filter_tasks_by_tags(each, set(tags) if tags else None, set(exclude) if exclude else None)  # type: ignore[no-untyped-call]
    assert foreseen == [each.__name__ for each in had if not each.tasks]


def test_the_refusal_names_classes_options_and_what_runs_without() -> None:
    text = emptied_text(classes()[:3], choice(["inner"], ["slow"]))
    assert "Fast, Nested and Plain" in text and "--tags inner and --exclude-tags slow" in text
    assert "name only Fast and Plain" in emptied_text(classes()[:3], choice(None, ["slow"]))
    assert emptied_text(classes()[:1], choice(["fast"], None)) == ""


@pytest.mark.parametrize(
    ("of_code", "emptied", "source"), [([], True, "environment.tags"), (["fast"], False, ""), (None, True, "--tags x")]
)
def test_tags_that_code_sets_replace_those_of_the_command_line(of_code: Any, emptied: bool, source: str) -> None:
    environment = Environment(tags=of_code, parsed_options=Namespace(tags=["x"], exclude_tags=None))
    text = emptied_text(classes()[:1], TagChoice.of(environment))
    assert bool(text) == emptied
    assert source in text
