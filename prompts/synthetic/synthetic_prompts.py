"""A run's synthetic prompts: texts of requested lengths in place of a data set."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256

from tokenswarm.prompts.prompt_records import Prompt
from tokenswarm.prompts.synthetic.calibration import TextCalibration
from tokenswarm.prompts.synthetic.length_plan import LengthPlan
from tokenswarm.prompts.synthetic.text_maker import TextMaker

#: Requests of workers that the run did not begin with are numbered from here on, each worker's in a range of its own.
_LATER_WORKERS = 1 << 40


def request_number(worker: int, workers: int, place: int) -> int:
    """The run's number of a worker's request of this place (from 0): those of worker k of W are k, k + W, k + 2W, …; a
    worker that joined later has numbers that no other has."""
    return worker + workers * place if worker < workers else (worker + 1) * _LATER_WORKERS + place


@dataclass(frozen=True, slots=True)
class SyntheticSource:
    """What defines a run's synthetic prompts. notation: of --input-tokens; seed: of lengths and texts."""

    notation: str
    lengths: LengthPlan
    seed: int

    @property
    def name(self) -> str:
        """As run.json calls the source."""
        return f"synthetic {self.notation}"

    @property
    def fingerprint(self) -> str:
        """SHA-256 (hexadecimal), equal for runs whose prompts have the same lengths and, with --prompt-reuse always,
        the same texts."""
        return sha256(f"{self.lengths!r}/{self.seed}".encode()).hexdigest()

    def facts(self) -> dict[str, str | int | float]:
        """What run.json records of them."""
        return {"source": self.name, "fingerprint": self.fingerprint, "conversations": 0}


class SyntheticPrompts:
    """Makes the prompts of a run's requests, by their number."""

    def __init__(
        self, source: SyntheticSource, calibration: TextCalibration, nonce: str, maker: TextMaker | None = None
    ) -> None:
        """nonce: of the run; "" makes the same texts in every run."""
        self._source = source
        self._calibration = calibration
        self._maker = maker or TextMaker(calibration.costs, f"{source.seed}/{nonce}", scale=calibration.scale)

    def prompt(self, number: int, tokens: int, mode: str) -> Prompt:
        """The prompt of the run's request of this number; mode: whether it has the system prompt, `on` or `off`."""
        text = self._maker.text(number, tokens, self._calibration.head_tokens[mode])
        return Prompt(text, tokens, id=str(number))
