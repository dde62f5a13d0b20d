"""What Locust says of the options that it reads before it has imported a locustfile.

It imports none of Tokenswarm's packages: run_command/locust_process.py runs it as a file. A test in tests/run_command
fails when Locust says it otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import locust.argument_parser

#: What Python says of options, and what is said instead.
_EARLY_ERRORS = (
    (r"argument (?:-\w/)?(--\S+): invalid int value: (.*)", "{} takes a whole number, got {}."),
    (r"argument (?:-\w/)?(--\S+): expected one argument", "{} takes a value, got nothing."),
    (
        r"Unable to open config file: (.*)\. Error: (?:\[.*?\] )?([^:]*).*",
        "--config {} cannot be read ({}): name another file.",
    ),
)


def explain_early_options(refuse_with: Callable[[str], object]) -> None:
    """Before Locust reads its command line. It looks for --locustfile, --master-host, --master-port and --config first,
    with a parser of its own, and has Python's words for what is wrong with them. refuse_with: ends the process with a
    sentence.

    Upstream: https://github.com/locustio/locust/blob/2.47.0/locust/argument_parser.py#L304-L355
    """
    make: Any = locust.argument_parser.get_empty_argument_parser

    def made(*arguments: Any, **named: Any) -> Any:
        parser: Any = make(*arguments, **named)
        refuse = parser.error

        def error(message: str) -> None:
            if not (sentence := _early_sentence(message)):
                refuse(message)
            refuse_with(sentence)

        parser.error = error
        return parser

    locust.argument_parser.get_empty_argument_parser = made


def _early_sentence(message: str) -> str:
    """ "" for a message that says by itself what is wrong."""
    for pattern, sentence in _EARLY_ERRORS:
        if found := re.fullmatch(pattern, message):
            return sentence.format(*found.groups())
    return ""
