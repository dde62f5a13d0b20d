"""The parser of the `tokenswarm` command and of its subcommands: all errors at once, one sentence each."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NoReturn

from tokenswarm.command_line.parser import (
    NEGATIVE_VALUE,
    did_you_mean,
    empty_value,
    leave_out_empty,
    nearest_names,
    tolerant,
    unknown_option,
)
from tokenswarm.sanitize import full_stop, report_lost_output


class CommandParser(argparse.ArgumentParser):
    """Without abbreviations, and without usage blocks in errors."""

    def __init__(self, **how: Any) -> None:
        super().__init__(allow_abbrev=False, **how)
        self._negative_number_matcher = NEGATIVE_VALUE
        #: A sentence for each argument that is wrong or missing.
        self.errors: list[str] = []

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Reads on after an error, so that all of them are known."""
        words = sys.argv[1:] if args is None else list(args)
        # Without a command it is not known what to read on for; the help shows what is required.
        if self._subparsers is not None or {"-h", "--help"} & set(words):
            return super().parse_known_args(args, namespace)
        required = [action for action in self._actions if action.required]
        for action in required:
            action.required = False
        with tolerant(self, self.errors) as empty:
            read, unknown = super().parse_known_args(args, namespace)
        self.errors += map(empty_value, empty)
        leave_out_empty(empty, read)
        missing = [action for action in required if getattr(read, action.dest) is None]
        for action in missing:
            name = action.option_strings[-1] if action.option_strings else action.metavar
            self.errors.append(f"{name} is missing")
        self._leave_out_stray_values(words, read, unknown)
        return read, unknown

    def _leave_out_stray_values(self, words: Sequence[str], read: argparse.Namespace, unknown: Sequence[str]) -> None:
        """An optional argument does not take the word behind an unknown option: that is the option's value."""
        stray = {word for option, word in pairwise(words) if option.startswith("-") and option in unknown}
        for action in self._actions:
            if action.nargs == "?" and not action.option_strings and getattr(read, action.dest) in stray:
                setattr(read, action.dest, action.default)

    def error(self, message: str) -> NoReturn:
        """A sentence for each error, exit code 2, no usage block."""
        self.refuse([*self.errors, message])

    def refuse(self, sentences: Sequence[str]) -> NoReturn:
        """The sentences one a line, exit code 2."""
        lines = "\n".join(f"{self.prog}: {full_stop(sentence)}" for sentence in dict.fromkeys(sentences))
        self.exit(2, f"{lines} See {self.prog} --help.\n")

    def unknown(self, words: list[str]) -> list[str]:
        """A sentence for each word that is none of this parser's arguments."""
        flags = [flag for action in self._actions for flag in action.option_strings]
        options = [unknown_option(word, flags) for word in words if word.startswith("-")]
        return options or [f"unexpected argument {word!r}" for word in words[:1]]

    def _print_message(self, message: str, file: Any = None) -> None:
        """argparse drops text that cannot be written without a word."""
        stream = file or sys.stderr
        if message and stream is sys.stdout is not None:
            try:
                print(message, end="", file=stream, flush=True)
            except OSError as error:
                report_lost_output(error, stream)
            return
        super()._print_message(message, file)

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """An unknown command is one short sentence; argparse would list all of them."""
        if action.dest == "command" and action.choices is not None and value not in action.choices:
            self.refuse([f"unknown command {value!r}{did_you_mean(nearest_names(value, action.choices))}"])
        super()._check_value(action, value)
