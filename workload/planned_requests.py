"""The requests of a run as its options define them, without a server: their lengths, and what they share with others.

Lengths of a synthetic prompt are the requested ones. Those of a data set are counted by the tokenizer, or estimated.
What a server would answer is not known: an answer is as long as is requested, else as the source recorded it, else as
long as the cap allows.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import cycle
from typing import Protocol

from tokenswarm.client.abandon_options import is_abandoned
from tokenswarm.client.agent_tree import AgentTree
from tokenswarm.client.chat_session import DrawnPrompt
from tokenswarm.client.prompt_supply import PromptSupply
from tokenswarm.client.request_options import ChatOptions
from tokenswarm.client.session_options import Answers
from tokenswarm.client.workload import Workload
from tokenswarm.metrics.timeline import PLAIN_LOAD, Outcome, Timeline
from tokenswarm.prompts import PromptReuse, PromptSet, estimate_tokens
from tokenswarm.prompts.prompt_parts import COMMON_PART
from tokenswarm.prompts.synthetic.calibration import TextCalibration
from tokenswarm.prompts.synthetic.synthetic_prompts import SyntheticSource
from tokenswarm.prompts.traces.replay_plan import ReplayPlan
from tokenswarm.prompts.traces.trace_source import TraceSource
from tokenswarm.workload.prefix_hits import Beginning

#: Stands for one of a run's start, where prefixes are put before prompts of a data set: their texts do not matter here.
_ANY_WORDS = TextCalibration({"one": 1, "two": 1, "three": 1, "four": 1}, {"on": 0, "off": 0}, "usage")


@dataclass(frozen=True, slots=True)
class PlannedRequest:
    """One request. session: its number in the run; turn: from 1; input_tokens, output_tokens: see above; is_exact:
    whether the output has exactly that length; prefix_tokens: of the prefix that it shares with others. abandons:
    whether its user leaves it. finds: beginnings that a prefix cache may hold of it, leaves: those that it leaves
    there."""

    session: int
    turn: int
    input_tokens: int
    output_tokens: int
    is_exact: bool
    prefix_tokens: int = 0
    abandons: bool = False
    finds: tuple[Beginning, ...] = ()
    leaves: tuple[Beginning, ...] = ()


class RequestSource(Protocol):
    """sessions: the requests of each session of the run from this number on, in order, in a system-prompt mode (`on`,
    `off`)."""

    def sessions(self, first: int, mode: str) -> Iterator[list[PlannedRequest]]: ...


def request_source(options: ChatOptions, workload: Workload) -> RequestSource:
    """The source of a run's requests. Raises what an unusable option raises."""
    if isinstance(workload.prompts, SyntheticSource):
        return _SyntheticRequests(options, workload)
    if isinstance(workload.prompts, TraceSource):
        return _ReplayedRequests(options, workload, workload.prompts.plan)
    return _DataSetRequests(options, workload, workload.prompts)


def system_prompt_tokens(workload: Workload) -> int:
    """Of the run's system prompt, by the tokenizer, or estimated."""
    return (workload.count_tokens or estimate_tokens)(workload.system_prompt)


class _Common:
    """What requests of all sources have in common."""

    def __init__(self, options: ChatOptions, workload: Workload) -> None:
        self._options = options
        self._system_tokens = system_prompt_tokens(workload)

    def _head_tokens(self, mode: str) -> int:
        return self._system_tokens if mode == "on" else 0

    def _abandons(self, number: int, turn: int, agent: str = "") -> bool:
        plan = self._options.abandonment
        return plan is not None and is_abandoned(plan, self._options.seed, number, turn, agent)

    def _shared(self, mode: str, group: int | None) -> tuple[Beginning, ...]:
        """The system prompt, and the prefix of the group behind it."""
        head, prefix = self._head_tokens(mode), self._options.cache.prefix
        found = (Beginning(("start", mode), head, head),) if head else ()
        if group is None or prefix is None:
            return found
        return (*found, Beginning(("group", mode, group), head + prefix.tokens, head + prefix.tokens))

    def _group(self, number: int) -> int | None:
        prefix = self._options.cache.prefix
        return prefix.group(self._options.seed, number) if prefix and self._options.cache.shares else None

    def _turn(
        self, request: PlannedRequest, mode: str, before: PlannedRequest | None, agent: str = ""
    ) -> PlannedRequest:
        """The request with what it shares with others. before: of the turn before."""
        options = self._options
        if not options.cache.shares:
            return request
        finds = self._shared(mode, self._group(request.session))
        own = ("turn", request.session, agent, request.turn)
        answered = request.input_tokens + (request.output_tokens if options.sessions.answers is Answers.OWN else 0)
        if before is not None:
            key = ("turn", request.session, agent, before.turn)
            most = before.input_tokens
            most += before.output_tokens if options.sessions.answers is Answers.OWN else 0
            finds = (*finds, Beginning(key, before.input_tokens, most))
        leaves = (*finds, Beginning(own, request.input_tokens, answered))
        return replace(request, finds=finds, leaves=leaves)


class _SyntheticRequests(_Common):
    """Of synthetic prompts: lengths alone, no text is made."""

    def sessions(self, first: int, mode: str) -> Iterator[list[PlannedRequest]]:
        """See RequestSource."""
        number = first
        while True:
            yield self._session(number, mode)
            number += 1

    def _session(self, number: int, mode: str) -> list[PlannedRequest]:
        options, found = self._options, list[PlannedRequest]()
        prefix = options.cache.prefix.tokens if options.cache.prefix and options.cache.shares else 0
        for turn in range(1, options.sessions.turns_of(options.seed, number) + 1):
            lengths = options.lengths.of_request(options.seed, number, turn)
            before = found[-1] if found else None
            tokens = lengths.input or 0
            if before is not None:
                tokens += before.input_tokens + before.output_tokens
            output = options.max_tokens if lengths.output is None else lengths.output
            is_exact = lengths.output is not None or options.ignore_eos
            request = PlannedRequest(number, turn, tokens, output, is_exact, prefix, self._abandons(number, turn))
            found.append(self._turn(request, mode, before))
            if request.abandons:
                break
        return found


class _DataSetRequests(_Common):
    """Of the rows of a data set, drawn and continued as a run does."""

    def __init__(self, options: ChatOptions, workload: Workload, prompts: PromptSet) -> None:
        super().__init__(options, workload)
        lengths = replace(options.lengths, calibration=_ANY_WORDS, workers=1)
        self._supply = PromptSupply(
            replace(options, lengths=lengths, prompt_nonce=options.prompt_nonce or "described"),
            *(prompts, workload.count_tokens, 0),
        )
        self._repeats = options.prompt_reuse is not PromptReuse.NEVER

    def sessions(self, first: int, mode: str) -> Iterator[list[PlannedRequest]]:
        """See RequestSource."""
        place = first
        while True:
            yield self._session(place, mode)
            place += 1

    def _session(self, place: int, mode: str) -> list[PlannedRequest]:
        session = self._supply.session(place, with_system_prompt=mode == "on")
        tree, found = AgentTree(session), list[PlannedRequest]()
        last: dict[str, PlannedRequest] = {}
        due = deque([tree.begin(0, PLAIN_LOAD)])
        while due:
            agent = due.popleft().agent
            drawn = agent.session.next()
            name = drawn.place.agent
            request = self._request(drawn, mode, last.get(name))
            found.append(request)
            last[name] = request
            timeline = _answered(request)
            agent.session.ended(timeline, "")
            due.extend(tree.ended(agent, timeline))
        return found

    def _request(self, drawn: DrawnPrompt, mode: str, before: PlannedRequest | None) -> PlannedRequest:
        prompt, options, place = drawn.prompt, self._options, drawn.place
        output, is_exact, turn = drawn.lengths.output, drawn.lengths.output is not None, max(1, place.turn)
        if output is None:
            recorded = prompt.turns[turn - 1].answer_tokens if turn <= len(prompt.turns) else 0
            output = recorded or (options.max_tokens if prompt.max_tokens is None else prompt.max_tokens)
        prefix = options.cache.prefix.tokens if options.cache.prefix and options.cache.shares else 0
        request = PlannedRequest(
            *(drawn.number, turn, prompt.tokens + self._head_tokens(mode), output, is_exact, prefix),
            self._abandons(drawn.number, place.turn, place.agent),
        )
        if prompt.parts:
            return self._made(request, drawn, mode)
        request = self._turn(request, mode, before, place.agent)
        if not self._repeats or turn > 1 or not options.cache.shares:
            return request
        whole = Beginning(("prompt", mode, prompt.id), request.input_tokens, request.input_tokens)
        return replace(request, finds=(*request.finds, whole), leaves=(*request.leaves, whole))

    def _made(self, request: PlannedRequest, drawn: DrawnPrompt, mode: str) -> PlannedRequest:
        """Of a source that records lengths and shared beginnings alone: the system prompt is a part of the length."""
        request = replace(request, input_tokens=drawn.prompt.tokens)
        if not self._options.cache.shares:
            return request
        scope = drawn.prompt.id if self._repeats else str(drawn.number)
        found, end = list(self._shared(mode, None)), 0
        for part in drawn.prompt.parts:
            end += part.tokens
            owner = "" if part.key == COMMON_PART else scope
            found.append(Beginning(("part", mode, owner, part.key), end, end))
        return replace(request, finds=tuple(found), leaves=tuple(found))


class _ReplayedRequests(_Common):
    """Of a trace: each level replays it from its beginning."""

    def __init__(self, options: ChatOptions, workload: Workload, plan: ReplayPlan) -> None:
        super().__init__(options, workload)
        self._plan = plan
        self._lengths = list(zip(plan.input_tokens.tolist(), plan.output_tokens.tolist(), strict=True))
        self._blocks = plan.shared_blocks if options.cache.shares else None

    def sessions(self, first: int, mode: str) -> Iterator[list[PlannedRequest]]:
        """See RequestSource."""
        for number in cycle(range(len(self._plan))):
            yield [self._request(number, mode)]

    def _request(self, number: int, mode: str) -> PlannedRequest:
        options, (tokens, output) = self._options, self._lengths[number]
        stated = output or options.lengths.of_request(options.seed, number).output
        request = PlannedRequest(
            *(number, 1, tokens, stated or options.max_tokens, bool(stated) or options.ignore_eos),
            abandons=self._abandons(number, 0),
        )
        if self._blocks is None:
            return request
        shared = self._blocks.beginnings(number)
        found = [Beginning(("block", mode, each.key, each.is_end), each.least, each.most) for each in shared]
        found = [*self._shared(mode, None), *found]
        return replace(request, finds=tuple(found), leaves=tuple(found))


def _answered(request: PlannedRequest) -> Timeline:
    """The end of the request as it is planned."""
    outcome = Outcome.ABANDONED if request.abandons else Outcome.OK
    return Timeline("", 0, outcome, 0, 0, 0, output_tokens=request.output_tokens)
