"""One request of a user: made before it is sent, run, and reported to Locust once."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from locust.env import Environment

from tokenswarm.client.chat_session import ChatSession, DrawnPrompt
from tokenswarm.client.request_ids import new_trace_id
from tokenswarm.client.request_keeper import RequestKeeper
from tokenswarm.client.request_spec import RequestSpec
from tokenswarm.client.run_context import RunContext
from tokenswarm.client.streaming_request import AnswerTexts, StreamingRequest
from tokenswarm.client.trace_supply import LevelArrival
from tokenswarm.metrics.timeline import PLAIN_LOAD, Outcome, RequestLoad, Timeline
from tokenswarm.recording.locust_stats import METHOD
from tokenswarm.sanitize import without_secrets
from tokenswarm.users.garbage_collection import GARBAGE_COLLECTION
from tokenswarm.users.listener_errors import LISTENER_ERRORS
from tokenswarm.users.run_events import events
from tokenswarm.wire import StreamClient

# Ids, long numbers, and counts of what came; a status or a number of seconds stays.
_NUMBERS = re.compile(
    r"\b(?=[\w-]*\d)[\w-]{5,}\b|\b\d[\d,]*\b(?= (?:of|outputs?|(?:\w+ )?tokens?|events?|bytes)\b)|(?<=\bevent )\d+"
)
#: What was received, quoted behind the words that say what is wrong with it.
_QUOTED = re.compile(r": b?(['\"]).*\1$", re.DOTALL)
_FAILURE_CHARACTERS = 120


class RequestFailed(Exception):
    """A request that was not ok, as Locust's statistics show it."""


#: What becomes of a request whose answer came as it should have: code of a user's own may find it wrong.
JudgeAnswer = Callable[[Timeline, AnswerTexts], Timeline]


class PreparedRequest(NamedTuple):
    """A request that only needs to be sent. keeper: None where nothing is kept of it; session: None where it belongs to
    none; judge: None where every whole answer is right."""

    spec: RequestSpec
    request: StreamingRequest
    keeper: RequestKeeper | None
    session: ChatSession | None = None
    judge: JudgeAnswer | None = None


class UserRequests:
    """Makes and sends the requests of one user."""

    def __init__(
        self, environment: Environment, context: RunContext, user: str, with_system_prompt: bool = False, name: str = ""
    ) -> None:
        """user: its name in the results; name: that of its requests, "" for none."""
        self._name = name
        self._events: Any = environment.events
        self._context = context
        self._user = user
        self._with_system_prompt = with_system_prompt

    def begin_session(self, arrival: LevelArrival | None = None) -> ChatSession:
        """The next session of this process; of a replay, the request of an arrival."""
        return self._context.begin_session(self._with_system_prompt, arrival)

    def begin_session_of(self, level_index: int) -> ChatSession | None:
        """The next session of this process for a user of this level; None where there is none left for it."""
        return self._context.begin_session_of(level_index, self._with_system_prompt)

    def next_of(
        self, session: ChatSession, level: int, load: RequestLoad = PLAIN_LOAD, host: int | None = None
    ) -> RequestSpec:
        """The next request of a session. level: the index of the level that it belongs to; load: what the load says of
        it; host: the place of its host, None for the next in turn."""
        return self.spec_of(session.next(), level, load, host, keeps_answer=session.keeps_answer)

    def spec_of(
        self,
        drawn: DrawnPrompt,
        level: int,
        load: RequestLoad = PLAIN_LOAD,
        host: int | None = None,
        *,
        keeps_answer: bool = False,
    ) -> RequestSpec:
        """The request of this prompt; the other parameters as for `next_of`."""
        context = self._context
        header, place = context.options.sessions.header, drawn.place
        abandonment = context.abandonment_of(drawn)
        prompt, lengths = drawn.prompt, drawn.lengths
        return RequestSpec(
            context.engine_for(prompt),
            context.request(drawn, self._with_system_prompt),
            context.options.timeouts,
            user=self._user,
            level=level,
            prompt_tokens=prompt.tokens,
            prompt_tokens_source="tokenizer" if context.workload.count_tokens else "estimate",
            prompt_id=prompt.id,
            custom_id=prompt.custom_id,
            trace_id=new_trace_id() if context.options.traceparent else "",
            measure_gaps=context.measures_gaps(),
            late_reading=context.late_reading,
            count_tokens=context.workload.count_tokens,
            input_tokens_requested=lengths.input,
            output_tokens_requested=lengths.output,
            load=load if abandonment is None else load._replace(abandons=True),
            model_index=context.model_index(drawn.model),
            host_index=context.host_of(drawn) if host is None else host,
            place=place,
            headers={header: drawn.recorded_session or place.session} if header else {},
            keeps_answer=keeps_answer,
            prefix_group=drawn.group,
            shareable=drawn.shareable,
            abandonment=abandonment,
            name=self._name,
        )

    @property
    def replays(self) -> bool:
        """Whether each request belongs to one arrival."""
        return self._context.replays

    def prepare(self, client: StreamClient, spec: RequestSpec, session: ChatSession | None = None) -> PreparedRequest:
        """Do all that can be done before the request is due, or ready to be sent. client: that sends it, or has the
        settings of the one that will. session: that it is of."""
        GARBAGE_COLLECTION.request_begins()
        recorder = self._context.recorder
        keeper = RequestKeeper(recorder.kept.mode, spec) if recorder.kept is not None else None
        request = StreamingRequest(client, spec, recorder.saw_output, keeper)
        request.encode()
        return PreparedRequest(spec, request, keeper, session)

    def send(self, prepared: PreparedRequest, arrival: int | None = None) -> Timeline | None:
        """Send it, read the whole response, and report it, also to its session. arrival: its number in an open-loop
        level. Errors of ours are raised on."""
        recorder = self._context.recorder
        spec, request, keeper, session, judge = prepared
        recorder.request_began(spec.level, arrival, request)
        try:
            request.run()
            if judge is not None and request.timeline is not None and request.timeline.outcome is Outcome.OK:
                request.timeline = judge(request.timeline, request.answer)
        except Exception as error:  # Locust shows its text to everybody
            if (safe := without_secrets(error)) is not error:
                raise safe from None
            raise
        finally:
            recorder.request_ended(recorded=request.timeline is not None, stream=request)
            if request.timeline is not None:
                self._report(request.timeline)
                if session is not None:
                    session.ended(request.timeline, request.answer.visible)
                if keeper is not None and recorder.kept is not None:
                    row_id = f"{recorder.worker}-{recorder.ended}"  # counted just now, by the event
                    recorder.kept.write(keeper.document(row_id, request.timeline, request.error_body))
        return request.timeline

    def _report(self, timeline: Timeline) -> None:
        """One request event a request. Locust's times are milliseconds; a request that was cut, abandoned or refused
        by a limit has none, so that it counts as a request but neither as a response time nor as a failure."""
        failed = timeline.outcome.is_failure
        untimed = timeline.outcome in (Outcome.CUT, Outcome.ABANDONED, Outcome.REFUSED_BY_LIMIT)
        self._events.request.fire(
            request_type=METHOD,
            name=timeline.name or ("with system prompt" if self._with_system_prompt else "no system prompt"),
            response_time=None if untimed else (timeline.over_ns - timeline.sent_ns) / 1e6,
            response_length=timeline.bytes_received,
            exception=RequestFailed(_kind_of_failure(timeline)) if failed else None,
            context={"timeline": timeline},
        )
        events.request_timed.fire(timeline=timeline, on_error=partial(LISTENER_ERRORS.report, self._events))


def _kind_of_failure(timeline: Timeline) -> str:
    """Outcome and message for Locust's table of errors, which counts equal texts: ids and long numbers are left out."""
    words = _NUMBERS.sub("…", _QUOTED.sub("", timeline.error or ""))
    return f"{timeline.outcome.value}: {words[:_FAILURE_CHARACTERS]}"
