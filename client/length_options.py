"""The options of request lengths: --input-tokens and --output-tokens."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from tokenswarm.client.option_values import OptionError
from tokenswarm.command_line import OptionAdder, collect_errors
from tokenswarm.prompts.synthetic.calibration import TextCalibration
from tokenswarm.prompts.synthetic.length_plan import LengthPlan, RequestLengths, length_plan
from tokenswarm.prompts.synthetic.synthetic_prompts import SyntheticSource

#: Not options of the command line: set when a run begins, and sent to workers with the options.
TEXT_CALIBRATION, WORKERS_OF_RUN = "text_calibration", "workers_of_run"

_NOTATIONS = "1024, n(550,100), u(100,2000), ln(512,p95=4096), hist:FILE"


@dataclass(frozen=True, slots=True)
class LengthOptions:
    """Which lengths requests are to have. input_notation: as given, "" for prompts of a data set. calibration: how
    texts of these lengths are made, None before the run's start has found it out. workers: of the run, at its start."""

    plan: LengthPlan = field(default_factory=LengthPlan)
    input_notation: str = ""
    calibration: TextCalibration | None = None
    workers: int = 1

    @classmethod
    def of(cls, options: Namespace) -> LengthOptions:
        """Check and convert. Raises PromptError, with the place of the error in a notation that cannot be read."""
        found: Any = getattr(options, TEXT_CALIBRATION, None)
        return cls(
            _plan_of(options.input_tokens, options.output_tokens),
            options.input_tokens.strip(),
            None if found is None else msgspec.convert(found, TextCalibration),
            getattr(options, WORKERS_OF_RUN, 1),
        )

    def facts(self) -> dict[str, str]:
        """What run.json records: which lengths are requested; nothing where none is."""
        names = [name for name in ("input", "output") if getattr(self.plan, name) is not None]
        return {"requested_lengths": " and ".join(names)} if names else {}

    def source(self, seed: int) -> SyntheticSource | None:
        """What defines the synthetic prompts; None where prompts are of a data set."""
        return SyntheticSource(self.input_notation, self.plan, seed) if self.plan.input is not None else None

    def of_request(self, seed: int, number: int, turn: int = 1) -> RequestLengths:
        """The lengths of the run's request of this number; of a session's of this number, of its turn from 1."""
        return self.plan.lengths(seed, number, turn)


def add_length_options(option: OptionAdder) -> None:
    """Add the options to Locust's parser."""
    option(
        "--input-tokens",
        "number of prompt tokens of each request, by the server's count, chat template and system prompt included. The "
        f"prompts are then synthetic. Notations: {_NOTATIONS}; for input and output lengths together pairs:128/64:25, "
        "D(100,1000) (docs/workloads.md#lengths). Empty: prompts are those of --prompts",
        metavar="LENGTHS",
        aliases=("--isl",),
    )
    option(
        "--output-tokens",
        f"number of output tokens of each request: {_NOTATIONS}. It is exact where the engine supports it (see "
        "--ignore-eos), otherwise the limit of each answer, with a warning. Empty: --max-tokens is the limit of all",
        metavar="LENGTHS",
        aliases=("--osl",),
    )


def check_output_range(plan: LengthPlan, tokens_range: tuple[int, int]) -> None:
    """Whether a server that takes so many output tokens takes all that are requested. Raises OptionError."""
    shortest, longest = tokens_range
    if plan.output is None or (plan.output.least >= shortest and (plan.output.most or longest + 1) <= longest):
        return
    most = "any number of" if plan.output.most is None else f"{plan.output.most}"
    raise OptionError(
        f"--output-tokens: this service takes {shortest} to {longest}, and {plan.output.least} to {most} tokens are "
        "requested; it would refuse requests. Bound the lengths, like n(100,20,min=10,max=200)."
    )


def check_conflicts(options: Namespace, sources: Mapping[str, str]) -> None:
    """At start-up: refuse options of which one would have no effect beside the other. sources: where each option that
    was given comes from, by its name. Raises OptionErrors."""
    with collect_errors() as errors:
        plan = errors.of(_plan_of, options.input_tokens, options.output_tokens)
        for name, other, sentence in _conflicts(plan or LengthPlan(), sources):
            if name in sources:
                errors.add(OptionError(f"{sources[name]} has no effect beside {other}: {sentence}."))


def _plan_of(input_text: str, output_text: str) -> LengthPlan:
    """As length_plan, with the errors of both options."""
    try:
        return length_plan(input_text, output_text)
    except ValueError:
        with collect_errors() as errors:
            errors.of(length_plan, input_text, "")
            errors.of(length_plan, "", output_text)
        raise


def _conflicts(plan: LengthPlan, sources: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    """(option without effect, what it stands beside, what to do)."""
    if plan.input is not None:
        for name in ("prompts", "prompts_column", "prompt_tokens"):
            yield name, sources["input_tokens"], "leave one out, for prompts of a data set or for synthetic ones"
    if plan.output is not None:
        yield "max_tokens", sources.get("output_tokens") or sources["input_tokens"], "leave one out"
