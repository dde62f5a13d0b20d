"""The user class that locustfiles derive their own from: its requests stream, and are timed and recorded."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NoReturn

import gevent
import msgspec
from gevent import GreenletExit
from locust import User
from locust.env import Environment
from locust.exception import StopTest, StopUser
from msgspec.structs import replace

from tokenswarm.client.connection_pool import ConnectionPool
from tokenswarm.client.custom_headers import with_headers
from tokenswarm.client.own_requests import (
    Message,
    OwnRequestError,
    check_headers,
    check_is_callable,
    check_takes,
    encoded,
    own_headers,
    own_name,
    own_prompt,
)
from tokenswarm.client.run_context import RunContext
from tokenswarm.client.streaming_request import AnswerTexts
from tokenswarm.metrics.level import RunningLevel
from tokenswarm.metrics.timeline import Outcome, Timeline
from tokenswarm.prompts import Prompt
from tokenswarm.sanitize import shown
from tokenswarm.upstream.locust_internals import is_stopping
from tokenswarm.users.current_run import CURRENT_RUN
from tokenswarm.users.requests import UserRequests
from tokenswarm.users.stream_response import StreamResponse

#: Is given a whole answer; returns None where it is right, else why it is not.
CheckAnswer = Callable[[StreamResponse], str | None]
_MOST_REASON_CHARACTERS = 500
#: How long a user waits before it looks again whether requests are to be sent.
_LOOK_S = 0.1


class StreamingUser(User):
    """A user with tasks of its own, each of which streams answers with `stream`. Weights, wait times and everything
    else are Locust's."""

    abstract = True

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        self._in_run = _UserInRun(self)

    def stream(
        self,
        prompt: str | None = None,
        *,
        messages: Sequence[Message] | None = None,
        system: str | None = None,
        name: str | None = None,
        max_tokens: int | None = None,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        check: CheckAnswer | None = None,
    ) -> StreamResponse:
        """Send a request, read its whole answer, and record it. A request that fails is recorded and returned like any
        other.

        prompt: the text of one message of the user; messages: OpenAI's chat messages, instead. system: the system
        prompt. name: what the results call the request; by default the function that calls this. max_tokens: longest
        answer; by default --max-tokens. body: fields merged into the request's body, null deletes one. headers: further
        headers. check: is given a whole answer before it is recorded, and returns None, or in a text why it is wrong:
        the request then fails with the outcome wrong_answer. An AssertionError does the same.

        It waits while no level takes requests, and ends the user as Locust does, with gevent's GreenletExit, where none
        will take one of this user any more. Raises OwnRequestError for a request that cannot be sent.
        """
        frame = inspect.currentframe()
        called_by = frame.f_back.f_code.co_name if frame is not None and frame.f_back is not None else ""
        own = own_prompt(prompt, messages, system, max_tokens, body)
        check_is_callable(check)
        return self._in_run.send(own, own_name(name or called_by), own_headers(headers), check)


def _judged(check: CheckAnswer, timeline: Timeline, answer: AnswerTexts) -> Timeline:
    """The timeline with what the check found."""
    try:
        wrong = check(StreamResponse(*answer, timeline))
    except AssertionError as error:
        wrong = str(error) or "an assertion failed"
    if wrong is None:
        return timeline
    if not isinstance(wrong, str):  # such as whether the answer is right
        raise OwnRequestError(
            f"the check of stream() returns None, or in a text why the answer is wrong, got {type(wrong).__name__}."
        )
    return msgspec.structs.replace(timeline, outcome=Outcome.WRONG_ANSWER, error=shown(wrong)[:_MOST_REASON_CHARACTERS])


class _UserInRun:
    """What a user has of its run: its number, its host and its connection."""

    def __init__(self, user: StreamingUser) -> None:
        self._user = user
        self._name = ""
        self._host = 0
        self._clients: ConnectionPool | None = None
        self._context: RunContext | None = None

    def send(self, prompt: Prompt, name: str, headers: Mapping[str, str], check: CheckAnswer | None) -> StreamResponse:
        """Send it once the running level takes a request. Raises GreenletExit, StopUser, OwnRequestError."""
        self._check_alive()
        context = self._joined()
        check_takes(context.engine, prompt)
        prompt = _counted(prompt, context.workload.count_tokens)
        level = self._await_level(context)
        assert self._clients is not None
        requests = UserRequests(self._user.environment, context, self._name, name=name)
        spec = requests.spec_of(context.own_request(prompt), level.level.index, host=self._host, keeps_answer=True)
        spec = msgspec.structs.replace(spec, headers=with_headers(spec.headers, headers))
        client = self._clients.take()
        try:
            check_headers(headers, client.sets)
            prepared = encoded(lambda: requests.prepare(client, spec))
            prepared = prepared._replace(judge=partial(_judged, check) if check else None)
            timeline = requests.send(prepared)
        except BaseException:
            client.close()
            raise
        self._clients.give_back(client)
        assert timeline is not None
        return StreamResponse(*prepared.request.answer, timeline)

    def _joined(self) -> RunContext:
        """The run, with connections of this user's to its server: one, unless the user's code sends several requests at
        once. Locust spawns users early on a worker that joins in mid-run."""
        while (context := CURRENT_RUN.run_context) is None:
            self._wait()
        if context is not self._context:
            self._context = context
            number = context.user_number(context.recorder.next_user())
            self._name = f"{context.recorder.worker}.{CURRENT_RUN.next_user()}"
            self._host = context.hosts.join(number)
            self._clients = ConnectionPool(partial(context.client, self._host))
            self._user.greenlet.link(partial(self._leave, context, self._clients, self._host))
        return context

    def _await_level(self, context: RunContext) -> RunningLevel:
        """The level that takes this user's next request. Once the load of a level is over, its users are stopped."""
        while True:
            level = context.open_level()
            if level is not None and context.recorder.takes_request(level.level.index):
                return level
            self._wait()

    def _wait(self) -> None:
        if is_stopping(self._user) or _is_in_on_stop():
            self._end()
        gevent.sleep(_LOOK_S)
        self._check_alive()

    def _check_alive(self) -> None:
        """End code that the user has left behind."""
        if self._user.greenlet.dead:
            self._end()

    def _end(self) -> NoReturn:
        """In the user's own greenlet, what ends it without a line in the log, from wherever Locust called its code; in
        another one, what whoever waits for that gets."""
        raise GreenletExit if gevent.getcurrent() is self._user.greenlet else StopUser

    @staticmethod
    def _leave(context: RunContext, clients: ConnectionPool, host: int, _: object) -> None:
        """The user's greenlet has ended, however its class defines on_stop."""
        clients.close()
        context.hosts.leave(host)


def _is_in_on_stop() -> bool:
    """Locust calls on_stop, of users and task sets, while it handles what has ended the user."""
    error = sys.exc_info()[1]
    while error is not None and not isinstance(error, (GreenletExit, StopUser, StopTest)):
        error = error.__context__
    return error is not None


def _counted(prompt: Prompt, count_tokens: Callable[[str], int] | None) -> Prompt:
    """The prompt, with its tokens as the run's tokenizer counts them; in a thread, as it works for milliseconds."""
    if count_tokens is None:
        return prompt
    texts = [message.text for message in prompt.messages]
    tokens: int = gevent.get_hub().threadpool.apply(lambda: sum(map(count_tokens, texts)))
    return replace(prompt, tokens=tokens)
