"""Which tasks --tags and --exclude-tags leave to a user class, before Locust takes the others away."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from locust import User
from locust.env import Environment
from locust.user.task import is_markov_taskset

from tokenswarm.command_line import listed

_MOST_TAGS = 5


@dataclass(frozen=True, slots=True)
class TagChoice:
    """wanted, unwanted: None where all tasks, or none, are meant; sources: what set them, as messages name it."""

    wanted: frozenset[str] | None = None
    unwanted: frozenset[str] | None = None
    sources: tuple[str, ...] = ()

    @classmethod
    def of_options(cls, options: Any) -> TagChoice:
        """Of the command line, or a configuration file or variable of Locust's."""
        wanted, unwanted = (getattr(options, name, None) or None for name in ("tags", "exclude_tags"))
        named = (("--tags", wanted), ("--exclude-tags", unwanted))
        return cls(_set(wanted), _set(unwanted), tuple(f"{name} {_words(tags)}" for name, tags in named if tags))

    @classmethod
    def of(cls, environment: Environment) -> TagChoice:
        """As Locust reads them: what code of the locustfile sets replaces the options."""
        options = cls.of_options(environment.parsed_options)
        wanted, unwanted = environment.tags, environment.exclude_tags
        named = (("--tags ", "tags", wanted), ("--exclude-tags ", "exclude_tags", unwanted))
        sources = [
            f"environment.{name} of the locustfile"
            if tags is not None
            else next((source for source in options.sources if source.startswith(option)), "")
            for option, name, tags in named
        ]
        return cls(
            options.wanted if wanted is None else frozenset(wanted),
            options.unwanted if unwanted is None else frozenset(unwanted),
            tuple(filter(None, sources)),
        )

    def leaves(self, task: Any) -> bool:
        """Whether the task, or one of the tasks of a task set, stays."""
        if hasattr(task, "tasks"):
            return is_markov_taskset(task) or any(map(self.leaves, task.tasks))
        tags: frozenset[str] = getattr(task, "locust_tag_set", frozenset())
        return (self.wanted is None or bool(tags & self.wanted)) and not (self.unwanted and tags & self.unwanted)


def emptied_classes(user_classes: Sequence[type[User]], choice: TagChoice) -> list[type[User]]:
    """Those with tasks of which none stays."""
    return [each for each in user_classes if each.tasks and not any(map(choice.leaves, each.tasks))]


def emptied_text(user_classes: Sequence[type[User]], choice: TagChoice) -> str:
    """A sentence on those of the classes that keep no task; "" where there are none."""
    emptied = emptied_classes(user_classes, choice)
    if not emptied or not choice.sources:
        return ""
    names = sorted(each.__name__ for each in emptied)
    classes, it = ("the class", "its") if len(names) == 1 else ("the classes", "their")
    tags: list[str] = sorted({tag for each in emptied for tag in _tags_of(each.tasks)})
    have = (
        f"{it} tasks have the tags {', '.join(map(_word, tags[:_MOST_TAGS]))}" if tags else f"{it} tasks have no tags"
    )
    rest = sorted({each.__name__ for each in user_classes} - set(names))
    or_name = f", or name only {listed(rest)} on the command line" if rest else ""
    return (
        f"{classes} {listed(names)} of your locustfile would send no request, as {' and '.join(choice.sources)} "
        f"{'leave' if len(choice.sources) > 1 else 'leaves'} no task ({have}): leave out "
        f"{' and '.join(choice.sources)}{or_name}."
    )


def _tags_of(tasks: Iterable[Any]) -> Iterator[str]:
    for each in tasks:
        yield from _tags_of(each.tasks) if hasattr(each, "tasks") else getattr(each, "locust_tag_set", ())


def _set(tags: Iterable[str] | None) -> frozenset[str] | None:
    return None if tags is None else frozenset(tags)


def _words(tags: Iterable[str]) -> str:
    return " ".join(map(_word, tags))


def _word(tag: object) -> str:
    text = str(tag)
    return text if text.isprintable() and " " not in text else repr(text)
