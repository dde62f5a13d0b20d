"""The `tokenswarm` command: what is done outside of a run of Locust. Each subcommand lives in its room."""

from __future__ import annotations

import argparse
import sys
from typing import NoReturn

import probe.cli
import reports.cli
import reports.compare
import reports.gate
import reports.recover
import simulator.cli
from reports.output import discard

_COMMANDS = {
    "simulate": (simulator.cli, "serve the simulator, a server of known speed"),
    "probe": (probe.cli, "tell what a server is and how it answers, in full"),
    "report": (reports.cli, "draw a finished run's table and charts again"),
    "recover": (reports.recover, "complete the folder of a run whose processes were killed, from what they left"),
    "compare": (reports.compare, "set runs of several servers side by side, and say who leads in what"),
    "gate": (reports.gate, "fail where a run is worse than another, and not by chance"),
}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One sentence, exit code 2, no usage block."""
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


def main(arguments: list[str] | None = None) -> int:
    """Run a subcommand. Returns its exit code: 2 for what cannot be done as asked; the others are the subcommand's."""
    parser = _Parser(prog="tokenswarm", description="Stress tests for servers that stream text from LLMs.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=_Parser)
    for name, (module, text) in _COMMANDS.items():
        module.add_arguments(commands.add_parser(name, help=text, description=text.capitalize() + "."))
    args = parser.parse_args(arguments)
    code: int = _COMMANDS[args.command][0].main(args)
    try:
        sys.stdout.flush()
    except BrokenPipeError:  # the reader has seen enough; the result stays what it is
        discard(sys.stdout)
    return code


if __name__ == "__main__":
    sys.exit(main())
