"""Headers that the user adds to every request (--header, --header-file).

Their values stay in the process that was given them: the options hold names and names of variables only, so that no
file, page, log or message to a worker can repeat a value. Each node has the values from its own command line, file or
environment, as it has the API key.
"""

from __future__ import annotations

import os
import re
from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path

from tokenswarm.client.option_values import OptionError
from tokenswarm.command_line import collect_errors
from tokenswarm.sanitize import UnusableFile, hide, is_secret_name, overwrite_argument, read_text

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)
#: Those that say how the request itself is sent, and the one that would have the server compress its stream.
_OWN = {"content-length", "transfer-encoding", "connection", "accept-encoding", "expect", "upgrade", "te", "trailer"}
_VARIABLE = re.compile(r"\$(?:(?P<dollar>\$)|(?P<name>[A-Za-z_]\w*)|\{(?P<braced>[A-Za-z_]\w*)\})", re.ASCII)
#: What may stand beside variables in a value that is no secret itself.
_SCHEME = re.compile(r"(bearer|basic|token|apikey|api-key|key) ", re.IGNORECASE)
_MOST_FILE_BYTES = 2**18
_WRITE = 'write it as "Name: value"'

#: By name in lower case: (name, value as it was given, with its variables).
_given: dict[str, tuple[str, str]] = {}


def keep_values(options: Namespace) -> None:
    """Take the values out of the options of --header, which then hold `Name`, or `Name: $VARIABLE` where the value is a
    variable of the environment; those that cannot be read are left out. Raises OptionErrors for all of these."""
    texts: Sequence[str] = options.header or ()
    others = {str(value) for name, value in vars(options).items() if name != "header"}
    kept: list[str] = []
    options.header = kept
    with collect_errors() as errors:
        for text in texts:
            if not (parsed := errors.of(_parsed, text, "--header")):
                continue
            name, value = parsed
            _given[name.lower()] = name, value
            if not _is_public(value):
                overwrite_argument(text, text.partition(":")[2].lstrip())
                _hide(name, value, others)
            kept.append(f"{name}: {value}" if _is_public(value) else name)


def custom_headers(entries: Sequence[str], file: str | None) -> dict[str, str]:
    """The headers with their values, those of the file first. entries: as `keep_values` leaves them, of this process or
    of the master. Raises OptionError, with no value in its text."""
    headers: dict[str, tuple[str, str]] = {}
    with collect_errors() as errors:
        of_file = errors.of(_of_file, file) if file else []
        for name, value in of_file or ():
            headers[name.lower()] = name, errors.of(_expanded, name, value)
        for entry in entries:
            if header := errors.of(_of_entry, entry):
                headers[header[0].lower()] = header
    return dict(headers.values())


def secret_headers(entries: Sequence[str], file: str | None) -> dict[str, tuple[str, str]]:
    """By name, (the option that it comes from as a message names it, its value), of the headers whose names are those
    of a key, token or password. entries, file, and what is raised: see `custom_headers`."""
    given = {entry.partition(":")[0].strip().lower() for entry in entries}
    return {
        name: (f"--header {name}" if name.lower() in given else f"{name} of --header-file", value)
        for name, value in custom_headers(entries, file).items()
        if is_secret_name(name)
    }


def with_headers(headers: Mapping[str, str], more: Mapping[str, str]) -> dict[str, str]:
    """Both; `more` replaces those of the same name, in whatever case."""
    replaced = {name.lower() for name in more}
    return {name: value for name, value in headers.items() if name.lower() not in replaced} | dict(more)


def check_header_name(option: str, name: str) -> None:
    """Whether an option may name this header, which requests then have. Raises OptionError."""
    if not _NAME.fullmatch(name):
        raise OptionError(f"{option} takes the name of a header, like X-Session-Id, got {name[:60]!r}.")
    if name.lower() in _OWN | {"content-type", "accept", "host", "authorization"}:
        raise OptionError(f"{option}: {name} is set by Tokenswarm itself; give another name.")


def _of_entry(entry: str) -> tuple[str, str]:
    name, colon, value = (part.strip() for part in entry.partition(":"))
    if not colon and name.lower() not in _given:
        raise OptionError(
            f"--header {name}: this process has no value for it, as values are not sent between machines: start "
            "each worker with the same --header, or use --header-file or a variable that each machine has."
        )
    return name, _expanded(name, value if colon else _given[name.lower()][1])


def _of_file(file: str) -> list[tuple[str, str]]:
    try:
        lines = read_text(Path(file).expanduser(), _MOST_FILE_BYTES).splitlines()
    except UnusableFile as error:
        raise OptionError(f"--header-file: the file {file} {error}.") from None
    found = []
    with collect_errors() as errors:
        for number, line in enumerate(lines, start=1):
            if not line.strip() or line.lstrip().startswith("#"):
                continue
            if parsed := errors.of(_parsed, line, f"--header-file, line {number}"):
                _hide(*parsed, ())
                found.append(parsed)
        if not lines:
            errors.add(OptionError(f"--header-file: the file {file} is empty; write a header a line, as Name: value."))
    return found


def _parsed(text: str, where: str) -> tuple[str, str]:
    name, colon, value = (part.strip() for part in text.partition(":"))
    if not colon:
        raise OptionError(f"{where}: got a text without a colon (not repeated here); {_WRITE}.")
    if not _NAME.fullmatch(name):
        raise OptionError(f"{where}: what stands before the colon is no name of a header; {_WRITE}.")
    if name.lower() in _OWN:
        raise OptionError(f"{where}: {name} is set by Tokenswarm itself; leave it out.")
    if not value:
        raise OptionError(f"{where}: {name} has no value; {_WRITE}.")
    return name, value


def _is_public(value: str) -> bool:
    """Whether the value names variables, and holds nothing else that could be a secret."""
    rest, variables = _VARIABLE.subn("", value)
    return bool(variables) and "$$" not in value and (not rest or _SCHEME.fullmatch(rest) is not None)


def _expanded(name: str, value: str) -> str:
    def of(match: re.Match[str]) -> str:
        if match["dollar"]:
            return "$"
        variable = match["name"] or match["braced"]
        if not (found := os.environ.get(variable, "").strip()):
            raise OptionError(
                f"--header {name}: the variable {variable} is not set on this machine; set it, or write $$ for a "
                "dollar sign."
            )
        _hide(name, found, ())
        return found

    expanded = _VARIABLE.sub(of, value)
    if not (expanded.isascii() and expanded.isprintable()):
        raise OptionError(f"--header {name}: its value holds a character that cannot stand in an HTTP header.")
    return expanded


def _hide(name: str, value: str, others: set[str] | tuple[()]) -> None:
    """A value that another option has too, such as the model's name, is no secret."""
    if value in others:
        return
    secret = is_secret_name(name)
    hide(value, whole=not secret)
    if secret and (credentials := value.partition(" ")[2].strip()):
        hide(credentials)
