"""Tokenswarm's users with attributes that somebody else has set: named, so that no load is silently another one."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable

import pytest
from locust import constant

from tokenswarm.users.changed_users import ChangedUsersError, check_unchanged
from tokenswarm.users.chat import BuiltInUser, ChatUser, SystemPromptChatUser

OPTIONS = Namespace(max_tokens=512, prompts="sample", host="")


@pytest.mark.parametrize(
    ("user_class", "name", "value"),
    [
        (ChatUser, "wait_time", constant(1)),
        (ChatUser, "weight", 3),
        (SystemPromptChatUser, "fixed_count", 2),
        (ChatUser, "host", "http://gpu:8000"),
        (ChatUser, "tasks", []),
        (SystemPromptChatUser, "on_start", print),
        (ChatUser, "with_system_prompt", True),
        (ChatUser, "__init__", print),
        (ChatUser, "max_tokens", 5),
        (SystemPromptChatUser, "own", 1),
    ],
)
def test_a_changed_attribute_or_method_is_named_with_its_class(
    user_class: type[BuiltInUser], name: str, value: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(user_class, name, value, raising=False)
    with pytest.raises(ChangedUsersError) as raised:
        check_unchanged(OPTIONS)
    assert f" {user_class.__name__}.{name}." in str(raised.value)
    other = ({ChatUser, SystemPromptChatUser} - {user_class}).pop()
    assert f" {other.__name__}." not in str(raised.value)


@pytest.mark.parametrize(
    ("name", "option"),
    [
        ("max_tokens", "--max-tokens"),
        ("prompts", "--prompts"),
        ("host", "-H"),
        ("system_prompt", "--system-prompt-file"),
        ("wait_time", "--think-time"),
    ],
)
def test_the_option_that_does_what_an_attribute_seems_to_be_for_is_named(
    name: str, option: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ChatUser, name, "any", raising=False)
    with pytest.raises(ChangedUsersError, match=rf" {option} "):
        check_unchanged(OPTIONS)


def test_shares_beside_own_classes_are_set_with_these(monkeypatch: pytest.MonkeyPatch) -> None:
    """No option sets how many of Tokenswarm's users there are beside others."""
    monkeypatch.setattr(ChatUser, "weight", 3)
    monkeypatch.setattr(SystemPromptChatUser, "fixed_count", 2)
    with pytest.raises(ChangedUsersError, match=r"Set weight and fixed_count of Reader and Writer instead") as raised:
        check_unchanged(OPTIONS, ["Reader", "Writer"])
    assert "--" not in str(raised.value)
    monkeypatch.setattr(ChatUser, "wait_time", constant(1))
    with pytest.raises(ChangedUsersError, match=r"of Reader instead.* Use --think-time instead of wait_time\.$"):
        check_unchanged(OPTIONS, ["Reader"])
    with pytest.raises(ChangedUsersError, match=r"-u or --levels instead of fixed_count"):
        check_unchanged(OPTIONS)


@pytest.mark.parametrize(
    "change", [lambda: ChatUser.tasks.append(print), lambda: delattr(ChatUser, "with_system_prompt")]
)
def test_a_list_that_is_changed_in_place_and_an_attribute_that_is_gone_are_changes(
    change: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ChatUser, "tasks", list(ChatUser.tasks))  # both are restored
    monkeypatch.setattr(ChatUser, "with_system_prompt", False)
    check_unchanged(OPTIONS)
    change()
    with pytest.raises(ChangedUsersError, match=r"ChatUser\.(tasks|with_system_prompt)\."):
        check_unchanged(OPTIONS)
    monkeypatch.setattr(ChatUser, "with_system_prompt", False, raising=False)


def test_a_change_of_their_base_is_one_of_both(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BuiltInUser, "wait_time", constant(1))
    with pytest.raises(ChangedUsersError, match="ChatUser.wait_time, SystemPromptChatUser.wait_time"):
        check_unchanged(OPTIONS)


def test_what_a_run_and_locust_set_themselves_is_no_change(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ChatUser, "weight", 1)  # the default, which --equal-weights sets
    check_unchanged(OPTIONS)
    monkeypatch.setattr(ChatUser, "host", "http://gpu:8000")
    check_unchanged(OPTIONS, run_started=True)
