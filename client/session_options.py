"""The options of sessions of several turns: --turns, --answers and --session-header."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from tokenswarm.client.custom_headers import check_header_name
from tokenswarm.client.option_values import OptionError, choice_of
from tokenswarm.command_line import Collected, OptionAdder, OptionErrors, collect_errors, parse_timespan
from tokenswarm.prompts import PromptError
from tokenswarm.prompts.synthetic.counter_random import uniform
from tokenswarm.prompts.synthetic.distributions import LengthDistribution
from tokenswarm.prompts.synthetic.histogram_file import read_histogram
from tokenswarm.prompts.synthetic.length_notation import parse_lengths
from tokenswarm.prompts.synthetic.synthetic_prompts import SyntheticSource

#: What --turns says of conversations in --prompts.
ALL, LAST = "all", "last"
_OPTION = "--turns"
_SUPPLY, _LONGEST = "--session-supply", "--longest-delay"
#: Options of an open loop.
_ARRIVALS = ("rate", "session_rate", "rate_schedule", "arrivals")
#: Longer than any conversation; a mistyped number would send the same history again and again.
_MOST_TURNS = 10_000


class Answers(StrEnum):
    """What requests have in place of the answers to the turns before: the server's own, or those of the source."""

    OWN = "own"
    RECORDED = "recorded"


class SessionSupply(StrEnum):
    """Whether sessions of a data set begin again once all have begun, or each begins once in a level, which ends when a
    user has none left."""

    REPEAT = "repeat"
    ONCE = "once"


@dataclass(frozen=True, slots=True)
class SessionOptions:
    """turns: how many each synthetic session has, None for one, and turns_notation: as given. whole_conversations:
    whether each conversation of a data set is a session of all its turns, or one request. header: the name of the
    header that has the session's id, "" for none. longest_delay_s: of the delays that a data set records, longer ones
    are shortened to it; None for no limit."""

    turns: LengthDistribution | None = None
    whole_conversations: bool = True
    answers: Answers = Answers.OWN
    header: str = ""
    turns_notation: str = ""
    supply: SessionSupply = SessionSupply.REPEAT
    longest_delay_s: float | None = None

    @classmethod
    def of(cls, options: Namespace, errors: Collected) -> SessionOptions:
        """Check and convert; what is wrong goes to `errors`."""
        text = options.turns.strip()
        return cls(
            turns=None if text in ("", ALL, LAST) else errors.of(_turns_of, text),
            whole_conversations=text != LAST,
            answers=errors.of(choice_of, Answers, "--answers", options.answers),
            header=errors.of(_header_of, options) or "",
            turns_notation=text,
            longest_delay_s=errors.of(parse_timespan, _LONGEST, options.longest_delay)
            if options.longest_delay
            else None,
            supply=errors.of(choice_of, SessionSupply, _SUPPLY, options.session_supply),
        )

    def of_source(self, source: SyntheticSource) -> SyntheticSource:
        """The source, whose sessions have these turns."""
        return replace(source, turns=self.turns, turns_notation=self.turns_notation) if self.turns else source

    def turns_of(self, seed: int, number: int) -> int:
        """How many turns the run's synthetic session of this number has: a pure function."""
        return 1 if self.turns is None else self.turns.length_at(uniform(str(seed), "turns", number))


def add_session_options(option: OptionAdder) -> None:
    """Add the options to Locust's parser."""
    option(
        _OPTION,
        "number of turns of each session; each turn sends the history so far "
        "(docs/workloads.md#conversations-of-several-turns). With --input-tokens: a number or a distribution like 8, "
        "n(6,2), u(2,12). With conversations in --prompts: all, or last (one request with all messages up to the last "
        "one of the user). Empty: 1 turn with --input-tokens, all turns of conversations",
    )
    option.choice(
        "--answers",
        Answers,
        Answers.OWN,
        "which answers are put into the history of later turns: own: what the server answered in this run; "
        "recorded: the answers of --prompts",
    )
    option(
        _LONGEST,
        "upper limit of the delays before turns that --prompts records, a time like 30s (0s: no delays); empty: all "
        "delays are as recorded",
        metavar="TIME",
    )
    option.choice(
        _SUPPLY,
        SessionSupply,
        SessionSupply.REPEAT,
        "repeat: when all sessions of --prompts have begun, they begin again; once: each begins once in a level, and "
        "the level ends when the first user runs out of sessions",
    )
    option(
        "--session-header",
        "name of a header that has the session's id in each request, for sticky routing",
        metavar="NAME",
    )


def check_conflicts(options: Namespace, sources: Mapping[str, str]) -> None:
    """At start-up: refuse options of which one would have no effect beside the other. sources: where each option that
    was given comes from, by its name. Raises OptionErrors."""
    with collect_errors() as errors:
        for sentence in _conflicts(options, sources):
            errors.add(OptionError(sentence))


def _conflicts(options: Namespace, sources: Mapping[str, str]) -> Iterator[str]:
    turns = options.turns.strip()
    synthetic = sources.get("input_tokens")
    if synthetic and turns in (ALL, LAST):
        yield f"--turns {turns} is for conversations of --prompts: give a number of turns beside {synthetic}."
    if synthetic and options.answers == Answers.RECORDED:
        yield f"--answers recorded has no effect beside {synthetic}, whose sessions hold no answers: leave it out."
    if not synthetic and turns not in ("", ALL, LAST):
        yield (
            f"--turns {turns} is for synthetic prompts: give --input-tokens too, or, for conversations of --prompts, "
            "--turns all or last."
        )
    if synthetic and options.longest_delay:
        yield f"--longest-delay has no effect beside {synthetic}, whose sessions have no recorded delays: leave it out."
    if options.session_supply == SessionSupply.ONCE:
        open_loop = next((sources[name] for name in _ARRIVALS if name in sources), "")
        if beside := synthetic or open_loop:
            why = "whose sessions never end" if synthetic else "an open loop, which has no users that begin sessions"
            yield f"--session-supply once has no effect beside {beside}, {why}: leave it out."
    if turns == LAST and "answers" in sources:
        yield f"{sources['answers']} has no effect beside --turns last, whose requests are sent as they were recorded."


def _turns_of(text: str) -> LengthDistribution:
    try:
        found = parse_lengths(text, _OPTION, read_histogram)
    except (PromptError, OptionErrors) as error:
        raise OptionError(str(error)) from None
    if found.output is not None:
        raise OptionError(f"{_OPTION} takes a number or one distribution, like 8, n(6,2) or u(2,12); got {text!r}.")
    if found.first.least > _MOST_TURNS:
        raise OptionError(f"{_OPTION} takes at most {_MOST_TURNS:,} turns, got {text!r}.")
    return found.first


def _header_of(options: Namespace) -> str:
    name = options.session_header.strip()
    if not name:
        return ""
    check_header_name("--session-header", name)
    if any(entry.partition(":")[0].strip().lower() == name.lower() for entry in options.header or ()):
        raise OptionError(f"--session-header {name} and a --header of that name exclude each other; leave one out.")
    return str(name)
