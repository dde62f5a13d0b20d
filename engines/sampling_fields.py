"""The sampling options that all engines are given by one name, and the fields in which each engine takes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from tokenswarm.engines.errors import EngineError


@dataclass(frozen=True, slots=True)
class Sampling:
    """What requests set of the choice of tokens; None: nothing, so that the server's defaults apply."""

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop: tuple[str, ...] | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    seed: int | None = None


#: The option that sets each.
SAMPLING_FLAGS: Mapping[str, str] = {
    field.name: "--request-seed" if field.name == "seed" else f"--{field.name.replace('_', '-')}"
    for field in fields(Sampling)
}
#: In OpenAI's protocol each has a field of its own name.
OPENAI_NAMES: Mapping[str, str] = {name: name for name in SAMPLING_FLAGS}


def names_in(place: str, *without: str) -> dict[str, str]:
    """As OpenAI's names, inside the object of that name; `without`: those that it does not have."""
    return {name: f"{place}.{name}" for name in OPENAI_NAMES if name not in without}


def fields_of(sampling: Sampling, names: Mapping[str, str], requests: str) -> dict[str, Any]:
    """The fields of a body that set these, at the places that `names` gives. requests: whose they are, in a sentence.
    Raises EngineError with all that have no place."""
    set_ones = [option for option in SAMPLING_FLAGS if getattr(sampling, option) is not None]
    if without_place := [SAMPLING_FLAGS[option] for option in set_ones if option not in names]:
        plural, them = ("s", "them") if len(without_place) > 1 else ("", "it")
        raise EngineError(
            f"{', '.join(without_place)}: requests {requests} have no such field{plural}; leave {them} out, or use "
            "--body."
        )
    body: dict[str, Any] = {}
    for option in set_ones:
        value = getattr(sampling, option)
        *path, last = names[option].split(".")
        inner = body
        for key in path:
            inner = inner.setdefault(key, {})
        inner[last] = list(value) if isinstance(value, tuple) else value
    return body
