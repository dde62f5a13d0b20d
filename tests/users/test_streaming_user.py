"""A user with code of its own: what `stream` sends, returns and reports, without a run of Locust around it."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import gevent
import pytest
from gevent import GreenletExit
from gevent.pool import Group
from locust import HttpUser, TaskSet, User, constant, task
from locust.env import Environment
from locust.exception import StopUser
from locust.user.task import LOCUST_STATE_STOPPING

from tests.peer import Server
from tokenswarm.client.own_requests import OwnRequestError
from tokenswarm.client.request_options import ChatOptions
from tokenswarm.client.run_context import RunContext
from tokenswarm.command_line import option_defaults
from tokenswarm.metrics.level import Level
from tokenswarm.metrics.timeline import Outcome, Timeline
from tokenswarm.recording.recorder import Recorder
from tokenswarm.run_control.run_parser import run_parser
from tokenswarm.users.current_run import CURRENT_RUN
from tokenswarm.users.run_events import events
from tokenswarm.users.stream_response import StreamFailed, StreamResponse
from tokenswarm.users.streaming_user import StreamingUser

DEFAULTS: dict[str, Any] = option_defaults(run_parser())
DELTAS: tuple[dict[str, Any], ...] = (
    {"role": "assistant", "content": ""},
    {"reasoning_content": "Hm. "},
    {"content": "It is "},
    {"content": "noon."},
    {"tool_calls": [{"index": 0, "function": {"arguments": '{"zone": '}}]},
    {"tool_calls": [{"index": 0, "function": {"arguments": '"UTC"}'}}]},
)


class Talker(StreamingUser):
    host = "http://127.0.0.1:1"

    @task
    def question(self) -> StreamResponse:
        return self.stream("What time is it?", max_tokens=9, headers={"X-Tenant": "a"})


class Both(HttpUser, StreamingUser):
    host = "http://127.0.0.1:1"


def answer() -> bytes:
    """A whole response with all kinds of output."""
    events_of = [{"choices": [{"index": 0, "delta": delta}]} for delta in DELTAS]
    events_of.append({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    usage = {"prompt_tokens": 5, "completion_tokens": 6}
    texts = [*map(json.dumps, events_of), json.dumps({"choices": [], "usage": usage}), "[DONE]"]
    body = "".join(f"data: {text}\n\n" for text in texts).encode()
    return b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


def refusal() -> bytes:
    body = b'{"error": {"message": "too many users"}}'
    return b"HTTP/1.1 503 No\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


@pytest.fixture
def begin(server: Server) -> Iterator[Callable[..., Recorder]]:
    """A run of one level at the server, as far as a user sees it."""

    def begun(**level: Any) -> Recorder:
        options = ChatOptions.of(Namespace(**DEFAULTS | {"engine": "vllm", "model": "m", "prompt_nonce": "run"}))
        recorder = Recorder(worker=0)
        recorder.begin_level(Level(0, "off", "1", 1, 0.0, **level), 0, 0)
        CURRENT_RUN.run_context = RunContext(options, f"http://{server.origin.authority}", recorder)
        return recorder

    yield begun
    CURRENT_RUN.run_context = None


def running(user: Any, call: Callable[[], Any]) -> gevent.Greenlet:
    """The call in the user's greenlet, as Locust runs a task."""
    user._greenlet = gevent.spawn(call)
    return user._greenlet


def user_of(user_class: type[User] = Talker) -> Any:
    return user_class(Environment(user_classes=[user_class]))


def answered(server: Server, user: Any, response: bytes, call: Callable[[], StreamResponse]) -> StreamResponse:
    greenlet = running(user, call)
    peer = server.accept()
    peer.request()
    peer.send(response)
    found: StreamResponse = greenlet.get(timeout=20)
    return found


def test_an_answer_has_its_parts_and_its_timeline(server: Server, begin: Callable[..., Recorder]) -> None:
    begin()
    user, heard = user_of(), list[Timeline]()
    listener = events.request_timed.add_listener(lambda timeline, **_: heard.append(timeline))
    in_locust: list[dict[str, Any]] = []
    user.environment.events.request.add_listener(lambda **event: in_locust.append(event))
    try:
        greenlet = running(user, user.question)
        peer = server.accept()
        head, _, body = peer.request().partition(b"\r\n\r\n")
        peer.send(answer())
        found = greenlet.get(timeout=20)
    finally:
        events.request_timed.remove_listener(listener)
    assert (found.text, found.reasoning, found.tool_arguments) == ("It is noon.", "Hm. ", '{"zone": "UTC"}')
    assert (found.ok, found.status, found.finish_reason, found.error) == (True, 200, "stop", None)
    assert found.message == {"role": "assistant", "content": "It is noon."}
    assert found.ttft_s == pytest.approx(found.timeline.ttft_ns / 1e9)
    assert (found.timeline.name, found.timeline.output_tokens) == ("question", 6)
    assert heard == [found.timeline]
    assert [(event["name"], event["context"]["timeline"]) for event in in_locust] == [("question", found.timeline)]
    assert b"X-Tenant: a" in head
    sent = json.loads(body)
    assert sent["messages"] == [{"role": "user", "content": "What time is it?"}]
    assert (sent["model"], sent["max_tokens"], sent["stream"]) == ("m", 9, True)


def test_a_failed_request_is_returned_and_raises_only_on_demand(server: Server, begin: Callable[..., Recorder]) -> None:
    begin()
    user = user_of()
    found = answered(server, user, refusal(), lambda: user.stream("Hello", name="refused"))
    assert (found.ok, found.outcome, found.status) == (False, Outcome.HTTP_ERROR, 503)
    assert found.text == ""
    assert "too many users" in (found.error or "")
    assert found.timeline.name == "refused"
    with pytest.raises(StreamFailed, match="http_error.*too many users"):
        found.raise_for_failure()


def no_noon(answer: StreamResponse) -> str | None:
    return "it is noon" if "noon" in answer.text else None


def no_reasoning(answer: StreamResponse) -> None:
    if answer.reasoning:
        raise AssertionError("it reasons")  # pytest would add to the text of its own `assert`


@pytest.mark.parametrize(("check", "reason"), [(no_noon, "it is noon"), (no_reasoning, "it reasons")])
def test_an_answer_that_a_check_finds_wrong_has_failed_and_is_recorded_so(
    check: Callable[[StreamResponse], str | None], reason: str, server: Server, begin: Callable[..., Recorder]
) -> None:
    recorder = begin()
    user, failures = user_of(), list[Any]()
    user.environment.events.request.add_listener(lambda **event: failures.append(event["exception"]))
    found = answered(server, user, answer(), lambda: user.stream("Hello", check=check))
    assert (found.outcome, found.error, found.text) == (Outcome.WRONG_ANSWER, reason, "It is noon.")
    assert [str(failure) for failure in failures] == [f"wrong_answer: {reason}"]
    row = recorder.record(found.timeline)
    assert (row.outcome, row.error, row.has_latencies) == (Outcome.WRONG_ANSWER, reason, False)


def test_a_check_sees_whole_answers_alone_and_what_else_it_raises_is_the_task_s(
    server: Server, begin: Callable[..., Recorder]
) -> None:
    begin()
    user, seen, reported = user_of(), list[StreamResponse](), list[Timeline]()
    user.environment.events.request.add_listener(lambda context, **_: reported.append(context["timeline"]))
    assert not answered(server, user, refusal(), lambda: user.stream("Hello", check=seen.append)).ok
    assert seen == []
    with pytest.raises(ZeroDivisionError):
        answered(server, user, answer(), lambda: user.stream("Hello", check=lambda _: str(1 / 0)))
    says_whether: Any = lambda found: "noon" in found.text  # noqa: E731
    with pytest.raises(OwnRequestError, match="got bool"):
        answered(server, user, answer(), lambda: user.stream("Hello", check=says_whether))
    assert [timeline.outcome for timeline in reported] == [Outcome.HTTP_ERROR, Outcome.OK, Outcome.OK]


def test_requests_in_a_row_use_one_connection_and_two_at_once_two(
    server: Server, begin: Callable[..., Recorder]
) -> None:
    begin()
    user = user_of()

    def task_of_three() -> int:
        user.stream("One")
        both = [gevent.spawn(user.stream, "Two", name="two"), gevent.spawn(user.stream, "Three", name="three")]
        return sum(each.get().ok for each in gevent.joinall(both))

    greenlet = running(user, task_of_three)
    first = server.accept()
    first.request()
    first.send(answer())
    first.request()  # on the same connection
    second = server.accept()
    second.request()
    for peer in (first, second):
        peer.send(answer())
    assert greenlet.get(timeout=20) == 2
    assert first.hears_the_end() and second.hears_the_end()  # with the user


def test_a_user_that_is_to_stop_is_ended_by_its_next_request(begin: Callable[..., Recorder]) -> None:
    user = user_of()
    user._state = LOCUST_STATE_STOPPING
    assert isinstance(running(user, user.question).get(timeout=20), GreenletExit)  # before there is a run
    begin(level_time_s=0.0)
    assert isinstance(running(user, user.question).get(timeout=20), GreenletExit)  # its load is over

    def waits_for_another_greenlet() -> None:
        gevent.spawn(user.stream, "Hello", name="other").get(timeout=20)

    with pytest.raises(StopUser):
        running(user, waits_for_another_greenlet).get(timeout=20)


def test_a_level_takes_as_many_requests_as_it_has(server: Server, begin: Callable[..., Recorder]) -> None:
    begin(requests=1)
    user = user_of()
    assert answered(server, user, answer(), user.question).ok
    greenlet = running(user, user.question)
    user._state = LOCUST_STATE_STOPPING
    assert isinstance(greenlet.get(timeout=20), GreenletExit)


class Leaver(StreamingUser):
    """Sends in its hooks, too; `wait_time` and `calls` are set by a test."""

    host = "http://127.0.0.1:1"
    wait_time = constant(1000)
    calls: list[str]

    def on_start(self) -> None:
        self.calls.append("on_start")
        if "start" in self.calls:
            self.stream("Hello")

    def on_stop(self) -> None:
        self.calls.append("on_stop")
        self.stream("Goodbye")
        self.calls.append("not reached")

    @task
    class Tasks(TaskSet):
        def on_stop(self) -> None:
            self.user.calls.append("on_stop of tasks")
            self.user.stream("Goodbye")
            self.user.calls.append("not reached")

        @task
        def pause(self) -> None:
            self.wait()


@pytest.mark.parametrize("force", [False, True])
def test_a_request_of_on_stop_ends_with_its_user_once_the_load_is_over(
    begin: Callable[..., Recorder], force: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Locust waits for the users that it stops: one that waited for a level would hold up the run for ever."""
    begin(level_time_s=0.0)
    user = user_of(Leaver)
    user.calls = []
    greenlet = user.start(Group())
    gevent.sleep(0)
    stopping = gevent.spawn(user.stop, force=force)
    assert isinstance(greenlet.get(timeout=20), GreenletExit)
    stopping.get(timeout=20)
    assert user.calls == ["on_start", "on_stop of tasks", "on_stop"]
    assert not [record for record in caplog.records if record.name.startswith("tokenswarm")]


def test_a_request_of_on_start_ends_its_user_without_an_error_once_the_load_is_over(
    begin: Callable[..., Recorder], caplog: pytest.LogCaptureFixture
) -> None:
    begin(level_time_s=0.0)
    user = user_of(Leaver)
    user.calls = ["start"]
    greenlet = user.start(Group())
    gevent.sleep(0)
    assert not user.stop()  # it runs: Locust lets it end
    assert isinstance(greenlet.get(timeout=20), GreenletExit)
    assert user.calls == ["start", "on_start", "on_stop"]
    assert not [record for record in caplog.records if record.name.startswith("tokenswarm")]


def test_code_that_a_user_left_behind_sends_nothing_in_a_later_level(begin: Callable[..., Recorder]) -> None:
    recorder = begin(level_time_s=0.0)
    user, left = user_of(), list[gevent.Greenlet]()
    running(user, lambda: left.append(gevent.spawn(user.stream, "Hello", name="late"))).get(timeout=20)
    recorder.begin_level(Level(1, "off", "1", 1, 0.0), 0, 0)
    with pytest.raises(StopUser):
        left[0].get(timeout=20)
    assert recorder.prompts_drawn == 0


def test_the_run_s_tokenizer_counts_the_tokens_of_own_requests(server: Server, begin: Callable[..., Recorder]) -> None:
    begin()
    context = CURRENT_RUN.run_context
    assert context is not None
    context.workload = replace(context.workload, count_tokens=lambda text: 100 * len(text))
    user = user_of()
    found = answered(server, user, refusal(), lambda: user.stream("four", system="to"))
    assert (found.timeline.prompt_tokens, found.timeline.prompt_tokens_source) == (600, "tokenizer")


@pytest.mark.parametrize("given", [{"body": {"x": {"y": object()}}}, {"prompt": "\ud800"}, {"system": "\udfff"}])
def test_what_cannot_be_written_as_json_is_refused_and_leaves_no_connection(
    server: Server, begin: Callable[..., Recorder], given: dict[str, Any]
) -> None:
    begin()
    user = user_of()

    def after_another() -> StreamResponse:
        user.stream("Hello")
        with pytest.raises(OwnRequestError, match="JSON"):
            user.stream(**{"prompt": "Hello"} | given)
        return user.stream("Hello")  # type: ignore[no-any-return]

    greenlet = running(user, after_another)
    first = server.accept()
    first.request()
    first.send(answer())
    assert first.hears_the_end()  # it is not left open without anybody who could use it
    second = server.accept()
    second.request()
    second.send(answer())
    assert greenlet.get(timeout=20).ok


def test_a_header_that_every_request_has_is_refused_and_not_silently_left_out(begin: Callable[..., Recorder]) -> None:
    recorder = begin()
    user = user_of()
    with pytest.raises(OwnRequestError, match="user-agent is in every request"):
        running(user, lambda: user.stream("Hello", headers={"user-agent": "mine"})).get(timeout=20)
    assert recorder.ended == 0


def test_a_class_can_be_one_of_locust_s_http_users_too(server: Server, begin: Callable[..., Recorder]) -> None:
    begin()
    user = user_of(Both)
    assert answered(server, user, answer(), lambda: user.stream("Hello")).ok
    assert user.client.base_url == "http://127.0.0.1:1"
