"""What a prompt has besides its words, and what each word costs, by the server's own count of prompt tokens."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence

import msgspec

from tokenswarm.prompts.prompt_records import PromptError
from tokenswarm.prompts.synthetic.distributions import LengthDistribution
from tokenswarm.prompts.synthetic.length_notation import INPUT_OPTION
from tokenswarm.prompts.synthetic.text_maker import TextMaker
from tokenswarm.prompts.synthetic.word_costs import HEAD, chosen_words, costs_by_tokenizer, measured_costs

#: Requests that find out the words' tokens, at most.
_MOST_MEASUREMENTS = 40
_TRIAL_TOKENS = 400
#: Texts that are tried where one does not suffice.
_TRIALS = 8
#: Tokens that a text may differ by where it had to be counted and repaired.
_MOST_AFTER_REPAIR = 1
#: Share of lengths that may be too short for what every prompt has.
MOST_TOO_SHORT = 0.01

logger = logging.getLogger(__name__)

#: The server's count of the prompt tokens of a request with this text in this system-prompt mode (`on`, `off`), None
#: where it reports none.
Measure = Callable[[str, str], int | None]


class TextCalibration(msgspec.Struct, frozen=True):
    """costs: tokens of each word. head_tokens: by system-prompt mode, of a prompt without any word. source: `tokenizer`
    or `usage`, who counted the words. scale: tokens that come for each computed one. adds_up: whether the tokens of a
    text are the sum of its words'. includes_template: whether head_tokens are by the server's count, chat template and
    all, or of the text alone. turn_tokens: that a further turn of a session adds to the prompt before, besides the
    answer to it and the words of its own message; None where that is not known."""

    costs: dict[str, int]
    head_tokens: dict[str, int]
    source: str
    scale: float = 1.0
    adds_up: bool = True
    includes_template: bool = True
    turn_tokens: int | None = None


class CalibrationFailed(PromptError):
    """Texts of stated lengths cannot be made for this server; the text says why and what to do."""


def text_maker(found: TextCalibration, key: str, count: Callable[[str], int] | None) -> TextMaker:
    """The maker of a run's texts. count: of the tokenizer, None where there is none."""
    repairs = not found.adds_up and found.source == "tokenizer"
    return TextMaker(found.costs, key, scale=found.scale, count=count if repairs else None)


def calibrate(
    measure: Measure, modes: Collection[str], count: Callable[[str], int] | None, option: str = INPUT_OPTION
) -> TextCalibration:
    """Send requests by `measure`, and find out how texts of stated lengths are made. count: the tokenizer's, None where
    there is none. option: that requests the lengths. Raises CalibrationFailed."""
    heads = {mode: measure(HEAD, mode) for mode in sorted(modes)}
    known = {mode: tokens for mode, tokens in heads.items() if tokens}
    if len(known) < len(heads):
        if count is None:
            raise CalibrationFailed(
                f"{option}: the server reports no count of prompt tokens, so that lengths cannot be calibrated; "
                "give --tokenizer."
            )
        costs = chosen_words(costs_by_tokenizer(count))
        alone = dict.fromkeys(heads, count(HEAD))
        logger.warning("%s: the server reports no count of prompt tokens; lengths are those of the text", option)
        return TextCalibration(costs, alone, "tokenizer", adds_up=_adds_up(costs, count), includes_template=False)
    mode = min(known)
    if count is not None:
        costs = chosen_words(costs_by_tokenizer(count))
        found = TextCalibration(costs, known, "tokenizer", adds_up=_adds_up(costs, count))
        if abs(_trial(found, measure, mode, count)) <= (0 if found.adds_up else _MOST_AFTER_REPAIR):
            return found
        logger.warning(
            "--tokenizer does not count as the server does: the lengths of prompts are calibrated by the server's count"
        )
    return _calibrated_by_usage(measure, mode, known, option)


def _calibrated_by_usage(measure: Measure, mode: str, heads: dict[str, int], option: str) -> TextCalibration:
    def cost_of(words: Sequence[str]) -> int:
        tokens = measure(" ".join((HEAD, *words)), mode)
        if not tokens:
            raise CalibrationFailed(f"{option}: the server stopped to report the count of prompt tokens.")
        return tokens - heads[mode]

    costs = chosen_words(measured_costs(cost_of, _MOST_MEASUREMENTS))
    if not costs:
        raise CalibrationFailed(
            f"{option}: the server's counts of prompt tokens do not grow with the text; give --tokenizer."
        )
    found = TextCalibration(costs, heads, "usage")
    difference = _trial(found, measure, mode, None)
    if difference == 0:
        return found
    others = [_trial(found, measure, mode, None, number) for number in range(1, _TRIALS)]
    scale = 1 + (difference + sum(others)) / (_TRIALS * _TRIAL_TOKENS)
    logger.warning(
        "%s: the tokens of words do not add up on this server; lengths are approximate. Give --tokenizer", option
    )
    return TextCalibration(costs, heads, "usage", scale=scale, adds_up=False)


def _trial(
    found: TextCalibration, measure: Measure, mode: str, count: Callable[[str], int] | None, number: int = 0
) -> int:
    """Tokens that the text of this number has too many, by the server's count."""
    wanted = found.head_tokens[mode] + _TRIAL_TOKENS
    maker = TextMaker(found.costs, "trial", count=None if found.adds_up else count)
    tokens = measure(maker.text(number, wanted, found.head_tokens[mode]), mode)
    return (tokens or 0) - wanted


def _adds_up(costs: dict[str, int], count: Callable[[str], int]) -> bool:
    """Whether texts have as many tokens as their words by themselves."""
    maker, head = TextMaker(costs, "trial"), count(HEAD)
    numbers = range(_TRIALS)
    return all(count(maker.text(number, head + _TRIAL_TOKENS, head)) == head + _TRIAL_TOKENS for number in numbers)


def check_shortest(lengths: LengthDistribution, notation: str, found: TextCalibration, prefix_tokens: int = 0) -> None:
    """Raises CalibrationFailed where more than 1 % of the lengths are too short for what every prompt has.
    prefix_tokens: of the prefix that each has."""
    for mode, head_tokens in found.head_tokens.items():
        tokens = head_tokens + prefix_tokens
        share = lengths.share_at_most(tokens)
        if share > MOST_TOO_SHORT:
            what = "chat template and system prompt" if mode == "on" else "chat template"
            what = f"{what}, the prefix" if prefix_tokens else what
            way_out = "; or give --system-prompt off" if mode == "on" else ""
            raise CalibrationFailed(
                f"--input-tokens {notation}: {share:.0%} of the lengths are at most {tokens} tokens, which the {what} "
                f"and the first word take; give longer ones{way_out}."
            )
