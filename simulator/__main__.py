"""`python -m simulator`: the simulator as a process of its own."""

import argparse
import sys
from typing import NoReturn

from simulator.cli import add_arguments, main


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        print(f"simulator: {message}; see python -m simulator --help.", file=sys.stderr)
        raise SystemExit(2)


def _run() -> int:
    parser = _Parser(
        allow_abbrev=False,
        prog="python -m simulator",
        description="A server of known speed that speaks like an LLM engine.",
    )
    add_arguments(parser)
    return main(parser.parse_args())


if __name__ == "__main__":
    raise SystemExit(_run())
