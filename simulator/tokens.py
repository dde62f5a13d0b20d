"""Text to tokens and back, without a vocabulary file.

A token is up to seven letters or three digits, with the space before them, or one other character. English comes to
about 1.4 tokens a word, near what real tokenizers give. Every word of an answer is exactly one such token, so that
counting an answer's text gives the number that was announced for it.

A token's bytes need not be whole characters. Where they are not, its text holds the bytes as Python's surrogate
escapes, which `Characters` puts together again.
"""

import random
import re
from collections.abc import Iterable
from dataclasses import dataclass
from math import log

_TOKEN = re.compile(r" ?[^\W\d_]{1,7}| ?\d{1,3}| ?[^\w\s]|_|\w|\s")

# In a template, a special token is one, and so are the role in a header and the line break after it.
_RAW = re.compile(rf"<\|\w+\|>|(?<=<\|start_header_id\|>)\w+|(?<=<\|end_header_id\|>)\n\n|{_TOKEN.pattern}")

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


def tokenise_raw(prompt: str) -> list[str]:
    """The tokens of a prompt that Llama 3's template has been put around already."""
    return _RAW.findall(prompt)


def render_chat(messages: Iterable[tuple[str, str]]) -> list[str]:
    """The prompt tokens of (role, text) messages under Llama 3's chat template, the answer's header included."""
    tokens = ["<|begin_of_text|>"]
    for role, text in messages:
        tokens += ["<|start_header_id|>", role, "<|end_header_id|>", "\n\n", *tokenise(text.strip()), "<|eot_id|>"]
    tokens += ["<|start_header_id|>", "assistant", "<|end_header_id|>", "\n\n"]
    return tokens


@dataclass(frozen=True, slots=True)
class PlannedAnswer:
    """What one request will be sent. A stopped answer's last token is the end token: counted, but without text."""

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


class AnswerGenerator:
    """Draws answers: the same seed and request number give the same words and the same length.

    Lengths are lognormal with the given median (tokens) and sigma, as the answers of chat models roughly are. With
    `split_characters`, a word that holds more than ASCII is two tokens, which part inside its first such character.
    """

    def __init__(self, seed: int, median_tokens: float, sigma: float, split_characters: bool = False) -> None:
        self._seed = seed
        self._mu = log(median_tokens)
        self._sigma = sigma
        words = [word if word in ",." else f" {word}" for word in _VOCABULARY.split()]
        chosen = random.Random(seed).choices(words, k=_TABLE_WORDS)
        self._table = tuple(part for word in chosen for part in _halves(word)) if split_characters else tuple(chosen)

    def draw(self, number: int, max_tokens: int, min_tokens: int = 0, ignore_eos: bool = False) -> PlannedAnswer:
        """The answer to request `number`: `max_tokens` long if `ignore_eos`, else as long as drawn and allowed."""
        source = random.Random(f"{self._seed}/{number}")
        start = source.randrange(len(self._table))
        while not self._table[start].isprintable():
            # The second half of a word: only an answer's end may be inside one.
            start += 1
        # At least one word before the end token: an answer with no text at all is a fault, not a short answer.
        drawn = max(round(source.lognormvariate(self._mu, self._sigma)), min_tokens, 2)
        stopped = not ignore_eos and drawn <= max_tokens
        return PlannedAnswer(self._table, start, drawn if stopped else max_tokens, stopped)


class Characters:
    """Puts characters together whose bytes come in several tokens.

    With `holds`, a token's text is held back until its last character is whole; else each token is decoded by itself,
    and parts of characters come out as U+FFFD.
    """

    def __init__(self, holds: bool) -> None:
        self._holds = holds
        self._held = b""

    def text(self, piece: str, last: bool = False) -> str:
        """The text that can be shown once this token has come; `last` shows whatever is held back."""
        data = self._held + piece.encode("utf-8", "surrogateescape")
        hold = self._holds and not last and _ends_inside(data)
        self._held = data if hold else b""
        return "" if hold else data.decode("utf-8", "replace")


def _ends_inside(data: bytes) -> bool:
    """Whether the last character's bytes are not all there."""
    try:
        data.decode()
    except UnicodeDecodeError as error:
        return error.reason == "unexpected end of data"
    return False


def _halves(word: str) -> tuple[str, ...]:
    data = word.encode()
    cut = next((place + 1 for place, byte in enumerate(data) if byte >= 0x80), 0)
    return tuple(part.decode("utf-8", "surrogateescape") for part in (data[:cut], data[cut:])) if cut else (word,)
