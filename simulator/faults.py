"""What is to go wrong, and when: counted, so that a run with faults can be repeated."""

from dataclasses import dataclass, fields

from simulator.errors import SimulatorError


@dataclass(frozen=True, slots=True)
class Faults:
    """What is to go wrong, or to look odd. 0 (None for `role_early_ms` and `max_queue`) means never.

    `fail_after`, `stall_after` and `stream_error_after` strike when an answer has that many tokens, in each
    `fault_every`-th request; a struck request leaves the batch.
    """

    error_every: int = 0
    fault_every: int = 1
    fail_after: int = 0
    stall_after: int = 0
    stream_error_after: int = 0
    max_queue: int | None = None
    role_early_ms: float | None = None
    per_chunk: int = 1
    reasoning_tokens: int = 0

    def __post_init__(self) -> None:
        for spec in fields(self):
            value, least = getattr(self, spec.name), 1 if spec.name in ("fault_every", "per_chunk") else 0
            if value is not None and not least <= value <= 1e9:
                raise SimulatorError(f"{spec.name} must be from {least} to 1e+09, got {value:g}.")

    def strikes_at(self, number: int) -> tuple[int, str]:
        """At how many tokens request `number` is struck (0: never), and the outcome that has."""
        if (number + 1) % self.fault_every:
            return 0, ""
        traps = ((self.fail_after, "cut"), (self.stall_after, "stalled"), (self.stream_error_after, "stream_error"))
        return min(((tokens, outcome) for tokens, outcome in traps if tokens), default=(0, ""))
