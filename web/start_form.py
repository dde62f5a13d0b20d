"""The start form: what can be set, grouped, and what came back of it. Knows no option by more than its name."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec


class FormError(ValueError):
    """A field holds what its option cannot; the text names the option, what was expected and what came."""


class Option(msgspec.Struct, frozen=True):
    """An option as Locust's parser has it: its name with underscores, its value in the run to come."""

    name: str
    value: Any
    help: str
    choices: Sequence[str] | None = None
    suggestions: Sequence[str] = ()


class Field(msgspec.Struct, frozen=True):
    """An option as the form shows it. kind: text, number, choice or check; only_with: the --shape that heeds it, "" for
    either."""

    name: str
    label: str
    kind: str
    value: str | bool
    help: str
    choices: Sequence[str]
    only_with: str
    suggestions: Sequence[str] = ()


class Group(msgspec.Struct, frozen=True):
    """Fields under one heading. folded: shown only when asked for."""

    title: str
    fields: list[Field]
    folded: bool = False


#: What most runs set. What is not named here is under _REST.
_GROUPS = {
    "Server": ("host", "engine", "model"),
    "Users": ("shape", "levels", "ramp", "level_time", "user_count", "spawn_rate", "run_time", "system_prompt"),
    "Questions and answers": ("prompts", "prompt_tokens", "max_tokens", "ignore_eos"),
    "What a good run is": ("slo", "fail_if", "pass_if"),
}
_REST = "More options"
_ONLY_WITH = {
    "levels": "ladder",
    "ramp": "ladder",
    "level_time": "ladder",
    "user_count": "free",
    "spawn_rate": "free",
    "run_time": "free",
}
_LABELS = {
    "slo": "Objectives",
    "user_count": "Users",
    "ignore_eos": "Ignore end of sequence",
    "slo_share": "Objectives: share of requests",
    "tls_ca": "TLS authorities (CA)",
    "gpu_metrics_url": "GPU metrics",
}


def groups(options: Sequence[Option]) -> list[Group]:
    """Every option once, in the order of the groups."""
    by_name = {option.name: option for option in options}
    shown = [
        Group(title, [_field(by_name.pop(name)) for name in names if name in by_name])
        for title, names in _GROUPS.items()
    ]
    return [*shown, Group(_REST, [_field(option) for option in by_name.values()], folded=True)]


def _field(option: Option) -> Field:
    kind = "text"
    if option.choices:
        kind = "choice"
    elif isinstance(option.value, bool):
        kind = "check"
    elif isinstance(option.value, int | float):
        kind = "number"
    return Field(
        name=option.name,
        label=_LABELS.get(option.name, option.name.replace("_", " ").capitalize()),
        kind=kind,
        value=option.value if kind == "check" else "" if option.value is None else str(option.value),
        help=_sentence(option.help),
        choices=option.choices or (),
        only_with=_ONLY_WITH.get(option.name, ""),
        suggestions=option.suggestions,
    )


def _sentence(text: str) -> str:
    """With a capital letter, unless it begins with a value and its colon."""
    first = text.partition(" ")[0]
    return text if first.endswith(":") or not first.isalpha() else text[:1].upper() + text[1:]


def given(form: Mapping[str, str], options: Namespace) -> Namespace:
    """The options as they would be with what the form holds, each of the type that it had: Locust converts them so when
    it starts a run. Raises FormError where it could not."""
    changed = dict(vars(options))
    for name, text in form.items():
        if name not in changed:
            continue
        value = changed[name]
        if isinstance(value, bool):
            changed[name] = text == "true"
        elif isinstance(value, int):
            changed[name] = _whole(name, text)
        elif isinstance(value, str):
            changed[name] = text
    return Namespace(**changed)


def _whole(name: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise FormError(f"--{name.replace('_', '-')} takes a whole number, got {text!r}.") from None
