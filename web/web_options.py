"""The options of the web page: who may use it, and what a run that it starts may reach."""

from __future__ import annotations

import os
import re
import secrets
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tokenswarm.command_line import OptionAdder
from tokenswarm.reports.checks.check_options import Joined
from tokenswarm.sanitize import hide
from tokenswarm.web.origins import is_loopback_bind

#: Holds the password of the web page. A variable, not an option: command lines can be read by every process.
PASSWORD_VARIABLE = "TOKENSWARM_WEB_PASSWORD"  # noqa: S105
DEFAULT_USER = "tokenswarm"
ANY_TARGET = "*"
_LEAST_PASSWORD_CHARACTERS = 8
_MOST_PASSWORD_BYTES = 1024
_GENERATED_BYTES = 24
_NAME = re.compile(r"[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*", re.ASCII)
_OWN_NAMES = ("web_allow_host", "web_allow_target", "web_allow_folder", "web_user", "web_password_file", "web_open")


class WebOptionError(ValueError):
    """An option of the web page holds what it cannot; the text says what was expected and what came."""


@dataclass(frozen=True, slots=True)
class WebOptions:
    """What the command line allows the web page. password is "" without a login; password_is_generated: nobody knows it
    yet, so it has to be shown."""

    allow_hosts: tuple[str, ...]
    allow_targets: tuple[str, ...]
    allow_folders: tuple[Path, ...]
    user: str
    password: str = field(repr=False)
    password_is_generated: bool

    @classmethod
    def of(cls, options: Namespace, environ: Mapping[str, str] = os.environ) -> WebOptions:
        """Check and convert. Raises WebOptionError, also where the page would be open to other machines."""
        _refuse_open_page(options)
        password = _password(options, environ) if options.web_login else ""
        return cls(
            allow_hosts=tuple(_host_name(name) for name in _listed(options.web_allow_host)),
            allow_targets=_listed(options.web_allow_target),
            allow_folders=tuple(_folder(name) for name in _listed(options.web_allow_folder)),
            user=_user(options.web_user),
            password=password or (secrets.token_urlsafe(_GENERATED_BYTES) if options.web_login else ""),
            password_is_generated=bool(options.web_login and not password),
        )


def add_options(parser: ArgumentParser) -> None:
    """Give Locust's parser these options. None of them is in the page's own form."""
    option = OptionAdder(parser)
    option(
        "--web-allow-host",
        action=Joined,
        default="",
        include_in_web_ui=False,
        text="host names under which browsers reach the page, beside localhost, --web-host and IP addresses, such as "
        "the name of a proxy; separated by commas, may be repeated",
    )
    option(
        "--web-allow-target",
        action=Joined,
        default="",
        include_in_web_ui=False,
        text="servers that a run started from the page may load, beside the one of --host and those on this machine, "
        'like http://gpu:8000; "*" allows all, but LLM_API_KEY is sent only to servers that are named; separated by '
        "commas, may be repeated",
    )
    option(
        "--web-allow-folder",
        action=Joined,
        default="",
        include_in_web_ui=False,
        text="folders whose files the page's form may name (prompts, system prompts, tokenizers, chat templates), "
        "beside the files named on the command line; separated by commas, may be repeated",
    )
    option(
        "--web-user",
        default=DEFAULT_USER,
        include_in_web_ui=False,
        text="user name of Locust's --web-login",
    )
    option(
        "--web-password-file",
        default="",
        include_in_web_ui=False,
        text=f"file that holds the password of --web-login; empty: the variable {PASSWORD_VARIABLE}, and without that "
        "a password is generated and printed at start. A password turns --web-login on",
    )
    option(
        "--web-open",
        action="store_true",
        default=False,
        include_in_web_ui=False,
        text="serve the page to other machines without a login: anybody who reaches it can start runs and read "
        "results. Without this and without --web-login, a --web-host that other machines can reach is refused",
    )


def turn_on_login(options: Namespace, environ: Mapping[str, str] = os.environ) -> None:
    """A password turns the login on: without --web-login it would protect nothing."""
    if environ.get(PASSWORD_VARIABLE) or options.web_password_file:
        options.web_login = True


def is_web_option(name: str) -> bool:
    """Whether the option (with underscores) is of the page alone and changes nothing in a run."""
    return name in _OWN_NAMES


def _refuse_open_page(options: Namespace) -> None:
    if is_loopback_bind(options.web_host) or options.web_login or options.web_open:
        return
    raise WebOptionError(
        f"--web-host {options.web_host or '*'} shows the web page to other machines, and anybody who reaches it could "
        f"start runs and read results: add --web-login (set {PASSWORD_VARIABLE}, or a password is printed at start), "
        "or --web-open if a proxy or the network keeps strangers out."
    )


def _password(options: Namespace, environ: Mapping[str, str]) -> str:
    """The given password, "" for none. Raises WebOptionError."""
    of_environment = environ.get(PASSWORD_VARIABLE, "")
    if not options.web_password_file:
        return _checked(of_environment, PASSWORD_VARIABLE) if of_environment else ""
    if of_environment:
        raise WebOptionError(f"--web-password-file and {PASSWORD_VARIABLE} are both set; set one of them.")
    path = Path(options.web_password_file).expanduser()
    try:
        if not path.is_file():
            raise WebOptionError(f"--web-password-file {path} is not a file.")
        with path.open("rb") as file:
            content = file.read(_MOST_PASSWORD_BYTES + 1)
        text = content.decode("utf-8").strip("\r\n")
    except (OSError, UnicodeDecodeError, ValueError) as error:
        if isinstance(error, WebOptionError):
            raise
        raise WebOptionError(f"--web-password-file {path} cannot be read: {error}.") from None
    hide(text)
    return _checked(text, f"--web-password-file {path}")


def _checked(password: str, source: str) -> str:
    if len(password.encode()) > _MOST_PASSWORD_BYTES:
        raise WebOptionError(f"{source}: a password has at most {_MOST_PASSWORD_BYTES} bytes.")
    if len(password) < _LEAST_PASSWORD_CHARACTERS:
        raise WebOptionError(
            f"{source}: a password has at least {_LEAST_PASSWORD_CHARACTERS} characters, got {len(password)}."
        )
    if not password.isprintable():
        raise WebOptionError(f"{source}: a password is one line of printable characters.")
    return password


def _listed(text: str) -> tuple[str, ...]:
    return tuple(word for part in text.split(",") if (word := part.strip()))


def _host_name(text: str) -> str:
    name = text.lower().removesuffix(".")
    if not _NAME.fullmatch(name):
        raise WebOptionError(f"--web-allow-host takes host names like load.example.com, got {text!r}.")
    return name


def _user(text: str) -> str:
    if not text or not text.isprintable() or ":" in text:
        raise WebOptionError(f"--web-user takes a name without a colon, got {text!r}.")
    return text


def _folder(text: str) -> Path:
    path = Path(text).expanduser()
    if not path.is_dir():
        raise WebOptionError(f"--web-allow-folder takes folders, and {text!r} is none.")
    return path.resolve()
