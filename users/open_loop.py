"""One level of an open loop: its requests are sent when they are due, on connections that are kept alive."""

from __future__ import annotations

import sys
import time
from functools import partial
from math import inf

import gevent
from gevent import GreenletExit
from gevent.event import Event
from locust import User
from locust.runners import STATE_CLEANUP, STATE_STOPPED, STATE_STOPPING

from tokenswarm.client.agent_tree import AgentTree, DueRequest
from tokenswarm.client.connection_pool import ConnectionPool
from tokenswarm.client.run_context import RunContext
from tokenswarm.client.trace_supply import LevelArrival
from tokenswarm.metrics.level import Level
from tokenswarm.metrics.timeline import PLAIN_LOAD, RequestLoad, Timeline
from tokenswarm.shapes.arrival_schedule import DueArrival
from tokenswarm.shapes.level_arrivals import schedule_of
from tokenswarm.shapes.worker_arrivals import WorkerArrivals
from tokenswarm.users.agent_sender import AgentSender
from tokenswarm.users.arrival_sender import ArrivalSender
from tokenswarm.users.current_run import Share
from tokenswarm.users.requests import PreparedRequest, UserRequests
from tokenswarm.users.requests_ahead import SendRequest
from tokenswarm.users.think_times import ThinkTimes, think_times_of_agents
from tokenswarm.users.time_slices import use_short_time_slices
from tokenswarm.wire import StreamClient

#: How often it is looked whether the level is over or the run is being stopped.
_LOOK_S = 0.1
#: Connections that are made ahead: as many requests may be due within the time that a connection takes.
_SPARE_CONNECTIONS = 8
_ENDING = (STATE_CLEANUP, STATE_STOPPING, STATE_STOPPED)


class OpenLoop:
    """Sends the requests of one level that are this process's, for the one user that the level has here."""

    def __init__(
        self, user: User, context: RunContext, requests: UserRequests, level: Level, share: Share | None
    ) -> None:
        """share: None in the one process of a local run. Raises ArrivalsError."""
        assert level.arrivals is not None and level.level_time_s is not None
        self._user = user
        self._recorder = recorder = context.recorder
        self._requests = requests
        self._index, self._level = level.index, level
        #: Once the level is over, sessions send no further turns.
        self._over = Event()
        self._ends_with_requests = level.ends_with_requests
        self._share = share
        schedule, most = schedule_of(level), level.arrivals.max_in_flight
        first = recorder.arrivals_begun.get(level.index, 0)
        if share is None:
            self._arrivals = WorkerArrivals.alone(schedule, most, first)
        else:
            self._arrivals = WorkerArrivals(schedule, recorder.worker, most, first, at_once=level.arrivals.at_once)
        #: Of each host.
        clients = [partial(context.client, host) for host in range(context.host_count)]
        self._pools = [ConnectionPool(client, _SPARE_CONNECTIONS, self._most_in_flight) for client in clients]
        #: Of each host; they never connect.
        self._encoders = [new_client() for new_client in clients]
        self._sender = ArrivalSender(self._arrivals, self._began_ns, self._prepare, own_requests=self._requests.replays)

    def run(self) -> None:
        """Until the level is over, or the run is stopped, and all requests have ended; where these end the level, until
        they have."""
        use_short_time_slices()
        gevent.config.set("track_greenlet_tree", False)  # it costs more than all else of starting a request's greenlet
        for pool in self._pools:
            pool.connect_spares()
        watch = gevent.spawn(self._stop_in_time)
        if self._share is not None:
            self._share.open(self._index, self._arrivals, self._sender.wake)
        try:
            self._sender.run()
            if not self._ends_with_requests:
                watch.join()  # no user of an open loop begins anew before its level is over
        finally:
            watch.kill()
            if self._share is not None:
                self._share.close(self._arrivals)
            for pool in self._pools:
                pool.close()

    def _began_ns(self) -> int:
        return self._recorder.levels[self._index].began_ns

    def _level_time_ns(self) -> float:
        """As it is now: a probe ends when it is decided."""
        level_time_s = self._recorder.levels[self._index].level.level_time_s
        return inf if level_time_s is None else level_time_s * 1e9

    def _most_in_flight(self) -> int | None:
        return self._arrivals.max_in_flight

    def _prepare(self, planned: DueArrival) -> SendRequest:
        of_level = LevelArrival(self._index, planned.number, self._level.warm_up)
        session = self._requests.begin_session(of_level)
        spec = self._requests.next_of(session, self._index)
        prepared = self._requests.prepare(self._encoders[spec.host_index], spec, session)
        pool = self._pools[spec.host_index]
        pool.expect(planned.due_s)

        def send(arrival: DueArrival, due_ns: int) -> None:
            client = pool.take(arrival.due_s)
            try:
                self._send_session(client, prepared, arrival, due_ns)
            except Exception as error:  # as Locust does with what a task raises
                self._user.environment.events.user_error.fire(
                    user_instance=self._user, exception=error, tb=sys.exc_info()[2]
                )
            except GreenletExit:  # it may have been waiting between two turns
                client.close()
                raise
            pool.give_back(client)

        return send

    def _send_session(self, client: StreamClient, prepared: PreparedRequest, arrival: DueArrival, due_ns: int) -> None:
        """Its turns, one after the other on this connection, until it or the level is over."""
        assert prepared.session is not None
        if prepared.session.place.agent:
            self._send_agents(client, prepared, arrival, due_ns)
            return
        session, spec = prepared.session, prepared.spec
        number: int | None = arrival.number
        think_times: ThinkTimes | None = None
        while True:
            prepared.request.due(client, due_ns)
            timeline = self._requests.send(prepared, number)
            if timeline is None or session.is_over:
                return
            think_times = think_times or ThinkTimes(self._level, spec.place.session)
            recorded_s = session.delay_s
            think_s = think_times.next_s() if recorded_s is None else recorded_s
            due_ns, number = timeline.over_ns + round(think_s * 1e9), None
            thinks = self._level.think_time is not None or recorded_s is not None
            load = RequestLoad(round(think_s * 1e9)) if thinks else PLAIN_LOAD
            spec = self._requests.next_of(session, self._index, load, spec.host_index)
            prepared = self._requests.prepare(client, spec, session)
            if self._over.wait(max(0.0, (due_ns - time.perf_counter_ns()) / 1e9)):
                return

    def _send_agents(self, client: StreamClient, first: PreparedRequest, arrival: DueArrival, due_ns: int) -> None:
        """A session with sub-agents. client: of its first agent; first: its first request."""
        host = first.spec.host_index
        requests = self._requests
        is_first = True

        def prepare(of_agent: StreamClient, due: DueRequest) -> PreparedRequest:
            nonlocal is_first
            if is_first:
                is_first = False
                first.request.due(of_agent, due_ns)
                return first
            of = due.agent.session
            prepared = requests.prepare(of_agent, requests.next_of(of, self._index, due.load, host), of)
            prepared.request.due(of_agent, due.due_ns)
            return prepared

        def send(prepared: PreparedRequest) -> Timeline | None:
            return requests.send(prepared, arrival.number if prepared is first else None)

        session = first.session
        assert session is not None
        tree = AgentTree(session, think_times_of_agents(self._level, session.place.session))
        sender = AgentSender(tree, self._pools[host], prepare, send, self._goes_on)
        sender.run(client, PLAIN_LOAD, self._goes_on)

    def _goes_on(self) -> bool:
        """Whether sessions send further turns."""
        return not self._over.is_set()

    def _stop_in_time(self) -> None:
        runner = self._user.environment.runner
        while time.perf_counter_ns() < self._began_ns() + self._level_time_ns():
            if runner is None or runner.state in _ENDING:
                break
            gevent.sleep(_LOOK_S)
        self._over.set()
        self._sender.stop()
