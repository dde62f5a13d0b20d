"""The generator file of vLLM's multi-turn benchmark: conversations of given lengths, cut from texts.

Answers are not made: they are the model's own. Without them, only the first prompt of each conversation is sent.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterator
from itertools import accumulate
from math import exp, lgamma, log, sqrt
from pathlib import Path
from typing import Annotated

import msgspec

from tokenswarm.prompts.conversations import Conversation
from tokenswarm.prompts.file_rows import CellKind, PromptTable, Row
from tokenswarm.prompts.prompt_records import SessionTurn
from tokenswarm.prompts.row_formats import RowContent, RowError, RowFormat
from tokenswarm.prompts.synthetic.counter_random import random_bits, uniform
from tokenswarm.prompts.synthetic.distributions import Fixed, LengthDistribution, Normal, Uniform, Weighted
from tokenswarm.sanitize import MissingFile, UnusableFile, check_file

_FILE_TYPE = "generate_conversations"
_MOST_TEXT_BYTES = 2**30
#: The median of a lognormal distribution that is given by its average alone, as a share of that average.
_MEDIAN_OF_AVERAGE = 0.85

_Tokens = Annotated[int, msgspec.Meta(ge=0, le=10_000_000)]
_Weight = Annotated[float, msgspec.Meta(gt=0, le=1e6)]
#: Of a distribution whose lengths are listed.
_Listed = Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]


class _Uniform(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="distribution", tag="uniform"):
    min: _Tokens
    max: _Tokens

    def lengths(self) -> LengthDistribution:
        if self.min > self.max:
            raise RowError(f"expected min no greater than max in a distribution, got {self.min} and {self.max}")
        return Uniform(self.min, self.max)


class _Constant(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="distribution", tag="constant"):
    value: _Tokens

    def lengths(self) -> LengthDistribution:
        return Fixed(self.value)


class _Lognormal(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="distribution", tag="lognormal"):
    """By its average (and the median as a share of it), or by mean and sigma of the logarithm."""

    average: Annotated[float, msgspec.Meta(ge=1, le=1e7)] | None = None
    median_ratio: Annotated[float, msgspec.Meta(gt=0, lt=1)] = _MEDIAN_OF_AVERAGE
    mean: Annotated[float, msgspec.Meta(ge=0, le=16)] | None = None
    sigma: Annotated[float, msgspec.Meta(gt=0, le=10)] | None = None
    max: _Listed | None = None

    def lengths(self) -> LengthDistribution:
        if self.average is not None and self.mean is None and self.sigma is None:
            mean, sigma = log(self.average * self.median_ratio), sqrt(-2 * log(self.median_ratio))
        elif self.average is None and self.mean is not None and self.sigma is not None:
            mean, sigma = self.mean, self.sigma
        else:
            raise RowError("expected either average, or mean and sigma, in a lognormal distribution")
        found = Normal(mean, sigma, most=self.max, of_logarithm=True)
        if found.share_within_bounds < 1e-6:
            raise RowError(f"expected a max that a lognormal distribution reaches, got {self.max}")
        return found


class _Zipf(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="distribution", tag="zipf"):
    alpha: Annotated[float, msgspec.Meta(gt=1, le=100)]
    max: _Listed

    def lengths(self) -> LengthDistribution:
        lengths = range(1, self.max + 1)
        return Weighted.of(lengths, [length**-self.alpha for length in lengths])


class _Poisson(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="distribution", tag="poisson"):
    alpha: _Weight
    max: _Listed

    def lengths(self) -> LengthDistribution:
        lengths = range(self.max + 1)
        logs = [length * log(self.alpha) - lgamma(length + 1) for length in lengths]
        return Weighted.of(lengths, [exp(each - max(logs)) for each in logs])


_Distribution = _Uniform | _Constant | _Lognormal | _Zipf | _Poisson


class _Input(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    num_turns: _Distribution
    num_tokens: _Distribution
    prefix_num_tokens: _Distribution = _Constant(0)
    common_prefix_num_tokens: _Distribution = _Constant(0)


class _Output(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    num_tokens: _Distribution


class _GeneratorFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    filetype: str
    num_conversations: Annotated[int, msgspec.Meta(ge=1, le=10_000_000)]
    text_files: Annotated[list[str], msgspec.Meta(min_length=1)]
    prompt_input: _Input
    prompt_output: _Output
    print_stats: bool = False


class TokenText:
    """Pieces of so many tokens of a text, whose white space is single spaces. The tokens of its words are counted one
    by one, each behind a space."""

    def __init__(self, text: str, count: Callable[[str], int]) -> None:
        """Raises RowError for a text without words."""
        self._words = text.split()
        if not self._words:
            raise RowError("expected text in text_files, got none")
        costs = {word: max(1, count(f" {word}")) for word in set(self._words)}
        self._ends = array("q", accumulate(costs[word] for word in self._words))

    def piece(self, bits: int, tokens: int) -> str:
        """Words in a row from a place that bits choose; at its end the text begins again. The number of tokens is
        reached, and exceeded by less than a word."""
        words: list[str] = []
        place = bits % len(self._words)
        while tokens > 0:
            before = self._ends[place - 1] if place else 0
            end = min(bisect_left(self._ends, before + tokens) + 1, len(self._words))
            words += self._words[place:end]
            tokens -= self._ends[end - 1] - before
            place = 0
        return " ".join(words)


def generator_format(
    table: PromptTable, folder: Path, count: Callable[[str], int], seed: int
) -> tuple[PromptTable, RowFormat] | None:
    """The conversations of a generator file in this folder; None for a table that is none. count: tokens of a text;
    seed: from it and the file all prompts follow. Raises RowError, UnsoundRows, OSError."""
    if table.cells is not CellKind.JSON or not {"filetype", "prompt_input"} <= set(table.columns):
        return None
    rows = list(table.rows([]))
    if len(rows) != 1 or rows[0].get("filetype") != _FILE_TYPE:
        raise RowError(f"expected one object of filetype {_FILE_TYPE!r}, got {str(rows[0].get('filetype'))[:60]!r}")
    try:
        given = msgspec.convert(rows[0], _GeneratorFile)
    except msgspec.ValidationError as error:
        raise RowError(f"expected a file as vLLM's benchmark of conversations reads it: {error}") from None
    text = TokenText("\n".join(_text_of(folder / name) for name in given.text_files), count)
    made = _Conversations(given, text, str(seed))
    conversations = PromptTable(("number",), lambda _: made.rows(), place="conversation {}".format)
    return conversations, RowFormat(("number",), made.first_of, made.session_of)


class _Conversations:
    """Makes the prompts of conversations, by their number."""

    def __init__(self, given: _GeneratorFile, text: TokenText, seed: str) -> None:
        """Raises RowError."""
        self._count, self._text, self._seed = given.num_conversations, text, seed
        self._turns = given.prompt_input.num_turns.lengths()
        self._prefix = given.prompt_input.prefix_num_tokens.lengths()
        self._prompt = given.prompt_input.num_tokens.lengths()
        self._output = given.prompt_output.num_tokens.lengths()
        common = given.prompt_input.common_prefix_num_tokens.lengths().length_at(uniform(seed, "common prefix", 0))
        self._common = text.piece(random_bits(seed, "common text", 0), common)

    def rows(self) -> Iterator[Row]:
        """One for each conversation: its number, from 0."""
        return ({"number": number} for number in range(self._count))

    def first_of(self, row: Row) -> RowContent:
        """The first request alone."""
        later = self._later_turns(row["number"])
        return self._first(row["number"])._replace(unused={"later turns": later} if later else {})

    def session_of(self, row: Row) -> RowContent:
        """All requests."""
        number = row["number"]
        turns = []
        for turn in range(2, self._later_turns(number) + 2):
            tokens = max(1, self._length(self._prompt, f"prompt {turn}", number))
            text = self._text.piece(random_bits(self._seed, f"text {turn}", number), tokens)
            most = max(1, self._length(self._output, f"output {turn}", number))
            turns.append(SessionTurn(text, max_tokens=most))
        return self._first(number)._replace(turns=tuple(turns))

    def _first(self, number: int) -> RowContent:
        tokens = self._length(self._prefix, "prefix", number) + self._length(self._prompt, "prompt", number)
        own = self._text.piece(random_bits(self._seed, "text", number), max(1, tokens))
        text = f"{self._common}\n\n{own}" if self._common else own
        return RowContent(Conversation(text), max_tokens=max(1, self._length(self._output, "output", number)))

    def _later_turns(self, number: int) -> int:
        """Turns are those of both sides; each prompt has its answer."""
        return max(0, (self._length(self._turns, "turns", number) + 1) // 2 - 1)

    def _length(self, lengths: LengthDistribution, stream: str, number: int) -> int:
        return lengths.length_at(uniform(self._seed, f"conversation {stream}", number))


def _text_of(path: Path) -> str:
    try:
        check_file(path, _MOST_TEXT_BYTES)
        return path.read_text(encoding="utf-8-sig")
    except MissingFile:
        raise RowError(f"expected text_files beside the file that names them, and there is no {path}") from None
    except UnusableFile as error:
        raise RowError(f"the text file {path} {error}") from None
    except OSError as error:
        raise RowError(f"the text file {path} cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise RowError(f"expected text in UTF-8 in {path}: {error}") from None
