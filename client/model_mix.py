"""How --models is written, and which model each session of a run gets. Pure.

models    one or several of NAME, NAME=PERCENT% or NAME=WEIGHT, with spaces or commas between: "base=70% sql=30%"
"""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple

from tokenswarm.client.option_values import OptionError
from tokenswarm.command_line import OptionAdder, collect_errors
from tokenswarm.prompts.synthetic.counter_random import uniform

#: Statistics are kept for each model.
MOST_MODELS = 16
MOST_NAME_CHARACTERS = 200
#: How far percentages may be from 100 together, as they are rounded: 33.3 % three times.
_ROUNDING = 0.5
_AMOUNT = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(%?)", re.ASCII)
_HELP = 'like "base=70% adapter=30%", weights like "base=2 adapter=1", or names alone for equal shares'


class _Entry(NamedTuple):
    name: str
    amount: float | None = None
    unit: str = ""


@dataclass(frozen=True, slots=True)
class ModelMix:
    """Models and the share of the sessions that each gets; the shares, 0 to 1, sum to 1."""

    names: tuple[str, ...]
    shares: tuple[float, ...]

    def model_of(self, seed: int, session: int) -> str:
        """The model of the run's session of this number, drawn with the shares: a pure function, so that any number of
        processes draws as one does."""
        place = bisect_right(list(accumulate(self.shares)), uniform(str(seed), "model", session))
        return self.names[min(place, len(self.names) - 1)]

    @property
    def text(self) -> str:
        """As --models is written: `base=70% adapter=30%`."""
        return " ".join(f"{name}={100 * share:.4g}%" for name, share in zip(self.names, self.shares))


def parse_models(text: str) -> ModelMix | None:
    """The mix of --models; None for "". Raises OptionError, OptionErrors for several."""
    words = [word for word in re.split(r"[\s,]+", text) if word]
    if not words:
        return None
    with collect_errors() as errors:
        entries = [entry for word in words if (entry := errors.of(_entry, word))]
    _check(entries)
    amounts = [1.0 if entry.amount is None else entry.amount for entry in entries]
    total = sum(amounts)
    return ModelMix(tuple(entry.name for entry in entries), tuple(amount / total for amount in amounts))


def add_model_options(option: OptionAdder) -> None:
    """Add the options of models to Locust's parser."""
    option("--model", "model to request; empty: the only one that the server lists")
    option(
        "--models",
        "several models to request (LoRA adapters are models too), each with its share of the requests as a percentage "
        'or a weight, like "base=7 adapter=3", or names alone for equal shares; each has figures of its own '
        "(docs/requests.md#several-models); empty: --model alone",
    )


def _entry(word: str) -> _Entry:
    name, equals, amount = word.rpartition("=")
    if not equals:
        name = word
    if not name or len(name) > MOST_NAME_CHARACTERS or not name.isprintable():
        raise OptionError(
            f"--models takes names of 1 to {MOST_NAME_CHARACTERS} printable characters, {_HELP}; got {word[:60]!r}."
        )
    if not equals:
        return _Entry(name)
    match = _AMOUNT.fullmatch(amount)
    if match is None or float(match[1]) <= 0:
        raise OptionError(f"--models: the share of {name!r} is a number above 0, {_HELP}; got {amount[:20]!r}.")
    return _Entry(name, float(match[1]), match[2] or "weight")


def _check(entries: list[_Entry]) -> None:
    """Raises OptionError, OptionErrors for several."""
    names = [entry.name for entry in entries]
    with collect_errors() as errors:
        if len(entries) > MOST_MODELS:
            errors.add(OptionError(f"--models takes {MOST_MODELS} models at most, got {len(entries)}."))
        for name in sorted({name for name in names if names.count(name) > 1}):
            errors.add(OptionError(f"--models names {name!r} more than once: give it one share."))
        if len({entry.unit for entry in entries}) > 1:
            sentence = "--models takes percentages for all models, weights for all, or names alone, not a mixture."
            errors.add(OptionError(sentence))
        elif entries[0].unit == "%" and abs((total := sum(entry.amount or 0 for entry in entries)) - 100) > _ROUNDING:
            errors.add(OptionError(f"--models: percentages sum to 100, got {total:g}; numbers without % are weights."))
