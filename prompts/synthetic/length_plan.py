"""Which lengths each request of a run has: a pure function of (seed, number of the request)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from tokenswarm.prompts.prompt_records import PromptError
from tokenswarm.prompts.synthetic.counter_random import uniform
from tokenswarm.prompts.synthetic.distributions import LengthDistribution
from tokenswarm.prompts.synthetic.histogram_file import read_histogram
from tokenswarm.prompts.synthetic.length_notation import INPUT_OPTION, OUTPUT_OPTION, ReadHistogram, parse_lengths


class RequestLengths(NamedTuple):
    """Tokens of one request; None where no length is requested."""

    input: int | None
    output: int | None


@dataclass(frozen=True, slots=True)
class LengthPlan:
    """The distributions of a run's lengths; None where none is requested. paired: both lengths of a request are taken
    at the same quantile."""

    input: LengthDistribution | None = None
    output: LengthDistribution | None = None
    paired: bool = False

    def lengths(self, seed: int, number: int, turn: int = 1) -> RequestLengths:
        """The lengths of the run's request of this number; of a session's of this number, of its turn from 1."""
        of_input, of_output = "input tokens", "input tokens" if self.paired else "output tokens"
        if turn > 1:
            of_input, of_output = f"{of_input} of turn {turn}", f"{of_output} of turn {turn}"
        return RequestLengths(
            None if self.input is None else self.input.length_at(uniform(str(seed), of_input, number)),
            None if self.output is None else self.output.length_at(uniform(str(seed), of_output, number)),
        )


def length_plan(input_text: str, output_text: str, read: ReadHistogram = read_histogram) -> LengthPlan:
    """The plan of --input-tokens and --output-tokens; "" is not given. Raises PromptError, with the place of the error
    for a notation that cannot be read."""
    joint = parse_lengths(input_text, INPUT_OPTION, read) if input_text.strip() else None
    output = parse_lengths(output_text, OUTPUT_OPTION, read) if output_text.strip() else None
    if output is not None and output.output is not None:
        raise PromptError(
            f"{OUTPUT_OPTION}: {output_text!r} gives both lengths; put it into {INPUT_OPTION}, and leave out "
            f"{OUTPUT_OPTION}."
        )
    if joint is None:
        return LengthPlan(output=None if output is None else output.first)
    if joint.output is not None and output is not None:
        raise PromptError(
            f"{OUTPUT_OPTION} has no effect beside {INPUT_OPTION} {input_text!r}, which gives both lengths: leave one "
            "of the two out."
        )
    if joint.output is not None:
        return LengthPlan(joint.first, joint.output, joint.paired)
    return LengthPlan(joint.first, None if output is None else output.first)
