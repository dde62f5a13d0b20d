"""What the form of a new run may name: no file and no server that the command line does not allow."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tokenswarm.web.start_form import FormError
from tokenswarm.web.start_policy import StartPolicy

GIVEN = {
    "prompts": "given.jsonl",
    "chat_template": "",
    "system_prompt_file": "/etc/hostname",
    "tokenizer": "",
    "tls_ca": "",
    "server_metrics": "http://metrics.example:9400",
    "gpu_metrics_url": "",
}
SHOWN = [
    *GIVEN,
    "host",
    "input_tokens",
    "output_tokens",
    "turns",
    "arrivals",
    "rate_schedule",
    "trace",
    "levels",
    "user_classes",
]


@pytest.fixture
def policy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StartPolicy:
    monkeypatch.chdir(tmp_path)
    for name in ("allowed/mine.jsonl", "allowed/inner/deep.txt", "private/secret.txt", "owner/model/tokenizer.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    (tmp_path / "allowed/away.txt").symlink_to(tmp_path / "private/secret.txt")
    (tmp_path / "allowed/loop").symlink_to(tmp_path / "allowed/loop")
    return StartPolicy(GIVEN, "http://gpu:8000", ["https://other.example"], [(tmp_path / "allowed").resolve()])


def allowed(policy: StartPolicy, name: str, text: str) -> bool:
    try:
        policy.check({name: [text]}, SHOWN)
    except FormError:
        return False
    return True


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("input_tokens", "n(550,100)"),
        ("arrivals", "gamma:0.5"),
        ("arrivals", "allowed/mine.jsonl"),
        ("rate_schedule", "0s:5 60s:20"),
        ("rate_schedule", '{"points": [{"time_s": 0, "qps": 5}]}'),
        ("rate_schedule", "allowed/mine.jsonl"),
        ("trace", ""),
        ("trace", "allowed/mine.jsonl"),
        ("output_tokens", "hist:allowed/mine.jsonl"),
        ("prompts", "sample"),
        ("prompts", "dolly"),
        ("prompts", "hf:owner/name@train"),
        ("prompts", "given.jsonl"),
        ("prompts", "allowed/mine.jsonl"),
        ("prompts", "private/../allowed/mine.jsonl"),
        ("system_prompt_file", ""),
        ("system_prompt_file", "/etc/hostname"),
        ("system_prompt_file", "allowed/inner/deep.txt"),
        ("chat_template", "llama-3"),
        ("tokenizer", "meta-llama/Llama-3-8B"),
        ("tokenizer", "gpt2"),
        ("host", "http://gpu:8000"),
        ("host", "gpu:8000"),
        ("host", "gpu"),
        ("host", "localhost:8000/v1"),
        ("host", "http://gpu:9000/prefix"),
        ("host", "HTTPS://GPU"),
        ("host", "https://other.example/v2"),
        ("host", "http://localhost:8000"),
        ("host", "http://127.0.0.1:1"),
        ("host", "http://[::1]:1"),
        ("server_metrics", "auto"),
        ("server_metrics", "http://metrics.example:9400"),
        ("server_metrics", "http://gpu:9400/metrics"),
        ("gpu_metrics_url", ""),
        ("levels", "1,2 and whatever: ../../x"),
    ],
)
def test_what_the_command_line_names_and_allows_passes(policy: StartPolicy, name: str, text: str) -> None:
    assert allowed(policy, name, text)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("prompts", "/etc/passwd"),
        ("input_tokens", "hist:/etc/passwd"),
        ("turns", "hist:/etc/passwd"),
        ("arrivals", "/etc/passwd"),
        ("arrivals", "private/secret.txt"),
        ("rate_schedule", "/etc/passwd"),
        ("trace", "/etc/passwd"),
        ("trace", "private/secret.txt"),
        ("rate_schedule", "./a:b"),
        ("rate_schedule", "private/secret.txt"),
        ("output_tokens", " hist : private/secret.txt"),
        ("prompts", "private/secret.txt"),
        ("prompts", "allowed/../private/secret.txt"),
        ("prompts", "allowed/away.txt"),
        ("prompts", "allowed/loop/x"),
        ("prompts", "~/x.jsonl"),
        ("prompts", "hf:../private"),
        ("prompts", "hf:owner/model"),  # a local folder, which the hub's library would read
        ("prompts", "hf:/etc/passwd"),
        ("prompts", "allowed\0/mine.jsonl"),
        ("prompts", "x" * 100_000),
        ("system_prompt_file", "/etc/passwd"),
        ("system_prompt_file", "given.jsonl"),
        ("system_prompt_file", "sample"),
        ("chat_template", "/etc/passwd"),
        ("tls_ca", "/etc/ssl/certs/x.pem"),
        ("tokenizer", "owner/model"),
        ("tokenizer", "private"),
        ("tokenizer", "../x"),
        ("tokenizer", "/etc"),
        ("host", "http://evil.example"),
        ("host", "evil.example:8000"),
        ("host", "//gpu:8000"),
        ("host", "gpu:8000@evil.example"),
        ("host", "gpu://evil.example"),
        ("host", "gpu/://evil.example"),
        ("host", "gpu\\evil.example"),
        ("host", "http://gpu.evil.example:8000"),
        ("host", "http://gpu:8000@evil.example"),
        ("host", "http://evil.example#@gpu:8000"),
        ("host", "http://evil.example?gpu:8000"),
        ("host", "http://evil.example\\@gpu:8000"),
        ("host", "http://127.0.0.1<>.evil.example"),
        ("host", "http://gpu:8000\nevil"),
        ("host", "http://2130706433"),
        ("host", "http://169.254.169.254/latest"),
        ("host", "file:///etc/passwd"),
        ("host", ""),
        ("levels", "1\0"),
        ("levels", "1" + ",1" * 40_000),
        ("server_metrics", "http://169.254.169.254/latest"),
        ("gpu_metrics_url", "http://evil.example/metrics"),
    ],
)
def test_nothing_else_does(policy: StartPolicy, name: str, text: str) -> None:
    assert not allowed(policy, name, text)


def test_options_that_no_form_shows_are_refused(policy: StartPolicy) -> None:
    for name in ("markdown", "junit", "results", "headless", "web_login", "api_key_servers", "x\nforged log line"):
        assert not allowed(policy, name, "anything")


@pytest.mark.parametrize("name", ["user_classes", "shape_class"])
def test_classes_that_no_option_sets_are_refused_without_one(name: str) -> None:
    policy = StartPolicy({**GIVEN, name: ""}, "http://gpu:8000", [], [])
    (error,) = policy.rejected({name: ["Fast"]}, ["levels"]).values()
    assert "--" not in str(error)


def test_a_value_sent_twice_is_refused_where_only_the_first_would_be_looked_at(policy: StartPolicy) -> None:
    with pytest.raises(FormError):
        policy.check({"host": ["http://gpu:8000", "http://evil.example"]}, SHOWN)
    with pytest.raises(FormError, match="sent 2 times"):
        policy.check({"levels": ["1", "2"]}, SHOWN)
    policy.check({"user_classes": ["A", "B"]}, SHOWN, ["user_classes"])


def test_a_home_is_in_no_folder_whatever_it_is_called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    policy = StartPolicy(GIVEN, "http://gpu:8000", [], [tmp_path.resolve()])
    assert allowed(policy, "prompts", "x.jsonl")
    assert not allowed(policy, "prompts", "~/x.jsonl")


def test_any_server_may_be_allowed(tmp_path: Path) -> None:
    policy = StartPolicy(GIVEN, "http://gpu:8000", ["*"], [])
    assert allowed(policy, "host", "http://anything.example:8000")
    assert not allowed(policy, "host", "ftp://anything.example")


def test_a_bad_target_is_refused_at_start(tmp_path: Path) -> None:
    with pytest.raises(FormError):
        StartPolicy(GIVEN, "http://gpu:8000", ["gpu2"], [])


def test_a_file_that_cannot_be_looked_at_is_not_allowed(policy: StartPolicy) -> None:
    assert not allowed(policy, "prompts", "y" * (os.pathconf("/", "PC_NAME_MAX") + 1))


@pytest.mark.parametrize("host", ["gpu:8000", "http://gpu:8000"])
def test_the_server_of_the_command_line_may_be_written_with_and_without_its_scheme(host: str) -> None:
    policy = StartPolicy(GIVEN, host, [], [])
    assert allowed(policy, "host", "gpu:8000")
    assert allowed(policy, "host", "http://gpu:8000/v1")
    assert not allowed(policy, "host", "gpus:8000")


@pytest.mark.parametrize(
    ("text", "is_allowed"),
    [
        ("http://gpu:8000,http://gpu:8001", True),
        ("http://gpu:8000, https://other.example", True),
        ("127.0.0.1:1,localhost:2", True),
        ("http://gpu:8000,http://evil.example", False),
        ("http://evil.example,http://gpu:8000", False),
        ("http://gpu:8000,", False),
        ("http://gpu:8000?a=1,http://evil.example", False),
        ("http://gpu:8000 http://evil.example", False),
    ],
)
def test_each_of_several_servers_has_to_be_allowed(policy: StartPolicy, text: str, is_allowed: bool) -> None:
    assert allowed(policy, "host", text) is is_allowed


def test_each_server_of_the_command_line_is_allowed(tmp_path: Path) -> None:
    policy = StartPolicy(GIVEN, "http://one:1,http://two:2", [], [tmp_path])
    assert all(allowed(policy, "host", text) for text in ("http://one:1,http://two:2", "http://two:3", "http://one:1"))
    assert not allowed(policy, "host", "http://three:1")
