"""Adds options to Locust's parser: each can also be given as an environment variable that is named after it."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace, _AppendAction
from collections.abc import Collection, Sequence
from enum import StrEnum
from typing import Any


def variable_of(flag: str) -> str:
    """The environment variable of an option: TOKENSWARM_MAX_TOKENS for --max-tokens."""
    return f"TOKENSWARM_{flag.removeprefix('--').replace('-', '_').upper()}"


class Repeated(_AppendAction):
    """An option that may be given several times: its values as a list. Unlike argparse's own action it also starts
    from a default that is no list, as the parser's mark for options that are not given."""

    def __call__(self, parser: ArgumentParser, namespace: Namespace, values: Any, option_string: Any = None) -> None:
        """Append one value."""
        before = getattr(namespace, self.dest, None)
        setattr(namespace, self.dest, [*before, values] if isinstance(before, list) else [values])


class PlainArguments:
    """Takes definitions of options for Locust's parser, and adds them to a parser of argparse's own, without variables
    and forms. left_out: options that have no effect there."""

    def __init__(self, parser: ArgumentParser, left_out: Collection[str] = ()) -> None:
        self._parser, self._left_out = parser, left_out

    def add_argument(self, *flags: str, env_var: str = "", include_in_web_ui: bool = True, **settings: Any) -> None:
        """Add one option."""
        if not set(flags) & set(self._left_out):
            self._parser.add_argument(*flags, **settings)


class OptionAdder:
    """Adds options to one parser. Every default has the type that the web form returns."""

    def __init__(self, parser: ArgumentParser | PlainArguments) -> None:
        self._add: Any = parser.add_argument  # Locust's own, which knows env_var and include_in_web_ui

    def __call__(
        self, flag: str, text: str, default: Any = "", *, aliases: Sequence[str] = (), **settings: Any
    ) -> None:
        """Add an option with its help text; aliases: further names of it; `settings` are those of argparse and
        Locust."""
        self._add(flag, *aliases, default=default, help=text, env_var=variable_of(flag), **settings)

    def switch(self, flag: str, text: str, **settings: Any) -> None:
        """Add an option without a value."""
        self(flag, text, default=False, action="store_true", **settings)

    def time(self, flag: str, text: str, default: str, **settings: Any) -> None:
        """Add an option that takes a time: `default` is one, such as 20s."""
        self(
            flag,
            f"{text}; like 500ms, 20s or 5m, a number alone is seconds",
            default=default,
            metavar="TIME",
            **settings,
        )

    def repeated(self, flag: str, text: str, **settings: Any) -> None:
        """Add an option that may be given several times."""
        self(flag, text, default=[], action=Repeated, **settings)

    def choice(self, flag: str, choices: type[StrEnum], default: StrEnum, text: str) -> None:
        """Add an option that takes one of the values of an enumeration."""
        self(flag, text, default=default.value, choices=[choice.value for choice in choices])
