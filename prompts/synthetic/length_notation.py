"""How --input-tokens and --output-tokens write lengths. Text in, records out. Pure, but for the file of `hist:`.

    1024                            always 1,024
    n(550,100)                      normal: mean, standard deviation
    n(550,p95=900)                  the same by its mean and a percentile above p50
    ln(512,p95=4096)                lognormal: median, and a percentile above p50
    u(100,2000)                     each length from 100 to 2,000, equally often
    hist:FILE                       the lengths of a file, with their weights
    pairs:"128/64:25 512/128:50"    input/output:weight; both lengths of a request are of one pair
    D(100,1000)   N(480,240)/(300,150)   U(50,100)/(200,250)   input and output as genai-bench writes them

n and ln also take bounds, min= and max=. The last two lines say both lengths, and stand in --input-tokens.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from math import log
from typing import NamedTuple

from tokenswarm.command_line import PERCENTILE, Argument, ArgumentReader, PointedError
from tokenswarm.prompts.prompt_records import PromptError
from tokenswarm.prompts.synthetic.distributions import Fixed, LengthDistribution, Normal, Uniform, Weighted

INPUT_OPTION, OUTPUT_OPTION = "--input-tokens", "--output-tokens"
#: Above any model's context; a mistyped number would fill the memory.
MOST_TOKENS = 10_000_000
_SMALLEST_SHARE = 1e-6

_TOKEN = re.compile(r"(?P<name>[A-Za-z][A-Za-z0-9]*)|(?P<number>-?\d+(?:\.\d+)?)|(?P<sign>[(),=/:])")
_PAIR = re.compile(r"(?P<input>\d+)/(?P<output>\d+)(?::(?P<weight>\d+(?:\.\d+)?))?")
_WORD = re.compile(r"\S+")
_FORMS = "a number, n(MEAN,STDDEV), u(MIN,MAX), ln(MEDIAN,p95=VALUE), hist:FILE"
_JOINT_FORMS = "pairs:…, D(…), N(…)/(…) or U(…)/(…)"

#: Reads the file of `hist:`: lengths with their weights. Raises PromptError.
ReadHistogram = Callable[[str], Mapping[int, float]]


class LengthNotationError(PointedError, PromptError):
    """A length cannot be read."""


class JointLengths(NamedTuple):
    """The distributions of a notation. output: None where it says one length alone. paired: both lengths of a request
    are taken at the same quantile."""

    first: LengthDistribution
    output: LengthDistribution | None = None
    paired: bool = False


def parse_lengths(text: str, option: str, read_histogram: ReadHistogram) -> JointLengths:
    """What `text` says. Raises LengthNotationError, and what read_histogram raises."""
    return _Parser(text, option, read_histogram).parse()


class _Parser(ArgumentReader):
    _TOKENS = _TOKEN

    def __init__(self, text: str, option: str, read_histogram: ReadHistogram) -> None:
        super().__init__(text.replace("\n", " "))
        self._option = option
        self._read_histogram = read_histogram

    def parse(self) -> JointLengths:
        found = self._notation()
        if self._skip_space():
            raise self._wrong(self._place, f"expected nothing after the length, got {self._text[self._place]!r}")
        return found

    def _notation(self) -> JointLengths:
        place = self._here()
        kind, word = self._token(f"{_FORMS}, {_JOINT_FORMS}")
        if kind == "number":
            return JointLengths(Fixed(self._tokens(float(word), place)))
        if word in ("hist", "pairs") and self._peek() == ":":
            self._token(":")
            return self._histogram() if word == "hist" else self._pairs()
        if word in ("n", "u", "ln"):
            return JointLengths(self._single(word, place))
        if word in ("D", "N", "U"):
            return self._genai_bench(word)
        raise self._wrong(place, f"expected {_FORMS}, {_JOINT_FORMS}; got {word!r}")

    def _single(self, word: str, place: int) -> LengthDistribution:
        arguments = self._arguments(word)
        if word == "u":
            return self._uniform(arguments, place)
        plain = [each for each in arguments if not each.name]
        named = {each.name: each for each in arguments if each.name}
        least, most = self._bounds(named)
        percentiles = [each for name, each in named.items() if PERCENTILE.fullmatch(name)]
        form = "n(MEAN,STDDEV) or n(MEAN,p95=VALUE)" if word == "n" else "ln(MEDIAN,p95=VALUE)"
        unknown = [each for name, each in named.items() if name not in ("min", "max") and each not in percentiles]
        if unknown:
            raise self._wrong(unknown[0].name_place, f"expected p95=, min= or max=, got {unknown[0].name}=")
        if not plain or len(plain) + len(percentiles) != 2 or (word == "ln" and len(plain) != 1):
            raise self._wrong(place, f"expected {form}")
        center = plain[0]
        if center.value <= 0:
            raise self._wrong(center.place, f"expected a length above 0, got {center.value:g}")
        if word == "ln":
            stddev = self._spread(percentiles[0], center.value, logarithmic=True)
            made = Normal(log(center.value), stddev, least, most, of_logarithm=True)
        else:
            stddev = self._spread(percentiles[0], center.value) if percentiles else self._stddev(plain[1])
            made = Normal(center.value, stddev, least, most)
        if made.share_within_bounds < _SMALLEST_SHARE:
            raise self._wrong(place, "expected bounds that hold more of the distribution than one length in a million")
        return made

    def _stddev(self, argument: Argument) -> float:
        if argument.value <= 0:
            raise self._wrong(argument.place, f"expected a standard deviation above 0, got {argument.value:g}")
        return argument.value

    def _bounds(self, named: Mapping[str, Argument]) -> tuple[int, int | None]:
        least = self._tokens(named["min"].value, named["min"].place) if "min" in named else 1
        most = self._tokens(named["max"].value, named["max"].place) if "max" in named else None
        if most is not None and most < least:
            raise self._wrong(named["max"].place, f"expected a maximum of at least {least}, got {most}")
        return least, most

    def _uniform(self, arguments: list[Argument], place: int) -> Uniform:
        if len(arguments) != 2 or any(each.name for each in arguments):
            raise self._wrong(place, "expected two bounds, like u(100,2000)")
        low, high = (self._tokens(each.value, each.place) for each in arguments)
        if high < low:
            raise self._wrong(arguments[1].place, f"expected a maximum of at least {low}, got {high}")
        return Uniform(low, high)

    def _genai_bench(self, word: str) -> JointLengths:
        place = self._here()
        first = self._arguments(word)
        if word == "D":
            if len(first) != 2 or any(each.name for each in first):
                raise self._wrong(place, "expected D(INPUT,OUTPUT)")
            of_input, of_output = (Fixed(self._tokens(each.value, each.place)) for each in first)
            return JointLengths(of_input, of_output)
        form = "(MEAN,STDDEV)/(MEAN,STDDEV)" if word == "N" else "(MIN,MAX)/(MIN,MAX)"
        behind = self._here()
        if self._peek() != "/":
            raise self._wrong(behind, f"expected {word}{form}; for one of the two lengths write {word.lower()}(…)")
        self._token("/")
        second = self._arguments(word)
        return JointLengths(self._one_of_two(word, first, place), self._one_of_two(word, second, place))

    def _one_of_two(self, word: str, arguments: list[Argument], place: int) -> LengthDistribution:
        if len(arguments) != 2 or any(each.name for each in arguments):
            raise self._wrong(place, "expected two numbers in each pair of brackets")
        if word == "U":
            return self._uniform(arguments, place)
        center, spread = arguments
        if center.value <= 0:
            raise self._wrong(center.place, f"expected a length above 0, got {center.value:g}")
        return Normal(center.value, self._stddev(spread))

    def _pairs(self) -> JointLengths:
        self._skip_space()
        rest = self._text[self._place :].rstrip()
        began, end = self._place, self._place + len(rest)
        if rest.startswith('"') and rest.endswith('"') and len(rest) > 1:
            began, end = began + 1, end - 1
        inputs, outputs, weights = [], [], []
        for word in _WORD.finditer(self._text, began, end):
            pair = _PAIR.fullmatch(word[0])
            if pair is None:
                raise self._wrong(word.start(), "expected INPUT/OUTPUT:WEIGHT, like 128/64:25")
            inputs.append(self._tokens(float(pair["input"]), word.start()))
            outputs.append(self._tokens(float(pair["output"]), word.start() + pair.start("output")))
            weights.append(float(pair["weight"] or 1))
        if not inputs:
            raise self._wrong(began, "expected INPUT/OUTPUT:WEIGHT, like 128/64:25, but the text ends here")
        if not sum(weights):
            raise self._wrong(began, "expected a weight above 0")
        self._place = len(self._text)
        return JointLengths(Weighted.of(inputs, weights), Weighted.of(outputs, weights), paired=True)

    def _histogram(self) -> JointLengths:
        self._skip_space()
        name = self._text[self._place :].strip().strip('"')
        if not name:
            raise self._wrong(self._place, "expected a file after hist:")
        self._place = len(self._text)
        weights = self._read_histogram(name)
        lengths = sorted(weights)
        return JointLengths(Weighted.of(lengths, [weights[length] for length in lengths]))

    def _tokens(self, value: float, place: int) -> int:
        if not value.is_integer() or not 1 <= value <= MOST_TOKENS:
            raise self._wrong(place, f"expected a whole number from 1 to {MOST_TOKENS:,}, got {value:g}")
        return int(value)

    def _wrong(self, place: int, message: str) -> LengthNotationError:
        return LengthNotationError(self._option, self._text, place, message)
