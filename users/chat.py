"""The users: each sends a request, reads the whole response, and sends the next one at once or after its think time. In
an open loop, the one user of each process sends each of its requests when it is due."""

from __future__ import annotations

import logging
import time
from functools import partial
from typing import Any, ClassVar

import msgspec
from locust import User, events, task
from locust.env import Environment

from tokenswarm.client.agent_tree import AgentTree, DueRequest
from tokenswarm.client.chat_session import ChatSession
from tokenswarm.client.connection_pool import ConnectionPool
from tokenswarm.client.request_spec import RequestSpec
from tokenswarm.client.run_context import RunContext
from tokenswarm.command_line import refuse
from tokenswarm.metrics.level import AfterFailure, Level, RunningLevel
from tokenswarm.metrics.timeline import Outcome, RequestLoad, Timeline
from tokenswarm.sanitize import shown
from tokenswarm.shapes.arrival_notation import ArrivalsError
from tokenswarm.upstream.locust_internals import is_stopping
from tokenswarm.users.agent_sender import AgentSender
from tokenswarm.users.current_run import CURRENT_RUN
from tokenswarm.users.open_loop import OpenLoop
from tokenswarm.users.requests import PreparedRequest, UserRequests
from tokenswarm.users.think_times import ThinkTimes, start_pause_s, think_times_of_agents
from tokenswarm.wire import StreamClient

logger = logging.getLogger(__name__)

#: How long a user waits before it looks again whether requests are to be sent.
_IDLE_S = 0.1
#: The same once all requests of the level have begun: others still stream, and are not to be disturbed.
_WAIT_FOR_END_S = 1.0


class BuiltInUser(User):
    """Streams one response after the other on a connection of its own."""

    abstract = True
    with_system_prompt: ClassVar[bool]

    def on_start(self) -> None:
        """Before there is a run's context, a user waits: Locust spawns users early on a worker that joins in mid-run,
        and where the run could not begin."""
        self._number = CURRENT_RUN.next_user()
        self._context: RunContext | None = None
        self._client: StreamClient | None = None
        #: Open-loop levels that it has begun: none is sent twice, whatever becomes of it.
        self._sent_levels: set[int] = set()
        self._in_run = 0
        #: The place of its host, None before its first request and in an open loop.
        self._host: int | None = None
        self._think_times: ThinkTimes | None = None
        #: The index of the last level that it began at a random moment.
        self._started_level = -1
        #: Seconds until the next task.
        self._pause_s = 0.0
        #: The session that it sends turns of, and the index of its level.
        self._session: tuple[ChatSession | None, int] = (None, -1)
        #: The think time before the next request, None where that is not to be waited for.
        self._think_ns: int | None = None

    def wait_time(self) -> float:
        """Seconds that Locust waits before the next task. A user that is to stop meanwhile ends at once."""
        return self._pause_s

    def on_stop(self) -> None:
        """Leave no connection open."""
        if self._client is not None:
            self._client.close()
        if self._host is not None and self._context is not None:
            self._context.hosts.leave(self._host)
            self._host = None

    @task
    def chat(self) -> None:
        """Send one request, and report it to Locust once; in an open loop, all requests of the level."""
        self._pause_s = 0.0
        context = self._context = self._context or CURRENT_RUN.run_context
        level = context.open_level() if context else None
        if context is None or level is None or level.level.index in self._sent_levels:
            self._pause_s = _IDLE_S
            return
        name = f"{context.recorder.worker}.{self._number}"
        requests = UserRequests(self.environment, context, name, self.with_system_prompt, CURRENT_RUN.default_name)
        if level.level.arrivals is not None:
            self._sent_levels.add(level.level.index)
            self._send_open_loop(context, requests, level.level)
            return
        if level.level.random_start and self._is_early(context, level):
            return
        if not context.recorder.takes_request(level.level.index):
            self._pause_s = _WAIT_FOR_END_S
            return
        think_times = self._think_times_of(context, level.level)
        load = RequestLoad(self._think_ns)
        session, is_new = self._session_of(requests, level.level.index)
        if session is None:
            workers = context.options.lengths.workers
            if context.recorder.worker < workers:  # those that joined later have no share of the sessions
                context.recorder.ran_dry(level.level.index, time.perf_counter_ns(), is_alone=workers == 1)
            self._pause_s = _WAIT_FOR_END_S
            return
        host, client = self._connect(context, is_new)
        after_failure = level.level.after_failure
        if session.place.agent:
            timeline = self._send_agents(context, requests, level.level, session, load)
        else:
            spec = _honouring(requests.next_of(session, level.level.index, load, host), after_failure)
            timeline = requests.send(requests.prepare(client, spec, session))
        wait_s = _wait_after(timeline, after_failure)
        recorded_s = None if session.is_over or session.place.agent else session.delay_s
        think_s = think_times.next_s() if recorded_s is None else recorded_s
        self._pause_s = max(think_s, wait_s or 0.0)
        thinks = level.level.think_time is not None or recorded_s is not None
        self._think_ns = round(think_s * 1e9) if thinks and wait_s is None else None

    def _is_early(self, context: RunContext, level: RunningLevel) -> bool:
        """Whether the user is to wait before it begins the level at a random moment; it then waits for that."""
        if self._started_level == level.level.index:
            return False
        self._started_level = level.level.index
        self._think_times_of(context, level.level)
        user = f"{context.recorder.worker}.{self._in_run}"
        self._pause_s = start_pause_s(level, context.options.seed, user, time.perf_counter_ns())
        return self._pause_s > 0

    def _session_of(self, requests: UserRequests, level_index: int) -> tuple[ChatSession | None, bool]:
        """(the session that the user sends the next turn of, None where there is none left; whether that is its first
        one): a session ends with its level at the latest."""
        session, of_level = self._session
        if session is not None and not session.is_over and of_level == level_index:
            return session, False
        session = requests.begin_session_of(level_index)
        self._session = session, level_index
        return session, True

    def _send_agents(
        self, context: RunContext, requests: UserRequests, level: Level, session: ChatSession, load: RequestLoad
    ) -> Timeline | None:
        """A whole session with sub-agents, as far as the level lets it. Returns how the request ended that failed, if
        any."""
        assert self._client is not None and self._host is not None
        host, client = self._host, self._client

        def goes_on() -> bool:
            now = context.open_level()
            return now is not None and now.level.index == level.index and not is_stopping(self)

        def may_send() -> bool:
            return goes_on() and context.recorder.takes_request(level.index)

        def prepare(of_agent: StreamClient, due: DueRequest) -> PreparedRequest:
            spec = requests.next_of(due.agent.session, level.index, due.load, host)
            return requests.prepare(of_agent, _honouring(spec, level.after_failure), due.agent.session)

        tree = AgentTree(session, think_times_of_agents(level, session.place.session))
        pool = ConnectionPool(partial(context.client, host))
        self._session = None, level.index
        try:
            return AgentSender(tree, pool, prepare, requests.send, may_send).run(client, load, goes_on)
        finally:
            pool.close()

    def _connect(self, context: RunContext, for_new_session: bool) -> tuple[int, StreamClient]:
        """(the place of the user's host, its client there): the same as before, unless users are spread unevenly when
        a session begins."""
        before = self._host
        if before is not None and self._client is not None and not for_new_session:
            return before, self._client
        number = context.user_number(self._in_run)
        self._host = context.hosts.join(number) if before is None else context.hosts.next_of(before)
        if self._client is None or self._host != before:
            if self._client is not None:
                self._client.close()
            self._client = context.client(self._host)
        return self._host, self._client

    def _think_times_of(self, context: RunContext, level: Level) -> ThinkTimes:
        """Before the user's first request: users are numbered in the order in which they begin."""
        if self._think_times is None or self._think_times.level_index != level.index:
            self._in_run = self._in_run or context.recorder.next_user()
            self._think_times = ThinkTimes(level, f"{context.recorder.worker}.{self._in_run}")
        return self._think_times

    def _send_open_loop(self, context: RunContext, requests: UserRequests, level: Level) -> None:
        try:
            loop = OpenLoop(self, context, requests, level, CURRENT_RUN.share)
        except ArrivalsError as error:  # the file of a worker's own machine
            logger.error("%s", error)
            if CURRENT_RUN.share is not None:
                CURRENT_RUN.share.refuse(str(error))
            return
        loop.run()


def _honouring(spec: RequestSpec, after_failure: AfterFailure) -> RequestSpec:
    return msgspec.structs.replace(spec, honours_retry_after=True) if after_failure.honours_retry_after else spec


def _wait_after(timeline: Timeline | None, after_failure: AfterFailure) -> float | None:
    """How long a user waits because of how its request ended, in seconds; None where it ended as it should."""
    if timeline is None or timeline.outcome in (Outcome.OK, Outcome.CUT, Outcome.ABANDONED):
        return None
    retry_after_ns = timeline.retry_after_ns
    return after_failure.wait_s if retry_after_ns is None else retry_after_ns / 1e9


class ChatUser(BuiltInUser):
    """Sends the prompt alone."""

    with_system_prompt = False


class SystemPromptChatUser(BuiltInUser):
    """Sends the system prompt before the prompt, so that an engine may reuse what it computed for it."""

    with_system_prompt = True


class IdleUsersError(ValueError):
    """Users that would send no request; the text names the cause and what to do."""


@events.init.add_listener
def _refuse_idle_users(environment: Environment, **_: Any) -> None:
    users = [each for each in environment.user_classes if issubclass(each, BuiltInUser)]
    names = " and ".join(each.__name__ for each in users)
    if users and not CURRENT_RUN.is_prepared:
        refuse(
            IdleUsersError(
                f"users of {names} would send no request, as this locustfile does not prepare their runs: import them "
                "with `from tokenswarm import ChatUser, SystemPromptChatUser` (docs/python-api.md)."
            )
        )
    if users and (tags := getattr(environment.parsed_options, "tags", None)):
        refuse(
            IdleUsersError(
                f"users of {names} would send no request, as their tasks have no tags: leave out --tags "
                f"{' '.join(map(shown, tags))}."
            )
        )
