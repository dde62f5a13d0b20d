"""Reads a command line strictly: no abbreviations, the nearest option for an unknown one, and all errors at once."""

from __future__ import annotations

import re
import sys
from argparse import SUPPRESS, Action, ArgumentError, ArgumentParser, Namespace
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from tokenswarm.sanitize import API_KEY_VARIABLE, shown

_NOT_GIVEN: Any = object()
#: What options take, by the names of their types; those after the first two are Locust's.
_TYPES = {
    "int": "a whole number",
    "float": "a number",
    "timespan": "a time like 20s, 3m or 1h30m",
    "checker": "a number above 0",
    "positive_integer": "a whole number of at least 1",
}
#: What writes a file. Of other options the last value is taken, so that a script's defaults can be replaced; here the
#: first file would be missing.
_OUTPUTS = frozenset(
    ("--junit", "--markdown", "--html", "--csv", "--parquet", "--hlog", "--png", "--logfile", "--request-log")
)
#: Options of `tokenswarm run` that Locust's parser does not know, and what to give in their place.
_OF_RUN = {"--quiet": "give --loglevel WARNING", "--dry-run": "run tokenswarm run --dry-run with the same options"}
#: Names in full, and what options call them.
_LONG_NAMES = {"tensorrt": "trtllm", "tensorrt-llm": "trtllm"}
#: Options of other load tools, and what they are called here.
_OPTIONS_ELSEWHERE = (
    dict.fromkeys(("concurrency", "max-concurrency", "num-users", "connections"), "--users")
    | dict.fromkeys(("request-rate", "rps", "qps", "arrival-rate"), "--rate")
    | dict.fromkeys(("duration", "time", "max-seconds", "benchmark-duration"), "--run-time")
    | dict.fromkeys(("url", "base-url", "target", "server"), "--host")
    | dict.fromkeys(("num-prompts", "num-requests", "request-count", "max-requests"), "--requests")
    | {"timeout": "--request-timeout"}
    | dict.fromkeys(("output-dir", "result-dir", "output-path"), "--results")
)
#: How similar a word must be to one that is known, in difflib's ratio: `bogus` is not `gpus` (0.67). Options are many.
_SIMILAR_NAMES, _SIMILAR_OPTIONS = 0.7, 0.75
#: Options by which users look for the one of the key.
_KEY_OPTIONS = {"--api-key", "--key"}
#: What users write behind a switch that takes no value.
_BOOLEANS = {"yes", "no", "true", "false", "on", "off", "1", "0"}
#: A long option with one dash. A short option with its value behind it (`-u10`, `-t5m`) has digits.
_ONE_DASH = re.compile(r"-[a-z][a-z-]{2,}(=.*)?", re.DOTALL)


#: A server's, as users write it.
_ADDRESS = re.compile(r".*://.*|(\[[0-9a-f:]+\]|[\w.-]+):\d+(/.*)?|localhost(/.*)?|\d+(\.\d+){3}(/.*)?", re.IGNORECASE)

#: What begins so is a value and no option: `-1`, `-1s`.
NEGATIVE_VALUE = re.compile(r"-\d|-\.\d")


@dataclass(frozen=True, slots=True)
class Given:
    """What was read. sources: of each option that was given and not left at its default (by its name with
    underscores), where: `--levels`, `TOKENSWARM_LEVELS`, `levels in locust.conf`. errors: a sentence for each value
    that its option cannot hold or that is missing (the option then has its default), and for each unknown option.
    unread: the names of the options with such a value."""

    options: Namespace
    sources: Mapping[str, str]
    errors: list[str]
    unread: Collection[str] = ()


def read_options(parser: ArgumentParser, arguments: list[str] | None = None) -> Given:
    """Read `arguments` (None: the process's own), the environment and configuration files with a parser of Locust's.
    Ends the process where the parser does: for --help and --version."""
    parser.allow_abbrev = False
    # argparse has no public way to say which words with a dash are values.
    parser._negative_number_matcher = NEGATIVE_VALUE
    errors: list[str] = []
    arguments = _without_slips(parser, sys.argv[1:] if arguments is None else arguments, errors)
    arguments = joined(arguments, ("-H", "--host"))
    names = {action.dest for action in parser._actions if action.option_strings and action.dest != SUPPRESS}
    unread: set[str] = set()
    with tolerant(parser, errors, unread) as empty:
        marked, unknown = parser.parse_known_args(arguments, Namespace(**dict.fromkeys(names, _NOT_GIVEN)))
    settings = _other_settings(parser)
    errors += [empty_value(action, settings.get(action.dest, "")) for action in empty]
    given = {name for name, value in vars(marked).items() if value is not _NOT_GIVEN}
    with tolerant(parser, []):
        options, _ = parser.parse_known_args(arguments)
    leave_out_empty(empty, options)
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
    errors += [unknown_option(word, flags, named, _program(parser)) for word in unknown if word.startswith("-")]
    if unknown and not any(word.startswith("-") for word in unknown):
        errors.append(unexpected_words(unknown))
    return Given(options, sources, errors, frozenset(unread))


def _program(parser: ArgumentParser) -> str:
    """The command whose help has the parser's options."""
    if parser.prog == "tokenswarm":
        return "tokenswarm run" if "--headless" in sys.argv else "tokenswarm web"
    return parser.prog if parser.prog.startswith("tokenswarm ") else "locust"


def option_defaults(parser: ArgumentParser) -> dict[str, Any]:
    """The default of each option, by its name with underscores."""
    return {action.dest: action.default for action in parser._actions}


def _without_slips(parser: ArgumentParser, words: list[str], errors: list[str]) -> list[str]:
    """The words without those that argparse would take for something else, each of which adds a sentence to `errors`:
    a long option with one dash (it would be short options), a value of a switch (a yes or no behind it would be a user
    class of Locust's)."""
    flags = {flag: action for action in parser._actions for flag in action.option_strings}
    kept: list[str] = []
    for word in words:
        switch = flags.get(kept[-1]) if kept else None
        if _ONE_DASH.fullmatch(word) and word not in flags and nearest_options(f"-{word}".partition("=")[0], flags):
            near = nearest_options(f"-{word}".partition("=")[0], flags)
            errors.append(f"unknown option {word.partition('=')[0]}{did_you_mean(near)}")
        elif (valued := flags.get(word.partition("=")[0])) is not None and "=" in word and valued.nargs == 0:
            errors.append(f"{_flag(valued)} takes no value, got {word.partition('=')[2]!r}.")
        elif switch is not None and switch.nargs == 0 and word.lower() in _BOOLEANS:
            errors.append(f"{_flag(switch)} takes no value, got {word!r}.")
        else:
            kept.append(word)
    return kept


def joined(words: Sequence[str], flags: tuple[str, str]) -> list[str]:
    """The words with the values of an option that is given several times (flags: its short and its long name) in one,
    with commas between. Locust's own --host would take the last one and drop the others without a word."""
    short, long = flags
    kept: list[str] = []
    values: list[str] = []
    place = 0
    remaining = iter(words)
    for word in remaining:
        if word in flags:
            value = next(remaining, None)
        elif word.startswith(f"{long}="):
            value = word.removeprefix(f"{long}=")
        elif word.startswith(short) and not word.startswith("--"):
            value = word.removeprefix(short)
        else:
            kept.append(word)
            continue
        if value is None:
            return list(words)  # argparse says what is missing
        place = place if values else len(kept)
        values.append(value)
    if len(values) < 2 or not all(value.strip() for value in values):
        return list(words)  # an empty one is refused where it stands
    return [*kept[:place], long, ",".join(values), *kept[place:]]


def unknown_option(word: str, flags: Collection[str], where: str = "", program: str = "") -> str:
    """A sentence on an option that does not exist, with the nearest of `flags`, which do; where none is near, with the
    help of `program`, if it is given."""
    option = word.partition("=")[0]
    if (instead := _OF_RUN.get(option)) is not None and option not in flags and "--headless" in flags:
        return f"{option}{where} is an option of tokenswarm run; here, {instead}."
    near = nearest_options(option, flags)
    if not near and option.replace("_", "-") in _KEY_OPTIONS:
        return f"unknown option {option}{where}: the key is read from the variable {API_KEY_VARIABLE}."
    see = f": see {program} --help." if program else ""
    return f"unknown option {option}{where}{did_you_mean(near) or see}"


def unexpected_words(words: Sequence[str]) -> str:
    """A sentence on words that belong to no option of a run."""
    noun = "argument" if len(words) == 1 else "arguments"
    address = next(filter(_ADDRESS.fullmatch, words), None)
    advice = f"; did you mean -H {shown(address)}?" if address else ": give options and their values alone."
    return f"unexpected {noun} {', '.join(repr(shown(word)) for word in words)}{advice}"


def listed(words: Iterable[str]) -> str:
    """The words as a sentence has them: "a", "a and b", "a, b and c"."""
    *others, last = words
    return f"{', '.join(others)} and {last}" if others else last


def did_you_mean(near: Collection[str]) -> str:
    """The end of a sentence on a word that is not known: the nearest known ones, "" where none is near."""
    return f"; did you mean {' or '.join(near)}?" if near else ""


def not_one_of(option: str, choices: Iterable[str], value: object) -> str:
    """A sentence on a value that is none of the option's choices, with the most similar one."""
    known = list(choices)
    question = did_you_mean(nearest_names(str(value), known)) or "."
    return f"{option} takes one of {', '.join(known)}, got {value!r}{question}"


def nearest_names(word: str, names: Iterable[str]) -> list[str]:
    """The names that `word` may be a misspelling of, whatever its case: the most similar one, else those whose first
    part (`vllm` in `vllm-0.4.2`) is the most similar; empty if none is."""
    known = list(names)
    if (name := _LONG_NAMES.get(word.lower(), "")) in known:
        return [name]
    near = _most_similar(word.lower(), known, _SIMILAR_NAMES)
    if near:
        return near
    first_parts = _most_similar(word.lower(), {name.partition("-")[0] for name in known}, _SIMILAR_NAMES)
    return [name for name in known if name.partition("-")[0] in first_parts]


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
    """The flags that an abbreviation can stand for, else what other tools call so, else the one that is most like
    `option`, else the longest that it goes on from (`--model` for `--model-name`); empty if none is."""
    if option.startswith("--") and len(option) > 3 and (longer := [flag for flag in flags if flag.startswith(option)]):
        return longer
    if not option.startswith("--"):
        return []
    if (here := _OPTIONS_ELSEWHERE.get(option.strip("-").replace("_", "-"), "")) in flags:
        return [here]
    # Without the dashes, which would make any two short names similar.
    names = [flag.strip("-") for flag in flags if flag.startswith("--")]
    near = _most_similar(option.strip("-"), names, _SIMILAR_OPTIONS)
    shorter = [flag for flag in flags if flag.startswith("--") and option.startswith(f"{flag}-")]
    return [f"--{name}" for name in near] or sorted(shorter, key=len)[-1:]


def _most_similar(word: str, names: Collection[str], cutoff: float) -> list[str]:
    """The name that `word` is a misspelling of, or the one whose letters behind the first are in another order (`rnu`
    for `run`); empty if none is."""
    if near := get_close_matches(word, names, n=1, cutoff=cutoff):
        return near
    swapped = (name for name in names if sorted(name) == sorted(word) and name[:1] == word[:1])
    return list(swapped)[:1]


@contextmanager
def tolerant(parser: Any, errors: list[str], unread: set[str] | None = None) -> Iterator[list[Action]]:
    """Within, a value that its option cannot hold, and one that is missing, is an error in the list and not the
    process's end. argparse has no public way to go on after the first of them. unread: receives the names of options
    whose value cannot be held. Yields the options whose value is an empty text, which argparse takes for one, as far as
    it means nothing to them."""
    convert, check, match, values_of = (
        parser._get_value,
        parser._check_value,
        parser._match_argument,
        parser._get_values,
    )
    without_value: set[Action] = set()
    written: set[Action] = set()
    empty: list[Action] = []
    unread = set() if unread is None else unread

    def converted(action: Action, text: str) -> Any:
        try:
            return convert(action, text)
        except ArgumentError as error:
            errors.append(_bad_value(action, text, error))
            unread.add(action.dest)
            return action.default

    def checked(action: Action, value: Any) -> None:
        try:
            check(action, value)
        except ArgumentError as error:
            errors.append(_bad_value(action, value, error))
            unread.add(action.dest)

    def matched(action: Action, pattern: str) -> int:
        without_value.discard(action)
        try:
            return int(match(action, pattern))
        except ArgumentError:
            without_value.add(action)
            there = len(pattern) - len(pattern.lstrip("A"))  # of values that an option of several takes
            errors.append(
                f"{_flag(action)} takes {_value_name(action)}, got {f'{there} of them' if there else 'nothing'}."
            )
            return there

    def values(action: Action, texts: list[str]) -> Any:
        errors.extend(_second_output(action, written))
        if not all(text.strip() for text in texts) and not _may_be_empty(action) and action not in empty:
            empty.append(action)
        return SUPPRESS if action in without_value else values_of(action, texts)

    replaced = {"_get_value": converted, "_check_value": checked, "_match_argument": matched, "_get_values": values}
    vars(parser).update(replaced)
    try:
        yield empty
    finally:
        for name in replaced:
            delattr(parser, name)


def _second_output(action: Action, written: set[Action]) -> Iterator[str]:
    """An option is given; a sentence if it writes a file and is in `written` already."""
    if _OUTPUTS & set(action.option_strings):
        if action in written:
            yield f"{_flag(action)} is given more than once, and writes one file: give it once."
        written.add(action)


def leave_out_empty(empty: Collection[Action], read: Namespace) -> None:
    """Options whose value is an empty text, which is an error already, get their default: other checks would refuse the
    text once more."""
    for action in empty:
        if action.option_strings:
            setattr(read, action.dest, action.default)


def _may_be_empty(action: Action) -> bool:
    """Whether an empty text has a meaning, which the option's help says, or is refused by its type or its choices."""
    return action.choices is not None or action.type not in (None, str) or "empty" in (action.help or "").lower()


def empty_value(action: Action, place: str = "") -> str:
    """A sentence on an option whose value is an empty text, as that of a variable of a shell that is not set. place:
    where it stands, if not on the command line."""
    name = place or _flag(action) or _value_name(action)
    if action.dest == "host":
        return f"{name} is empty: give the server's address, like http://gpu:8000."
    return f"{name} is empty: give it a value{', or leave it out' if action.option_strings else ''}."


def _value_name(action: Action) -> str:
    """What to call the value that an option takes."""
    if (kind := _TYPES.get(getattr(action.type, "__name__", ""))) is not None:
        return kind
    names = action.metavar or "a value"
    return names if isinstance(names, str) else " and ".join(names)


def _bad_value(action: Action, value: Any, error: ArgumentError) -> str:
    option = _flag(action)
    if action.choices is not None:
        return not_one_of(option, map(str, action.choices), value)
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
