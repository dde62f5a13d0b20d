"""Reading a command line strictly, through Locust's own parser."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Callable
from pathlib import Path

import pytest
from locust.argument_parser import get_empty_argument_parser, setup_parser_arguments

import tokenswarm.client.request_options
import tokenswarm.shapes.shape_options
import tokenswarm.web.web_options
from tests.option_parser import parser_of_all_options
from tokenswarm.command_line import (
    Given,
    OptionErrors,
    collect_errors,
    misspelled_variables,
    nearest_names,
    nearest_options,
    read_options,
    variable_of,
)

Read = Callable[..., Given]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    def reading(*arguments: str, config: str = "") -> Given:
        (tmp_path / "locust.conf").write_text(config)
        parser = get_empty_argument_parser(default_config_files=[str(tmp_path / "locust.conf")])
        setup_parser_arguments(parser)
        tokenswarm.client.request_options.add_options(parser)
        tokenswarm.shapes.shape_options.add_options(parser)
        return read_options(parser, list(arguments))

    return reading


@pytest.mark.parametrize("option", ["--levels", "--ramp", "--prompts"])
def test_an_empty_value_is_one_error_and_the_default(option: str, read: Read) -> None:
    given = read(option, "")
    assert len(given.errors) == 1
    assert getattr(given.options, option.removeprefix("--")) == getattr(read().options, option.removeprefix("--"))


def test_of_a_file_that_is_written_there_is_one(read: Read) -> None:
    (sentence,) = read("--html", "a.html", "--html", "b.html", "--max-tokens", "3", "--max-tokens", "4").errors
    assert "--html" in sentence


@pytest.mark.parametrize(("option", "instead"), [("--quiet", "--loglevel WARNING"), ("--dry-run", "tokenswarm run")])
def test_an_option_of_tokenswarm_run_alone_has_one_of_locusts_in_its_place(
    option: str, instead: str, read: Read
) -> None:
    (sentence,) = read(option, "--headless").errors
    assert instead in sentence
    assert "did you mean" not in sentence


@pytest.mark.parametrize(
    ("word", "near"),
    [
        ("--max-token", ["--max-tokens"]),
        ("--max-token=5", ["--max-tokens"]),
        ("--lev", ["--levels", "--level-time"]),
        ("--leveles", ["--levels"]),
        ("--thredas", []),
    ],
)
def test_an_abbreviation_and_a_misspelling_are_errors_with_the_nearest_option(
    word: str, near: list[str], read: Read
) -> None:
    given = read("--levels", "3", word, "5")
    (sentence,) = given.errors
    assert word.partition("=")[0] in sentence
    assert [flag for flag in ("--max-tokens", "--levels", "--level-time") if flag in sentence.split("mean")[-1]] == near
    assert given.options.max_tokens == 512


def test_one_that_is_no_option_of_the_parser_has_no_neighbour() -> None:
    assert nearest_options("--bogus", ["--tags", "--host", "--gpus"]) == []
    assert nearest_options("--rps", ["--ramp", "--prompts"]) == []
    assert nearest_options("-b", ["-r", "--b"]) == []


@pytest.mark.parametrize(
    ("word", "near"),
    [("--hots", "--host"), ("--max_tokens", "--max-tokens"), ("--model-name", "--model"), ("--usres", "--users")],
)
def test_a_slip_of_the_pen_is_near(word: str, near: str, read: Read) -> None:
    (sentence,) = read(word, "5").errors
    assert sentence == f"unknown option {word}; did you mean {near}?"


@pytest.mark.parametrize(
    ("word", "here"), [("--concurrency", "--users"), ("--base_url=http://a", "--host"), ("--duration", "--run-time")]
)
def test_an_option_s_name_in_other_tools_is_refused_with_its_name_here(word: str, here: str, read: Read) -> None:
    (sentence,) = read(word).errors
    assert sentence.endswith(f"; did you mean {here}?")
    assert nearest_options("--rps", ["--rate", "--ramp"]) == ["--rate"]


def test_a_command_whose_letters_are_in_another_order_is_near() -> None:
    assert nearest_names("rnu", ["run", "runs", "report"]) == ["run"]
    assert nearest_names("bogus", ["run", "runs", "report"]) == []


@pytest.mark.parametrize(
    ("program", "started", "shown"),
    [
        ("tokenswarm", ["--headless"], "tokenswarm run"),
        ("tokenswarm", [], "tokenswarm web"),
        ("tokenswarm sweep", [], "tokenswarm sweep"),
        ("__main__.py", [], "locust"),
    ],
)
def test_an_option_that_is_like_none_is_answered_with_the_help_of_the_command(
    program: str, started: list[str], shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", [program, *started])
    parser = parser_of_all_options()
    parser.prog = program
    (sentence,) = read_options(parser, ["--bogus"]).errors
    assert sentence == f"unknown option --bogus: see {shown} --help."


@pytest.mark.parametrize(
    ("option", "value", "takes"),
    [
        ("-t", "abc", "--run-time takes a time like 20s, 3m or 1h30m, got 'abc'."),
        ("-r", "0", "--spawn-rate takes a number above 0, got '0'."),
        ("--expect-workers", "0", "--expect-workers takes a whole number of at least 1, got '0'."),
    ],
)
def test_a_value_that_locusts_types_refuse_is_answered_with_what_they_take(
    option: str, value: str, takes: str, read: Read
) -> None:
    assert read(option, value).errors == [takes]


def test_every_bad_value_is_told_and_good_ones_are_read_all_the_same(read: Read) -> None:
    given = read("--max-tokens", "x", "--engine", "y", "-u", "z", "-r", "0", "--seed", "7", "--bogus")
    assert [sentence.split()[0].rstrip(":") for sentence in given.errors[:4]] == [
        *("--max-tokens", "--engine", "--users", "--spawn-rate")
    ]
    assert len(given.errors) == 5
    assert (given.options.seed, given.options.max_tokens) == (7, 512)


def test_a_missing_value_is_one_error_among_others_and_the_rest_is_read(read: Read) -> None:
    given = read("--levels", "--max-tokens", "x", "--seed", "7", "--slo", "--ignore-eos")
    assert [sentence.split()[0] for sentence in given.errors] == ["--levels", "--max-tokens", "unknown"]
    assert (given.options.seed, given.options.ignore_eos) == (7, True)
    assert given.options.levels == "10,50,100"


def test_what_was_given_is_known_with_its_place_and_what_says_the_default_elsewhere_is_not(
    read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKENSWARM_RAMP", "3s")
    monkeypatch.setenv("TOKENSWARM_LEVEL_TIME", "5m")
    given = read("--levels=10,50,100", "-u5", "--ignore-eos", config="seed = 4\nhost = http://gpu:1\n")
    assert given.sources == {
        "levels": "--levels",  # the default, but said on the command line
        "num_users": "--users",
        "ignore_eos": "--ignore-eos",
        "ramp": "TOKENSWARM_RAMP",
        "seed": "seed in locust.conf",
        "host": "host in locust.conf",
    }
    assert (given.options.ramp, given.options.seed, given.options.num_users) == ("3s", 4, 5)


def test_an_unknown_option_of_a_file_is_told_with_the_file(read: Read) -> None:
    (sentence,) = read(config="max-token = 5\n").errors
    assert "--max-tokens" in sentence
    assert "locust.conf" in sentence


def test_several_errors_come_together_once_each_and_a_single_one_as_it_is() -> None:
    def fail(text: str) -> None:
        raise UnicodeError(text)

    def fail_three_times() -> None:
        with collect_errors() as errors:
            errors.of(fail, "one")
            errors.add(OptionErrors(["two", "one"]))
            raise RuntimeError("a consequence")

    with pytest.raises(OptionErrors) as several:
        fail_three_times()
    assert several.value.sentences == ["one", "two"]
    with pytest.raises(UnicodeError, match="one"), collect_errors() as errors:
        errors.of(fail, "one")
    with pytest.raises(RuntimeError), collect_errors():
        raise RuntimeError("a defect")


def test_a_misspelled_variable_is_told_and_one_of_others_is_not() -> None:
    parser = get_empty_argument_parser(default_config_files=[])
    tokenswarm.client.request_options.add_options(parser)
    tokenswarm.web.web_options.add_options(parser)
    environment = {
        "TOKENSWARM_MAX_TOKEN": "5",
        "TOKENSWARM_MAX_TOKENS": "5",
        "TOKENSWARM_SERVICE_HOST": "10.0.0.1",
        "TOKENSWARM_PORT_TCP_ADDR": "10.0.0.1",
        "TOKENSWARM_WEB_PASSWORD": "secret",
        "MAX_TOKENS": "5",
    }
    assert misspelled_variables(parser, environment) == {"TOKENSWARM_MAX_TOKEN": "TOKENSWARM_MAX_TOKENS"}


def test_a_variable_that_holds_a_secret_is_known_by_the_option_of_its_file() -> None:
    """Though another option's variable is spelled more like it: a warning would misplace the secret."""
    parser = ArgumentParser()
    for name in ("cluster", "cluster_key_file"):
        action = parser.add_argument(f"--{name}")
        action.env_var = f"TOKENSWARM_{name.upper()}"  # type: ignore[attr-defined]
    assert misspelled_variables(parser, {"TOKENSWARM_CLUSTER_KEY": "0123456789abcdef"}) == {}


@pytest.mark.parametrize(
    ("arguments", "sentences"),
    [
        (["--ignore-eos", "yes"], ["--ignore-eos takes no value, got 'yes'."]),
        (["--ignore-eos=yes"], ["--ignore-eos takes no value, got 'yes'."]),
        (["--ignore-eos=maybe", "-u", "x"], ["--ignore-eos takes no value, got 'maybe'.", "a whole number, got 'x'."]),
        (["-levels", "5"], ["unknown option -levels; did you mean --levels?"]),
        (["-levels=5"], ["unknown option -levels; did you mean --levels?"]),
        (["-u10", "-t", "5m", "--headless", "ChatUser"], []),
        (["--engine", "vlm"], ["vllm?"]),
        (["--engine", "VLLM"], ["vllm?"]),
        (["--engine", "tensorrt-llm"], ["; did you mean trtllm?"]),
        (["--engine", "TensorRT-LLM"], ["; did you mean trtllm?"]),
        (["--api-key", "sk-1"], ["unknown option --api-key: the key is read from the variable LLM_API_KEY."]),
        (["--api-key=sk-1"], ["unknown option --api-key: the key is read from the variable LLM_API_KEY."]),
    ],
    ids=" ".join,
)
def test_a_slip_that_argparse_would_read_otherwise_is_an_error(
    arguments: list[str], sentences: list[str], read: Read
) -> None:
    given = read(*arguments)
    assert len(given.errors) == len(sentences)
    assert all(error.endswith(sentence) for error, sentence in zip(given.errors, sentences, strict=True))
    if not sentences:
        assert (given.options.num_users, given.options.user_classes) == (10, ["ChatUser"])


@pytest.mark.parametrize(
    "words",
    [
        ("-H", "http://a:1", "-H", "http://b:2"),
        ("--host", "http://a:1", "-u", "3", "--host=http://b:2"),
        ("-Hhttp://a:1", "-H", "http://b:2", "-u", "3"),
        ("-H", "http://a:1,http://b:2"),
    ],
)
def test_a_host_that_is_given_several_times_is_a_list(read: Read, words: tuple[str, ...]) -> None:
    given = read(*words)
    assert given.errors == []
    assert given.options.host == "http://a:1,http://b:2"


def test_a_host_without_a_value_is_an_error_beside_others(read: Read) -> None:
    assert len(read("-H", "http://a:1", "-H").errors) == 1


@pytest.mark.parametrize("flag", ["--host", "--results", "--fail-if", "--pass-if", "--junit", "--markdown", "--rate"])
def test_an_empty_value_is_refused_wherever_it_is_given(
    flag: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def errors(*words: str, config: str = "") -> list[str]:
        file = tmp_path / "locust.conf"
        file.write_text(config)
        parser = parser_of_all_options()
        parser._default_config_files = [str(file)]
        return read_options(parser, [*words]).errors

    name = flag.removeprefix("--")
    variable = "LOCUST_HOST" if name == "host" else variable_of(flag)
    for words in ([flag, ""], [f"{flag}="], [flag, "  "]):
        assert [sentence.split(" is empty")[0] for sentence in errors(*words)] == [flag]
    places = [sentence.split(" is empty")[0] for sentence in errors(config=f"{name} =\n")]
    assert places == [f"{name} in locust.conf"]
    monkeypatch.setenv(variable, "")
    assert [sentence.split(" is empty")[0] for sentence in errors()] == [variable]
    assert not errors(flag, "1")  # which is read before the variable


def test_an_empty_value_that_has_a_meaning_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """docker-compose.yml passes these whether they are set or not."""
    for flag in ("--model", "--slo", "--gpu-metrics-url"):
        monkeypatch.setenv(variable_of(flag), "")
        given = read_options(parser_of_all_options(), [flag, ""])
        assert not given.errors
        assert getattr(given.options, flag.removeprefix("--").replace("-", "_")) == ""


def test_one_empty_host_among_several_is_refused() -> None:
    for words in (["-H", "", "-H", "http://gpu:1"], ["-H", "http://gpu:1", "-H", ""]):
        assert read_options(parser_of_all_options(), words).errors


@pytest.mark.parametrize("flag", ["--ramp", "--think-time", "--level-time", "--rate"])
def test_a_value_that_begins_with_a_minus_and_a_digit_is_no_option(flag: str) -> None:
    for value in ("-1s", "-1", "-.5", "-10ms"):
        given = read_options(parser_of_all_options(), [flag, value])
        assert not given.errors
        assert getattr(given.options, flag.removeprefix("--").replace("-", "_")) == value
