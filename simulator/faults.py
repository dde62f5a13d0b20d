"""What is to go wrong, and when: counted, so that a run with faults can be repeated."""

from dataclasses import dataclass, fields

from tokenswarm.simulator.errors import SimulatorError, option_name

#: `own`: what the dialect's engine does. Otherwise a status, or error events under status 200.
OVERLOADS = ("own", "429", "503", "in-stream")
#: `requested`: as the request says. Otherwise the last event, every event or no event counts tokens, whatever it says.
USAGES = ("requested", "never", "last", "every")
#: What becomes of an answer whose client has left: its sequence is taken out of the batch, or generated to its end.
DISCONNECTS = ("stop", "generate")


@dataclass(frozen=True, slots=True)
class Faults:
    """What is to go wrong, or to look odd. None means never.

    Five faults are injected when an answer has that many tokens, in each `fault_every`-th request: `fail_after` (the
    connection is cut), `truncate_after` (the body ends early and well), `stream_error_after` (an error event),
    `break_after` (whichever of these three the dialect's engine does) and `stall_after` (silence). A request with
    such a fault leaves the batch.

    empty_every: each N-th token has no text. rechunk: HTTP chunks of 1 to N bytes, wherever that cuts.
    split_characters: characters beyond ASCII are spread over two tokens. keep_alive_s: a comment after so much silence.
    pause_at: with this request, counted from 1, all streams pause for pause_s seconds, once. first_event: so many
    tokens in the first event. gather: so many events in one send, 0 for the whole answer; the role goes with the first
    of them. no_done: streams end without `[DONE]`. on_disconnect: one of DISCONNECTS; what an engine generates on is in
    its metrics, and neither sent nor logged."""

    error_every: int | None = None
    fault_every: int = 1
    fail_after: int | None = None
    truncate_after: int | None = None
    stream_error_after: int | None = None
    break_after: int | None = None
    stall_after: int | None = None
    pause_at: int | None = None
    pause_s: float = 5.0
    max_queue: int | None = None
    overload: str = "own"
    retry_after: int | None = None
    cold_start_s: float | None = None
    role_early_ms: float | None = None
    keep_alive_s: float | None = None
    per_chunk: int = 1
    first_event: int | None = None
    gather: int = 1
    no_done: bool = False
    empty_every: int | None = None
    rechunk: int | None = None
    reasoning_tokens: int = 0
    usage: str = "requested"
    split_characters: bool = False
    head_at_once: bool | None = None
    on_disconnect: str = "stop"

    def __post_init__(self) -> None:
        for spec in fields(self):
            value = getattr(self, spec.name)
            if spec.name in _WORDS:
                if value not in _WORDS[spec.name]:
                    words = ", ".join(_WORDS[spec.name])
                    raise SimulatorError(f"{option_name(spec.name)} must be one of {words}, got {value}.")
            elif value is not None and not isinstance(value, bool):
                least = _LEAST.get(spec.name, 1)
                if not least <= value <= 1e9:
                    raise SimulatorError(f"{option_name(spec.name)} must be from {least:g} to 1e+09, got {value:g}.")

    def fault_of(self, number: int, breaks: str) -> tuple[int, str]:
        """At how many tokens a fault is injected into request `number` (0: never), and the outcome that it has.

        `breaks` is the outcome of `break_after`.
        """
        if (number + 1) % self.fault_every:
            return 0, ""
        traps = (
            (self.fail_after, "cut"),
            (self.truncate_after, "truncated"),
            (self.stream_error_after, "stream_error"),
            (self.break_after, breaks),
            (self.stall_after, "stalled"),
        )
        return min(((tokens, outcome) for tokens, outcome in traps if tokens), default=(0, ""))


_WORDS = {"overload": OVERLOADS, "usage": USAGES, "on_disconnect": DISCONNECTS}
_LEAST = {
    "gather": 0,
    "max_queue": 0,
    "retry_after": 0,
    "role_early_ms": 0,
    "reasoning_tokens": 0,
    "cold_start_s": 0,
    "keep_alive_s": 0.001,
    "pause_s": 0,
}
