"""The users: each asks, reads the whole answer, and asks again at once."""

from __future__ import annotations

import re
from typing import Any, ClassVar

import gevent
from locust import User, events, task
from locust.env import Environment

from metrics.stage import Begun
from metrics.timeline import Outcome, Timeline
from options import refuse
from sanitize import without_secrets
from users.exchange import Ask
from users.session import Session
from wire import StreamClient

#: How long a user looks away when nothing shall be sent.
_IDLE_S = 0.1
#: How long a user waits after a failure: without it, a server that refuses at once is hammered in a tight loop.
_PAUSE_AFTER_FAILURE_S = 1.0
# Ids and long numbers; a status or a number of seconds stays.
_NUMBERS = re.compile(r"\b(?=[\w-]*\d)[\w-]{5,}\b")
_FAILURE_CHARACTERS = 120


class RequestFailed(Exception):
    """A request that was not ok, as Locust's statistics show it."""


class StreamingUser(User):
    """Streams one answer after the other on a connection of its own."""

    abstract = True
    with_system_prompt: ClassVar[bool]
    #: Set for every run, before its first user.
    session: ClassVar[Session | None] = None
    #: Whether Tokenswarm's locustfile is loaded, which sets the session.
    has_sessions: ClassVar[bool] = False
    spawned: ClassVar[int] = 0

    def on_start(self) -> None:
        """Locust spawns users before there is a session on a worker that joins in mid-run, and where the run could not
        begin: those wait."""
        StreamingUser.spawned += 1
        self._number = StreamingUser.spawned
        self._session: Session | None = None
        self._client: StreamClient | None = None

    def on_stop(self) -> None:
        """Leave no connection open."""
        if self._client is not None:
            self._client.close()

    @task
    def chat(self) -> None:
        """Ask once, and tell Locust once."""
        if self._session is None and (session := StreamingUser.session) is not None:
            self._session, self._client = session, session.client()
        session, client = self._session, self._client
        stage = session.open_stage() if session else None
        if session is None or client is None or stage is None:
            gevent.sleep(_IDLE_S)
            return
        ask = self._ask(session, client, stage)
        recorder = session.recorder
        recorder.request_began()
        try:
            ask.run()
        except Exception as error:  # Locust shows its text to everybody
            if (safe := without_secrets(error)) is not error:
                raise safe from None
            raise
        finally:
            recorder.request_ended(recorded=ask.timeline is not None)
            if ask.timeline is not None:
                self._tell(ask.timeline)
        if ask.timeline is not None and ask.timeline.outcome.is_failure:
            gevent.sleep(_PAUSE_AFTER_FAILURE_S)

    def _ask(self, session: Session, client: StreamClient, stage: Begun) -> Ask:
        prompt = session.draw()
        return Ask(
            client,
            session.engine,
            session.request(prompt, self.with_system_prompt),
            session.options.timeouts,
            user=f"{session.recorder.worker}.{self._number}",
            stage=stage.stage.stage,
            prompt_tokens=prompt.tokens,
            prompt_tokens_source="tokenizer" if session.material.count_tokens else "estimate",
            prompt_id=prompt.id,
            measure_gaps=session.measures_gaps(),
            count_tokens=session.material.count_tokens,
            on_output=session.recorder.saw_output,
        )

    def _tell(self, timeline: Timeline) -> None:
        """One request event a request. Locust's times are milliseconds; a request that was cut has none, so that it
        counts as a request but neither as a response time nor as a failure."""
        failed = timeline.outcome.is_failure
        cut = timeline.outcome is Outcome.CUT
        self.environment.events.request.fire(
            request_type="CHAT",
            name="with system prompt" if self.with_system_prompt else "no system prompt",
            response_time=None if cut else (timeline.over_ns - timeline.sent_ns) / 1e6,
            response_length=timeline.bytes_received,
            exception=RequestFailed(_kind_of_failure(timeline)) if failed else None,
            context={"timeline": timeline},
        )


class ChatUser(StreamingUser):
    """Sends the prompt alone."""

    with_system_prompt = False


class SystemPromptChatUser(StreamingUser):
    """Sends the system prompt before the prompt, so that an engine may reuse what it computed for it."""

    with_system_prompt = True


class NoSessionsError(ValueError):
    """Users of this module in a locustfile that does not prepare their runs: they would wait for ever."""


@events.init.add_listener
def _refuse_users_without_sessions(environment: Environment, **_: Any) -> None:
    idle = [each.__name__ for each in environment.user_classes if issubclass(each, StreamingUser)]
    if idle and not StreamingUser.has_sessions:
        refuse(
            NoSessionsError(
                f"users of {' and '.join(idle)} would send no request, as this locustfile does not prepare their runs: "
                "start Tokenswarm's own locustfile.py (locust -f PATH/TO/locustfile.py), with options in place of code."
            )
        )


def _kind_of_failure(timeline: Timeline) -> str:
    """Outcome and message for Locust's table of errors, which counts equal texts: ids and long numbers are left out."""
    words = _NUMBERS.sub("…", timeline.error or "")
    return f"{timeline.outcome.value}: {words[:_FAILURE_CHARACTERS]}"
