"""What --fail-if and --pass-if say: conditions under which a run, or a change between two, fails or passes. Text in,
records out. Pure.

conditions  a condition, then more, each after a comma or, in --fail-if, `or` (in --pass-if `and`)
condition   suspect | figure [@LEVEL[/on|/off]] comparator bound
figure      FUNCTION(DISTRIBUTION), also written DISTRIBUTION_FUNCTION, or one that a level has but one of
comparator  > | >= | < | <=
bound       a number with its unit; in `gate`, a change in percent with its sign
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from math import inf

from tokenswarm.command_line import PointedError, TokenReader

FUNCTIONS = ("p1", "p5", "p10", "p50", "p90", "p95", "p99", "mean", "min", "max")
#: Percentiles of the slow end of a rate, which is its low end. Latencies have none of them.
LOW_PERCENTILES = ("p1", "p5", "p10")
LATENCIES = ("ttft", "ttfvt", "tpot", "gap", "e2e")
#: The same from when an open loop's request was due instead of from when it was sent.
SCHEDULED = ("ttft_scheduled", "e2e_scheduled")
TIMES = (*LATENCIES, *SCHEDULED)
#: Other names of the same.
ALIASES = {"itl": "gap"}
DISTRIBUTIONS = (*TIMES, "user_rate")
SCALARS = ("rate", "request_rate", "failures", "goodput")
SUSPECT = "suspect"
COMPARE: dict[str, Callable[[float, float], bool]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
}
#: Units of each figure, and how many of them are a second, one a second, or all. "" is a bound without a unit.
_UNITS: dict[str, dict[str, float]] = {
    **{name: {"us": 1e6, "ms": 1e3, "s": 1.0} for name in TIMES},
    **{name: {"tok/s": 1.0, "": 1.0} for name in ("user_rate", "rate")},
    "request_rate": {"req/s": 1.0, "": 1.0},
    "failures": {"%": 100.0, "": 1.0},
    "goodput": {"%": 100.0, "req/s": 1.0},
}
_OPPOSITE = {">": "<=", ">=": "<", "<": ">=", "<=": ">"}
_TOKEN = re.compile(
    r"(?P<name>[a-z_][a-z0-9_]*)|(?P<number>[+-]?\d+(?:\.\d+)?)|(?P<comparator>[<>]=?)|(?P<sign>[()@/,%])",
    re.IGNORECASE,
)
_UNIT = re.compile(r"[a-z%]+(?:/[a-z]+)?", re.IGNORECASE)
_LEVEL = re.compile(r"[^\s/,<>=@]+")


class ConditionError(PointedError):
    """A condition cannot be read."""


@dataclass(frozen=True, slots=True)
class Figure:
    """What is looked at: a percentile, mean or maximum (`function`) of a distribution, or a figure by itself."""

    name: str
    function: str | None = None

    def __str__(self) -> str:
        return f"{self.function}({self.name})" if self.function else self.name

    @property
    def p(self) -> float | None:
        """The quantile that the function is, 0.95 for p95; None for mean and max."""
        return int(self.function[1:]) / 100 if self.function and self.function.startswith("p") else None


@dataclass(frozen=True, slots=True)
class Condition:
    """A run fails where `figure comparator bound` is true at any of the levels that it is said of.

    text: as it was written; of a condition of --pass-if the comparator is the opposite of what is written, so that it
    too says when the run fails. bound: in seconds, a second, as a share (0 to 1) or a number; of a relative condition,
    the change as a share. level, system_prompt: None for all of them. figure None: the run itself being suspect.
    """

    text: str
    figure: Figure | None = None
    level: str | None = None
    system_prompt: str | None = None
    comparator: str = ">"
    bound: float = 0.0
    unit: str = ""
    pass_if: bool = False

    @property
    def label(self) -> str:
        """The condition with what it decides: `fail if p95(ttft) > 500ms`."""
        return f"{'pass' if self.pass_if else 'fail'} if {self.text}"

    def names(self, level: str, system_prompt: str) -> bool:
        """Whether it is said of this level under this system-prompt mode."""
        return self.level in (None, level) and self.system_prompt in (None, system_prompt)

    def breaks(self, value: float) -> bool:
        """Whether this value is one that it forbids."""
        return COMPARE[self.comparator](value, self.bound)


def why_without_effect(condition: Condition, relative: bool = False) -> str:
    """A sentence on a condition that is the same for every run, whatever its figures; "" for others. relative: bounds
    are changes, as `gate` takes them."""
    figure = condition.figure
    if figure is None:
        return ""
    is_share = condition.unit == "%" and figure.name in ("failures", "goodput")
    least, most = -1.0 if relative else 0.0, 1.0 if is_share else inf
    if condition.breaks(least) != condition.breaks(most):
        return ""
    whose = f"a change of {figure}" if relative else str(figure)
    span = f"between {least:.0%} and 100%" if is_share else f"never below {'-100%' if relative else '0'}"
    runs = "every run" if condition.breaks(least) else "no run"
    option = "--pass-if" if condition.pass_if else "--fail-if"
    return f"{option} {condition.text!r}: {runs} would fail, as {whose} is {span}."


def parse_conditions(text: str, relative: bool = False) -> list[Condition]:
    """The conditions of --fail-if, in order; none of an empty text. relative: bounds are changes, as `gate` takes them.

    Raises ConditionError, which points at the character.
    """
    return _Parser(text.replace("\n", " "), relative).conditions()


def parse_pass_conditions(text: str) -> list[Condition]:
    """The conditions of --pass-if, each turned into the condition under which the run fails.

    Raises ConditionError, which points at the character.
    """
    return _Parser(text.replace("\n", " "), relative=False, pass_if=True).conditions()


class _Parser(TokenReader):
    _TOKENS = _TOKEN

    def __init__(self, text: str, relative: bool, pass_if: bool = False) -> None:
        super().__init__(text)
        self._relative = relative
        self._pass_if = pass_if

    def conditions(self) -> list[Condition]:
        found: list[Condition] = []
        while self._skip_space():
            found.append(self._condition())
            if not self._skip_space():
                break
            place = self._place
            word = "and" if self._pass_if else "or"
            _, between = self._token(f"a comma or `{word}` between two conditions")
            if between.lower() not in (",", word):
                raise self._wrong(place, f"expected a comma or `{word}` between two conditions, got {between!r}")
            if not self._skip_space():
                raise self._wrong(self._place, f"expected another condition after {between!r}")
        return found

    def _condition(self) -> Condition:
        began = self._place
        name = self._name("a figure like p95(ttft), rate, failures, goodput or suspect")
        if name == SUSPECT:
            if self._relative:
                raise self._wrong(
                    began,
                    "suspect cannot be a condition of gate: it is not a figure that changes. Suspect runs are refused, "
                    "unless --allow suspect is given",
                )
            if self._pass_if:
                raise self._wrong(began, "a suspect run never passes: leave this condition out")
            return Condition(SUSPECT)
        figure = self._figure(began, name)
        level, system_prompt = self._selector()
        place = self._here()
        kind, comparator = self._token("one of > >= < <=")
        if kind != "comparator":
            raise self._wrong(place, f"expected one of > >= < <= after {figure}, got {comparator!r}")
        bound, unit = self._change(comparator) if self._relative else self._bound(figure)
        text = self._text[began : self._place].strip()
        self._check_direction(began, place, figure, comparator, text)
        if self._pass_if:
            comparator = _OPPOSITE[comparator]
        return Condition(text, figure, level, system_prompt, comparator, bound, unit, self._pass_if)

    def _check_direction(self, began: int, place: int, figure: Figure, comparator: str, text: str) -> None:
        """Refuse a condition that would fail the better of two runs, or bound the slow end of a rate by its fast end:
        both are mistakes that no run would show."""
        lower_is_better = figure.name in (*TIMES, "failures")
        fails_where = _OPPOSITE[comparator] if self._pass_if else comparator
        if fails_where.startswith("<") is lower_is_better and self._relative:
            worse = f"{figure} > +5%" if lower_is_better else f"{figure} < -5%"
            raise self._wrong(place, f"a run that is better would fail; write the change for the worse, like {worse!r}")
        if fails_where.startswith("<") is lower_is_better:
            opposite = text[: place - began] + _OPPOSITE[comparator] + text[place - began + len(comparator) :]
            other = "--fail-if" if self._pass_if else "--pass-if"
            side = "low" if lower_is_better else "high"
            message = f"a run whose {figure} is {side} would fail; write {opposite!r}, or give {other} {text!r}"
            raise self._wrong(place, message)
        if figure.name == "user_rate" and figure.p is not None and figure.p > 0.5:
            fastest = round(100 - 100 * figure.p)
            reached = f"{figure} is what only the fastest {fastest} % of the requests reach"
            raise self._wrong(began, f"{reached}; to bound the slowest, write p{fastest}(user_rate)")

    def _figure(self, began: int, name: str) -> Figure:
        if self._peek() == "(":
            if name not in FUNCTIONS:
                raise self._wrong(began, f"expected one of {', '.join(FUNCTIONS)} before the bracket, got {name!r}")
            self._token("(")
            place = self._here()
            of = self._name(f"one of {', '.join(DISTRIBUTIONS)}")
            of = ALIASES.get(of, of)
            if of not in DISTRIBUTIONS:
                raise self._wrong(place, f"{name} works with {', '.join(DISTRIBUTIONS)}, not with {of!r}")
            place = self._here()
            if self._token("a closing bracket")[1] != ")":
                raise self._wrong(place, f"expected a closing bracket after {name}({of}")
            return self._checked(began, Figure(of, name))
        if name in SCALARS:
            return Figure(name)
        distribution, _, function = name.rpartition("_")
        distribution = ALIASES.get(distribution, distribution)
        if distribution in DISTRIBUTIONS and function in FUNCTIONS:
            return self._checked(began, Figure(distribution, function))
        if name in DISTRIBUTIONS or name in ALIASES:
            raise self._wrong(began, f"{name} has many values; say which, like p95({name}) or mean({name})")
        known = ", ".join((*SCALARS, SUSPECT))
        raise self._wrong(
            began, f"expected {known}, or one of {', '.join(FUNCTIONS)} of {', '.join(DISTRIBUTIONS)}; got {name!r}"
        )

    def _checked(self, began: int, figure: Figure) -> Figure:
        if figure.function in LOW_PERCENTILES and figure.name != "user_rate":
            raise self._wrong(
                began,
                f"{figure} is of the fastest: a latency's slow end is p90, p95, p99 or max, like p95({figure.name})",
            )
        if self._relative and figure.name == "gap":
            raise self._wrong(
                began,
                "gap cannot be a condition of gate: gaps of several users at one moment are not independent, so that "
                "no interval of a change is known; use tpot",
            )
        if self._relative and figure.function in ("min", "max"):
            raise self._wrong(
                began, f"{figure} has no interval, so that no change of it can be distinguished from chance"
            )
        return figure

    def _selector(self) -> tuple[str | None, str | None]:
        if self._peek() != "@":
            return None, None
        self._token("@")
        match = _LEVEL.match(self._text, self._here())
        if not match:
            raise self._wrong(self._place, "expected a level behind @, like @100 or @100/on")
        self._place = match.end()
        if self._peek() != "/":
            return match[0], None
        self._token("/")
        place = self._here()
        mode = self._name("on or off (the system prompt) after the level")
        if mode not in ("on", "off"):
            raise self._wrong(place, f"expected on or off (the system prompt) after the level, got {mode!r}")
        return match[0], mode

    def _bound(self, figure: Figure) -> tuple[float, str]:
        units = _UNITS[figure.name]
        place = self._here()
        kind, number = self._token("a number")
        if kind != "number":
            raise self._wrong(place, f"expected a number, got {number!r}")
        if number.startswith("-"):
            raise self._wrong(place, f"{figure} is never below zero, got {number}")
        self._skip_space()
        match = _UNIT.match(self._text, self._place)
        unit = match[0].lower() if match and match[0].lower() not in ("or", "and") else ""
        if unit not in units:
            named = " or ".join(name for name in units if name)
            text = f"got {match[0]!r}" if match and unit else "got a number without a unit"
            raise self._wrong(self._place, f"the bound of {figure} needs the unit {named}, {text}")
        if figure.name == "failures" and not unit and not float(number).is_integer():
            raise self._wrong(place, "a count of failures is a whole number; write a share in percent: failures > 1%")
        if unit and match:
            self._place = match.end()
        return float(number) / units[unit], unit

    def _change(self, comparator: str) -> tuple[float, str]:
        """A rise behind >, a fall behind <: any other bound would be broken by no change at all."""
        place = self._here()
        kind, number = self._token("a change in percent, like +5%")
        if kind != "number":
            raise self._wrong(place, f"expected a change in percent, like +5%, got {number!r}")
        behind = self._here()
        if self._peek() != "%":
            raise self._wrong(
                behind,
                "gate judges changes, in percent (like ttft_p95 > +5%). "
                "For an absolute bound: tokenswarm report NEW --fail-if '…'.",
            )
        self._token("%")
        if comparator.startswith(">") and number.startswith("-"):
            raise self._wrong(place, f"a rise is written with a plus: {comparator} +{number[1:]}%, and a fall with <")
        if comparator.startswith("<") and not number.startswith("-"):
            raise self._wrong(
                place, f"a fall is written with a minus: {comparator} -{number.lstrip('+')}%, and a rise with >"
            )
        return float(number) / 100, "%"

    def _name(self, expected: str) -> str:
        place = self._here()
        kind, token = self._token(expected)
        if kind != "name":
            raise self._wrong(place, f"expected {expected}, got {token!r}")
        return token.lower()

    def _wrong(self, place: int, message: str) -> ConditionError:
        return ConditionError("--pass-if" if self._pass_if else "--fail-if", self._text, place, message)
