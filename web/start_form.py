"""The start form: its fields in groups, and the options that a filled form stands for."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from tokenswarm.command_line import Collected
from tokenswarm.web.form_words import in_form_words


class FormError(ValueError):
    """A field holds what its option cannot; the text names the option, what was expected and what came."""


class FormOption(msgspec.Struct, frozen=True):
    """An option as Locust's parser has it: its name with underscores, its value in the run to come."""

    name: str
    value: Any
    help: str
    choices: Sequence[str] | None = None
    suggestions: Sequence[str] = ()


class Field(msgspec.Struct, frozen=True):
    """An option as the form shows it. kind: text, number, choice or check; only_with: each --shape that uses it, none
    for all; only_if: another field and the value with which alone this one counts, "" for any value; None where it
    always counts."""

    name: str
    label: str
    kind: str
    value: str | bool
    help: str
    choices: Sequence[str]
    only_with: Sequence[str]
    suggestions: Sequence[str] = ()
    only_if: tuple[str, str] | None = None


class Group(msgspec.Struct, frozen=True):
    """Fields under one heading. folded: closed until it is clicked."""

    title: str
    fields: list[Field]
    folded: bool = False


#: Options of a replay.
_OF_TRACE = ("trace", "trace_speed", "trace_rate", "trace_window", "trace_sample", "trace_spread")
#: Options that most runs set, by group. All others are under _REST.
_GROUPS = {
    "Server": ("host", "engine", "model"),
    "Load": (
        *("shape", "find_capacity", "between", "precision", "levels", "user_count", "spawn_rate", "run_time"),
        *("rate", "ramp", "level_time", "arrivals", "session_rate", "rate_schedule", *_OF_TRACE, "max_in_flight"),
        *("system_prompt", "requests", "warm_up", "think_time"),
    ),
    "Prompts and answers": ("prompts", "prompt_tokens", "turns", "answers", "max_tokens", "ignore_eos"),
    "SLO and checks": ("slo", "fail_if", "pass_if"),
}
_REST = "More options"
_ONLY_WITH = {
    "levels": ("ladder",),
    "find_capacity": ("capacity",),
    "between": ("capacity",),
    "precision": ("capacity",),
    "ramp": ("ladder", "capacity"),
    "level_time": ("ladder", "open", "capacity"),
    "user_count": ("free",),
    "spawn_rate": ("free",),
    "run_time": ("free",),
    "rate": ("open",),
    "session_rate": ("open",),
    "arrivals": ("open", "capacity"),
    "rate_schedule": ("open",),
    "max_in_flight": ("open", "capacity"),
    "random_start": ("ladder", "free", "capacity"),
    "session_supply": ("ladder", "free", "capacity"),
    **dict.fromkeys((*_OF_TRACE, "trace_format", "trace_skip_bad"), ("open",)),
}
_ONLY_IF = {
    **dict.fromkeys((*_OF_TRACE[1:], "trace_format", "trace_skip_bad"), ("trace", "")),
    "ramp": ("find_capacity", "users"),
    "arrivals": ("find_capacity", "rate"),
    "max_in_flight": ("find_capacity", "rate"),
}
_LABELS = {
    "slo": "SLO",
    "user_count": "Users",
    "ignore_eos": "Ignore end of sequence",
    "slo_share": "SLO: share of requests",
    "tls_ca": "TLS authorities (CA)",
    "gpu_metrics_url": "GPU metrics",
    "gpus": "GPUs",
    "gpu_name": "GPU name",
    "gpu_price": "GPU price",
    "rate": "Rate (requests/s)",
    "session_rate": "Rate (sessions/s)",
    "max_in_flight": "Most in flight",
    "trace_rate": "Trace: mean rate",
    "trace_skip_bad": "Trace: leave out wrong rows",
}

#: Help where the command line's names options that the form does not have.
_HELP = {
    "shape": "ladder: the levels of users, one after the other; free: a number of users, their spawn rate and a run "
    "time; open: an open loop, requests at a rate, whatever became of the ones before; capacity: a search for the "
    "largest load within the SLO",
    "find_capacity": "users: a closed loop; rate: an open loop, requests at a rate; each probe takes the level time at "
    "most",
    "between": "the smallest and the largest load to probe, like 1:1000",
    "precision": "how close the largest load that passes and the smallest that fails shall be",
    "rate": "requests a second of each level, like 20 or 5,10,20; each level takes the level time",
}


def groups(options: Sequence[FormOption]) -> list[Group]:
    """Every option once, in the order of the groups."""
    labels = labels_of(options)
    by_name = {option.name: _field(option, labels) for option in options}
    shown = [Group(title, [by_name.pop(name) for name in names if name in by_name]) for title, names in _GROUPS.items()]
    return [*shown, Group(_REST, list(by_name.values()), folded=True)]


def labels_of(options: Sequence[FormOption]) -> dict[str, str]:
    """What the form calls each option, by the option's name with underscores."""
    names = [option.name for option in options]
    return {name: _LABELS.get(name, name.replace("_", " ").capitalize()) for name in names}


def _field(option: FormOption, labels: Mapping[str, str]) -> Field:
    kind = "text"
    if option.choices:
        kind = "choice"
    elif isinstance(option.value, bool):
        kind = "check"
    elif isinstance(option.value, int | float):
        kind = "number"
    return Field(
        name=option.name,
        label=labels[option.name],
        kind=kind,
        value=option.value if kind == "check" else "" if option.value is None else str(option.value),
        help=_sentence(in_form_words(_HELP.get(option.name, option.help), labels)),
        choices=option.choices or (),
        only_with=_ONLY_WITH.get(option.name, ()),
        suggestions=option.suggestions,
        only_if=_ONLY_IF.get(option.name),
    )


def _sentence(text: str) -> str:
    """The text with a capital letter, unless it begins with a value and a colon."""
    first = text.partition(" ")[0]
    return text if first.endswith(":") or not first.isalpha() else text[:1].upper() + text[1:]


def given(form: Mapping[str, str], options: Namespace, errors: Collected) -> Namespace:
    """The options as they would be with what the form holds, each of the type that it had: Locust converts them so when
    it starts a run. Where it could not, the option stays as it is, and a FormError is added to `errors`."""
    changed = dict(vars(options))
    for name, text in form.items():
        if name not in changed:
            continue
        value = changed[name]
        if isinstance(value, bool):
            changed[name] = text == "true"
        elif isinstance(value, int):
            number = errors.of(_whole, name, text)
            changed[name] = value if number is None else number
        elif isinstance(value, str):
            changed[name] = text
    return Namespace(**changed)


def _whole(name: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise FormError(f"--{name.replace('_', '-')} takes a whole number, got {text!r}.") from None
