"""The options of what is asked, through Locust's own parser, so that defaults are tested as they are."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from typing import Any

import pytest
from locust.argument_parser import get_empty_argument_parser

from prompts import PromptError
from users.options import (
    API_KEY_VARIABLE,
    ChatOptions,
    OptionError,
    Stamps,
    Timeouts,
    TokenTimes,
    add_options,
    request_headers,
)
from wire import TlsSettings

Parse = Callable[..., Namespace]
LOCUSTS_OWN = {"config", "locustfile"}


@pytest.fixture
def parse(monkeypatch: pytest.MonkeyPatch) -> Parse:
    """A command line as Locust reads it; keywords are what its web form sets, past every check of the parser."""
    parser = get_empty_argument_parser(default_config_files=[])
    add_options(parser)

    def parsed(*arguments: str, **from_the_form: Any) -> Namespace:
        return Namespace(**(vars(parser.parse_args(list(arguments))) | from_the_form))

    return parsed


def sentence_about(options: Namespace) -> str:
    with pytest.raises(OptionError) as refused:
        ChatOptions.of(options)
    return str(refused.value)


def test_without_options_a_run_asks_the_samples_in_the_plain_dialect(parse: Parse) -> None:
    assert ChatOptions.of(parse()) == ChatOptions(
        engine="openai",
        model="",
        prompts="sample",
        prompt_tokens=(30, 150),
        tokenizer=None,
        system_prompt_file=None,
        max_tokens=512,
        ignore_eos=False,
        token_times=TokenTimes.ALL,
        stamps=Stamps.KERNEL,
        seed=1,
        timeouts=Timeouts(connect_s=10.0, first_token_s=120.0, idle_s=60.0, total_s=600.0),
        tls=TlsSettings(),
    )


def test_every_option_reaches_what_is_asked(parse: Parse) -> None:
    options = parse(
        *("--engine", "vllm", "--model", "llama", "--prompts", "dolly", "--prompt-tokens", "1:9"),
        *("--tokenizer", "tokenizer.json", "--system-prompt-file", "system.txt", "--max-tokens", "64", "--ignore-eos"),
        *(
            "--stamps",
            "user",
            "--token-times",
            "sampled",
            "--seed",
            "0",
            "--connect-timeout",
            "1s",
            "--first-token-timeout",
            "2s",
            "--idle-timeout",
            "3s",
        ),
        *("--request-timeout", "4s", "--tls-ca", "ca.pem", "--tls-insecure"),
    )
    assert ChatOptions.of(options) == ChatOptions(
        engine="vllm",
        model="llama",
        prompts="dolly",
        prompt_tokens=(1, 9),
        tokenizer="tokenizer.json",
        system_prompt_file="system.txt",
        max_tokens=64,
        ignore_eos=True,
        token_times=TokenTimes.SAMPLED,
        stamps=Stamps.USER,
        seed=0,
        timeouts=Timeouts(connect_s=1.0, first_token_s=2.0, idle_s=3.0, total_s=4.0),
        tls=TlsSettings("ca.pem", insecure=True),
    )


def test_no_option_has_a_default_or_a_name_that_the_web_form_would_lose(parse: Parse) -> None:
    """Locust's form drops names with digits, and returns a default of None as text."""
    own = {name: default for name, default in vars(parse()).items() if name not in LOCUSTS_OWN}
    assert len(own) == 17
    for name, default in own.items():
        assert type(default) in {str, int, bool}, name
        assert not any(character.isdigit() for character in name)


def test_numbers_from_the_web_form_may_be_text(parse: Parse) -> None:
    options = ChatOptions.of(parse(max_tokens="64", seed="7"))
    assert (options.max_tokens, options.seed) == (64, 7)


def test_options_can_be_given_in_the_environment(parse: Parse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKENSWARM_ENGINE", "vllm")
    monkeypatch.setenv("TOKENSWARM_IDLE_TIMEOUT", "1500ms")
    monkeypatch.setenv("TOKENSWARM_IGNORE_EOS", "true")
    options = ChatOptions.of(parse())
    assert (options.engine, options.timeouts.idle_s, options.ignore_eos) == ("vllm", 1.5, True)


def test_an_engine_that_there_is_not_is_refused_with_those_that_there_are(parse: Parse) -> None:
    assert sentence_about(parse(engine="tgi")) == "--engine takes one of openai, vllm, got 'tgi'."


def test_ignore_eos_is_refused_where_the_server_cannot_be_told(parse: Parse) -> None:
    """A run would believe that every answer has --max-tokens tokens."""
    assert sentence_about(parse("--engine", "openai", "--ignore-eos")) == (
        "--ignore-eos needs an engine that can be told to go on to --max-tokens (vllm); openai cannot."
    )
    assert ChatOptions.of(parse("--engine", "vllm", "--ignore-eos")).ignore_eos
    assert not ChatOptions.of(parse("--engine", "openai")).ignore_eos


@pytest.mark.parametrize("value", [0, -1, "0", "many", "1.5", "", None])
def test_a_longest_answer_of_less_than_a_token_is_refused(value: Any, parse: Parse) -> None:
    assert sentence_about(parse(max_tokens=value)) == (
        f"--max-tokens takes a whole number of at least 1, got {value!r}."
    )


@pytest.mark.parametrize("value", [-1, "x", "", None])
def test_a_seed_below_nothing_is_refused(value: Any, parse: Parse) -> None:
    assert sentence_about(parse(seed=value)) == f"--seed takes a whole number of at least 0, got {value!r}."


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("150", "--prompt-tokens: expected MIN:MAX such as 30:150, got '150'"),
        ("9:1", "--prompt-tokens: expected MIN no greater than MAX, and MAX at least 1, got '9:1'"),
    ],
)
def test_lengths_of_prompts_that_cannot_be_are_refused(text: str, sentence: str, parse: Parse) -> None:
    with pytest.raises(PromptError) as refused:
        ChatOptions.of(parse("--prompt-tokens", text))
    assert str(refused.value) == sentence


TIMEOUTS = {
    "connect_timeout": "connect_s",
    "first_token_timeout": "first_token_s",
    "idle_timeout": "idle_s",
    "request_timeout": "total_s",
}


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("300", 300.0),
        ("20s", 20.0),
        ("1.5m", 90.0),
        ("1h30m", 5400.0),
        ("1h30m10s250ms", 5410.25),
        ("500ms", 0.5),
        ("1s500ms", 1.5),
        (" 20s ", 20.0),
        ("0.1", 0.1),
    ],
)
@pytest.mark.parametrize("name", TIMEOUTS)
def test_each_timeout_takes_hours_to_milliseconds(name: str, text: str, seconds: float, parse: Parse) -> None:
    option = "--" + name.replace("_", "-")
    assert getattr(ChatOptions.of(parse(option, text)).timeouts, TIMEOUTS[name]) == seconds


@pytest.mark.parametrize(
    "text", ["", " ", "0", "0s", "0h0ms", "soon", "5 m", "-5s", "1e3", "inf", "nan", "1h30", "500ms1s", "٣s", None]
)
@pytest.mark.parametrize("name", TIMEOUTS)
def test_a_timeout_of_nothing_or_of_no_meaning_is_refused(name: str, text: str | None, parse: Parse) -> None:
    option = "--" + name.replace("_", "-")
    assert sentence_about(parse(**{name: text})) == (
        f"{option} takes a time above 0 like 500ms, 20s or 1h30m, got {text!r}."
    )


def test_the_api_key_goes_into_a_header(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(API_KEY_VARIABLE, "sk-Ab_9.=/+")
    assert API_KEY_VARIABLE == "LLM_API_KEY"
    assert request_headers() == {"Authorization": "Bearer sk-Ab_9.=/+"}


@pytest.mark.parametrize("key", [None, ""])
def test_without_an_api_key_there_is_no_such_header(key: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(API_KEY_VARIABLE, raising=False)
    if key is not None:
        monkeypatch.setenv(API_KEY_VARIABLE, key)
    assert request_headers() == {}


@pytest.mark.parametrize("key", ["sk-1\n", "sk-1\r\nHost: evil", "sk\t1", "\x7f", "schlüssel", "ключ", "sk–1"])
def test_an_api_key_that_no_header_may_hold_is_refused_and_not_shown(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(API_KEY_VARIABLE, key)
    with pytest.raises(OptionError) as refused:
        request_headers()
    assert str(refused.value) == "LLM_API_KEY holds a character that no HTTP header may hold; set it again."


def test_the_api_key_is_no_option(parse: Parse) -> None:
    """Locust would show it in its page and send it to workers in clear."""
    assert not [name for name in vars(parse()) if "key" in name]


def test_stamps_of_nobody_are_refused(parse: Parse) -> None:
    assert sentence_about(parse(stamps="tcpdump")) == "--stamps takes one of kernel, user, got 'tcpdump'."
