"""Users and shapes of a locustfile: which are taken, which options have no effect on them, and where they send."""

from __future__ import annotations

import logging
from argparse import Namespace
from typing import Any

import pytest
from locust import HttpUser, LoadTestShape, TaskSet, User, between, constant, task
from locust.env import Environment

from tokenswarm.command_line import option_defaults
from tokenswarm.run_control.own_options import (
    NoStreamingUsersError,
    OwnHostError,
    changed_for_shapes,
    check_own_options,
    check_streaming_users,
    take_own_host,
)
from tokenswarm.run_control.run_parser import run_parser
from tokenswarm.shapes.own_code import OwnCodeError, adopt_own_code, check_modes, check_shape, foresee_own_code
from tokenswarm.shapes.plan import OWN_SHAPE, OWN_USERS, SHAPE_READS_USERS
from tokenswarm.shapes.run_shape import RunShape
from tokenswarm.users.chat import ChatUser, SystemPromptChatUser
from tokenswarm.users.streaming_user import StreamingUser

DEFAULTS: dict[str, Any] = option_defaults(run_parser())


def rest(_: User) -> None:
    """A task."""


class Reader(StreamingUser):
    tasks = (rest,)


class Writer(StreamingUser):
    tasks = (rest,)
    host = "http://gpu:8000/v1"


class Web(HttpUser):
    tasks = (rest,)


class Never(StreamingUser):
    weight = 0


class Derived(ChatUser):
    pass


class Steps(LoadTestShape):
    def tick(self) -> tuple[int, float] | None:
        return None


class ReadingSteps(Steps):
    use_common_options = True


class Waves(LoadTestShape):
    def tick(self) -> tuple[int, float] | None:
        return None


@pytest.fixture(autouse=True)
def our_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RunShape, "user_classes", {"off": ChatUser, "on": SystemPromptChatUser}, raising=False)


def environment(*users: type[User], shapes: tuple[LoadTestShape, ...] = (), words: tuple[str, ...] = ()) -> Environment:
    options = Namespace(**DEFAULTS | {"user_classes": list(words)})
    named: Any = {type(shape).__name__: shape for shape in shapes}
    return Environment(
        user_classes=list(users),
        parsed_options=options,
        shape_class=shapes[0] if shapes else None,
        available_shape_classes=named,
    )


def adopted(*users: type[User], **how: Any) -> tuple[RunShape, Environment]:
    found = environment(*users, **how)
    adopt_own_code(found)
    shape = found.shape_class
    assert isinstance(shape, RunShape)
    return shape, found


def test_own_users_alone_are_all_that_a_level_has() -> None:
    shape, found = adopted(Reader, Web, Never)
    assert shape.own_classes == (Reader, Web)
    assert (getattr(found.parsed_options, OWN_USERS), getattr(found.parsed_options, OWN_SHAPE)) == (
        ["Reader", "Web"],
        "",
    )
    check_shape(found)
    check_modes(found, ["off"])


def test_beside_our_users_of_one_mode_there_are_those_of_the_other() -> None:
    shape, found = adopted(ChatUser, Reader)
    assert found.user_classes == [ChatUser, Reader, SystemPromptChatUser]
    assert shape.own_classes == (Reader,)
    assert getattr(found.parsed_options, OWN_USERS) == []
    check_modes(found, ["off", "on"])


def test_our_users_that_the_command_line_leaves_out_are_missing() -> None:
    _, found = adopted(ChatUser, words=("ChatUser",))
    check_modes(found, ["off"])
    with pytest.raises(OwnCodeError, match="SystemPromptChatUser"):
        check_modes(found, ["off", "on"])


def test_an_own_shape_is_followed() -> None:
    steps = Steps()
    shape, found = adopted(Reader, shapes=(steps,))
    assert shape.own_shape is steps
    assert getattr(found.parsed_options, OWN_SHAPE) == "Steps"


@pytest.mark.parametrize(
    ("users", "shapes", "named"),
    [((Derived,), (), "Derived .*StreamingUser"), ((Reader,), (Steps(), Waves()), "Steps and Waves")],
)
def test_what_cannot_be_run_is_refused_by_name(users: Any, shapes: Any, named: str) -> None:
    with pytest.raises(OwnCodeError, match=named):
        adopt_own_code(environment(*users, shapes=shapes))


class Slow(TaskSet):
    wait_time = 5

    @task
    def nest(self) -> None:
        """A task."""


@pytest.mark.parametrize("wait_time", [5, "5", None, between, constant, lambda: 5])
def test_wait_times_that_cannot_be_called_are_refused_by_name(wait_time: Any) -> None:
    """A user of such a class ends after its first task, with an error in a file of Locust's."""
    waiting = type("Waiting", (StreamingUser,), {"tasks": (rest,), "wait_time": wait_time})
    with pytest.raises(OwnCodeError, match=r"^Waiting\.wait_time of your locustfile cannot be called .*constant\(5\)"):
        adopt_own_code(environment(waiting))


def test_the_wait_time_of_a_task_set_is_checked_too() -> None:
    nesting = type("Nesting", (StreamingUser,), {"tasks": (Slow,)})
    with pytest.raises(OwnCodeError, match=r"^Slow\.wait_time "):
        adopt_own_code(environment(nesting))


@pytest.mark.parametrize(
    "wait_time", [constant(5), between(1, 2), lambda user: 5, staticmethod(lambda: 5), classmethod(lambda cls: 5)]
)
def test_wait_times_that_can_be_called_are_taken(wait_time: Any) -> None:
    waiting = type("Waiting", (StreamingUser,), {"tasks": (rest,), "wait_time": wait_time})
    assert adopted(waiting)[0].own_classes == (waiting,)


def test_a_shape_that_is_set_later_is_refused() -> None:
    _, found = adopted(Reader)
    found.shape_class = Steps()
    with pytest.raises(OwnCodeError, match="Steps"):
        check_shape(found)


@pytest.mark.parametrize(
    ("users", "own_shape", "changed", "given", "named"),
    [
        (
            ["Reader"],
            "",
            {"prompts": "dolly", "think_time": "2s"},
            (),
            "--prompts and --think-time have no effect on Reader",
        ),
        (["Reader"], "", {"cache": "bust"}, (), "--cache bust"),
        (["Reader"], "", {}, ("prompts", "turns"), "--prompts and --turns have no effect"),
        (["Reader"], "", {"system_prompt": "both"}, (), "--system-prompt has no effect"),
        (["Reader"], "", {"shape": "open"}, (), "an open loop"),
        (["Reader"], "", {"shape": "capacity", "find_capacity": "rate"}, (), "an open loop"),
        (
            [],
            "Steps",
            {"levels": "1,2"},
            ("levels",),
            "--levels has no effect beside the shape Steps.*: leave it out, or",
        ),
        (
            [],
            "Steps",
            {"levels": "1,2", "ramp": "1s", "level_time": "3s"},
            ("levels", "ramp", "level_time"),
            "--levels, --ramp and --level-time have no effect .*: leave them out, or the shape",
        ),
    ],
)
def test_options_without_effect_are_refused(
    users: list[str], own_shape: str, changed: dict[str, Any], given: tuple[str, ...], named: str
) -> None:
    options = Namespace(**DEFAULTS | {OWN_USERS: users, OWN_SHAPE: own_shape} | changed)
    with pytest.raises(ValueError, match=named):
        check_own_options(options, DEFAULTS, given)
    check_own_options(Namespace(**DEFAULTS | changed), DEFAULTS, given)  # of Tokenswarm's own users


@pytest.mark.parametrize(
    ("given", "named"),
    [
        (("num_users",), "--users has no effect"),
        (("num_users", "spawn_rate"), "--users and --spawn-rate have no effect"),
    ],
)
def test_users_of_the_command_line_are_refused_beside_an_own_shape_unless_it_reads_them(
    given: tuple[str, ...], named: str
) -> None:
    _, found = adopted(Reader, shapes=(Steps(),))
    with pytest.raises(ValueError, match=f"{named} beside the shape Steps"):
        check_own_options(found.parsed_options, DEFAULTS, given)  # type: ignore[arg-type]
    _, found = adopted(Reader, shapes=(ReadingSteps(),))
    check_own_options(found.parsed_options, DEFAULTS, given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("users", "shapes", "words"),
    [
        ((Reader, Web, Never), (), ()),
        ((ChatUser, SystemPromptChatUser, Reader), (), ()),
        ((ChatUser, SystemPromptChatUser, Reader), (), ("Reader",)),
        ((Reader,), (ReadingSteps(),), ()),
        ((ChatUser, SystemPromptChatUser), (RunShape(),), ()),
    ],
)
def test_own_code_is_named_on_the_command_line_as_it_will_be_in_the_run(
    users: tuple[type[User], ...], shapes: tuple[LoadTestShape, ...], words: tuple[str, ...]
) -> None:
    named = [each for each in users if not words or each.__name__ in words]  # as Locust chooses
    _, found = adopted(*named, shapes=shapes, words=words)
    foreseen = Namespace(user_classes=list(words))
    foresee_own_code(foreseen, users, [type(each) for each in shapes])
    options = vars(found.parsed_options)
    expected = {name: options[name] for name in (OWN_USERS, OWN_SHAPE, SHAPE_READS_USERS)}
    assert vars(foreseen) == {"user_classes": list(words)} | expected


def test_of_several_own_shapes_none_is_named_on_the_command_line() -> None:
    """They are refused in the run, which then has no levels that an option could be beside."""
    foresee_own_code(foreseen := Namespace(user_classes=[]), [Reader], [Steps, Waves])
    assert (getattr(foreseen, OWN_USERS), getattr(foreseen, OWN_SHAPE)) == (["Reader"], "")


@pytest.mark.parametrize("users", [(Web,), (Web, Never)])
def test_users_none_of_which_is_measured_are_refused(users: tuple[type[User], ...]) -> None:
    with pytest.raises(NoStreamingUsersError, match="nothing that Web would send is recorded: derive one"):
        check_streaming_users([*users])
    check_streaming_users([Web, Reader])
    check_streaming_users([Web, ChatUser])


def test_a_form_that_changes_options_of_our_shapes_is_refused_beside_an_own_one() -> None:
    before = Namespace(**DEFAULTS | {OWN_SHAPE: "Steps"})
    typed = Namespace(**vars(before) | {"level_time": "9s", "shape": "free"})
    assert changed_for_shapes(typed, before) == {"level_time"}
    with pytest.raises(ValueError, match="--level-time has no effect beside the shape Steps"):
        check_own_options(typed, DEFAULTS, changed_for_shapes(typed, before))


def test_without_a_host_that_of_the_users_is_taken() -> None:
    _, found = adopted(Reader, Writer, Web)
    take_own_host(found)
    assert found.host == found.parsed_options.host == "http://gpu:8000"  # type: ignore[union-attr]
    _, given = adopted(Writer)
    given.host = "http://other:1"
    take_own_host(given)
    assert given.host == "http://other:1"


def test_users_of_different_hosts_are_no_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Reader, "host", "http://other:1")
    _, found = adopted(Reader, Writer)
    with pytest.raises(OwnHostError, match="http://gpu:8000/v1 and http://other:1"):
        take_own_host(found)


@pytest.mark.parametrize("streaming", [Writer, ChatUser])
def test_a_host_that_locust_would_replace_by_the_run_s_is_refused(
    streaming: type[User], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """By the streaming user's, or the embedded simulator's. --host replaces all, and the log says so."""
    monkeypatch.setattr(Web, "host", "http://web:80")
    _, found = adopted(streaming, Web)
    with pytest.raises(OwnHostError, match="Web would not reach http://web:80"):
        take_own_host(found)
    found.host = "http://given:1"
    with caplog.at_level(logging.WARNING):
        take_own_host(found)
    assert found.host == "http://given:1"
    assert "http://web:80" in caplog.text
    monkeypatch.setattr(Web, "host", "http://gpu:8000/v1")
    _, same = adopted(Writer, Web)
    take_own_host(same)
    assert same.host == "http://gpu:8000"
