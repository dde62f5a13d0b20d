"""Text to tokens and back, without a vocabulary file.

A token is up to seven letters or three digits, with the space before them, or one other character. English comes to
about 1.4 tokens a word, near what real tokenizers give. Every word of an answer is exactly one such token, so that
counting an answer's text gives the number that was announced for it.
"""

import random
import re
from collections.abc import Iterable
from dataclasses import dataclass
from math import log

_TOKEN = re.compile(r" ?[^\W\d_]{1,7}| ?\d{1,3}| ?[^\w\s]|_|\w|\s")

_VOCABULARY = (
    " the , of . to and in a is that for it as was with be by on not he his but at are this have from or had an they"
    " which one you were all her she there would their we him been has when who will no more if out so what up said"
    " its about than into them can only other time new some could these two may first then do any like my now over"
    " such our man me even most made after also did many off before must well back through years much where your way"
    " down should because long each just state people those too mr how little good world make very year still see own"
    " work men day get here old between both life being under three never know same last another while us might great"
    " go come since against right came take used himself few house use place during high without again home around"
    " small however found thought went say part once general upon school every café naïve über"
)
_TABLE_WORDS = 8192


def tokenise(text: str) -> list[str]:
    """The tokens of `text`; joined, they are `text` again."""
    return _TOKEN.findall(text)


def render_chat(messages: Iterable[tuple[str, str]]) -> list[str]:
    """The prompt tokens of (role, text) messages under Llama 3's chat template, the answer's header included."""
    tokens = ["<|begin_of_text|>"]
    for role, text in messages:
        tokens += ["<|start_header_id|>", role, "<|end_header_id|>", "\n\n", *tokenise(text.strip()), "<|eot_id|>"]
    tokens += ["<|start_header_id|>", "assistant", "<|end_header_id|>", "\n\n"]
    return tokens


@dataclass(frozen=True, slots=True)
class Answer:
    """What one request will be told. A stopped answer's last token is the end token: counted, but without text."""

    table: tuple[str, ...]
    start: int
    tokens: int
    stopped: bool

    @property
    def finish_reason(self) -> str:
        return "stop" if self.stopped else "length"

    def word(self, index: int) -> str:
        """The text of token `index`, counted from 0."""
        if self.stopped and index == self.tokens - 1:
            return ""
        return self.table[(self.start + index) % len(self.table)]

    def text(self) -> str:
        return "".join(self.word(index) for index in range(self.tokens))


class Answers:
    """Draws answers: the same seed and request number give the same words and the same length.

    Lengths are lognormal with the given median (tokens) and sigma, as the answers of chat models roughly are.
    """

    def __init__(self, seed: int, median_tokens: float, sigma: float) -> None:
        self._seed = seed
        self._mu = log(median_tokens)
        self._sigma = sigma
        words = [word if word in ",." else f" {word}" for word in _VOCABULARY.split()]
        self._table = tuple(random.Random(seed).choices(words, k=_TABLE_WORDS))

    def draw(self, number: int, max_tokens: int, min_tokens: int = 0, ignore_eos: bool = False) -> Answer:
        """The answer to request `number`: `max_tokens` long if `ignore_eos`, else as long as drawn and allowed."""
        source = random.Random(f"{self._seed}/{number}")
        start = source.randrange(len(self._table))
        # At least one word before the end token: an answer with no text at all is a fault, not a short answer.
        drawn = max(round(source.lognormvariate(self._mu, self._sigma)), min_tokens, 2)
        stopped = not ignore_eos and drawn <= max_tokens
        return Answer(self._table, start, drawn if stopped else max_tokens, stopped)
