"""Sends the requests of a session with sub-agents: each agent's on a connection of its own, as they become due."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

import gevent
from gevent import GreenletExit
from gevent.event import Event
from gevent.pool import Group

from tokenswarm.client.agent_tree import AgentTree, DueRequest, RunningAgent
from tokenswarm.metrics.timeline import RequestLoad, Timeline
from tokenswarm.users.requests import PreparedRequest
from tokenswarm.wire import StreamClient

#: How often it is looked whether the session may go on.
_LOOK_S = 0.1


class Clients(Protocol):
    """Connections that are kept: see ConnectionPool."""

    def take(self) -> StreamClient: ...
    def give_back(self, client: StreamClient) -> None: ...


#: Makes the next request of an agent, to be sent on this connection.
PrepareDue = Callable[[StreamClient, DueRequest], PreparedRequest]
#: Sends it; None where it was not recorded.
SendPrepared = Callable[[PreparedRequest], Timeline | None]


class AgentSender:
    """Sends one session."""

    def __init__(
        self,
        tree: AgentTree,
        clients: Clients,
        prepare: PrepareDue,
        send: SendPrepared,
        may_send: Callable[[], bool],
    ) -> None:
        """clients: of sub-agents. may_send: whether one more request may be sent, which then counts as begun."""
        self._tree = tree
        self._clients = clients
        self._prepare = prepare
        self._send = send
        #: Nothing more is to be sent.
        self._over = Event()
        self._may_send = may_send
        self._requests = Group()
        self._clients_of: dict[RunningAgent, StreamClient] = {}
        self._error: BaseException | None = None

    def run(self, client: StreamClient, load: RequestLoad, goes_on: Callable[[], bool]) -> Timeline | None:
        """Send the first request now, the others when they are due, and return when all have ended: how the one ended
        that failed, if any. client: of the first agent; load: the waits before its first request; goes_on: whether the
        session may go on. Where the caller's greenlet is killed, so are the requests. Raises what a request raised that
        is a defect of ours."""
        first = self._tree.begin(time.perf_counter_ns(), load)
        self._clients_of[first.agent] = client
        self._start(first, is_begun=True)
        try:
            while not self._requests.join(_LOOK_S):
                if not goes_on():
                    self.stop()
        except (GreenletExit, KeyboardInterrupt):
            self._requests.kill()
            for other in self._clients_of.values():
                other.close()
            raise
        for agent, of_agent in self._clients_of.items():
            if agent is not first.agent:
                self._clients.give_back(of_agent)
        if self._error is not None:
            raise self._error
        return self._tree.failure

    def stop(self) -> None:
        """Send nothing more. What is under way ends."""
        self._tree.stop()
        self._over.set()

    def _start(self, due: DueRequest, *, is_begun: bool = False) -> None:
        self._requests.start(gevent.Greenlet(self._run_request, due, is_begun))

    def _run_request(self, due: DueRequest, is_begun: bool) -> None:
        try:
            prepared = self._prepare(self._client_of(due.agent), due)
            if self._over.wait(max(0.0, (due.due_ns - time.perf_counter_ns()) / 1e9)):
                return
            if not is_begun and not self._may_send():
                self.stop()
                return
            timeline = self._send(prepared)
        except Exception as error:
            self._error = self._error or error
            self.stop()
            return
        if timeline is None:
            self.stop()
            return
        for following in self._tree.ended(due.agent, timeline, timeline.retry_after_ns or 0):
            self._start(following)
        if self._tree.failure is not None:
            self.stop()
        if due.agent.is_over and due.agent.parent is not None:
            self._clients.give_back(self._clients_of.pop(due.agent))

    def _client_of(self, agent: RunningAgent) -> StreamClient:
        """An agent keeps its connection."""
        if agent not in self._clients_of:
            self._clients_of[agent] = self._clients.take()
        return self._clients_of[agent]
