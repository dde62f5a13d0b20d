"""`python -m tokenswarm.simulator`: the simulator as a process of its own."""

import argparse
from typing import NoReturn

from tokenswarm.simulator.cli import add_arguments, main


class _SimulatorParser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}. See {self.prog} --help.\n")


def _run() -> int:
    parser = _SimulatorParser(
        allow_abbrev=False,
        prog="python -m tokenswarm.simulator",
        description="A server of known speed that speaks like an LLM engine.",
    )
    add_arguments(parser)
    return main(parser.parse_args(), parser.prog)


if __name__ == "__main__":
    raise SystemExit(_run())
