"""What a request of a user's own gives back: its answer, and how it was timed."""

from __future__ import annotations

from dataclasses import dataclass

from tokenswarm.metrics.timeline import Outcome, Timeline


class StreamFailed(Exception):
    """A request that was not ok, as raise_for_failure raises it; the text has its outcome."""


@dataclass(frozen=True, slots=True)
class StreamResponse:
    """One streamed answer, and how its request ended.

    text: what the answer says, as far as it came; reasoning, tool_arguments: the same of its reasoning and of the
    arguments of its tool calls, "" where there are none. timeline: the record of the request, from which all figures
    are calculated; its times are in nanoseconds.
    """

    text: str
    reasoning: str
    tool_arguments: str
    timeline: Timeline

    @property
    def outcome(self) -> Outcome:
        """How the request ended."""
        return self.timeline.outcome

    @property
    def ok(self) -> bool:
        """Whether the answer came as it should have."""
        return self.timeline.outcome is Outcome.OK

    @property
    def status(self) -> int | None:
        """The HTTP status, None where no response came."""
        return self.timeline.status

    @property
    def error(self) -> str | None:
        """What went wrong, None where nothing did."""
        return self.timeline.error

    @property
    def finish_reason(self) -> str | None:
        """Why the server ended the answer, None where it does not say."""
        return self.timeline.finish_reason

    @property
    def ttft_s(self) -> float | None:
        """Time to first token in seconds, None where none came."""
        return None if self.timeline.ttft_ns is None else self.timeline.ttft_ns / 1e9

    @property
    def message(self) -> dict[str, str]:
        """The answer as a message, for the next request of a conversation."""
        return {"role": "assistant", "content": self.text}

    def raise_for_failure(self) -> None:
        """Raises StreamFailed where the request was not ok."""
        if not self.ok:
            raise StreamFailed(f"{self.outcome.value}: {self.error or 'no message'}")
