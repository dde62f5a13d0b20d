"""What a person calls a run: its name and its tags, as options give them and as run.json holds them. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from tokenswarm.sanitize import visible

#: Characters that a name, a tag's key and a tag's value have at most.
_MOST_NAME, _MOST_KEY, _MOST_VALUE = 100, 60, 200
_KEY = re.compile(r"[A-Za-z][\w.-]*", re.ASCII)


class LabelError(ValueError):
    """A name or a tag that cannot be used; the text says what was expected and what came."""


def parse_name(text: str, option: str = "--name") -> str:
    """The name of a run without spaces at its ends, "" for none. Raises LabelError for one of several lines and for one
    that is too long."""
    name = text.strip()
    if visible(name) != name:
        raise LabelError(f"{option} takes one line of text, got {visible(name)[:_MOST_NAME]!r}.")
    if len(name) > _MOST_NAME:
        raise LabelError(f"{option} takes at most {_MOST_NAME} characters, got {len(name)}.")
    return name


def parse_tags(texts: Iterable[str], option: str = "--tag") -> dict[str, str]:
    """The tags of a run, each given as KEY=VALUE, by key in the order given. Raises LabelError for one of another form,
    and for a key with two values."""
    tags: dict[str, str] = {}
    for text in texts:
        key, equals, value = (part.strip() for part in text.partition("="))
        if not equals or not _KEY.fullmatch(key) or len(key) > _MOST_KEY:
            raise LabelError(
                f"{option} takes KEY=VALUE, like gpu=H100; the key is of letters, digits, '.', '_' and '-' and begins "
                f"with a letter; got {visible(text)!r}."
            )
        if not value or len(value) > _MOST_VALUE or visible(value) != value:
            raise LabelError(f"{option} {key} takes a value of 1 to {_MOST_VALUE} characters, got {visible(value)!r}.")
        if tags.get(key, value) != value:
            raise LabelError(f"{option} {key} has two values, {tags[key]!r} and {value!r}: give one.")
        tags[key] = value
    return tags


def tags_text(tags: Mapping[str, str]) -> str:
    """`gpu=H100 build=12`."""
    return " ".join(f"{key}={value}" for key, value in tags.items())
