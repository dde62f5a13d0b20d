"""The options of what is asked, through Locust's own parser, so that defaults are tested as they are."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from locust.argument_parser import get_empty_argument_parser

from tokenswarm.client.api_key import request_headers
from tokenswarm.client.option_values import OptionError
from tokenswarm.client.request_control import RequestControl
from tokenswarm.client.request_options import (
    AUTO,
    KEY_SERVERS,
    ChatOptions,
    Stamps,
    Timeouts,
    TokenTimes,
    add_options,
    check_engine,
    engine_of,
)
from tokenswarm.command_line import TimespanError
from tokenswarm.engines import ENGINES, ChatRequest, TemplatedEngine
from tokenswarm.prompts import PromptError, PromptReuse
from tokenswarm.sanitize import API_KEY_VARIABLE
from tokenswarm.wire import Origin, TlsSettings

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
    with pytest.raises((OptionError, TimespanError)) as refused:
        ChatOptions.of(options)
    return str(refused.value)


def test_without_options_a_run_asks_the_samples_of_whatever_engine_answers(parse: Parse) -> None:
    assert ChatOptions.of(parse()) == ChatOptions(
        engine="auto",
        model="",
        chat_template=None,
        prompts="sample",
        prompts_column=None,
        prompt_tokens=(30, 150),
        prompt_reuse=PromptReuse.NEVER,
        prompt_nonce="",
        tokenizer=None,
        system_prompt_file=None,
        max_tokens=512,
        ignore_eos=False,
        token_times=TokenTimes.ALL,
        stamps=Stamps.AUTO,
        traceparent=False,
        self_check=False,
        preflight=True,
        seed=1,
        timeouts=Timeouts(connect_s=10.0, first_token_s=120.0, idle_s=60.0, total_s=600.0),
        ready_timeout_s=600.0,
        tls=TlsSettings(),
        control=RequestControl(row_models=True),
    )


def test_every_option_reaches_what_is_asked(parse: Parse) -> None:
    options = parse(
        *("--engine", "triton", "--model", "llama", "--chat-template", "own.jinja", "--ready-timeout", "5s"),
        *(
            "--prompts",
            "dolly",
            "--prompts-column",
            "query",
            "--prompt-tokens",
            "1:9",
            "--prompt-reuse",
            "run",
            "--prompt-nonce",
            "again",
        ),
        *("--tokenizer", "tokenizer.json", "--system-prompt-file", "system.txt", "--max-tokens", "64", "--ignore-eos"),
        *(
            "--self-check",
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
        *("--preflight", "off", "--traceparent", "--request-timeout", "4s", "--tls-ca", "ca.pem", "--tls-insecure"),
    )
    assert ChatOptions.of(options) == ChatOptions(
        engine="triton",
        model="llama",
        chat_template="own.jinja",
        prompts="dolly",
        prompts_column="query",
        prompt_tokens=(1, 9),
        prompt_reuse=PromptReuse.RUN,
        prompt_nonce="again",
        tokenizer="tokenizer.json",
        system_prompt_file="system.txt",
        max_tokens=64,
        ignore_eos=True,
        token_times=TokenTimes.SAMPLED,
        stamps=Stamps.USER,
        traceparent=True,
        self_check=True,
        preflight=False,
        seed=0,
        timeouts=Timeouts(connect_s=1.0, first_token_s=2.0, idle_s=3.0, total_s=4.0),
        ready_timeout_s=5.0,
        tls=TlsSettings("ca.pem", insecure=True),
    )


def test_no_option_has_a_default_or_a_name_that_the_web_form_would_lose(parse: Parse) -> None:
    """Locust's form drops names with digits, and returns a default of None as text."""
    own = {name: default for name, default in vars(parse()).items() if name not in LOCUSTS_OWN}
    for repeated in ("header", "image"):  # not in the form
        del own[repeated]
    assert len(own) >= 47
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
    assert sentence_about(parse(engine="gpt")) == (
        "--engine takes one of auto, openai, vllm, vllm-0.4.2, lmdeploy, lmdeploy-0.4.0, lmdeploy-interactive, mlc, "
        "mlc-2024, trtllm, triton, triton-bls, tgi, tgi-2.0.4, tgi-generate, bentoml, sglang, llamacpp, "
        "koboldcpp, ollama, "
        "anthropic, got 'gpt'."
    )


def test_ignore_eos_is_refused_where_the_server_cannot_be_told(parse: Parse) -> None:
    """A run would believe that every answer has --max-tokens tokens."""
    assert sentence_about(parse("--engine", "openai", "--ignore-eos")) == (
        "--ignore-eos: openai has no way to request exactly --max-tokens tokens; leave it out, and choose prompts "
        "whose answers reach --max-tokens."
    )
    for engine in ("tgi", "tgi-2.0.4", "tgi-generate"):
        assert sentence_about(parse("--engine", engine, "--ignore-eos")) == (
            f"--ignore-eos: {engine} has no way to request exactly --max-tokens tokens; TGI has no such option "
            "over HTTP: leave --ignore-eos out; --max-tokens then only caps."
        )
    for engine in ("vllm", "mlc", "triton", AUTO):
        assert ChatOptions.of(parse("--engine", engine, "--ignore-eos")).ignore_eos
    assert not ChatOptions.of(parse("--engine", "openai")).ignore_eos


def test_bare_text_without_a_tokenizer_is_refused_for_nobody_would_count_it(parse: Parse) -> None:
    assert sentence_about(parse("--engine", "bentoml")) == (
        "bentoml streams bare text without any count of tokens; give --tokenizer (the model's tokenizer.json, or its "
        "name on the Hugging Face hub) to have them counted."
    )
    assert ChatOptions.of(parse("--engine", "bentoml", "--tokenizer", "tokenizer.json")).engine == "bentoml"


def test_a_chat_template_is_refused_where_the_server_applies_its_own(parse: Parse) -> None:
    assert sentence_about(parse("--engine", "vllm", "--chat-template", "llama-3")) == (
        "--chat-template is for endpoints that apply none (triton, triton-bls, tgi-generate, and --endpoint "
        "completions); vllm has its own."
    )


def test_longest_answers_that_the_service_would_refuse_are_refused_before_the_run(parse: Parse) -> None:
    options = ChatOptions.of(parse("--engine", "bentoml", "--tokenizer", "t.json", "--max-tokens", "64"))
    with pytest.raises(OptionError) as refused:
        check_engine(options, ENGINES["bentoml"], (128, 1024))
    assert str(refused.value) == (
        "--max-tokens: this service takes 128 to 1024, got 64; it would refuse every request."
    )
    check_engine(options, ENGINES["bentoml"], (64, 64))
    check_engine(options, ENGINES["bentoml"], None)


def test_the_chat_template_is_read_from_its_file(parse: Parse, tmp_path: Path) -> None:
    file = tmp_path / "own.jinja"
    file.write_text("{{ messages[-1].content }}?", encoding="utf-8")
    engine = engine_of(ChatOptions.of(parse("--engine", "triton", "--chat-template", str(file))))
    assert isinstance(engine, TemplatedEngine)
    assert engine.template.render(ChatRequest(model="", prompt="Why", system_prompt=None, max_tokens=1)) == "Why?"
    named = engine_of(ChatOptions.of(parse("--engine", "triton", "--chat-template", "llama-3")))
    assert named == engine_of(ChatOptions.of(parse("--engine", "triton"))) == ENGINES["triton"]
    missing = ChatOptions.of(parse("--engine", "triton", "--chat-template", "missing.jinja"))
    with pytest.raises(OptionError, match=r"--chat-template takes llama-3 or .*'missing\.jinja'"):
        engine_of(missing)


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
        ("150", "--prompt-tokens: expected MIN:MAX such as 30:150, got '150'."),
        ("9:1", "--prompt-tokens: expected MIN no greater than MAX, and MAX at least 1, got '9:1'."),
    ],
)
def test_lengths_of_prompts_that_cannot_be_are_refused(text: str, sentence: str, parse: Parse) -> None:
    with pytest.raises(PromptError) as refused:
        ChatOptions.of(parse("--prompt-tokens", text))
    assert str(refused.value) == sentence


TIMEOUTS = {  # of those that a request has
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
        f"{option} takes a time above 0 like 500ms, 20s, 5m or 1h30m, got {text!r}."
    )


def test_the_api_key_goes_into_a_header(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(API_KEY_VARIABLE, "sk-Ab_9.=/+")
    assert API_KEY_VARIABLE == "LLM_API_KEY"
    assert request_headers(ENGINES["vllm"]) == {"Authorization": "Bearer sk-Ab_9.=/+"}
    assert request_headers(ENGINES["anthropic"]) == {
        "anthropic-version": "2023-06-01",
        "x-api-key": "sk-Ab_9.=/+",
    }


@pytest.mark.parametrize("key", [None, ""])
def test_without_an_api_key_there_is_no_such_header(key: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(API_KEY_VARIABLE, raising=False)
    if key is not None:
        monkeypatch.setenv(API_KEY_VARIABLE, key)
    assert request_headers(ENGINES["vllm"]) == {}


@pytest.mark.parametrize(
    ("key", "position"),
    [("sk-1\r\nHost: evil", 5), ("sk\t1", 3), ("\x7f", 1), ("schlüssel", 5), ("ключ", 1), ("sk–1", 3)],
)
def test_an_api_key_that_no_header_may_hold_is_refused_and_not_shown(
    key: str, position: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(API_KEY_VARIABLE, key)
    with pytest.raises(OptionError) as refused:
        request_headers(ENGINES["vllm"])
    assert f"position {position} of {len(key)} " in str(refused.value)
    assert key not in str(refused.value)


def test_the_api_key_is_for_servers_of_the_command_line_where_a_page_may_choose_others(
    monkeypatch: pytest.MonkeyPatch, parse: Parse
) -> None:
    monkeypatch.setenv(API_KEY_VARIABLE, "sk-1")
    given = parse()
    anywhere = ChatOptions.of(given)
    assert anywhere.key_for(Origin.parse("http://whichever:1")) == "sk-1"
    vars(given)[KEY_SERVERS] = ["http://gpu:8000", "https://[::1]:443"]
    limited = ChatOptions.of(given)
    for host in ("http://gpu:8000", "http://GPU:8000/prefix/", "https://[::1]"):
        assert limited.key_for(Origin.parse(host)) == "sk-1"
    for host in ("https://gpu:8000", "http://gpu", "http://gpu.evil.example:8000", "http://[::1]:443"):
        assert limited.key_for(Origin.parse(host)) == ""


def test_the_api_key_is_no_option(parse: Parse) -> None:
    """Locust would show it in its page and send it to workers in clear."""
    assert [name for name in vars(parse()) if "key" in name] == ["client_key"]  # the path of a file


def test_stamps_of_nobody_are_refused(parse: Parse) -> None:
    assert sentence_about(parse(stamps="tcpdump")) == "--stamps takes one of auto, tap, kernel, user, got 'tcpdump'."


@pytest.mark.parametrize("header", ["traceparent: x", "Traceparent: $MINE", " TRACEPARENT : 1"])
def test_a_traceparent_header_comes_from_one_place(parse: Parse, header: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINE", "x")
    assert "--traceparent" in sentence_about(parse("--traceparent", "--header", header))
