"""The agents of one session: which requests are due when, as others end. Pure: no clock, no network.

An agent sends one request after the other. After some of them sub-agents begin, which work beside each other; the agent
sends its next request when all of them have ended. The first agent of a session is the one that no other waits for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from tokenswarm.client.chat_session import ChatSession
from tokenswarm.metrics.timeline import Outcome, RequestLoad, SessionPlace, Timeline


class RunningAgent:
    """An agent that works. session: its own turns. parent: the agent that waits for it, None for the first one."""

    def __init__(self, session: ChatSession, parent: RunningAgent | None = None) -> None:
        self.session = session
        self.parent = parent
        #: Sub-agents that have not ended, and how many have begun so far.
        self.working = self.begun = 0
        #: Whether sub-agents began after its last request.
        self.waits = False
        #: When its last request ended, and the last of its sub-agents.
        self.ended_ns = self.joined_ns = 0

    @property
    def is_over(self) -> bool:
        """Whether neither it nor a sub-agent of it sends any further request."""
        return self.session.is_over and not self.working


class DueRequest(NamedTuple):
    """The next request of an agent. due_ns: when it is to be sent, on perf_counter_ns; load: the waits before it."""

    agent: RunningAgent
    due_ns: int
    load: RequestLoad


#: Draws the think times in seconds of the agent of this name.
ThinkTimesOf = Callable[[str], Callable[[], float]]


class AgentTree:
    """The agents of one session, from its first request to the end of all. A request that fails ends the session: what
    is under way ends, and nothing more becomes due."""

    def __init__(self, first: ChatSession, think_times_of: ThinkTimesOf | None = None) -> None:
        """first: the turns of its first agent. think_times_of: for turns before which the source states no delay; None
        where users do not think."""
        self._first = first
        self._think_times_of = think_times_of
        self._think_times: dict[str, Callable[[], float]] = {}
        self._is_stopped = False
        #: How the request ended that ended the session before its time.
        self.failure: Timeline | None = None

    def begin(self, now_ns: int, load: RequestLoad) -> DueRequest:
        """The session's first request. load: the waits before it."""
        return DueRequest(RunningAgent(self._first), now_ns, load)

    def stop(self) -> None:
        """Nothing more becomes due."""
        self._is_stopped = True

    def ended(self, agent: RunningAgent, timeline: Timeline, wait_ns: int = 0) -> list[DueRequest]:
        """The agent's request has ended, which its session knows already. wait_ns: how long the agent waits where a
        limit refused it. Returns what is due because of it, in the order of the source."""
        agent.ended_ns = agent.joined_ns = timeline.over_ns
        if timeline.outcome not in (Outcome.OK, Outcome.REFUSED_BY_LIMIT):
            self.failure = self.failure or timeline
            self._is_stopped = True
        if self._is_stopped:
            return []
        if timeline.outcome is Outcome.REFUSED_BY_LIMIT:
            return [DueRequest(agent, timeline.over_ns + wait_ns, RequestLoad())]
        begun = [self._begin_sub_agent(agent, place) for place in range(len(agent.session.begun))]
        agent.waits = bool(begun)
        return begun or self._go_on(agent)

    def _begin_sub_agent(self, parent: RunningAgent, place: int) -> DueRequest:
        described = parent.session.begun[place]
        parent.begun += 1
        parent.working += 1
        above = parent.session.place
        first = SessionPlace(
            above.session,
            1,
            len(described.turns),
            f"{above.agent}.{parent.begun}",
            above.depth + 1,
            above.session_requests,
        )
        agent = RunningAgent(parent.session.agent(described, first), parent)
        delay_s = parent.session.shortened(described.turns[0].delay_s)
        delay_ns = None if delay_s is None else round(delay_s * 1e9)
        return DueRequest(agent, parent.ended_ns + (delay_ns or 0), RequestLoad(delay_ns))

    def _go_on(self, agent: RunningAgent) -> list[DueRequest]:
        """What is due as the agent waits for nobody."""
        if not agent.session.is_over:
            return [self._next_request(agent)]
        parent = agent.parent
        if parent is None:
            return []
        parent.working -= 1
        parent.joined_ns = max(parent.joined_ns, agent.joined_ns)
        return [] if parent.working else self._go_on(parent)

    def _next_request(self, agent: RunningAgent) -> DueRequest:
        think_s = agent.session.delay_s
        if think_s is None and self._think_times_of is not None:
            name = agent.session.place.agent
            if name not in self._think_times:
                self._think_times[name] = self._think_times_of(name)
            think_s = self._think_times[name]()
        think_ns = None if think_s is None else round(think_s * 1e9)
        join_ns = agent.joined_ns - agent.ended_ns if agent.waits else None
        agent.waits = False
        return DueRequest(agent, agent.joined_ns + (think_ns or 0), RequestLoad(think_ns, join_ns=join_ns))
