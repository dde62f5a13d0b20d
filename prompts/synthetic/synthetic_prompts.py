"""A run's synthetic prompts: texts of requested lengths in place of a data set."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256

from tokenswarm.prompts.prompt_records import Prompt
from tokenswarm.prompts.synthetic.calibration import TextCalibration
from tokenswarm.prompts.synthetic.distributions import LengthDistribution
from tokenswarm.prompts.synthetic.length_plan import LengthPlan
from tokenswarm.prompts.synthetic.text_maker import NO_PREFIX, Prefix, TextMaker

#: Requests of workers that the run did not begin with are numbered from here on, each worker's in a range of its own.
_LATER_WORKERS = 1 << 40
#: Texts of the turns of a session are numbered in steps of this, beyond the numbers of all sessions.
_TURN_STEP = 1 << 64
#: Of the first word of a text, about.
HEAD_TOKENS = 2


def request_number(worker: int, workers: int, place: int) -> int:
    """The run's number of a worker's request of this place (from 0): those of worker k of W are k, k + W, k + 2W, …; a
    worker that joined later has numbers that no other has."""
    return worker + workers * place if worker < workers else (worker + 1) * _LATER_WORKERS + place


@dataclass(frozen=True, slots=True)
class SyntheticSource:
    """What defines a run's synthetic prompts. notation: of --input-tokens; seed: of lengths and texts. turns: how many
    each session has, None for single requests, and turns_notation: as --turns has them."""

    notation: str
    lengths: LengthPlan
    seed: int
    turns: LengthDistribution | None = None
    turns_notation: str = ""

    @property
    def name(self) -> str:
        """As run.json calls the source."""
        turns = f", {self.turns_notation} turns" if self.turns else ""
        return f"synthetic {self.notation}{turns}"

    @property
    def fingerprint(self) -> str:
        """SHA-256 (hexadecimal), equal for runs whose prompts have the same lengths and, with --prompt-reuse always,
        the same texts."""
        turns = f"/{self.turns!r}" if self.turns else ""
        return sha256(f"{self.lengths!r}/{self.seed}{turns}".encode()).hexdigest()

    def facts(self) -> dict[str, str | int | float]:
        """What run.json records of them."""
        return {"source": self.name, "fingerprint": self.fingerprint, "conversations": 0}


class SyntheticPrompts:
    """Makes the prompts of a run's requests, by their number."""

    def __init__(self, calibration: TextCalibration, maker: TextMaker) -> None:
        self._calibration = calibration
        self._maker = maker

    def prompt(self, number: int, tokens: int, mode: str, prefix: Prefix = NO_PREFIX) -> Prompt:
        """The prompt of the run's request of this number; mode: whether it has the system prompt, `on` or `off`."""
        text = self._maker.text(number, tokens, self._calibration.head_tokens[mode], prefix)
        return Prompt(text, tokens, id=str(number))

    def message(self, number: int, turn: int, tokens: int) -> str:
        """The user's message of a turn (from 2) of the run's session of this number: a text of so many tokens, the chat
        template not counted."""
        return self._maker.text(number + (turn - 1) * _TURN_STEP, tokens, HEAD_TOKENS)
