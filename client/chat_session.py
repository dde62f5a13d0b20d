"""A session of one or several turns, one request after the other, each with the history so far."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from msgspec.structs import replace

from tokenswarm.client.outcome import FULL_LENGTH
from tokenswarm.client.session_options import Answers
from tokenswarm.engines import EncodedImage
from tokenswarm.metrics.shareable import Shareable
from tokenswarm.metrics.timeline import NO_SESSION, Outcome, SessionPlace, Timeline
from tokenswarm.metrics.token_counts import TokenSource
from tokenswarm.prompts import ChatMessage, Prompt, SessionTurn, SubAgent
from tokenswarm.prompts.synthetic.length_plan import RequestLengths


class DrawnPrompt(NamedTuple):
    """A prompt, the lengths in tokens that the run's options request of its request, its image, the model of its
    request, the run's number of its session, and its place in that session. system_mark: what the run's system prompt
    begins with in it; group: of its prefix, None where it shares none; shareable: what a prefix cache may hold of it,
    None where that is not known."""

    prompt: Prompt
    lengths: RequestLengths = RequestLengths(None, None)
    image: EncodedImage | None = None
    model: str = ""
    number: int = 0
    place: SessionPlace = NO_SESSION
    system_mark: str = ""
    group: int | None = None
    shareable: Shareable | None = None
    #: Of a request that is replayed by itself, the session that it was recorded in; "" for `place`'s.
    recorded_session: str = ""


#: The turn of this number (from 2) of a synthetic session, and the lengths that are requested of it: its input tokens
#: are those that it adds to the prompt before and the answer to that, None where that is not known.
MakeTurn = Callable[[int], tuple[SessionTurn, RequestLengths]]


#: The request of a turn whose prompt is made of parts. The DrawnPrompt is of the turn before, and has the new place.
MakePrompt = Callable[[DrawnPrompt, SessionTurn], DrawnPrompt]


class ChatSession:
    """The turns of a session in their order, or those of one agent of it. `next` gives the request of the next turn,
    and `ended` says how it ended; the session is over once its last turn is answered, or a request failed.

    begun: the sub-agents that begin now, after the request that ended last."""

    def __init__(
        self,
        first: DrawnPrompt,
        turns: int = 1,
        answers: Answers = Answers.OWN,
        make_turn: MakeTurn | None = None,
        lengths_of: Callable[[int], RequestLengths] = lambda _: RequestLengths(None, None),
        open_agent: Callable[[SubAgent, SessionPlace], ChatSession] | None = None,
        make_prompt: MakePrompt | None = None,
        longest_delay_s: float | None = None,
    ) -> None:
        """turns: how many there are, the first one included. make_turn: of a synthetic session; None for one whose
        prompt has its turns. lengths_of: those that are requested of the request of a turn of these. open_agent: makes
        the turns of a sub-agent, whose first request has that place. make_prompt: of turns that are made of parts.
        longest_delay_s: longer ones are shortened to it."""
        self._drawn = first
        self._turns = turns
        self._answers = answers
        self._make_turn = make_turn
        self._lengths_of = lengths_of
        self._open_agent = open_agent
        self._make_prompt = make_prompt
        self._longest_delay_s = longest_delay_s
        self._answered = 0
        self.is_over = False
        self.begun: tuple[SubAgent, ...] = ()

    @property
    def place(self) -> SessionPlace:
        """Of the next request, or of the last one."""
        return self._drawn.place

    @property
    def keeps_answer(self) -> bool:
        """Whether the text of the answer to the next request is needed."""
        has_history = self._answers is Answers.OWN and not self._drawn.prompt.parts
        return has_history and self._answered + 1 < self._turns

    @property
    def delay_s(self) -> float | None:
        """How long before the next turn the source says to wait; None where it does not say, and without a next one."""
        recorded = self._drawn.prompt.turns
        if not self._answered or not recorded or self.is_over:
            return None
        return self.shortened(recorded[self._answered - 1].delay_s)

    def shortened(self, delay_s: float | None) -> float | None:
        """A delay of the source as it is to be waited."""
        longest_s = self._longest_delay_s
        return delay_s if delay_s is None or longest_s is None else min(delay_s, longest_s)

    def next(self) -> DrawnPrompt:
        """The next request: of the next turn, or of the same one again where it was not answered."""
        return self._drawn

    def ended(self, timeline: Timeline, answer: str) -> None:
        """The request was sent. answer: its visible text, where `keeps_answer` said so."""
        self.begun = ()
        if timeline.outcome is Outcome.REFUSED_BY_LIMIT:
            return  # the user waits as the server says, and sends the turn again
        self._answered += 1
        self.is_over = timeline.outcome is not Outcome.OK or self._answered == self._turns
        if timeline.outcome is Outcome.OK:
            self.begun = self._drawn.prompt.agents
        if not self.is_over:
            self._drawn = self._following(answer, timeline)

    def agent(self, agent: SubAgent, place: SessionPlace) -> ChatSession:
        """The turns of a sub-agent of this one, whose first request has that place."""
        assert self._open_agent is not None
        return self._open_agent(agent, place)

    def _following(self, answer: str, timeline: Timeline) -> DrawnPrompt:
        drawn, number = self._drawn, self._answered + 1
        place = drawn.place._replace(turn=number)
        if drawn.prompt.parts:
            assert self._make_prompt is not None
            return self._make_prompt(drawn._replace(place=place), drawn.prompt.turns[number - 2])
        answer_tokens, shareable = timeline.output_tokens, None
        if drawn.shareable and timeline.prompt_tokens and timeline.prompt_tokens_source == "usage":
            sent_again = answer_tokens if self._answers is Answers.OWN else 0
            shareable = drawn.shareable.next_turn(drawn.number, self._answered, timeline.prompt_tokens, sent_again)
        if self._make_turn is not None:
            turn, lengths = self._make_turn(number)
            lengths = lengths._replace(input=_requested_input(lengths.input, timeline))
        else:
            turn, lengths = drawn.prompt.turns[number - 2], self._lengths_of(number)
        history = _recorded_answer(turn)
        if self._answers is Answers.RECORDED:
            answer_tokens = turn.answer_tokens
        else:
            history = [(ChatMessage("assistant", answer), _calls_of(history))]
        prompt = replace(
            _with_turn(drawn.prompt, turn, history),
            tokens=drawn.prompt.tokens + answer_tokens + turn.tokens,
            max_tokens=turn.max_tokens if lengths.output is None else lengths.output,
            body_overrides=turn.body_overrides,
            agents=turn.agents,
        )
        return drawn._replace(prompt=prompt, lengths=lengths, place=place, shareable=shareable)


def _requested_input(added_tokens: int | None, before: Timeline) -> int | None:
    """The length of the prompt that follows on this request; None where it is not known exactly. An answer is sent
    again as it came, without reasoning, and without an end token that the server counted: so it is known of one that
    has its full length, and no reasoning."""
    counted = before.prompt_tokens_source == "usage" and before.output_tokens_source != TokenSource.EVENTS
    whole = before.finish_reason in FULL_LENGTH and before.first_visible_ns == before.first_ns
    if added_tokens is None or before.prompt_tokens is None or not (counted and whole):
        return None
    return before.prompt_tokens + before.output_tokens + added_tokens


#: A message, and its other fields: calls of tools, or the call that it is the result of.
_WithFields = tuple[ChatMessage, Mapping[str, Any]]


def _recorded_answer(turn: SessionTurn) -> list[_WithFields]:
    fields = turn.tool_fields or ({},) * len(turn.answer)
    return list(zip(turn.answer, fields, strict=False))


def _calls_of(answer: Sequence[_WithFields]) -> Mapping[str, Any]:
    """The calls of tools in a recorded answer: the results that follow belong to them, whatever the server calls."""
    return next((fields for _, fields in reversed(answer) if fields), {})


def _with_turn(before: Prompt, turn: SessionTurn, history: Sequence[_WithFields]) -> Prompt:
    """The prompt before, the answer to it, and the messages of the turn: of the user, or results of tools alone."""
    sent = before.messages[before.system is not None :]
    messages = [*sent, *(message for message, _ in history), *turn.before]
    fields: tuple[Mapping[str, Any], ...] = (
        *(before.tool_fields or ({},) * len(sent)),
        *(of_message for _, of_message in history),
        *(turn.tool_fields[len(turn.answer) :] or ({},) * len(turn.before)),
    )
    if not turn.text:
        place = len(before.earlier)
        later = tuple(messages[place + 1 :])
        return replace(before, later=later, tool_fields=fields if any(fields) else ())
    fields = (*fields, {})
    return replace(before, text=turn.text, earlier=tuple(messages), later=(), tool_fields=fields if any(fields) else ())
