"""Reads distributions as options write them: a name with arguments in brackets, like `ln(512,p95=4096)`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import log
from statistics import NormalDist

from tokenswarm.command_line.token_reader import TokenReader

#: The name of an argument that gives a percentile.
PERCENTILE = re.compile(r"p(\d{1,2})")


@dataclass(frozen=True, slots=True)
class Argument:
    """An argument in brackets: name "" where it has none; place: of its value."""

    name: str
    value: float
    place: int
    name_place: int


class ArgumentReader(TokenReader):
    """A reader whose tokens are of the kinds `name`, `number` and `sign`."""

    def _number(self, token: str, place: int) -> float:
        """The value of a number. place: index of its first character."""
        return float(token)

    def _arguments(self, word: str) -> list[Argument]:
        """Numbers in brackets, with a name and an equals sign before them or not."""
        place = self._here()
        if self._token(f"an opening bracket after {word}")[1] != "(":
            raise self._wrong(place, f"expected an opening bracket after {word}")
        found: list[Argument] = []
        while True:
            name_place = self._here()
            kind, token = self._token("a number")
            name = ""
            if kind == "name":
                name = token.lower()
                equals = self._here()
                if self._token("an equals sign")[1] != "=":
                    raise self._wrong(equals, f"expected an equals sign after {token}")
                number_place = self._here()
                kind, token = self._token("a number")
            else:
                number_place = name_place
            if kind != "number":
                raise self._wrong(number_place, f"expected a number, got {token!r}")
            if name and any(each.name == name for each in found):
                raise self._wrong(name_place, f"{name}= stands here twice")
            found.append(Argument(name, self._number(token, number_place), number_place, name_place))
            place = self._here()
            _, sign = self._token("a comma or a closing bracket")
            if sign == ")":
                return found
            if sign != ",":
                raise self._wrong(place, f"expected a comma or a closing bracket, got {sign!r}")

    def _spread(self, percentile: Argument, center: float, logarithmic: bool = False) -> float:
        """The standard deviation (of the logarithm) that puts the percentile where it is."""
        p = int(percentile.name[1:]) / 100
        if p <= 0.5:
            raise self._wrong(percentile.name_place, f"expected a percentile above p50, got {percentile.name}")
        if percentile.value <= center:
            raise self._wrong(
                percentile.place, f"expected {percentile.name} above {center:g}, got {percentile.value:g}"
            )
        distance = log(percentile.value / center) if logarithmic else percentile.value - center
        return distance / NormalDist().inv_cdf(p)
