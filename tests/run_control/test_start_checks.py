"""What options mean to Locust itself, as a run's process completes them."""

from __future__ import annotations

import os
from pathlib import Path

import certifi
import pytest
from locust.argument_parser import get_empty_argument_parser, setup_parser_arguments

import tokenswarm.client.custom_headers
import tokenswarm.client.request_options
import tokenswarm.recording.recording_options
import tokenswarm.reports.checks.check_options
import tokenswarm.shapes.shape_options
import tokenswarm.web.web_options
from tests.option_parser import parser_of_all_options
from tokenswarm.command_line import OptionErrors, collect_errors, read_options, sentences_of
from tokenswarm.run_control.start_checks import check_run, complete_options, shows_stats_tables


@pytest.mark.parametrize(
    ("arguments", "periodic", "at_the_end"),
    [([], False, False), (["--only-summary"], False, True), (["--print-stats"], True, True)],
    ids=["neither option", "--only-summary", "--print-stats"],
)
def test_locusts_tables_are_printed_where_one_of_its_options_names_them(
    arguments: list[str], periodic: bool, at_the_end: bool
) -> None:
    parser = get_empty_argument_parser(default_config_files=[])
    setup_parser_arguments(parser)
    for options in (tokenswarm.client.request_options, tokenswarm.shapes.shape_options, tokenswarm.web.web_options):
        options.add_options(parser)
    parser.set_defaults(only_summary=True)  # as a run's process has it
    given = read_options(parser, ["--headless", *arguments])
    complete_options(given)
    assert not given.errors
    assert (not given.options.only_summary, shows_stats_tables(given)) == (periodic, at_the_end)


@pytest.mark.parametrize("secret", ["Authorization Bearer sk-0123456789", "foo", "Bad name: sk-0123456789"])
def test_a_header_that_cannot_be_read_is_one_sentence_without_its_text(
    secret: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokenswarm.client.custom_headers, "_given", {})
    parser = parser_of_all_options()
    words = ["-u", "1", "--levels", "5", "--header", secret, "--header", "X-A: b", "--header", "Te: x"]
    given = read_options(parser, words)
    with collect_errors() as errors, pytest.raises(OptionErrors) as refused:
        complete_options(given)
    errors.of(check_run, given.options, "http://gpu:8000")
    assert errors.error is None
    assert given.options.header == ["X-A"]
    assert len(refused.value.sentences) == 3
    assert "sk-" not in str(refused.value) and "foo" not in str(refused.value)


def sentences(*words: str, host: str = "http://gpu:8000") -> list[str]:
    """What a command line is refused with."""
    given = read_options(parser_of_all_options(), [*words])
    try:
        with collect_errors() as errors:
            if given.errors:
                errors.add(OptionErrors(given.errors))
            errors.of(complete_options, given)
            errors.of(check_run, given.options, host)
    except ValueError as error:
        return sentences_of(error)
    return []


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--levels", "x", "--level-time", "5", "--ramp", "10s"], ["--levels", "--level-time"]),
        (["--input-tokens", "foo", "--output-tokens", "bar"], ["--input-tokens", "--output-tokens"]),
        (
            ["--body", '{"model": 1, "input": 2, "max_tokens": 3, "stream": false}'],
            ["input", "model", "max_", "stream"],
        ),
        (["--requests", "-3", "--rate", "x"], ["--rate", "--requests"]),
        (["--requests", "-3", "--levels", "x", "--warm-up", "y"], ["--levels", "--warm-up", "--requests"]),
        (["--prompt-tokens", "x", "--prompts", "/nope"], ["--prompt-tokens", "/nope"]),
        (["--body-file", "/nope", "--body", "{"], ["--body-file", "--body"]),
        (["--tls-ca", __file__, "--client-cert", "/nope"], ["--tls-ca", "--client-cert"]),
        (["--client-key", "/k", "--max-tokens", "0"], ["--max-tokens", "--client-key"]),
        (["--header", "X-A: $NOT_SET_A", "--header", "X-B: $NOT_SET_B"], ["NOT_SET_A", "NOT_SET_B"]),
        (["--slo", "ttft", "--slo-share", "200%"], ["--slo-share", "--slo takes"]),
        (["--output-tokens", "bar", "--image", "/nope.png"], ["--output-tokens", "/nope.png"]),
        (["--levels", "x", "--results", "/dev/null/results"], ["--levels", "/dev/null/results"]),
        (["--slo", "ttft", "--spool-folder", "/dev/null/spool"], ["--slo", "--spool-folder"]),
        (["--top-p", "3", "--top-k", "0", "--temperature", "-1"], ["--temperature", "--top-p", "--top-k"]),
        (["--exit-code-on-error", "256", "--levels", "x"], ["--exit-code-on-error takes a number from 0", "--levels"]),
        (["--processes", "-7", "--levels", "x"], ["--processes takes a number", "--levels"]),
        (["--master", "--worker"], ["--master and --worker"]),
        (["--master", "--processes", "2"], ["--master has no effect beside --processes"]),
        (["--processes", "501"], ["--processes takes a number of worker processes up to 500"]),
        (["--presence-penalty", "2.5", "--frequency-penalty", "nan"], ["--presence-penalty", "--frequency-penalty"]),
    ],
    ids=lambda value: value[0],
)
def test_every_error_of_a_command_line_is_reported(
    words: list[str], named: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokenswarm.client.custom_headers, "_given", {})
    found = sentences(*words)
    assert len(found) == len(named), found
    assert all(name in sentence for name, sentence in zip(named, found, strict=True))


def test_a_pipe_for_the_log_is_refused_before_locust_opens_it(tmp_path: Path) -> None:
    """Locust would wait until somebody reads it."""
    os.mkfifo(pipe := tmp_path / "pipe")
    (found,) = sentences("--logfile", str(pipe))
    assert found.startswith("--logfile takes a file, but ")
    assert sentences("--logfile", str(tmp_path / "new.log")) == sentences("--logfile", os.devnull) == []


@pytest.mark.parametrize("option", ["--logfile", "--html"])
def test_a_device_for_a_file_of_locusts_is_refused_and_the_null_device_is_not(option: str, tmp_path: Path) -> None:
    device = next(name for name in ("/dev/full", "/dev/zero") if Path(name).exists())
    assert sentences(option, device) == [
        f"{option} takes a file, but {device} is a device: name a file, or leave it out."
    ]
    assert sentences(option, os.devnull) == sentences(option, str(tmp_path / "file")) == []
    assert list(tmp_path.iterdir()) == []


def test_a_log_file_that_cannot_be_opened_is_one_sentence(tmp_path: Path) -> None:
    """Locust would end with a traceback."""
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    for name, why in (
        ("folder", "Is a directory"),
        ("file/x.log", "Not a directory"),
        ("new/x.log", "No such file or directory"),
    ):
        path = tmp_path / name
        assert sentences("--logfile", str(path)) == [f"--logfile {path} cannot be written ({why}); name another file."]
    assert sentences("--logfile", str(tmp_path / "file")) == []
    assert {each.name for each in tmp_path.iterdir()} == {"file", "folder"}


def test_a_choice_that_does_not_exist_is_one_sentence() -> None:
    parser = parser_of_all_options()
    actions = [action for action in parser._actions if action.choices and hasattr(action, "env_var")]
    own = [each.option_strings[0] for each in actions if str(each.env_var).startswith("TOKENSWARM_")]
    assert "--record" in own
    for flag in own:
        found = [each for each in sentences(flag, "everything") if " has no effect without --trace" not in each]
        assert [sentence.partition(" takes")[0] for sentence in found] == [flag]


def test_options_of_tls_are_taken_where_one_address_is_of_https() -> None:
    ca = ["--tls-ca", certifi.where()]
    assert sentences(*ca)
    assert not sentences(*ca, "--gpu-metrics-url", "https://gpu:9400/metrics")
    assert not sentences(*ca, host="https://gpu:8000")
