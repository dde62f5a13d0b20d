"""--abandon: users that leave before the response ends, and which of the run's requests are theirs. Pure.

10% after=2s        a tenth of the requests, 2 s after they were sent; 0.1 is the same share
10% after=first     when the first output arrives
10% after=200tok    when 200 output tokens have arrived
"""

from __future__ import annotations

import re

from tokenswarm.client.length_options import LengthOptions
from tokenswarm.client.option_values import OptionError
from tokenswarm.command_line import OptionAdder, PointedError, TimespanError, parse_timespan
from tokenswarm.metrics.abandonment import FIRST, Abandonment
from tokenswarm.prompts.synthetic.counter_random import uniform
from tokenswarm.prompts.synthetic.length_notation import MOST_TOKENS

OPTION = "--abandon"
_WHEN = "after=2s, after=first or after=200tok"
_WORD = re.compile(r"[^\s,]+")
_SHARE = re.compile(r"(\d+(?:\.\d+)?)(%?)", re.ASCII)
_AFTER = re.compile(r"after=(\S*)", re.IGNORECASE)
_TOKENS = re.compile(r"(\d{1,12})tok(?:ens?)?", re.ASCII | re.IGNORECASE)
#: A day: nobody waits longer for a response.
_MOST_S = 86_400.0


def add_abandon_options(option: OptionAdder) -> None:
    """Add the option to Locust's parser."""
    option(
        OPTION,
        'share of the requests that their users leave before the response ends, and when, like "0.1 after=2s" (since '
        "sending), after=first (at the first output) or after=200tok (output tokens); such a request has the outcome "
        "abandoned, which is no failure and has no latency, and ends its session (docs/workloads.md#users-that-leave); "
        "empty: none",
    )


def parse_abandonment(text: str) -> Abandonment | None:
    """What `text` says; None for an empty one. Raises PointedError."""
    text = text.replace("\n", " ")
    words = list(_WORD.finditer(text))
    if not words:
        return None
    share: float | None = None
    after: Abandonment | None = None
    for word in words:
        if word[0][0].isdigit():
            if share is not None:
                raise PointedError(OPTION, text, word.start(), "the share stands here twice")
            share = _share(word[0], text, word.start())
        elif match := _AFTER.fullmatch(word[0]):
            if after is not None:
                raise PointedError(OPTION, text, word.start(), "after= stands here twice")
            after = _after(match[1], text, word.start() + match.start(1))
        else:
            raise PointedError(OPTION, text, word.start(), f"expected a share like 10%, or {_WHEN}; got {word[0]!r}")
    if share is None or after is None:
        missing = "a share like 10%" if share is None else _WHEN
        raise PointedError(OPTION, text, len(text.rstrip()), f"expected {missing}, but the text ends here")
    return Abandonment(share, after.after, after.after_s, after.after_tokens)


def is_abandoned(plan: Abandonment, seed: int, number: int, turn: int = 1, agent: str = "") -> bool:
    """Whether the user of the run's request of this number, of a session's its turn from 1, leaves it: a pure function,
    so that any number of workers draws the same ones. agent: whose turn it is in a session with sub-agents."""
    stream = "abandonment" if turn <= 1 else f"abandonment of turn {turn}"
    stream += f" of agent {agent}" if agent else ""
    return uniform(str(seed), stream, number) < plan.share


def check_abandonment(plan: Abandonment | None, lengths: LengthOptions, max_tokens: int) -> None:
    """Raises OptionError where no answer is so long that its user could leave it."""
    if plan is None or plan.after_tokens is None:
        return
    longest, option = max_tokens, "--max-tokens"
    if (output := lengths.plan.output) is not None:
        if output.most is None:
            return
        longest, option = output.most, "--output-tokens"
    if plan.after_tokens > longest:
        raise OptionError(
            f"{OPTION} after={plan.after} has no effect: no answer has more than {longest:,} tokens ({option}); give "
            "fewer tokens after which users leave, or longer answers."
        )


def _share(word: str, text: str, place: int) -> float:
    match = _SHARE.fullmatch(word)
    share = float(match[1]) / (100 if match[2] else 1) if match else 0.0
    if not 0 < share <= 1:
        raise PointedError(OPTION, text, place, f"expected a share like 10% or 0.1, up to 100%; got {word!r}")
    return share


def _after(value: str, text: str, place: int) -> Abandonment:
    """When users leave; the share is not known here."""
    if value.lower() == FIRST:
        return Abandonment(0.0, FIRST, after_tokens=1)
    if match := _TOKENS.fullmatch(value):
        tokens = int(match[1])
        if not 1 <= tokens <= MOST_TOKENS:
            message = f"expected a whole number of tokens from 1 to {MOST_TOKENS:,}, got {match[1]}"
            raise PointedError(OPTION, text, place, message)
        return Abandonment(0.0, f"{tokens}tok", after_tokens=tokens)
    try:
        seconds = parse_timespan(OPTION, value, above_zero=True)
    except TimespanError:
        message = f"expected a time above 0 like 500ms or 2s, first, or tokens like 200tok; got {value!r}"
        raise PointedError(OPTION, text, place, message) from None
    if seconds > _MOST_S:
        raise PointedError(OPTION, text, place, f"expected at most 24h, got {value}")
    return Abandonment(0.0, value if value[-1:].isalpha() else f"{value}s", after_s=seconds)
