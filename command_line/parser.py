"""Reads a command line strictly: no abbreviations, the nearest option for an unknown one, and all errors at once."""

from __future__ import annotations

from argparse import SUPPRESS, Action, ArgumentError, ArgumentParser, Namespace
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

_NOT_GIVEN: Any = object()
_TYPES = {"int": "a whole number", "float": "a number"}


@dataclass(frozen=True, slots=True)
class Given:
    """What was read. sources: of each option that was given and not left at its default (by its name with
    underscores), where: `--levels`, `TOKENSWARM_LEVELS`, `levels in locust.conf`. errors: a sentence for each value
    that its option cannot hold (the option then has its default), and for each unknown option."""

    options: Namespace
    sources: Mapping[str, str]
    errors: list[str]


def read_options(parser: ArgumentParser, arguments: list[str] | None = None) -> Given:
    """Read `arguments` (None: the process's own), the environment and configuration files with a parser of Locust's.
    Ends the process where the parser does: for --help and --version, and for an option without its value."""
    parser.allow_abbrev = False
    errors: list[str] = []
    names = {action.dest for action in parser._actions if action.option_strings and action.dest != SUPPRESS}
    with _tolerant(parser, errors):
        marked, unknown = parser.parse_known_args(arguments, Namespace(**dict.fromkeys(names, _NOT_GIVEN)))
    settings = _other_settings(parser)
    given = {name for name, value in vars(marked).items() if value is not _NOT_GIVEN}
    with _tolerant(parser, []):
        options, _ = parser.parse_known_args(arguments)
    sources = {
        action.dest: settings.get(action.dest) or _flag(action)
        for action in parser._actions
        if action.option_strings
        and action.dest in given
        # One from a file or the environment that says the default says nothing.
        and not (action.dest in settings and getattr(options, action.dest, None) == action.default)
    }
    flags = [flag for action in parser._actions for flag in action.option_strings]
    named = settings.get("", "")
    errors += [unknown_option(word, flags, named) for word in unknown if word.startswith("-")]
    if unknown and not any(word.startswith("-") for word in unknown):
        errors.append(f"unexpected argument {unknown[0]!r}")
    return Given(options, sources, errors)


def unknown_option(word: str, flags: Collection[str], where: str = "") -> str:
    """A sentence on an option that does not exist, with the nearest of `flags`, which do."""
    option = word.partition("=")[0]
    near = nearest_options(option, flags)
    question = f"; did you mean {' or '.join(near)}?" if near else ""
    return f"unknown option {option}{where}{question}"


def misspelled_variables(parser: ArgumentParser, environment: Mapping[str, str]) -> dict[str, str]:
    """Variables that no option of the parser has, by name, each with the one that it is most like. Those that are like
    none are others' (Kubernetes sets some that begin with the names of its services)."""
    known = [variable for action in parser._actions if (variable := getattr(action, "env_var", None))]
    prefix = "TOKENSWARM_"
    # A variable with an option beside it that goes on with _FILE holds the secret itself.
    known_secrets = {variable.removesuffix("_FILE") for variable in known if variable.endswith("_FILE")}
    unknown = [name for name in environment if name.startswith(prefix) and name not in {*known, *known_secrets}]
    near = ((name, match) for name in unknown for match in get_close_matches(name, known, n=1, cutoff=0.9))
    return dict(near)


def nearest_options(option: str, flags: Collection[str]) -> list[str]:
    """The flags that an abbreviation can stand for, else the one that is most like `option`; empty if none is."""
    if option.startswith("--") and len(option) > 3 and (longer := [flag for flag in flags if flag.startswith(option)]):
        return longer
    return get_close_matches(option, flags, n=1, cutoff=0.7)


@contextmanager
def _tolerant(parser: Any, errors: list[str]) -> Iterator[None]:
    """Within, a value that its option cannot hold is an error in the list and not the process's end. argparse has no
    public way to go on after the first such value."""
    convert, check = parser._get_value, parser._check_value

    def converted(action: Action, text: str) -> Any:
        try:
            return convert(action, text)
        except ArgumentError as error:
            errors.append(_bad_value(action, text, error))
            return action.default

    def checked(action: Action, value: Any) -> None:
        try:
            check(action, value)
        except ArgumentError as error:
            errors.append(_bad_value(action, value, error))

    parser._get_value, parser._check_value = converted, checked
    try:
        yield
    finally:
        parser._get_value, parser._check_value = convert, check


def _bad_value(action: Action, value: Any, error: ArgumentError) -> str:
    option = _flag(action)
    if action.choices is not None:
        return f"{option} takes one of {', '.join(map(str, action.choices))}, got {value!r}."
    if (kind := _TYPES.get(getattr(action.type, "__name__", ""))) is not None:
        return f"{option} takes {kind}, got {value!r}."
    return f"{option}: {error.message}, got {value!r}."


def _flag(action: Action) -> str:
    """The option's long name."""
    return next((flag for flag in action.option_strings if flag.startswith("--")), [*action.option_strings, ""][0])


def _other_settings(parser: Any) -> dict[str, str]:
    """Where options stand that are not on the command line, by their names; under "", the file that holds an unknown
    one. Empty for a parser that reads the command line alone."""
    if not hasattr(parser, "get_source_to_settings_dict"):
        return {}
    places: dict[str, str] = {}
    for source, settings in parser.get_source_to_settings_dict().items():
        kind, _, file = source.partition("|")
        for key, (action, _value) in settings.items():
            if kind == "environment_variables":
                places[action.dest] = key
            elif kind == "config_file" and action is not None:
                places[action.dest] = f"{key} in {Path(file).name}"
            elif kind == "config_file":
                places[""] = f" in {Path(file).name}"
    return places
