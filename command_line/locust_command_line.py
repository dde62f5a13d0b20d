"""Locust's command line with Tokenswarm's options: read strictly, and checked as a whole before anything begins."""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from collections.abc import Callable
from typing import Any, NoReturn

from tokenswarm.command_line.exit_codes import EXIT_UNUSABLE
from tokenswarm.command_line.option_errors import OptionErrors, collect_errors, sentences_of
from tokenswarm.command_line.parser import Given, misspelled_variables, read_options


class CommandLine:
    """What the process was started with. `given` is there once it has been read."""

    def __init__(self, complete: Callable[[Given], None], check: Callable[[Given], None]) -> None:
        """complete: fills in what follows from what was given, each time that the options are read (Locust's page reads
        them again and again). check: called once, before workers are forked; raises ValueError."""
        self._complete = complete
        self._check = check
        self._checked = False
        self.given = Given(Namespace(), {}, [])
        #: Sentences to log once logging is set up.
        self.notices: list[str] = []

    def attach(self, parser: Any) -> None:
        """Have the parser read strictly. Options that others add to it later are known all the same."""
        parser.allow_abbrev = False
        parser.parse_args = lambda args=None, **_: self._parse(parser, args)

    def _parse(self, parser: Any, arguments: list[str] | None) -> Namespace:
        given = read_options(parser, arguments)
        try:
            with collect_errors() as errors:
                if given.errors:
                    errors.add(OptionErrors(given.errors))
                errors.of(self._complete, given)
                if not self._checked:
                    self._checked, self.given = True, given
                    self.notices = variable_warnings(parser)
                    errors.of(self._check, given)
        except ValueError as error:
            refuse(error)
        return given.options


def variable_warnings(parser: Any) -> list[str]:
    """A sentence for each variable of the environment that is like that of an option, and is none."""
    return [
        f"The variable {name} is ignored: no option has it. Is {known} meant?"
        for name, known in misspelled_variables(parser, os.environ).items()
    ]


def refuse(error: ValueError) -> NoReturn:
    """End the process with exit code 2 and the error's sentences, one a line, on the standard error."""
    show_refusal(error)
    sys.exit(EXIT_UNUSABLE)


def show_refusal(error: ValueError) -> None:
    """The error's sentences, one a line, on the standard error: why no run begins."""
    for sentence in sentences_of(error):
        print(f"tokenswarm: {sentence}", file=sys.stderr, flush=True)
