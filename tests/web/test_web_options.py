"""The options of the web page: passwords, and a page that other machines could reach."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

import pytest
from locust.argument_parser import get_empty_argument_parser, setup_parser_arguments

from tokenswarm.sanitize import shown
from tokenswarm.web.web_options import PASSWORD_VARIABLE, WebOptionError, WebOptions, add_options, turn_on_login


def options(*arguments: str) -> Namespace:
    parser = get_empty_argument_parser(default_config_files=[])
    setup_parser_arguments(parser)
    add_options(parser)
    parsed: Namespace = parser.parse_args(["--web-host", "127.0.0.1", *arguments])
    return parsed


def test_without_a_login_there_is_no_password() -> None:
    assert WebOptions.of(options(), {}).password == ""


def test_a_password_is_generated_anew_for_each_process() -> None:
    one, other = (WebOptions.of(options("--web-login"), {}) for _ in range(2))
    assert one.password_is_generated
    assert len(one.password) >= 32
    assert one.password != other.password
    assert one.password not in repr(one)


def test_a_password_of_the_environment_or_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("correct horse\n")
    of_file = WebOptions.of(options("--web-login", "--web-password-file", str(file)), {})
    of_environment = WebOptions.of(options("--web-login"), {PASSWORD_VARIABLE: "correct horse"})
    for each in (of_file, of_environment):
        assert each.password == "correct horse"
        assert not each.password_is_generated
        assert "horse" not in repr(each)
    assert shown("the password is correct horse.") == "the password is [secret]."


@pytest.mark.parametrize("content", ["", "short", "two\nlines here", "x" * 2000, "nul\0 in the middle"])
def test_a_password_that_is_none_is_refused_and_not_repeated(tmp_path: Path, content: str) -> None:
    file = tmp_path / "password"
    file.write_text(content)
    with pytest.raises(WebOptionError) as refused:
        WebOptions.of(options("--web-login", "--web-password-file", str(file)), {})
    assert not content or content not in str(refused.value)


@pytest.mark.parametrize("name", ["missing", ".", "/dev/zero"])
def test_a_file_that_holds_no_password_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(WebOptionError):
        WebOptions.of(options("--web-login", "--web-password-file", str(tmp_path / name)), {})


def test_two_passwords_are_refused(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("correct horse")
    given = options("--web-login", "--web-password-file", str(tmp_path / "password"))
    with pytest.raises(WebOptionError):
        WebOptions.of(given, {PASSWORD_VARIABLE: "another horse"})


@pytest.mark.parametrize("host", ["*", "0.0.0.0", "::", "10.1.2.3", "loadhost", ""])
def test_a_page_that_other_machines_reach_needs_a_login_or_a_word(host: str) -> None:
    with pytest.raises(WebOptionError, match="--web-login"):
        WebOptions.of(options("--web-host", host), {})
    assert WebOptions.of(options("--web-host", host, "--web-login"), {}).password
    assert WebOptions.of(options("--web-host", host, "--web-open"), {}).password == ""


@pytest.mark.parametrize(
    "arguments",
    [
        ("--web-allow-host", "http://load.example.com"),
        ("--web-allow-host", "a b"),
        ("--web-allow-folder", "/no/such/folder"),
        ("--web-user", "a:b"),
        ("--web-user", ""),
    ],
)
def test_bad_options_are_refused(arguments: tuple[str, ...]) -> None:
    with pytest.raises(WebOptionError):
        WebOptions.of(options(*arguments), {})


def test_lists_may_be_repeated(tmp_path: Path) -> None:
    given = options(
        *("--web-allow-host", "a.example,b.example", "--web-allow-host", "C.example."),
        *("--web-allow-target", "http://one:1", "--web-allow-target", "http://two:2"),
        *("--web-allow-folder", str(tmp_path)),
    )
    web = WebOptions.of(given, {})
    assert web.allow_hosts == ("a.example", "b.example", "c.example")
    assert web.allow_targets == ("http://one:1", "http://two:2")
    assert web.allow_folders == (tmp_path.resolve(),)


def test_a_password_turns_the_login_on() -> None:
    for environ, is_on in (({}, False), ({PASSWORD_VARIABLE: "correct horse"}, True)):
        parser = get_empty_argument_parser(default_config_files=[])
        setup_parser_arguments(parser)
        add_options(parser)
        options = parser.parse_args([])
        turn_on_login(options, environ)
        assert options.web_login is is_on
