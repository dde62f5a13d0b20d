"""Which loads send sessions of several turns, and which single requests alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.option_parser import parser_of_all_options
from tokenswarm.client.option_values import OptionError
from tokenswarm.command_line import read_options
from tokenswarm.run_control.start_checks import complete_options
from tokenswarm.users.run_lifecycle import check_options

SYNTHETIC = ("--turns", "3", "--input-tokens", "50")


@pytest.fixture
def conversations(tmp_path: Path) -> tuple[str, ...]:
    messages = [
        {"role": "user", "content": "A?"},
        {"role": "assistant", "content": "B."},
        {"role": "user", "content": "C?"},
    ]
    (tmp_path / "chats.jsonl").write_text(json.dumps({"messages": messages}) + "\n")
    return ("--prompts", str(tmp_path / "chats.jsonl"), "--prompt-tokens", "1:99")


def check(*arguments: str) -> None:
    given = read_options(parser_of_all_options(), ["--headless", *arguments])
    complete_options(given)
    assert given.errors == []
    check_options(given.options, "")


@pytest.mark.parametrize("load", [("-u", "3"), ("--levels", "2,4"), ("--session-rate", "2")])
def test_users_hold_sessions_and_sessions_arrive(load: tuple[str, ...], conversations: tuple[str, ...]) -> None:
    check(*load, *SYNTHETIC)
    check(*load, *conversations)


@pytest.mark.parametrize("load", [("--rate", "5"), ("--rate-schedule", "0s:5 9s:9", "--level-time", "9s")])
def test_requests_that_arrive_are_single_ones(load: tuple[str, ...], conversations: tuple[str, ...]) -> None:
    for workload in (SYNTHETIC, conversations):
        with pytest.raises(OptionError, match="--session-rate"):
            check(*load, *workload)
    check(*load, *conversations, "--turns", "last")
    check(*load, "--input-tokens", "50")
