"""A sweep as a file describes it: TOML, or the same as JSON."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from tokenswarm.command_line import collect_errors, did_you_mean, nearest_names
from tokenswarm.sanitize import UnusableFile, json_error_text, read_text, shown, shown_values
from tokenswarm.sweep.sweep_plan import REPEATED, Axis, OptionValue, SweepError, SweepPlan, axis_of

_MOST_BYTES = 2**20
_KEYS = ("name", "repeat", "options", "matrix", "exclude", "include")


def read_sweep(path: Path) -> SweepPlan:
    """The plan that a file describes. Raises SweepError, OptionErrors."""
    try:
        text = read_text(path, _MOST_BYTES)
        document = msgspec.json.decode(text) if path.suffix == ".json" else tomllib.loads(text)
    except UnusableFile as error:
        raise SweepError(f"the file {path} {error}.") from None
    except (tomllib.TOMLDecodeError, msgspec.DecodeError, RecursionError) as error:
        reason = json_error_text(error) if path.suffix == ".json" else str(error)
        kind = "JSON" if path.suffix == ".json" else "TOML"
        raise SweepError(f"{path} is not {kind} ({shown(reason)}).") from None
    if not isinstance(document, dict):
        raise SweepError(f"{path}: expected the keys {', '.join(_KEYS)}.")
    return _plan_of(document, str(path))


def _plan_of(document: Mapping[str, Any], place: str) -> SweepPlan:
    with collect_errors() as errors:
        for key in document:
            if key not in _KEYS:
                near = did_you_mean(nearest_names(key, _KEYS)) or f"; it takes {', '.join(_KEYS)}."
                errors.add(SweepError(f"{place}: unknown key {shown(key)!r}{near}"))
        repeat, name = document.get("repeat", 1), document.get("name", "")
        if not isinstance(repeat, int) or isinstance(repeat, bool):
            errors.add(SweepError(f"{place}: repeat takes a whole number, got {shown_values(repeat)!r}."))
        if not isinstance(name, str):
            errors.add(SweepError(f"{place}: name takes a text, got {shown_values(name)!r}."))
        fixed = errors.of(_options, document.get("options", {}), f"{place}: options")
        axes = errors.of(_axes, document.get("matrix", {}), f"{place}: matrix")
        excluded, included = (errors.of(_several, document.get(key, []), f"{place}: {key}") for key in _KEYS[4:])
    return SweepPlan(name, repeat, fixed, (), axes, excluded, included)


def _several(rows: object, place: str) -> tuple[Mapping[str, OptionValue], ...]:
    if not isinstance(rows, list) or not all(isinstance(row, dict) and row for row in rows):
        raise SweepError(f"{place} takes a list of tables, each with options and a value for each.")
    with collect_errors() as errors:
        return tuple([errors.of(_options, row, place) for row in rows])


def _axes(matrix: object, place: str) -> tuple[Axis, ...]:
    if not isinstance(matrix, dict):
        raise SweepError(f"{place} takes options, each with a list of values.")
    with collect_errors() as errors:
        return tuple([errors.of(_axis, option, values, place) for option, values in matrix.items()])


def _axis(option: str, values: object, place: str) -> Axis:
    if not isinstance(values, list) or not values:
        raise SweepError(f"{place}.{shown(option)} takes a list of values, got {shown_values(values)!r}.")
    return axis_of(_name(option), [_value(_name(option), value, place) for value in values])


def _options(options: object, place: str) -> dict[str, OptionValue]:
    if not isinstance(options, dict):
        raise SweepError(f"{place} takes a table of options.")
    with collect_errors() as errors:
        return {_name(option): errors.of(_value, _name(option), value, place) for option, value in options.items()}


def _name(option: str) -> str:
    """Without dashes in front, whether dashes or underscores are inside."""
    return option.removeprefix("--").replace("_", "-")


def _value(option: str, value: object, place: str) -> OptionValue:
    """A list is one value with commas between (of an option that may be given several times: its values)."""
    if isinstance(value, bool | str):
        return value
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, dict):  # of --body
        return msgspec.json.encode(value).decode()
    if isinstance(value, Sequence) and all(isinstance(each, str | int | float) for each in value):
        texts = tuple(map(str, value))
        return texts if option in REPEATED else ",".join(texts)
    raise SweepError(f"{place}.{shown(option)} takes a text, a number, true or false, got {shown_values(value)!r}.")
