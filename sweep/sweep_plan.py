"""What a sweep runs: options that all cells share, options that vary, and the cells that follow from them. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod

from tokenswarm.command_line import collect_errors
from tokenswarm.run_folder.reader import ReportError
from tokenswarm.sanitize import shortened, visible

#: The value of an option: its text, whether a switch is given, or the values of an option that is given several times.
OptionValue = str | bool | tuple[str, ...]

#: Options that may be given several times, each with a value of its own.
REPEATED = frozenset(("header", "image", "tag"))
#: Options that a sweep sets itself or that have no effect in a cell, and why.
_RESERVED = {
    **dict.fromkeys(("junit", "markdown", "csv", "html", "logfile"), "each cell would write the same file"),
    **dict.fromkeys(("results", "name"), "the sweep sets it for each cell"),
    **dict.fromkeys(("worker", "master-host", "master-port"), "a worker runs no sweep"),
    **dict.fromkeys(("autostart", "autoquit", "web-port", "web-host", "web-login"), "a sweep has no page"),
    **dict.fromkeys(("locustfile", "headless", "dry-run", "print-summary", "json"), "it is no option of a cell"),
    "client-key": "the sweep's manifest keeps no path of a key: set TOKENSWARM_CLIENT_KEY",
}
#: Short names of options.
_SHORT = {"-H": "host", "-u": "users", "-r": "spawn-rate", "-t": "run-time", "-f": "locustfile"}
_OPTION = re.compile(r"[a-z][a-z-]*", re.ASCII)
_MOST_CELLS, _MOST_REPEATS = 10_000, 1_000
_MOST_NAME, _MOST_TAG = 100, 200
_MOST_SHOWN = 40


class SweepError(ReportError):
    """A sweep cannot be run; the text is a sentence for the user."""


@dataclass(frozen=True, slots=True)
class Axis:
    """An option that varies: its name without dashes, and its values in their order."""

    option: str
    values: tuple[OptionValue, ...]


@dataclass(frozen=True, slots=True)
class SweepCell:
    """One combination. values: of the options that vary, and of those that this cell alone has."""

    values: Mapping[str, OptionValue]

    @property
    def texts(self) -> dict[str, str]:
        """The values as they are shown."""
        return {option: value_text(value) for option, value in self.values.items()}

    @property
    def name(self) -> str:
        """`input-tokens 128, levels 10`, "" for the one cell of a sweep in which nothing varies."""
        return shortened(", ".join(f"{option} {text}" for option, text in self.texts.items()), _MOST_NAME)

    @property
    def words(self) -> list[str]:
        """The cell's options as a command line has them, its values as tags among them."""
        tags = (f"{option}={shortened(text, _MOST_TAG)}" for option, text in self.texts.items() if text)
        return [*words_of(self.values), *(f"--tag={tag}" for tag in tags)]


@dataclass(frozen=True, slots=True)
class SweepPlan:
    """name: of the sweep, "" for none. fixed: options of all cells; words: the same from the command line, as they were
    given. exclude: cells that have all of these values are left out; include: cells besides the combinations."""

    name: str = ""
    repeat: int = 1
    fixed: Mapping[str, OptionValue] | None = None
    words: tuple[str, ...] = ()
    axes: tuple[Axis, ...] = ()
    exclude: tuple[Mapping[str, OptionValue], ...] = ()
    include: tuple[Mapping[str, OptionValue], ...] = ()

    def cells(self) -> list[SweepCell]:
        """Every combination, the last option changing fastest, without those to exclude, and those to include behind
        them. Raises SweepError, OptionErrors."""
        with collect_errors() as errors:
            errors.of(self._check)
        combinations = product(*(axis.values for axis in self.axes))
        cells = [SweepCell({axis.option: value for axis, value in zip(self.axes, each)}) for each in combinations]
        for values in self.exclude:
            kept = [cell for cell in cells if not _has(cell, values)]
            if len(kept) == len(cells):
                raise SweepError(f"exclude {_in_words(values)} matches no cell: give values of the matrix.")
            cells = kept
        if not self.axes and self.include:
            cells = []
        for values in self.include:
            if any(cell.values == values for cell in cells):
                raise SweepError(f"include {_in_words(values)} is a cell of the matrix already: leave it out.")
            cells.append(SweepCell(values))
        if not cells:
            raise SweepError("no cell is left to run: exclude fewer of them.")
        return cells

    def cell_words(self, cell: SweepCell) -> list[str]:
        """All options of a cell's run."""
        return [*words_of(self.fixed or {}), *self.words, *cell.words, *([f"--name={cell.name}"] if cell.name else [])]

    def _check(self) -> None:
        """Raises OptionErrors."""
        given = options_in(self.words)
        varied = [axis.option for axis in self.axes]
        with collect_errors() as errors:
            for option in self._options(given):
                if option in _RESERVED:
                    errors.add(SweepError(f"--{option} is not for a sweep: {_RESERVED[option]}. Leave it out."))
            for option in dict.fromkeys(varied):
                if option in given or option in (self.fixed or ()):
                    errors.add(SweepError(f"--{option} is to vary, and has a value for all cells: give one of them."))
                if varied.count(option) > 1:
                    errors.add(SweepError(f"--{option} is to vary twice: give all of its values at once."))
            for option in dict.fromkeys(key for values in self.exclude for key in values):
                if option not in varied:
                    errors.add(SweepError(f"exclude names {option}, which does not vary."))
            errors.of(self._check_size)

    def _options(self, given: Sequence[str]) -> Iterable[str]:
        """Every option that the sweep has a value for."""
        varied = (axis.option for axis in self.axes)
        return dict.fromkeys((*(self.fixed or ()), *given, *varied, *(key for each in self.include for key in each)))

    def _check_size(self) -> None:
        """Raises SweepError."""
        if not 1 <= self.repeat <= _MOST_REPEATS:
            raise SweepError(f"--repeat takes a number from 1 to {_MOST_REPEATS:,}, got {self.repeat}.")
        if self.repeat == 1 and not self.axes and not self.include:
            raise SweepError(
                "nothing is to vary: give --vary OPTION=VALUE,VALUE, a FILE of cells, or --repeat N; a single run is "
                "tokenswarm run."
            )
        number = prod(len(axis.values) for axis in self.axes)
        if number > _MOST_CELLS:
            raise SweepError(f"the matrix has {number:,} cells: a sweep has at most {_MOST_CELLS:,}.")


def order_of(cells: Sequence[SweepCell], repeat: int) -> Iterator[tuple[int, int]]:
    """(number of the cell, repeat), both from 1, as they are run: A B C A B C, so that what changes with time changes
    all cells."""
    for time in range(1, repeat + 1):
        for number in range(1, len(cells) + 1):
            yield number, time


def parse_vary(text: str) -> Axis:
    """`levels=10,50`, or `levels=10,50;100` where a value has commas itself. Raises SweepError."""
    option, equals, rest = text.partition("=")
    option = option.strip().removeprefix("--")
    values = [value.strip() for value in rest.split(";" if ";" in rest else ",")]
    if not equals or not _OPTION.fullmatch(option) or not all(values):
        raise SweepError(
            "--vary takes OPTION=VALUE,VALUE, like levels=10,50 (with ; between values that have commas: "
            f'"levels=10,50;100"), got {visible(text)!r}.'
        )
    return axis_of(option, [_switched(value) for value in values])


def axis_of(option: str, values: Sequence[OptionValue]) -> Axis:
    """Raises SweepError for a value that is there twice."""
    if twice := [value_text(value) for place, value in enumerate(values) if value in values[:place]]:
        raise SweepError(f"--{option} is to have the value {twice[0]!r} twice: give each value once.")
    return Axis(option, tuple(values))


def options_in(words: Iterable[str]) -> list[str]:
    """The names of the options among the words of a command line, without dashes."""
    return [name for word in words if (name := _name_of(word))]


def words_of(options: Mapping[str, OptionValue]) -> list[str]:
    """Options as words of a command line. A switch that is off has none."""
    words: list[str] = []
    for option, value in options.items():
        if isinstance(value, bool):
            words += [f"--{option}"] if value else []
        else:
            words += [f"--{option}={each}" for each in (value if isinstance(value, tuple) else (value,))]
    return words


def value_text(value: OptionValue) -> str:
    """A value as it is shown: `on` and `off` for a switch."""
    if isinstance(value, bool):
        return "on" if value else "off"
    return value if isinstance(value, str) else ", ".join(value)


def _switched(text: str) -> OptionValue:
    """`true` and `false` are for switches: options that take one of these words as a value do not exist."""
    return {"true": True, "false": False}.get(text, text)


def _name_of(word: str) -> str:
    if word.startswith("--"):
        return word[2:].partition("=")[0]
    short = word[:2]
    return _SHORT.get(short, "")


def _has(cell: SweepCell, values: Mapping[str, OptionValue]) -> bool:
    return all(cell.values.get(option) == value for option, value in values.items())


def _in_words(values: Mapping[str, OptionValue]) -> str:
    return ", ".join(f"{option} {shortened(value_text(value), _MOST_SHOWN)}" for option, value in values.items())
