"""The `tokenswarm` command: what is done outside of a run of Locust. Each subcommand lives in its room."""

from __future__ import annotations

import argparse
import sys
from typing import Any, NoReturn

import probe.cli
import reports.cli
import reports.compare
import reports.gate
import reports.recover
import simulator.cli
from options import unknown_option
from reports.output import discard
from sanitize import guarded_output

_COMMANDS = {
    "simulate": (simulator.cli, "serve the simulator, a server of known speed"),
    "probe": (probe.cli, "tell what a server is and how it answers, in full"),
    "report": (reports.cli, "draw a finished run's table and charts again"),
    "recover": (reports.recover, "complete the folder of a run whose processes were killed, from what they left"),
    "compare": (reports.compare, "set runs of several servers side by side, and say who leads in what"),
    "gate": (reports.gate, "fail where a run is worse than another, and not by chance"),
}


class _Parser(argparse.ArgumentParser):
    def __init__(self, **how: Any) -> None:
        super().__init__(allow_abbrev=False, **how)

    def error(self, message: str) -> NoReturn:
        """One sentence, exit code 2, no usage block."""
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")

    def refuse_unknown(self, words: list[str]) -> NoReturn:
        """What is left of the command line is none of this parser's arguments."""
        options = [word for word in words if word.startswith("-")]
        if not options:
            self.error(f"unexpected argument {words[0]!r}")
        flags = [flag for action in self._actions for flag in action.option_strings]
        self.error("; ".join(unknown_option(option, flags) for option in options))


def main(arguments: list[str] | None = None) -> int:
    """Run a subcommand. Returns its exit code: 2 for what cannot be done as asked; the others are the subcommand's."""
    with guarded_output():
        return _main(arguments)


def _main(arguments: list[str] | None) -> int:
    parser = _Parser(prog="tokenswarm", description="Stress tests for servers that stream text from LLMs.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=_Parser)
    parsers = {}
    for name, (module, text) in _COMMANDS.items():
        parsers[name] = commands.add_parser(name, help=text, description=text.capitalize() + ".")
        module.add_arguments(parsers[name])
    args, unknown = parser.parse_known_args(arguments)
    if unknown:
        parsers[args.command].refuse_unknown(unknown)
    code: int = _COMMANDS[args.command][0].main(args)
    try:
        if sys.stdout is not None:  # it was closed before the process began: `>&-`
            sys.stdout.flush()
    except OSError:  # the reader has seen enough, or a disk is full; the result stays what it is
        discard(sys.stdout)
    return code


if __name__ == "__main__":
    sys.exit(main())
